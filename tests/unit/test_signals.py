"""The signals: each once and after the fact, whatever its receivers do; none for a message."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

import pytest
from django.test import override_settings

from channels_realtime import signals
from channels_realtime.access.limits import AccessLimits
from channels_realtime.asgi import get_realtime_application
from channels_realtime.nodes.outgoing import Outgoing
from channels_realtime.protocol.messages import Publication
from channels_realtime.services import current_node
from tests.support.asgi_socket import AsgiSocket
from tests.support.nodes import NodeHarness, subscribe
from tests.support.virtual_time import in_virtual_time, settle

NAMES = ("connected", "disconnected", "subscribed", "unsubscribed", "denied", "throttled", "slow")


class Log:
    def __init__(self) -> None:
        self.entries: list[tuple] = []

    def names(self) -> list[str]:
        return [name for name, _ in self.entries]

    def of(self, name: str) -> list[dict]:
        return [arguments for found, arguments in self.entries if found == name]


@contextmanager
def receivers(**functions):
    for name, function in functions.items():
        getattr(signals, name).connect(function, weak=False)
    try:
        yield
    finally:
        for name, function in functions.items():
            getattr(signals, name).disconnect(function)


def recorder(log: Log, name: str):
    async def receive(sender, signal, **arguments):
        log.entries.append((name, arguments))

    return receive


@pytest.fixture
def log():
    found = Log()
    with receivers(**{name: recorder(found, name) for name in NAMES}):
        yield found


def test_connection_is_announced_from_its_welcome_to_its_end(log):
    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            client = await harness.open()
            await settle()
            assert log.entries == [("connected", {"connection": client.connection})]
            client.connection.finish()
            await settle()
            assert log.entries[1:] == [
                ("disconnected", {"connection": client.connection, "code": None})
            ]

    scenario()


def test_code_of_a_close_of_the_servers_is_told(log):
    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            client = await harness.open()
            drain = harness.node.drain.begin()
            await settle()
            client.connection.finish()
            await drain
            (arguments,) = log.of("disconnected")
            assert arguments["code"] == 4503

    scenario()


def test_subscriptions_are_announced_when_made_left_and_ended(log):
    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            client = await harness.open()
            await client.ask(subscribe("public/a"), subscribe("public/b"), subscribe("nothing"))
            await client.ask({"type": "unsubscribe", "channel": "public/a"})
            client.connection.finish()
            await settle()
            c = client.connection
            assert log.of("subscribed") == [
                {"connection": c, "channel": "public/a"},
                {"connection": c, "channel": "public/b"},
            ]
            assert log.of("unsubscribed") == [
                {"connection": c, "channel": "public/a"},
                {"connection": c, "channel": "public/b"},
            ]

    scenario()


def test_nothing_is_sent_for_a_message(log):
    @in_virtual_time
    async def scenario():
        async with NodeHarness() as harness:
            client = await harness.open()
            await client.ask(subscribe())
            await settle()
            before = len(log.entries)
            for n in range(50):
                await harness.node.publish(Outgoing(publication=Publication("public/a", n)))
                await client.ask(
                    {"type": "ping"}, {"type": "publish", "channel": "public/a", "payload": n}
                )
            assert len(log.entries) == before

    scenario()


def test_throttled_is_news_once_in_a_while(log):
    @in_virtual_time
    async def scenario():
        config = {"connection_messages": (1.0, 1.0), "throttle_patience": 10_000}
        async with NodeHarness(**config, heartbeat_interval=1e6) as harness:
            client = await harness.open()
            await client.ask(*[{"type": "ping"}] * 20)
            await settle()
            assert log.of("throttled") == [
                {"connection": client.connection, "limit": "CONNECTION_MESSAGES"}
            ]
            await asyncio.sleep(61)
            await client.ask(*[{"type": "ping"}] * 3)
            await settle()
            assert len(log.of("throttled")) == 2
            assert harness.node.statistics().metrics.throttled == 21

    scenario()


def test_throttled_names_failures_that_come_from_handlers(log):
    @in_virtual_time
    async def scenario():
        async with NodeHarness(connection_failures=(1.0, 1.0)) as harness:
            client = await harness.open()
            await client.ask(subscribe("nothing/a"), subscribe("nothing/b"), subscribe("nothing/c"))
            await settle()
            assert client.connection.close_code == 4429
            assert log.of("throttled") == [
                {"connection": client.connection, "limit": "CONNECTION_FAILURES"}
            ]
            assert harness.node.statistics().metrics.throttled == 1

    scenario()


async def flood(harness: NodeHarness, count: int) -> None:
    for n in range(count):
        await harness.node.publish(Outgoing(publication=Publication("public/a", n)))
    await settle()


@pytest.mark.parametrize(
    ("policy", "dropped", "closed"),
    [("close", 0, True), ("drop_oldest", 87, False), ("latest", 98, False)],
)
def test_slow_client_is_announced_once_whatever_its_policy(log, policy, dropped, closed):
    @in_virtual_time
    async def scenario():
        async with NodeHarness(slow_policy=policy, outbox_max_messages=12) as harness:
            client = await harness.open()
            await client.ask(subscribe())
            client.gate.clear()
            await flood(harness, 100)
            assert log.of("slow") == [{"connection": client.connection, "policy": policy}]
            assert (client.connection.closed, harness.node.statistics().metrics.slow) == (closed, 1)
            assert harness.node.statistics().metrics.dropped == dropped

    scenario()


# -- receivers -------------------------------------------------------------------------------------


async def http(scope, receive, send):
    raise AssertionError("no HTTP here")


@pytest.fixture
async def application():
    yield get_realtime_application(http)
    await current_node().stop()


async def test_sync_receiver_that_is_slow_delays_no_connection(application):
    gate, done = threading.Event(), threading.Event()

    def receive(sender, signal, connection, **arguments):
        gate.wait(20)
        done.set()

    with receivers(connected=receive, subscribed=receive):
        async with AsgiSocket(application) as first, AsgiSocket(application) as second:
            for socket in (first, second):
                await socket.expect("welcome")
                assert (await socket.ask({"type": "subscribe", "channel": "public/a"}))[
                    "type"
                ] == "subscribed"
                await socket.quiet()
            assert not done.is_set()
            gate.set()
            await asyncio.to_thread(done.wait, 5)


async def test_async_receiver_that_is_slow_delays_no_connection(application):
    gate = asyncio.Event()

    async def receive(sender, signal, connection, **arguments):
        await gate.wait()

    with receivers(connected=receive, disconnected=receive):
        async with AsgiSocket(application) as socket:
            await socket.expect("welcome")
            await socket.quiet()
        gate.set()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_receiver_that_fails_is_logged_and_the_others_are_called(application, caplog, kind):
    heard = asyncio.Event()

    def fail(sender, signal, **arguments):
        raise ZeroDivisionError("planted")

    async def afail(sender, signal, **arguments):
        fail(sender, signal)

    async def hear(sender, signal, **arguments):
        heard.set()

    with receivers(connected=fail if kind == "sync" else afail), receivers(connected=hear):
        async with AsgiSocket(application) as socket:
            await socket.expect("welcome")
            await socket.quiet()
            await asyncio.wait_for(heard.wait(), 20)
            await socket.quiet()
            # What failed is logged once all the receivers have been called.
            await asyncio.wait(
                {task for task in asyncio.all_tasks() if "receivers" in task.get_name()}
                or {asyncio.ensure_future(asyncio.sleep(0))}
            )
    assert "planted" in caplog.text


# -- denied ----------------------------------------------------------------------------------------


async def denied_reason(application, log, **options) -> str:
    socket = AsgiSocket(application, **options)
    answer = await socket.connect()
    assert answer["type"] != "websocket.accept"
    await asyncio.wait_for(socket.task, 20)
    (arguments,) = log.of("denied")
    assert arguments["scope"]["path"] == "/ws/"
    return arguments["reason"]


async def test_denied_names_a_foreign_origin(application, log):
    headers = [(b"origin", b"https://evil.example")]
    assert await denied_reason(application, log, headers=headers) == "origin"


async def test_denied_names_a_node_that_drains(application, log):
    await current_node().drain.begin()
    assert await denied_reason(application, log) == "draining"


async def test_denied_names_a_node_that_is_full(log):
    with override_settings(CHANNELS_REALTIME={"ALLOW_ANONYMOUS": True, "MAX_CONNECTIONS": 1}):
        application = get_realtime_application(http)
        async with AsgiSocket(application) as socket:
            await socket.expect("welcome")
            assert await denied_reason(application, log) == "full"
        await current_node().stop()


async def test_denied_names_an_address_over_its_failures(log):
    with override_settings(
        CHANNELS_REALTIME={"ALLOW_ANONYMOUS": True, "ADDRESS_FAILURES": (0.001, 1)}
    ):
        application = get_realtime_application(http)
        current_node().service(AccessLimits).failure("127.0.0.1")
        assert await denied_reason(application, log) == "address"
        await current_node().stop()


async def test_denied_names_bad_credentials(application, log):
    headers = [(b"authorization", b"Bearer nonsense")]
    async with AsgiSocket(application, headers=headers) as socket:
        assert (await socket.expect("closing"))["payload"]["code"] == 4401
        assert (await socket.event())["type"] == "websocket.close"
    (arguments,) = log.of("denied")
    assert arguments["reason"] == "credentials"
    assert log.of("connected") == log.of("disconnected") == []
