"""Logs of real servers with the package's loggers at DEBUG have no token, cookie, ticket or session id.

One exception is known: uvicorn logs the whole URL of a handshake. A token in the query
(``QUERY_TOKEN``, off by default, and a system check warns of it) is logged. So is a ticket, which is
used up by then.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any

import jwt
import pytest
from websockets.sync.client import connect

from tests.support.clients import TIMEOUT_S, wait_until
from tests.support.servers import Server
from tests.support.site import new_site

SECRET_KEY = "only-for-tests-and-long-enough-to-sign-a-token-with"
PLANTED = "pl4nt3d"
EVERY_CREDENTIAL = {"ALLOW_ANONYMOUS": False, "QUERY_TOKEN": True, "JWT_COOKIE": "access"}

_http = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def server(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Server]:
    site = new_site(tmp_path_factory.mktemp("leaks"), SITE_LOG_LEVEL="DEBUG").having(
        realtime=EVERY_CREDENTIAL
    )
    with site.serve(request.param) as server:
        yield server


def talk(
    server: Server,
    path: str = "/ws/",
    *,
    headers: dict[str, str] | None = None,
    subprotocols: list[str] | None = None,
    token: str | None = None,
) -> str:
    """What the server says first, or after a first message."""
    with connect(
        server.websocket_url(path),
        additional_headers={"Origin": server.origin, **(headers or {})},
        subprotocols=subprotocols,  # type: ignore[arg-type]
        proxy=None,
        open_timeout=TIMEOUT_S,
    ) as connection:
        message = json.loads(connection.recv(timeout=TIMEOUT_S))
        if token is not None:
            connection.send(json.dumps({"type": "auth", "token": token}))
            message = json.loads(connection.recv(timeout=TIMEOUT_S))
        return str(message["type"])


def log_in(server: Server) -> tuple[int, str]:
    """The primary key of alice, and her session key."""
    with _http.open(server.url("/login/?user=alice"), timeout=TIMEOUT_S) as response:
        cookies = SimpleCookie("; ".join(response.headers.get_all("Set-Cookie")))
        return json.load(response)["id"], cookies["sessionid"].value


def make_token(user_id: Any, **changes: Any) -> str:
    now = int(time.time())
    claims = {"token_type": "access", "jti": "i", "user_id": str(user_id), "exp": now + 300}
    return jwt.encode({**claims, **changes}, SECRET_KEY, "HS256")


def fetch_ticket(server: Server, token: str) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}", "Origin": server.origin}
    request = urllib.request.Request(
        server.url("/realtime/ticket/"), method="POST", headers=headers
    )
    try:
        with _http.open(request, timeout=TIMEOUT_S) as response:
            return response.status, json.load(response)["ticket"]
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def written(server: Server, marker: str) -> str:
    """The log, once the server has written ``marker`` into it."""
    _http.open(server.url(f"/?{marker}"), timeout=TIMEOUT_S).close()
    wait_until(lambda: marker in server.log(), f"{marker} in the log")
    return server.log()


def test_server_writes_no_secret_into_its_log(server: Server) -> None:
    pk, session_key = log_in(server)
    good = make_token(pk)
    bad = [
        f"{PLANTED}.{PLANTED}.{PLANTED}",
        make_token(pk, exp=1),
        make_token(pk, exp=1e20),
        make_token(pk, token_type="refresh"),
        make_token(PLANTED),
        make_token([PLANTED]),
    ]
    secrets = {session_key, PLANTED}
    for token in (good, *bad):
        secrets.update(part for part in token.split(".") if len(part) > 40)
        expected = "welcome" if token is good else "closing"
        bearer = {"Authorization": f"Bearer {token}"}
        assert talk(server, headers=bearer) == expected
        assert talk(server, headers={"Cookie": f"access={token}"}) == expected
        assert talk(server, subprotocols=["jwt", token]) == expected
        assert talk(server, subprotocols=[f"access_token_{token}"]) == expected
        assert talk(server, token=token) == ("auth_ok" if token is good else "error")
        status, answer = fetch_ticket(server, token)
        assert status == (200 if token is good else 401)
        if token is good:
            secrets.add(answer)
    assert talk(server, headers={"Cookie": f"sessionid={session_key}"}) == "welcome"
    assert talk(server, headers={"Cookie": f"sessionid={PLANTED * 5}"}) == "auth_required"
    log = written(server, "the-end-of-the-failures")
    for secret in secrets:
        assert secret not in log


def test_ticket_in_the_log_of_a_server_is_worth_nothing(server: Server) -> None:
    pk, _ = log_in(server)
    _, ticket = fetch_ticket(server, make_token(pk))
    assert talk(server, f"/ws/?ticket={ticket}") == "welcome"
    log = written(server, "the-end-of-the-ticket")
    if ticket in log:  # uvicorn
        assert talk(server, f"/ws/?ticket={ticket}") == "closing"


def test_token_in_the_query_is_what_a_server_may_write(server: Server) -> None:
    """Known, and the reason why ``QUERY_TOKEN`` is off by default: the package cannot prevent it."""
    pk, _ = log_in(server)
    token = make_token(pk, jti="in-the-query")
    assert talk(server, f"/ws/?token={token}") == "welcome"
    log = written(server, "the-end-of-the-query")
    is_uvicorn = "uvicorn" in " ".join(map(str, server.process.args))
    assert (token in log) is is_uvicorn
