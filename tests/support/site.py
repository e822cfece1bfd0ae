"""The served site: its environment, its servers and its management commands, and plain HTTP to it."""

import json
import os
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from tests.support.servers import ROOT, Server, daphne, free_port, run_server, uvicorn

APPLICATION = "tests.integration.project.asgi:application"
SERVERS = {"daphne": daphne, "uvicorn": uvicorn}
COMMAND_TIMEOUT_S = 60.0
HTTP_TIMEOUT_S = 15.0

_http = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Site:
    """The environment that makes one site; several servers and commands may share it."""

    environment: Mapping[str, str]

    def having(self, *, realtime: Mapping[str, Any] | None = None, **variables: str) -> "Site":
        """The same site with other variables.

        Args:
            realtime: what ``CHANNELS_REALTIME`` has beside the project's own.
        """
        changed = {**self.environment, **variables}
        if realtime is not None:
            changed["SITE_REALTIME"] = json.dumps(realtime)
        return replace(self, environment=changed)

    @contextmanager
    def serve(self, kind: str, *options: str) -> Iterator[Server]:
        """A server of the site, ``daphne`` or ``uvicorn``, with these options of its own."""
        port = free_port()
        with run_server(
            [*SERVERS[kind](APPLICATION, port), *options], port, environment=self.environment
        ) as server:
            yield server

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a management command; an exit status other than 0 fails."""
        result = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            cwd=ROOT,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        assert result.returncode == 0, f"{arguments} ended with {result.returncode}:\n{result}"
        return result


def get(server: Server, path: str, **query: str) -> str:
    """The body of a page; another status than 200 raises."""
    url = server.url(path) + ("?" + urllib.parse.urlencode(query) if query else "")
    with _http.open(url, timeout=HTTP_TIMEOUT_S) as response:
        body: bytes = response.read()
        return body.decode()


def state(server: Server) -> dict[str, int]:
    """The counters of a server's process."""
    found: dict[str, int] = json.loads(get(server, "/state/"))
    return found


def insides(server: Server) -> dict[str, Any]:
    """What a server's process holds."""
    found: dict[str, Any] = json.loads(get(server, "/insides/"))
    return found


def publish(server: Server, channel: str, payload: Any, *, view: str = "sync") -> None:
    """Publish through a view of the site."""
    get(server, f"/publish/{view}/", channel=channel, payload=json.dumps(payload))


def login(server: Server, user: str) -> str:
    """The ``Cookie`` header of a user who has signed in."""
    query = urllib.parse.urlencode({"user": user})
    with _http.open(server.url(f"/login/?{query}"), timeout=HTTP_TIMEOUT_S) as response:
        cookie: str = response.headers["Set-Cookie"]
        return cookie.partition(";")[0]
