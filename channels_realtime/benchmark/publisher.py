"""A process that serves nobody and publishes from its one thread, as a view under WSGI or a task does.

``python -m channels_realtime.benchmark.publisher site 3 200`` publishes 200 bytes for three seconds and
prints the figures as JSON; ``plain_channels`` does it with the channel layer alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import django

from .applications import CHANNEL, configure
from .references import LAYER_VARIABLE, PREFIX_VARIABLE

_WARM_UP_S = 0.2


def _site(payload: Any) -> Callable[[], object]:
    configure()
    django.setup()
    # These need loaded apps.
    from ..publishing import publish
    from . import channels  # noqa: F401  # registers the channel

    return lambda: publish(f"{CHANNEL}sync", payload)


def _plain_channels(payload: Any) -> Callable[[], object]:
    django.setup()
    from asgiref.sync import async_to_sync
    from channels.layers import get_channel_layer

    send = get_channel_layer(os.environ[LAYER_VARIABLE]).group_send
    group = f"{os.environ[PREFIX_VARIABLE]}.sync"
    message = {"type": "bench.message", "payload": payload}
    return lambda: async_to_sync(send)(group, message)


WAYS = {"site": _site, "plain_channels": _plain_channels}


def main(way: str, seconds: float, size: int) -> None:
    """Publish, and print what one publication cost."""
    call = WAYS[way]({"pad": "x" * max(0, size - len('{"pad":""}'))})
    _repeat(call, _WARM_UP_S)
    used, begun = time.process_time(), time.perf_counter()
    count = _repeat(call, seconds)
    used, took = time.process_time() - used, time.perf_counter() - begun
    sys.stdout.write(json.dumps({"per_second": count / took, "cpu_us": used / count * 1e6}))


def _repeat(call: Callable[[], object], seconds: float) -> int:
    count, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end or not count:
        call()
        count += 1
    return count


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
