"""What was measured, on which machine and with which versions, as it is kept in a JSON file."""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.performance.measure import Figures, NotAvailable, installed_peer, node

PACKAGES = (
    *("Django", "channels", "channels_redis", "redis"),
    *("daphne", "uvicorn", "uvloop", "httptools", "websockets"),
)

Runs = Mapping[str, Sequence[Figures]]
"""The runs of each candidate of a row, by its name; the runs of one round have the same index."""


class Results:
    """The runs of each row, with when and on what they were measured. A new measurement of a row replaces it."""

    def __init__(self, kept: Mapping[str, Any] | None = None) -> None:
        self.rows: dict[str, Any] = dict(kept or {})

    @classmethod
    def read(cls, path: Path) -> "Results":
        """What a file has; nothing if there is none."""
        return cls(json.loads(path.read_text()) if path.exists() else None)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self.rows, indent=1, sort_keys=True) + "\n")

    def add(self, name: str, runs: Runs, environment: Mapping[str, str]) -> None:
        self.rows[name] = {"runs": runs, "environment": dict(environment)}

    def runs(self, name: str) -> Runs | None:
        """The runs of a row, or None if it was not measured."""
        found: Runs | None = self.rows.get(name, {}).get("runs")
        return found

    def environments(self) -> list[Mapping[str, str]]:
        """The different ones, in the order of the names of their rows."""
        found: list[Mapping[str, str]] = []
        for name in sorted(self.rows):
            if (environment := self.rows[name]["environment"]) not in found:
                found.append(environment)
        return found


def environment() -> dict[str, str]:
    """Date, machine and versions."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    try:
        packages = json.loads((installed_peer().parent / "package.json").read_text())
        version = subprocess.run([node(), "--version"], capture_output=True, text=True, check=True)
        versions.append(f"Node {version.stdout.strip().removeprefix('v')}")
        versions += [f"{name} {number}" for name, number in packages["dependencies"].items()]
    except NotAvailable:
        pass
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{processor()}, {os.cpu_count()} cores, {memory_gib():.0f} GiB",
        "system": "Linux " + platform.release().partition("-")[0],
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": ", ".join(versions),
    }


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
