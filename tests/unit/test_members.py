"""Who is on a channel, from Python."""

from __future__ import annotations

import asyncio
import time

import pytest
from channels.layers import get_channel_layer
from django.contrib.auth.models import User
from django.test import TransactionTestCase

from channels_realtime import Members, apresence, namespace, presence, signals
from channels_realtime.errors import BadChannel, ImproperUse, UnknownChannel, Unsupported
from channels_realtime.nodes.stores import stores_of
from channels_realtime.protocol.messages import Member
from channels_realtime.runtime import loops
from channels_realtime.settings import get_config
from channels_realtime.stores.presence.base import Departure, Entry
from channels_realtime.testing import RealtimeClient


def store():
    return stores_of(get_channel_layer(), get_config()).presence


def ask(call):
    return loops.submit(call).result(20)


def put(stream, *members, lease=60.0):
    """Members of a node that does not run."""
    entries = [Entry(stream, str(n), Member(member, None)) for n, member in enumerate(members)]
    ask(store().enter("node of a test", entries, lease))
    return entries


@pytest.fixture
def room(request):
    return f"lounges/{request.node.name}"


def test_it_reads_in_a_process_without_a_node(room):
    assert presence(room) == Members(0, ())
    put(room, "user:1", "user:2")
    found = presence(room)
    assert (found.count, [member.id for member in found.members]) == (2, ["user:1", "user:2"])
    assert presence(room, limit=1) == Members(2, found.members[:1])
    assert presence(room, limit=0) == Members(2, ())


async def test_it_reads_on_an_event_loop(room):
    put(room, "user:1")
    assert (await apresence(room)).count == 1
    with pytest.raises(ImproperUse, match="apresence"):
        presence(room)


def test_it_is_of_the_running_namespace(room):
    put(f"acme|{room}", "user:1")
    assert presence(room).count == 0
    with namespace("acme"):
        assert presence(room).count == 1


def test_it_sweeps_where_no_node_does_and_sends_the_signals(room):
    heard = []

    def receiver(channel, member, **_):
        heard.append((channel, member.id))

    signals.member_left.connect(receiver)
    try:
        kept, gone = put(room, "user:1", "user:2")
        put(room, lease=60.0)
        ask(store().leave("node of a test", [Departure(gone.hold, 0.01)]))
        deadline = time.monotonic() + 20
        while presence(room).count == 2:
            assert time.monotonic() < deadline
        assert presence(room).members == (kept.member,)
        assert heard == [(room, "user:2")]
    finally:
        signals.member_left.disconnect(receiver)


@pytest.mark.parametrize(
    ("channel", "limit", "error"),
    [
        ("lounges/", None, UnknownChannel),
        ("a room", None, BadChannel),
        ("public/a", None, Unsupported),
        ("lounges/a", -1, ImproperUse),
        ("lounges/a", 10_001, ImproperUse),
        ("lounges/a", True, ImproperUse),
        ("lounges/a", "5", ImproperUse),
    ],
)
def test_what_is_wrong_raises(channel, limit, error):
    with pytest.raises(error):
        presence(channel, limit=limit)


class TestClient(TransactionTestCase):
    def test_members_come_and_go_in_a_sites_tests(self):
        ann, bob = (User.objects.create_user(name) for name in ("ann", "bob"))
        with RealtimeClient(ann) as first:
            found = first.subscribe("lounges/tests", presence=True)
            assert found["count"] == 1
            assert found["members"][0]["info"] == {"name": "ann"}
            with RealtimeClient(bob) as second:
                assert second.subscribe("lounges/tests", presence=True)["count"] == 2
                joined = first.receive()
                assert (joined["type"], joined["payload"]["count"]) == ("join", 2)
                assert joined["payload"]["member"]["info"] == {"name": "bob"}
                assert second.presence("lounges/tests")["count"] == 2


def test_a_loop_that_ends_leaves_nothing(room):
    async def read():
        return (await apresence(room)).count

    assert asyncio.run(read()) == 0
