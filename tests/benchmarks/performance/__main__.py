"""Measure this package, plain Channels and the least that a server can do, in turn, and print the tables.

    python -m tests.benchmarks.performance ROW… [--rounds 3] [--only ours,hub] [--short]
    python -m tests.benchmarks.performance all

``--write-docs`` puts what was measured, with what was measured before, into the page "Performance" of the
documentation: the figures, the tables and the plot.

A row is a name, or the beginning of one: ``fan-out``, ``fan-out-1000-uvicorn``; ``--list`` shows them.
Each round measures each candidate once, each on a new server process: A B C A B C. The tables have the
median, and the least and the greatest in brackets; ``times`` compares the first candidate with each other
one, round by round, by the first figure and by the server's processor time. On a machine that does other
things too, trust the latter.

Needs a C compiler, for the load generator; and Linux. The Redis is one of its own, from a wheel.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.performance.measure import Bench, Figures, NotAvailable, bench
from tests.benchmarks.performance.plot import plot
from tests.benchmarks.performance.report import goals, measured_rows, page_parts, table, with_parts
from tests.benchmarks.performance.results import Results, Runs, environment
from tests.benchmarks.performance.rows import ROWS, Row
from tests.support.servers import ROOT

SHORT_SECONDS = 1.5
PAGE = ROOT / "docs/topics/performance.md"
STATIC = ROOT / "docs/_static"


def chosen(names: Sequence[str]) -> list[Row]:
    """The rows whose names begin so, in their order.

    Raises:
        SystemExit: a name fits none.
    """
    if "all" in names:
        return list(ROWS)
    for name in names:
        if not any(row.name.startswith(name) for row in ROWS):
            raise SystemExit(f"no row begins with {name!r}; --list shows them")
    return [row for row in ROWS if row.name.startswith(tuple(names))]


def smoke(row: Row) -> dict[str, object]:
    """The load with which a row shows within a second that it works."""
    channels = min(2, int(str(row.load.get("channels", 1))))
    load = {"connections": 2, "channels": channels, "seconds": 0.1, "settle": 0}
    return {**load, **row.quick}


def measure_row(
    on: Bench, row: Row, rounds: int, *, only: Sequence[str] = (), changed: dict[str, object]
) -> dict[str, list[Figures]]:
    """The runs of each candidate that is available and did not fail."""
    candidates = [one for one in row.candidates if not only or one.name in only]
    runs: dict[str, list[Figures]] = {candidate.name: [] for candidate in candidates}
    load = {**row.load, **changed}
    for _ in range(min(rounds, row.most_rounds)):
        for candidate in [one for one in candidates if one.name in runs]:
            try:
                if row.run is not None:
                    found = row.run(on, candidate, load)
                else:
                    found = on.measure(candidate, row.server, load, ask=row.ask, login=row.login)
            except (NotAvailable, RuntimeError, subprocess.TimeoutExpired) as error:
                print(f"  without {candidate.name}: {error}", flush=True)
                del runs[candidate.name]
                continue
            runs[candidate.name].append(found)
            shown = (f"{each.heading} {found[each.key]:,.{each.digits}f}" for each in row.figures)
            print(f"  {candidate.name}: {', '.join(shown)}", flush=True)
    return runs


def update(path: Path, measured: Sequence[tuple[Row, Runs]]) -> Results:
    """Put these runs into a file, beside those of other rows."""
    results = Results.read(path)
    here = environment()
    for row, runs in measured:
        results.add(row.name, runs, here)
    results.write(path)
    return results


def write_docs(measured: Sequence[tuple[Row, Runs]]) -> None:
    """Write the results, the plot, and the generated part of the page."""
    path = STATIC / "performance.json"
    results = update(path, measured) if measured else Results.read(path)
    plotted = [(row, runs) for row, runs in measured_rows(results) if row.in_plot]
    if plotted:
        (STATIC / "performance.svg").write_text(plot(plotted))
    PAGE.write_text(with_parts(PAGE.read_text(), page_parts(results)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="candidates, separated by commas")
    parser.add_argument("--short", action="store_true", help="measure for half the time")
    parser.add_argument("--smoke", action="store_true", help="two clients: whether it works at all")
    parser.add_argument("--json", type=Path, help="put the runs into this file too")
    parser.add_argument(
        "--write-docs",
        action="store_true",
        help="and into the documentation; without rows, write its page anew",
    )
    parser.add_argument("--list", action="store_true", help="show the rows and end")
    options = parser.parse_args()
    if options.smoke and options.write_docs:
        parser.error("what --smoke finds is nothing for the documentation")
    if options.list or not (options.rows or options.write_docs):
        for row in ROWS:
            print(f"{row.name:26} {row.title} ({', '.join(c.name for c in row.candidates)})")
        print("Several processes on one port: python -m tests.benchmarks.workers")
        return
    if not options.rows:
        write_docs([])
        return
    rows = chosen(options.rows)
    only = [name for name in options.only.split(",") if name]
    measured: list[tuple[Row, Runs]] = []
    begun = time.monotonic()
    try:
        with bench() as on:
            for row in rows:
                print(f"\n{row.title} [{row.name}]", flush=True)
                changed: dict[str, object] = {}
                if options.smoke:
                    changed = smoke(row)
                elif options.short and "rate" not in row.load:
                    changed = {"seconds": SHORT_SECONDS}
                runs = measure_row(on, row, options.rounds, only=only, changed=changed)
                if not runs:
                    continue
                measured.append((row, runs))
                print(f"\n{table(row, runs)}", flush=True)
                if options.json:
                    update(options.json, measured[-1:])
                if options.write_docs:
                    write_docs(measured[-1:])
    except NotAvailable as error:
        sys.exit(f"{error}")
    if found := goals(measured):
        print(f"\n{found}")
    load = os.getloadavg()[0]
    print(
        f"\n{options.rounds} rounds in {time.monotonic() - begun:.0f} s; load of the machine {load:.1f}"
    )


if __name__ == "__main__":
    main()
