"""Medians, spreads and ratios of what was measured, as Markdown."""

import statistics
from collections.abc import Mapping, Sequence

from tests.benchmarks.performance.measure import Figures
from tests.benchmarks.performance.results import Results, Runs
from tests.benchmarks.performance.rows import ROWS, Figure, Goal, Row

BEGIN = "<!-- {}: written by python -m tests.benchmarks.performance --write-docs -->"
END = "<!-- end of {} -->"
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
    by_time = row.server_time()
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
    columns = ["", *SUMMARY.values(), "times plain Channels", "times the hub"]
    lines = ["| " + " | ".join(columns) + " |", "| --- |" + " ---: |" * (len(columns) - 1)]
    for row, runs in rows:
        first, us = row.figures[0], row.server_time()
        cells = [f"{row.short}: {first.heading}"]
        for name in SUMMARY:
            if name not in runs:
                cells.append("")
                continue
            cells.append(median_of(runs[name], first))
            if us:
                cells[-1] += f" ({median_of(runs[name], us)})"
        for reference, digits in (("plain", 1), ("hub", 2)):
            found = times_better(runs, "ours", reference, first) if reference in runs else []
            cells.append(f"{statistics.median(found):,.{digits}f}" if found else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def median_of(runs: Sequence[Figures], figure: Figure) -> str:
    return f"{statistics.median(run[figure.key] for run in runs):,.{figure.digits}f}"


def measured_rows(results: Results) -> list[tuple[Row, Runs]]:
    """The rows that have results, in the order of ``ROWS``."""
    return [(row, runs) for row in ROWS if (runs := results.runs(row.name)) is not None]


def page_parts(results: Results) -> dict[str, str]:
    """What is generated of the page: the summary with where it was measured, and a table for each row."""
    rows = measured_rows(results)
    if not rows:
        return {"summary": PAGE_WITHOUT_RESULTS, "figures": PAGE_WITHOUT_RESULTS}
    image = (
        "```{image} ../_static/performance.svg\n:alt: the rates of the table below, as bars\n```"
    )
    head = [image, summary(rows), *measured_on(results, rows)]
    figures = []
    for row, runs in rows:
        rounds = max(len(each) for each in runs.values())
        figures += [f"### {row.title}", table(row, runs), f"`{row.name}`, rounds: {rounds}"]
    return {"summary": "\n\n".join(head), "figures": "\n\n".join(figures)}


def measured_on(results: Results, rows: Sequence[tuple[Row, Runs]]) -> list[str]:
    """A paragraph for each machine and set of versions, with the rows if there are several."""
    found = []
    several = len(results.environments()) > 1
    for environment in results.environments():
        here = [row for row, _ in rows if results.rows[row.name]["environment"] == environment]
        names = ", ".join(f"`{row.name}`" for row in here)
        found.append(
            f"Measured on {environment['date']}{f' ({names})' if several else ''}:"
            f" {environment['machine']}, {environment['system']}, {environment['python']};"
            f" {environment['versions']}."
        )
    return found


def with_parts(page: str, parts: Mapping[str, str]) -> str:
    """A page with other generated parts.

    Raises:
        ValueError: the page does not have both marks of each.
    """
    for name, part in parts.items():
        head, begin, rest = page.partition(BEGIN.format(name))
        _, end, tail = rest.partition(END.format(name))
        if not begin or not end:
            raise ValueError(f"the page has no marks of its part {name!r}")
        page = f"{head}{begin}\n\n{part.strip()}\n\n{end}{tail}"
    return page
