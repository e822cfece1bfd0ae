"""Medians, spreads and ratios of what was measured, as Markdown."""

import statistics
from collections.abc import Mapping, Sequence

from tests.benchmarks.performance.measure import Figures
from tests.benchmarks.performance.rows import Figure, Goal, Row

Runs = Mapping[str, Sequence[Figures]]
"""The runs of each candidate of a row, by its name; the runs of one round have the same index."""


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
