"""The client and the fake connection for the tests of sites."""

from __future__ import annotations

import functools
import threading
from contextlib import suppress

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.db import transaction
from django.test import SimpleTestCase, TestCase, TransactionTestCase

from channels_realtime import Channel, action, publish, publish_to_user, recheck, register, revoke
from channels_realtime.channels import registry
from channels_realtime.errors import RealtimeError
from channels_realtime.nodes.node import serving_node
from channels_realtime.testing import Closed, FakeConnection, RealtimeClient, capture_publications


class GroupChannel(Channel):
    """Rights and methods that read the database, sync and async."""

    client_events = ("typing",)

    def can_subscribe(self, connection):
        return connection.user.groups.filter(pk=self.kwargs["pk"]).exists()

    async def can_publish(self, connection):
        return await connection.user.groups.filter(pk=self.kwargs["pk"]).aexists()

    @action
    def rename(self, connection, payload):
        Group.objects.filter(pk=self.kwargs["pk"]).update(name=payload)
        publish(self.name, {"name": payload})
        return {"threads": threading.current_thread() is threading.main_thread()}


@pytest.fixture(autouse=True)
def _routes(monkeypatch):
    monkeypatch.setattr(registry, "_routes", dict(registry._routes))
    monkeypatch.setattr(registry, "_candidates", functools.lru_cache(registry._match))
    register("groups/<int:pk>")(GroupChannel)


class Rollback(Exception):
    """Of the test."""


class Behaviour:
    """What holds in every kind of test case with a database."""

    def setUp(self):
        self.user = User.objects.create_user("alice")
        self.group = Group.objects.create(name="friends")
        self.name = f"groups/{self.group.pk}"

    def test_rows_of_the_test_are_seen_by_hooks(self):
        with RealtimeClient(self.user) as client:
            with pytest.raises(RealtimeError) as refused:
                client.subscribe(self.name)
            assert refused.value.code == "forbidden"
            self.user.groups.add(self.group)
            client.subscribe(self.name)
            assert client.publish(self.name, 1, event="typing") is not None
            assert client.receive()["payload"] == 1

    def test_publications_of_the_test_arrive_in_their_order(self):
        self.user.groups.add(self.group)
        with RealtimeClient(self.user) as client:
            client.subscribe(self.name)
            assert client.received() == []
            publish(self.name, 1, event="saved")
            assert [(m["payload"], m["event"]) for m in client.received()] == [(1, "saved")]
            with transaction.atomic():
                publish(self.name, 2)
                assert client.received() == []
            with suppress(Rollback), transaction.atomic():
                publish(self.name, "rolled back")
                raise Rollback
            publish_to_user(self.user, 3)
            assert [(m["channel"], m["payload"]) for m in client.received()] == [
                (self.name, 2),
                (f"users/{self.user.pk}", 3),
            ]
            assert client.received() == []

    def test_method_runs_in_the_tests_thread_and_what_it_writes_stays(self):
        self.user.groups.add(self.group)
        with RealtimeClient(self.user) as client:
            client.subscribe(self.name)
            assert client.call(self.name, "rename", "family") == {"threads": True}
            assert client.receive()["payload"] == {"name": "family"}
        self.group.refresh_from_db()
        assert self.group.name == "family"

    def test_login_session_of_djangos_client_connects(self):
        self.client.force_login(self.user)
        with RealtimeClient(cookies=self.client.cookies) as client:
            assert client.welcome["user"] == str(self.user.pk)

    def test_two_clients_share_a_site(self):
        self.user.groups.add(self.group)
        bob = User.objects.create_user("bob")
        with RealtimeClient(self.user) as alice, RealtimeClient(bob) as other:
            alice.subscribe(self.name)
            publish(self.name, 1)
            assert other.received() == []
            assert alice.receive()["payload"] == 1

    def test_capture_within_sees_what_the_client_then_does_not_get(self):
        self.user.groups.add(self.group)
        with RealtimeClient(self.user) as client:
            client.subscribe(self.name)
            with capture_publications() as published:
                publish(self.name, 1)
            assert [p.payload for p in published] == [1]
            assert client.received() == []


class InATestCase(Behaviour, TestCase):
    """Whose transaction never commits."""

    def test_revoked_user_is_closed_once_the_commit_is_played(self):
        with RealtimeClient(self.user) as client:
            with self.captureOnCommitCallbacks(execute=True):
                revoke(user=self.user)
            assert client.wait_closed() == 4401
            with pytest.raises(Closed, match=r"^the connection was closed with 4401 \("):
                client.subscribe(self.name)

    def test_right_that_was_taken_away_ends_the_subscription(self):
        self.user.groups.add(self.group)
        with RealtimeClient(self.user) as client:
            client.subscribe(self.name)
            self.user.groups.clear()
            with self.captureOnCommitCallbacks(execute=True):
                recheck(channel=self.name)
            assert client.receive()["type"] == "unsubscribed"


class InATransactionTestCase(Behaviour, TransactionTestCase):
    """Whose commits are real."""


class WithoutADatabase(SimpleTestCase):
    def test_visitor_is_served(self):
        with RealtimeClient() as client:
            client.subscribe("public/a")
            publish("public/a", 1)
            assert client.receive()["payload"] == 1

    def test_closed_handshake_raises_its_code(self):
        with (
            self.settings(CHANNELS_REALTIME={"FIRST_MESSAGE_AUTH": False}),
            pytest.raises(Closed) as closed,
            RealtimeClient(),
        ):
            raise AssertionError
        assert closed.value.code == 4401


def test_client_works_in_pytest_and_stops_its_node():
    threads = set(threading.enumerate())
    with RealtimeClient() as client:
        assert serving_node() is not None
        assert client.welcome["user"] is None
    assert serving_node() is None
    assert set(threading.enumerate()) <= threads  # others may have ended meanwhile


def test_client_that_gets_nothing_says_so():
    with RealtimeClient(timeout=30.0) as client:
        client._timeout = 0.05  # a busy machine may take longer to connect and to leave
        with pytest.raises(AssertionError, match=r"^nothing came within 0.05 seconds$"):
            client.receive()
        client._timeout = 30.0


def test_fake_connection_is_what_a_hook_gets():
    user = User(pk=7, username="alice")
    connection = FakeConnection(user, scope={"path": "/ws/"})
    assert (connection.user, connection.user_id) == (user, "7")
    assert connection.identity.user_id == "7"
    assert connection.scope["path"] == "/ws/"
    assert isinstance(FakeConnection().user, AnonymousUser)
    assert FakeConnection().identity.is_anonymous
