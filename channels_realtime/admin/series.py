"""Merges the samples of all nodes into time series. Pure.

In: rows of ``SampleRecord``, from the overview. Out: a ``Summary`` for its plots and tables.
"""

from __future__ import annotations

import dataclasses
import datetime
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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """All nodes together in one stretch of time."""

    begin: datetime.datetime
    end: datetime.datetime
    connections: float
    """The average over the stretch."""
    connected_rate: float
    """This and the other rates are per second."""
    disconnect_rate: float
    denial_rate: float
    throttled_rate: float
    recovered_rate: float
    unrecovered_rate: float
    healed_rate: float
    messages_in_rate: float
    messages_out_rate: float
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
    connected: int
    disconnects: dict[str, int]
    denials: dict[str, int]
    throttled: int
    recovered: int
    unrecovered: int
    healed_gaps: int


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
    disconnects: dict[str, int] = {}
    denials: dict[str, int] = {}
    samples = connected = throttled = recovered = unrecovered = healed_gaps = 0
    for row in rows:
        end = row.at.timestamp() - start
        seconds = max(row.seconds, 0.001)
        begin = end - seconds
        if end <= 0 or begin >= span:
            continue
        samples += 1
        connected += row.connected
        throttled += row.throttled
        recovered += row.recovered
        unrecovered += row.unrecovered
        healed_gaps += row.healed_gaps
        ended = _add(disconnects, row.disconnects)
        denied = _add(denials, row.denials)
        first, last = max(0, int(begin // width)), min(buckets - 1, int(end // width))
        for index in range(first, last + 1):
            if first == last and begin >= 0 and end <= span:
                overlap = seconds
            else:
                overlap = min(end, (index + 1) * width) - max(begin, index * width)
            if overlap > 0:
                sums[index].add(row, overlap, overlap / seconds, ended, denied, width)
    return Summary(
        points=tuple(
            bucket.point(start + index * width, width) for index, bucket in enumerate(sums)
        ),
        samples=samples,
        connected=connected,
        disconnects=disconnects,
        denials=denials,
        throttled=throttled,
        recovered=recovered,
        unrecovered=unrecovered,
        healed_gaps=healed_gaps,
    )


def _add(totals: dict[str, int], counts: Mapping[str, int]) -> int:
    together = 0
    for key, count in counts.items():
        together += count
        totals[key] = totals.get(key, 0) + count
    return together


class _Bucket:
    """What the samples add up to in one stretch of time."""

    __slots__ = (
        *("connected", "connections", "denied", "ended"),
        *("latencies", "messages_in", "messages_out", "throttled"),
        *("healed_gaps", "recovered", "unrecovered"),
    )

    def __init__(self) -> None:
        self.connections = 0.0  # times seconds
        self.connected = self.ended = self.denied = self.throttled = 0.0
        self.messages_in = self.messages_out = 0.0
        self.recovered = self.unrecovered = self.healed_gaps = 0.0
        self.latencies: list[Sequence[float]] = []

    def add(
        self, row: Sample, overlap: float, share: float, ended: int, denied: int, width: float
    ) -> None:
        """Add the share of a sample that falls into this stretch."""
        self.connections += row.connections * overlap
        self.connected += row.connected * share
        self.messages_in += row.messages_in * share
        self.messages_out += row.messages_out * share
        self.ended += ended * share
        self.denied += denied * share
        self.throttled += row.throttled * share
        self.recovered += row.recovered * share
        self.unrecovered += row.unrecovered * share
        self.healed_gaps += row.healed_gaps * share
        counts = row.latency_counts
        # Two clocks measure, so a sample overlaps a little with its neighbours' time: too little to
        # count publications there. Counts of another length come from another version.
        if (
            counts
            and len(counts) == LATENCY_BUCKETS
            and overlap >= 0.02 * min(overlap / share, width)
        ):
            self.latencies.append(counts if share == 1.0 else [count * share for count in counts])

    def point(self, begin: float, width: float) -> Point:
        """The averages over the ``width`` seconds from ``begin`` on."""
        latencies = [sum(counts) for counts in zip(*self.latencies, strict=True)]
        return Point(
            begin=datetime.datetime.fromtimestamp(begin, datetime.UTC),
            end=datetime.datetime.fromtimestamp(begin + width, datetime.UTC),
            connections=self.connections / width,
            connected_rate=self.connected / width,
            disconnect_rate=self.ended / width,
            denial_rate=self.denied / width,
            throttled_rate=self.throttled / width,
            recovered_rate=self.recovered / width,
            unrecovered_rate=self.unrecovered / width,
            healed_rate=self.healed_gaps / width,
            messages_in_rate=self.messages_in / width,
            messages_out_rate=self.messages_out / width,
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
