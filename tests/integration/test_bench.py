"""``manage.py realtime_bench`` with small numbers: what it prints, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import redis

from channels_realtime.benchmark.rows import ROWS
from tests.support.servers import ROOT
from tests.support.site import Site, new_site

pytestmark = pytest.mark.integration

SMALL = ("--noinput", "--clients", "6", "--rounds", "1", "--seconds", "0.2", "--rate", "20")
TIMEOUT_S = 180.0


def start(site: Site, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "django", "realtime_bench", *arguments],
        cwd=ROOT,
        env={**os.environ, **site.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows_left(site: Site) -> dict[str, int]:
    """The package's tables that are not empty."""
    path = site.environment["SITE_DATABASE_URL"].removeprefix("sqlite://")
    with closing(sqlite3.connect(path)) as database:
        tables = database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'channels_realtime%'"
        ).fetchall()
        assert tables
        counts = {
            name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            for (name,) in tables
        }
    return {name: count for name, count in counts.items() if count}


@pytest.mark.parametrize(
    ("server", "rows", "frames"),
    [("daphne", ["connect", "publish", "idle"], ["--frames"]), ("uvicorn", list(ROWS), [])],
)
def test_bench_measures_every_row_and_leaves_nothing(
    server: str,
    rows: list[str],
    frames: list[str],
    tmp_path: Path,
    redis_url: str,
    redis_prefix: str,
) -> None:
    site = new_site(
        tmp_path, SITE_LAYER="core", SITE_REDIS_URL=redis_url, SITE_REDIS_PREFIX=redis_prefix
    ).having(realtime={"MAX_CONNECTIONS_PER_ADDRESS": 2, "ALLOW_ANONYMOUS": False})
    options = ("--idle-seconds", "0.2", "--json", "--server", server, *frames)
    command = start(site, *SMALL, *rows, *options)
    out, err = command.communicate(timeout=TIMEOUT_S)
    assert command.returncode == 0, err
    found = json.loads(out)
    assert found["layer"] == "channels_redis.core.RedisChannelLayer"
    assert found["server"].startswith(f"{server} ")
    assert list(found["rows"]) == rows
    for row, figures in found["rows"].items():
        for figure in ROWS[row].figures:
            targets = figures[figure.name]
            expected = ["site", "plain_channels", "bare"]
            if row == "sync-publish":
                expected.remove("bare")
            assert list(targets) == expected, (row, figure)
            assert all(len(target["rounds"]) == 1 for target in targets.values())
    for row, figure in (("fan-out", "per_second"), ("publish", "cpu_us"), ("latency", "p99_ms")):
        if row in rows:
            assert all(target["median"] > 0 for target in found["rows"][row][figure].values())
            assert found["rows"][row]["lost_percent"]["site"]["median"] == 0
    assert rows_left(site) == {}
    with redis.Redis.from_url(redis_url) as client:
        # The layer's own, of plain Channels: a receiver's last message, for a minute.
        left = [key for key in client.scan_iter(match=f"*{redis_prefix}*") if client.ttl(key) < 0]
        assert left == []
        assert list(client.scan_iter(match=f"*{redis_prefix}*realtime-bench*")) == []


def test_bench_prints_a_table(site: Site) -> None:
    result = site.run_command("realtime_bench", *SMALL, "ping", "--server", "uvicorn")
    lines = result.stdout.splitlines()
    assert lines[0].split("  ")[-1] == "× bare server"
    assert lines[1].startswith("ping to pong  a second")
    assert lines[-1].startswith(
        "6 clients, payloads of 200 bytes; channels.layers.InMemoryChannelLayer, uvicorn "
    )
    assert result.stderr.splitlines() == [
        "Round 1/1, site: ping",
        "Round 1/1, plain_channels: ping",
        "Round 1/1, bare: ping",
    ]


def test_bench_measures_a_server_that_runs_already(site: Site) -> None:
    """The site has the channel in ``tests.site.benchmarked``."""
    with site.having(SITE_BENCHMARKED="1").serve("uvicorn") as server:
        command = start(site, *SMALL, "publish", "ping", "--json", "--url", server.websocket_url())
        out, err = command.communicate(timeout=TIMEOUT_S)
    assert command.returncode == 0, err
    found = json.loads(out)
    assert found["url"] == server.websocket_url()
    assert list(found["rows"]) == ["publish", "ping"]
    for figures in found["rows"].values():
        assert list(figures["per_second"]) == ["site"]
        assert figures["cpu_us"] == {}


def test_bench_says_what_a_server_without_its_channel_answers(site: Site) -> None:
    with site.serve("uvicorn") as server:
        command = start(site, *SMALL, "ping", "--url", server.websocket_url())
        _, err = command.communicate(timeout=TIMEOUT_S)
    assert command.returncode == 1
    assert "The server answered" in err
    assert "unknown_channel" in err


def test_bench_ends_its_server_and_deletes_its_rows_on_ctrl_c(tmp_path: Path) -> None:
    site = new_site(tmp_path)
    command = start(site, *SMALL, "idle", "--idle-seconds", "60", "--alone", "--server", "uvicorn")
    assert command.stderr is not None
    assert command.stderr.readline() == "Round 1/1, site: idle\n"
    deadline = time.monotonic() + TIMEOUT_S
    while "channels_realtime_connectionrecord" not in rows_left(site):
        assert time.monotonic() < deadline, "the server has written no rows"
        time.sleep(0.05)
    children = Path(f"/proc/{command.pid}/task/{command.pid}/children")
    servers = children.read_text().split() if children.exists() else []
    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=TIMEOUT_S)
    assert command.returncode == 130
    assert err.splitlines()[-1] == "Stopped. No server of this command runs any more."
    assert rows_left(site) == {}
    assert not any(Path(f"/proc/{pid}").exists() for pid in servers)


def test_bench_tells_what_the_server_wrote_where_it_cannot_start(tmp_path: Path) -> None:
    site = new_site(tmp_path).having(realtime={"GROUP_PREFIX": "ok", "WEBSOCKET_PATH": "/wrong/"})
    command = start(site, *SMALL, "ping", "--server", "uvicorn")
    _, err = command.communicate(timeout=TIMEOUT_S)
    assert command.returncode == 1
    assert "CHANNELS_REALTIME['WEBSOCKET_PATH'] is '/wrong/'." in err
