"""A conversation without I/O, with a clock that a test moves."""

from __future__ import annotations

from channels_realtime.conversation.effects import Effect
from channels_realtime.conversation.heartbeat import Heartbeat
from channels_realtime.conversation.machine import Conversation
from channels_realtime.conversation.throttling import LimitExceeded, Rates
from channels_realtime.protocol import messages as m
from channels_realtime.protocol.limits import Limits

START = 1_000.0


def welcome(user: str | None) -> m.Welcome:
    return m.Welcome(
        session_id="s",
        user=user,
        expires_at=None,
        heartbeat_interval=25.0,
        heartbeat_timeout=10.0,
        limits={},
        capabilities=(),
        channels={},
    )


WELCOME = welcome(None)
MEMBER_WELCOME = welcome("1")


class ConversationHarness:
    """A conversation with a clock of its own, and what it has led to."""

    def __init__(
        self,
        *,
        beats: bool = False,
        jitter: float = 0.0,
        rates: Rates | None = None,
        **limits: int,
    ) -> None:
        self.now = START
        heartbeat = Heartbeat(25.0, 10.0, now=self.now, jitter=jitter)
        heartbeat.enabled = beats
        self.conversation = Conversation(Limits(**limits), heartbeat, now=self.now, rates=rates)

    def open(self, *, signed_in: bool = False) -> ConversationHarness:
        self.conversation.welcome(MEMBER_WELCOME if signed_in else WELCOME, self.now)
        return self

    def await_auth(self, timeout: float = 10.0) -> ConversationHarness:
        self.conversation.require_auth(self.now, timeout)
        return self

    def say(
        self, *commands: m.Command, size: int = 0, over: LimitExceeded | None = None
    ) -> list[Effect]:
        return self.conversation.receive(commands, self.now, size=size, over=over)

    def answer(self, ticket: int, reply: m.Push | None = None) -> list[Effect]:
        return self.conversation.complete(ticket, reply, self.now)

    def wait(self, seconds: float) -> list[Effect]:
        """Let time pass, with a tick at each deadline, as the timers would."""
        end, effects = self.now + seconds, []
        while (deadline := self.conversation.deadline) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            effects += self.conversation.tick(self.now)
        self.now = end
        return effects
