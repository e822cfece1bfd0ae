"""A task that writes again and again: when, how failures are logged, and its end."""

from __future__ import annotations

import asyncio

from django.db import OperationalError

from channels_realtime.errors import Unavailable
from channels_realtime.runtime.write_behind import STOP_TIMEOUT_S, WriteBehind
from tests.support.virtual_time import in_virtual_time, settle


class Writing:
    """A writer whose writes are noted with their times, and fail as told."""

    def __init__(self, **options) -> None:
        self.times: list[float] = []
        self.errors: list[Exception | None] = []
        self.writer = WriteBehind("rows", self._write, lambda: 10.0, **options)
        self._began = asyncio.get_running_loop().time()

    async def _write(self) -> None:
        self.times.append(asyncio.get_running_loop().time() - self._began)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error

    async def nothing(self) -> None:
        pass

    async def __aenter__(self) -> Writing:
        self.writer.start()
        self.writer.start()
        await settle()
        return self

    async def __aexit__(self, *exception) -> None:
        await self.writer.stop(self.nothing, "not")


@in_virtual_time
async def test_it_writes_at_intervals_and_when_woken():
    async with Writing() as writing:
        await asyncio.sleep(15.0)
        writing.writer.wake()
        await asyncio.sleep(12.0)
        assert writing.times == [0.0, 10.0, 15.0, 25.0]


@in_virtual_time
async def test_pauses_grow_after_failures_and_a_wake_does_not_shorten_them():
    writing = Writing()
    writing.errors = [OperationalError()] * 6
    async with writing:
        writing.writer.wake()
        await asyncio.sleep(30.0)
        assert writing.times == [0.0, 0.25, 0.75, 1.75, 3.75, 7.75, 12.75, 22.75]


@in_virtual_time
async def test_failures_in_a_row_are_logged_once_and_so_is_their_end(caplog):
    caplog.set_level("INFO")
    writing = Writing(quiet=(Unavailable,))
    writing.errors = [Unavailable("away"), OperationalError("secret"), KeyError("x"), None]
    async with writing:
        await asyncio.sleep(60.0)
    assert [record.getMessage() for record in caplog.records] == [
        "Writing rows failed: OperationalError",
        "Writing rows works again",
    ]
    assert "secret" not in caplog.text


@in_virtual_time
async def test_failure_that_nobody_expects_is_logged_with_its_trace(caplog):
    writing = Writing(quiet=(Unavailable,))
    writing.errors = [KeyError("x")]
    async with writing:
        pass
    assert "Writing rows failed: KeyError" in caplog.text
    assert "Traceback" in caplog.text


@in_virtual_time
async def test_stop_writes_what_is_left_and_does_not_wait_for_ever(caplog):
    caplog.set_level("INFO")
    writing = Writing()
    async with writing:
        now = asyncio.get_running_loop().time
        began = now()
        await writing.writer.stop(asyncio.Event().wait, "Rows were left")
        assert now() - began == STOP_TIMEOUT_S
    assert caplog.messages == ["Rows were left: TimeoutError"]
    writing.writer.start()
    await asyncio.sleep(60.0)
    assert writing.times == [0.0]


@in_virtual_time
async def test_stop_of_what_never_began_writes_nothing():
    writing = Writing()
    await writing.writer.stop(writing._write, "not")
    assert writing.times == []
