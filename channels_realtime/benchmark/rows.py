"""What is measured of one server: each row opens connections of its own, and closes them.

In: a target. Out: figures by name. A row goes on for some seconds, so it takes as long on any machine; what a
server loses ends no row, and is a figure.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from .clients import HEARTBEAT, STEP_TIMEOUT_S, Client, Target, connected
from .connection import TEXT, frame
from .processes import BenchmarkError, inherited, processor_seconds, resident

_STALL_S = 1.0
"""What has not come by then after the last message is lost."""
_WARM_UP_S = 0.3
_PUBLISHERS = 4
_WINDOW = 64
"""Publications of the row ``publish`` that are under way at one time."""
_ECHO_CLIENTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure with.

    Args:
        clients: connections of a row.
        seconds: how long each row goes on.
        size: bytes of a payload.
        rate: publications a second of the row ``latency``.
        idle_seconds: how long the row ``idle`` goes on.
    """

    clients: int
    seconds: float
    size: int
    rate: float
    idle_seconds: float


class Figure(NamedTuple):
    """What a row measures.

    Args:
        name: the key in JSON, with its unit.
        title: in the table.
        more_is_better: or less.
    """

    name: str
    title: str
    more_is_better: bool


class _Meter:
    """Counts something from its beginning to its end, with what the server needs for it."""

    def __init__(self, target: Target) -> None:
        self._pid = target.pid
        self.count = 0
        self.start()

    def start(self) -> None:
        self.count = 0
        self._processor = processor_seconds(self._pid)
        self._at = time.perf_counter()

    def figures(self, count: int | None = None) -> dict[str, float]:
        """``per_second``, and ``cpu_us`` of each where the system tells."""
        count = self.count if count is None else count
        if not count:
            raise BenchmarkError("No message came back from the server")
        took = time.perf_counter() - self._at
        found = {"per_second": count / took}
        used = processor_seconds(self._pid)
        if used is not None and self._processor is not None:
            found["cpu_us"] = (used - self._processor) / count * 1e6
        return found


async def _go_on(meter: _Meter, seconds: float, stalled: Callable[[], None] = lambda: None) -> None:
    """Wait so long, and longer for the first message, with which a busy machine may be late.

    Args:
        stalled: called where nothing has come for a while.
    """
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end or (not meter.count and now < end + STEP_TIMEOUT_S):
        before = meter.count
        await asyncio.sleep(min(_STALL_S, seconds))
        if meter.count == before:
            stalled()


@asynccontextmanager
async def _without_collector() -> AsyncIterator[None]:
    """The clients' process collects no garbage in the block."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# -- the rows ------------------------------------------------------------------------------------------


async def connect(target: Target, plan: Plan) -> dict[str, float]:
    """Connect and subscribe, all to one channel; the memory, if they are the server's first."""
    async with connected(target, 1, f"{target.channel}warm-up"):
        pass
    before = resident(target.pid)
    meter = _Meter(target)
    async with _without_collector(), connected(target, plan.clients, f"{target.channel}connect"):
        found = meter.figures(plan.clients)
        await asyncio.sleep(_WARM_UP_S)
        after = resident(target.pid)
    if before is not None and after is not None:
        found["kib"] = (after - before) / 1024 / plan.clients
    return found


async def connect_own(target: Target, plan: Plan) -> dict[str, float]:
    """Connect and subscribe, each to a channel of its own."""
    meter = _Meter(target)
    async with (
        _without_collector(),
        connected(target, plan.clients, *_own_channels(target, plan.clients)),
    ):
        return meter.figures(plan.clients)


def _own_channels(target: Target, count: int) -> list[str]:
    return [f"{target.channel}own-{number}" for number in range(count)]


def _publication(channel: str, size: int) -> bytes:
    """A frame that publishes ``size`` bytes, with the time."""
    payload = {"at": time.monotonic(), "pad": ""}
    payload["pad"] = "x" * max(0, size - len(json.dumps(payload)))
    return frame(
        TEXT, json.dumps({"type": "publish", "channel": channel, "payload": payload}).encode()
    )


async def fan_out(target: Target, plan: Plan) -> dict[str, float]:
    """One channel; the next publication when all have the last one."""
    channel = f"{target.channel}fan-out"
    async with (
        connected(target, 1, first=plan.clients) as (publisher,),
        connected(target, plan.clients, channel) as clients,
        _without_collector(),
    ):
        meter = _Meter(target)
        expected = 0
        everybody = asyncio.Event()

        def count(data: bytes) -> None:
            meter.count += 1
            if meter.count >= expected:
                everybody.set()

        for client in clients:
            client.on_message = count

        async def publish(seconds: float) -> int:
            nonlocal expected
            meter.start()
            sent = expected = 0
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                sent += len(clients)
                expected = meter.count + len(clients)
                everybody.clear()
                publisher.transport.write(_publication(channel, plan.size))
                await _unless_stalled(everybody, meter)
            return sent

        await publish(_WARM_UP_S)
        sent = await publish(plan.seconds)
        return {**meter.figures(), "lost_percent": _lost(sent, meter.count)}


async def _unless_stalled(event: asyncio.Event, meter: _Meter) -> None:
    """Wait for the event, as long as the meter goes on."""
    while not event.is_set():
        before = meter.count
        try:
            async with asyncio.timeout(_STALL_S):
                await event.wait()
        except TimeoutError:
            if meter.count == before:
                return


def _lost(sent: int, received: int) -> float:
    return max(0.0, 100 * (1 - received / sent)) if sent else 0.0


async def publish(target: Target, plan: Plan) -> dict[str, float]:
    """A channel each, and clients that publish to all of them in turn."""
    channels = _own_channels(target, plan.clients)
    async with (
        connected(target, _PUBLISHERS, first=plan.clients) as publishers,
        connected(target, plan.clients, *channels) as clients,
        _without_collector(),
    ):
        meter = _Meter(target)
        sent = 0
        ending = False
        frames = [_publication(channel, plan.size) for channel in channels]
        turns = itertools.cycle(
            [
                (publishers[number % _PUBLISHERS], data)
                for number, data in enumerate(frames * _PUBLISHERS)
            ]
        )

        def send() -> None:
            nonlocal sent
            publisher, data = next(turns)
            publisher.transport.write(data)
            sent += 1

        def send_window() -> None:
            for _ in range(min(_WINDOW, plan.clients)):
                send()

        def received(data: bytes) -> None:
            meter.count += 1
            if not ending:
                send()

        for client in clients:
            client.on_message = received
        send_window()
        await asyncio.sleep(_WARM_UP_S)
        meter.start()
        sent = min(_WINDOW, plan.clients)  # under way now
        await _go_on(meter, plan.seconds, send_window)  # where it is lost
        found = meter.figures()
        ending = True
        await _until_quiet(meter)
        return {**found, "lost_percent": _lost(sent, meter.count)}


async def _until_quiet(meter: _Meter) -> None:
    while True:
        before = meter.count
        await asyncio.sleep(_STALL_S / 2)
        if meter.count == before:
            return


async def ping(target: Target, plan: Plan) -> dict[str, float]:
    """Each client sends the next ``ping`` when it has the ``pong``."""
    async with (
        connected(target, min(plan.clients, _ECHO_CLIENTS)) as clients,
        _without_collector(),
    ):
        meter = _Meter(target)
        data = frame(TEXT, HEARTBEAT)

        def answer(client: Client) -> Callable[[bytes], None]:
            def received(message: bytes) -> None:
                meter.count += 1
                client.transport.write(data)

            return received

        for client in clients:
            client.on_message = answer(client)
            client.transport.write(data)
        await asyncio.sleep(_WARM_UP_S)
        meter.start()
        await _go_on(meter, plan.seconds)
        return meter.figures()


async def latency(target: Target, plan: Plan) -> dict[str, float]:
    """One channel, so many publications a second; from publishing to each client's delivery."""
    channel = f"{target.channel}latency"
    async with (
        connected(target, 1, first=plan.clients) as (publisher,),
        connected(target, plan.clients, channel) as clients,
        _without_collector(),
    ):
        meter = _Meter(target)
        ages: list[float] = []

        def received(data: bytes) -> None:
            meter.count += 1
            at = data.index(b'"at":') + 5
            ages.append(time.monotonic() - float(data[at : data.index(b",", at)]))

        for client in clients:
            client.on_message = received
        start = time.monotonic()
        number = max(1, round(plan.seconds * plan.rate))
        for turn in range(number):
            await asyncio.sleep(max(0.0, start + turn / plan.rate - time.monotonic()))
            publisher.transport.write(_publication(channel, plan.size))
        await _until_quiet(meter)
        if not ages:
            raise BenchmarkError("No publication came back from the server")
        ages.sort()
        return {
            "p50_ms": _percentile(ages, 0.5) * 1e3,
            "p99_ms": _percentile(ages, 0.99) * 1e3,
            "lost_percent": _lost(number * len(clients), len(ages)),
        }


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def idle(target: Target, plan: Plan) -> dict[str, float]:
    """Connections without traffic, from right after the last one has come."""
    async with connected(target, plan.clients, f"{target.channel}idle"):
        before, at = processor_seconds(target.pid), time.monotonic()
        await asyncio.sleep(plan.idle_seconds)
        after = processor_seconds(target.pid)
        if before is None or after is None:
            raise BenchmarkError("This system does not tell what a process uses of the processor")
        return {"core_percent": (after - before) / (time.monotonic() - at) * 100}


async def sync_publish(target: Target, plan: Plan) -> dict[str, float]:
    """``publish()`` in a thread of a process that serves nobody; nothing where the target has no such thing."""
    if target.publisher is None:
        return {}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "channels_realtime.benchmark.publisher"),
        *(target.name, str(plan.seconds), str(plan.size)),
        env=inherited() | target.publisher,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise BenchmarkError(
            f"The publisher ended with status {process.returncode}:\n{err.decode(errors='replace')}"
        )
    found: dict[str, float] = json.loads(out)
    return found


_RATE = Figure("per_second", "a second", more_is_better=True)
_CPU = Figure("cpu_us", "CPU µs each", more_is_better=False)
_KIB = Figure("kib", "KiB each", more_is_better=False)
_LOST = Figure("lost_percent", "lost, %", more_is_better=False)


class Row(NamedTuple):
    """A measurement.

    Args:
        title: in the table.
        measure: takes a target and a plan; returns figures by name.
        figures: all that it may return, in the order of the table.
    """

    title: str
    measure: Callable[[Target, Plan], Coroutine[Any, Any, dict[str, float]]]
    figures: tuple[Figure, ...]


ROWS: dict[str, Row] = {
    "connect": Row("connect, one channel", connect, (_RATE, _CPU, _KIB)),
    "connect-own": Row("connect, a channel each", connect_own, (_RATE, _CPU)),
    "fan-out": Row("fan-out: deliveries", fan_out, (_RATE, _CPU, _LOST)),
    "publish": Row("publish to a channel each", publish, (_RATE, _CPU, _LOST)),
    "sync-publish": Row("publish() in another process", sync_publish, (_RATE, _CPU)),
    "ping": Row("ping to pong", ping, (_RATE, _CPU)),
    "latency": Row(
        "publish to delivery",
        latency,
        (
            Figure("p50_ms", "p50, ms", more_is_better=False),
            Figure("p99_ms", "p99, ms", more_is_better=False),
            _LOST,
        ),
    ),
    "idle": Row("idle", idle, (Figure("core_percent", "% of a core", more_is_better=False),)),
}
"""By the name on the command line, in the order in which they run; the memory of the first connections is
only seen in a new process."""

NOT_BY_DEFAULT = ("idle",)
NEEDS_A_SHARED_LAYER = ("sync-publish",)
NEEDS_AN_OWN_SERVER = ("sync-publish", "idle")


async def check(target: Target) -> None:
    """Connect and subscribe once.

    Raises:
        BenchmarkError: the server lets no client in, or has no such channel.
    """
    async with connected(target, 1, f"{target.channel}any"):
        pass


async def node_of(target: Target) -> str:
    """The id of the node that a site's server runs."""
    async with connected(target, 1) as (client,):
        reply = await client.ask(
            {"type": "call", "channel": f"{target.channel}any", "method": "node"}, b'"result"'
        )
        return str(json.loads(reply)["payload"])
