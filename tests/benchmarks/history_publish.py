"""What a history costs its publisher.

    python -m tests.benchmarks.history_publish [--seconds 3] [--rounds 3] [--part rates] [--part round-trips]

``rates``: publications a second of one process, to a channel with a history and to one without, in memory
and on Redis; by ``publish()`` one after another, and by 32 tasks that ``await apublish()``. Rounds
alternate; medians. ``round-trips``: what a publication sends to Redis, as its MONITOR shows it; expect at
most 2 with a history, and 1 without. ``performance history`` measures what it costs the subscribers.

Redis is one of the benchmark's own: Valkey from a wheel.
"""

import argparse
import asyncio
import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import django
import redis
from django.test import override_settings

from tests.support.redis_server import private_redis_server

PARTS = ("rates", "round-trips")
CHANNELS = {"off": "public/b", "on": "kept/b"}
PAYLOAD = {"text": "x" * 180}
TASKS = 32
COUNTED = 200
WARM = 50
LAYERS = {
    "memory": "channels.layers.InMemoryChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
}


@contextmanager
def on_layer(kind: str, url: str) -> Iterator[None]:
    """This process publishes over that layer."""
    layer = {"BACKEND": LAYERS[kind]}
    if kind != "memory":
        layer["CONFIG"] = {"hosts": [{"address": url, "socket_timeout": None}]}
    with override_settings(CHANNEL_LAYERS={"default": layer}):
        yield


def one_after_another(channel: str, seconds: float) -> float:
    """Publications a second of a thread, as of a view or a task."""
    from channels_realtime import publish

    done, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        publish(channel, PAYLOAD)
        done += 1
    return done / (time.perf_counter() - begun)


def at_once(channel: str, seconds: float) -> float:
    """Publications a second of an event loop."""
    from channels_realtime import apublish

    async def main() -> float:
        done, begun = 0, time.perf_counter()

        async def one() -> None:
            nonlocal done
            while time.perf_counter() - begun < seconds:
                await apublish(channel, PAYLOAD)
                done += 1

        await asyncio.gather(*(one() for _ in range(TASKS)))
        return done / (time.perf_counter() - begun)

    return asyncio.run(main())


WAYS: dict[str, Callable[[str, float], float]] = {
    "publish(), one after another": one_after_another,
    f"apublish(), {TASKS} at once": at_once,
}


def rates(url: str, seconds: float, rounds: int) -> None:
    for kind in ("memory", "pubsub", "core"):
        with on_layer(kind, url):
            for way, run in WAYS.items():
                found: dict[str, list[float]] = {name: [] for name in CHANNELS}
                for _ in range(rounds):
                    for name, channel in CHANNELS.items():
                        run(channel, 0.2)
                        found[name].append(run(channel, seconds))
                off, on = (statistics.median(found[name]) for name in CHANNELS)
                print(
                    f"{kind}, {way}: {on:,.0f} a second with history, {off:,.0f} without"
                    f" ({on / off:.2f}); median of {rounds}",
                    flush=True,
                )


def commands_of(url: str, run: Callable[[], None]) -> Counter[str]:
    """The commands that clients send meanwhile; what scripts call is not sent."""
    found: Counter[str] = Counter()
    begun = threading.Event()
    with redis.Redis.from_url(url) as client, client.monitor() as monitor:

        def listen() -> None:
            begun.set()
            for event in monitor.listen():
                if event["client_type"] == "lua":
                    continue
                name = event["command"].split(" ")[0].upper()
                if name == "ECHO":
                    return
                found[name] += 1

        listener = threading.Thread(target=listen)
        listener.start()
        begun.wait()
        run()
        client.echo("done")
        listener.join()
    return found


def round_trips(url: str) -> None:
    from channels_realtime import publish

    for kind in ("pubsub", "core"):
        with on_layer(kind, url):
            for name, channel in CHANNELS.items():
                for _ in range(WARM):
                    publish(channel, PAYLOAD)

                def run(channel: str = channel) -> None:
                    for _ in range(COUNTED):
                        publish(channel, PAYLOAD)

                found = commands_of(url, run)
                each = sum(found.values()) / COUNTED
                print(
                    f"{kind}, history {name}: {each:.2f} commands a publication"
                    f" ({dict(found)} for {COUNTED})",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", choices=PARTS, action="append")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    parts = options.part or PARTS
    with private_redis_server() as url:
        if "rates" in parts:
            rates(url, options.seconds, options.rounds)
        if "round-trips" in parts:
            round_trips(url)


if __name__ == "__main__":
    main()
