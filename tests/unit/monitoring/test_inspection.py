"""What a node answers about its connections and does to them."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from channels_realtime.endpoints.websocket import BARE_ENCODING
from channels_realtime.identity import Identity
from channels_realtime.monitoring import inspection
from channels_realtime.monitoring.load import LoadMonitor
from channels_realtime.nodes.hub import RATE_WINDOW_S, Hub
from channels_realtime.nodes.metrics import Metrics
from channels_realtime.nodes.outgoing import Outgoing
from channels_realtime.protocol.messages import Publication
from tests.support.nodes import FakeClient, NodeHarness, publish, subscribe
from tests.support.virtual_time import in_virtual_time, settle

HEADERS = [
    (b"Host", b"example.com"),
    (b"Origin", b"https://example.com"),
    (b"User-Agent", b"<script>alert('\xe9')</script>"),
    (b"X-Client-ID", b"device-1"),
]


async def asked(harness: NodeHarness, kind: str, **arguments: Any) -> Any:
    """A node's answer, as it crosses the layer."""
    answer = inspection.HANDLERS[kind](harness.node, arguments)
    if inspect.isawaitable(answer):
        answer = await answer
    return msgspec.msgpack.decode(msgspec.msgpack.encode(answer))


async def told(
    harness: NodeHarness, kind: str, *clients: FakeClient | str, **arguments: Any
) -> Any:
    ids = [client if isinstance(client, str) else client.connection.id for client in clients]
    found = await asked(harness, kind, connections=ids, **arguments)
    await settle()
    return found


def scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"headers": [*HEADERS, *headers], "client": ("192.0.2.7", 1), "extensions": {}}


# -- inspect ---------------------------------------------------------------------------------------


@in_virtual_time
async def test_connection_is_shown_as_it_is_at_this_moment():
    async with NodeHarness() as harness:
        client = await harness.open(scope=scope())
        connection = client.connection
        await asyncio.sleep(5)
        sent = connection.writer.sent
        await client.ask(
            subscribe("public/a"),
            subscribe("public/b"),
            {"type": "flow", "channel": "public/b", "payload": {"paused": True}},
            {"type": "nonsense"},
        )
        found = await asked(harness, "inspect", connection=connection.id)
        assert found == {
            "id": connection.id,
            "user_id": None,
            "user": "",
            "address": "192.0.2.7",
            "transport": "websocket",
            "dialect": "realtime.json",
            "path": "",
            "consumer": "",
            "origin": "https://example.com",
            "user_agent": "<script>alert('\xe9')</script>",
            "client_id": "device-1",
            "auth": {"method": "anonymous", "source": "", "expires_at": None},
            "connected_at": connection.connected_at,
            "seen_at": pytest.approx(connection.connected_at + 5),
            "closed": False,
            "subscriptions": [
                {
                    "channel": "public/a",
                    "paused": False,
                    "selections": 1,
                    "offset": None,
                },
                {
                    "channel": "public/b",
                    "paused": True,
                    "selections": 1,
                    "offset": None,
                },
            ],
            "subscriptions_total": 2,
            "received": 4,
            "received_bytes": connection.received_bytes,
            "sent": connection.writer.sent,
            "sent_bytes": connection.writer.sent_bytes,
            "queued": 0,
            "queued_bytes": 0,
            "round_trips": [],
            "errors": connection.errors,
            "throttled": 0,
            "headers": [
                ["host", "example.com"],
                ["origin", "https://example.com"],
                ["user-agent", "<script>alert('\xe9')</script>"],
                ["x-client-id", "device-1"],
            ],
            "traced": False,
        }
        assert connection.writer.sent > sent
        assert connection.received_bytes > 100
        assert connection.errors >= 1


@in_virtual_time
async def test_connection_that_is_gone_is_nothing():
    async with NodeHarness() as harness:
        assert await asked(harness, "inspect", connection="gone") is None


@in_virtual_time
async def test_round_trips_are_shown():
    async with NodeHarness(heartbeat_interval=5.0) as harness:
        client = await harness.open()
        for _ in range(3):
            await asyncio.sleep(5.5)
            await client.ask({"type": "pong"})
        found = await asked(harness, "inspect", connection=client.connection.id)
        assert len(found["round_trips"]) == 3


@in_virtual_time
async def test_user_is_shown_as_the_registry_has_it():
    class User:
        def get_username(self) -> str:
            return "alice"

        def __str__(self) -> str:
            raise RuntimeError("a query on the event loop")

    async with NodeHarness() as harness:
        client = await harness.open()
        client.connection.user = User()
        client.connection.identity = Identity(
            user_id="7", method="jwt", source="header", expires_at=2e9, keys=frozenset({"token:x"})
        )
        found = await asked(harness, "inspect", connection=client.connection.id)
        assert (found["user_id"], found["user"]) == ("7", "alice")
        assert found["auth"] == {"method": "jwt", "source": "header", "expires_at": 2e9}
        assert "token:x" not in repr(found)


@in_virtual_time
async def test_no_more_subscriptions_and_headers_are_shown_than_a_page_can_hold():
    async with NodeHarness(max_subscriptions=1_000) as harness:
        client = await harness.open(scope=scope(*[(b"x-a", b"1")] * 1_000))
        client.connection.subscriptions.update({f"public/{n}": None for n in range(700)})  # type: ignore[misc]
        found = await asked(harness, "inspect", connection=client.connection.id)
        assert len(found["subscriptions"]) == len(found["headers"]) == inspection.MAX_SUBSCRIPTIONS
        assert found["subscriptions_total"] == 700
        client.connection.subscriptions.clear()


JWT = b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"authorization", b"Bearer s3cret"),
        (b"Authorization", b"Basic s3cret"),
        (b"proxy-authorization", b"s3cret"),
        (b"cookie", b"sessionid=s3cret; csrftoken=s3cret"),
        (b"x-csrftoken", b"s3cret"),
        (b"x-xsrf", b"s3cret"),
        (b"x-api-key", b"s3cret"),
        (b"X-APIKey", b"s3cret"),
        (b"x-auth-request-user", b"s3cret"),
        (b"x-amzn-oidc-data", b"s3cret"),
        (b"cf-access-jwt-assertion", b"s3cret"),
        (b"x-ms-token-aad-id-token", b"s3cret"),
        (b"x-session-id", b"s3cret"),
        (b"x-hub-signature-256", b"s3cret"),
        (b"sec-websocket-key", b"s3cret"),
        (b"x-anything", b"Bearer s3cret"),
        (b"x-anything", b"\n\n" + JWT),
        (b"x-anything", JWT),
        (b"x-unheard-of", b"s3cret"),
        (b"via-proxy", b"s3cret"),
        (b"\xe9", b"s3cret"),
    ],
)
def test_header_that_is_not_listed_is_hidden(name, value):
    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            client = await harness.open(scope=scope((name, value)))
            found = await asked(harness, "inspect", connection=client.connection.id)
            assert found["headers"][-1] == [name.decode("latin-1").lower(), "(hidden)"]
            assert "s3cret" not in repr(found)
            assert JWT.decode() not in repr(found)

    scenario()


@pytest.mark.parametrize(
    ("offered", "shown"),
    [
        (b"realtime.v1.json", "realtime.v1.json"),
        (b"realtime.v1.msgpack, realtime.v1.json", "realtime.v1.msgpack, realtime.v1.json"),
        (b"realtime.v1.json, access_token_s3cret", "realtime.v1.json, (hidden)"),
        (b"jwt,s3cret", "jwt, (hidden)"),
        (b"site.v1, other.v1", "site.v1, (hidden)"),
    ],
)
def test_token_among_the_offered_subprotocols_is_hidden(offered, shown):
    @in_virtual_time
    async def scenario():
        async with NodeHarness(subprotocols={"site.v1": "json"}) as harness:
            client = await harness.open(scope=scope((b"Sec-WebSocket-Protocol", offered)))
            found = await asked(harness, "inspect", connection=client.connection.id)
            assert found["headers"][-1] == ["sec-websocket-protocol", shown]

    scenario()


@in_virtual_time
async def test_referer_is_shown_without_its_query():
    async with NodeHarness() as harness:
        client = await harness.open(
            scope=scope((b"referer", b"https://example.com/a?reset=s3cret"))
        )
        found = await asked(harness, "inspect", connection=client.connection.id)
        assert found["headers"][-1] == ["referer", "https://example.com/a"]


@in_virtual_time
async def test_header_that_is_listed_is_shown_as_it_is():
    async with NodeHarness() as harness:
        headers = [(b"x-forwarded-for", b"192.0.2.1"), (b"accept-language", b"x" * 10_000)]
        client = await harness.open(scope=scope(*headers))
        found = await asked(harness, "inspect", connection=client.connection.id)
        assert found["headers"][-2:] == [[n.decode(), v.decode()] for n, v in headers]


@in_virtual_time
async def test_listed_header_is_known_whatever_its_case():
    async with NodeHarness() as harness:
        client = await harness.open(scope=scope((b"X-Forwarded-Proto", b"wss")))
        found = await asked(harness, "inspect", connection=client.connection.id)
        assert found["headers"][-1] == ["x-forwarded-proto", "wss"]


# -- actions ---------------------------------------------------------------------------------------


def closing(code: int, reason: str, **fields: Any) -> list[dict[str, Any]]:
    return [
        {"type": "closing", "payload": {"code": code, "reason": reason, **fields}},
        {"type": "websocket.close", "code": code, "reason": reason},
    ]


@in_virtual_time
async def test_connections_are_disconnected_and_others_are_not():
    async with NodeHarness() as harness:
        one, other = await harness.open(), await harness.open()
        ended = {"code": 4403, "reason": "enough", "retry_after": None}
        assert await told(harness, "disconnect", one, "gone", **ended) == [one.connection.id]
        assert one.take() == closing(4403, "enough", reconnect=False)
        assert other.take() == []
        assert await told(harness, "disconnect", one, **ended) == [one.connection.id]
        assert one.take() == []


@in_virtual_time
async def test_connection_that_may_return_is_told_when():
    async with NodeHarness() as harness:
        client = await harness.open()
        await told(harness, "disconnect", client, code=4503, reason="moved", retry_after=7.5)
        assert client.take() == closing(4503, "moved", reconnect=True, retry_after=7.5)


@in_virtual_time
async def test_notice_arrives():
    async with NodeHarness() as harness:
        client, closed = await harness.open(), await harness.open()
        closed.connection.drop()
        harness.node.add(closed.connection)  # closing, and not gone yet
        payload = {"text": "back in five minutes"}
        found = await told(harness, "notice", client, closed, "gone", payload=payload)
        assert found == [client.connection.id]
        assert client.take() == [{"type": "message", "event": "notice", "payload": payload}]


@pytest.mark.parametrize("channel", [None, "public/a"])
def test_notice_to_many_reaches_all_or_those_on_a_channel(channel):
    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            on_it, off_it, closed = [await harness.open() for _ in range(3)]
            await on_it.ask(subscribe("public/a"))
            await closed.ask(subscribe("public/a"))
            closed.connection.drop()
            found = await told(
                harness, "broadcast_notice", channel=channel, payload={"text": "hello"}
            )
            notice = {"type": "message", "event": "notice", "payload": {"text": "hello"}}
            assert found == (2 if channel is None else 1)
            assert on_it.take() == [notice]
            assert off_it.take() == ([notice] if channel is None else [])

    scenario()


@in_virtual_time
async def test_notice_to_many_lets_others_have_their_turn(monkeypatch):
    monkeypatch.setattr(inspection, "_AT_ONCE", 2)
    async with NodeHarness() as harness:
        for _ in range(5):
            await harness.open()
        turns: list[None] = []
        harness.node.loop.call_soon(turns.append, None)
        assert await asked(harness, "broadcast_notice", channel=None, payload=1) == 5
        assert turns == [None]


@in_virtual_time
async def test_credentials_are_asked_for_where_they_are_a_token():
    async with NodeHarness() as harness:
        token, session = await harness.open(), await harness.open()
        token.connection.identity = Identity(
            user_id="1", method="jwt", expires_at=harness.node.clock.time() + 3_600
        )
        session.connection.identity = Identity(user_id="1", method="session")
        found = await told(harness, "credentials", token, session, "gone", within=30.0)
        assert found == [token.connection.id]
        (expiring,) = token.take()
        assert expiring["type"] == "auth_expiring"
        assert session.take() == []
        await asyncio.sleep(15)
        for page in (token, session):
            await page.ask({"type": "ping"})
        await asyncio.sleep(15.1)
        assert [m.get("code") for m in token.take() if m["type"] == "websocket.close"] == [4401]
        assert not session.connection.closed


# -- channels --------------------------------------------------------------------------------------


@in_virtual_time
async def test_channels_are_told_with_subscribers_and_rate():
    async with NodeHarness() as harness:
        one, two = await harness.open(), await harness.open()
        await one.ask(subscribe("public/a"), subscribe("public/b"), subscribe("public/Other"))
        await two.ask(subscribe("public/b"))
        for number in range(20):
            await harness.node.publish(Outgoing(publication=Publication("public/b", number)))
        await settle()
        found = await asked(harness, "channels", search="", limit=10)
        assert found == {
            "total": 3,
            "channels": [["public/b", 2, 2.0], ["public/Other", 1, 0.0], ["public/a", 1, 0.0]],
        }
        found = await asked(harness, "channels", search="", limit=1)
        assert (found["total"], len(found["channels"])) == (3, 1)
        found = await asked(harness, "channels", search="other", limit=10)
        assert found == {"total": 1, "channels": [["public/Other", 1, 0.0]]}


class Subscriber:
    encoding = BARE_ENCODING

    is_free = False

    @property
    def outlet(self):
        return self

    def started_anew(self, channel, position) -> None:
        raise AssertionError("not expected")

    def deliver(self, frame: Any, publication: Publication) -> None:
        pass


def test_rate_of_a_channel_is_that_of_the_last_seconds():
    clock = SimpleNamespace(now=100.0)
    hub = Hub(Metrics(), lambda: clock.now)
    assert hub.rate("a") == 0.0
    hub.add("a", Subscriber())
    assert hub.rate("a") == 0.0
    for _ in range(300):
        clock.now += 0.1
        hub.deliver(Publication("a", 1))
    assert hub.rate("a") == pytest.approx(10.0, rel=0.1)
    clock.now += RATE_WINDOW_S / 2
    assert hub.rate("a") == pytest.approx(5.0, rel=0.2)
    clock.now += 2 * RATE_WINDOW_S
    assert hub.rate("a") == 0.0
    hub.deliver(Publication("a", 1))
    assert hub.rate("a") == pytest.approx(0.1)


# -- a node ----------------------------------------------------------------------------------------


@in_virtual_time
async def test_node_tells_how_it_is():
    async with NodeHarness() as harness:
        await harness.node.service(LoadMonitor).start()
        client = await harness.open()
        await client.ask(subscribe("public/a"))
        for number in range(10):
            await asyncio.sleep(0.5)
            await client.ask(publish(number, "public/a"))
        found = await asked(harness, "node")
        assert found.pop("memory") > 1_000_000
        assert found.pop("uptime") == pytest.approx(5.0)
        assert found.pop("messages_in_rate") == pytest.approx(2.2, abs=0.5)
        assert found.pop("messages_out_rate") == pytest.approx(2.0, abs=0.5)
        assert found.pop("connect_rate") == pytest.approx(0.2, abs=0.1)
        assert found == {
            "connections": 1,
            "channels": 1,
            "draining": False,
            "loop_lag": 0.0,
            "refused": 0,
            "revoked": 0,
            "slow": 0,
            "throttled": 0,
            "dropped": 0,
            "failures": 0,
            "history_failing": False,
        }


@pytest.mark.parametrize("known", ["statm", "peak"])
def test_memory_is_that_of_the_process(monkeypatch, known):
    if known == "peak":
        pytest.importorskip("resource")

        def nowhere(*arguments: Any) -> Any:
            raise FileNotFoundError

        monkeypatch.setattr(inspection, "open", nowhere, raising=False)
    memory = inspection._memory()
    assert memory is not None
    assert 10_000_000 < memory < 10_000_000_000
