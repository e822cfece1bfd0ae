"""The Python client against a scripted server, in virtual time: subscriptions, resume, tasks."""

import asyncio
import gc
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from channels_realtime import errors
from channels_realtime.client import (
    Client,
    Closed,
    ConnectFailed,
    ConnectionLost,
    Joined,
    Left,
    Limits,
    Loaded,
    Message,
    Position,
    Published,
    Recovered,
    SignedOut,
    State,
    Subscribed,
    connect,
)
from tests.support.scripted_server import PATIENCE_S, ScriptedServer, ScriptedSocket
from tests.support.virtual_time import in_virtual_time, settle

URL = "ws://test/ws/"


@asynccontextmanager
async def connected(
    server: ScriptedServer, *, welcome: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[tuple[Client, ScriptedSocket]]:
    """A client that was welcomed, and the server's end of its connection."""
    accepting = asyncio.create_task(server.welcomed(**(welcome or {})))
    async with connect(URL, opener=server, **options) as client:
        yield client, await accepting


async def subscribed(
    client: Client, socket: ScriptedSocket, channel: str = "a", offset: int = 0, **options: Any
) -> Any:
    """A subscription that the server has accepted, at this offset of the epoch ``e``."""
    subscription = client.subscribe(channel, **options)
    socket.reply(await socket.expect("subscribe"), "subscribed", {"epoch": "e", "offset": offset})
    return subscription


async def payloads(subscription: Any, count: int) -> list[Any]:
    async with asyncio.timeout(PATIENCE_S):
        return [(await anext(subscription)).payload for _ in range(count)]


async def resume(server: ScriptedServer, **channels: Any) -> tuple[ScriptedSocket, dict[str, Any]]:
    """Welcome the client that comes back, and resume its session with these channels."""
    socket = await server.welcomed(session_id="s2")
    request = await socket.expect("resume")
    socket.reply(request, "resumed", {"session_id": "s2", "channels": channels, "dropped": {}})
    return socket, request


# -- connecting ------------------------------------------------------------------------------------


@in_virtual_time
async def test_block_begins_connected_and_ends_closed() -> None:
    server = ScriptedServer()
    states: list[State] = []
    async with connected(server, on_state=states.append) as (client, socket):
        assert (client.state, client.connection_id, client.user) == (State.CONNECTED, "c1", None)
        assert (socket.url, socket.subprotocol) == (URL, "realtime.v1.json")
    assert socket.close_code == 1000
    assert states == [State.CONNECTING, State.CONNECTED, State.CLOSED]


@in_virtual_time
async def test_attempts_go_on_until_there_is_a_server() -> None:
    server = ScriptedServer()
    server.failures = [OSError("refused")] * 3
    async with connected(server) as (client, _):
        assert client.state is State.CONNECTED
    assert len(server.attempts) == 4


@in_virtual_time
async def test_no_server_in_time_says_why() -> None:
    server = ScriptedServer()
    server.failures = [OSError("refused")] * 1_000
    with pytest.raises(ConnectFailed) as raised:
        async with connect(URL, opener=server, open_timeout_s=20.0):
            pass
    assert str(raised.value) == "no connection within 20 s: refused"
    assert isinstance(raised.value.__cause__, OSError)


@in_virtual_time
async def test_one_attempt_can_be_all() -> None:
    server = ScriptedServer()
    server.failures = [OSError("refused")]
    with pytest.raises(ConnectFailed, match=r"^no connection at the first attempt: refused$"):
        async with connect(URL, opener=server, open_timeout_s=0):
            pass
    assert len(server.attempts) == 1


@in_virtual_time
async def test_terminal_end_raises_at_entry_and_in_every_loop() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = await subscribed(client, socket)
        waiting = asyncio.create_task(anext(subscription))
        calling = asyncio.create_task(client.call("a", "m"))
        await socket.expect("call")
        socket.publish("a", 1)
        socket.say("closing", {"code": 4403, "reason": "you are blocked", "reconnect": False})
        socket.end(1008)
        assert (await waiting).payload == 1
        with pytest.raises(Closed, match=r"^you are blocked \(4403\)$"):
            await anext(subscription)
        with pytest.raises(StopAsyncIteration):
            await anext(subscription)
        with pytest.raises(ConnectionLost):
            await calling
        with pytest.raises(Closed, match=r"^you are blocked \(4403\)$"):
            await client.publish("a", 1)
        with pytest.raises(Closed):
            client.subscribe("b")


@in_virtual_time
async def test_token_function_may_block_and_is_given_the_reason() -> None:
    server = ScriptedServer()
    reasons: list[str] = []

    def token(reason: str) -> str:
        reasons.append(reason)
        return f"t{len(reasons)}"

    async with connected(server, token=token, welcome={"user": "7"}) as (_, socket):
        assert socket.headers == {"Authorization": "Bearer t1"}
        socket.say("auth_expiring", {"expires_at": 1.0})
        assert (await socket.expect("auth"))["token"] == "t2"
        socket.say("closing", {"code": 4401, "reason": "expired", "reconnect": True})
        socket.end(1008)
        second = await server.welcomed(user="7")
        assert second.headers == {"Authorization": "Bearer t3"}
    assert reasons == ["required", "expiring", "refused"]


@in_virtual_time
async def test_token_function_that_returns_no_text_is_said(caplog: Any) -> None:
    with pytest.raises(ConnectFailed) as raised:
        async with connect(
            URL, token=lambda reason: b"t", opener=ScriptedServer(), open_timeout_s=0
        ):  # type: ignore[arg-type]
            pass
    reason = "the function returned a value of type bytes; expected a JWT"
    assert str(raised.value) == f"no connection at the first attempt: {reason}"
    assert caplog.messages[0] == f"The token could not be fetched: {reason}."


@in_virtual_time
async def test_text_as_token_is_not_tried_twice() -> None:
    server = ScriptedServer()

    async def refuse() -> None:
        (await server.accept()).end(4401, "no such token")

    refusing = asyncio.create_task(refuse())
    with pytest.raises(SignedOut, match=r"^no such token \(4401\)$"):
        async with connect(URL, token="t", opener=server):
            pass
    await refusing
    assert len(server.attempts) == 1


@in_virtual_time
async def test_headers_and_ticket_are_fetched_for_each_attempt() -> None:
    server = ScriptedServer()
    count = 0

    async def ticket() -> str:
        return f"a/{count}"

    def headers() -> dict[str, str]:
        nonlocal count
        count += 1
        return {"Cookie": f"sessionid={count}"}

    async with connected(server, ticket=ticket, headers=headers) as (_, socket):
        assert (socket.url, socket.headers) == (f"{URL}?ticket=a%2F1", {"Cookie": "sessionid=1"})
        socket.breaks()
        second = await server.accept()
        assert (second.url, second.headers) == (f"{URL}?ticket=a%2F2", {"Cookie": "sessionid=2"})


async def aiterate(_: Any) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            {"url": "www.example.com"},
            "connect(): the url is 'www.example.com'; expected an address such as wss://www.example.com/ws/",
        ),
        ({"codec": "xml"}, "connect(): codec is 'xml'; expected one of json, msgpack"),
        (
            {"token": 5},
            "connect(): token is of type int; expected a JWT or a function, async or not",
        ),
        ({"token_in": "url"}, "connect(): token_in is 'url'; expected 'header' or 'message'"),
        ({"token": ""}, "connect(): token is empty; expected a JWT, or None for none"),
        (
            {"headers": [("Cookie", "secret")]},
            "connect(): headers is of type list; expected a dict or a function, async or not",
        ),
        (
            {"ticket": "secret"},
            "connect(): ticket is of type str; expected a function, async or not",
        ),
        (
            {"on_state": aiterate},
            "connect(): on_state is an async function; expected a function that is not async",
        ),
        ({"limits": {}}, "connect(): limits is of type dict; expected Limits(…)"),
        (
            {"open_timeout_s": -1},
            "connect(): open_timeout_s is -1; expected a number of at least 0",
        ),
        ({"tokn": "t"}, "connect(): unknown option 'tokn'; did you mean 'token'?"),
        ({"max_sizes": 1}, "connect(): unknown option 'max_sizes'; did you mean 'max_size'?"),
        (
            {"subprotocols": []},
            "connect(): unknown option 'subprotocols'; websockets has no such option either",
        ),
        (
            {"additional_headers": {}},
            "connect(): unknown option 'additional_headers'; use 'headers'",
        ),
    ],
)
def test_mistake_in_the_arguments_is_said_at_once(arguments: Any, reason: str) -> None:
    with pytest.raises(errors.ImproperUse) as raised:
        connect(**{"url": URL, **arguments})
    assert str(raised.value) == reason


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("backoff_base_s", "1", "a number greater than 0"),
        ("backoff_cap_s", 0, "a number greater than 0"),
        ("connect_timeout_s", float("inf"), "a number greater than 0"),
        ("max_requests", True, "an integer greater than 0"),
        ("queue_bytes", -1, "an integer of at least 0"),
    ],
)
def test_limit_that_is_no_number_is_said_at_once(name: str, value: Any, expected: str) -> None:
    with pytest.raises(errors.ImproperUse) as raised:
        Limits(**{name: value})
    assert str(raised.value) == f"Limits(): {name} is {value!r}; expected {expected}"


def test_options_of_websockets_are_known() -> None:
    connect(URL, ssl=None, proxy=None, origin="https://a", compression=None, local_addr=None)


@in_virtual_time
async def test_mistake_in_a_call_is_said_at_once() -> None:
    with pytest.raises(errors.ImproperUse, match=r"^the client is not connected; expected"):
        connect(URL).subscribe("a")
    async with connected(ScriptedServer()) as (client, socket):
        for call, reason in (
            (lambda: client.subscribe("a", buffer=0), "subscribe(): buffer is 0; expected"),
            (lambda: client.subscribe("a", load="b"), "subscribe(): load is of type str; expected"),  # type: ignore[arg-type]
        ):
            with pytest.raises(errors.ImproperUse) as raised:
                call()
            assert str(raised.value).startswith(reason)
        with pytest.raises(
            errors.ImproperUse, match=r"^call\(\): timeout_s is 0; expected a number"
        ):
            await client.call("a", "m", timeout_s=0)
        assert socket.quiet


@in_virtual_time
async def test_third_failure_in_a_row_says_what_the_reason_may_be(caplog: Any) -> None:
    server = ScriptedServer()
    server.failures = [OSError("refused")] * 5
    accepting = asyncio.create_task(server.welcomed())
    url = "ws://user:secret@test/ws/?token=secret"
    async with connect(url, opener=server, open_timeout_s=None):
        await accepting
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "3 attempts to connect to ws://test/ws/ failed (refused). Is the path right, is the ASGI server"
        " running, and does it accept clients without an Origin? See docs/troubleshooting.md."
    ]


def test_client_needs_no_django() -> None:
    code = (
        "import sys, channels_realtime.client;"
        "print([n for n in ('django', 'channels') if n in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == "[]\n"


# -- requests --------------------------------------------------------------------------------------


@in_virtual_time
async def test_publication_has_a_key_of_its_own_and_its_position() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        publishing = asyncio.create_task(client.publish("a", {"x": 1}, event="moved", echo=False))
        request = await socket.expect("publish")
        assert len(request.pop("key")) == 32
        assert request == {
            "type": "publish", "id": 1, "channel": "a", "payload": {"x": 1}, "event": "moved",
            "echo": False,
        }  # fmt: skip
        socket.reply(request, "published", {"epoch": "e", "offset": 3, "duplicate": False})
        assert await publishing == Published(position=Position("e", 3))


@in_virtual_time
async def test_publication_survives_the_loss_of_its_answer() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        publishing = asyncio.create_task(client.publish("a", 1))
        first = await socket.expect("publish")
        socket.breaks()
        second, _ = await resume(server)
        again = await second.expect("publish")
        assert again == first
        second.reply(again, "published", {"epoch": "e", "offset": 3, "duplicate": True})
        assert await publishing == Published(position=Position("e", 3), duplicate=True)


@in_virtual_time
async def test_transient_publication_has_no_key_and_does_not_wait() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        publishing = asyncio.create_task(client.publish("a", None, event="typing", transient=True))
        assert await socket.expect("publish") == {
            "type": "publish", "id": 1, "channel": "a", "payload": None, "event": "typing",
            "transient": True,
        }  # fmt: skip
        socket.breaks()
        with pytest.raises(ConnectionLost):
            await publishing
        with pytest.raises(errors.RealtimeError) as raised:
            await client.publish("a", None, transient=True)
        assert str(raised.value) == "'publish' was not sent: the client is waiting"


@in_virtual_time
async def test_cancelled_request_is_not_sent_later() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        socket.breaks()
        await settle()
        calling = asyncio.create_task(client.call("a", "m"))
        await settle()
        calling.cancel()
        second, _ = await resume(server)
        await settle()
        assert second.quiet


@in_virtual_time
async def test_history_and_presence_are_read() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        asking = asyncio.create_task(
            client.history("a", since={"epoch": "e", "offset": 1}, limit=5)
        )
        request = await socket.expect("history")
        assert (request["since"], request["limit"]) == ({"epoch": "e", "offset": 1}, 5)
        message = {"type": "message", "payload": 2, "epoch": "e", "offset": 2}
        socket.reply(request, "history", {"messages": [message], "epoch": "e", "offset": 2})
        history = await asking
        assert [one.payload for one in history.messages] == [2]
        assert history.position == Position("e", 2)
        asking_members = asyncio.create_task(client.presence("a"))
        request = await socket.expect("presence")
        socket.reply(request, "presence", {"members": [{"id": "m", "user": "7"}], "count": 4})
        members = await asking_members
        assert (members.count, members.members[0].user) == (4, "7")


# -- subscriptions ---------------------------------------------------------------------------------


@in_virtual_time
async def test_loss_is_resumed_from_the_last_message_without_duplicates() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = await subscribed(client, socket)
        socket.publish("a", 1)
        socket.publish("a", 2)
        assert await payloads(subscription, 2) == [1, 2]
        socket.breaks()
        second, request = await resume(server, a={"epoch": "e", "offset": 4, "recovered": True})
        assert request["session_id"] == "s1"
        assert request["since"] == {"a": {"epoch": "e", "offset": 2}}
        for offset in (2, 3, 4):
            second.publish("a", offset, recovered=True)
        second.publish("a", 5)
        assert await payloads(subscription, 3) == [3, 4, 5]
        assert client.connection_id == "c1"
        assert subscription.position == Position("e", 5)


@in_virtual_time
async def test_lost_session_is_subscribed_anew_from_the_last_message() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = await subscribed(client, socket)
        socket.publish("a", 1)
        assert await payloads(subscription, 1) == [1]
        socket.breaks()
        second = await server.welcomed(session_id="s2", connection_id="c2")
        second.refuse(await second.expect("resume"), "unknown_session")
        request = await second.expect("subscribe")
        assert request["since"] == {"epoch": "e", "offset": 1}
        second.reply(request, "subscribed", {"epoch": "e", "offset": 2, "recovered": True})
        second.publish("a", 2, recovered=True)
        assert await payloads(subscription, 1) == [2]
        assert client.connection_id == "c2"


@in_virtual_time
async def test_events_tell_what_happens_in_order() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = await subscribed(client, socket, offset=1)
        events = subscription.events()
        assert await anext(events) == Subscribed(Position("e", 1))
        socket.publish("a", 2)
        socket.breaks()
        second, _ = await resume(server, a={"epoch": "f", "offset": 9, "recovered": False})
        assert isinstance(await anext(events), Message)
        assert await anext(events) == Subscribed(Position("f", 9))
        assert await anext(events) == Recovered(False, Position("f", 9))
        second.say("message", "new", channel="a", epoch="f", offset=10)
        assert (await anext(events)).payload == "new"  # type: ignore[union-attr]


@in_virtual_time
async def test_gap_raises_where_the_program_asks_for_messages_alone() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = await subscribed(client, socket)
        socket.publish("a", 1)
        socket.breaks()
        second, _ = await resume(server, a={"epoch": "e", "offset": 9, "recovered": False})
        second.reply(await second.expect("ping"), "pong")  # no state has followed
        assert await payloads(subscription, 1) == [1]
        with pytest.raises(errors.NotRecoverable) as raised:
            await anext(subscription)
        assert str(raised.value).startswith(
            "messages of 'a' are missing: the history does not hold"
        )
        await second.expect("unsubscribe")
        with pytest.raises(StopAsyncIteration):
            await anext(subscription)


@in_virtual_time
async def test_gap_in_a_channel_with_state_is_filled_by_the_state() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = await subscribed(client, socket)
        socket.publish("a", 1)
        socket.breaks()
        second, _ = await resume(server, a={"epoch": "e", "offset": 9, "recovered": False})
        second.publish("a", 9, state_key="k", state=True)
        second.publish("a", 10, state_key="k")
        assert await payloads(subscription, 3) == [1, 9, 10]
        assert subscription.position == Position("e", 10)


@in_virtual_time
async def test_channel_without_history_goes_on_after_a_loss() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = client.subscribe("a")
        socket.reply(await socket.expect("subscribe"), "subscribed", {})
        socket.say("message", "before", channel="a")
        socket.breaks()
        second, request = await resume(server, a={})
        assert request["since"] == {}
        second.say("message", "after", channel="a")
        assert await payloads(subscription, 2) == ["before", "after"]


@in_virtual_time
async def test_load_runs_at_the_beginning_and_where_history_is_gone() -> None:
    server = ScriptedServer()
    loaded = 0

    async def load() -> dict[str, Any]:
        nonlocal loaded
        loaded += 1
        return {"position": {"epoch": "e", "offset": loaded * 10}, "rows": loaded}

    async with connected(server) as (client, socket):
        subscription = await subscribed(client, socket, offset=9, load=load)
        for offset in (10, 11):
            socket.publish("a", offset)
        events = subscription.events()
        assert await anext(events) == Subscribed(Position("e", 9))
        first = await anext(events)
        assert isinstance(first, Loaded)
        assert first.state["rows"] == 1
        assert (await anext(events)).payload == 11  # type: ignore[union-attr]  # 10 is in the state
        socket.breaks()
        second, _ = await resume(server, a={"epoch": "e", "offset": 19, "recovered": False})
        second.publish("a", 20)
        second.publish("a", 21)
        assert await payloads(subscription, 1) == [21]
        assert loaded == 2


@in_virtual_time
async def test_load_that_fails_raises_and_is_tried_again() -> None:
    server = ScriptedServer()
    outcomes: list[Any] = [OSError("database"), {"rows": 1}]

    def load() -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async with connected(server) as (client, socket):
        subscription = await subscribed(client, socket, load=load)
        socket.publish("a", 1)
        with pytest.raises(OSError, match="database"):
            await anext(subscription)
        assert await payloads(subscription, 1) == [1]
        assert outcomes == []


@in_virtual_time
async def test_refused_subscription_raises_its_class() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = client.subscribe("a")
        socket.refuse(await socket.expect("subscribe"), "forbidden", "not you")
        with pytest.raises(errors.Forbidden, match=r"^not you$"):
            await anext(subscription)
        other = client.subscribe("a")  # the name is free again
        socket.refuse(await socket.expect("subscribe"), "unknown_channel", "no such channel")
        with pytest.raises(errors.UnknownChannel):
            async with other:
                pass


@in_virtual_time
async def test_subscription_taken_away_shows_nothing_more() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = await subscribed(client, socket)
        socket.publish("a", 1)
        socket.say("unsubscribed", {"code": "forbidden", "reason": "removed"}, channel="a")
        await settle()
        with pytest.raises(errors.Forbidden, match=r"^removed$"):
            await anext(subscription)


@in_virtual_time
async def test_full_buffer_is_left_to_the_history() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = await subscribed(client, socket, buffer=4)
        for offset in range(1, 8):
            socket.publish("a", offset)
        socket.reply(await socket.expect("unsubscribe"), "unsubscribed", channel="a")
        assert await payloads(subscription, 1) == [1]
        await settle()
        assert socket.quiet  # until half of the buffer is free
        assert await payloads(subscription, 1) == [2]
        request = await socket.expect("subscribe")
        assert request["since"] == {"epoch": "e", "offset": 4}
        socket.reply(request, "subscribed", {"epoch": "e", "offset": 7, "recovered": True})
        for offset in range(5, 8):
            socket.publish("a", offset, recovered=True)
        # 3, 4, 5 and 6 fill it again.
        socket.reply(await socket.expect("unsubscribe"), "unsubscribed", channel="a")
        assert await payloads(subscription, 4) == [3, 4, 5, 6]
        request = await socket.expect("subscribe")
        assert request["since"] == {"epoch": "e", "offset": 6}
        socket.reply(request, "subscribed", {"epoch": "e", "offset": 7, "recovered": True})
        socket.publish("a", 7, recovered=True)
        assert await payloads(subscription, 1) == [7]


@in_virtual_time
async def test_full_buffer_without_history_is_an_error() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = client.subscribe("a", buffer=2)
        socket.reply(await socket.expect("subscribe"), "subscribed", {})
        for number in range(5):
            socket.say("message", number, channel="a")
        await socket.expect("unsubscribe")
        assert await payloads(subscription, 2) == [0, 1]
        with pytest.raises(errors.TooSlow, match=r"^the buffer of 'a' is full; expected a faster"):
            await anext(subscription)


@in_virtual_time
async def test_state_that_was_cut_off_comes_again() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = await subscribed(client, socket, offset=2)
        socket.say("message", "one", channel="a", epoch="e", offset=1, state_key="k1", state=True)
        assert await payloads(subscription, 1) == ["one"]
        await socket.expect("ping")  # asked for the end of the state, and not answered
        socket.breaks()
        second = await server.welcomed()
        request = await second.expect("resume")
        assert request["since"] == {}
        second.refuse(request, "unknown_session")
        assert "since" not in await second.expect("subscribe")


@in_virtual_time
async def test_state_that_goes_on_after_the_question_is_asked_about_again() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = await subscribed(client, socket, offset=9)
        for offset, key in ((3, "x"), (7, "y")):
            socket.publish("a", offset, state_key=key, state=True)
        socket.reply(await socket.expect("ping"), "pong")
        assert await payloads(subscription, 2) == [3, 7]
        await socket.expect("ping")
        socket.breaks()
        second = await server.welcomed()
        assert (await second.expect("resume"))["since"] == {}


@in_virtual_time
async def test_leaving_a_loop_unsubscribes() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):

        async def first() -> Any:
            async for message in client.subscribe("a"):
                return message.payload

        reading = asyncio.create_task(first())
        socket.reply(await socket.expect("subscribe"), "subscribed", {"epoch": "e", "offset": 0})
        socket.publish("a", 1)
        assert await reading == 1
        gc.collect()
        assert (await socket.expect("unsubscribe"))["channel"] == "a"


@in_virtual_time
async def test_cancelled_loop_unsubscribes_and_loses_nothing_for_others() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        kept = await subscribed(client, socket, "kept")

        async def follow() -> None:
            async with client.subscribe("a") as messages:
                async for _ in messages:
                    pass

        following = asyncio.create_task(follow())
        socket.reply(await socket.expect("subscribe"), "subscribed", {})
        await settle()
        following.cancel()
        assert (await socket.expect("unsubscribe"))["channel"] == "a"
        waiting = asyncio.create_task(anext(kept))
        await settle()
        waiting.cancel()
        await settle()
        socket.publish("kept", 1)
        assert await payloads(kept, 1) == [1]


@in_virtual_time
async def test_channel_given_up_while_away_is_not_resumed() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = await subscribed(client, socket)
        socket.breaks()
        await settle()
        await subscription.aclose()
        second, _ = await resume(server, a={"epoch": "e", "offset": 0})
        assert (await second.expect("unsubscribe"))["channel"] == "a"


@in_virtual_time
async def test_second_subscription_to_a_channel_is_refused_with_the_remedy() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = await subscribed(client, socket)
        with pytest.raises(errors.ImproperUse, match=r"^this client is already subscribed to 'a':"):
            client.subscribe("a")
        await subscription.aclose()


async def symbol(client: Client, socket: ScriptedSocket, name: str, offset: int = 0) -> Any:
    """A subscription to the quotes of one symbol."""
    parameters = {"symbol": name}
    return await subscribed(
        client, socket, "q", offset=offset, parameters=parameters, select="symbol"
    )


def quote(socket: ScriptedSocket, name: str, offset: int, **fields: Any) -> None:
    payload = {"symbol": name, "price": offset}
    socket.say("message", payload, channel="q", epoch="e", offset=offset, **fields)


async def prices(subscription: Any, count: int) -> list[int]:
    return [payload["price"] for payload in await payloads(subscription, count)]


@in_virtual_time
async def test_selections_of_a_channel_get_their_own_messages_each_once_through_a_loss() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        x = await symbol(client, socket, "X")
        y = await symbol(client, socket, "Y", offset=2)
        quote(socket, "X", 3)  # before what Y has missed, if it came back
        quote(socket, "Y", 4)
        quote(socket, "X", 5)
        assert (await prices(x, 2), await prices(y, 1)) == ([3, 5], [4])
        socket.breaks()
        second, request = await resume(server, q={"epoch": "e", "offset": 7, "recovered": True})
        assert request["since"] == {
            "q": {"epoch": "e", "offset": 4}
        }  # where neither misses anything
        for name, offset in (("X", 5), ("Y", 6), ("X", 7)):
            quote(second, name, offset, recovered=True)
        quote(second, "Y", 8)
        assert (await prices(x, 1), await prices(y, 2)) == ([7], [6, 8])


@in_virtual_time
async def test_selection_is_unsubscribed_alone_and_the_last_with_the_channel() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        x, y = await symbol(client, socket, "X"), await symbol(client, socket, "Y")
        await x.aclose()
        request = await socket.expect("unsubscribe")
        assert request["payload"] == {"symbol": "X"}
        socket.reply(request, "unsubscribed", channel="q")
        quote(socket, "Y", 1)
        assert await prices(y, 1) == [1]
        await y.aclose()
        assert "payload" not in await socket.expect("unsubscribe")


@in_virtual_time
async def test_selection_whose_buffer_is_full_leaves_the_others_alone() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        y = await symbol(client, socket, "Y")
        x = client.subscribe("q", parameters={"symbol": "X"}, select="symbol", buffer=1)
        socket.reply(await socket.expect("subscribe"), "subscribed", {"epoch": "e", "offset": 0})
        for offset in (1, 2):
            quote(socket, "X", offset)
        assert (await socket.expect("unsubscribe"))["payload"] == {"symbol": "X"}
        quote(socket, "Y", 3)
        assert await prices(y, 1) == [3]
        assert await prices(x, 1) == [1]
        reading = asyncio.create_task(anext(x))
        request = await socket.expect("subscribe")
        assert (request["payload"], request["since"]["offset"]) == ({"symbol": "X"}, 1)
        socket.reply(request, "subscribed", {"epoch": "e", "offset": 3, "recovered": True})
        quote(socket, "X", 2, recovered=True)
        assert (await reading).payload["price"] == 2


@in_virtual_time
async def test_select_needs_its_parameter_and_no_ack() -> None:
    async with connected(ScriptedServer()) as (client, _):
        with pytest.raises(
            errors.ImproperUse, match=r"^subscribe\(\): select is 'symbol', which is not"
        ):
            client.subscribe("q", select="symbol")
        with pytest.raises(
            errors.ImproperUse, match=r"^subscribe\(\): ack is for a whole channel;"
        ):
            client.subscribe("q", parameters={"symbol": 1}, select="symbol", ack=True)
        client.subscribe("q", parameters={"symbol": 1}, select="symbol")
        for options in ({}, {"parameters": {"symbol": 1}, "select": "symbol"}):
            with pytest.raises(
                errors.ImproperUse, match=r"^this client is already subscribed to 'q':"
            ):
                client.subscribe("q", **options)
        client.subscribe("q", parameters={"symbol": True}, select="symbol")


@in_virtual_time
async def test_unsubscribe_that_was_not_answered_is_asked_again() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = await subscribed(client, socket)
        await subscription.aclose()
        await socket.expect("unsubscribe")
        socket.breaks()
        second, _ = await resume(server, a={"epoch": "e", "offset": 0})
        assert (await second.expect("unsubscribe"))["channel"] == "a"
        assert client.automatic_channels == ()


@in_virtual_time
async def test_resume_brings_back_what_the_server_subscribed() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        socket.say("subscribed", {"epoch": "e", "offset": 1}, channel="team", automatic=True)
        await settle()
        assert client.automatic_channels == ("team",)
        socket.breaks()
        second, _ = await resume(server, team={"epoch": "e", "offset": 1})
        await settle()
        assert client.automatic_channels == ("team",)
        assert second.quiet


@in_virtual_time
async def test_members_follow_joins_and_leaves() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = client.subscribe("a", presence=True)
        request = await socket.expect("subscribe")
        assert request["presence"] is True
        ann = {"id": "user:1", "user": "1", "info": None}
        socket.reply(request, "subscribed", {"members": [ann], "count": 1})
        events = subscription.events()
        assert await anext(events) == Subscribed(None)
        assert (list(subscription.members), subscription.count) == (["user:1"], 1)
        bob = {"id": "user:2", "user": "2", "info": None}
        socket.say("join", {"member": bob, "count": 2}, channel="a")
        socket.say("leave", {"member": ann, "count": 1}, channel="a")
        joined, left = await anext(events), await anext(events)
        assert isinstance(joined, Joined)
        assert isinstance(left, Left)
        assert (joined.member.user, joined.count, left.member.user) == ("2", 2, "1")
        assert (list(subscription.members), subscription.count) == (["user:2"], 1)


@in_virtual_time
async def test_member_that_is_known_already_is_no_news() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = client.subscribe("a", presence=True)
        ann = {"id": "user:1", "user": "1", "info": None}
        socket.reply(await socket.expect("subscribe"), "subscribed", {"members": [ann], "count": 1})
        socket.say("join", {"member": {**ann, "info": "new"}, "count": 1}, channel="a")
        socket.say("leave", {"member": {**ann, "id": "user:9"}, "count": 1}, channel="a")
        socket.say("message", "last", channel="a")
        events = subscription.events()
        assert await anext(events) == Subscribed(None)
        assert isinstance(await anext(events), Message)
        assert [one.info for one in subscription.members.values()] == ["new"]


@in_virtual_time
async def test_members_of_an_automatic_channel_are_asked_for() -> None:
    server = ScriptedServer()
    async with connected(server, welcome={"channels": {"users/7": {}}}) as (client, socket):
        subscription = client.subscribe("users/7", presence=True)
        socket.refuse(await socket.expect("subscribe"), "already_subscribed")
        request = await socket.expect("presence")
        socket.reply(request, "presence", {"members": [{"id": "user:7", "user": "7"}], "count": 1})
        await settle()
        assert (list(subscription.members), subscription.count) == (["user:7"], 1)


@in_virtual_time
async def test_listeners_hear_the_messages_of_their_event_in_order() -> None:
    server = ScriptedServer()
    heard: list[Any] = []

    async def slowly(message: Message) -> None:
        await asyncio.sleep(1)
        heard.append(("status", message.payload))

    async with connected(server) as (client, socket):
        subscription = await subscribed(client, socket)
        subscription.on("status", slowly)
        subscription.on("note", lambda message: heard.append(("note", message.payload)))
        subscription.on(None, lambda message: heard.append((None, message.payload)))
        for offset, event in enumerate(("status", "note", "other", None), 1):
            socket.say("message", offset, channel="a", event=event, epoch="e", offset=offset)
        socket.say("unsubscribed", {"code": "forbidden", "reason": "no"}, channel="a")
        running = asyncio.create_task(subscription.run())
        with pytest.raises(errors.Forbidden):
            await running
        assert heard == []  # what it held may not be seen any more
        other = await subscribed(client, socket, "b")
        for event, listener in (("status", slowly), ("note", heard.append), (None, heard.append)):
            other.on(event, listener)
        for offset, event in enumerate(("status", "note", "other", None), 1):
            socket.say("message", offset, channel="b", event=event, epoch="e", offset=offset)
        running = asyncio.create_task(other.run())
        await asyncio.sleep(5)
        assert [getattr(one, "payload", one) for one in heard] == [("status", 1), 2, 4]
        running.cancel()


@in_virtual_time
async def test_listener_that_is_none_is_said_at_once() -> None:
    async with connected(ScriptedServer()) as (client, socket):
        subscription = await subscribed(client, socket)
        with pytest.raises(errors.ImproperUse) as raised:
            subscription.on("", print)
        assert str(raised.value) == "on('', …): expected an event's name or None, and a function"
        with pytest.raises(
            errors.ImproperUse, match=r"^on\(\): listener is of type str; expected a"
        ):
            subscription.on("status", "print")
        with pytest.raises(errors.ImproperUse, match=r"^run\(\) of 'a' has no listener; add one"):
            await subscription.run()


@in_virtual_time
async def test_typing_is_told_every_three_seconds_and_not_later() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = await subscribed(client, socket)
        typing = asyncio.create_task(subscription.typing({"name": "anna"}))
        request = await socket.expect("publish")
        assert (request["event"], request["transient"], request["echo"]) == ("typing", True, False)
        socket.reply(request, "published", {})
        await typing
        await subscription.typing()
        assert socket.quiet
        await asyncio.sleep(3)
        typing = asyncio.create_task(subscription.typing())
        socket.refuse(await socket.expect("publish"), "forbidden")
        with pytest.raises(errors.Forbidden):
            await typing
        socket.breaks()
        await asyncio.sleep(3)
        await subscription.typing()
        second, _ = await resume(server)
        assert second.quiet


@in_virtual_time
async def test_messages_are_acknowledged_when_the_next_is_asked_for() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = await subscribed(client, socket, ack=True)
        for offset in (1, 2, 3):
            socket.publish("a", offset)
        assert await payloads(subscription, 3) == [1, 2, 3]
        waiting = asyncio.create_task(anext(subscription))
        assert (await socket.expect("ack"))["payload"] == {"epoch": "e", "offset": 3}
        waiting.cancel()


@in_virtual_time
async def test_automatic_channel_needs_no_request_and_catches_up_after_a_loss() -> None:
    server = ScriptedServer()
    channels = {"users/7": {"epoch": "e", "offset": 5}}
    async with connected(server, welcome={"channels": channels}) as (client, socket):
        assert client.automatic_channels == ("users/7",)
        subscription = client.subscribe("users/7")
        socket.publish("users/7", 6)
        assert await payloads(subscription, 1) == [6]
        assert socket.quiet
        socket.breaks()
        later = {"users/7": {"epoch": "e", "offset": 8}}
        second = await server.welcomed(session_id="s2", channels=later)
        second.refuse(await second.expect("resume"), "unknown_session")
        second.publish("users/7", 9)  # it is live already
        request = await second.expect("subscribe")
        assert request["since"] == {"epoch": "e", "offset": 6}
        second.reply(request, "subscribed", {"epoch": "e", "offset": 8, "recovered": True})
        second.publish("users/7", 7, recovered=True)
        second.publish("users/7", 8, recovered=True)
        second.reply(await second.expect("ping"), "pong")
        second.publish("users/7", 10)
        assert await payloads(subscription, 4) == [7, 8, 9, 10]


@in_virtual_time
@pytest.mark.parametrize("at_once", [True, False])
async def test_what_an_automatic_inbox_still_has_follows_the_subscription(at_once: bool) -> None:
    server = ScriptedServer()
    channels = {"users/7": {"epoch": "e", "offset": 5}}
    async with connected(server, welcome={"channels": channels}) as (client, socket):
        subscription = client.subscribe("users/7") if at_once else None
        for offset in (3, 5):
            socket.publish("users/7", offset, recovered=True)
        socket.publish("users/7", 6)
        await settle()
        subscription = subscription or client.subscribe("users/7")
        socket.publish("users/7", 7)
        assert await payloads(subscription, 3) == ([3, 5, 6] if at_once else [3, 5, 7])


@in_virtual_time
async def test_passing_error_of_an_established_subscription_is_tried_again() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        subscription = await subscribed(client, socket)
        socket.breaks()
        second = await server.welcomed()
        second.refuse(await second.expect("resume"), "unknown_session")
        second.refuse(await second.expect("subscribe"), "unavailable", retry_after=5.0)
        began = asyncio.get_running_loop().time()
        request = await second.expect("subscribe")
        assert 5.0 <= asyncio.get_running_loop().time() - began <= 10.0
        second.reply(request, "subscribed", {"epoch": "e", "offset": 1, "recovered": True})
        second.publish("a", 1, recovered=True)
        assert await payloads(subscription, 1) == [1]


@in_virtual_time
async def test_many_tasks_use_one_client_at_once() -> None:
    server = ScriptedServer()
    async with connected(server) as (client, socket):
        calls = [asyncio.create_task(client.call("a", "m", number)) for number in range(50)]
        requests = [await socket.expect("call") for _ in calls]
        for request in reversed(requests):
            socket.reply(request, "result", request["payload"] * 2)
        assert await asyncio.gather(*calls) == [number * 2 for number in range(50)]


@in_virtual_time
async def test_close_during_an_attempt_leaves_no_task() -> None:
    server = ScriptedServer()
    limits = Limits(connect_timeout_s=5.0)
    with pytest.raises(ConnectFailed, match=r"^no connection within 3 s: no attempt has ended$"):
        async with connect(URL, opener=server, open_timeout_s=3.0, limits=limits):
            pass
    assert (await server.accept()).close_code == 1000
