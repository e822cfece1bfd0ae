"""Running hooks, sync and async, without letting one hurt the others."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection
from django.http import Http404

from channels_realtime.errors import (
    Forbidden,
    ImproperUse,
    RateLimited,
    RequestTimeout,
)
from channels_realtime.runtime.hooks import HookRunner, translate


@pytest.fixture
async def make_runner():
    runners = []

    def make(*, threads=2, timeout=20.0, max_concurrent=10):
        runners.append(HookRunner(threads=threads, timeout=timeout, max_concurrent=max_concurrent))
        return runners[-1]

    yield make
    for runner in runners:
        runner.close()


# -- sync hooks ------------------------------------------------------------------------------------


async def test_sync_hook_runs_in_a_thread_of_our_own(make_runner):
    name = await make_runner().run(lambda: threading.current_thread().name)
    assert name.startswith("realtime-hook")


async def test_sync_hook_is_given_its_arguments_and_its_result_comes_back(make_runner):
    assert await make_runner().run(lambda a, b: a + b, 1, 2) == 3


async def test_sync_hook_raises_in_the_caller(make_runner):
    with pytest.raises(ZeroDivisionError):
        await make_runner().run(lambda: 1 / 0)


async def test_sync_hooks_run_beside_each_other_up_to_the_number_of_threads(make_runner):
    runner, barrier = make_runner(threads=3), threading.Barrier(3, timeout=20)
    assert sorted(await asyncio.gather(*[runner.run(barrier.wait) for _ in range(3)])) == [0, 1, 2]


async def test_sync_hooks_wait_for_a_thread_when_all_are_busy(make_runner):
    runner, release, running = make_runner(threads=2), threading.Event(), []
    two_run, loop = asyncio.Event(), asyncio.get_running_loop()

    def hook(number):
        running.append(number)
        if len(running) == 2:
            loop.call_soon_threadsafe(two_run.set)
        assert release.wait(20)

    tasks = [asyncio.create_task(runner.run(hook, n)) for n in range(5)]
    await asyncio.wait_for(two_run.wait(), 20)
    assert len(running) == 2
    release.set()
    await asyncio.gather(*tasks)
    assert sorted(running) == [0, 1, 2, 3, 4]


async def test_sync_hook_does_not_stop_the_loop(make_runner):
    release = threading.Event()
    task = asyncio.create_task(make_runner().run(release.wait, 20))
    await asyncio.sleep(0)
    assert not task.done()
    release.set()
    assert await task is True


async def test_sync_hook_sees_the_callers_context(make_runner):
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")
    assert await make_runner().run(variable.get) == "set"


async def test_sync_hook_in_asgirefs_thread_when_there_are_none_of_our_own(make_runner):
    name = await make_runner(threads=0).run(lambda: threading.current_thread().name)
    assert not name.startswith("realtime-hook")


async def test_sync_hook_over_its_time_is_a_timeout_and_the_next_one_runs(make_runner):
    runner, release = make_runner(threads=2, timeout=0.5), threading.Event()
    try:
        with pytest.raises(RequestTimeout, match=r"^not done within 0\.5 seconds$"):
            await runner.run(release.wait, 20)
        assert await runner.run(lambda: "next") == "next"
    finally:
        release.set()


async def test_each_sync_hook_has_its_own_time(make_runner):
    runner, release = make_runner(threads=2, timeout=0.2), threading.Event()
    loop = asyncio.get_running_loop()
    later = loop.create_future()

    async def seconds_until_given_up():
        began = loop.time()
        with pytest.raises(RequestTimeout):
            await runner.run(release.wait, 20)
        return loop.time() - began

    first = asyncio.create_task(seconds_until_given_up())
    loop.call_later(0.1, later.set_result, None)
    try:
        await later
        second = await seconds_until_given_up()
        third = await seconds_until_given_up()  # nothing was waited for meanwhile
    finally:
        release.set()
    assert min(await first, second, third) >= 0.19


async def test_sync_hooks_own_timeout_error_is_its_own(make_runner):
    def hook():
        raise TimeoutError("of the database")

    with pytest.raises(TimeoutError, match="of the database"):
        await make_runner().run(hook)


async def test_hooks_that_wait_together_are_called_in_order_and_each_has_its_own_result(
    make_runner,
):
    runner, called = make_runner(threads=1), []

    def hook(number):
        called.append(number)
        if number % 7 == 0:
            raise ZeroDivisionError(number)
        return number

    found = await asyncio.gather(*(runner.run(hook, n) for n in range(100)), return_exceptions=True)
    assert called == list(range(100))
    assert [n for n, one in enumerate(found) if isinstance(one, ZeroDivisionError)] == [
        n for n in range(100) if n % 7 == 0
    ]
    assert all(one == n for n, one in enumerate(found) if n % 7)


async def test_quick_hook_runs_beside_slow_ones_that_were_submitted_before_it(make_runner):
    runner, release = make_runner(threads=4), threading.Event()
    slow = [asyncio.create_task(runner.run(release.wait, 20)) for _ in range(3)]
    await asyncio.sleep(0)
    try:
        assert await asyncio.wait_for(runner.run(lambda: "quick"), 10) == "quick"
    finally:
        release.set()
    assert await asyncio.gather(*slow) == [True] * 3


async def test_more_than_one_batch_after_idle_threads_and_from_done_callbacks(make_runner):
    runner = make_runner(threads=3)

    async def one_after_the_other(number):
        return [await runner.run(lambda a, b: (a, b), number, step) for step in range(50)]

    found = await asyncio.gather(*map(one_after_the_other, range(20)))
    assert found == [[(n, step) for step in range(50)] for n in range(20)]


async def test_hook_that_was_given_up_before_its_turn_is_not_called(make_runner):
    runner, release, called = make_runner(threads=1), threading.Event(), []
    first = asyncio.create_task(runner.run(release.wait, 20))
    given_up = asyncio.create_task(runner.run(called.append, "given up"))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    release.set()
    await first
    assert await runner.run(lambda: "next") == "next"
    assert called == []


async def test_hook_over_its_time_before_its_turn_is_not_called(make_runner):
    runner, release, called = make_runner(threads=1, timeout=0.2), threading.Event(), []
    found = await asyncio.gather(
        runner.run(release.wait, 20), runner.run(called.append, 1), return_exceptions=True
    )
    assert [type(one) for one in found] == [RequestTimeout] * 2
    release.set()
    assert await runner.run(lambda: "next") == "next"
    assert called == []


async def test_hooks_that_wait_when_the_runner_is_closed_are_cancelled(make_runner):
    runner, release, called = make_runner(threads=1), threading.Event(), []
    first = asyncio.create_task(runner.run(release.wait, 20))
    waiting = asyncio.create_task(runner.run(called.append, 1))
    await asyncio.sleep(0)
    runner.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    release.set()
    assert await first is True
    assert called == []


async def test_stop_iteration_of_a_hook_is_an_error_and_ends_no_other(make_runner):
    runner = make_runner(threads=1)
    failed, fine = await asyncio.gather(
        runner.run(next, iter(())), runner.run(lambda: "fine"), return_exceptions=True
    )
    assert isinstance(failed, RuntimeError)
    assert fine == "fine"


async def test_result_after_the_loops_end_is_passed_over():
    runner, release, ended = (
        HookRunner(threads=1, timeout=20, max_concurrent=1),
        threading.Event(),
        threading.Event(),
    )

    def hook():
        release.wait(20)
        ended.set()

    async def begin():
        asyncio.ensure_future(runner.run(hook))  # noqa: RUF006 - the loop ends before it
        await asyncio.sleep(0)

    await asyncio.to_thread(lambda: asyncio.run(begin()))
    release.set()
    assert await asyncio.to_thread(ended.wait, 20)
    runner.close()


class Callable:
    async def __call__(self, value):
        return value


def wrapped(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


@wrapped
async def wrapped_hook(value):
    return value


@pytest.mark.parametrize(
    "hook",
    [Callable(), wrapped_hook, functools.partial(wrapped_hook), lambda value: wrapped_hook(value)],
)
@pytest.mark.parametrize("value", [True, False])
async def test_async_hook_in_disguise_is_awaited_because_a_coroutine_is_always_true(
    make_runner, hook, value
):
    assert await make_runner().run(hook, value) is value


# -- async hooks -----------------------------------------------------------------------------------


async def test_async_hook_runs_on_the_loop(make_runner):
    async def hook(value):
        return asyncio.get_running_loop(), value

    assert await make_runner().run(hook, 1) == (asyncio.get_running_loop(), 1)


async def test_async_hook_raises_in_the_caller(make_runner):
    async def hook():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await make_runner().run(hook)


async def test_async_hook_over_its_time_is_a_timeout_and_is_cancelled(make_runner):
    ended = []

    async def hook():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(RequestTimeout) as caught:
        await make_runner(timeout=0.01).run(hook)
    assert ended == [True]
    assert caught.value.code == "timeout"


async def test_async_hooks_beyond_the_limit_wait(make_runner):
    runner, gate, running = make_runner(max_concurrent=2), asyncio.Event(), []

    async def hook(number):
        running.append(number)
        await gate.wait()

    tasks = [asyncio.create_task(runner.run(hook, n)) for n in range(4)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert running == [0, 1]
    gate.set()
    await asyncio.gather(*tasks)
    assert running == [0, 1, 2, 3]


async def test_async_hook_that_is_cancelled_gives_its_place_back(make_runner):
    runner = make_runner(max_concurrent=1)

    async def forever():
        await asyncio.Event().wait()

    async def quick():
        return "done"

    task = asyncio.create_task(runner.run(forever))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await runner.run(quick) == "done"


@pytest.mark.django_db(transaction=True)
async def test_database_connection_of_a_sync_hook_is_looked_after(make_runner, settings):
    closed = []

    def hook():
        connection.ensure_connection()
        connection.close_at = 0  # past its time, as CONN_MAX_AGE would have it
        wrapped_close = connection.close
        connection.close = lambda: (closed.append(True), wrapped_close())[1]
        return True

    assert await make_runner(threads=1).run(hook) is True
    assert closed == [True]


@pytest.mark.django_db(transaction=True)
async def test_database_connection_that_has_become_too_old_is_closed_before_the_next_hook(
    make_runner,
):
    runner, closed = make_runner(threads=1), []

    def hook():
        connection.ensure_connection()
        connection.close_at = None  # a persistent one
        wrapped_close = connection.close
        connection.close = lambda: (closed.append(True), wrapped_close())[1]

    def age():
        connection.close_at = 0

    await runner.run(hook)
    assert closed == []
    await asyncio.get_running_loop().run_in_executor(runner._threads._pool, age)
    assert await runner.run(lambda: list(closed)) == [True]


# -- what hooks raise ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (Forbidden("no entry"), "forbidden", "no entry"),
        (RateLimited("slow down", retry_after=3.0), "rate_limited", "slow down"),
        (PermissionDenied("not you"), "forbidden", "not you"),
        (PermissionDenied(), "forbidden", "not allowed"),
        (Http404("secret detail"), "unknown_channel", "no such channel"),
        (ValidationError("too short"), "bad_payload", "too short"),
        (ValidationError(["one", "two"]), "bad_payload", "one two"),
    ],
)
def test_error_of_a_hook_has_its_wire_code(error, code, reason):
    found = translate(error)
    assert (found.code, found.reason) == (code, reason)


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("planted-secret"),
        KeyError("x"),
        TimeoutError(),
        ImproperUse("publish() would block the event loop it runs on"),
    ],
)
def test_unexpected_error_has_none(error):
    assert translate(error) is None
