"""The table and the JSON of a measurement."""

from __future__ import annotations

from channels_realtime.benchmark.report import as_json, as_table

RESULTS = {
    "ping": {
        "site": [{"per_second": 90.0, "cpu_us": 20.0}, {"per_second": 110.0, "cpu_us": 20.0}],
        "bare": [{"per_second": 50.0, "cpu_us": 30.0}, {"per_second": 50.0, "cpu_us": 30.0}],
    }
}


def test_table_has_medians_their_spread_and_how_many_times_better() -> None:
    assert list(as_table(RESULTS)) == [
        "                           this site  bare server  × bare server",
        "ping to pong  a second     100 ±10 %    50.0 ±0 %           2.00",
        "              CPU µs each  20.0 ±0 %    30.0 ±0 %           1.50",
    ]


def test_table_has_no_spread_of_one_round_and_no_ratio_without_a_reference() -> None:
    results = {"ping": {"site": [{"per_second": 12_345.6, "cpu_us": 8.123}]}}
    assert list(as_table(results)) == [
        "                           this site",
        "ping to pong  a second        12,346",
        "              CPU µs each       8.12",
    ]


def test_table_leaves_out_what_the_system_does_not_tell() -> None:
    results = {"ping": {"site": [{"per_second": 100.0}], "bare": [{"per_second": 100.0}]}}
    assert [line.split() for line in as_table(results)][1:] == [
        ["ping", "to", "pong", "a", "second", "100", "100", "1.00"]
    ]


def test_table_names_losses_only_where_there_are_some() -> None:
    def lines(lost: float) -> list[str]:
        rounds = [{"per_second": 1.0, "cpu_us": 1.0, "lost_percent": lost}]
        return [line for line in as_table({"fan-out": {"bare": rounds}}) if "lost" in line]

    assert lines(0.0) == []
    assert len(lines(12.5)) == 1
    assert "12.5" in lines(12.5)[0]


def test_json_has_every_round() -> None:
    assert as_json(RESULTS)["ping"]["per_second"] == {
        "site": {"median": 100.0, "rounds": [90.0, 110.0]},
        "bare": {"median": 50.0, "rounds": [50.0, 50.0]},
    }
