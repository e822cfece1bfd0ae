"""The example project beneath `/app/`, by each way to say so, on the servers that differ in it."""

from __future__ import annotations

import http.client
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.sync.client import connect

from tests.example.site import CSRF_FIELD, environment, manage
from tests.support.servers import HOST, ROOT, Server, free_port, run_server, together

PREFIX = "/app"
EXAMPLE = ROOT / "example_project"
TIMEOUT_S = 15.0

UVICORN = ("uvicorn", "--host", HOST, "--log-level", "warning", "--port")
DAPHNE = ("daphne", "-v", "0", "-b", HOST, "-p")
GRANIAN = ("granian", "--host", HOST, "--interface", "asgi", "--port")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a site is told its prefix.

    Args:
        command: of the server, up to its port.
        options: of the server, after its port.
        setting: whether FORCE_SCRIPT_NAME is set.
        header: whether the proxy sends Daphne's header.
        stripped: whether the proxy removes the prefix from the path.
    """

    command: tuple[str, ...]
    options: tuple[str, ...] = ()
    setting: bool = False
    header: bool = False
    stripped: bool = False

    def start(self, directory: Any) -> Any:
        port = free_port()
        variables = environment(directory, PYTHONPATH=f"{ROOT}:{EXAMPLE}")
        if self.setting:
            variables["FORCE_SCRIPT_NAME"] = PREFIX
        arguments = (*self.command, str(port), *self.options, "site_config.asgi:application")
        return run_server(
            [sys.executable, "-m", *arguments], port, cwd=EXAMPLE, environment=variables
        )


WAYS = {
    # uvicorn puts its root path in front of the path of every request, so its proxy removes it
    "uvicorn": Way(command=UVICORN, options=("--root-path", PREFIX), setting=True, stripped=True),
    "daphne": Way(command=DAPHNE, setting=True),
    "daphne-header": Way(command=DAPHNE, header=True),
    "granian": Way(command=GRANIAN, options=("--url-path-prefix", PREFIX)),
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    directory = tmp_path_factory.mktemp("prefix")
    assert manage(directory, "demo", "--prepare-only").returncode == 0
    with together(*(way.start(directory) for way in WAYS.values())) as started:
        yield dict(zip(WAYS, started, strict=True))


class Browser:
    """A browser in front of the proxy of a site: it knows the public addresses alone."""

    def __init__(self, way: Way, server: Server) -> None:
        self.way, self.server = way, server
        self.cookies: dict[str, str] = {}

    def headers(self) -> dict[str, str]:
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if self.way.header:
            sent["Daphne-Root-Path"] = PREFIX
        return sent

    def upstream(self, address: str) -> str:
        """The path that the proxy passes on."""
        assert address.startswith(f"{PREFIX}/"), f"{address} is not of this site"
        return address.removeprefix(PREFIX) if self.way.stripped else address

    def request(self, method: str, address: str, **fields: str) -> http.client.HTTPResponse:
        """The response, once it is read: its text is `body`."""
        connection = http.client.HTTPConnection(HOST, self.server.port, timeout=TIMEOUT_S)
        headers = {**self.headers(), "Content-Type": "application/x-www-form-urlencoded"}
        if "csrftoken" in self.cookies:
            headers["X-CSRFToken"] = self.cookies["csrftoken"]
        connection.request(method, self.upstream(address), urlencode(fields), headers)
        response = connection.getresponse()
        response.body = response.read().decode()  # type: ignore[attr-defined]
        for cookie in response.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        connection.close()
        return response

    def page(self, address: str) -> str:
        response = self.request("GET", address)
        text: str = response.body  # type: ignore[attr-defined]
        assert response.status == 200, f"{address}: {response.status}"
        return text

    def sign_in(self, name: str) -> None:
        login = f"{PREFIX}/accounts/login/"
        field = CSRF_FIELD.search(self.page(login))
        assert field
        response = self.request(
            "POST", login, username=name, password=name, csrfmiddlewaretoken=field[1]
        )
        assert (response.status, response.headers["Location"]) == (302, f"{PREFIX}/")


@pytest.mark.parametrize("name", WAYS)
def test_example_is_served_beneath_its_prefix(servers: dict[str, Server], name: str) -> None:
    browser = Browser(WAYS[name], servers[name])
    browser.sign_in("admin")
    home = browser.page(f"{PREFIX}/")
    script = re.search(r'"channels_realtime": "([^"]+)"', home)
    address = re.search(r'"url": "([^"]+)"', home)
    assert script
    assert "realtime-channel" in browser.page(script[1])
    assert address

    listed = browser.page(f"{PREFIX}/admin/channels_realtime/connectionrecord/")
    assert f'data-path="{address[1]}"' in listed
    client = re.search(r'data-client="([^"]+)"', listed)
    assert client
    assert "RealtimeClient" in browser.page(client[1])

    issued = browser.request("POST", f"{PREFIX}/realtime/ticket/")
    assert issued.status == 200
    ticket = json.loads(issued.body)["ticket"]  # type: ignore[attr-defined]
    url = f"ws://{HOST}:{servers[name].port}{browser.upstream(address[1])}"
    for credentials in ({}, {"ticket": ticket}):
        if credentials:
            browser.cookies.clear()
        with connect(
            f"{url}?{urlencode(credentials)}", additional_headers=browser.headers()
        ) as socket:
            assert json.loads(socket.recv(TIMEOUT_S))["payload"]["user"] == "1"
            socket.send(json.dumps({"type": "subscribe", "channel": "rooms/lobby"}))
            assert json.loads(socket.recv(TIMEOUT_S))["type"] == "subscribed"
    assert "Traceback" not in servers[name].log()
