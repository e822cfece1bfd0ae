"""The table and the JSON of a measurement: medians of the rounds, their spread, and how many times better."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .rows import ROWS, Figure

Results = Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]
"""By row, then by target: the figures of each round."""

_TITLES = {"site": "this site", "plain_channels": "plain Channels", "bare": "bare server"}


def values(results: Results, row: str, figure: Figure, target: str) -> list[float]:
    """One figure of all rounds that have it."""
    rounds = results.get(row, {}).get(target, ())
    return [found[figure.name] for found in rounds if figure.name in found]


def spread(found: Sequence[float]) -> float:
    """Half of the range, in percent of the median."""
    middle = statistics.median(found)
    return (max(found) - min(found)) / 2 / middle * 100 if middle else 0.0


def times_better(figure: Figure, ours: float, other: float) -> float | None:
    """How many times better a figure is than another; None where one of them is 0."""
    if not ours or not other:
        return None
    return ours / other if figure.more_is_better else other / ours


def as_json(results: Results) -> dict[str, Any]:
    """By row, figure and target: the median and the rounds."""
    return {
        row: {
            figure.name: {
                target: {"median": statistics.median(found), "rounds": found}
                for target in targets
                if (found := values(results, row, figure, target))
            }
            for figure in ROWS[row].figures
        }
        for row, targets in results.items()
    }


def as_table(results: Results) -> Iterator[str]:
    """The lines of the table."""
    targets = list(dict.fromkeys(target for found in results.values() for target in found))
    references = [target for target in targets if target != "site"]
    head = ["", "", *(_TITLES[target] for target in targets)]
    if "site" in targets:
        head += [f"× {_TITLES[target]}" for target in references]
    lines = [head]
    for row in results:
        title = ROWS[row].title
        for figure in ROWS[row].figures:
            found = {target: values(results, row, figure, target) for target in targets}
            if figure.name == "lost_percent" and not any(map(any, found.values())):
                continue  # as it should be
            if not any(found.values()):
                continue  # the system does not tell
            line = [title, figure.title, *(_cell(found[target]) for target in targets)]
            if "site" in targets:
                line += [_times(figure, found["site"], found[target]) for target in references]
            lines.append(line)
            title = ""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell.ljust(width) if number < 2 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _cell(found: Sequence[float]) -> str:
    if not found:
        return "-"
    text = number(statistics.median(found))
    return text if len(found) == 1 else f"{text} ±{spread(found):.0f} %"


def number(value: float) -> str:
    """Three digits that matter, and no more."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _times(figure: Figure, ours: Sequence[float], others: Sequence[float]) -> str:
    if not ours or not others:
        return "-"
    found = times_better(figure, statistics.median(ours), statistics.median(others))
    return "-" if found is None else f"{found:.2f}"
