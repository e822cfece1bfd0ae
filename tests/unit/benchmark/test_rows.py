"""How long a row of the benchmark goes on."""

from __future__ import annotations

import asyncio

import pytest

from channels_realtime.benchmark import rows
from channels_realtime.benchmark.clients import Target
from channels_realtime.benchmark.processes import BenchmarkError


@pytest.fixture
def meter() -> rows._Meter:
    return rows._Meter(Target(port=1, path="/", greets=False, channel="x", pid=None))


async def test_row_goes_on_until_a_late_first_message(meter: rows._Meter) -> None:
    stalls: list[int] = []

    def stalled() -> None:
        stalls.append(meter.count)
        if len(stalls) == 3:
            meter.count += 1

    await rows._go_on(meter, 0.01, stalled)
    assert stalls == [0, 0, 0]
    assert meter.figures()["per_second"] > 0


async def test_row_without_a_message_ends(
    meter: rows._Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "STEP_TIMEOUT_S", 0.05)
    async with asyncio.timeout(10.0):
        await rows._go_on(meter, 0.01)
    with pytest.raises(BenchmarkError, match="No message came back"):
        meter.figures()
