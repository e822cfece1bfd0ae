"""Writes one connection's frames to its transport, in order and without waiting.

``write`` is started without a task; where the transport has room, that is all. Where it suspends, one
task takes over and what follows queues in a bounded outbox. So a client that does not read delays no
other client and costs bounded memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any, Protocol

from ..conversation.outbox import Outbox
from ..protocol.frames import Frame, Policy
from ..protocol.messages import Publication

Write = Callable[[Any], Awaitable[None]]
TryWrite = Callable[[Any], bool]
Deliver = Callable[[Frame, Publication | None], None]


class Owner(Protocol):
    """Hears what happens to the writing; a connection."""

    def overflowed(self) -> None:
        """The outbox is full; a frame was not queued."""
        ...

    def dropped(self, count: int, policy: Policy) -> None:
        """So many frames were dropped that their channels' policies give up for newer ones."""
        ...

    def lost(self, error: BaseException) -> None:
        """The server could not send: the client is gone."""
        ...


class _NoOwner:
    """The owner of a writer after its connection has ended."""

    def overflowed(self) -> None:
        pass

    def dropped(self, count: int, policy: Policy) -> None:
        pass

    def lost(self, error: BaseException) -> None:
        pass


_NO_OWNER = _NoOwner()

_DONE = object()
"""In place of what an awaitable waits for: it waited for nothing."""


class Writer:
    """The way out of one connection.

    Args:
        send: the server's ``send``.
        owner: who is told of trouble.
        max_messages: frames that may wait.
        max_bytes: their bytes in sum.
        try_write: writes a frame's content at once, or says that ``send`` has to.
    """

    __slots__ = (
        "_care",
        "_drain",
        "_ended",
        "_held",
        "_max_bytes",
        "_max_messages",
        "_outbox",
        "_owner",
        "_released",
        "_turn",
        "is_free",
        "sent",
        "sent_bytes",
        "try_write",
        "write_content",
    )

    def __init__(
        self,
        send: Write,
        owner: Owner,
        *,
        max_messages: int,
        max_bytes: int,
        try_write: TryWrite | None = None,
    ) -> None:
        self.write_content = send
        """Writes a frame's content; may wait."""
        self.try_write = try_write
        """Writes a frame's content at once, or says that ``write_content`` has to."""
        self._owner: Owner = owner
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._outbox: Outbox | None = None  # most clients never need one
        self._held: Outbox | None = None
        self._drain: asyncio.Task[None] | None = None
        self._ended = False
        self._released: asyncio.Future[None] | None = None  # while something waits for it
        self._turn: asyncio.Future[None] | None = None  # there while ``send`` writes
        self._care: Deliver | None = None
        self.is_free = True
        """Whether a delivery may be written at once: nothing is ahead of it, and nobody cares."""
        self.sent = 0
        """Frames that were given to the server."""
        self.sent_bytes = 0

    @property
    def queued(self) -> int:
        """Frames that wait."""
        return sum(len(box) for box in (self._outbox, self._held) if box is not None)

    @property
    def queued_bytes(self) -> int:
        """Their bytes."""
        return sum(box.size for box in (self._outbox, self._held) if box is not None)

    @property
    def care(self) -> Deliver | None:
        """Takes the deliveries in place of the writer, while there is one; see ``Shell``."""
        return self._care

    @care.setter
    def care(self, care: Deliver | None) -> None:
        self._care = care
        self._look()

    def _look(self) -> None:
        """Whether a delivery may be written at once may have changed."""
        self.is_free = self._care is None and self._held is None and not self.busy

    def deliver(self, frame: Frame, publication: Publication | None = None) -> None:
        """Write a publication's frame, or keep it while deliveries are held."""
        if self._care is not None:
            self._care(frame, publication)
        else:
            self.take(frame)

    def take(self, frame: Frame) -> None:
        """As ``deliver``, whatever ``care`` says."""
        if self._held is not None:
            self._queue(self._held, frame)
        elif self._drain is not None or self._turn is not None:
            self._queue(self._box(), frame)
        else:
            self._write_now(frame)

    def write(self, frame: Frame, *, last: bool = False) -> bool:
        """Write a frame, after those that wait; ``last`` words find room in a full queue.

        Returns:
            False where the owner was told of trouble instead.
        """
        if last:
            self._ended = True
            self._wake()
        if self.busy:
            return self._queue(self._box(), frame, last=last)
        return self._write_now(frame)

    def _write_now(self, frame: Frame) -> bool:
        self.sent += 1
        self.sent_bytes += frame.size
        send, try_write = self.write_content, self.try_write
        try:
            if try_write is not None and try_write(frame.content):
                return True
            step = send(frame.content).__await__()
            pending = next(step, _DONE)  # an exception would cost more than all the rest
        except (Exception, asyncio.CancelledError) as error:
            # A server's own cancellation (its keepalive gave up), not that of the task that runs.
            self._owner.lost(error)
            return False
        if pending is not _DONE:
            self.suspended(step, pending)
        return True

    def suspended(self, step: Iterator[Any], pending: Any) -> None:
        """``write_content`` waits for something; have a task finish it.

        Args:
            step: the rest of it.
            pending: what it waits for.
        """
        self._start_drain(_Suspended(step, pending))

    def failed(self, error: BaseException) -> None:
        """``write_content``, or ``try_write``, has raised something.

        Raises it again where a task finishes the writing, which tells the owner.
        """
        if self._drain is not None:
            raise error
        self._owner.lost(error)

    def _start_drain(self, first: _Suspended | None = None) -> None:
        self._drain = asyncio.create_task(self._write_on(first))
        self.is_free = False

    @property
    def busy(self) -> bool:
        """Whether the server has not taken yet what was written."""
        return self._drain is not None or self._turn is not None

    async def send(
        self, event: dict[str, Any], *, size: int | None = None, last: bool = False
    ) -> None:
        """Write an event after those that wait; waits and raises as the server's ``send`` does.

        What comes after the ``last`` frame is dropped.

        Args:
            event: an ASGI event of the site's own consumer.
            size: of its frame in bytes; None for an event without one, such as the acceptance.
            last: whether nothing may follow.
        """
        while (ahead := self._drain or self._turn) is not None:
            await asyncio.wait([ahead])
        if self._ended:
            return
        self._ended = last
        if size is not None:
            self.sent += 1
            self.sent_bytes += size
        turn = self._turn = asyncio.get_running_loop().create_future()
        self.is_free = False
        try:
            await self.write_content(event)
        finally:
            self._turn = None
            turn.set_result(None)
            if self._outbox:
                self._start_drain()
            self._look()

    def _queue(self, box: Outbox, frame: Frame, *, last: bool = False) -> bool:
        dropped = box.dropped
        if not box.put(frame, last=last):
            self._owner.overflowed()
            return False
        if box.dropped != dropped:
            self._owner.dropped(box.dropped - dropped, frame.policy)
        return True

    @property
    def holds(self) -> bool:
        """Whether deliveries are kept back."""
        return self._held is not None

    async def drained(self) -> None:
        """Wait until nothing waits to be written and deliveries are not held, or it has ended."""
        while not self._ended:
            ahead: asyncio.Future[None] | None = self._drain or self._turn
            if ahead is None:
                if self._held is None:
                    return
                if self._released is None:
                    self._released = asyncio.get_running_loop().create_future()
                ahead = self._released
            await asyncio.wait([ahead])

    def _wake(self) -> None:
        released, self._released = self._released, None
        if released is not None and not released.done():
            released.set_result(None)

    def hold(self) -> None:
        """Keep deliveries back from now on."""
        if self._held is None:
            self._held = Outbox(self._max_messages, self._max_bytes)
            self.is_free = False

    def release(self) -> None:
        """Let deliveries go on, those that were held first."""
        held, self._held = self._held, None
        self._look()
        self._wake()
        while held is not None and (frame := held.get()) is not None:
            if not self.write(frame):
                return  # the owner's last words are written; nothing may follow them

    def discard(self, channel: str) -> None:
        """Take back what waits of a channel."""
        for box in (self._outbox, self._held):
            if box is not None:
                box.discard(channel)

    def clear(self) -> None:
        """Forget what waits."""
        for box in (self._outbox, self._held):
            if box is not None:
                box.clear()

    def stop(self) -> list[asyncio.Task[None]]:
        """Write no more; returns the task to wait for, if there is one."""
        self._ended = True
        self.clear()
        self._wake()
        if self._drain is None:
            return []
        self._drain.cancel()
        return [self._drain]

    def detach(self) -> None:
        """Let go of the owner: they would keep each other in memory."""
        self._owner = _NO_OWNER

    def _box(self) -> Outbox:
        if self._outbox is None:
            self._outbox = Outbox(self._max_messages, self._max_bytes)
        return self._outbox

    async def _write_on(self, first: _Suspended | None = None) -> None:
        """Finish a ``send`` that suspended, then send what has queued meanwhile."""
        try:
            if first is not None:
                await first
            box = self._box()
            while (frame := box.get()) is not None:
                self.sent += 1
                self.sent_bytes += frame.size
                await self.write_content(frame.content)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._owner.lost(error)  # the server's own
        except Exception as error:
            self._owner.lost(error)
        finally:
            self._drain = None
            self._look()


class _Suspended:
    """The rest of an awaitable after a first step outside a task."""

    __slots__ = ("_pending", "_step")

    def __init__(self, step: Iterator[Any], pending: Any) -> None:
        self._step = step
        self._pending = pending

    def __await__(self) -> Generator[Any, Any, None]:
        # A server's awaitable need not be a generator: granian's can be iterated and no more.
        step, pending = self._step, self._pending
        while True:
            try:
                yield pending  # an event loop sends nothing back
            except GeneratorExit:
                if isinstance(step, Generator):
                    step.close()
                raise
            except BaseException as error:
                if not isinstance(step, Generator):
                    raise
                try:
                    pending = step.throw(error)
                except StopIteration:
                    return
            else:
                try:
                    pending = next(step)
                except StopIteration:
                    return
