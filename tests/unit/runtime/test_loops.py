"""From any thread to the loop that serves, else to the background loop."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest

from channels_realtime.errors import Unavailable
from channels_realtime.runtime import loops
from channels_realtime.runtime.loops import BackgroundLoop
from tests.support.processes import exit_code

TIMEOUT_S = 10.0
WHO = contextvars.ContextVar("WHO", default="no request")


async def running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def thread_name() -> str:
    return threading.current_thread().name


async def who() -> str:
    return WHO.get()


@pytest.fixture(autouse=True)
def background_loop(monkeypatch) -> Iterator[BackgroundLoop]:
    """A background loop of the test's own, in a process that serves nothing yet."""
    fresh = BackgroundLoop()
    monkeypatch.setattr(loops, "background_loop", fresh)
    monkeypatch.setattr(loops, "_serving", weakref.WeakSet())
    yield fresh
    fresh.stop()


@pytest.fixture
def start_loop() -> Iterator[Callable[[], asyncio.AbstractEventLoop]]:
    """Starts event loops in threads, as a server's."""
    started = []

    def start() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="server")
        thread.start()
        started.append((loop, thread))
        return loop

    yield start
    for loop, thread in started:
        if thread.is_alive():
            loop.call_soon_threadsafe(loop.stop)
        thread.join(TIMEOUT_S)
        loop.close()


def submitted_to() -> asyncio.AbstractEventLoop:
    return loops.submit(running_loop()).result(TIMEOUT_S)


# -- where it runs ---------------------------------------------------------------------------------


def test_coroutine_runs_on_the_loop_that_serves(start_loop):
    loop = start_loop()
    loops.add_serving_loop(loop)
    assert loops.serving_loop() is loop
    assert submitted_to() is loop


def test_coroutine_runs_on_the_background_loop_where_nothing_is_served():
    assert loops.serving_loop() is None
    assert loops.submit(thread_name()).result(TIMEOUT_S) == "realtime-publisher"
    assert submitted_to() is submitted_to()


def test_loop_that_serves_no_more_is_not_used(start_loop):
    loop = start_loop()
    loops.add_serving_loop(loop)
    loops.remove_serving_loop(loop)
    loops.remove_serving_loop(loop)
    assert loops.serving_loop() is None
    assert submitted_to() is not loop


def test_loop_that_does_not_run_is_not_used(start_loop):
    stopped, running = asyncio.new_event_loop(), start_loop()
    try:
        loops.add_serving_loop(stopped)
        assert loops.serving_loop() is None
        assert submitted_to() is not stopped
        loops.add_serving_loop(running)
        assert submitted_to() is running
    finally:
        stopped.close()


async def test_thread_of_the_running_loop_submits_to_it():
    loop = asyncio.get_running_loop()
    loops.add_serving_loop(loop)
    assert await asyncio.to_thread(submitted_to) is loop


async def ended() -> None:
    raise asyncio.CancelledError


def test_loop_that_ends_or_is_busy_is_unavailable(monkeypatch):
    with pytest.raises(Unavailable, match=r"^the event loop did not answer, it has ended$"):
        loops.run(ended(), 5.0)
    monkeypatch.setattr(loops, "_LOOP_S", 0.01)
    with pytest.raises(Unavailable, match=r"^the event loop did not answer within 0.01 seconds$"):
        loops.run(asyncio.sleep(60), 0.0)


def test_failure_is_the_callers():
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loops.submit(fail()).result(TIMEOUT_S)
    assert loops.submit(thread_name()).result(TIMEOUT_S) == "realtime-publisher"


# -- its context -----------------------------------------------------------------------------------


@pytest.mark.parametrize("serves", [False, True])
def test_coroutine_has_a_context_of_its_own(start_loop, serves):
    if serves:
        loops.add_serving_loop(start_loop())
    token = WHO.set("the caller's request")
    try:
        assert loops.submit(who()).result(TIMEOUT_S) == "no request"
        assert WHO.get() == "the caller's request"
    finally:
        WHO.reset(token)


# -- the background loop ---------------------------------------------------------------------------


def test_threads_share_one_background_loop():
    found: list[asyncio.AbstractEventLoop] = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait(TIMEOUT_S)
        found.append(submitted_to())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert len(found) == 8
    assert len(set(found)) == 1


def test_background_loop_that_was_stopped_is_replaced_at_the_next_use(background_loop):
    first = submitted_to()
    background_loop.stop()
    background_loop.stop()
    assert first.is_closed()
    assert submitted_to() is not first


# -- after a fork ----------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("serves", [False, True])
def test_child_submits_to_a_background_loop_of_its_own(start_loop, serves):
    if serves:
        loops.add_serving_loop(start_loop())
    before = submitted_to()
    with loops._lock:  # as another thread may hold it, which the child does not have
        child = os.fork()
        if child == 0:
            status = 1
            try:
                after = submitted_to()
                status = 0 if after is not before and loops.serving_loop() is None else 2
            finally:
                os._exit(status)
    assert exit_code(child) == 0
    assert submitted_to() is before
