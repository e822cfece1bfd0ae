"""What a publication costs sync code: a view under WSGI, a task, a command; against plain Channels.

    python -m tests.benchmarks.sync_publish [--seconds 1.5] [--rounds 5] [--threads 1 16]
        [--layer pubsub] [--layer core]

A process that serves nobody publishes a 200-byte payload to a channel that one process listens to,
one call after another in each of its threads. Ours is ``publish()``; the reference is what sync code does
with plain Channels, ``async_to_sync(channel_layer.group_send)``, which makes an event loop and a
connection to Redis for each call. Each round is a new process of each, in turn; medians, and the least
and the most. Microseconds are of processor time of the publishing process and of Redis, for each
publication. Expect at least ten times the rate with one thread.

Redis is one of the benchmark's own. Publishers run on the first core, Redis and the listener on the
last one, where this system can pin them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from channels_realtime.config import Config
from channels_realtime.nodes.groups import group_name
from tests.support.redis_server import private_redis_server
from tests.support.servers import ROOT

LAYERS = {
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
}
CHANNEL = "public/b"
PAYLOAD = {"text": "x" * 180}
WARM_S = 0.2
GROUP = "bench"
INBOX = "specific.bench!inbox"


def ours() -> Callable[[], Any]:
    from channels_realtime import publish

    return lambda: publish(CHANNEL, PAYLOAD)


def reference() -> Callable[[], Any]:
    from asgiref.sync import async_to_sync
    from channels.layers import get_channel_layer

    layer = get_channel_layer()
    message = {"type": "chat.message", "payload": PAYLOAD}
    return lambda: async_to_sync(layer.group_send)(GROUP, message)


WAYS = {"publish()": ours, "async_to_sync(group_send)": reference}


def pin(pid: int, core: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, {core})


def publish_for(call: Callable[[], Any], seconds: float, threads: int) -> int:
    """Call from so many threads at once; how often in all."""
    end = time.perf_counter() + seconds
    done = [0] * threads

    def work(number: int) -> None:
        while time.perf_counter() < end:
            call()
            done[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done)


def run_publisher(way: str, layer: str, url: str, seconds: float, threads: int) -> None:
    """The publishing process; prints what it found."""
    import django
    from django.test import override_settings

    django.setup()
    pin(0, 0)
    config = {"hosts": [url], "prefix": layer}
    layers = {"default": {"BACKEND": LAYERS[layer], "CONFIG": config}}
    with redis.Redis.from_url(url) as admin, override_settings(CHANNEL_LAYERS=layers):
        call = WAYS[way]()
        publish_for(call, WARM_S, threads)
        in_redis = _redis_seconds(admin)
        used, begun = time.process_time(), time.perf_counter()
        done = publish_for(call, seconds, threads)
        took, used = time.perf_counter() - begun, time.process_time() - used
        in_redis = _redis_seconds(admin) - in_redis
    print(json.dumps([done / took, used / done * 1e6, in_redis / done * 1e6]), flush=True)


def _redis_seconds(admin: Any) -> float:
    info = admin.info("cpu")
    return float(info["used_cpu_user"] + info["used_cpu_sys"])


def in_process(way: str, layer: str, url: str, seconds: float, threads: int) -> list[float]:
    command = [sys.executable, "-m", "tests.benchmarks.sync_publish", "--publisher", way]
    command += ["--layer", layer, "--url", url, "--seconds", str(seconds)]
    command += ["--threads", str(threads)]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    found: list[float] = json.loads(done.stdout)
    return found


def compare(layer: str, url: str, seconds: float, threads: int, rounds: int) -> None:
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, results in found.items():
            results.append(in_process(way, layer, url, seconds, threads))
    medians = {}
    for way, results in found.items():
        rates, used, in_redis = zip(*results, strict=True)
        medians[way] = statistics.median(rates), statistics.median(used)
        print(
            f"{layer}, {threads} threads, {way}: {medians[way][0]:,.0f} a second"
            f" ({min(rates):,.0f} to {max(rates):,.0f}); {medians[way][1]:,.0f} us"
            f" ({min(used):,.0f} to {max(used):,.0f}), in Redis {statistics.median(in_redis):,.0f} us",
            flush=True,
        )
    own, others = medians.values()
    print(
        f"{layer}, {threads} threads: {own[0] / others[0]:.1f} times the rate,"
        f" 1/{others[1] / own[1]:.1f} of the processor time; median of {rounds}",
        flush=True,
    )


@contextmanager
def listener(url: str) -> Iterator[None]:
    """One process is in the groups of both ways, on both layers; this one takes what comes."""
    groups = [GROUP, group_name(Config().group_prefix, CHANNEL)]
    last = (os.cpu_count() or 1) - 1
    pin(0, last)
    with redis.Redis.from_url(url) as admin, admin.pubsub() as pubsub:
        pin(admin.info("server")["process_id"], last)
        for group in groups:
            admin.zadd(f"core:group:{group}", {INBOX: time.time()})
        pubsub.subscribe(*(f"pubsub__group__{group}" for group in groups))
        ended = threading.Event()

        def listen() -> None:
            while not ended.is_set():
                pubsub.get_message(timeout=0.1)

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--layer", choices=LAYERS, action="append")
    parser.add_argument("--publisher", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    layers = options.layer or list(LAYERS)
    if options.publisher:
        [layer], [threads] = layers, options.threads
        run_publisher(options.publisher, layer, options.url, options.seconds, threads)
        return
    with private_redis_server() as url, listener(url):
        for layer in layers:
            for threads in options.threads:
                compare(layer, url, options.seconds, threads, options.rounds)


if __name__ == "__main__":
    main()
