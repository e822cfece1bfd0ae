"""The counters of one node, and what was counted between two copies of them."""

from __future__ import annotations

import dataclasses

import pytest

from channels_realtime.nodes.metrics import (
    LATENCY_BOUNDS_S,
    LATENCY_BUCKETS,
    MAX_KEYS,
    OTHER,
    Metrics,
    difference,
)


def test_counters_begin_at_nothing():
    metrics = Metrics()
    assert metrics.latencies == [0] * LATENCY_BUCKETS
    for field in dataclasses.fields(metrics):
        if field.name != "latencies":
            assert not getattr(metrics, field.name)


@pytest.mark.parametrize(
    ("count", "field"),
    [("count_disconnect", "disconnects"), ("count_denial", "denials")],
)
def test_reasons_are_counted_by_their_name(count, field):
    metrics = Metrics()
    for reason in ("4401", "client", "4401"):
        getattr(metrics, count)(reason)
    assert getattr(metrics, field) == {"4401": 2, "client": 1}


@pytest.mark.parametrize(
    ("count", "field"),
    [("count_disconnect", "disconnects"), ("count_denial", "denials")],
)
def test_reasons_beyond_the_bound_are_counted_as_other(count, field):
    metrics = Metrics()
    for code in range(4_000, 5_000):
        getattr(metrics, count)(str(code))
    getattr(metrics, count)("4000")
    counts = getattr(metrics, field)
    assert len(counts) == MAX_KEYS
    assert counts[OTHER] == 1_000 - (MAX_KEYS - 1)
    assert counts["4000"] == 2
    assert sum(counts.values()) == 1_001


def test_reason_is_cut_and_kept_as_any_database_takes_it():
    metrics = Metrics()
    for _ in range(2):
        metrics.count_denial("a\x00b\ud800" + "c" * 100)
    assert metrics.denials == {"ab?" + "c" * 46: 2}


def test_bounds_of_latency_rise():
    assert list(LATENCY_BOUNDS_S) == sorted(set(LATENCY_BOUNDS_S))
    assert len(LATENCY_BOUNDS_S) + 1 == LATENCY_BUCKETS


@pytest.mark.parametrize(("seconds", "bucket"), [(-1.0, 0), (0.0, 0), (0.03, 5), (1e9, 12)])
def test_latency_is_counted_in_one_bucket(seconds, bucket):
    metrics = Metrics()
    metrics.observe_latency(seconds)
    assert (metrics.latencies.index(1), sum(metrics.latencies)) == (bucket, 1)


def test_copy_is_of_its_moment():
    metrics = Metrics(connected=1)
    metrics.count_disconnect("client")
    metrics.count_denial("origin")
    metrics.observe_latency(0.0)
    before = metrics.copy()
    assert before == metrics
    metrics.connected += 1
    metrics.count_disconnect("client")
    metrics.count_denial("full")
    metrics.observe_latency(0.0)
    assert (before.connected, before.disconnects, before.denials, before.latencies[0]) == (
        1,
        {"client": 1},
        {"origin": 1},
        1,
    )


@pytest.mark.parametrize(
    ("after", "before", "counted"),
    [
        ({}, {}, {}),
        ({"a": 2}, {}, {"a": 2}),
        ({"a": 2, "b": 3}, {"a": 2}, {"b": 3}),
        ({"a": 5, "b": 3}, {"a": 2, "b": 3}, {"a": 3}),
    ],
)
def test_difference_is_what_was_counted_meanwhile(after, before, counted):
    assert difference(after, before) == counted
