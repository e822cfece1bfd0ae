"""Whatever is lost, in whatever order things happen: each message once and in order, or the program is told."""

import json
from collections import deque
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from channels_realtime.client.core import Core, Limits, State
from channels_realtime.client.credentials import TokenReason
from channels_realtime.client.feeds import Feed
from channels_realtime.client.subscriptions import Buffer
from channels_realtime.client.values import Message, Recovered, Subscribed
from channels_realtime.protocol.codecs import JSON
from tests.support.fake_timers import FakeTimers
from tests.support.scripted_server import WELCOME

KEPT = 6
"""How many messages the server's history holds."""

BUFFER = 3


class World:
    """A client's core, a server with one channel, and the wire between them, which may break anywhere.

    The server answers at once; what it says lies on the wire until a step delivers it.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.wire: deque[str] = deque()
        self.published = 0
        self.forgets = False
        self.sessions: dict[str, int] = {}  # those that are subscribed, with where they began
        self.connection: str | None = None
        self.connections = 0
        self.told_of_gaps = 0
        self.timers = FakeTimers(lambda: self.now)
        self.core = Core(
            self,
            JSON,
            Limits(),
            has_token=False,
            in_header=False,
            later=self.timers.later,
            clock=lambda: self.now,
            chance=lambda: 0.5,
        )
        self.buffer = Buffer(BUFFER)
        self.feed = Feed(channel="a", sink=self.buffer)
        self.seen: list[int] = []
        """Offsets that the program got; a negative one is where it was told to go on from."""
        self.core.start()
        self.core.feeds.add(self.feed)

    # -- the shell ---------------------------------------------------------------------------------

    def open(self, token: str | None) -> None:
        self.connections += 1
        self.connection = f"s{self.connections}"
        self._say("welcome", {**WELCOME, "session_id": self.connection})

    def drop(self, code: int) -> None:
        self.connection = None
        self.wire.clear()

    def fetch_token(self, reason: TokenReason) -> None:
        raise AssertionError("there are no tokens here")

    def changed(self) -> None: ...

    def notice(self, message: Message) -> None: ...

    def warn(self, text: str) -> None:
        raise AssertionError(text)

    def send(self, frame: str | bytes) -> None:
        """The server takes a request, and answers."""
        request = json.loads(frame)
        kind, reply = request["type"], request.get("id")
        session = self.connection
        assert session is not None, "nothing is sent without a connection"
        if kind == "resume":
            self._resume(request)
        elif kind == "subscribe":
            assert session not in self.sessions, "subscribed twice"
            since = request.get("since")
            payload = self._begin(session, None if since is None else since["offset"])
            self._say("subscribed", payload, id=reply, channel="a")
            self._replay(session)
        elif kind == "unsubscribe":
            self.sessions.pop(session, None)
            self._say("unsubscribed", id=reply, channel="a")
        elif kind == "ping":
            self._say("pong", id=reply)

    # -- the server --------------------------------------------------------------------------------

    def _say(self, kind: str, payload: Any = None, **fields: Any) -> None:
        self.wire.append(json.dumps({"type": kind, "payload": payload, **fields}))

    def _begin(self, session: str, since: int | None) -> dict[str, Any]:
        """Subscribe from an offset; the payload of the reply."""
        payload: dict[str, Any] = {"epoch": "e", "offset": self.published}
        if since is not None:
            payload["recovered"] = since >= self.published - KEPT
            self.told_of_gaps += not payload["recovered"]
        self.sessions[session] = since if payload.get("recovered") else self.published
        return payload

    def _replay(self, session: str) -> None:
        for offset in range(self.sessions[session] + 1, self.published + 1):
            self._message(offset, recovered=True)

    def _message(self, offset: int, **fields: Any) -> None:
        self._say("message", offset, channel="a", epoch="e", offset=offset, **fields)

    def _resume(self, request: dict[str, Any]) -> None:
        session = request["session_id"]
        if self.forgets:
            self.sessions.pop(session, None)
            error = {"code": "unknown_session", "reason": ""}
            self._say("error", error, id=request["id"])
            return
        channels = {}
        assert self.connection is not None
        if session in self.sessions:
            since = request["since"].get("a", {}).get("offset", self.sessions.pop(session))
            channels["a"] = self._begin(self.connection, since)
        self.sessions.pop(session, None)
        payload = {"session_id": self.connection, "channels": channels, "dropped": {}}
        self._say("resumed", payload, id=request["id"])
        if channels:
            self._replay(self.connection)

    # -- what may happen ---------------------------------------------------------------------------

    def publish(self) -> None:
        self.published += 1
        if self.connection in self.sessions:
            self._message(self.published)

    def deliver(self) -> None:
        if self.wire:
            self.core.received(self.wire.popleft())

    def lose(self) -> None:
        if self.connection is not None:
            self.drop(1006)
            self.core.lost(1006, "")

    def wait(self) -> None:
        self.now += 40.0 if self.core.state is State.WAITING else 0.01
        self.timers.run()

    def read(self) -> None:
        """The program takes one item, as ``Subscription`` does."""
        item = self.buffer.take()
        if self.feed.suspended and self.buffer.drained:
            self.core.feeds.drained(self.feed)
        if isinstance(item, Message):
            assert item.position is not None
            self.seen.append(item.position.offset)
            return
        # Where the reply was lost, the server alone knows where it began; lost again, the client has to say so.
        self.told_of_gaps += isinstance(item, Subscribed) and item.position is None
        begins = isinstance(item, Subscribed) and not self.seen
        is_gap = isinstance(item, Recovered) and not item.complete
        if (begins or is_gap) and item.position is not None:  # type: ignore[union-attr]
            self.seen.append(-item.position.offset)  # type: ignore[union-attr]

    def ping(self) -> None:
        if self.connection is not None:
            self._say("ping")

    def forget(self) -> None:
        self.forgets = not self.forgets

    def settle(self) -> None:
        """Let all that is under way come to its end."""
        for turn in range(400):
            if turn == 200:
                self.publish()
            self.wait()
            self.deliver()
            self.read()


STEPS = ["publish", "publish", "deliver", "deliver", "deliver", "read", "read", "lose", "wait"]
STEPS += ["ping", "forget"]


@given(st.lists(st.sampled_from(STEPS), max_size=120))
@example(["deliver", "deliver", *["publish"] * 8, *["deliver"] * 8, "lose", "wait"])
@settings(max_examples=settings.default.max_examples * 5)  # type: ignore[attr-defined]
def test_each_message_comes_once_and_in_order_or_the_program_is_told(steps: list[str]) -> None:
    world = World()
    for step in steps:
        getattr(world, step)()
    world.settle()
    gaps = 0
    for before, after in zip(world.seen, world.seen[1:], strict=False):
        if after <= 0:
            gaps += 1  # told: messages are missing, and it goes on from here
        else:
            assert after == abs(before) + 1, world.seen
    assert abs(world.seen[-1]) == world.published, world.seen
    assert gaps <= world.told_of_gaps
