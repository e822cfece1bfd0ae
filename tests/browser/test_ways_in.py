"""The ways in that a browser has, in a real one; and what a foreign page gets."""

from __future__ import annotations

import http.server
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from tests.support.servers import Server
from tests.support.site import new_site

if TYPE_CHECKING:
    from playwright.sync_api import Page

SECRET_KEY = "only-for-tests-and-long-enough-to-sign-a-token-with"

# Opens a socket and collects what it says until it is greeted, asked or closed.
CONNECT = """
async ({address, subprotocols, token}) => {
    const url = new URL(address, location.href);
    url.protocol = "ws:";
    const socket = subprotocols ? new WebSocket(url, subprotocols) : new WebSocket(url);
    const seen = {opened: false, subprotocol: null, messages: [], code: null};
    return await new Promise((resolve) => {
        const end = () => { resolve(seen); socket.close(); };
        socket.onopen = () => { seen.opened = true; seen.subprotocol = socket.protocol; };
        socket.onclose = (event) => { seen.code = event.code; resolve(seen); };
        socket.onmessage = (event) => {
            const message = JSON.parse(event.data);
            seen.messages.push(message);
            if (message.type === "welcome") end();
            if (message.type === "auth_required") {
                if (token) socket.send(JSON.stringify({type: "auth", token}));
                else end();
            }
        };
    });
}
"""

POST = """
async ({address, headers, credentials}) => {
    try {
        const response = await fetch(address, {method: "POST", headers, credentials});
        return {status: response.status, body: await response.text()};
    } catch (error) {
        return {status: null, body: String(error)};
    }
}
"""

EVERY_CREDENTIAL = {"ALLOW_ANONYMOUS": False, "QUERY_TOKEN": True, "JWT_COOKIE": "access"}

INVALID = "4401 the token is not valid"
EXPIRED = "4401 the token has expired"
ASKED = "auth_required"
WELCOME = "welcome"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = new_site(tmp_path_factory.mktemp("site")).having(realtime=EVERY_CREDENTIAL)
    with site.serve("daphne") as server:
        yield server


@pytest.fixture(scope="module")
def alice(server: Server) -> int:
    """Her primary key."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(server.url("/login/?user=alice"), timeout=15) as response:
        found: int = json.load(response)["id"]
        return found


def make_token(user_id: int, kind: str) -> str:
    now = int(time.time())
    claims = {"token_type": "access", "jti": "browser", "user_id": str(user_id), "iat": now - 10}
    claims["exp"] = now - 5 if kind == "expired" else now + 300
    if kind == "refresh":
        claims["token_type"] = "refresh"
    key = SECRET_KEY if kind != "wrong signature" else "another key, which is long enough for it"
    return jwt.encode(claims, key, "HS256")


def outcome(seen: dict[str, Any]) -> str:
    """``welcome <user>``, ``auth_required``, or the reason of ``closing`` and the browser's code."""
    assert seen["opened"], seen
    message = seen["messages"][-1]
    if message["type"] == "closing":
        assert seen["code"] == message["payload"]["code"]
        return f"{seen['code']} {message['payload']['reason']}"
    if message["type"] == "welcome":
        return f"welcome {message['payload']['user']}"
    return str(message["type"])


TOKENS = {
    "good": WELCOME,
    "expired": EXPIRED,
    "wrong signature": INVALID,
    "refresh": INVALID,
    "malformed": INVALID,
}

# A way: what CONNECT is told of a token, and the subprotocol that the browser is answered with.
WAYS = {
    "subprotocol with a version": lambda token: (
        {"subprotocols": ["realtime.v1.json", f"access_token_{token}"]},
        "realtime.v1.json",
    ),
    "subprotocol, the token first": lambda token: (
        {"subprotocols": [f"access_token_{token}", "realtime.v1.json"]},
        "realtime.v1.json",
    ),
    "subprotocol jwt": lambda token: ({"subprotocols": ["jwt", token]}, "jwt"),
    "subprotocol jwt with a version": lambda token: (
        {"subprotocols": ["jwt", token, "realtime.v1.json"]},
        "realtime.v1.json",
    ),
    "subprotocol alone": lambda token: (
        {"subprotocols": [f"access_token_{token}"]},
        f"access_token_{token}",
    ),
    "query": lambda token: ({"address": f"/ws/?token={token}"}, ""),
    "first message": lambda token: ({"token": token}, ""),
}


@pytest.mark.parametrize("kind", TOKENS)
@pytest.mark.parametrize("way", WAYS)
def test_token(page: Page, server: Server, alice: int, way: str, kind: str) -> None:
    page.goto(server.url("/"))
    token = "no-token" if kind == "malformed" else make_token(alice, kind)
    given, subprotocol = WAYS[way](token)
    seen = page.evaluate(CONNECT, {"address": "/ws/", **given})
    assert outcome(seen) == TOKENS[kind].replace(WELCOME, f"welcome {alice}")
    assert seen["subprotocol"] == subprotocol


@pytest.mark.parametrize("kind", TOKENS)
def test_token_in_a_cookie(page: Page, server: Server, alice: int, kind: str) -> None:
    token = "no-token" if kind == "malformed" else make_token(alice, kind)
    page.context.add_cookies([{"name": "access", "value": token, "url": server.url("/")}])
    page.goto(server.url("/"))
    seen = page.evaluate(CONNECT, {"address": "/ws/"})
    assert outcome(seen) == TOKENS[kind].replace(WELCOME, f"welcome {alice}")


@pytest.mark.parametrize("way", [{}, {"subprotocols": ["realtime.v1.json"]}])
def test_nothing_is_present(page: Page, server: Server, way: dict[str, Any]) -> None:
    page.goto(server.url("/"))
    assert outcome(page.evaluate(CONNECT, {"address": "/ws/", **way})) == ASKED


def test_version_that_is_not_served_is_told_to_a_browser(page: Page, server: Server) -> None:
    page.goto(server.url("/"))
    seen = page.evaluate(CONNECT, {"address": "/ws/", "subprotocols": ["realtime.v9.json"]})
    assert outcome(seen).startswith("4406 ")


# -- login sessions and tickets --------------------------------------------------------------------


def log_in(page: Page, server: Server) -> None:
    page.goto(server.url("/login/?user=alice"))
    page.goto(server.url("/"))


def cookie_of(page: Page, name: str) -> str:
    found = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
    return str(found[name])


def fetch_ticket(page: Page, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """What the ticket view answers to this page, with the cookies and the CSRF token it has."""
    if headers is None:
        headers = {"X-CSRFToken": cookie_of(page, "csrftoken")}
    given = {"address": "/realtime/ticket/", "headers": headers, "credentials": "same-origin"}
    found: dict[str, Any] = page.evaluate(POST, given)
    return found


def test_login_session(page: Page, server: Server, alice: int) -> None:
    log_in(page, server)
    assert outcome(page.evaluate(CONNECT, {"address": "/ws/"})) == f"welcome {alice}"
    page.goto(server.url("/logout/"))
    assert outcome(page.evaluate(CONNECT, {"address": "/ws/"})) == ASKED


def test_login_session_that_leads_nowhere(page: Page, server: Server) -> None:
    page.context.add_cookies([{"name": "sessionid", "value": "0" * 32, "url": server.url("/")}])
    page.goto(server.url("/"))
    assert outcome(page.evaluate(CONNECT, {"address": "/ws/"})) == ASKED


@pytest.mark.parametrize("proof", ["login session", "token"])
def test_ticket_opens_once(page: Page, server: Server, alice: int, proof: str) -> None:
    if proof == "token":
        page.goto(server.url("/"))
        headers = {"Authorization": f"Bearer {make_token(alice, 'good')}"}
    else:
        log_in(page, server)
        headers = None
    answer = fetch_ticket(page, headers)
    assert answer["status"] == 200, answer
    page.context.clear_cookies()
    given = {"address": f"/ws/?ticket={json.loads(answer['body'])['ticket']}"}
    assert outcome(page.evaluate(CONNECT, given)) == f"welcome {alice}"
    assert outcome(page.evaluate(CONNECT, given)) == "4401 the ticket was used already"


def test_ticket_that_is_none_is_not_rescued_by_the_login_session(
    page: Page, server: Server
) -> None:
    log_in(page, server)
    assert outcome(page.evaluate(CONNECT, {"address": "/ws/?ticket=x"})) == "4401 not a ticket"


def test_ticket_needs_the_csrf_token(page: Page, server: Server) -> None:
    log_in(page, server)
    assert fetch_ticket(page, {})["status"] == 403


def test_ticket_needs_credentials(page: Page, server: Server) -> None:
    page.goto(server.url("/"))
    assert fetch_ticket(page)["status"] == 401
    assert fetch_ticket(page, {"Authorization": "Bearer bad"})["status"] == 401


# -- foreign pages ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page on another port of the same host: another origin, and the same site for cookies."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>foreign</title>")

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as foreign:
        threading.Thread(target=foreign.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{foreign.server_port}/"
        foreign.shutdown()


@pytest.fixture(params=["another host", "another port"])
def foreign_page(
    request: pytest.FixtureRequest, page: Page, server: Server, other_port: str
) -> Page:
    """A foreign page in the browser of a user who is logged in."""
    log_in(page, server)
    another_host = f"http://localhost:{server.port}/"
    page.goto(another_host if request.param == "another host" else other_port)
    return page


@pytest.mark.parametrize("address", ["/ws/", "/ws/bare/public/a", "/ws/?ticket=x"])
def test_foreign_page_cannot_open_a_socket(
    foreign_page: Page, server: Server, address: str
) -> None:
    seen = foreign_page.evaluate(CONNECT, {"address": server.websocket_url(address)})
    assert seen == {"opened": False, "subprotocol": None, "messages": [], "code": 1006}


def test_foreign_page_cannot_open_a_socket_with_a_good_token_either(
    foreign_page: Page, server: Server, alice: int
) -> None:
    given = {"subprotocols": ["jwt", make_token(alice, "good")]}
    seen = foreign_page.evaluate(CONNECT, {"address": server.websocket_url("/ws/"), **given})
    assert not seen["opened"]


@pytest.mark.parametrize("headers", ["none", "a token", "a csrf token"])
def test_foreign_page_gets_no_ticket(
    foreign_page: Page, server: Server, alice: int, headers: str
) -> None:
    """It can send a simple request, with cookies; it is refused, and cannot read that."""
    answers = []
    foreign_page.on("response", lambda response: answers.append(response.status))
    given = {
        "none": {},
        "a token": {"Authorization": f"Bearer {make_token(alice, 'good')}"},
        "a csrf token": {"X-CSRFToken": cookie_of(foreign_page, "csrftoken")},
    }[headers]
    address = server.url("/realtime/ticket/")
    seen = foreign_page.evaluate(
        POST, {"address": address, "headers": given, "credentials": "include"}
    )
    assert seen["status"] is None, seen
    assert "ticket" not in seen["body"].replace("/realtime/ticket/", "")
    assert set(answers) <= {403}


def test_foreign_form_gets_no_ticket(foreign_page: Page, server: Server) -> None:
    """A form needs no preflight, and its answer is a page: nothing is issued."""
    with foreign_page.expect_navigation() as navigation:
        foreign_page.evaluate(
            """(address) => {
                const form = document.createElement("form");
                form.method = "POST";
                form.action = address;
                document.body.append(form);
                form.submit();
            }""",
            server.url("/realtime/ticket/"),
        )
    response = navigation.value
    assert response is not None
    assert response.status == 403
    assert '"ticket"' not in response.text()


def test_ticket_of_our_page_opens_nothing_for_a_foreign_one(page: Page, server: Server) -> None:
    """A page on another allowed host (localhost is one here) steals a ticket."""
    log_in(page, server)
    ticket = json.loads(fetch_ticket(page)["body"])["ticket"]
    page.goto(f"http://localhost:{server.port}/")
    seen = page.evaluate(CONNECT, {"address": f"/ws/?ticket={ticket}"})
    assert outcome(seen) == "4401 the ticket is for another origin"
