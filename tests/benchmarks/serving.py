"""The served site for the benchmarks: one server process, with a database of its own."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.servers import Server
from tests.support.site import Site, new_site

SERVERS = ("daphne", "uvicorn")


@contextmanager
def site(**variables: str) -> Iterator[Site]:
    """The site of the integration tests on a new database."""
    with tempfile.TemporaryDirectory(prefix="channels-realtime-benchmark-") as directory:
        yield new_site(Path(directory), **variables)


def options_of(kind: str) -> list[str]:
    """Options that a server needs for many connections at once."""
    return ["--no-access-log", "--log-level", "warning"] if kind.startswith("uvicorn") else []


@contextmanager
def serve(kind: str, found: Site, realtime: Mapping[str, Any]) -> Iterator[Server]:
    """One server of the site with these settings."""
    with found.having(realtime=realtime).serve(kind, *options_of(kind)) as server:
        yield server
