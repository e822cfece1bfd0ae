"""The commands of ``tests.benchmarks.performance`` work, with two clients; what they find is not judged."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.support.servers import ROOT

TIMEOUT_S = 120.0

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None,
    reason="the load generator needs Linux and a C compiler",
)


@pytest.mark.parametrize(
    ("rows", "only"),
    [
        (["fan-out-1000-daphne", "echo-uvicorn"], ["ours", "uvloop", "lane", "plain", "hub"]),
        (["publish-memory", "connect-own-uvicorn", "burst", "idle", "sync-publish"], ["ours"]),
    ],
)
def test_rows_measure_every_candidate(tmp_path, rows, only):
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "tests.benchmarks.performance", *rows, "--smoke"]
    command += ["--rounds", "1", "--only", ",".join(only), "--json", str(results)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(results.read_text())
    assert len(found) == len(rows)
    for name, row in found.items():
        for candidate, [run] in row["runs"].items():
            assert run.get("connected", 2) == 2, (name, candidate)
            assert run.get("per_s", 1) > 0 or name.startswith(("connect", "idle")), (
                name,
                candidate,
            )
