"""Starts the demo on a database of its own and visits it. Its tests wait for messages, and never sleep."""

import http.cookiejar
import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.support.servers import ROOT, Server, free_port, run_server

MANAGE = ROOT / "example_project" / "manage.py"
START_TIMEOUT_S = 60.0
MESSAGE_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 60.0

CSRF_FIELD = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


def environment(directory: Path, **variables: str) -> dict[str, str]:
    """The demo's environment: a SQLite file in `directory`, no Redis unless named."""
    return {
        "DJANGO_SETTINGS_MODULE": "site_config.settings",  # pytest-django has set the tests' own
        "DATABASE_URL": f"sqlite:///{directory / 'demo.sqlite3'}",
        "REDIS_URL": "",
        "HOST": "",
        "ALLOWED_HOSTS": "",
        "SERVER": "",
        "DEBUG": "1",
        "PYTHONUNBUFFERED": "1",
        **variables,
    }


@contextmanager
def run_demo(directory: Path, **variables: str) -> Iterator[Server]:
    """`manage.py demo` until the block ends; on a free port where `PORT` names none."""
    port = int(variables.pop("PORT", 0)) or free_port()
    with run_server(
        [sys.executable, str(MANAGE), "demo"],
        port,
        environment=environment(directory, PORT=str(port), **variables),
        ready_timeout_s=START_TIMEOUT_S,
    ) as server:
        yield server


@contextmanager
def run_feeds(directory: Path, redis_url: str) -> "Iterator[subprocess.Popen[str]]":
    """`manage.py run_feeds`, from when it says that it runs until the block ends."""
    process = subprocess.Popen(
        [sys.executable, str(MANAGE), "run_feeds"],
        cwd=ROOT,
        env={**os.environ, **environment(directory, REDIS_URL=redis_url)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        started = process.stdout.readline()
        assert "Ctrl+C stops them." in started, started + process.stdout.read()
        yield process
    finally:
        process.kill()
        process.communicate()


def manage(
    directory: Path, *arguments: str, text: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a management command to its end, in a process of its own."""
    return subprocess.run(
        [sys.executable, str(MANAGE), *arguments],
        cwd=ROOT,
        env={**os.environ, **environment(directory, **variables)},
        input=text,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


class Visitor:
    """A user with cookies, over HTTP and WebSocket."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def get(self, path: str) -> str:
        with self._opener.open(self.server.url(path), timeout=MESSAGE_TIMEOUT_S) as response:
            text: str = response.read().decode()
        return text

    def submit(self, path: str, fields: dict[str, Any], *, form: str | None = None) -> str:
        """Post a form of the page `form` (default: of `path` itself) with its CSRF token."""
        found = CSRF_FIELD.search(self.get(form or path))
        assert found, f"the page {form or path} has no form"
        body = urllib.parse.urlencode({"csrfmiddlewaretoken": found[1], **fields}).encode()
        with self._opener.open(self.server.url(path), body, MESSAGE_TIMEOUT_S) as response:
            text: str = response.read().decode()
        return text

    def sign_in(self, name: str) -> "Visitor":
        page = self.submit("/accounts/login/", {"username": name, "password": name})
        assert "Sign out" in page
        return self

    @contextmanager
    def socket(self, path: str = "/ws/") -> "Iterator[Socket]":
        """A plain WebSocket with the visitor's cookies, as a page's `new WebSocket(...)`."""
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.cookies)
        with connect(
            self.server.websocket_url(path),
            origin=self.server.origin,  # type: ignore[arg-type]
            additional_headers={"Cookie": cookies} if cookies else {},
        ) as connection:
            yield Socket(connection)


class Socket:
    """What a page without a client library does: it sends objects and waits for the ones it needs."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def send(self, **message: Any) -> None:
        self.connection.send(json.dumps(message))

    def until(
        self, wanted: Callable[[dict[str, Any]], bool], *, timeout_s: float = MESSAGE_TIMEOUT_S
    ) -> dict[str, Any]:
        """The next message that matches; the others are dropped."""
        deadline = time.monotonic() + timeout_s
        while True:
            data = self.connection.recv(timeout=max(0.0, deadline - time.monotonic()))
            message: dict[str, Any] = json.loads(data)
            if wanted(message):
                return message

    def ask(self, **message: Any) -> dict[str, Any]:
        """Send a request and return its reply."""
        self.send(id="ask", **message)
        return self.until(lambda reply: reply.get("id") == "ask")

    def subscribe(self, channel: str, payload: Any = None) -> None:
        reply = self.ask(type="subscribe", channel=channel, payload=payload)
        assert reply["type"] == "subscribed", reply

    def message(self, channel: str, **payload: Any) -> dict[str, Any]:
        """The next publication on the channel that has these fields."""
        return self.until(
            lambda m: (
                m["type"] == "message"
                and m.get("channel") == channel
                and (not payload or payload.items() <= m["payload"].items())
            )
        )
