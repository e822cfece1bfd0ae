"""The plot of the documentation: an SVG of bars, a group for each row."""

import statistics
from collections.abc import Sequence
from html import escape

from tests.benchmarks.performance.results import Runs
from tests.benchmarks.performance.rows import Row

WIDTH, MARGIN, GAP = 860, 24, 36
COLUMN = (WIDTH - 2 * MARGIN - GAP) // 2
LABEL, VALUE = 128, 62
"""The widths of the name beside a bar and of the number after the longest."""
BAR, STEP, TITLE, BETWEEN = 13, 18, 22, 20

STYLE = """
  text { font: 12px system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: #3d434c }
  .title { font-weight: 600; fill: #14181f }
  .page { fill: #ffffff; stroke: #d8dce2 }
  .ours { fill: #1f6feb } .lane { fill: #0b3d91 } .plain { fill: #c4622d } .raw { fill: #9aa1ab }
  .node { fill: #3f8f54 }
  @media (prefers-color-scheme: dark) {
    text { fill: #c3c9d2 } .title { fill: #f0f3f7 } .page { fill: #14181f; stroke: #363c46 }
    .ours { fill: #58a0ff } .lane { fill: #a9cdff } .plain { fill: #e58a57 } .raw { fill: #7b838f }
    .node { fill: #6cc085 }
  }
"""
NAMES = {
    "ours": "channels-realtime",
    "lane": "frames made once",
    "uvloop": "on uvloop",
    "async": "async hooks",
    "plain": "plain Channels",
    "hub": "bare ASGI hub",
    "node": "Node socket.io",
}


def plot(rows: Sequence[tuple[Row, Runs]]) -> str:
    """The SVG of these rows: the medians of their first figures, in two columns.

    The bars of a group begin at nothing and share a scale; those of two groups do not.
    """
    groups = [(row, runs, TITLE + STEP * len(_bars(row, runs)) + BETWEEN) for row, runs in rows]
    half = sum(height for *_, height in groups) / 2
    left: list[tuple[Row, Runs, int]] = []
    right: list[tuple[Row, Runs, int]] = []
    for group in groups:
        filled = sum(height for *_, height in left)
        (right if right or filled + group[2] / 2 > half else left).append(group)
    height = 2 * MARGIN - BETWEEN
    height += max(sum(each for *_, each in column) for column in (left, right))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" role="img" aria-labelledby="title">',
        '<title id="title">What was measured: medians; longer bars are better</title>',
        f"<style>{STYLE}</style>",
        f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
    ]
    for x, column in ((MARGIN, left), (MARGIN + COLUMN + GAP, right)):
        y = MARGIN
        for row, runs, group_height in column:
            parts += _group(row, runs, x, y)
            y += group_height
    return "\n".join([*parts, "</svg>", ""])


def _bars(row: Row, runs: Runs) -> list[tuple[str, str, float]]:
    """The colour, the name and the value of each bar."""
    key = row.figures[0].key
    return [
        (
            one.name if one.name == "lane" else one.kind,
            NAMES.get(one.name, one.label),
            statistics.median(run[key] for run in runs[one.name]),
        )
        for one in row.candidates
        if one.name in runs
    ]


def _group(row: Row, runs: Runs, x: int, y: int) -> list[str]:
    figure = row.figures[0]
    bars = _bars(row, runs)
    longest = max(value for *_, value in bars) or 1.0
    title = escape(f"{row.short}: {figure.heading}")
    parts = [f'<text class="title" x="{x}" y="{y + 11}">{title}</text>']
    y += TITLE
    for colour, name, value in bars:
        length = max(1.0, (COLUMN - LABEL - VALUE) * value / longest)
        middle = y + BAR - 2.5
        parts += [
            f'<text x="{x + LABEL - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{colour}" x="{x + LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>',
            f'<text x="{x + LABEL + length + 6:.1f}" y="{middle}">{value:,.0f}</text>',
        ]
        y += STEP
    return parts
