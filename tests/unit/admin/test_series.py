"""Samples of several nodes as points in time."""

from __future__ import annotations

import datetime

import pytest

from channels_realtime.admin.series import Sample, horizon, quantile, summarise

SINCE = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)
UNTIL = SINCE + datetime.timedelta(minutes=10)


def after(minutes: float) -> datetime.datetime:
    return SINCE + datetime.timedelta(minutes=minutes)


def sample(minute: float, *, node="a", seconds=60.0, **counts) -> Sample:
    """A sample whose time ends in this minute."""
    values = {
        **dict.fromkeys(("connections", "connected", "messages_in", "messages_out"), 0),
        **dict.fromkeys(("throttled", "recovered", "unrecovered", "healed_gaps"), 0),
        "latency_counts": [],
        "disconnects": {},
        "denials": {},
        **counts,
    }
    return Sample(node_id=node, at=after(minute), seconds=seconds, **values)


def points(rows, attribute, buckets=10) -> list:
    summary = summarise(rows, SINCE, UNTIL, buckets)
    return [getattr(point, attribute) for point in summary.points]


def rates(rows, name) -> list[float]:
    return [point.rates[name] for point in summarise(rows, SINCE, UNTIL, 10).points]


def latencies(**counts) -> list[int]:
    """Counts by the number of their bucket: ``_2=5``."""
    return [counts.get(f"_{n}", 0) for n in range(13)]


# -- points ----------------------------------------------------------------------------------------


def test_points_are_equally_long_and_cover_the_time():
    summary = summarise([], SINCE, UNTIL, 5)
    assert [(point.begin, point.end) for point in summary.points] == [
        (after(2 * n), after(2 * n + 2)) for n in range(5)
    ]
    assert (summary.samples, summary.disconnects, summary.denials) == (0, {}, {})
    assert {point.connections for point in summary.points} == {0.0}
    assert {point.latency_p50_s for point in summary.points} == {None}


def test_connections_of_two_nodes_are_added():
    rows = [sample(n, node=node, connections=100) for n in range(1, 11) for node in "ab"]
    assert points(rows, "connections") == pytest.approx([200.0] * 10)


def test_connections_of_one_node_are_averaged():
    rows = [sample(n, connections=100 if n % 2 else 50) for n in range(1, 11)]
    assert points(rows, "connections", buckets=5) == pytest.approx([75.0] * 5)


def test_dead_node_has_no_connections():
    rows = [sample(n, node="a", connections=10) for n in range(1, 11)]
    rows += [sample(n, node="b", connections=90) for n in range(1, 5)]
    assert points(rows, "connections") == pytest.approx([100.0] * 4 + [10.0] * 6)


def test_gap_of_a_node_is_without_its_connections():
    rows = [sample(n, connections=10) for n in (1, 2, 5, 6)]
    assert points(rows, "connections") == pytest.approx([10, 10, 0, 0, 10, 10, 0, 0, 0, 0])


def test_sample_is_spread_over_its_time():
    rows = [sample(4.5, seconds=180.0, connections=60, messages_in=180, messages_out=360)]
    assert points(rows, "connections") == pytest.approx([0, 30, 60, 60, 30, 0, 0, 0, 0, 0])
    assert rates(rows, "messages_in") == pytest.approx([0, 0.5, 1, 1, 0.5, 0, 0, 0, 0, 0])
    assert rates(rows, "messages_out") == pytest.approx([0, 1, 2, 2, 1, 0, 0, 0, 0, 0])


def test_samples_that_end_between_two_points_leave_no_hole():
    rows = [sample(n + 0.3, seconds=60.0, connections=100) for n in range(12)]
    assert points(rows, "connections") == pytest.approx([100.0] * 10)


def test_samples_outside_the_period_are_left_out():
    rows = [
        sample(0, connections=7, connected=7),
        sample(11.5, connections=7, connected=7),
        sample(-60, connections=7, connected=7),
    ]
    summary = summarise(rows, SINCE, UNTIL, 10)
    assert (summary.samples, summary.totals["connected"]) == (0, 0)
    assert points(rows, "connections") == [0.0] * 10


def test_rates_are_per_second():
    rows = [
        sample(
            1,
            connected=60,
            throttled=6,
            recovered=12,
            unrecovered=3,
            healed_gaps=6,
            disconnects={"client": 20, "4503": 10},
            denials={"origin": 3},
        )
    ]
    assert summarise(rows, SINCE, UNTIL, 10).points[0].rates == pytest.approx(
        {
            "connected": 1.0,
            "messages_in": 0.0,
            "messages_out": 0.0,
            "throttled": 0.1,
            "recovered": 0.2,
            "unrecovered": 0.05,
            "healed_gaps": 0.1,
            "disconnects": 0.5,
            "denials": 0.05,
        }
    )


def test_totals_are_of_whole_samples():
    rows = [
        sample(0.5, connected=4, throttled=1, disconnects={"client": 2}, denials={"full": 1}),
        sample(9, node="b", recovered=2, unrecovered=1, healed_gaps=4),
        sample(9, node="b", connected=1, throttled=2, disconnects={"client": 1, "lost": 5}),
    ]
    summary = summarise(rows, SINCE, UNTIL, 10)
    assert summary.samples == 3
    assert summary.totals == {
        "connected": 5,
        "messages_in": 0,
        "messages_out": 0,
        "throttled": 3,
        "recovered": 2,
        "unrecovered": 1,
        "healed_gaps": 4,
        "disconnects": 8,
        "denials": 1,
    }
    assert summary.disconnects == {"client": 3, "lost": 5}
    assert summary.denials == {"full": 1}


def test_sample_of_zero_seconds_is_counted():
    rows = [sample(5, seconds=0.0, connections=9, messages_in=60)]
    assert sum(rates(rows, "messages_in")) == pytest.approx(1.0)


def test_plain_order_of_rows_does_not_matter():
    rows = [sample(n, node=node, connections=n) for n in range(1, 11) for node in "ab"]
    assert points(rows, "connections") == points(reversed(rows), "connections")


# -- latency ---------------------------------------------------------------------------------------


def test_latencies_of_all_nodes_are_merged():
    rows = [
        sample(1, node="a", latency_counts=latencies(_0=50)),
        sample(1, node="b", latency_counts=latencies(_6=50)),
    ]
    [first, *others] = summarise(rows, SINCE, UNTIL, 10).points
    assert first.latency_p50_s == pytest.approx(0.001)
    assert first.latency_p99_s == pytest.approx(0.05 + 0.05 * 49 / 50)
    assert {point.latency_p50_s for point in others} == {None}


def test_sample_that_reaches_a_little_into_a_point_gives_it_no_latency():
    rows = [sample(2.01, latency_counts=latencies(_0=1))]
    assert points(rows, "latency_p50_s") == [None, pytest.approx(0.0005), *[None] * 8]


def test_buckets_of_another_version_are_left_out():
    assert points([sample(1, latency_counts=[1, 2, 3])], "latency_p50_s") == [None] * 10


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ([], 0.5, None),
        (latencies(), 0.5, None),
        (latencies(_0=10), 0.5, 0.0005),
        (latencies(_0=1, _3=1), 0.5, 0.001),
        (latencies(_0=1, _3=1), 0.99, 0.0099),
        (latencies(_3=4), 0.5, 0.0075),
        (latencies(_0=99, _12=1), 0.99, 0.001),
        (latencies(_0=98, _12=2), 0.99, 5.0),
        (latencies(_12=1), 0.5, 5.0),
    ],
)
def test_quantile_is_within_its_bucket(counts, share, expected):
    found = quantile(counts, share)
    assert found == (None if expected is None else pytest.approx(expected))


# -- the horizon -----------------------------------------------------------------------------------


def test_horizon_is_the_oldest_last_sample_of_the_live_nodes():
    rows = [
        sample(9.9, node="a"),
        sample(8.9, node="a"),
        sample(9.2, node="b"),
        sample(3, node="c"),
    ]
    assert horizon(rows, UNTIL, 60.0) == after(9.2)


def test_horizon_is_now_without_live_nodes():
    assert horizon([], UNTIL, 60.0) == UNTIL
    assert horizon([sample(3), sample(7.9, node="b")], UNTIL, 60.0) == UNTIL


def test_horizon_is_never_ahead_of_now():
    assert horizon([sample(11)], UNTIL, 60.0) == UNTIL
