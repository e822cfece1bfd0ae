"""Merges the samples of all nodes into time series. Pure.

In: rows of ``SampleRecord``, from the overview. Out: a ``Summary`` for its plots and tables.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..nodes.metrics import LATENCY_BOUNDS_S, LATENCY_BUCKETS


class Sample(NamedTuple):
    """The columns of a ``SampleRecord``, in the order that ``summarise`` takes them in."""

    node_id: str
    at: datetime.datetime
    seconds: float
    connections: int
    connected: int
    messages_in: int
    messages_out: int
    throttled: int
    recovered: int
    unrecovered: int
    healed_gaps: int
    latency_counts: Sequence[float]
    disconnects: Mapping[str, int]
    denials: Mapping[str, int]


COUNTED = (
    *("connected", "messages_in", "messages_out", "throttled"),
    *("recovered", "unrecovered", "healed_gaps"),
)
"""The columns that count events."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """All nodes together in one stretch of time."""

    begin: datetime.datetime
    end: datetime.datetime
    connections: float
    """The average over the stretch."""
    rates: Mapping[str, float]
    """Events per second: those of ``COUNTED``, ``disconnects`` and ``denials``."""
    latency_p50_s: float | None
    """None where there was no publication."""
    latency_p99_s: float | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What all nodes counted in a period.

    The totals are of whole samples, including those that reach over an edge of the period.
    """

    points: tuple[Point, ...]
    samples: int
    totals: Mapping[str, int]
    """Events, by the same names as the rates."""
    disconnects: Mapping[str, int]
    denials: Mapping[str, int]


def horizon(rows: Iterable[Sample], now: datetime.datetime, interval: float) -> datetime.datetime:
    """The moment up to which every live node has written its samples.

    Nodes write at different moments, so a series up to now would always end in a drop. A node that
    has written nothing for two intervals counts as dead.

    Args:
        rows: samples of all nodes, in any order.
        now: the result if there is no live node.
        interval: seconds from one sample of a node to the next.
    """
    last: dict[str, datetime.datetime] = {}
    for row in rows:
        known = last.get(row.node_id)
        if known is None or row.at > known:
            last[row.node_id] = row.at
    oldest = now - datetime.timedelta(seconds=2 * interval)
    return min((at for at in last.values() if oldest <= at < now), default=now)


def summarise(
    rows: Iterable[Sample], since: datetime.datetime, until: datetime.datetime, buckets: int
) -> Summary:
    """Merge the samples of all nodes into equally long stretches of time.

    A sample is spread evenly over the time that it covers. Where a node has no sample it has no
    connections: it had not started, or had stopped.

    Args:
        rows: in any order; those outside the period are ignored.
        since: the beginning of the first stretch.
        until: the end of the last one.
        buckets: how many points.
    """
    start, span = since.timestamp(), (until - since).total_seconds()
    sums = [_Bucket() for _ in range(buckets)]
    width = span / buckets
    totals: Counter[str] = Counter()
    disconnects: Counter[str] = Counter()
    denials: Counter[str] = Counter()
    samples = 0
    for row in rows:
        end = row.at.timestamp() - start
        seconds = max(row.seconds, 0.001)
        begin = end - seconds
        if end <= 0 or begin >= span:
            continue
        samples += 1
        counts = {name: getattr(row, name) for name in COUNTED}
        counts["disconnects"] = sum(row.disconnects.values())
        counts["denials"] = sum(row.denials.values())
        totals.update(counts)
        disconnects.update(row.disconnects)
        denials.update(row.denials)
        first, last = max(0, int(begin // width)), min(buckets - 1, int(end // width))
        for index in range(first, last + 1):
            if first == last and begin >= 0 and end <= span:
                overlap = seconds
            else:
                overlap = min(end, (index + 1) * width) - max(begin, index * width)
            if overlap > 0:
                sums[index].add(row, counts, overlap, overlap / seconds, width)
    return Summary(
        points=tuple(
            bucket.point(start + index * width, width) for index, bucket in enumerate(sums)
        ),
        samples=samples,
        totals=totals,
        disconnects=disconnects,
        denials=denials,
    )


class _Bucket:
    """What the samples add up to in one stretch of time."""

    __slots__ = ("connections", "counts", "latencies")

    def __init__(self) -> None:
        self.connections = 0.0  # times seconds
        self.counts = dict.fromkeys((*COUNTED, "disconnects", "denials"), 0.0)
        self.latencies: list[Sequence[float]] = []

    def add(
        self, row: Sample, counts: Mapping[str, int], overlap: float, share: float, width: float
    ) -> None:
        """Add the share of a sample that falls into this stretch."""
        self.connections += row.connections * overlap
        for name, count in counts.items():
            self.counts[name] += count * share
        latencies = row.latency_counts
        # Two clocks measure, so a sample overlaps a little with its neighbours' time: too little to
        # count publications there. Counts of another length come from another version.
        if (
            latencies
            and len(latencies) == LATENCY_BUCKETS
            and overlap >= 0.02 * min(overlap / share, width)
        ):
            self.latencies.append(
                latencies if share == 1.0 else [count * share for count in latencies]
            )

    def point(self, begin: float, width: float) -> Point:
        """The averages over the ``width`` seconds from ``begin`` on."""
        latencies = [sum(counts) for counts in zip(*self.latencies, strict=True)]
        return Point(
            begin=datetime.datetime.fromtimestamp(begin, datetime.UTC),
            end=datetime.datetime.fromtimestamp(begin + width, datetime.UTC),
            connections=self.connections / width,
            rates={name: count / width for name, count in self.counts.items()},
            latency_p50_s=quantile(latencies, 0.5),
            latency_p99_s=quantile(latencies, 0.99),
        )


def quantile(counts: Sequence[float], share: float) -> float | None:
    """The latency, in seconds, that ``share`` of the publications did not exceed; None without any.

    Assumes that publications are spread evenly over their bucket. The last bucket has no upper bound,
    so its lower bound stands for it.
    """
    total = sum(counts)
    if not total:
        return None
    wanted = share * total
    lower = 0.0
    for count, upper in zip(counts, LATENCY_BOUNDS_S, strict=False):
        if count and wanted <= count:
            return lower + (upper - lower) * wanted / count
        wanted -= count
        lower = upper
    return lower
