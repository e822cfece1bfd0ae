"""A process that publishes at a rate and writes down what each append returned.

    python -m tests.checker.publisher '{"name": "p0", "rate": 100, "seconds": 10, "channels": ["checked/a"]}'

It writes a line of JSON for each publication: channel, epoch, offset, payload, begun, ended. What the
store or the layer did not take is tried again with the same idempotency key until it has a position, so
that every publication has exactly one. It ends after ``seconds``, or when its input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys
import threading
import time
from typing import Any, TextIO

import django

MAX_IN_FLIGHT = 64
RETRY_S = 0.1
GIVE_UP_S = 90.0


class Publisher:
    """Publishes to channels at random.

    Args:
        name: begins its payloads, so that each is unique.
        rate: publications a second.
        seconds: for how long.
        channels: the channels' names.
        out: takes the lines.
    """

    def __init__(
        self, name: str, rate: float, seconds: float, channels: list[str], out: TextIO
    ) -> None:
        self._name = name
        self._rate = rate
        self._seconds = seconds
        self._channels = channels
        self._out = out
        self._random = random.Random(name)
        self._room = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._ended = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        # A daemon: the process does not wait for an input that never ends.
        threading.Thread(target=self._read_to_the_end, args=(loop,), daemon=True).start()
        began = time.monotonic()
        number = 0
        async with asyncio.TaskGroup() as group:
            while not self._ended.is_set() and time.monotonic() - began < self._seconds:
                number += 1
                await self._room.acquire()
                group.create_task(self._publish(f"{self._name}-{number}"))
                await asyncio.sleep(max(0.0, began + number / self._rate - time.monotonic()))

    def _read_to_the_end(self, loop: asyncio.AbstractEventLoop) -> None:
        sys.stdin.read()
        with contextlib.suppress(RuntimeError):  # the loop has ended first
            loop.call_soon_threadsafe(self._ended.set)

    async def _publish(self, payload: str) -> None:
        from channels_realtime import apublish
        from channels_realtime.errors import Unavailable

        channel = self._random.choice(self._channels)
        begun = time.monotonic()
        try:
            while True:
                try:
                    done: Any = await apublish(channel, payload, key=payload)
                    break
                except Unavailable:
                    if time.monotonic() - begun > GIVE_UP_S:
                        raise
                    await asyncio.sleep(RETRY_S)
        finally:
            self._room.release()
        line = [channel, done.epoch, done.offset, payload, begun, time.monotonic()]
        print(json.dumps(line), file=self._out, flush=True)


def main() -> None:
    django.setup()
    options = json.loads(sys.argv[1])
    with open(options.pop("path"), "w") as out:
        asyncio.run(Publisher(**options, out=out).run())
    # The thread that waits for the input's end does not end with the loop.
    os._exit(0)


if __name__ == "__main__":
    main()
