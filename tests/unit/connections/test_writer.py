"""Writing to a server's ``send``, which may take its time."""

from __future__ import annotations

import asyncio

import pytest

from channels_realtime.connections.writer import Writer
from channels_realtime.protocol.frames import Frame, Policy
from tests.support.virtual_time import in_virtual_time, settle


class Server:
    """An ASGI ``send``; while the gate is shut it waits, as uvicorn's does."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: BaseException | None = None

    async def send(self, event: dict) -> None:
        if not self.gate.is_set():
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.sent.append(event["text"])


class Owner:
    def __init__(self) -> None:
        self.overflows = 0
        self.errors: list[BaseException] = []
        self.drops: list[tuple[int, str]] = []

    def dropped(self, count: int, policy: Policy) -> None:
        self.drops.append((count, policy.value))

    def overflowed(self) -> None:
        self.overflows += 1

    def lost(self, error: BaseException) -> None:
        self.errors.append(error)


def frame(text: str, channel: str | None = None, policy: Policy = Policy.CLOSE) -> Frame:
    return Frame({"type": "websocket.send", "text": text}, len(text), channel, policy)


def make(max_messages: int = 10, max_bytes: int = 100) -> tuple[Writer, Server, Owner]:
    server, owner = Server(), Owner()
    writer = Writer(server.send, owner, max_messages=max_messages, max_bytes=max_bytes)
    return writer, server, owner


@in_virtual_time
async def test_frame_is_sent_at_once_and_without_a_task_when_the_server_has_room():
    writer, server, _ = make()
    before = asyncio.all_tasks()
    writer.write(frame("a"))
    assert server.sent == ["a"]
    assert asyncio.all_tasks() == before


@in_virtual_time
async def test_frames_wait_in_order_when_the_server_waits():
    writer, server, owner = make()
    server.gate.clear()
    for text in "abc":
        writer.write(frame(text))
    assert (server.sent, writer.queued, writer.queued_bytes) == ([], 2, 2)
    server.gate.set()
    await settle()
    writer.write(frame("d"))
    assert server.sent == ["a", "b", "c", "d"]
    assert (writer.queued, owner.overflows) == (0, 0)


@in_virtual_time
async def test_one_task_writes_however_much_waits():
    writer, server, _ = make()
    server.gate.clear()
    before = asyncio.all_tasks()
    for text in "abcdef":
        writer.write(frame(text))
    assert len(asyncio.all_tasks() - before) == 1
    server.gate.set()


@in_virtual_time
async def test_owner_is_told_when_the_queue_is_full():
    writer, server, owner = make(max_messages=2)
    server.gate.clear()
    for text in "abcd":
        writer.write(frame(text))
    assert owner.overflows == 1
    server.gate.set()
    await settle()
    assert server.sent == ["a", "b", "c"]


@in_virtual_time
async def test_last_words_find_room_in_a_full_queue():
    writer, server, owner = make(max_messages=1, max_bytes=1)
    server.gate.clear()
    writer.write(frame("a"))
    writer.write(frame("b"))
    writer.write(frame("closing"), last=True)
    writer.write(frame("close"), last=True)
    assert owner.overflows == 0
    server.gate.set()
    await settle()
    assert server.sent == ["a", "b", "closing", "close"]


@in_virtual_time
async def test_owner_is_told_when_the_server_cannot_send():
    for error in (OSError("gone"), asyncio.CancelledError()):
        writer, server, owner = make()
        server.error = error
        writer.write(frame("a"))
        assert owner.errors == [error]


@in_virtual_time
async def test_owner_is_told_when_the_server_fails_after_it_waited():
    for error in (OSError("gone"), asyncio.CancelledError()):
        writer, server, owner = make()
        server.gate.clear()
        writer.write(frame("a"))
        server.error = error
        server.gate.set()
        await settle()
        assert owner.errors == [error]


@in_virtual_time
async def test_stop_ends_the_task_and_forgets_what_waits():
    writer, server, owner = make()
    server.gate.clear()
    writer.write(frame("a"))
    writer.write(frame("b"))
    await settle()
    (task,) = writer.stop()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert (writer.queued, server.sent, owner.errors) == (0, [], [])
    assert writer.stop() == []


@in_virtual_time
async def test_what_waits_of_a_channel_is_taken_back():
    writer, server, _ = make()
    server.gate.clear()
    for text, channel in [("1", None), ("2", "a"), ("3", "b"), ("4", "a")]:
        writer.deliver(frame(text, channel))
    writer.discard("a")
    server.gate.set()
    await settle()
    assert server.sent == ["1", "3"]


@in_virtual_time
async def test_deliveries_are_held_and_replies_are_not():
    writer, server, _ = make()
    writer.hold()
    writer.deliver(frame("delivery"))
    writer.write(frame("reply"))
    assert server.sent == ["reply"]
    writer.release()
    writer.deliver(frame("next"))
    assert server.sent == ["reply", "delivery", "next"]


@in_virtual_time
async def test_owner_is_told_when_too_much_is_held():
    writer, _, owner = make(max_messages=1)
    writer.hold()
    writer.deliver(frame("a"))
    writer.deliver(frame("b"))
    assert owner.overflows == 1


@in_virtual_time
async def test_owner_is_told_what_a_policy_drops():
    writer, server, owner = make(max_messages=2)
    server.gate.clear()
    for text in "abcde":
        writer.deliver(frame(text, "a", Policy.DROP_OLDEST))
    writer.deliver(frame("f", "b", Policy.LATEST))
    writer.deliver(frame("g", "b", Policy.LATEST))
    assert (owner.overflows, owner.drops) == (
        0,
        [(1, "drop_oldest"), (1, "drop_oldest"), (1, "latest"), (1, "latest")],
    )
    server.gate.set()
    await settle()
    assert server.sent == ["a", "e", "g"]


class Closing(Owner):
    """As a connection: it says its last words when it is told of trouble."""

    def __init__(self, last: str) -> None:
        super().__init__()
        self.last = last
        self.writer: Writer

    def overflowed(self) -> None:
        super().overflowed()
        self.writer.clear()
        self.writer.write(frame(self.last), last=True)


@in_virtual_time
async def test_nothing_follows_the_last_words_when_what_was_held_does_not_fit():
    server, owner = Server(), Closing("close")
    writer = owner.writer = Writer(server.send, owner, max_messages=3, max_bytes=100)
    writer.hold()
    for text in ("h1", "h2", "h3"):
        writer.deliver(frame(text))
    server.gate.clear()
    for text in ("r1", "r2"):
        writer.write(frame(text))
    writer.release()
    server.gate.set()
    await settle()
    assert owner.overflows == 1
    assert server.sent == ["r1", "close"]


@in_virtual_time
async def test_order_is_kept_when_the_server_waits_now_and_then():
    writer, server, _ = make(max_messages=1_000, max_bytes=10_000)
    expected = []
    for n in range(300):
        if n % 7 == 0:
            server.gate.clear()
        if n % 7 == 3:
            server.gate.set()
        if n % 5 == 0:
            await asyncio.sleep(0)
        if n % 11 == 0:
            writer.hold()
        if n % 11 == 4:
            writer.release()
        text = str(n)
        expected.append(text)
        writer.deliver(frame(text))
    writer.release()
    server.gate.set()
    await settle()
    assert server.sent == expected


@in_virtual_time
async def test_server_that_waits_several_times_in_one_send_is_waited_for():
    sent: list[str] = []

    async def send(event: dict) -> None:
        for _ in range(3):
            await asyncio.sleep(0.01)
        sent.append(event["text"])

    owner = Owner()
    writer = Writer(send, owner, max_messages=10, max_bytes=100)
    for text in "abc":
        writer.write(frame(text))
    await asyncio.sleep(1)
    assert (sent, owner.errors) == (["a", "b", "c"], [])


@in_virtual_time
async def test_error_thrown_into_a_suspended_send_reaches_the_server_and_the_owner():
    seen: list[BaseException] = []
    loop = asyncio.get_running_loop()
    room: asyncio.Future[None] = loop.create_future()

    async def send(event: dict) -> None:
        try:
            await room
        except OSError as error:
            seen.append(error)
            raise

    owner = Owner()
    writer = Writer(send, owner, max_messages=10, max_bytes=100)
    writer.write(frame("a"))
    error = OSError("gone")
    room.set_exception(error)
    await settle()
    assert (seen, owner.errors) == ([error], [error])


@in_virtual_time
async def test_server_whose_awaitable_is_no_generator_is_written_to():
    """As granian's, whose ``send`` returns what only iterates."""

    class Awaitable:
        def __init__(self, future: asyncio.Future[None]) -> None:
            self._future = future
            self._began = False

        def __await__(self):
            return self

        def __iter__(self):
            return self

        def __next__(self):
            if not self._began:
                self._began = True
                self._future._asyncio_future_blocking = True
                return self._future
            raise StopIteration(self._future.result())

    room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    owner = Owner()
    writer = Writer(lambda event: Awaitable(room), owner, max_messages=10, max_bytes=100)
    writer.write(frame("a"))
    room.set_result(None)
    await settle()
    assert (owner.errors, writer.queued) == ([], 0)


# -- the owner's own events, which it waits for ----------------------------------------------------


def event(text: str) -> dict[str, str]:
    return {"type": "websocket.send", "text": text}


@in_virtual_time
async def test_own_event_waits_as_the_server_does_and_keeps_the_order():
    writer, server, _ = make()
    server.gate.clear()
    writer.write(frame("a"))
    writer.write(frame("b"))
    sending = [asyncio.create_task(writer.send(event(text))) for text in ("own", "too")]
    await settle()
    writer.write(frame("c"))
    assert writer.busy
    assert not any(task.done() for task in sending)
    server.gate.set()
    await asyncio.gather(*sending)
    await settle()
    assert server.sent == ["a", "b", "c", "own", "too"]
    assert not writer.busy


@in_virtual_time
async def test_frame_waits_behind_an_own_event():
    writer, server, _ = make()
    server.gate.clear()
    sending = asyncio.create_task(writer.send(event("own")))
    await settle()
    writer.write(frame("a"))
    server.gate.set()
    await sending
    await settle()
    assert server.sent == ["own", "a"]


@in_virtual_time
async def test_servers_error_is_raised_to_whoever_sent_the_own_event():
    writer, server, owner = make()
    server.error = OSError("planted")
    with pytest.raises(OSError, match="planted"):
        await writer.send(event("own"))
    assert (owner.errors, writer.busy) == ([], False)


@in_virtual_time
async def test_own_event_is_dropped_when_the_last_words_came_first():
    writer, server, _ = make()
    server.gate.clear()
    writer.write(frame("a"))
    sending = asyncio.create_task(writer.send(event("own")))
    await settle()
    writer.write(frame("closing"), last=True)
    server.gate.set()
    await sending
    await writer.send(event("later"))
    assert server.sent == ["a", "closing"]


@in_virtual_time
async def test_cancelled_own_event_lets_the_others_go_on():
    writer, server, _ = make()
    server.gate.clear()
    sending = asyncio.create_task(writer.send(event("own")))
    await settle()
    writer.write(frame("a"))
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    server.gate.set()
    await settle()
    assert server.sent == ["a"]


# -- a write without a coroutine -------------------------------------------------------------------


def make_direct(server: Server, *, takes: bool) -> tuple[Writer, list[str]]:
    direct: list[str] = []

    def try_write(event: dict) -> bool:
        if takes:
            direct.append(event["text"])
        return takes

    writer = Writer(server.send, Owner(), max_messages=10, max_bytes=100, try_write=try_write)
    return writer, direct


@in_virtual_time
async def test_frame_that_was_written_directly_is_not_sent():
    server = Server()
    writer, direct = make_direct(server, takes=True)
    writer.deliver(frame("a"))
    assert writer.write(frame("bc"))
    assert (direct, server.sent) == (["a", "bc"], [])
    assert (writer.sent, writer.sent_bytes) == (2, 3)


@in_virtual_time
async def test_frame_is_sent_when_it_was_not_written_directly():
    server = Server()
    writer, _ = make_direct(server, takes=False)
    writer.write(frame("a"))
    assert (server.sent, writer.sent, writer.sent_bytes) == (["a"], 1, 1)


@in_virtual_time
async def test_nothing_is_written_directly_before_what_waits():
    server = Server()
    server.gate.clear()
    writer, _ = make_direct(server, takes=False)
    writer.write(frame("a"))  # waits in the server
    writer.try_write = lambda event: pytest.fail("written before what waits")
    writer.write(frame("b"))
    server.gate.set()
    await settle()
    assert server.sent == ["a", "b"]
