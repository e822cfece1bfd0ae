"""The pure parts of ``tests.benchmarks.performance``: statistics, tables, the plot, the page."""

from xml.etree import ElementTree

import pytest

from tests.benchmarks.performance.__main__ import PAGE
from tests.benchmarks.performance.plot import WIDTH, plot
from tests.benchmarks.performance.report import (
    BEGIN,
    END,
    PAGE_WITHOUT_RESULTS,
    goals,
    page_parts,
    spread,
    summary,
    table,
    times_better,
    with_parts,
)
from tests.benchmarks.performance.results import Results
from tests.benchmarks.performance.rows import HUB, OURS, PLAIN, ROWS, Figure, Goal, Row

RATE = Figure(key="per_s", heading="deliveries/s")
TIME = Figure(key="us", heading="µs each", digits=1, more_is_better=False)
ROW = Row(
    name="row",
    title="A row of this test",
    short="A row",
    candidates=(OURS, PLAIN, HUB),
    load={},
    figures=(RATE, TIME),
    goals=(
        Goal(candidate="ours", reference="plain", figure="per_s", at_least=12),
        Goal(candidate="ours", reference="hub", figure="us", at_most_more=2),
        Goal(candidate="ours", reference="node", figure="per_s", at_least=1),
    ),
)
RUNS = {
    "ours": [{"per_s": 1000, "us": 4.0}, {"per_s": 3000, "us": 6.0}, {"per_s": 2000, "us": 5.0}],
    "plain": [{"per_s": 100, "us": 40.0}, {"per_s": 200, "us": 30.0}, {"per_s": 400, "us": 20.0}],
}


def test_spread_has_the_median_the_least_and_the_greatest():
    assert spread([3000.0, 1000.0, 2500.0], 0) == "2,500 (1,000–3,000)"


def test_spread_of_one_value_is_that_value():
    assert spread([7.25], 1) == "7.2"


def test_times_better_compares_the_runs_of_each_round():
    assert times_better(RUNS, "ours", "plain", RATE) == [10.0, 15.0, 5.0]


def test_times_better_turns_over_a_figure_of_which_less_is_better():
    assert times_better(RUNS, "ours", "plain", TIME) == [10.0, 5.0, 4.0]


def test_times_better_leaves_out_a_round_without_a_value():
    runs = {"ours": [{"us": 0.0}, {"us": 2.0}], "plain": [{"us": 3.0}, {"us": 3.0}]}
    assert times_better(runs, "ours", "plain", TIME) == [1.5]


def test_table_has_a_line_for_each_candidate_that_was_measured():
    assert table(ROW, RUNS).splitlines() == [
        "| | deliveries/s | µs each | times | times by µs |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| channels-realtime | 2,000 (1,000–3,000) | 5.0 (4.0–6.0) |  |  |",
        "| plain Channels | 200 (100–400) | 30.0 (20.0–40.0) | 10.00 (5.00–15.00)"
        " | 5.00 (4.00–10.00) |",
    ]


def test_goals_say_whether_they_were_reached_by_the_median():
    runs = {**RUNS, "hub": [{"per_s": 1, "us": 3.5}] * 3}
    assert goals([(ROW, runs)]).splitlines()[2:] == [
        "| row | deliveries/s of ours, at least 12 times plain | 10.00 (5.00–15.00) | NOT REACHED |",
        "| row | µs each of ours, at most 2 more than hub | 1.50 (0.50–2.50) | reached |",
    ]


def test_goals_are_empty_if_nothing_of_them_was_measured():
    assert goals([(ROW, {"ours": RUNS["ours"]})]) == ""


def test_summary_has_medians_and_the_ratio_to_the_references():
    assert summary([(ROW, RUNS)]).splitlines()[2] == (
        "| A row: deliveries/s | 2,000 (5.0) |  | 200 (30.0) |  |  | 10.0 |  |"
    )


@pytest.mark.parametrize("value", [0, 1234567.8])
def test_plot_is_well_formed_and_inside_its_frame(value):
    rows = [
        (row, {one.name: [{row.figures[0].key: value}] for one in row.candidates})
        for row in ROWS
        if row.in_plot
    ]
    root = ElementTree.fromstring(plot(rows))
    height = float(root.get("height"))
    bars = list(root.iter("{http://www.w3.org/2000/svg}rect"))[1:]
    assert len(bars) == sum(len(row.candidates) for row, _ in rows)
    for bar in bars:
        assert float(bar.get("x")) + float(bar.get("width")) < WIDTH
        assert float(bar.get("y")) + float(bar.get("height")) < height


def test_results_keep_other_rows_and_replace_a_row_that_is_measured_again(tmp_path):
    path = tmp_path / "results.json"
    for name, rate, date in (("a", 1, "one"), ("b", 2, "one"), ("a", 3, "two")):
        results = Results.read(path)
        results.add(name, {"ours": [{"per_s": rate}]}, {"date": date})
        results.write(path)
    found = Results.read(path)
    assert found.runs("a") == {"ours": [{"per_s": 3}]}
    assert found.runs("b") == {"ours": [{"per_s": 2}]}
    assert found.runs("c") is None
    assert found.environments() == [{"date": "two"}, {"date": "one"}]


def test_page_parts_without_results_say_so():
    assert page_parts(Results()) == dict.fromkeys(("summary", "figures"), PAGE_WITHOUT_RESULTS)


def test_page_parts_have_a_table_for_each_row_that_was_measured():
    results = Results()
    for row, date in ((ROWS[0], "1"), (ROWS[1], "2")):
        run = dict.fromkeys((figure.key for figure in row.figures), 1.0)
        where = dict.fromkeys(("machine", "system", "python", "versions"), "x") | {"date": date}
        results.add(row.name, {"ours": [run]}, where)
    parts = page_parts(results)
    titles = [line for line in parts["figures"].splitlines() if line.startswith("#")]
    assert titles == [f"### {row.title}" for row in ROWS[:2]]
    assert f"`{ROWS[0].name}`, rounds: 1" in parts["figures"]
    assert f"Measured on 2 (`{ROWS[1].name}`): x, x, x; x." in parts["summary"].splitlines()


def test_with_parts_replaces_what_is_between_the_marks():
    begin, end = BEGIN.format("summary"), END.format("summary")
    once = with_parts(f"before\n{begin}\nold\n{end}\nafter\n", {"summary": "new\n"})
    assert once == f"before\n{begin}\n\nnew\n\n{end}\nafter\n"
    assert with_parts(once, {"summary": "new"}) == once


def test_with_parts_refuses_a_page_without_marks():
    with pytest.raises(ValueError, match="the page has no marks of its part 'summary'"):
        with_parts("nothing", {"summary": "new"})


def test_the_page_of_the_documentation_has_the_marks():
    parts = page_parts(Results())
    assert with_parts(PAGE.read_text(), parts).count(PAGE_WITHOUT_RESULTS) == len(parts)


def test_rows_have_names_of_their_own_and_goals_about_what_they_measure():
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        candidates = [one.name for one in row.candidates]
        assert candidates[0] == "ours"
        assert len(set(candidates)) == len(candidates)
        for goal in row.goals:
            assert {goal.candidate, goal.reference} <= set(candidates)
            assert goal.figure in [figure.key for figure in row.figures]
            assert (goal.at_least is None) != (goal.at_most_more is None)
