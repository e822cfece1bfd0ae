"""Medians, spreads and ratios of what was measured, as Markdown."""

import statistics
from collections.abc import Sequence

from tests.benchmarks.performance.results import Results, Runs
from tests.benchmarks.performance.rows import ROWS, Figure, Goal, Row

BEGIN = "<!-- Written by python -m tests.benchmarks.performance --write-docs: begin -->"
END = "<!-- end -->"
PAGE_WITHOUT_RESULTS = "No figures are kept here at the moment; the command measures them."
SUMMARY = {
    "ours": "channels-realtime",
    "lane": "frames made once",
    "plain": "plain Channels",
    "hub": "bare ASGI hub",
    "node": "Node socket.io",
}
"""The columns of the summary: candidates by name."""


def spread(values: Sequence[float], digits: int) -> str:
    """The median, and from where to where the values go if there are several."""
    median = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return median
    return f"{median} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def times_better(runs: Runs, candidate: str, reference: str, figure: Figure) -> list[float]:
    """How many times as good a candidate is as a reference, in each round. Rounds without a value are left out."""
    found = []
    for own, other in zip(runs[candidate], runs[reference], strict=True):
        better, worse = own[figure.key], other[figure.key]
        if not figure.more_is_better:
            better, worse = worse, better
        if worse:
            found.append(better / worse)
    return found


def table(row: Row, runs: Runs) -> str:
    """A Markdown table: a line for each candidate, and how the first compares to it."""
    present = [candidate for candidate in row.candidates if candidate.name in runs]
    first = present[0].name
    figures = row.figures
    lines = [
        "| | " + " | ".join(figure.heading for figure in figures) + " | times | times by µs |",
        "| --- |" + " ---: |" * (len(figures) + 2),
    ]
    by_time = next((figure for figure in figures if figure.heading.startswith("µs")), None)
    for candidate in present:
        cells = [
            spread([run[figure.key] for run in runs[candidate.name]], figure.digits)
            for figure in figures
        ]
        for figure in (figures[0], by_time):
            ratios = []
            if candidate.name != first and figure is not None:
                ratios = times_better(runs, first, candidate.name, figure)
            cells.append(spread(ratios, 2) if ratios else "")
        lines.append(f"| {candidate.label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def goal_line(row: Row, goal: Goal, runs: Runs) -> str | None:
    """Whether a goal was reached; None if one of the two was not measured."""
    if goal.candidate not in runs or goal.reference not in runs:
        return None
    figure = next(figure for figure in row.figures if figure.key == goal.figure)
    if goal.at_least is not None:
        values = times_better(runs, goal.candidate, goal.reference, figure)
        if not values:
            return None
        reached = statistics.median(values) >= goal.at_least
        wanted = f"at least {goal.at_least:g} times {goal.reference}"
    else:
        assert goal.at_most_more is not None
        pairs = zip(runs[goal.candidate], runs[goal.reference], strict=True)
        values = [own[figure.key] - other[figure.key] for own, other in pairs]
        reached = statistics.median(values) <= goal.at_most_more
        wanted = f"at most {goal.at_most_more:g} more than {goal.reference}"
    return (
        f"| {row.name} | {figure.heading} of {goal.candidate}, {wanted} | {spread(values, 2)} |"
        f" {'reached' if reached else 'NOT REACHED'} |"
    )


def goals(rows: Sequence[tuple[Row, Runs]]) -> str:
    """A Markdown table of the goals of these rows; empty if there are none."""
    lines = [
        line for row, runs in rows for goal in row.goals if (line := goal_line(row, goal, runs))
    ]
    if not lines:
        return ""
    return "\n".join(["| row | goal | measured | |", "| --- | --- | ---: | --- |", *lines])


# -- the page of the documentation -----------------------------------------------------------------


def summary(rows: Sequence[tuple[Row, Runs]]) -> str:
    """A Markdown table with a line for each row: the medians of its first figure, and how they compare."""
    columns = ["", *SUMMARY.values(), "against plain Channels", "against the hub"]
    lines = ["| " + " | ".join(columns) + " |", "| --- |" + " ---: |" * (len(columns) - 1)]
    for row, runs in rows:
        first = row.figures[0]
        us = next((each for each in row.figures if each.heading.startswith("µs")), None)
        cells = [f"{row.title}: {first.heading}" + (" (µs of server time)" if us else "")]
        for name in SUMMARY:
            if name not in runs:
                cells.append("")
                continue
            median = statistics.median(run[first.key] for run in runs[name])
            cell = f"{median:,.{first.digits}f}"
            if us:
                cell += f" ({statistics.median(run[us.key] for run in runs[name]):,.{us.digits}f})"
            cells.append(cell)
        for reference in ("plain", "hub"):
            found = times_better(runs, "ours", reference, first) if reference in runs else []
            cells.append(spread(found, 1 if reference == "plain" else 2) if found else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measured_rows(results: Results) -> list[tuple[Row, Runs]]:
    """The rows that have results, in the order of ``ROWS``."""
    return [(row, runs) for row in ROWS if (runs := results.runs(row.name)) is not None]


def page_part(results: Results) -> str:
    """What is generated of the page: where it was measured, the summary, and a table for each row."""
    rows = measured_rows(results)
    if not rows:
        return PAGE_WITHOUT_RESULTS
    parts = [
        "```{image} ../_static/performance.svg",
        ":alt: the first figures of the table below, as bars",
        "```",
        "",
    ]
    parts += [summary(rows), "", "## Machine and versions", ""]
    for environment in results.environments():
        measured = [
            row.name for row, _ in rows if results.rows[row.name]["environment"] == environment
        ]
        which = (
            ""
            if len(measured) == len(rows)
            else f" ({', '.join(f'`{name}`' for name in measured)})"
        )
        parts += [
            f"Measured on {environment['date']}{which}: {environment['machine']}, {environment['system']},"
            f" {environment['python']}; {environment['versions']}.",
            "",
        ]
    parts += ["## All figures, with their spread", ""]
    for row, runs in rows:
        rounds = max(len(each) for each in runs.values())
        parts += [
            f"### {row.title}",
            "",
            table(row, runs),
            "",
            f"`{row.name}`, rounds: {rounds}",
            "",
        ]
    return "\n".join(parts)


def with_part(page: str, part: str) -> str:
    """A page with another generated part.

    Raises:
        ValueError: the page does not have both marks.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN!r} or no {END!r}")
    return f"{head}{BEGIN}\n\n{part.strip()}\n\n{END}{tail}"
