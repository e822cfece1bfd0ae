"""One timer for everybody, on a loop of virtual time."""

from __future__ import annotations

import asyncio

import pytest

from channels_realtime.runtime.timers import Timers
from tests.support.virtual_time import VirtualClock, in_virtual_time


class Alarm:
    """Notes when it was due; ``following`` are its next deadlines, counted from each call."""

    early = False

    def __init__(self, *following: float | None) -> None:
        self.calls: list[float] = []
        self.following = list(following)

    def due(self, now: float) -> float | None:
        self.calls.append(now)
        following = self.following.pop(0) if self.following else None
        return None if following is None else now + following


def now() -> float:
    return asyncio.get_running_loop().time()


@in_virtual_time
async def test_timer_calls_at_the_deadline_once():
    timers, alarm, start = Timers(VirtualClock()), Alarm(), now()
    timers.set(alarm, start + 10)
    await asyncio.sleep(9.99)
    assert alarm.calls == []
    await asyncio.sleep(0.02)
    assert alarm.calls == [start + 10]
    await asyncio.sleep(3_600)
    assert len(alarm.calls) == 1
    assert len(timers) == 0


@in_virtual_time
async def test_timer_calls_again_when_it_is_given_another_deadline():
    timers, alarm, start = Timers(VirtualClock()), Alarm(5, 5, None), now()
    timers.set(alarm, start + 5)
    await asyncio.sleep(60)
    assert alarm.calls == [start + 5, start + 10, start + 15]


@in_virtual_time
async def test_timer_calls_everybody_in_the_order_of_their_deadlines():
    timers, order, start = Timers(VirtualClock()), [], now()

    class Named:
        early = False

        def __init__(self, name):
            self.name = name

        def due(self, now):
            order.append(self.name)

    for name, at in [("c", 3), ("a", 1), ("b", 2)]:
        timers.set(Named(name), start + at)
    await asyncio.sleep(10)
    assert order == ["a", "b", "c"]


@in_virtual_time
async def test_timer_calls_earlier_when_the_deadline_moves_earlier():
    timers, alarm, start = Timers(VirtualClock()), Alarm(), now()
    timers.set(alarm, start + 100)
    timers.set(alarm, start + 1)
    await asyncio.sleep(2)
    assert alarm.calls == [start + 1]
    await asyncio.sleep(200)
    assert len(alarm.calls) == 1


@in_virtual_time
async def test_timer_keeps_the_old_deadline_when_it_moves_later():
    timers, alarm, start = Timers(VirtualClock()), Alarm(99), now()
    timers.set(alarm, start + 1)
    timers.set(alarm, start + 100)
    await asyncio.sleep(2)
    assert alarm.calls == [start + 1]
    await asyncio.sleep(100)
    assert alarm.calls == [start + 1, start + 100]


@in_virtual_time
async def test_timer_forgets_the_old_deadline_when_it_is_postponed():
    timers, alarm, other, start = Timers(VirtualClock()), Alarm(), Alarm(), now()
    timers.set(alarm, start + 1)
    timers.set(other, start + 2)
    timers.postpone(alarm, start + 100)
    timers.postpone(alarm, None)
    await asyncio.sleep(3)
    assert (alarm.calls, other.calls) == ([], [start + 2])
    await asyncio.sleep(200)
    assert alarm.calls == [start + 100]


@in_virtual_time
async def test_timer_does_not_call_when_there_is_no_deadline():
    timers, alarm = Timers(VirtualClock()), Alarm()
    timers.set(alarm, None)
    await asyncio.sleep(100)
    assert alarm.calls == []
    assert len(timers) == 0


@in_virtual_time
async def test_timer_does_not_call_what_was_removed():
    timers, alarm, other, start = Timers(VirtualClock()), Alarm(), Alarm(), now()
    timers.set(alarm, start + 1)
    timers.set(other, start + 1)
    timers.remove(alarm)
    timers.remove(alarm)
    await asyncio.sleep(2)
    assert (alarm.calls, other.calls) == ([], [start + 1])


@in_virtual_time
async def test_timer_calls_who_comes_back_after_being_removed():
    timers, alarm, start = Timers(VirtualClock()), Alarm(), now()
    timers.set(alarm, start + 1)
    timers.remove(alarm)
    timers.set(alarm, start + 5)
    await asyncio.sleep(10)
    assert alarm.calls == [start + 5]


@in_virtual_time
async def test_timer_calls_the_others_when_one_fails(caplog):
    class Broken:
        early = False

        def due(self, now):
            raise ZeroDivisionError

    timers, alarm, start = Timers(VirtualClock()), Alarm(), now()
    timers.set(Broken(), start + 1)
    timers.set(alarm, start + 1)
    await asyncio.sleep(2)
    assert alarm.calls == [start + 1]
    ours = [record for record in caplog.records if record.name.startswith("channels_realtime")]
    assert [record.getMessage() for record in ours] == ["A timer failed"]


@in_virtual_time
async def test_timer_calls_at_once_when_the_deadline_has_passed():
    timers, alarm = Timers(VirtualClock()), Alarm()
    timers.set(alarm, now() - 100)
    await asyncio.sleep(0.01)
    assert len(alarm.calls) == 1


@in_virtual_time
async def test_timer_does_not_keep_the_loop_when_a_deadline_is_always_past():
    class Stubborn:
        count = 0

        def due(self, now):
            self.count += 1
            return now - 1

    timers, stubborn = Timers(VirtualClock()), Stubborn()
    timers.set(stubborn, now())
    await asyncio.sleep(0.1)
    assert 50 <= stubborn.count <= 110
    timers.close()


@in_virtual_time
async def test_timer_may_be_set_and_removed_while_it_calls():
    timers, other, start = Timers(VirtualClock()), Alarm(), now()

    class Setter:
        early = False

        def due(self, now):
            timers.set(other, now + 1)
            timers.set(self, now + 5)
            timers.remove(self)

    timers.set(Setter(), start + 1)
    await asyncio.sleep(20)
    assert other.calls == [start + 2]
    assert len(timers) == 0


@in_virtual_time
async def test_timer_calls_nothing_when_it_is_closed():
    timers, alarm = Timers(VirtualClock()), Alarm()
    timers.set(alarm, now() + 1)
    timers.close()
    timers.close()
    await asyncio.sleep(10)
    assert alarm.calls == []
    assert len(timers) == 0


@in_virtual_time
async def test_timer_keeps_no_more_than_it_needs_when_many_come_and_go():
    timers = Timers(VirtualClock())
    for _ in range(5_000):
        alarm = Alarm()
        timers.set(alarm, now() + 60)
        timers.remove(alarm)
    assert len(timers._heap) <= 65
    timers.close()


@in_virtual_time
async def test_timer_uses_one_handle_however_many_wait():
    loop = asyncio.get_running_loop()
    timers = Timers(VirtualClock())
    for n in range(1_000):
        timers.set(Alarm(), now() + 60 + n)
    assert sum(not handle.cancelled() for handle in loop._scheduled) == 1
    timers.close()


@in_virtual_time
async def test_busy_connection_costs_no_heap_entry_for_each_message():
    timers, alarm = Timers(VirtualClock()), Alarm(60)
    for n in range(1_000):
        timers.set(alarm, now() + 25 + n * 0.001)
    assert len(timers._heap) == 1
    timers.close()


@pytest.mark.parametrize("hours", [1, 24])
def test_heartbeats_of_a_day_are_called_on_time(hours):
    @in_virtual_time
    async def day():
        timers, alarm, start = Timers(VirtualClock()), Alarm(*[25.0] * 10_000), now()
        timers.set(alarm, start + 25)
        await asyncio.sleep(hours * 3_600 + 1)
        assert len(alarm.calls) == hours * 3_600 // 25
        assert alarm.calls[-1] == pytest.approx(start + hours * 3_600, abs=0.001)
        timers.close()

    day()


class Idle(Alarm):
    """May be called together with others."""

    early = True


@in_virtual_time
async def test_timer_calls_those_that_allow_it_together_with_the_first():
    timers, start = Timers(VirtualClock()), now()
    first, second, third = Idle(), Idle(), Idle()
    for alarm, at in [(third, 10.3), (second, 10.2), (first, 10.0)]:
        timers.set(alarm, start + at)
    await asyncio.sleep(60)
    assert first.calls == second.calls == [start + 10.0]
    assert third.calls == [start + 10.3]


@in_virtual_time
async def test_timer_calls_at_its_deadline_what_may_not_be_early():
    timers, start = Timers(VirtualClock()), now()
    idle, exact = Idle(), Alarm()
    timers.set(idle, start + 10.0)
    timers.set(exact, start + 10.1)
    await asyncio.sleep(60)
    assert (idle.calls, exact.calls) == ([start + 10.0], [start + 10.1])


@in_virtual_time
async def test_timer_calls_again_at_the_deadline_what_found_it_too_early():
    timers, start = Timers(VirtualClock()), now()
    idle = Idle(0.2, None)
    timers.set(Idle(), start + 10.0)
    timers.set(idle, start + 10.2)
    await asyncio.sleep(60)
    assert idle.calls == [start + 10.0, start + 10.2]


@in_virtual_time
async def test_timer_does_not_call_what_one_before_it_in_the_same_call_has_removed():
    timers, start = Timers(VirtualClock()), now()
    second = Idle()

    class Remover(Idle):
        def due(self, now):
            timers.remove(second)
            return super().due(now)

    timers.set(Remover(), start + 10.0)
    timers.set(second, start + 10.1)
    await asyncio.sleep(60)
    assert second.calls == []
