"""The served site: its environment, its servers and its management commands, and plain HTTP to it."""

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.support.servers import (
    ROOT,
    Server,
    daphne,
    daphne_frames,
    free_port,
    run_server,
    uvicorn,
    uvicorn_asyncio,
    uvicorn_frames,
)

APPLICATION = "tests.site.asgi:application"
SERVERS = {"daphne": daphne, "uvicorn": uvicorn}
COMMANDS = {
    **SERVERS,
    "uvicorn-asyncio": uvicorn_asyncio,
    "daphne-frames": daphne_frames,
    "uvicorn-frames": uvicorn_frames,
}
COMMAND_TIMEOUT_S = 60.0
HTTP_TIMEOUT_S = 15.0
MIGRATE = ("migrate", "--run-syncdb", "--verbosity", "0")

_http = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Site:
    """The environment that makes one site; several servers and commands may share it."""

    environment: Mapping[str, str]

    def having(self, *, realtime: Mapping[str, Any] | None = None, **variables: str) -> "Site":
        """The same site with other variables, and with these keys in ``CHANNELS_REALTIME``."""
        changed = {**self.environment, **variables}
        if realtime is not None:
            known = json.loads(self.environment.get("SITE_REALTIME", "{}"))
            changed["SITE_REALTIME"] = json.dumps({**known, **realtime})
        return replace(self, environment=changed)

    @contextmanager
    def serve(self, kind: str = "uvicorn", *options: str) -> Iterator[Server]:
        """A server of the site, one of ``COMMANDS``, with these options of its own."""
        port = free_port()
        with run_server(
            [*COMMANDS[kind](APPLICATION, port), *options], port, environment=self.environment
        ) as server:
            yield server

    def manage(self, *arguments: str) -> str:
        """What a management command prints; an exit status other than 0 fails."""
        return self.run_command(*arguments).stdout

    def run_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """As ``manage``; with what it wrote to the standard error."""
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


def site_on(database_url: str, **variables: str) -> Site:
    """The site on an existing database."""
    return Site(
        {
            "DJANGO_SETTINGS_MODULE": "tests.site.settings",
            "SITE_DATABASE_URL": database_url,
            **variables,
        }
    )


def new_site(directory: Path, **variables: str) -> Site:
    """The site on a new SQLite database, with the accounts of ``prepare``."""
    path = directory / f"{uuid.uuid4().hex}.sqlite3"
    shutil.copy(_sqlite_template("prepare"), path)
    return site_on(f"sqlite://{path}", **variables)


@functools.cache
def _sqlite_template(*command: str) -> Path:
    """A SQLite file as this management command leaves an empty one.

    It is made once in each test process: a copy takes milliseconds, the command two seconds.
    """
    directory = Path(tempfile.mkdtemp(prefix="channels-realtime-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    path = directory / "template.sqlite3"
    site_on(f"sqlite://{path}").manage(*command)
    return path


def make_tables(database_url: str) -> None:
    """Give an empty database the site's tables."""
    if database_url.startswith("sqlite:"):
        shutil.copy(_sqlite_template(*MIGRATE), database_url.removeprefix("sqlite://"))
    else:
        site_on(database_url).manage(*MIGRATE)


@contextmanager
def made_site(database_url: str, redis_url: str, **realtime: Any) -> Iterator[Site]:
    """The site on an empty database and a Redis, without accounts; anonymous clients are refused.

    Its keys in Redis have a prefix of their own, and are gone afterwards.
    """
    import redis  # only where there is one

    prefix = f"test-{uuid.uuid4().hex}"
    site = site_on(
        database_url, SITE_LAYER="pubsub", SITE_REDIS_URL=redis_url, SITE_REDIS_PREFIX=prefix
    ).having(realtime={"ALLOW_ANONYMOUS": False, **realtime})
    try:
        make_tables(database_url)
        yield site
    finally:
        with redis.Redis.from_url(redis_url) as client:
            for key in client.scan_iter(match=f"*{prefix}*", count=1000):
                client.delete(key)


def get(server: Server, path: str, **query: str) -> str:
    """The body of a page; another status than 200 raises."""
    url = server.url(path) + ("?" + urllib.parse.urlencode(query) if query else "")
    with _http.open(url, timeout=HTTP_TIMEOUT_S) as response:
        body: bytes = response.read()
        return body.decode()


def state(server: Server) -> dict[str, Any]:
    """The counters of a server's process."""
    found: dict[str, Any] = json.loads(get(server, "/state/"))
    return found


def insides(server: Server) -> dict[str, Any]:
    """The counters, and all that a server's process holds for its connections."""
    found: dict[str, Any] = json.loads(get(server, "/state/", insides=""))
    return found


def publish(server: Server, channel: str, payload: Any, *, view: str = "sync") -> None:
    """Publish through a view of the site."""
    get(server, f"/publish/{view}/", channel=channel, payload=json.dumps(payload))


def login(server: Server, user: str) -> str:
    """The ``Cookie`` header of a user who has signed in."""
    query = urllib.parse.urlencode({"user": user})
    with _http.open(server.url(f"/login/?{query}"), timeout=HTTP_TIMEOUT_S) as response:
        cookies = response.headers.get_all("Set-Cookie")
    return next(c.partition(";")[0] for c in cookies if c.startswith("sessionid="))
