"""Limits on connections, failures and messages, as each server reports them to the client."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.clients import JSON
from tests.support.many_clients import RawClient, join, join_many, until
from tests.support.servers import Server
from tests.support.site import Site, insides, login

BAD_TOKEN = "Authorization: Bearer no.such.token"


@pytest.fixture(params=["daphne", "uvicorn"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@contextmanager
def serving(site: Site, kind: str, **realtime: Any) -> Iterator[Server]:
    with site.having(realtime=realtime).serve(kind) as server:
        yield server


async def close(members: list[RawClient]) -> None:
    for member in members:
        member.abort()
    await asyncio.sleep(
        0
    )  # it ends in the loop's next turn, and stopping the server holds the loop


async def test_server_that_is_full_refuses_before_the_accept_and_takes_again_later(site, kind):
    # Daphne knows no other answer than 403.
    with serving(site, kind, MAX_CONNECTIONS=5) as server:
        members = await join_many(server.port, 5)
        with pytest.raises(ConnectionError, match="403" if kind == "daphne" else "503"):
            await join(server.port)
        members[0].leave()
        await until(lambda: insides(server)["connections"] == 4, "one has left")
        members.append(await join(server.port))
        assert insides(server)["metrics"]["refused"] == 1
        await close(members)


async def test_storm_does_not_exceed_the_limit(site, kind):
    with serving(site, kind, MAX_CONNECTIONS=20, MAX_CONNECTIONS_PER_ADDRESS=15) as server:

        async def attempt(number: int) -> RawClient | None:
            try:
                return await join(server.port, host=f"127.0.0.{2 + number % 2}")
            except ConnectionError:
                return None

        found = await asyncio.gather(*(attempt(n) for n in range(100)))
        members = [member for member in found if member is not None]
        assert len(members) == 20
        await close(members)


async def test_user_over_its_connections_is_told_4429(site, kind):
    with serving(site, kind, MAX_CONNECTIONS_PER_USER=2) as server:
        alice = [f"Cookie: {login(server, 'alice')}"]
        bob = [f"Cookie: {login(server, 'bob')}"]
        members = await join_many(server.port, 2, headers=alice)
        third = await join(server.port, headers=alice, welcomed=False)
        closing = await third.expect("closing")
        assert closing["payload"] == {
            "code": 4429,
            "reason": "this user has all the connections it may",
            "reconnect": True,
            "retry_after": 30.0,
        }
        assert await third.closed == 4429
        members += [await join(server.port, headers=bob), await join(server.port)]
        members[0].leave()
        await until(lambda: insides(server)["limited_users"] == 2, "one of alice's has left")
        members.append(await join(server.port, headers=alice))
        await close(members)


async def test_address_over_its_connections_is_refused_and_others_are_not(site, kind):
    with serving(site, kind, MAX_CONNECTIONS_PER_ADDRESS=3) as server:
        members = await join_many(server.port, 3, host="127.0.0.2")
        with pytest.raises(ConnectionError, match="403" if kind == "daphne" else "429"):
            await join(server.port, host="127.0.0.2")
        members.append(await join(server.port, host="127.0.0.3"))
        await close(members)


async def test_address_over_its_failures_is_refused_before_the_accept(site, kind):
    with serving(site, kind, ADDRESS_FAILURES=[0.01, 3]) as server:
        for _ in range(3):
            failing = await join(server.port, host="127.0.0.2", headers=[BAD_TOKEN], welcomed=False)
            assert await failing.closed == 4401
        for headers in ([BAD_TOKEN], []):
            with pytest.raises(ConnectionError, match="403" if kind == "daphne" else "429"):
                await join(server.port, host="127.0.0.2", headers=headers)
        other = await join(server.port, host="127.0.0.3")
        assert insides(server)["metrics"]["refused"] == 2
        await close([other])


async def test_client_that_is_too_fast_is_refused_then_closed_with_4429(site, kind):
    with serving(site, kind, CONNECTION_MESSAGES=[1.0, 5], THROTTLE_PATIENCE=3) as server:
        member = await join(server.port)
        for number in range(20):
            member.say({"type": "ping", "id": number})
        closing = await member.expect("closing")
        assert (closing["payload"]["code"], closing["payload"]["reconnect"]) == (4429, True)
        assert await member.closed == 4429
        kinds = [message["type"] for message in member.messages]
        assert kinds == ["welcome", *["pong"] * 5, *["error"] * 3, "closing"]
        error = next(message for message in member.messages if message["type"] == "error")
        assert (error["id"], error["request"]) == (5, "ping")
        assert error["payload"]["code"] == "rate_limited"
        assert 0 < error["payload"]["retry_after"] <= 1.0


async def test_messages_before_the_welcome_are_not_read_ahead(site, kind):
    """Flow control holds from the accept on, not from the welcome."""
    config = {"SUBSCRIBE_TIMEOUT": 3.0}
    # A layer that answers nothing: the port accepts no connection.
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        url = f"redis://127.0.0.1:{deaf.getsockname()[1]}/0"
        away = site.having(realtime=config, SITE_LAYER="pubsub", SITE_REDIS_URL=url)
        with away.serve(kind) as server:
            member = await join(server.port, welcomed=False, subprotocol=JSON)
            data = json.dumps({"type": "ping", "pad": "x" * 8_000}).encode()
            frame = b"\x81\xfe" + len(data).to_bytes(2) + b"\0\0\0\0" + data
            member.transport.set_write_buffer_limits(high=0)
            sent = 0
            while not member.closed.done() and sent < 60:
                if member.transport.get_write_buffer_size() == 0:
                    member.transport.write(frame * 128)
                    sent += 1
                await asyncio.sleep(0.01)
            assert sent < 30  # megabytes
            assert await member.closed == 4503
            await close([member])
