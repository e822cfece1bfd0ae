"""Whatever is lost, in whatever order things happen: each message once and in order, or the program is told."""

import json
from collections import deque
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from channels_realtime.client.core import Core, Limits, State
from channels_realtime.client.credentials import TokenReason
from channels_realtime.client.feeds import Feed
from channels_realtime.client.subscriptions import Buffer
from channels_realtime.client.values import Event, Message, Recovered, Subscribed
from channels_realtime.protocol.codecs import JSON
from tests.support.fake_timers import FakeTimers
from tests.support.scripted_server import WELCOME

KEPT = 6
"""How many messages the server's history holds."""

BUFFER = 3


class CountingBuffer(Buffer):
    """Counts how often the reply was lost, so that the server alone knows where it began.

    Lost again, the client has to say that messages may be missing.
    """

    begun_unknown = 0

    def put(self, item: Event) -> None:
        self.begun_unknown += isinstance(item, Subscribed) and item.position is None
        super().put(item)


class Reader:
    """The program's loop over a subscription."""

    def __init__(self, core: Core, number: int, readers: int) -> None:
        self.core = core
        self.number = number
        self.readers = readers
        self.buffer = CountingBuffer(BUFFER)
        self.feed = Feed(channel="a", sink=self.buffer)
        if readers > 1:
            self.feed = Feed(channel="a", sink=self.buffer, parameters={"s": number}, select="s")
        self.seen: list[int] = []
        """Offsets that the program got; a negative one is where it was told to go on from."""
        core.feeds.add(self.feed)

    def read(self) -> None:
        """The program takes one item, as ``Subscription`` does."""
        item = self.buffer.take()
        if self.feed.suspended and self.buffer.drained:
            self.core.feeds.drained(self.feed)
        if isinstance(item, Message):
            assert item.position is not None
            self.seen.append(item.position.offset)
            return
        begins = isinstance(item, Subscribed) and not self.seen
        is_gap = isinstance(item, Recovered) and not item.complete
        if (begins or is_gap) and item.position is not None:  # type: ignore[union-attr]
            self.seen.append(-item.position.offset)  # type: ignore[union-attr]

    def after(self, offset: int) -> int:
        """The offset of the reader's next message."""
        return next(
            later
            for later in range(offset + 1, offset + 1 + self.readers)
            if later % self.readers == self.number
        )

    def judge(self, published: int, told_of_gaps: int) -> None:
        """Each message came once and in order, or the program was told."""
        gaps = 0
        for before, now in zip(self.seen, self.seen[1:], strict=False):
            if now <= 0:
                gaps += 1  # told: messages are missing, and it goes on from here
            else:
                assert now == self.after(abs(before)), self.seen
        assert self.after(abs(self.seen[-1])) > published, self.seen
        assert gaps <= told_of_gaps + self.buffer.begun_unknown


class World:
    """A client's core, a server with one channel, and the wire between them, which may break anywhere.

    The server answers at once; what it says lies on the wire until a step delivers it. With several
    readers each selects its own messages of the channel.
    """

    def __init__(self, readers: int) -> None:
        self.now = 0.0
        self.wire: deque[str] = deque()
        self.published = 0
        self.forgets = False
        self.sessions: dict[str, dict[int, int]] = {}  # what each selects, with where that began
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
        self.core.start()
        self.readers = [Reader(self.core, number, readers) for number in range(readers)]

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
            selected = request.get("payload", {"s": 0})["s"]
            begun = self.sessions.setdefault(session, {})
            assert selected not in begun, "subscribed twice"
            since = request.get("since")
            payload = self._begin(None if since is None else since["offset"])
            begun[selected] = since["offset"] if payload.get("recovered") else self.published
            self._say("subscribed", payload, id=reply, channel="a")
            self._replay(begun[selected], {selected})
        elif kind == "unsubscribe":
            begun = self.sessions.get(session, {})
            if "payload" in request:
                begun.pop(request["payload"]["s"], None)
            else:
                begun.clear()
            self._say("unsubscribed", id=reply, channel="a")
        elif kind == "ping":
            self._say("pong", id=reply)

    # -- the server --------------------------------------------------------------------------------

    def _say(self, kind: str, payload: Any = None, **fields: Any) -> None:
        self.wire.append(json.dumps({"type": kind, "payload": payload, **fields}))

    def _begin(self, since: int | None) -> dict[str, Any]:
        """The payload of the reply to a subscribe that begins after an offset."""
        payload: dict[str, Any] = {"epoch": "e", "offset": self.published}
        if since is not None:
            payload["recovered"] = since >= self.published - KEPT
            self.told_of_gaps += not payload["recovered"]
        return payload

    def _replay(self, since: int, selected: set[int]) -> None:
        for offset in range(since + 1, self.published + 1):
            if offset % len(self.readers) in selected:
                self._message(offset, recovered=True)

    def _message(self, offset: int, **fields: Any) -> None:
        payload = {"s": offset % len(self.readers)}
        self._say("message", payload, channel="a", epoch="e", offset=offset, **fields)

    def _resume(self, request: dict[str, Any]) -> None:
        begun = self.sessions.pop(request["session_id"], {})
        if self.forgets:
            error = {"code": "unknown_session", "reason": ""}
            self._say("error", error, id=request["id"])
            return
        channels = {}
        assert self.connection is not None
        if begun:
            since = request["since"].get("a", {}).get("offset", min(begun.values()))
            channels["a"] = self._begin(since)
            since = since if channels["a"]["recovered"] else self.published
            self.sessions[self.connection] = dict.fromkeys(begun, since)
        payload = {"session_id": self.connection, "channels": channels, "dropped": {}}
        self._say("resumed", payload, id=request["id"])
        if channels:
            self._replay(since, set(begun))

    # -- what may happen ---------------------------------------------------------------------------

    def publish(self) -> None:
        self.published += 1
        selected = self.sessions.get(self.connection or "", {})
        if self.published % len(self.readers) in selected:
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
        self.readers[0].read()

    def read_other(self) -> None:
        self.readers[-1].read()

    def ping(self) -> None:
        if self.connection is not None:
            self._say("ping")

    def forget(self) -> None:
        self.forgets = not self.forgets

    def settle(self) -> None:
        """Let all that is under way come to its end."""
        for turn in range(400):
            if turn == 200:
                for _ in self.readers:  # one for each
                    self.publish()
            self.wait()
            self.deliver()
            for reader in self.readers:
                reader.read()


STEPS = ["publish", "publish", "deliver", "deliver", "deliver", "read", "read", "lose", "wait"]
STEPS += ["read_other", "ping", "forget"]


@pytest.mark.parametrize("readers", [1, 2])
@given(steps=st.lists(st.sampled_from(STEPS), max_size=120))
@example(steps=["deliver", "deliver", *["publish"] * 8, *["deliver"] * 8, "lose", "wait"])
@example(  # the reply that tells of a gap is lost, on a connection that is then resumed
    steps=[
        *("deliver", "deliver", "publish", "publish", "lose", "publish", "wait", "publish"),
        *("deliver", "lose", "wait", "deliver", *["publish"] * 3, "deliver", "lose"),
    ]
)
@example(  # a subscribe follows an unsubscribe, and neither is answered
    steps=["deliver", "deliver", *["publish", "deliver"] * 4, "read", "read", "read", "lose"]
)
@settings(max_examples=settings.default.max_examples * 5)  # type: ignore[attr-defined]
def test_each_message_comes_once_and_in_order_or_the_program_is_told(
    readers: int, steps: list[str]
) -> None:
    world = World(readers)
    for step in steps:
        getattr(world, step)()
    world.settle()
    for reader in world.readers:
        reader.judge(world.published, world.told_of_gaps)
