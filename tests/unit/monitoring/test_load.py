"""How busy a node is: its rates, and how late its event loop runs."""

from __future__ import annotations

import asyncio

import pytest

from channels_realtime.monitoring.load import LoadMonitor
from tests.support.nodes import NodeHarness
from tests.support.virtual_time import in_virtual_time, settle


def timers() -> list[asyncio.TimerHandle]:
    """What the loop has still to call."""
    return [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]


@in_virtual_time
async def test_rates_are_nothing_before_there_is_anything_to_compare():
    async with NodeHarness() as harness:
        monitor = harness.node.service(LoadMonitor)
        assert (monitor.rates(), monitor.loop_lag) == ((0.0, 0.0, 0.0), 0.0)
        await monitor.start()
        assert (monitor.rates(), monitor.loop_lag) == ((0.0, 0.0, 0.0), 0.0)


@in_virtual_time
async def test_rates_are_those_of_the_last_ten_seconds():
    async with NodeHarness() as harness:
        monitor, metrics = harness.node.service(LoadMonitor), harness.node.metrics
        await monitor.start()
        for _ in range(40):
            metrics.messages_in += 4
            metrics.delivered += 10
            metrics.connected += 1
            await asyncio.sleep(0.5)
        rates = monitor.rates()
        assert rates.messages_in == pytest.approx(8.0)
        assert rates.delivered == pytest.approx(20.0)
        assert rates.connected == pytest.approx(2.0)
        await asyncio.sleep(11)
        assert monitor.rates() == (0.0, 0.0, 0.0)


@in_virtual_time
async def test_loop_that_is_held_up_is_seen_to_lag_for_ten_seconds():
    async with NodeHarness() as harness:
        monitor = harness.node.service(LoadMonitor)
        await monitor.start()
        await asyncio.sleep(2)
        asyncio.get_running_loop()._virtual_now += 3.0  # type: ignore[attr-defined]
        await asyncio.sleep(1)
        assert 2.5 <= monitor.loop_lag <= 3.0
        await asyncio.sleep(11)
        assert monitor.loop_lag == 0.0


@in_virtual_time
async def test_second_start_measures_no_more_often():
    async with NodeHarness() as harness:
        monitor = harness.node.service(LoadMonitor)
        await monitor.start()
        before = len(timers())
        await monitor.start()
        assert len(timers()) == before


@in_virtual_time
async def test_monitor_ends_with_its_node():
    async with NodeHarness() as harness:
        await harness.node.service(LoadMonitor).start()
        await asyncio.sleep(2)
    await settle()
    assert timers() == []
