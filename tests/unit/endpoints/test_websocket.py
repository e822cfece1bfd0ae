"""The WebSocket endpoint, spoken to without a server."""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

import msgspec
import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.test import AsyncClient, override_settings

from channels_realtime import Channel, action, register
from channels_realtime.asgi import get_realtime_application
from channels_realtime.auth.base import Authenticated, Authenticator
from channels_realtime.identity import Identity
from channels_realtime.publishing import apublish, apublish_to_user, publish
from channels_realtime.services import current_node
from tests.site.realtime import HookedChannel
from tests.support.asgi_socket import AsgiSocket


async def http(scope, receive, send):
    raise AssertionError("no HTTP here")


@pytest.fixture
async def application():
    yield get_realtime_application(http)
    await current_node().stop()


async def test_endpoint_welcomes_an_anonymous_connection_when_allowed(application):
    async with AsgiSocket(application) as socket:
        welcome = await socket.expect("welcome")
    assert welcome["payload"]["user"] is None
    assert welcome["payload"]["version"] == 1
    assert welcome["payload"]["channels"] == {}
    assert len(welcome["payload"]["session_id"]) == 32


async def test_subscriber_gets_what_is_published(application):
    async with AsgiSocket(application) as socket:
        await socket.expect("welcome")
        reply = await socket.ask({"type": "subscribe", "channel": "public/a", "id": 1})
        assert reply == {"type": "subscribed", "channel": "public/a", "payload": {}, "id": 1}
        await apublish("public/a", {"n": 1}, event="number")
        assert await socket.read() == {
            "type": "message",
            "channel": "public/a",
            "payload": {"n": 1},
            "event": "number",
        }


async def test_publish_from_a_thread_reaches_the_subscriber(application):
    async with AsgiSocket(application) as socket:
        await socket.expect("welcome")
        await socket.ask({"type": "subscribe", "channel": "public/a"})
        await asyncio.to_thread(publish, "public/a", 1)
        assert (await socket.read())["payload"] == 1


# -- identity --------------------------------------------------------------------------------------


def configured(**changed):
    return override_settings(CHANNELS_REALTIME={"ALLOW_ANONYMOUS": True, **changed})


@pytest.fixture
def members_only():
    with configured(ALLOW_ANONYMOUS=False):
        yield


@pytest.fixture
async def make_application():
    """Builds applications under whatever settings are in force, and stops their node."""
    yield lambda: get_realtime_application(http)
    await current_node().stop()


async def login(name: str, **fields) -> tuple[User, list[tuple[bytes, bytes]]]:
    """A user and the headers of a browser where it has logged in."""
    user = await User.objects.acreate_user(name, password="password", **fields)
    client = AsyncClient()
    await client.aforce_login(user)
    key = client.cookies["sessionid"].value
    return user, [(b"cookie", f"sessionid={key}".encode())]


async def test_anonymous_connection_is_asked_to_authenticate_when_it_must(
    members_only, make_application
):
    async with AsgiSocket(make_application()) as socket:
        assert await socket.read() == {"type": "auth_required", "payload": {"timeout": 10.0}}
        assert await socket.ask({"type": "subscribe", "channel": "public/a", "id": 1}) == {
            "type": "error",
            "request": "subscribe",
            "id": 1,
            "channel": "public/a",
            "payload": {"code": "unauthenticated", "reason": "authenticate first"},
        }
        await socket.quiet()


async def test_anonymous_connection_is_closed_when_no_auth_comes_in_time(make_application):
    with configured(ALLOW_ANONYMOUS=False, AUTH_TIMEOUT=0.02):
        async with AsgiSocket(make_application()) as socket:
            await socket.expect("auth_required")
            assert await socket.read() == {
                "type": "closing",
                "payload": {
                    "code": 4401,
                    "reason": "no credentials came in time",
                    "reconnect": True,
                },
            }
            assert await socket.read() == {
                "type": "websocket.close",
                "code": 4401,
                "reason": "no credentials came in time",
            }


@pytest.mark.django_db(transaction=True)
async def test_login_session_welcomes_its_user_on_the_users_own_channel(
    members_only, make_application
):
    user, headers = await login("alice")
    async with AsgiSocket(make_application(), headers=headers) as socket:
        welcome = await socket.expect("welcome")
        assert welcome["payload"]["user"] == str(user.pk)
        assert welcome["payload"]["channels"] == {f"users/{user.pk}": {}}
        await apublish_to_user(user, {"hello": 1})
        assert await socket.read() == {
            "type": "message",
            "channel": f"users/{user.pk}",
            "payload": {"hello": 1},
        }


@pytest.mark.django_db(transaction=True)
async def test_users_own_channel_is_forbidden_to_everybody_else(make_application):
    user, _ = await login("alice")
    _, headers = await login("bob")
    request = {"type": "subscribe", "channel": f"users/{user.pk}"}
    application = make_application()
    for offered in (headers, []):
        async with AsgiSocket(application, headers=offered) as socket:
            await socket.expect("welcome")
            assert (await socket.ask(request))["payload"]["code"] == "forbidden"


class Named(Authenticator):
    """Users whose primary key is what the query says."""

    def find(self, handshake):
        return handshake.query.get("name")

    def authenticate(self, credential, handshake):
        identity = Identity(user_id=credential, method="named")
        return Authenticated(identity=identity, user=AnonymousUser())


@pytest.mark.parametrize(
    ("user_id", "channel"),
    [
        ("foo+tag@example.com", "users/foo=2Btag@example.com"),
        ("with space", "users/with=20space"),
        ("jürgen", "users/j=C3=BCrgen"),
        ("a/b:c", "users/a=2Fb:c"),
    ],
)
async def test_user_has_an_own_channel_whatever_the_primary_key(make_application, user_id, channel):
    with configured(AUTHENTICATORS=[f"{__name__}.Named"]):
        query = urlencode({"name": user_id}).encode()
        async with AsgiSocket(make_application(), query_string=query) as socket:
            assert (await socket.expect("welcome"))["payload"]["channels"] == {channel: {}}
            await apublish_to_user(user_id, 1)
            assert await socket.read() == {"type": "message", "channel": channel, "payload": 1}


@pytest.mark.django_db(transaction=True)
async def test_users_own_channel_is_subscribed_already(make_application):
    user, headers = await login("alice")
    async with AsgiSocket(make_application(), headers=headers) as socket:
        await socket.expect("welcome")
        request = {"type": "subscribe", "channel": f"users/{user.pk}"}
        assert (await socket.ask(request))["payload"]["code"] == "already_subscribed"
        since = {**request, "since": {"epoch": "e", "offset": 0}}
        assert (await socket.ask(since))["payload"] == {"recovered": False}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("cookie", ["nope", "", "a" * 40, "x'; DROP TABLE", "\xff"])
async def test_session_cookie_that_leads_to_no_user_counts_as_absent(make_application, cookie):
    headers = [(b"cookie", f"sessionid={cookie}".encode("latin-1"))]
    async with AsgiSocket(make_application(), headers=headers) as socket:
        assert (await socket.expect("welcome"))["payload"]["user"] is None


@pytest.mark.django_db(transaction=True)
async def test_inactive_user_is_nobody(make_application):
    _, headers = await login("alice")
    await User.objects.aupdate(is_active=False)
    async with AsgiSocket(make_application(), headers=headers) as socket:
        assert (await socket.expect("welcome"))["payload"]["user"] is None


@pytest.mark.django_db(transaction=True)
async def test_rights_are_those_of_the_user(make_application):
    application = make_application()
    _, staff = await login("admin", is_staff=True)
    _, member = await login("alice")
    publish_request = {"type": "publish", "channel": "members/1", "payload": "x", "id": 1}
    async with (
        AsgiSocket(application, headers=staff) as boss,
        AsgiSocket(application, headers=member) as alice,
        AsgiSocket(application) as nobody,
    ):
        for socket in (boss, alice, nobody):
            await socket.expect("welcome")
        subscribe = {"type": "subscribe", "channel": "members/1"}
        assert (await nobody.ask(subscribe))["payload"] == {
            "code": "forbidden",
            "reason": "not allowed to subscribe to 'members/1'",
        }
        await alice.ask(subscribe)
        assert (await alice.ask(publish_request))["payload"] == {
            "code": "forbidden",
            "reason": "not allowed to publish to 'members/1'",
        }
        assert (await boss.ask(publish_request))["type"] == "published"
        message = await alice.expect("message")
        assert message["sender"]["name"] == "admin"


# -- subprotocols ----------------------------------------------------------------------------------


async def test_messagepack_is_spoken_when_it_was_negotiated(application):
    async with AsgiSocket(application, subprotocols=["realtime.v1.msgpack"]) as socket:
        assert socket.accepted == {
            "type": "websocket.accept",
            "subprotocol": "realtime.v1.msgpack",
        }
        await socket.expect("welcome")
        socket.send_bytes(msgspec.msgpack.encode({"type": "subscribe", "channel": "public/a"}))
        await socket.expect("subscribed")
        await apublish("public/a", {"raw": b"\xff"})
        assert (await socket.expect("message"))["payload"] == {"raw": b"\xff"}


async def test_bytes_reach_a_json_client_as_base64(application):
    async with AsgiSocket(application) as socket:
        await socket.expect("welcome")
        await socket.ask({"type": "subscribe", "channel": "public/a"})
        await apublish("public/a", {"raw": b"\xff"})
        assert (await socket.expect("message"))["payload"] == {"raw": "/w=="}


async def test_batch_is_answered_message_by_message(application):
    async with AsgiSocket(application, subprotocols=["realtime.v1.json"]) as socket:
        await socket.expect("welcome")
        socket.send(
            [{"type": "ping", "id": 1}, {"type": "nope", "id": 2}, {"type": "ping", "id": 3}]
        )
        assert [(await socket.read()).get("id") for _ in range(3)] == [1, 2, 3]


async def test_bare_connection_may_not_batch(application):
    async with AsgiSocket(application, subprotocols=[]) as socket:
        await socket.expect("welcome")
        assert socket.accepted == {"type": "websocket.accept"}
        socket.send([{"type": "ping"}])
        assert (await socket.expect("error"))["payload"]["code"] == "bad_message"


async def test_unknown_version_is_accepted_and_closed_4406(application):
    async with AsgiSocket(application, subprotocols=["realtime.v9.json"]) as socket:
        assert socket.accepted["subprotocol"] == "realtime.v9.json"
        closing = await socket.expect("closing")
        assert closing["payload"]["code"] == 4406
        assert closing["payload"]["reconnect"] is False
        assert (await socket.read())["code"] == 4406


async def test_alias_of_a_subprotocol_is_answered(make_application):
    with configured(SUBPROTOCOLS={"chat": "msgpack"}):
        async with AsgiSocket(make_application(), subprotocols=["x", "chat"]) as socket:
            assert socket.accepted["subprotocol"] == "chat"
            assert "bytes" in await socket.event()


# -- requests --------------------------------------------------------------------------------------


@pytest.fixture
async def socket(application):
    async with AsgiSocket(application) as socket:
        await socket.expect("welcome")
        yield socket


def error(request: str, channel: str | None, code: str, reason: str, **fields) -> dict:
    named = {} if channel is None else {"channel": channel}
    payload = {"code": code, "reason": reason}
    return {"type": "error", "request": request, **named, "payload": payload, **fields}


async def test_unknown_channel_and_no_route_look_alike(socket):
    for channel in ("nope", "broken/hidden", "broken/missing"):
        request = {"type": "subscribe", "channel": channel, "id": 1}
        assert await socket.ask(request) == error(
            "subscribe", channel, "unknown_channel", "no such channel", id=1
        )


@pytest.mark.parametrize("verb", ["subscribe", "publish"])
@pytest.mark.parametrize(
    ("how", "code", "reason"),
    [
        ("permission", "forbidden", "not you"),
        ("invalid", "bad_payload", "too short"),
        ("bug", "internal", "internal error"),
    ],
)
async def test_error_in_a_hook_is_this_clients_alone(socket, caplog, verb, how, code, reason):
    request = {"type": verb, "channel": f"broken/{how}", "payload": 1, "id": 1}
    assert await socket.ask(request) == error(verb, f"broken/{how}", code, reason, id=1)
    logged = [record for record in caplog.records if hasattr(record, "connection_id")]
    if code == "internal":
        (record,) = logged
        (connection_id,) = current_node().connections
        assert record.getMessage() == f"'{verb}' failed on connection {connection_id}"
        assert record.connection_id == connection_id
        assert record.exc_info[0] is ZeroDivisionError
    else:
        assert logged == []
    await socket.quiet()


async def test_closed_channel_is_forbidden(socket):
    request = {"type": "subscribe", "channel": "closed/a"}
    assert await socket.ask(request) == error(
        "subscribe", "closed/a", "forbidden", "not allowed to subscribe to 'closed/a'"
    )


async def test_second_subscribe_is_refused(socket):
    request = {"type": "subscribe", "channel": "public/a"}
    await socket.ask(request)
    assert await socket.ask(request) == error(
        "subscribe", "public/a", "already_subscribed", "already subscribed to 'public/a'"
    )


async def test_unsubscribed_client_gets_nothing_more(socket):
    await socket.ask({"type": "subscribe", "channel": "public/a"})
    assert await socket.ask({"type": "unsubscribe", "channel": "public/a", "id": 1}) == {
        "type": "unsubscribed",
        "channel": "public/a",
        "id": 1,
    }
    await apublish("public/a", 1)
    await socket.quiet()
    assert await socket.ask({"type": "unsubscribe", "channel": "public/a"}) == error(
        "unsubscribe", "public/a", "not_subscribed", "not subscribed to 'public/a'"
    )


async def test_publish_without_an_id_is_answered_only_when_it_fails(socket):
    await socket.ask({"type": "subscribe", "channel": "public/a"})
    assert await socket.ask({"type": "publish", "channel": "public/a", "payload": "x"}) == {
        "type": "message",
        "channel": "public/a",
        "payload": "x",
        "sender": {"user": None},
    }
    await socket.quiet()
    request = {"type": "publish", "channel": "closed/a", "payload": "x"}
    assert await socket.ask(request) == error(
        "publish", "closed/a", "forbidden", "not allowed to publish to 'closed/a'"
    )


@pytest.mark.parametrize("event", ["other", "realtime.html", "typ"])
async def test_client_may_publish_only_the_events_that_the_channel_names(socket, event):
    request = {"type": "publish", "channel": "public/a", "payload": 1, "event": event}
    assert await socket.ask(request) == error(
        "publish",
        "public/a",
        "forbidden",
        f"clients may not publish the event {event!r} to 'public/a'",
    )
    await socket.ask({"type": "subscribe", "channel": "public/a"})
    message = await socket.ask({**request, "event": "typing"})
    assert message["event"] == "typing"


async def test_sender_is_never_taken_from_the_client(socket):
    await socket.ask({"type": "subscribe", "channel": "public/a"})
    request = {"type": "publish", "channel": "public/a", "payload": 1, "sender": {"user": "1"}}
    assert (await socket.ask(request))["sender"] == {"user": None}


async def test_call_runs_sync_and_async_actions(socket):
    call = {"type": "call", "channel": "public/a", "payload": {"n": 1}, "id": 1}
    assert await socket.ask({**call, "method": "echo"}) == {
        "type": "result",
        "channel": "public/a",
        "payload": {"n": 1},
        "id": 1,
    }
    assert (await socket.ask({**call, "method": "async-echo"}))["payload"] == {"echo": {"n": 1}}


@pytest.mark.parametrize(
    "method", ["nope", "echo_on_the_loop", "can_publish", "__init__", "__class__"]
)
async def test_call_of_what_is_no_action_is_unknown(socket, method):
    call = {"type": "call", "channel": "public/a", "method": method}
    assert await socket.ask(call) == error(
        "call", "public/a", "unknown_method", f"'public/a' has no method {method!r}"
    )


async def test_call_needs_the_right_to_subscribe(socket):
    call = {"type": "call", "channel": "closed/a", "method": "f"}
    assert await socket.ask(call) == error(
        "call", "closed/a", "forbidden", "not allowed to call methods of 'closed/a'"
    )
    assert await socket.ask({"type": "call", "method": "f"}) == error(
        "call", None, "unknown_method", "no method 'f' without a channel"
    )


async def test_selecting_client_gets_what_matches(socket):
    apple = {"type": "subscribe", "channel": "stocks", "payload": {"symbol": "AAPL"}}
    assert (await socket.ask(apple))["type"] == "subscribed"
    assert (await socket.ask(apple))["payload"]["code"] == "already_subscribed"
    await apublish("stocks", {"symbol": "GOOG"})
    await apublish("stocks", {"symbol": "AAPL"})
    assert (await socket.expect("message"))["payload"] == {"symbol": "AAPL"}
    assert (await socket.ask({**apple, "payload": {"symbol": "GOOG"}}))["type"] == "subscribed"
    await apublish("stocks", {"symbol": "GOOG"})
    await socket.expect("message")
    gone = {"type": "unsubscribe", "channel": "stocks", "payload": {"symbol": "AAPL"}}
    assert (await socket.ask(gone))["type"] == "unsubscribed"
    assert (await socket.ask(gone))["payload"] == {
        "code": "not_subscribed",
        "reason": "not subscribed to 'stocks' with these parameters",
    }
    await apublish("stocks", {"symbol": "AAPL"})
    await socket.quiet()
    assert (await socket.ask({"type": "unsubscribe", "channel": "stocks"}))[
        "type"
    ] == "unsubscribed"
    await apublish("stocks", {"symbol": "GOOG"})
    await socket.quiet()


async def test_client_cannot_select_by_an_object(socket):
    request = {"type": "subscribe", "channel": "stocks", "payload": {"symbol": {"$gt": ""}}}
    assert (await socket.ask(request))["payload"] == {
        "code": "bad_payload",
        "reason": "parameter 'symbol': only text, numbers and booleans select",
    }


async def test_hooks_are_called_and_may_change_or_refuse(socket):
    HookedChannel.log.clear()
    await socket.ask({"type": "subscribe", "channel": "hooked/a"})
    assert HookedChannel.log == [("subscribe", "hooked/a")]
    publish_request = {"type": "publish", "channel": "hooked/a", "payload": "x"}
    assert (await socket.ask(publish_request))["payload"] == {"changed": "x"}
    assert (await socket.ask({**publish_request, "payload": "refuse"}))["payload"] == {
        "code": "bad_payload",
        "reason": "refused by the hook",
    }


async def test_unsubscribe_hook_is_called_when_the_client_goes(application):
    HookedChannel.log.clear()
    async with AsgiSocket(application) as socket:
        await socket.expect("welcome")
        await socket.ask({"type": "subscribe", "channel": "hooked/a"})
        node = current_node()
    await asyncio.gather(*node._tasks)
    assert HookedChannel.log == [("subscribe", "hooked/a"), ("unsubscribe", "hooked/a")]


async def test_paused_channel_delivers_nothing_until_it_goes_on(socket):
    await socket.ask({"type": "subscribe", "channel": "public/a"})
    flow = {"type": "flow", "channel": "public/a", "payload": {"paused": True}, "id": 1}
    assert await socket.ask(flow) == {
        "type": "flow",
        "channel": "public/a",
        "payload": {"paused": True},
        "id": 1,
    }
    await apublish("public/a", "dropped")
    await socket.quiet()
    await socket.ask({**flow, "payload": {"paused": False}})
    await apublish("public/a", "live")
    assert (await socket.expect("message"))["payload"] == "live"
    assert (await socket.ask({**flow, "channel": "public/b"}))["payload"]["code"] == (
        "not_subscribed"
    )


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "history", "channel": "public/a"}, "unsupported"),
        ({"type": "presence", "channel": "public/a"}, "unsupported"),
        ({"type": "history", "channel": "closed/a"}, "forbidden"),
        ({"type": "presence", "channel": "nope"}, "unknown_channel"),
        ({"type": "resume", "session_id": "x"}, "unknown_session"),
    ],
)
async def test_what_comes_later_is_answered_meanwhile(socket, message, code):
    reply = await socket.ask({**message, "id": 1})
    assert (reply["type"], reply["id"], reply["payload"]["code"]) == ("error", 1, code)


async def test_frame_over_the_limit_closes_4413_and_the_neighbour_never_notices(application):
    async with AsgiSocket(application) as bad, AsgiSocket(application) as good:
        await bad.expect("welcome")
        await good.expect("welcome")
        bad.send_text("x" * 131_073)
        assert (await bad.expect("closing"))["payload"] == {
            "code": 4413,
            "reason": "a frame of 131073 bytes; expected at most 131072",
            "reconnect": False,
        }
        assert (await bad.read())["code"] == 4413
        await good.quiet()


async def test_plain_client_stays_after_a_frame_over_the_limit(make_application):
    with configured(MAX_FRAME_BYTES=1_000):
        async with AsgiSocket(make_application(), subprotocols=[]) as plain:
            await plain.expect("welcome")
            for size in (1_001, 8_000):
                plain.send_text("x" * size)
                assert await plain.read() == {
                    "type": "error",
                    "payload": {
                        "code": "too_large",
                        "reason": f"a frame of {size} bytes; expected at most 1000",
                    },
                }
            assert await plain.ask({"type": "ping"}) == {"type": "pong"}
            plain.send_text("x" * 8_001)
            assert (await plain.expect("closing"))["payload"]["code"] == 4413
            assert (await plain.read())["code"] == 1008


async def test_client_of_the_bare_endpoint_stays_after_a_frame_over_the_limit(make_application):
    with configured(MAX_FRAME_BYTES=1_000):
        async with AsgiSocket(make_application(), "/ws/bare/public/a") as bare:
            bare.send_bytes(b"x" * 8_000)
            bare.send_text("hello")
            assert (await bare.event())["text"] == "hello"
            bare.send_bytes(b"x" * 8_001)
            assert (await bare.read())["code"] == 1008


async def test_client_that_knows_nothing_of_the_protocol_is_closed_4400(make_application):
    with configured(MAX_BAD_MESSAGES=2):
        async with AsgiSocket(make_application()) as socket:
            await socket.expect("welcome")
            for _ in range(3):
                socket.send_text("hello")
            for _ in range(3):
                assert (await socket.expect("error"))["payload"]["code"] == "bad_message"
            assert (await socket.expect("closing"))["payload"]["code"] == 4400
            assert (await socket.read())["code"] == 4400


@pytest.mark.parametrize("anonymous", [True, False])
async def test_text_ping_is_answered_and_never_an_error(make_application, anonymous):
    with configured(ALLOW_ANONYMOUS=anonymous, MAX_BAD_MESSAGES=1):
        async with AsgiSocket(make_application(), subprotocols=[]) as socket:
            await socket.expect("welcome" if anonymous else "auth_required")
            for _ in range(120):
                socket.send_text("ping")
                assert (await socket.event())["text"] == "pong"


# -- the bare endpoint -----------------------------------------------------------------------------


async def test_bare_endpoint_publishes_frames_and_writes_payloads(application):
    async with (
        AsgiSocket(application, "/ws/bare/public/a") as bare,
        AsgiSocket(application) as full,
    ):
        await full.expect("welcome")
        await full.ask({"type": "subscribe", "channel": "public/a"})
        bare.send_text("hello")
        assert (await full.expect("message"))["payload"] == "hello"
        assert (await bare.event())["text"] == "hello"
        bare.send_bytes(b"\x00\xff")
        assert (await bare.event())["bytes"] == b"\x00\xff"
        await apublish("public/a", {"n": 1})
        assert (await bare.event())["text"] == '{"n":1}'


async def test_text_ping_is_answered_and_not_published(application):
    async with (
        AsgiSocket(application, "/ws/bare/public/a") as bare,
        AsgiSocket(application, "/ws/bare/public/a") as other,
    ):
        bare.send_text("ping")
        assert (await bare.event())["text"] == "pong"
        bare.send_text("hello")
        assert (await other.event())["text"] == "hello"


async def test_bare_endpoint_closes_what_may_neither_hear_nor_speak(application):
    for channel in ("closed/a", "nope"):
        async with AsgiSocket(application, f"/ws/bare/{channel}") as bare:
            assert (await bare.event())["code"] == 1008


async def test_bare_endpoint_closes_1008_where_credentials_are_needed(
    members_only, make_application
):
    async with AsgiSocket(make_application(), "/ws/bare/public/a") as bare:
        assert (await bare.event())["code"] == 1008


@pytest.mark.parametrize("path", ["/ws/bare/", "/ws/bare/a b", "/ws/bare/ä", "/other/", "/"])
async def test_path_that_is_no_endpoint_is_refused_before_it_is_accepted(application, path):
    socket = AsgiSocket(application, path)
    assert await socket.connect() == {"type": "websocket.close"}


@pytest.mark.parametrize("path", ["/ws", "/ws/"])
async def test_endpoint_is_served_with_and_without_a_slash(application, path):
    async with AsgiSocket(application, path) as socket:
        await socket.expect("welcome")


# -- origins ---------------------------------------------------------------------------------------


async def test_foreign_origin_is_refused_before_it_is_accepted(application):
    socket = AsgiSocket(application, headers=[(b"origin", b"https://evil.test")])
    assert await socket.connect() == {"type": "websocket.close"}
    assert current_node().statistics().metrics.denials["origin"] == 1
    assert current_node().connections == {}


async def test_missing_origin_passes(application):
    async with AsgiSocket(application, with_origin=False) as socket:
        await socket.expect("welcome")


# -- the end ---------------------------------------------------------------------------------------


async def test_everything_is_freed_at_the_end(application):
    async with AsgiSocket(application) as socket:
        await socket.expect("welcome")
        node = current_node()
        await socket.ask({"type": "subscribe", "channel": "public/a"})
        await socket.ask({"type": "subscribe", "channel": "stocks", "payload": {"symbol": "A"}})
        assert len(node.connections) == 1
    await asyncio.gather(*node._tasks)
    assert node.connections == {}
    assert len(node.hub) == 0
    assert len(node.timers) == 0


async def test_client_that_goes_before_the_accept_leaves_nothing(application):
    async def receive():
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(event):
        raise AssertionError(event)

    await application(AsgiSocket(application).scope, receive, send)
    assert current_node().connections == {}


async def test_cancelled_server_task_leaves_nothing(application):
    socket = AsgiSocket(application)
    await socket.connect()
    await socket.expect("welcome")
    await socket.ask({"type": "subscribe", "channel": "public/a"})
    node = current_node()
    socket.task.cancel()
    await asyncio.gather(socket.task, return_exceptions=True)
    await asyncio.gather(*node._tasks)
    assert (node.connections, len(node.hub)) == ({}, 0)


@register("unencodable")
class UnencodableChannel(Channel):
    """Whose action returns what no codec carries."""

    public = True

    @action
    def broken(self, connection, payload):
        return object()


async def test_result_that_cannot_be_encoded_is_internal_and_logged(socket, caplog):
    call = {"type": "call", "channel": "unencodable", "method": "broken", "id": 1}
    assert await socket.ask(call) == error(
        "call", "unencodable", "internal", "internal error", id=1
    )
    assert [record.exc_info is not None for record in caplog.records if record.levelname == "ERROR"]
