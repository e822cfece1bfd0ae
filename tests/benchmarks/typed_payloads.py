"""What declared types cost a publication, in microseconds of one process.

    python -m tests.benchmarks.typed_payloads

Both channels get the same payload. What is measured is all that ``publish()`` does before it sends. Prints the
median of nine rounds, in alternation. Fan-out is the same for both: what is sent are JSON types.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

ROUNDS = 9
PUBLICATIONS = 5_000


def main() -> None:
    import django

    django.setup()
    from channels_realtime import Channel
    from channels_realtime.channels import registry
    from channels_realtime.publications import prepare
    from tests.support.typed_channels import Line, Note, OrderChannel

    registry.register("typed", OrderChannel)
    registry.register("plain", type("Plain", (Channel,), {}))
    lines = [{"productName": f"product {number}", "pieces": number} for number in range(1, 11)]
    small = {"text": "hello", "author": "anna", "lines": []}
    large = {"text": "hello", "author": "anna", "lines": lines}
    instance = Note(text="hello", author="anna", lines=[Line(product_name="a")])
    cases: dict[str, Callable[[], Any]] = {
        "plain, dict of 3 fields": lambda: prepare("plain", small, event="note"),
        "typed, dict of 3 fields": lambda: prepare("typed", small, event="note"),
        "typed, instance": lambda: prepare("typed", instance, event="note"),
        "plain, dict of 23 fields": lambda: prepare("plain", large, event="note"),
        "typed, dict of 23 fields": lambda: prepare("typed", large, event="note"),
    }
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, run in cases.items():
            before = time.process_time()
            for _ in range(PUBLICATIONS):
                run()
            found[name].append((time.process_time() - before) / PUBLICATIONS * 1e6)
    for name, times in found.items():
        print(f"{name:28} {statistics.median(times):6.1f} µs")


if __name__ == "__main__":
    main()
