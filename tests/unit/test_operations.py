"""The admin's verbs: who is asked, and what becomes of it."""

from __future__ import annotations

import asyncio
import datetime
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import AnonymousUser
from django.db.models.functions import Now
from django.utils import timezone

from channels_realtime import operations, sending
from channels_realtime.access.revocation import Revocations
from channels_realtime.auth.base import Authenticated
from channels_realtime.channels import registry
from channels_realtime.endpoints.websocket import BARE_ENCODING
from channels_realtime.errors import BadPayload, ImproperUse, Unavailable, UnknownChannel
from channels_realtime.identity import Identity
from channels_realtime.models import BlockRecord, ConnectionRecord, NodeRecord, RevocationRecord
from channels_realtime.monitoring.load import LoadMonitor
from channels_realtime.nodes import requests
from channels_realtime.nodes.node import Node, place
from channels_realtime.nodes.outgoing import Outgoing
from channels_realtime.operations import BroadcastReport, Outcome, TracePart
from channels_realtime.protocol.dialects.bare import BareDialect
from channels_realtime.protocol.messages import Publication
from channels_realtime.runtime import loops
from channels_realtime.runtime.loops import BackgroundLoop
from tests.support.nodes import FakeClient, NodeHarness, Public, subscribe
from tests.support.scripted_layer import ScriptedLayer

pytestmark = pytest.mark.django_db

TIMEOUT_S = 10.0


class NodeElsewhere:
    """A node in another thread, as if in another process, and its rows in the database."""

    def __init__(self, background_loop: BackgroundLoop, layer: ScriptedLayer) -> None:
        self._background_loop = background_loop
        self.layer = layer
        self.harness: NodeHarness = self.run(self._build())
        self.node = self.harness.node
        self.row = register(self.node.id)

    async def _build(self) -> NodeHarness:
        harness = NodeHarness(layer=self.layer)
        await harness.node.broker.start()
        await harness.node.service(LoadMonitor).start()
        return harness

    def run(self, coroutine: Any) -> Any:
        return self._background_loop.submit(coroutine).result(TIMEOUT_S)

    def open(self, *channels: str, recorded: bool = True, **scope: Any) -> FakeClient:
        async def open_one() -> FakeClient:
            client = await self.harness.open(scope=scope or None)
            if channels:
                await client.ask(*(subscribe(channel) for channel in channels))
            return client

        client: FakeClient = self.run(open_one())
        if recorded:
            record(client.connection.id, self.node.id)
        return client

    def close(self) -> None:
        self.run(self.harness.__aexit__())


def register(node_id: str, seconds: float = 60.0) -> NodeRecord:
    return NodeRecord.objects.create(
        id=node_id,
        host="here",
        pid=NodeRecord.objects.count(),
        started_at=timezone.now(),
        lease_until=Now() + datetime.timedelta(seconds=seconds),
    )


def record(connection_id: str, node_id: str) -> str:
    ConnectionRecord.objects.create(
        connection_id=connection_id,
        node_id=node_id,
        transport="websocket",
        auth_method="anonymous",
        connected_at=timezone.now(),
        seen_at=timezone.now(),
    )
    return connection_id


@pytest.fixture
def start_node(monkeypatch) -> Iterator[Callable[[], NodeElsewhere]]:
    """Makes nodes on one layer, in a thread; this process serves no connections itself."""
    background_loop, layer, made = BackgroundLoop(), ScriptedLayer(), []
    for module in (sending, requests):
        monkeypatch.setattr(module, "configured_layer", lambda alias: layer)
    monkeypatch.setattr(loops, "background_loop", background_loop)
    monkeypatch.setattr(loops, "_serving", weakref.WeakSet())
    monkeypatch.setattr(requests, "_outside", requests._Outside())
    monkeypatch.setattr(operations, "WAIT_S", 1.0)

    def make() -> NodeElsewhere:
        made.append(NodeElsewhere(background_loop, layer))
        return made[-1]

    yield make
    for one in made:
        one.close()
    requests._outside.stop()
    background_loop.stop()


@pytest.fixture
def public_route() -> Iterator[None]:
    """This process knows the channels of the nodes."""
    registry.register("public/<str:x>", Public)
    yield
    registry.unregister("public/<str:x>")


def sent(node: NodeElsewhere, client: FakeClient) -> list[Any]:
    async def take() -> list[Any]:
        await asyncio.sleep(0)
        return client.take()

    found: list[Any] = node.run(take())
    return found


async def place_here(node: Node) -> None:
    """Make the node one of this process."""
    place(node)


def in_time(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + TIMEOUT_S
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


# -- one connection --------------------------------------------------------------------------------


def test_connection_is_asked_of_its_own_node(start_node):
    one, other = start_node(), start_node()
    client = one.open("public/a")
    operations.inspect(other.open().connection.id)  # from now on this process has its inbox
    other.layer.deaf_groups.add("realtime.nodes")
    found = operations.inspect(client.connection.id)
    assert found is not None
    assert found["id"] == client.connection.id
    assert [entry["channel"] for entry in found["subscriptions"]] == ["public/a"]


def test_connection_that_the_registry_does_not_know_is_asked_of_all(start_node):
    nodes = [start_node() for _ in range(3)]
    client = nodes[2].open(recorded=False)
    found = operations.inspect(client.connection.id)
    assert found is not None
    assert found["id"] == client.connection.id


@pytest.mark.parametrize("recorded", [True, False])
def test_connection_that_is_gone_is_none(start_node, recorded):
    here = start_node()
    if recorded:
        record("gone", here.node.id)
    assert operations.inspect("gone") is None


def test_connection_of_a_node_whose_lease_is_over_is_gone(start_node):
    start_node()
    register("dead", seconds=-1)
    record("lost", "dead")
    assert operations.inspect("lost") is None


def test_connection_is_gone_where_there_are_no_nodes(start_node):
    assert operations.inspect("lost") is None


def test_node_that_does_not_answer_is_said_not_to(start_node):
    start_node()
    register("silent")
    record("theirs", "silent")
    with pytest.raises(Unavailable, match=r"^the connection's server does not answer$"):
        operations.inspect("theirs")


def test_layer_that_is_away_is_said_to_be(start_node):
    here = start_node()
    client = here.open()
    operations.inspect(client.connection.id)
    here.layer.fail("group_send", *[OSError("away")] * 100)
    with pytest.raises(Unavailable):
        operations.inspect(client.connection.id)
    here.layer.failing.clear()


# -- many ------------------------------------------------------------------------------------------


def test_disconnect_says_what_became_of_each(start_node):
    one, two = start_node(), start_node()
    clients = [one.open(), two.open(), two.open(recorded=False)]
    register("silent")
    register("dead", seconds=-1)
    ids = [client.connection.id for client in clients]
    theirs, lost, gone = (
        record("theirs", "silent"),
        record("lost", "dead"),
        record("gone", one.node.id),
    )
    found = operations.disconnect([*ids[:2], theirs, lost, gone, ids[0]])
    assert found == Outcome(done=tuple(ids[:2]), gone=("lost", "gone"), silent=("theirs",))
    assert sent(one, clients[0]) == [
        {
            "type": "closing",
            "payload": {
                "code": 4403,
                "reason": "disconnected by an administrator",
                "reconnect": False,
            },
        },
        {
            "type": "websocket.close",
            "code": 4403,
            "reason": "disconnected by an administrator",
        },
    ]
    assert sent(two, clients[2]) == []
    found = operations.disconnect([ids[2], "unheard-of"])
    # Whoever has neither been heard of may be the silent node's.
    assert found == Outcome(done=(ids[2],), silent=("unheard-of",))


@pytest.mark.parametrize(("given", "told"), [(None, 5.0), (0.0, 0.0), (12.5, 12.5)])
def test_connection_that_may_return_is_told_when(start_node, given, told):
    here = start_node()
    client = here.open()
    found = operations.disconnect([client.connection.id], may_return=True, retry_after=given)
    assert found.done == (client.connection.id,)
    closing, close = sent(here, client)
    assert closing["payload"] == {
        "code": 4503,
        "reason": "disconnected by an administrator",
        "reconnect": True,
        "retry_after": told,
    }
    assert close["code"] == 4503


def test_silent_node_does_not_hold_the_others_up(start_node):
    here = start_node()
    client = here.open()
    for number in range(5):
        register(f"silent{number}")
    theirs = [record(f"theirs{number}", f"silent{number}") for number in range(5)]
    start = time.monotonic()
    closed_at = []

    def note() -> None:
        in_time(lambda: client.connection.closed)
        closed_at.append(time.monotonic() - start)

    thread = threading.Thread(target=note)
    thread.start()
    found = operations.disconnect([*theirs, client.connection.id])
    thread.join(TIMEOUT_S)
    assert (found.done, found.silent) == ((client.connection.id,), tuple(theirs))
    ended_at = time.monotonic() - start
    # The silent ones are waited for together, for a second; the other was closed long before.
    assert closed_at[0] < ended_at - 0.5
    assert ended_at < 2.5


def test_many_are_asked_in_batches(start_node, monkeypatch):
    monkeypatch.setattr(operations, "BATCH", 2)
    here = start_node()
    ids = [here.open().connection.id for _ in range(5)]
    assert operations.disconnect(iter(ids)) == Outcome(done=tuple(ids))


def test_no_node_is_asked_about_no_connections(start_node):
    start_node()
    assert operations.disconnect([]) == Outcome()


def test_notice_is_sent_in_json_types(start_node):
    here = start_node()
    client = here.open()
    payload = {"until": datetime.date(2026, 1, 2), "text": "<b>\u202e"}
    found = operations.send_notice([client.connection.id, "gone"], payload)
    assert found == Outcome(done=(client.connection.id,), gone=("gone",))
    assert sent(here, client) == [
        {
            "type": "message",
            "event": "notice",
            "payload": {"until": "2026-01-02", "text": "<b>\u202e"},
        }
    ]
    with pytest.raises(BadPayload):
        operations.send_notice([client.connection.id], object())


def test_notice_to_many_is_counted_over_all_nodes_and_names_the_silent(start_node):
    here, there = start_node(), start_node()
    clients = [here.open("public/a"), there.open("public/a"), there.open()]
    silent = register("silent")
    found = operations.broadcast_notice({"text": "hello"}, channel="public/a")
    assert found == BroadcastReport(sent=2, silent=(silent.pk,))
    silent.delete()
    assert operations.broadcast_notice({"text": "hello"}) == BroadcastReport(sent=3)
    got = [
        len(sent(node, client)) for node, client in zip((here, there, there), clients, strict=True)
    ]
    assert got == [2, 2, 1]
    with pytest.raises(BadPayload):
        operations.broadcast_notice(object())


def test_unsubscribe_counts_who_was_not_subscribed_as_gone(start_node):
    here = start_node()
    on_it, not_on_it = here.open("public/a"), here.open("public/b")
    ids = [on_it.connection.id, not_on_it.connection.id]
    assert operations.unsubscribe(ids, "public/a") == Outcome(done=(ids[0],), gone=(ids[1],))
    (message,) = sent(here, on_it)
    assert (message["type"], message["channel"]) == ("unsubscribed", "public/a")


def test_connections_are_put_on_a_channel_in_every_process(start_node, public_route):
    nodes = [start_node(), start_node()]
    clients = [node.open() for node in nodes]
    ids = [client.connection.id for client in clients]
    assert operations.subscribe([*ids, "gone"], "public/a") == Outcome(
        done=tuple(ids), gone=("gone",)
    )
    for node, client in zip(nodes, clients, strict=True):
        assert sent(node, client) == [
            {"type": "subscribed", "channel": "public/a", "payload": {}, "automatic": True}
        ]
    assert operations.subscribe(ids[0], "public/a").done == (ids[0],)
    assert sent(nodes[0], clients[0]) == []
    assert operations.unsubscribe(ids[0], "public/a", reason="you have left").done == (ids[0],)
    assert sent(nodes[0], clients[0]) == [
        {
            "type": "unsubscribed",
            "channel": "public/a",
            "payload": {"code": "forbidden", "reason": "you have left"},
        }
    ]


def test_user_is_put_on_a_channel_with_all_connections(start_node, public_route):
    nodes = [start_node(), start_node()]
    theirs = [node.open() for node in nodes]
    nodes[0].open()
    for node, client in zip(nodes, theirs, strict=True):
        node.run(sign_in(client, "5"))
        sent(node, client)
    register("silent")
    found = operations.subscribe(5, "public/a")
    assert set(found.done) == {client.connection.id for client in theirs}
    assert (found.gone, found.silent_nodes) == ((), ("silent",))
    assert [m["automatic"] for m in sent(nodes[1], theirs[1])] == [True]
    assert len(operations.unsubscribe(5, "public/a").done) == 2


async def sign_in(client: FakeClient, user_id: str) -> None:
    identity = Identity(user_id=user_id, method="session")
    found = Authenticated(identity=identity, user=AnonymousUser())
    assert client.connection.authenticated(found, client.node.clock.time())
    await client.connection.join_own_channel()


def test_subscribing_to_no_channel_is_refused_in_the_caller():
    with pytest.raises(UnknownChannel):
        operations.subscribe(["a"], "nothing/here")
    with pytest.raises(ImproperUse, match=r"operations\.subscribe: got 1\.5; expected a user"):
        operations.subscribe(1.5, "users/1")


async def test_connection_is_put_on_a_channel_from_async_code(monkeypatch):
    acted: list[Any] = []
    monkeypatch.setattr(operations, "_act_on", lambda *args: acted.append(args) or Outcome())
    assert await operations.asubscribe("a", "users/1", parameters={"x": 1}) == Outcome()
    assert await operations.aunsubscribe("a", "users/1", reason="why") == Outcome()
    assert acted == [
        ("a", "subscribe", {"channel": "users/1", "parameters": {"x": 1}}),
        ("a", "unsubscribe", {"channel": "users/1", "reason": "why"}),
    ]


def test_credentials_are_asked_for_where_they_are_a_token(start_node):
    here = start_node()
    token, session = here.open(), here.open()
    token.connection.identity = Identity(user_id="1", method="jwt", expires_at=time.time() + 3_600)
    ids = [token.connection.id, session.connection.id]
    found = operations.ask_for_credentials(ids, within=20.0)
    assert found == Outcome(done=(ids[0],), gone=(ids[1],))
    (message,) = sent(here, token)
    assert message["type"] == "auth_expiring"


def test_thread_of_a_serving_process_acts_on_its_own_connections(start_node, monkeypatch):
    here = start_node()
    client = here.open()
    here.run(place_here(here.node))
    assert operations.disconnect([client.connection.id]).done == (client.connection.id,)
    assert client.connection.closed


# -- users and addresses ---------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_revoked_user_has_a_row_and_is_off(start_node):
    here = start_node()
    client, other = here.open(), here.open()

    async def sign_in() -> None:
        for one, user in ((client, "7"), (other, "8")):
            here.node.service(Revocations).dismiss(one.connection)
            one.connection.identity = Identity(user_id=user, method="session", proven_at=1.0)
            here.node.service(Revocations).admit(one.connection)

    here.run(sign_in())
    operations.revoke_user("7")
    in_time(lambda: client.connection.closed)
    assert sent(here, client)[-1]["code"] == 4401
    assert not other.connection.closed
    assert RevocationRecord.objects.filter(key="user:7").exists()


def test_block_is_a_row_that_ends_with_its_time(
    start_node, monkeypatch, django_capture_on_commit_callbacks
):
    start_node()
    told = []

    def notify(kind, arguments, *, wait):
        told.append((kind, arguments))

    monkeypatch.setattr(operations, "notify", notify)
    with django_capture_on_commit_callbacks(execute=True):
        made = operations.block(
            user_pk="7", user_label="alice", seconds=60, reason="spam", created_by="bob"
        )
        assert told == []
    assert told == [("blocks", {})]
    found = BlockRecord.objects.get(pk=made.pk)
    assert (found.user_pk, found.user_label, found.reason) == ("7", "alice", "spam")
    assert found.created_by == "bob"
    assert 55 < (found.until - timezone.now()).total_seconds() <= 60
    with django_capture_on_commit_callbacks(execute=True):
        assert operations.unblock([made.pk]) == 1
        assert operations.unblock([made.pk]) == 0
    assert BlockRecord.objects.get(pk=made.pk).until <= timezone.now()
    assert told == [("blocks", {})] * 3


# -- channels and nodes ----------------------------------------------------------------------------


def test_live_channels_are_summed_over_the_nodes(start_node):
    one, two = start_node(), start_node()
    one.open("public/a", "public/b")
    one.open("public/a")
    two.open("public/a", "public/Other")
    for _ in range(10):
        two.run(two.node.publish(Outgoing(publication=Publication("public/a", 1))))
    in_time(lambda: one.node.metrics.received == two.node.metrics.received == 10)
    register("silent")
    report = operations.live_channels()
    assert [(entry.name, entry.subscribers) for entry in report.channels] == [
        ("public/a", 3),
        ("public/Other", 1),
        ("public/b", 1),
    ]
    assert report.channels[0].by_node == {one.node.id: 2, two.node.id: 1}
    assert report.channels[0].rate == pytest.approx(1.0, abs=0.2)
    assert (report.total, report.silent) == (3, ("silent",))
    report = operations.live_channels(search="OTHER")
    assert [entry.name for entry in report.channels] == ["public/Other"]
    report = operations.live_channels(limit=1)
    assert [entry.name for entry in report.channels] == ["public/a"]
    assert report.total >= 2


def test_nodes_say_how_they_are_and_dead_ones_are_none(start_node):
    here = start_node()
    here.open("public/a")
    register("silent")
    register("dead", seconds=-1)
    found = {report.record.pk: report.answer for report in operations.nodes()}
    assert set(found) == {here.node.id, "silent"}
    assert found["silent"] is None
    answer = found[here.node.id]
    assert answer is not None
    assert (answer["connections"], answer["channels"], answer["draining"]) == (1, 1, False)


def test_node_is_drained_and_others_are_not(start_node):
    one, other = start_node(), start_node()
    assert operations.drain(one.node.id) is True
    in_time(lambda: one.node.drain.begun)
    assert not other.node.drain.begun
    assert operations.drain(one.node.id) is True  # it still does


def test_all_nodes_are_drained(start_node):
    elsewhere = [start_node(), start_node()]
    assert operations.drain_all() is True
    in_time(lambda: all(one.node.drain.begun for one in elsewhere))


def test_nodes_are_not_said_to_drain_where_the_layer_is_away(start_node):
    here = start_node()
    here.layer.fail("group_send", OSError("away"))
    assert operations.drain_all() is False
    assert not here.node.drain.begun


def test_node_that_does_not_answer_is_not_said_to_drain(start_node, monkeypatch):
    monkeypatch.setattr(operations, "WAIT_S", 0.1)
    start_node()
    assert operations.drain("unknown") is False


def test_test_message_is_published_whatever_transaction_is_open(start_node, monkeypatch):
    here = start_node()
    client = here.open("public/a")
    operations.publish_test("public/a", {"n": 1}, event="test")  # this test is a transaction

    async def came() -> list[Any]:
        async with asyncio.timeout(TIMEOUT_S):
            while not client.events:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return client.take()

    assert here.run(came()) == [
        {"type": "message", "channel": "public/a", "payload": {"n": 1}, "event": "test"}
    ]
    with pytest.raises(UnknownChannel):
        operations.publish_test("nowhere", 1)


def test_trace_is_read_until_it_is_stopped(start_node):
    here = start_node()
    client = here.open()
    connection_id = client.connection.id
    begun = operations.read_trace(connection_id, viewer="v")
    assert begun == TracePart(events=[], next=0, lost=0)
    here.run(client.ask({"type": "ping", "id": 1}))
    found = operations.read_trace(connection_id, viewer="v", after=begun.next)
    assert found is not None
    assert [(event["direction"], event["type"]) for event in found.events] == [
        ("in", "ping"),
        ("out", "pong"),
    ]
    assert (found.next, found.lost) == (2, 0)
    assert operations.inspect(connection_id)["traced"] is True
    operations.stop_trace(connection_id, viewer="v")
    assert operations.inspect(connection_id)["traced"] is False


def test_connection_that_is_gone_has_no_trace(start_node):
    here = start_node()
    record("gone", here.node.id)
    assert operations.read_trace("gone", viewer="v") is None
    operations.stop_trace("gone", viewer="v")


def test_outcome_is_what_msgpack_and_logs_can_hold():
    assert msgspec.to_builtins(Outcome(done=("a",))) == {
        "done": ("a",),
        "gone": (),
        "silent": (),
        "impossible": (),
        "silent_nodes": (),
    }


def test_notice_is_not_possible_where_the_client_speaks_nothing_of_the_kind(start_node):
    here = start_node()
    client, own = here.open(), here.open()
    own.connection._dialect = BareDialect(BARE_ENCODING, "public/a", here.node.config.limits)
    ids = [client.connection.id, own.connection.id, "gone"]
    found = operations.send_notice(ids, "hello")
    assert found == Outcome(done=(ids[0],), impossible=(ids[1],), gone=("gone",))
