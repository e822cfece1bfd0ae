"""The endpoint on each supported server: handshake, publications, heartbeat, close codes, origins."""

import json
from collections.abc import Iterator

import msgspec
import pytest
from websockets.exceptions import InvalidStatus

from tests.support.clients import JSON, MSGPACK, TIMEOUT_S, client, wait_until
from tests.support.servers import Server
from tests.support.site import SERVERS, Site, get, login, publish, state

HEARTBEAT = {"HEARTBEAT_INTERVAL": 0.6, "HEARTBEAT_TIMEOUT": 0.4}
KINDS = list(SERVERS)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def server(site: Site, kind: str) -> Iterator[Server]:
    with site.serve(kind) as running:
        yield running


@pytest.fixture(scope="module")
def strict_server(site: Site, kind: str) -> Iterator[Server]:
    """A server with short heartbeats that requires credentials within half a second."""
    settings = {**HEARTBEAT, "ALLOW_ANONYMOUS": False, "AUTH_TIMEOUT": 0.5}
    with site.having(realtime=settings).serve(kind) as running:
        yield running


# -- messages --------------------------------------------------------------------------------------


def test_plain_websocket_gets_what_staff_publishes(server: Server) -> None:
    with (
        client(server) as page,
        client(server) as other,
        client(server, cookie=login(server, "admin")) as staff,
    ):
        page.send({"type": "subscribe", "channel": "quotes", "payload": {"symbol": "AAPL"}})
        assert page.receive() == {"type": "subscribed", "channel": "quotes", "payload": {}}
        other.subscribe("quotes", payload={"symbol": "MSFT"})

        for symbol, price in (("AAPL", 178.4), ("MSFT", 402.5)):
            # No id: answered only when it fails.
            payload = {"symbol": symbol, "price": price}
            staff.send({"type": "publish", "channel": "quotes", "payload": payload})

        sender = {"user": staff_id(server)}
        assert page.receive() == {
            "type": "message",
            "channel": "quotes",
            "payload": {"symbol": "AAPL", "price": 178.4},
            "sender": sender,
        }
        assert other.receive()["payload"] == {"symbol": "MSFT", "price": 402.5}
        # Nothing of what it had not selected lies between the message and the reply.
        page.send({"type": "ping", "id": "last"})
        assert page.receive() == {"type": "pong", "id": "last"}
        staff.send({"type": "ping"})
        assert staff.receive() == {"type": "pong"}


def staff_id(server: Server) -> str:
    with client(server, cookie=login(server, "admin"), welcomed=False) as staff:
        user: str = staff.expect("welcome")["payload"]["user"]
        return user


def test_msgpack_client_gets_what_staff_publishes(server: Server) -> None:
    cookie = login(server, "admin")
    with (
        client(server, subprotocol=MSGPACK) as page,
        client(server, subprotocol=MSGPACK, cookie=cookie) as staff,
    ):
        assert page.connection.subprotocol == MSGPACK
        page.subscribe("quotes", payload={"symbol": "AAPL"})
        payload = {"symbol": "AAPL", "price": 178.4}
        reply = staff.request("publish", channel="quotes", payload=payload)
        assert reply["type"] == "published"
        message = page.receive()
        assert (message["type"], message["channel"]) == ("message", "quotes")
        assert message["payload"] == payload


def test_bytes_reach_msgpack_as_they_are_and_json_as_base64(server: Server) -> None:
    with (
        client(server, subprotocol=MSGPACK) as binary,
        client(server, subprotocol=JSON) as text,
        client(server, subprotocol=MSGPACK) as publisher,
    ):
        binary.subscribe("public/bytes")
        text.subscribe("public/bytes")
        publisher.request("publish", channel="public/bytes", payload={"raw": b"\x00\xff"})
        assert binary.receive()["payload"] == {"raw": b"\x00\xff"}
        assert text.receive()["payload"] == {"raw": "AP8="}


def test_who_is_not_staff_may_not_publish(server: Server) -> None:
    with client(server, cookie=login(server, "alice")) as alice:
        alice.send({"type": "publish", "channel": "quotes", "payload": {"symbol": "AAPL"}})
        error = alice.receive()
        assert (error["type"], error["request"]) == ("error", "publish")
        assert error["payload"]["code"] == "forbidden"


def test_batch_is_answered_in_each_channels_order(server: Server) -> None:
    with client(server, subprotocol=JSON) as page:
        page.send(
            [
                {"type": "subscribe", "id": 1, "channel": "public/batch"},
                *(
                    {"type": "publish", "id": n, "channel": "public/batch", "payload": n}
                    for n in range(2, 32)
                ),
            ]
        )
        replies, payloads = [], []
        while len(replies) < 31 or len(payloads) < 30:
            message = page.receive()
            if message["type"] == "message":
                payloads.append(message["payload"])
            else:
                assert message["type"] in ("subscribed", "published"), message
                replies.append(message["id"])
        assert replies == list(range(1, 32))
        assert payloads == list(range(2, 32))


def test_user_channel_is_there_from_the_start(server: Server) -> None:
    with client(server, cookie=login(server, "bob"), welcomed=False) as bob:
        welcome = bob.expect("welcome")["payload"]
        own = f"users/{welcome['user']}"
        assert welcome["channels"] == {own: {}}
        publish(server, own, "for bob alone")
        assert bob.receive()["payload"] == "for bob alone"
        with client(server, cookie=login(server, "alice")) as alice:
            refused = alice.request("subscribe", channel=own)
            assert refused["payload"]["code"] == "forbidden"


def test_bare_endpoint_carries_payloads_alone(server: Server) -> None:
    with (
        client(server, path="/ws/bare/public/lobby", welcomed=False) as first,
        client(server, path="/ws/bare/public/lobby", welcomed=False) as second,
        client(server) as page,
    ):
        page.subscribe("public/lobby")
        # Until its subscription is made a bare page is told nothing: publish until it hears itself.
        assert hear(first, "first is on") == "first is on"
        assert hear(second, "second is on") == "second is on"
        first.connection.send("hello")
        assert hear_until(first, "hello")
        assert hear_until(second, "hello")
        assert page.payloads_until("hello")
        first.connection.send(b"\x01\x02")
        assert second.connection.recv(timeout=TIMEOUT_S) == b"\x01\x02"
        publish(server, "public/lobby", {"from": "a view"})
        frame = second.connection.recv(timeout=TIMEOUT_S)
        assert json.loads(frame) == {"from": "a view"}


def hear(bare: object, word: str) -> str:
    """Publish ``word`` on a bare connection, again and again, until it comes back."""
    for _ in range(150):
        bare.connection.send(word)  # type: ignore[attr-defined]
        try:
            while (frame := bare.connection.recv(timeout=0.1)) != word:  # type: ignore[attr-defined]
                assert isinstance(frame, str)
        except TimeoutError:
            continue
        return word
    raise TimeoutError(f"{word!r} never came back on the bare endpoint")


def hear_until(bare: object, word: str) -> bool:
    """Read what a bare connection gets up to ``word``."""
    while bare.connection.recv(timeout=TIMEOUT_S) != word:  # type: ignore[attr-defined]
        pass
    return True


def test_bare_endpoint_lets_a_signed_in_user_into_a_room(server: Server) -> None:
    cookie = login(server, "alice")
    with client(server, path="/ws/bare/signed-in/lobby", cookie=cookie, welcomed=False) as alice:
        assert hear(alice, "hello") == "hello"


# -- views -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["sync", "async", "at-once"])
def test_view_publishes(server: Server, view: str) -> None:
    with client(server) as page:
        page.subscribe(f"public/{view}")
        publish(server, f"public/{view}", {"by": view}, view=view)
        assert page.receive()["payload"] == {"by": view}


def test_publication_in_a_transaction_waits_for_the_commit(server: Server) -> None:
    with client(server) as page:
        page.subscribe("public/transaction")
        publish(server, "public/transaction", 7, view="transaction")
        assert page.receive()["payload"] == {"first": 7}
        assert page.receive()["payload"] == {"committed": 7}


def test_publication_dies_with_a_rollback(server: Server) -> None:
    with client(server) as page:
        page.subscribe("public/rollback")
        publish(server, "public/rollback", 7, view="rollback")
        publish(server, "public/rollback", "last")
        assert page.payloads_until("last") == [{"savepoint kept": 7}]


# -- heartbeat -------------------------------------------------------------------------------------


def test_bare_page_that_answers_nothing_outlives_a_silent_client(strict_server: Server) -> None:
    cookie = login(strict_server, "alice")
    with client(strict_server, subprotocol=None, cookie=cookie) as page:
        page.subscribe("public/quiet")
        for _ in range(2):
            # Silent clients measure the time: each lasts at least half an interval and a timeout.
            with client(strict_server, subprotocol=JSON, cookie=cookie) as silent:
                assert silent.close_code()[0] == 4408
        publish(strict_server, "public/quiet", "still here")
        # The very next frame: it was never sent a ping either.
        assert json.loads(page.connection.recv(timeout=TIMEOUT_S))["payload"] == "still here"


@pytest.mark.parametrize("subprotocol", [JSON, MSGPACK])
def test_silent_client_is_told_why_it_is_closed(strict_server: Server, subprotocol: str) -> None:
    cookie = login(strict_server, "alice")
    decode = json.loads if subprotocol == JSON else msgspec.msgpack.decode
    with client(strict_server, subprotocol=subprotocol, cookie=cookie) as silent:
        frames = [decode(silent.connection.recv(timeout=TIMEOUT_S)) for _ in range(2)]
        assert frames == [
            {"type": "ping"},
            {
                "type": "closing",
                "payload": {"code": 4408, "reason": "no answer to a ping", "reconnect": True},
            },
        ]
        assert silent.close_code()[0] == 4408


def test_client_that_answers_stays(strict_server: Server) -> None:
    cookie = login(strict_server, "alice")
    with client(strict_server, subprotocol=JSON, cookie=cookie) as page:
        for _ in range(3):
            assert json.loads(page.connection.recv(timeout=TIMEOUT_S)) == {"type": "ping"}
            page.send({"type": "pong"})
        assert page.request("ping")["type"] == "pong"


def test_bare_page_that_once_said_ping_is_held_to_the_heartbeat(strict_server: Server) -> None:
    with client(strict_server, cookie=login(strict_server, "alice")) as page:
        page.send({"type": "ping"})
        assert page.expect("pong")
        assert page.close_code()[0] == 4408


# -- close codes -----------------------------------------------------------------------------------


def reason_on(kind: str, reason: str) -> str:
    """Daphne sends no close reason."""
    return "" if kind == "daphne" else reason


def test_unknown_version_is_closed_with_4406(server: Server, kind: str) -> None:
    with client(server, subprotocol="realtime.v9.json", welcomed=False) as page:
        assert page.connection.subprotocol == "realtime.v9.json"
        closing = page.expect("closing")["payload"]
        reason = "this server speaks version 1 only"
        assert closing == {"code": 4406, "reason": reason, "reconnect": False}
        assert page.close_code() == (4406, reason_on(kind, reason))


def test_unknown_subprotocol_is_not_answered(server: Server) -> None:
    with client(server, subprotocol="nobody.knows") as page:
        assert page.connection.subprotocol is None


def test_anonymous_client_without_auth_is_closed_with_4401(
    strict_server: Server, kind: str
) -> None:
    with client(strict_server, welcomed=False) as page:
        assert page.expect("auth_required")["payload"] == {"timeout": 0.5}
        error = page.request("subscribe", channel="quotes")
        assert error["payload"]["code"] == "unauthenticated"
        closing = page.expect("closing")["payload"]
        assert (closing["code"], closing["reconnect"]) == (4401, True)
        assert page.close_code() == (4401, reason_on(kind, closing["reason"]))


def test_bare_endpoint_needs_credentials_where_all_do(strict_server: Server, kind: str) -> None:
    with client(strict_server, path="/ws/bare/public/lobby", welcomed=False) as page:
        assert page.close_code()[0] == {"daphne": 4401, "uvicorn": 1008}[kind]


def test_bare_endpoint_of_a_closed_channel_is_closed(server: Server, kind: str) -> None:
    with client(server, path="/ws/bare/closed/lobby", welcomed=False) as page:
        assert page.close_code()[0] == {"daphne": 4403, "uvicorn": 1008}[kind]


def test_frame_over_the_limit_is_closed_with_4413(server: Server, kind: str) -> None:
    with client(server) as page:
        page.connection.send("x" * 140_000)
        closing = page.expect("closing")["payload"]
        assert closing["reason"] == "a frame of 140000 bytes; expected at most 131072"
        assert page.close_code() == (4413, reason_on(kind, closing["reason"]))


def test_too_many_bad_messages_are_closed_with_4400(server: Server, kind: str) -> None:
    with client(server) as page:
        for _ in range(60):
            page.connection.send("junk")
        errors = 0
        while (message := page.receive())["type"] == "error":
            assert message["payload"]["code"] == "bad_message"
            errors += 1
        assert message["type"] == "closing"
        assert 51 <= errors <= 53  # one is forgiven every two seconds
        assert page.close_code() == (4400, reason_on(kind, "too many bad messages"))


def test_rfc_close_codes_where_the_server_can(site: Site, kind: str) -> None:
    expected = {"daphne": 4406, "uvicorn": 1002}[kind]
    with (
        site.having(realtime={"CLOSE_CODES": "rfc"}).serve(kind) as running,
        client(running, subprotocol="realtime.v9.json", welcomed=False) as page,
    ):
        assert page.expect("closing")["payload"]["code"] == 4406
        assert page.close_code()[0] == expected


def test_client_that_closes_is_answered_with_its_code(server: Server) -> None:
    with client(server) as page:
        page.connection.close(1000)
        assert page.connection.close_code == 1000


# -- origins and paths -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://127.0.0.1:1",
        "http://127.0.0.1",
        "null",
        "file://",
        "chrome-extension://127.0.0.1",
    ],
)
def test_foreign_origin_is_refused_with_403(server: Server, kind: str, origin: str) -> None:
    refused = refusal(server, [("Origin", origin)])
    assert refused.response.status_code == 403
    if kind == "uvicorn":  # Daphne sends a body of its own
        assert refused.response.body == b"This origin may not connect.\n"


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:99999", "http://[::1", "nothing", "http://" + "x" * 400]
)
def test_malformed_origin_is_refused(server: Server, kind: str, origin: str) -> None:
    # autobahn, and so Daphne, refuses most of them by itself: 400.
    expected = (403,) if kind == "uvicorn" else (400, 403)
    assert refusal(server, [("Origin", origin)]).response.status_code in expected


def test_doubled_origin_is_refused(server: Server) -> None:
    # Both servers do so themselves; that ours does where a server lets it pass is a unit test's.
    own = ("Origin", server.origin)
    assert refusal(server, [own, own]).response.status_code == 400


def refusal(server: Server, headers: list[tuple[str, str]], path: str = "/ws/") -> InvalidStatus:
    with (
        pytest.raises(InvalidStatus) as refused,
        client(server, path=path, additional_headers=headers),
    ):
        pass
    return refused.value


@pytest.mark.parametrize("path", ["/ws/", "/ws"])
def test_own_origin_and_none_may_connect(server: Server, path: str) -> None:
    with client(server, path=path, origin=server.origin), client(server, path=path):
        pass


@pytest.mark.parametrize("path", ["/ws/bare/", "/ws/bare/a%0Ab"])
def test_bare_endpoint_without_a_name_serves_no_channel(server: Server, path: str) -> None:
    # Not ours, so the site's other WebSocket application has it: the node knows no connection.
    wait_until(lambda: state(server)["connections"] == 0, "earlier connections are gone")
    with client(server, path=path, welcomed=False):
        assert state(server)["connections"] == 0


def test_refused_origin_is_logged_once(site: Site, kind: str) -> None:
    with site.serve(kind) as running:
        for _ in range(3):
            refusal(running, [("Origin", "https://evil.example")])
        refusal(running, [("Origin", "https://worse.example")])
        assert get(running, "/state/")
        log = running.log()
    assert log.count("Refused a connection from origin") == 2
    assert "'https://evil.example' (1 refused so far)" in log
