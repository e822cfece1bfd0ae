"""Blocks: read in time, judged in memory, over in time; and what a handshake and a connection see."""

from __future__ import annotations

import asyncio
import datetime

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import DatabaseError
from django.test import AsyncClient
from django.utils import timezone

from channels_realtime import signals
from channels_realtime.access import blocks
from channels_realtime.access.blocks import KEPT_FOR, PATIENCE_S, Blocks, add_block
from channels_realtime.asgi import get_realtime_application
from channels_realtime.config import Config
from channels_realtime.mixins import AuthenticationMixin, HeartbeatMixin
from channels_realtime.models import BlockRecord
from channels_realtime.nodes.metrics import Metrics
from channels_realtime.protocol.codes import CloseCode
from channels_realtime.services import current_node
from tests.support.asgi_socket import AsgiSocket
from tests.support.virtual_time import VirtualClock, in_virtual_time, settle
from tests.unit.mixins.consumers import closing, made, until

POLL_S = 2.0
HERE = "127.0.0.1"


class FakeConnection:
    """A connection."""

    def __init__(self, user_id: str | None = None, address: str | None = HERE) -> None:
        self.id = f"{user_id}@{address}"
        self.user_id = user_id
        self.client_address = address
        self.closed = False

    def close(self, code: CloseCode, reason: str) -> None:
        assert (code, reason) == (CloseCode.BLOCKED, "blocked")
        assert not self.closed
        self.closed = True


class FakeDatabase:
    """The rows, read at once, late, or not at all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[tuple[str, str, float]] = []
        self.looks = 0
        self.forgettings = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        monkeypatch.setattr(blocks, "_read_rows", self._read)
        monkeypatch.setattr(blocks, "_forget_rows", self._forget)

    async def run(self, work, *arguments):
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return work(*arguments)

    def _read(self):
        self.looks += 1
        moment = datetime.datetime.fromtimestamp
        return [(user, address, moment(at, datetime.UTC)) for user, address, at in self.rows]

    def _forget(self):
        self.forgettings += 1


class FakeNode:
    """What the blocks ask of a node."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.config = Config(revocation_poll_interval=POLL_S)
        self.clock = VirtualClock()
        self.database = FakeDatabase(monkeypatch)
        self.connections: dict[str, FakeConnection] = {}
        self.metrics = Metrics()
        self.blocks = Blocks(self)

    async def __aenter__(self) -> FakeNode:
        return self

    async def __aexit__(self, *exception) -> None:
        await self.blocks.stop()

    def seat(self, *args, **kwargs) -> FakeConnection:
        made = FakeConnection(*args, **kwargs)
        self.connections[made.id] = made
        return made

    def block(self, *, user: str = "", address: str = "", seconds: float = 600.0) -> None:
        self.database.rows.append((user, address, self.clock.time() + seconds))


def now() -> float:
    return asyncio.get_running_loop().time()


def with_node(scenario):
    """Run ``async scenario(node)`` in virtual time."""

    def test(monkeypatch):
        @in_virtual_time
        async def run():
            async with FakeNode(monkeypatch) as node:
                await scenario(node)

        run()

    test.__name__ = scenario.__name__
    test.__doc__ = scenario.__doc__
    return test


# -- verdicts --------------------------------------------------------------------------------------


@with_node
async def test_nobody_is_blocked_before_anything_was_read(node):
    node.block(user="1")
    assert node.blocks.empty
    assert not node.blocks.blocks("1", HERE)


@with_node
async def test_user_and_address_are_blocked_until_their_time_is_over(node):
    node.block(user="1", seconds=5)
    node.block(address="192.0.2.7", seconds=10)
    await node.blocks.start()
    assert not node.blocks.empty
    assert node.blocks.blocks("1", HERE)
    assert node.blocks.blocks(None, "192.0.2.7")
    assert node.blocks.blocks("2", "192.0.2.7")
    for user, address in [("2", HERE), ("11", HERE), (None, HERE), (None, None), ("", "")]:
        assert not node.blocks.blocks(user, address)
    await asyncio.sleep(5.01)
    assert not node.blocks.blocks("1", HERE)
    assert node.blocks.blocks(None, "192.0.2.7")
    await asyncio.sleep(5)
    assert not node.blocks.blocks(None, "192.0.2.7")


@with_node
async def test_longest_of_several_blocks_counts(node):
    node.block(user="1", seconds=50)
    node.block(user="1", seconds=5)
    node.block(address="192.0.2.0/24", seconds=50)
    node.block(address="192.0.2.0/24", seconds=5)
    await node.blocks.start()
    await asyncio.sleep(20)
    assert node.blocks.blocks("1", None)
    assert node.blocks.blocks(None, "192.0.2.1")


@pytest.mark.parametrize(
    ("blocked", "address", "expected"),
    [
        ("192.0.2.0/24", "192.0.2.0", True),
        ("192.0.2.0/24", "192.0.2.255", True),
        ("192.0.2.0/24", "192.0.3.0", False),
        ("192.0.2.0/24", "2001:db8::1", False),
        ("192.0.2.7/32", "192.0.2.7", True),
        ("0.0.0.0/1", "127.0.0.1", True),
        ("2001:db8::/32", "2001:db8:ffff::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("2001:db8::/32", "32.1.13.184", False),  # the same bits
        ("::/1", "192.0.2.7", False),
        ("192.0.2.0/24", "/run/a.sock", False),
        ("192.0.2.0/24", None, False),
        # Rows that nobody normalised.
        ("192.0.2.7/24", "192.0.2.8", True),
        ("::ffff:192.0.2.7", "192.0.2.7", True),
        ("2001:DB8::0001", "2001:db8::1", True),
    ],
)
def test_network_blocks_what_is_in_it(monkeypatch, blocked, address, expected):
    @with_node
    async def scenario(node):
        node.block(address=blocked)
        await node.blocks.start()
        assert node.blocks.blocks("1", address) is expected

    scenario(monkeypatch)


def test_row_with_no_address_blocks_nobody_and_is_logged_once(monkeypatch, caplog):
    @with_node
    async def scenario(node):
        node.block(address="nowhere")
        node.block(user="1")
        await node.blocks.start()
        assert node.blocks.blocks("1", None)
        assert not node.blocks.blocks(None, "nowhere")
        await asyncio.sleep(3 * POLL_S)

    scenario(monkeypatch)
    assert [record.message for record in caplog.records] == [
        "A block has the invalid address 'nowhere' and has no effect"
    ]


def test_too_many_blocks_are_logged_once(monkeypatch, caplog):
    monkeypatch.setattr(blocks, "MAX_BLOCKS", 2)

    @with_node
    async def scenario(node):
        node.block(user="1")
        await node.blocks.start()
        assert not caplog.records
        for user in "23":
            node.block(user=user)
            node.blocks.reload()
            await settle()

    scenario(monkeypatch)
    assert [record.message for record in caplog.records] == [
        "There are 2 blocks or more; older ones do nothing"
    ]


# -- reading ---------------------------------------------------------------------------------------


@with_node
async def test_blocks_are_read_once_for_many_handshakes(node):
    node.database.gate.clear()
    waiting = [asyncio.create_task(node.blocks.start()) for _ in range(5)]
    await settle()
    assert not any(task.done() for task in waiting)
    node.database.gate.set()
    await asyncio.gather(*waiting)
    await node.blocks.start()
    assert node.database.looks == 1
    assert now() == 1_000.0


@with_node
async def test_poll_finds_what_no_message_told(node):
    guest = node.seat("1")
    await node.blocks.start()
    node.block(user="1")
    await asyncio.sleep(POLL_S - 0.1)
    assert not guest.closed
    await asyncio.sleep(0.2)
    assert guest.closed
    node.database.rows.clear()
    await asyncio.sleep(POLL_S)
    assert not node.blocks.blocks("1", None)
    assert node.blocks.empty


@with_node
async def test_reload_reads_at_once(node):
    guest = node.seat(address="192.0.2.7")
    await node.blocks.start()
    node.block(address="192.0.2.7")
    node.blocks.reload()
    await settle()
    assert guest.closed
    node.database.rows.clear()
    node.blocks.reload()
    await settle()
    assert not node.blocks.blocks(None, "192.0.2.7")
    assert now() == 1_000.0


@with_node
async def test_reload_while_the_database_is_read_reads_again(node):
    await node.blocks.start()
    node.database.gate.clear()
    node.blocks.reload()
    await settle()
    node.blocks.reload()
    node.blocks.reload()
    node.database.gate.set()
    await settle()
    assert node.database.looks == 3
    assert now() == 1_000.0


@with_node
async def test_reload_before_the_first_handshake_does_nothing(node):
    node.blocks.reload()
    await settle()
    assert node.database.looks == 0


def test_database_that_is_down_keeps_nobody_waiting_and_is_logged_once(monkeypatch, caplog):
    @with_node
    async def scenario(node):
        guest = node.seat("1")
        node.block(user="1")
        node.database.error = DatabaseError("secret of the database")
        await node.blocks.start()
        assert not node.blocks.blocks("1", None)
        await asyncio.sleep(3 * POLL_S)
        node.database.error = None
        await asyncio.sleep(POLL_S)
        assert guest.closed
        node.database.error = DatabaseError("again")
        await asyncio.sleep(2 * POLL_S)
        assert node.blocks.blocks("1", None)  # what is known stays
        await asyncio.sleep(600)
        assert not node.blocks.blocks("1", None)

    scenario(monkeypatch)
    assert [record.message for record in caplog.records] == [
        "Cannot read the blocks: DatabaseError",
        "Cannot read the blocks: DatabaseError",
    ]


@with_node
async def test_database_that_hangs_keeps_nobody_waiting_for_long(node):
    guest = node.seat("1")
    node.block(user="1")
    node.database.gate.clear()
    await node.blocks.start()
    assert now() == 1_000.0 + PATIENCE_S
    await node.blocks.start()
    assert now() == 1_000.0 + PATIENCE_S
    node.database.gate.set()
    await settle()
    assert guest.closed


@with_node
async def test_past_is_forgotten_at_the_start_and_every_hour(node):
    await node.blocks.start()
    await settle()
    assert node.database.forgettings == 1
    await asyncio.sleep(3_590)
    assert node.database.forgettings == 1
    await asyncio.sleep(20)
    assert node.database.forgettings == 2


@with_node
async def test_past_that_cannot_be_forgotten_stops_nothing(node):
    def fail():
        raise DatabaseError("read-only")

    blocks._forget_rows = fail  # the fixture puts the real one back
    await node.blocks.start()
    node.block(user="1")
    await asyncio.sleep(POLL_S + 0.1)
    assert node.blocks.blocks("1", None)


@with_node
async def test_stop_ends_the_task_and_lets_waiting_handshakes_go(node):
    node.database.gate.clear()
    waiting = asyncio.create_task(node.blocks.start())
    await settle()
    await node.blocks.stop()
    await waiting
    await node.blocks.start()  # a handshake on a node that has stopped begins nothing


# -- ending ----------------------------------------------------------------------------------------


@with_node
async def test_new_block_closes_whom_it_is_about_and_nobody_else(node):
    blocked = [
        node.seat("1", address="198.51.100.1"),
        node.seat("1", address="198.51.100.2"),
        node.seat("2", address="192.0.2.7"),
        node.seat(None, address="2001:db8::5"),
        node.seat(None, address="203.0.113.9"),
    ]
    others = [node.seat("2"), node.seat(), node.seat(None, address=None), node.seat("11")]
    gone = node.seat("1", address="gone already")
    gone.closed = True  # closing it again fails
    await node.blocks.start()
    node.block(user="1")
    node.block(address="192.0.2.7")
    node.block(address="2001:db8::/64")
    node.block(address="203.0.112.0/20")
    node.blocks.reload()
    await settle()
    assert [each.closed for each in blocked] == [True] * len(blocked)
    assert [each.closed for each in others] == [False] * len(others)
    assert node.metrics.blocked == len(blocked)


@with_node
async def test_block_that_is_made_longer_ends_who_came_in_between(node):
    node.block(user="1", seconds=POLL_S / 2)
    await node.blocks.start()
    await asyncio.sleep(POLL_S)
    guest = node.seat("1")
    node.database.rows.clear()
    node.block(user="1", seconds=60)
    node.blocks.reload()
    await settle()
    assert guest.closed


@with_node
async def test_connections_are_not_looked_at_where_nothing_is_new(node):
    node.block(user="1")
    node.block(user="2")
    node.block(address="192.0.2.0/24")
    await node.blocks.start()
    unseen = node.seat("1")  # it got past the handshake, which never happens
    node.blocks.reload()
    await settle()
    node.database.rows.pop()  # less is nothing new either
    node.blocks.reload()
    await settle()
    assert not unseen.closed
    node.block(address="198.51.100.0/24")
    node.blocks.reload()
    await settle()
    assert unseen.closed


@with_node
async def test_loop_gets_its_turns_while_a_crowd_is_closed(node):
    crowd = [node.seat("1", address=f"guest {n}") for n in range(1_000)]
    await node.blocks.start()
    node.block(user="1")
    node.blocks.reload()
    seen = set()
    for _ in range(30):
        await asyncio.sleep(0)
        seen.add(sum(each.closed for each in crowd))
    assert seen >= {100, 500, 1_000}


def test_connection_that_cannot_be_closed_is_logged_and_the_others_end(monkeypatch, caplog):
    @with_node
    async def scenario(node):
        broken, guest = node.seat("1", address="a"), node.seat("1", address="b")
        monkeypatch.setattr(broken, "close", lambda code, reason: 1 / 0)
        await node.blocks.start()
        node.block(user="1")
        node.blocks.reload()
        await settle()
        assert guest.closed
        node.database.rows.clear()
        node.blocks.reload()
        await settle()
        assert node.blocks.empty

    scenario(monkeypatch)
    assert [record.message for record in caplog.records] == ["Connection 1@a was not closed"]


# -- rows ------------------------------------------------------------------------------------------


def row(seconds: float = 600.0, **fields) -> BlockRecord:
    until = timezone.now() + datetime.timedelta(seconds=seconds)
    return BlockRecord.objects.create(until=until, **fields)


@pytest.mark.django_db
def test_rows_in_force_are_read_newest_first_and_no_more_than_fit(monkeypatch):
    kept = [row(user_pk="1"), row(address="192.0.2.7")]
    row(-1, user_pk="2")
    expected = [("", "192.0.2.7", kept[1].until), ("1", "", kept[0].until)]
    assert blocks._read_rows() == expected
    monkeypatch.setattr(blocks, "MAX_BLOCKS", 1)
    assert blocks._read_rows() == expected[:1]


@pytest.mark.django_db
def test_rows_are_forgotten_long_after_they_are_over(django_assert_num_queries):
    kept = [row(user_pk="1"), row(-KEPT_FOR.total_seconds() + 60, user_pk="2")]
    with django_assert_num_queries(1):  # nothing to delete: no write
        blocks._forget_rows()
    row(-KEPT_FOR.total_seconds() - 60, user_pk="3")
    blocks._forget_rows()
    assert list(BlockRecord.objects.order_by("pk")) == kept


@pytest.mark.django_db
def test_block_of_a_user_is_written():
    before = timezone.now()
    made_one = add_block(
        user_pk=" 42 ", user_label="alice", seconds=60, reason="spam", created_by="staff"
    )
    record = BlockRecord.objects.get()
    assert record == made_one
    assert (record.user_pk, record.user_label, record.address) == ("42", "alice", "")
    assert (record.reason, record.created_by) == ("spam", "staff")
    minute = datetime.timedelta(seconds=60)
    assert before + minute <= record.until <= timezone.now() + minute


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("192.0.2.7", "192.0.2.7"),
        (" 192.0.2.7 ", "192.0.2.7"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("192.0.2.7/24", "192.0.2.0/24"),
        ("192.0.2.7/255.255.255.0", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("2001:db8::1/64", "2001:db8::/64"),
        ("::/8", "::/8"),
    ],
)
def test_address_is_written_as_it_is_compared(given, stored):
    add_block(address=given, seconds=60)
    assert BlockRecord.objects.get().address == stored


NO_TIME = "A block must last longer than 0 seconds and at most 100 years."


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "messages"),
    [
        ({}, ["Enter a user id or an address."]),
        ({"user_pk": " ", "address": " "}, ["Enter a user id or an address."]),
        (
            {"user_pk": "1", "address": "192.0.2.7"},
            ["Enter either a user id or an address. For both, add two blocks."],
        ),
        (
            {"address": "example.org"},
            [
                "'example.org' is neither an address nor a network;"
                " write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/64."
            ],
        ),
        (
            {"address": "fe80::1%eth0"},
            [
                "'fe80::1%eth0' is neither an address nor a network;"
                " write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/64."
            ],
        ),
        ({"address": "10.0.0.0/0"}, ["This network contains every address."]),
        ({"address": "::/0"}, ["This network contains every address."]),
        ({"address": "::ffff:0:0/96"}, ["This network contains every address."]),
        ({"user_pk": "1", "seconds": 0}, [NO_TIME]),
        ({"user_pk": "1", "seconds": -1}, [NO_TIME]),
        ({"user_pk": "1", "seconds": float("nan")}, [NO_TIME]),
        ({"user_pk": "1", "seconds": float("inf")}, [NO_TIME]),
        (
            {"user_pk": "1", "reason": "x" * 256},
            ["Ensure this value has at most 255 characters (it has 256)."],
        ),
    ],
)
def test_block_that_makes_no_sense_is_not_written(fields, messages):
    with pytest.raises(ValidationError) as raised:
        add_block(**{"seconds": 60, **fields})
    assert raised.value.messages == messages
    assert not BlockRecord.objects.exists()


# -- handshakes and connections --------------------------------------------------------------------


async def no_http(scope, receive, send):
    raise AssertionError("no HTTP here")


@pytest.fixture
async def application(transactional_db, settings):
    # The polls are asked for by message; one thread of the database's, as SQLite has it in memory.
    settings.CHANNELS_REALTIME = {
        "ALLOW_ANONYMOUS": True,
        "HOOK_THREADS": 0,
        "REVOCATION_POLL_INTERVAL": 1_000.0,
        "SWEEP_INTERVAL": 1_000.0,
        "CONNECTION_REGISTRY": False,
    }
    yield get_realtime_application(no_http)
    await current_node().stop()


@pytest.fixture
def denials():
    found: list[str] = []

    async def note(sender, signal, scope, reason):
        found.append(reason)

    signals.denied.connect(note, weak=False)
    yield found
    signals.denied.disconnect(note)


async def blocked(**fields) -> None:
    """Write a row and tell this loop's node, as ``operations.block`` does."""
    known = (await BlockRecord.objects.acount()) + 1
    await BlockRecord.objects.acreate(
        until=timezone.now() + datetime.timedelta(seconds=600), **fields
    )
    node = current_node()
    node.service(Blocks).reload()
    await until(lambda: len(node.service(Blocks)._rows) == known)


async def login(name: str) -> tuple[User, list[tuple[bytes, bytes]]]:
    user = await User.objects.acreate_user(name, password="password")
    client = AsyncClient()
    await client.aforce_login(user)
    return user, [(b"cookie", f"sessionid={client.cookies['sessionid'].value}".encode())]


CLOSING = {"type": "closing", "payload": {"code": 4403, "reason": "blocked", "reconnect": False}}
CLOSE = {"type": "websocket.close", "code": 4403, "reason": "blocked"}


async def turned_away(socket: AsgiSocket) -> None:
    """Accepted, told, closed."""
    assert socket.accepted is not None
    assert await socket.read() == CLOSING
    assert await socket.read() == CLOSE


async def refused(application, **scope) -> None:
    """Not accepted: 403, where the server can say so."""
    socket = AsgiSocket(application, extensions={"websocket.http.response": {}}, **scope)
    start = await socket.connect()
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 403)
    body = await socket.event()
    assert body["body"] == b"This address is blocked.\n"
    await socket.disconnect()


async def test_handshake_of_a_blocked_address_is_refused_before_it_is_accepted(
    application, denials
):
    async with AsgiSocket(application) as socket:
        await socket.expect("welcome")
        await blocked(address="192.0.2.0/24")
        await refused(application, client=("192.0.2.7", 50_000))
        await until(lambda: denials == ["blocked"])
        await socket.quiet()
        async with AsgiSocket(application, client=("192.0.3.1", 50_000)) as other:
            await other.expect("welcome")


async def test_first_handshake_of_a_process_from_a_blocked_address_is_closed(application):
    await BlockRecord.objects.acreate(
        until=timezone.now() + datetime.timedelta(seconds=600), address=HERE
    )
    async with AsgiSocket(application) as socket:
        await turned_away(socket)
    await refused(application)


async def test_block_read_between_the_handshake_and_its_connection_closes_it(application, denials):
    async with AsgiSocket(application) as socket:
        await socket.expect("welcome")
        late = AsgiSocket(application, client=("192.0.2.7", 50_000))
        late.gate = asyncio.Event()  # the server takes its time to accept
        connecting = asyncio.create_task(late.connect())
        await until(lambda: late.to_application.empty() and late.task is not None)
        await blocked(address="192.0.2.7")
        assert denials == []
        late.gate.set()
        assert (await connecting)["type"] == "websocket.accept"
        await turned_away(late)
        await until(lambda: denials == ["blocked"])
        await late.disconnect()


async def test_blocked_user_is_closed_wherever_it_comes_from(application, denials):
    user, headers = await login("alice")
    _, others = await login("bob")
    async with (
        AsgiSocket(application, headers=headers) as socket,
        AsgiSocket(application, headers=others) as bystander,
    ):
        await socket.expect("welcome")
        await bystander.expect("welcome")
        await blocked(user_pk=str(user.pk))
        await turned_away(socket)
        async with AsgiSocket(application, headers=headers) as again:
            await turned_away(again)
        await until(lambda: denials == ["blocked"])
        await bystander.quiet()


async def test_first_handshake_of_a_process_by_a_blocked_user_is_closed(application, denials):
    user, headers = await login("alice")
    await BlockRecord.objects.acreate(
        until=timezone.now() + datetime.timedelta(seconds=600), user_pk=str(user.pk)
    )
    async with AsgiSocket(application, headers=headers) as socket:
        await turned_away(socket)
    await until(lambda: denials == ["blocked"])


async def test_unblocked_user_comes_back(application):
    user, headers = await login("alice")
    async with AsgiSocket(application) as bystander:
        await bystander.expect("welcome")
        await blocked(user_pk=str(user.pk))
        async with AsgiSocket(application, headers=headers) as socket:
            await turned_away(socket)
        await BlockRecord.objects.all().adelete()
        current_node().service(Blocks).reload()
        await until(lambda: current_node().service(Blocks).empty)
        async with AsgiSocket(application, headers=headers) as socket:
            await socket.expect("welcome")


# -- other people's consumers ----------------------------------------------------------------------

KINDS = (AsyncWebsocketConsumer, WebsocketConsumer)


def never(self, *args):
    raise AssertionError("a blocked client got here")


@pytest.mark.parametrize("kind", KINDS)
async def test_blocked_address_never_reaches_a_consumer(application, kind):
    consumer = made(AuthenticationMixin, kind, connect=never, disconnect=never)
    await BlockRecord.objects.acreate(
        until=timezone.now() + datetime.timedelta(seconds=600), address=HERE
    )
    async with AsgiSocket(consumer) as socket:
        assert socket.accepted is not None
        assert await closing(socket) == 4403
    await refused(consumer)


@pytest.mark.parametrize("kind", KINDS)
async def test_blocked_user_never_reaches_a_consumer(application, kind):
    user, headers = await login("alice")
    consumer = made(AuthenticationMixin, kind, connect=never, disconnect=never)
    await BlockRecord.objects.acreate(
        until=timezone.now() + datetime.timedelta(seconds=600), user_pk=str(user.pk)
    )
    async with AsgiSocket(consumer, headers=headers) as socket:
        assert await closing(socket) == 4403


@pytest.mark.parametrize("kind", KINDS)
async def test_consumer_that_waits_for_no_layer_loses_its_blocked_client_too(application, kind):
    consumer = made(HeartbeatMixin, kind)
    await BlockRecord.objects.acreate(
        until=timezone.now() + datetime.timedelta(seconds=600), address=HERE
    )
    async with AsgiSocket(consumer) as socket:  # perhaps let in before the blocks were read
        assert await closing(socket) == 4403
    await refused(consumer)
