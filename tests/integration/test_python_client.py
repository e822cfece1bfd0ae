"""The Python client against Daphne and uvicorn over Redis: no message is lost, and none comes twice."""

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from channels_realtime import errors
from channels_realtime.client import (
    ConnectFailed,
    HandshakeRefused,
    Limits,
    Message,
    Recovered,
    SignedOut,
    Subscribed,
    connect,
)
from tests.support.databases import own_database
from tests.support.forwarder import Forwarder
from tests.support.members import do, make_member
from tests.support.servers import HOST, ROOT, Server, free_port, run_server, together
from tests.support.site import APPLICATION, SERVERS, Site, made_site

QUICK = Limits(backoff_base_s=0.2, backoff_cap_s=1.0)
PATIENCE_S = 30.0
KINDS = pytest.mark.parametrize("kind", ["daphne", "uvicorn"])


@pytest.fixture(scope="module")
def site(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory: Path = tmp_path_factory.mktemp("members")
    with (
        own_database("sqlite", directory) as url,
        made_site(
            url,
            redis_url,
            AUTH_EXPIRING_LEAD=2.0,
            HEARTBEAT_INTERVAL=1.0,
            HEARTBEAT_TIMEOUT=2.0,
        ) as made,
    ):
        yield made.having(SITE_HISTORY_SIZE="20")


@pytest.fixture(scope="module")
def servers(site: Site) -> Iterator[dict[str, Server]]:
    """One of each kind, which stay up."""
    with together(site.serve("daphne"), site.serve("uvicorn")) as (daphne, uvicorn):
        yield {"daphne": daphne, "uvicorn": uvicorn}


@asynccontextmanager
async def publishing(
    server: Server, channel: str, pause_s: float = 0.02
) -> AsyncIterator[list[int]]:
    """Publications 1, 2, 3 … until the block ends; the list is of those that were made."""
    made: list[int] = []
    stop = asyncio.Event()

    async def publish() -> None:
        while not stop.is_set():
            await do(server, "publish", channel=channel, payload=str(len(made) + 1))
            made.append(len(made) + 1)
            await asyncio.sleep(pause_s)

    task = asyncio.create_task(publish())
    try:
        yield made
    finally:
        stop.set()
        await task


async def until(condition: Any, what: str) -> None:
    """Wait until a condition of this process holds."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"not in time: {what}")


class Follower:
    """Reads a subscription to its end; keeps the payloads as numbers."""

    def __init__(self, subscription: Any) -> None:
        self.numbers: list[int] = []
        self._subscription = subscription
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._subscription:
            self.numbers.append(int(message.payload))

    async def reaches(self, number: int) -> None:
        await until(
            lambda: self.task.done() or (self.numbers and self.numbers[-1] >= number),
            f"message {number}",
        )
        if self.task.done():
            await self.task

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


async def token_of(server: Server, seconds: float = 600) -> tuple[str, str]:
    """A new user's id, and a token that ends so many seconds from now."""
    member = await make_member(server)
    return member.id, await do(server, "mint", user=member.id, seconds=str(seconds))


@KINDS
async def test_killed_and_restarted_server_costs_no_message(
    site: Site, servers: dict[str, Server], kind: str
) -> None:
    publisher = servers["uvicorn" if kind == "daphne" else "daphne"]
    _, token = await token_of(publisher)
    port = free_port()
    command = SERVERS[kind](APPLICATION, port)
    channel = f"kept/kill-{kind}"

    def serve() -> Any:
        return run_server(command, port, environment=site.environment)

    with contextlib.ExitStack() as stack:
        first = stack.enter_context(serve())
        url = f"ws://{HOST}:{port}/ws/"
        async with (
            connect(url, token=token, limits=QUICK) as client,
            client.subscribe(channel) as subscription,
        ):
            follower = Follower(subscription)
            async with publishing(publisher, channel) as made:
                await follower.reaches(20)
                os.killpg(first.process.pid, signal.SIGKILL)
                await asyncio.to_thread(first.process.wait)
                lost_at = len(made)
                again = serve()
                await asyncio.to_thread(again.__enter__)
                stack.push(again.__exit__)
                await follower.reaches(lost_at + 20)
            await follower.reaches(len(made))
            await follower.stop()
        assert follower.numbers == made


async def test_selections_of_one_channel_lose_nothing_when_the_server_is_killed(
    site: Site, servers: dict[str, Server]
) -> None:
    _, token = await token_of(servers["daphne"])
    port = free_port()
    command = SERVERS["uvicorn"](APPLICATION, port)
    symbols = ("X", "Y")

    async with contextlib.AsyncExitStack() as stack:
        first = stack.enter_context(run_server(command, port, environment=site.environment))
        url = f"ws://{HOST}:{port}/ws/"
        publisher = await stack.enter_async_context(
            connect(servers["daphne"].url("/ws/"), token=token)
        )
        client = await stack.enter_async_context(connect(url, token=token, limits=QUICK))
        found: dict[str, list[int]] = {symbol: [] for symbol in symbols}
        following = []
        for symbol, prices in found.items():
            subscription = client.subscribe(
                "selected/a", parameters={"symbol": symbol}, select="symbol"
            )
            quotes = await stack.enter_async_context(subscription)
            quotes.on(None, lambda message, to=prices: to.append(message.payload["price"]))
            following.append(asyncio.create_task(quotes.run()))

        async def publish(numbers: range) -> None:
            for price in numbers:
                payload = {"symbol": symbols[price % 2], "price": price}
                await publisher.publish("selected/a", payload)

        async def reached(price: int) -> None:
            last = {symbols[n % 2]: n for n in (price - 1, price)}
            await until(
                lambda: all(found[one] and found[one][-1] == last[one] for one in symbols),
                f"price {price}",
            )

        await publish(range(1, 11))
        await reached(10)
        os.killpg(first.process.pid, signal.SIGKILL)
        await asyncio.to_thread(first.process.wait)
        await publish(range(11, 31))
        again = run_server(command, port, environment=site.environment)
        await asyncio.to_thread(again.__enter__)
        stack.push(again.__exit__)
        await publish(range(31, 41))
        await reached(40)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    for rest, symbol in enumerate(symbols):
        assert found[symbol] == list(range(2 - rest, 41, 2))


@KINDS
async def test_dropped_and_silent_connections_cost_no_message(
    servers: dict[str, Server], kind: str
) -> None:
    server = servers[kind]
    _, token = await token_of(server)
    channel = f"kept/drop-{kind}"
    async with Forwarder(HOST, server.port) as forwarder:
        url = f"ws://{HOST}:{forwarder.port}/ws/"
        async with connect(url, token=token, limits=QUICK, codec="msgpack") as client:
            async with client.subscribe(channel) as subscription:
                follower = Follower(subscription)
                async with publishing(server, channel) as made:
                    for _ in range(3):
                        await follower.reaches(len(made) + 5)
                        await forwarder.refuse()
                        await until(lambda: client.state != "connected", "the loss is noticed")
                        await forwarder.start()
                    await follower.reaches(len(made) + 5)
                    connection = client.connection_id
                    forwarder.hang()  # nothing says so but the heartbeat
                    await until(lambda: client.state != "connected", "the silence is noticed")
                    forwarder.go_on()
                    await follower.reaches(len(made) + 5)
                await follower.reaches(len(made))
                await follower.stop()
            assert client.connection_id == connection
        assert follower.numbers == made


@KINDS
async def test_publications_made_while_away_arrive_once_and_in_order(
    servers: dict[str, Server], kind: str
) -> None:
    server = servers[kind]
    _, token = await token_of(server)
    channel = f"kept/offline-{kind}"
    async with (
        Forwarder(HOST, server.port) as forwarder,
        connect(server.url("/ws/"), token=token) as watcher,
        watcher.subscribe(channel) as seen,
    ):
        url = f"ws://{HOST}:{forwarder.port}/ws/"
        async with connect(url, token=token, limits=QUICK) as client:
            sending = []
            for number in range(1, 41):
                sending.append(asyncio.create_task(client.publish(channel, number)))
                await asyncio.sleep(0.005)
                if number in (10, 25):
                    await forwarder.refuse()
                if number in (15, 30):
                    await forwarder.start()
            answers = await asyncio.gather(*sending)
        assert [one.position.offset for one in answers] == list(range(1, 41))
        assert [(await anext(seen)).payload for _ in range(40)] == list(range(1, 41))


@KINDS
async def test_token_is_renewed_before_its_end_and_nothing_is_lost(
    servers: dict[str, Server], kind: str
) -> None:
    server = servers[kind]
    member = await make_member(server)
    reasons: list[str] = []

    async def token(reason: str) -> str:
        reasons.append(reason)
        minted: str = await do(server, "mint", user=member.id, seconds="4")
        return minted

    channel = f"kept/renew-{kind}"
    async with connect(server.url("/ws/"), token=token) as client:
        async with client.subscribe(channel) as subscription, publishing(server, channel) as made:
            follower = Follower(subscription)
            await until(lambda: reasons.count("expiring") == 2, "two renewals")
            await follower.reaches(len(made) + 5)
            await follower.stop()
        assert client.user == member.id
    assert reasons[:3] == ["required", "expiring", "expiring"]
    assert "refused" not in reasons
    assert follower.numbers == made[: len(follower.numbers)]


@KINDS
async def test_token_that_ended_unannounced_is_replaced(
    servers: dict[str, Server], kind: str
) -> None:
    server = servers[kind]
    member = await make_member(server)
    reasons: list[str] = []

    async def token(reason: str) -> str:
        reasons.append(reason)
        if reason == "expiring":
            raise OSError("the token service is away")
        lifetime = "4" if len(reasons) == 1 else "600"
        minted: str = await do(server, "mint", user=member.id, seconds=lifetime)
        return minted

    channel = f"kept/ended-{kind}"
    async with (
        connect(server.url("/ws/"), token=token, limits=QUICK) as client,
        client.subscribe(channel) as subscription,
    ):
        follower = Follower(subscription)
        async with publishing(server, channel) as made:
            await until(lambda: "refused" in reasons, "the refusal")
            await follower.reaches(len(made) + 5)
        await follower.reaches(len(made))
        await follower.stop()
    assert reasons == ["required", "expiring", "refused"]
    assert follower.numbers == made


@KINDS
async def test_revoked_user_is_told_and_does_not_come_back(
    servers: dict[str, Server], kind: str
) -> None:
    server = servers[kind]
    user, token = await token_of(server)
    async with connect(server.url("/ws/"), token=token, limits=QUICK) as client:
        async with client.subscribe("kept/revoked") as subscription:
            waiting = asyncio.create_task(anext(subscription))
            await do(server, "revoke", user=user)
            with pytest.raises(SignedOut) as raised:
                async with asyncio.timeout(PATIENCE_S):
                    await waiting
        assert raised.value.close_code == 4401
        with pytest.raises(SignedOut):
            await client.call("public/x", "echo", 1)


@KINDS
async def test_history_that_is_gone_is_told(servers: dict[str, Server], kind: str) -> None:
    server = servers[kind]
    _, token = await token_of(server)
    channel = f"checked/gone-{kind}"
    async with Forwarder(HOST, server.port) as forwarder:
        url = f"ws://{HOST}:{forwarder.port}/ws/"
        async with (
            connect(url, token=token, limits=QUICK) as client,
            connect(url, token=token, limits=QUICK) as other,
            client.subscribe(channel) as strict,
            other.subscribe(channel) as subscription,
        ):
            events = subscription.events()
            assert isinstance(await anext(events), Subscribed)
            await do(server, "publish", channel=channel, payload="1")
            first = await anext(events)
            assert isinstance(first, Message)
            assert (await anext(strict)).payload == "1"
            await forwarder.refuse()
            for number in range(2, 40):  # the history keeps 20
                await do(server, "publish", channel=channel, payload=str(number))
            await forwarder.start()
            async with asyncio.timeout(PATIENCE_S):
                assert isinstance(await anext(events), Subscribed)
                missed = await anext(events)
                assert isinstance(missed, Recovered)
                assert not missed.complete
                with pytest.raises(errors.NotRecoverable):
                    await anext(strict)
            assert strict.position == missed.position
            await do(server, "publish", channel=channel, payload="40")
            assert (await anext(events)).payload == "40"  # type: ignore[union-attr]


async def test_no_task_and_no_connection_is_left(servers: dict[str, Server]) -> None:
    _, token = await token_of(servers["uvicorn"])
    async with (
        connect(servers["uvicorn"].url("/ws/"), token=token) as client,
        client.subscribe("kept/left"),
    ):
        calls = [client.call("public/x", "echo", number) for number in range(20)]
        assert await asyncio.gather(*calls) == list(range(20))
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_redirect_is_not_followed_with_the_token(servers: dict[str, Server]) -> None:
    target = servers["uvicorn"].websocket_url()

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {target}\r\n\r\n".encode())
        writer.close()

    port = free_port()
    async with await asyncio.start_server(redirect, HOST, port):
        with pytest.raises(ConnectFailed) as raised:
            async with connect(f"ws://{HOST}:{port}/", token="t", open_timeout_s=0):
                pass
    cause = raised.value.__cause__
    assert isinstance(cause, HandshakeRefused)
    assert (cause.status, str(cause)) == (302, "the handshake was answered with HTTP 302")


# -- realtime_listen -------------------------------------------------------------------------------


async def listen(*arguments: str) -> str:
    """What ``realtime_listen`` prints; in a thread, where it may run an event loop of its own."""
    out = io.StringIO()
    await asyncio.to_thread(call_command, "realtime_listen", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
async def token(servers: dict[str, Server], monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable TOKEN with a token, and BAD_TOKEN with none that a server takes."""
    _, text = await token_of(servers["uvicorn"])
    monkeypatch.setenv("TOKEN", text)
    monkeypatch.setenv("BAD_TOKEN", "e30.e30.e30")


@pytest.mark.usefixtures("token")
async def test_listen_prints_what_is_kept_and_what_comes(servers: dict[str, Server]) -> None:
    server = servers["uvicorn"]
    for number in (1, 2):
        await do(server, "publish", channel="kept/listen", payload=str(number))
    common = ["kept/listen", "--url", server.websocket_url(), "--token-env", "TOKEN"]
    common += ["--since", "beginning", "--timeout", "20"]
    lines = (await listen(*common, "--count", "2")).splitlines()
    epoch = lines[0].split(" ")[1].partition(":")[0]
    assert lines == [f'kept/listen {epoch}:1 "1"', f'kept/listen {epoch}:2 "2"']
    listening = asyncio.create_task(listen(*common, "--count", "3", "--json"))
    await do(server, "publish", channel="kept/listen", payload="3")
    messages = [json.loads(line) for line in (await listening).splitlines()]
    assert [(one["payload"], one["offset"]) for one in messages] == [("1", 1), ("2", 2), ("3", 3)]


@pytest.mark.usefixtures("token")
async def test_listen_says_why_it_cannot(servers: dict[str, Server]) -> None:
    url = servers["uvicorn"].websocket_url()
    nothing = servers["uvicorn"].websocket_url("/nothing/")
    down = f"ws://{HOST}:{free_port()}/ws/"
    with_token = ["--token-env", "TOKEN"]
    no_way_in = "Expected --user NAME, or a token that is valid in the variable of --token-env."
    cases = {
        ("kept/a", "--url", down): (
            3,
            f"No server answers at {down}. Start it, or name its address with --url.",
        ),
        ("kept/a", "--url", url): (
            4,
            "The server does not let this client in: the server requires credentials, and the client"
            f" has none (4401). {no_way_in}",
        ),
        ("kept/a", "--url", nothing): (
            5,
            f"The server has ended it: the server does not speak realtime.v1.json: is {nothing} the"
            " address of channels_realtime? (4406)",
        ),
        ("kept/a", "--url", url, "--token-env", "BAD_TOKEN"): (
            4,
            f"The server does not let this client in: the token is not valid (4401). {no_way_in}",
        ),
        ("kept/a", "--url", url, "--token-env", "NO_TOKEN"): (
            2,
            "The environment variable NO_TOKEN is not set.",
        ),
        ("closed/a", "--url", url, *with_token): (
            5,
            "The server says: not allowed to subscribe to 'closed/a'",
        ),
        ("kept/a", "--url", url, *with_token, "--count", "5", "--timeout", "0.2"): (
            6,
            "Only 0 of 5 messages came within 0.2 s.",
        ),
    }
    found = {}
    for arguments in cases:
        with pytest.raises(CommandError) as raised:
            await listen(*arguments)
        found[arguments] = (raised.value.returncode, str(raised.value))
    assert found == cases


async def test_listen_as_a_user_ends_cleanly_at_ctrl_c(
    site: Site, servers: dict[str, Server]
) -> None:
    server = servers["daphne"]
    member = await make_member(server)
    await do(server, "publish", channel="kept/interrupted", payload="1")
    arguments = ["kept/interrupted", "--url", server.websocket_url(), "--user", member.name]
    process = subprocess.Popen(
        [sys.executable, "-m", "django", "realtime_listen", *arguments, "--since", "beginning"],
        cwd=ROOT,
        env={**os.environ, **site.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = await asyncio.to_thread(process.stdout.readline)
    sessions = "UPDATE django_session SET expire_date = expire_date"  # their number
    before = await do(server, "sql", statement=sessions)
    process.send_signal(signal.SIGINT)
    _, error = await asyncio.to_thread(process.communicate, timeout=PATIENCE_S)
    assert (process.returncode, line.split(" ")[-1], error) == (130, '"1"\n', "")
    assert (before, await do(server, "sql", statement=sessions)) == (1, 0)
