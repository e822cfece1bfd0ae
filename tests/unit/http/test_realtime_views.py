"""``sse``, ``send`` and ``poll`` as a site serves them: who may use them, in which stack of middleware."""

from __future__ import annotations

import asyncio
import json

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.core.asgi import get_asgi_application
from django.db import connections
from django.test import Client
from django.utils.decorators import async_only_middleware, sync_only_middleware

from channels_realtime.access.limits import AccessLimits
from channels_realtime.asgi import get_realtime_application
from channels_realtime.endpoints import polling
from channels_realtime.http.owners import ask_owner
from channels_realtime.monitoring.registry import Registry
from channels_realtime.nodes.node import running_node
from channels_realtime.operations import block, disconnect, revoke_user, send_notice
from channels_realtime.services import current_node
from tests.support.asgi_request import AsgiRequest
from tests.support.many_clients import until
from tests.unit.auth.credentials import make_session, make_token, make_user

pytestmark = pytest.mark.django_db(transaction=True)

SSE, SEND, POLL = "/realtime/sse/", "/realtime/send/", "/realtime/poll/"
EVENT_SOURCE = {"Accept": "text/event-stream"}
OWN = "http://testserver"
APP = "https://app.example.com"


@pytest.fixture
def alice():
    return make_user()


@pytest.fixture
def cookie(alice):
    """The header of alice's login session."""
    return {"Cookie": f"sessionid={make_session(alice).session_key}"}


@pytest.fixture
async def site(realtime):
    """Makes the site's application, by the settings of the test."""
    yield lambda: get_realtime_application(get_asgi_application())
    node = running_node()
    if node is not None:
        await node.stop()


def bearer(user, **claims) -> dict[str, str]:
    return {"Authorization": f"Bearer {make_token(user.pk, **claims)}"}


async def refused(request: AsgiRequest) -> tuple[int, str]:
    """The status and the code of a refusal."""
    async with request:
        answer = await request.json()
        assert set(answer) == {"code", "reason"}
        return request.status, answer["code"]


# -- credentials -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [SSE, SEND, POLL])
async def test_client_without_credentials_is_refused(site, path):
    method = "GET" if path == SSE else "POST"
    body = b"" if path == SSE else {"session_id": "x", "messages": [{}]}
    request = AsgiRequest(site(), path, method=method, body=body)
    assert await refused(request) == (401, "unauthenticated")


async def test_bad_token_is_refused_and_counts_against_the_address(site, realtime):
    realtime(ADDRESS_FAILURES=(0.01, 2.0))
    application = site()
    bad = {"Authorization": "Bearer nonsense"}
    for _ in range(2):
        assert await refused(AsgiRequest(application, SSE, headers=bad)) == (401, "token_invalid")
    assert await refused(AsgiRequest(application, SSE, headers=bad)) == (429, "rate_limited")


async def test_header_that_nothing_reads_is_refused(site, realtime):
    realtime(ALLOW_ANONYMOUS=True)
    foreign = {"Authorization": "Token abc"}
    assert await refused(AsgiRequest(site(), SSE, headers=foreign)) == (401, "token_invalid")


async def test_token_and_login_session_open_a_stream(site, alice, cookie):
    application = site()
    for headers in (bearer(alice), cookie):
        async with AsgiRequest(application, SSE, headers=headers) as request:
            assert request.status == 200
            assert f'"user":"{alice.pk}"' in await request.until("welcome")
    assert not current_node().connections


async def test_blocked_user_is_refused(site, alice):
    await sync_to_async(block)(user_pk=str(alice.pk), seconds=60.0)
    assert await refused(AsgiRequest(site(), SSE, headers=bearer(alice))) == (403, "forbidden")


async def test_revoked_login_ends_the_stream_for_good(site, alice, cookie):
    async with AsgiRequest(site(), SSE, headers={**cookie, **EVENT_SOURCE}) as request:
        await request.until("welcome")
        await sync_to_async(revoke_user)(str(alice.pk))
        rest = await request.rest()
    assert '"code":4401' in rest
    assert rest.endswith("id: closed.4401\n\n")
    assert "event: close\n" in rest


async def test_token_that_goes_up_signs_in_and_is_needed_from_then_on(site, realtime, alice):
    realtime(ALLOW_ANONYMOUS=True)
    application = site()
    token = make_token(alice.pk)
    async with AsgiRequest(application, SSE) as request:
        first = await request.until("welcome")
        session = json.loads(first.split("\n")[0].removeprefix("data: "))["payload"]["session_id"]

        async def up(message, headers=None) -> int:
            body = {"session_id": session, "messages": [message]}
            sent = AsgiRequest(application, SEND, method="POST", headers=headers, body=body)
            async with sent:
                return sent.status

        assert await up({"type": "auth", "id": 1, "token": token}) == 202
        assert f'"user":"{alice.pk}"' in await request.until("auth_ok")
        assert await up({"type": "ping", "id": 2}) == 404
        assert await up({"type": "ping", "id": 2}, {"Authorization": f"Bearer {token}"}) == 202
        assert '"id":2' in await request.until("pong")


async def test_staff_reach_and_end_a_stream_before_its_node_has_a_row(site, realtime, monkeypatch):
    async def write_nothing_yet(registry) -> None:
        pass

    monkeypatch.setattr(Registry, "_write_due", write_nothing_yet)
    realtime(ALLOW_ANONYMOUS=True)
    async with AsgiRequest(site(), SSE, headers=EVENT_SOURCE) as request:
        await request.until("welcome")
        (connection,) = current_node().connections.values()
        assert connection.transport == "sse"
        await sync_to_async(send_notice)([connection.id], {"text": "hello"})
        assert '"event":"notice"' in await request.until("hello")
        await sync_to_async(disconnect)([connection.id])
        rest = await request.rest()
        assert '"code":4403' in rest
        assert rest.endswith("id: closed.4403\n\n")


# -- coming back to a stream that has ended --------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Accept": "text/event-stream", "Last-Event-ID": "closed.4401"}, 204),
        ({"Accept": "text/event-stream", "Last-Event-ID": "closed.4403"}, 204),
        ({"Accept": "text/html, text/event-stream", "Last-Event-ID": "closed.4401"}, 401),
        ({"Accept": "text/html, text/event-stream", "Last-Event-ID": "closed.4403"}, 403),
        (
            {
                "Accept": "text/event-stream",
                "HX-Request": "true",
                "Last-Event-ID": "closed.4409",
            },
            403,
        ),
        ({"Last-Event-ID": "closed.4401"}, 401),
    ],
)
async def test_client_that_comes_back_to_a_closed_stream_is_stopped(site, headers, status):
    async with AsgiRequest(site(), SSE, headers=headers) as request:
        assert request.status == status


@pytest.mark.parametrize("parameter", ["cursor", "last_event_id"])
async def test_cursor_in_the_query_counts_as_the_header(site, parameter):
    request = AsgiRequest(site(), f"{SSE}?{parameter}=closed.4403")
    assert await refused(request) == (403, "forbidden")


@pytest.mark.filterwarnings("error")  # Django warns of content that is not asynchronous
async def test_event_source_is_told_to_come_back_to_a_full_server(site, realtime):
    realtime(ALLOW_ANONYMOUS=True, MAX_CONNECTIONS=1)
    application = site()
    async with AsgiRequest(application, SSE) as first:
        await first.until("welcome")
        async with AsgiRequest(application, SSE, headers=EVENT_SOURCE) as request:
            assert request.status == 200
            assert request.headers["content-type"] == "text/event-stream"
            retry, data = (await request.rest()).strip().split("\n")
        closing = json.loads(data.removeprefix("data: "))
        assert closing["type"] == "closing"
        assert closing["payload"]["code"] == 4503
        assert closing["payload"]["reconnect"] is True
        assert 5_000 <= int(retry.removeprefix("retry: ")) <= 10_000
        async with AsgiRequest(application, SSE) as request:
            assert request.status == 503
            assert 5 <= int(request.headers["retry-after"]) <= 10
        # htmx swaps an event without a name
        async with AsgiRequest(application, f"{SSE}?format=html", headers=EVENT_SOURCE) as request:
            assert (await request.rest()).strip().split("\n")[1] == "event: realtime:closing"
        poll = AsgiRequest(application, POLL, method="POST", body={})
        assert await refused(poll) == (503, "unavailable")


async def test_full_address_is_refused(site, realtime):
    realtime(ALLOW_ANONYMOUS=True, MAX_CONNECTIONS_PER_ADDRESS=1)
    application = site()
    async with AsgiRequest(application, SSE) as request:
        await request.until("welcome")
        assert await refused(AsgiRequest(application, SSE)) == (429, "rate_limited")
    assert not current_node().service(AccessLimits)._by_address


async def test_user_with_all_connections_is_told_when_to_come_back(site, realtime, alice):
    realtime(MAX_CONNECTIONS_PER_USER=1)
    application = site()
    async with AsgiRequest(application, SSE, headers=bearer(alice)) as first:
        await first.until("welcome")
        async with AsgiRequest(application, SSE, headers=bearer(alice)) as request:
            rest = await request.rest()
        assert rest.startswith("retry: 30000\n")
        assert '"code":4429' in rest
        assert "event: close" not in rest
        async with AsgiRequest(
            application, POLL, method="POST", headers=bearer(alice), body={}
        ) as request:
            (closing,) = (await request.json())["messages"]
            assert closing["payload"]["code"] == 4429
    assert not current_node().connections


# -- channels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "code", "reason"),
    [
        ("channel=a%20b", "bad_channel", "channel 'a b' is not a name"),
        ("channel=", "bad_channel", "channel '' is not a name"),
        (
            "&".join(f"channel=kept/{n}" for n in range(33)),
            "too_many_subscriptions",
            "33 channels with history; a stream can recover at most 32",
        ),
        (
            "&".join(f"channel=public/{n}" for n in range(257)),
            "too_many_subscriptions",
            "257 channels; expected at most 256",
        ),
    ],
)
async def test_channels_that_cannot_be_are_refused(site, realtime, query, code, reason):
    realtime(ALLOW_ANONYMOUS=True)
    async with AsgiRequest(site(), f"{SSE}?{query}") as request:
        assert request.status == 400
        answer = await request.json()
        assert answer["code"] == code
        assert answer["reason"].startswith(reason)


async def test_cursor_of_nonsense_is_said_to_be_unrecovered(site, realtime):
    realtime(ALLOW_ANONYMOUS=True)
    headers = {"Last-Event-ID": "nonsense"}
    async with AsgiRequest(site(), f"{SSE}?channel=kept/x", headers=headers) as request:
        assert '"recovered":false' in await request.until('"subscribed"')


# -- origins ---------------------------------------------------------------------------------------


async def test_page_of_an_allowed_origin_may_read_the_answer(site, realtime, settings):
    realtime(ALLOW_ANONYMOUS=True, ALLOWED_ORIGINS=[OWN, APP])
    application = site()
    async with AsgiRequest(application, SSE, headers={"Origin": APP}) as request:
        assert request.status == 200
        assert request.headers["access-control-allow-origin"] == APP
        assert request.headers["access-control-allow-credentials"] == "true"
        assert "Origin" in request.headers["vary"]
    preflight = {"Origin": APP, "Access-Control-Request-Method": "GET"}
    async with AsgiRequest(application, SSE, method="OPTIONS", headers=preflight) as request:
        assert request.status == 204
        assert request.headers["access-control-allow-origin"] == APP
        assert request.headers["access-control-allow-methods"] == "GET"
        assert {"authorization", "last-event-id"} <= set(
            request.headers["access-control-allow-headers"].split(", ")
        )
    async with AsgiRequest(application, POLL, method="OPTIONS", headers=preflight) as request:
        assert request.headers["access-control-allow-methods"] == "POST"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.com"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_page_of_another_origin_is_refused(site, realtime, headers):
    realtime(ALLOW_ANONYMOUS=True)
    async with AsgiRequest(site(), SSE, headers=headers) as request:
        assert request.status == 403
        assert "access-control-allow-origin" not in request.headers


async def test_browser_on_the_sites_own_page_needs_no_origin(site, realtime):
    realtime(ALLOW_ANONYMOUS=True, ALLOW_MISSING_ORIGIN=False)
    application = site()
    async with AsgiRequest(application, SSE, headers={"Sec-Fetch-Site": "same-origin"}) as request:
        assert request.status == 200
        await request.until("welcome")
        (connection,) = current_node().connections.values()
        assert connection.origin == OWN
    async with AsgiRequest(application, SSE) as request:
        assert request.status == 403


# -- methods and bodies ----------------------------------------------------------------------------


async def test_other_methods_are_refused(site):
    application = site()
    async with AsgiRequest(application, SSE, method="POST") as request:
        assert request.status == 405
        assert request.headers["allow"] == "GET, OPTIONS"
    async with AsgiRequest(application, SEND) as request:
        assert request.status == 405
        assert request.headers["allow"] == "POST, OPTIONS"


async def test_cookie_needs_a_csrf_token_and_a_bearer_token_none(site, alice, cookie):
    application = site()
    request = AsgiRequest(application, POLL, method="POST", headers=cookie, body={"wait": 0})
    assert await refused(request) == (403, "forbidden")
    tokens = {"Cookie": f"{cookie['Cookie']}; csrftoken={'a' * 32}", "X-CSRFToken": "a" * 32}
    for headers in (tokens, bearer(alice), {**cookie, **bearer(alice)}):
        async with AsgiRequest(
            application, POLL, method="POST", headers=headers, body={"wait": 0}
        ) as request:
            assert request.status == 200
            assert (await request.json())["messages"][0]["payload"]["user"] == str(alice.pk)


BAD_BODIES = {
    "empty": b"",
    "no object": b"[]",
    "no JSON": b"{",
    "no UTF-8": b'{"session_id": "\xff", "messages": [{}]}',
    "half a surrogate": b'{"session_id": "\\ud800", "messages": [{}]}',
    "no session": {"messages": [{}]},
    "no messages": {"session_id": "x"},
    "messages that are none": {"session_id": "x", "messages": {}},
    "an empty list": {"session_id": "x", "messages": []},
    "too many": {"session_id": "x", "messages": [{}] * 65},
    "deep": b'{"session_id": "x", "messages": [' + b"[" * 50_000,
    "a number": b"1e999",
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
async def test_malformed_body_is_refused(site, realtime, body):
    realtime(ALLOW_ANONYMOUS=True)
    request = AsgiRequest(site(), SEND, method="POST", body=body)
    assert await refused(request) == (400, "bad_message")


@pytest.mark.parametrize("session_id", ["", "x" * 65, "\0", ".", "x." + "0" * 32, "ä" * 30])
async def test_session_that_cannot_be_is_unknown(site, realtime, session_id):
    realtime(ALLOW_ANONYMOUS=True)
    body = {"session_id": session_id, "messages": [{"type": "ping"}]}
    request = AsgiRequest(site(), SEND, method="POST", body=body)
    assert await refused(request) == (404, "unknown_session")


async def test_message_that_is_none_is_answered_on_the_stream(site, realtime):
    realtime(ALLOW_ANONYMOUS=True)
    application = site()
    async with AsgiRequest(application, SSE) as request:
        first = await request.until("welcome")
        session = json.loads(first.split("\n")[0].removeprefix("data: "))["payload"]["session_id"]
        body = {"session_id": session, "messages": [5, {"type": "dance", "id": 1}]}
        async with AsgiRequest(application, SEND, method="POST", body=body) as sent:
            assert sent.status == 202
        errors = await request.until("unknown_type")
        assert "expected an object, got a number" in errors


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain"])
async def test_kind_of_the_body_does_not_matter(site, cookie, kind):
    body = {"session_id": "x", "messages": [{"type": "ping"}]}
    headers = {
        "Cookie": f"{cookie['Cookie']}; csrftoken={'a' * 32}",
        "X-CSRFToken": "a" * 32,
        "Content-Type": kind,
    }
    request = AsgiRequest(site(), SEND, method="POST", headers=headers, body=body)
    assert await refused(request) == (404, "unknown_session")


# -- polls that wait -------------------------------------------------------------------------------


class Halt:
    """Where a request stops for good."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await asyncio.Event().wait()


@async_only_middleware
def halting_middleware(get_response):
    """A middleware that keeps the answer of a request that asks for it."""

    async def middleware(request):
        response = await get_response(request)
        if "HTTP_X_HALT" in request.META:
            await halting_middleware.halt()
        return response

    return middleware


@pytest.mark.parametrize("place", ["view", "middleware", "body"])
async def test_client_that_goes_before_its_poll_is_answered_is_missed_soon(
    site, realtime, settings, monkeypatch, place
):
    realtime(ALLOW_ANONYMOUS=True)
    monkeypatch.setattr(polling, "_RETURN_S", 0.0)
    monkeypatch.setattr("channels_realtime.http.polling._BEGIN_S", 0.0)
    settings.MIDDLEWARE = [f"{__name__}.halting_middleware"]
    application = site()
    async with AsgiRequest(application, POLL, method="POST", body={"wait": 0}) as first:
        begun = await first.json()
    session_id = begun["messages"][0]["payload"]["session_id"]
    body = {"session_id": session_id, "cursor": begun["cursor"], "wait": 25}
    halt = Halt()

    async def ask_and_halt(*args):
        answer = await ask_owner(*args)
        await halt()
        return answer

    headers = {}
    if place == "view":
        monkeypatch.setattr("channels_realtime.http.polling.ask_owner", ask_and_halt)
    elif place == "middleware":
        halting_middleware.halt = halt
        headers = {"X-Halt": "yes"}
    poll = AsgiRequest(application, POLL, method="POST", headers=headers, body=body)
    entering = asyncio.create_task(poll.__aenter__())
    if place == "body":
        await entering
    else:
        await halt.reached.wait()
    node = current_node()
    assert node.connections
    await poll.__aexit__()
    if place != "body":
        with pytest.raises(AssertionError, match="nothing was sent"):
            await entering
    await until(lambda: not node.connections, "it is missed")


# -- the site's middleware -------------------------------------------------------------------------


@sync_only_middleware
def sync_middleware(get_response):
    """A middleware as many sites have one: a plain function, for which Django uses a thread."""

    def middleware(request):
        response = get_response(request)
        response["X-Seen"] = "yes"
        return response

    return middleware


STACKS = {
    "gzip": ["django.middleware.gzip.GZipMiddleware"],
    "conditional": ["django.middleware.http.ConditionalGetMiddleware"],
    "sync": [f"{__name__}.sync_middleware"],
    "login": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        f"{LoginRequiredMiddleware.__module__}.{LoginRequiredMiddleware.__qualname__}",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
}


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
async def test_middleware_of_a_site_passes_events_on_as_they_come(site, realtime, settings, stack):
    settings.MIDDLEWARE = stack
    realtime(ALLOW_ANONYMOUS=True)
    headers = {**EVENT_SOURCE, "Accept-Encoding": "gzip, br"}
    application = site()
    async with AsgiRequest(application, f"{SSE}?channel=public/x", headers=headers) as request:
        assert request.status == 200
        assert request.headers["content-encoding"] == "identity"
        first = await request.until('"subscribed"')
        session = json.loads(first.split("\n")[0].removeprefix("data: "))["payload"]["session_id"]
        body = {"session_id": session, "messages": [{"type": "ping", "id": 7}]}
        async with AsgiRequest(application, SEND, method="POST", body=body) as sent:
            assert (sent.status, await sent.json()) == (202, {})
        assert await request.chunk() == 'data: {"type":"pong","id":7}\n\n'
    async with AsgiRequest(application, POLL, method="POST", body={"wait": 1}) as request:
        assert (await request.json())["messages"][0]["type"] == "welcome"


async def test_poll_that_waits_under_a_synchronous_middleware_is_not_taken_for_cut(
    site, realtime, settings, monkeypatch
):
    settings.MIDDLEWARE = STACKS["sync"]
    realtime(ALLOW_ANONYMOUS=True)
    monkeypatch.setattr(polling, "_RETURN_S", 0.0)
    application = site()
    async with AsgiRequest(application, POLL, method="POST", body={"wait": 0}) as first:
        begun = await first.json()
    session_id = begun["messages"][0]["payload"]["session_id"]
    body = {"session_id": session_id, "cursor": begun["cursor"], "wait": 1.5}
    async with AsgiRequest(application, POLL, method="POST", body=body) as poll:
        assert (await poll.json())["messages"] == []
    assert current_node().connections


async def test_database_with_a_transaction_a_request_does_not_matter(site, realtime):
    realtime(ALLOW_ANONYMOUS=True)
    connections.settings["default"]["ATOMIC_REQUESTS"] = True
    try:
        async with AsgiRequest(site(), SSE) as request:
            assert request.status == 200
            await request.until("welcome")
    finally:
        connections.settings["default"]["ATOMIC_REQUESTS"] = False


@pytest.mark.parametrize("path", [SSE, SEND, POLL])
def test_wsgi_server_is_said_to_be_the_wrong_one(path, caplog):
    answer = Client().generic("GET" if path == SSE else "POST", path)
    assert answer.status_code == 501
    assert answer.json() == {
        "code": "unsupported",
        "reason": "this view needs an ASGI server, and the site is served over WSGI",
    }
