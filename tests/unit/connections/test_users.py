"""How old the user is that decides on a subscription, and what reading it again costs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

from channels_realtime import Channel
from channels_realtime.access.revocation import Revocations
from channels_realtime.auth.base import Authenticated
from channels_realtime.connections import user_reader
from channels_realtime.connections.user_reader import USER_MAX_AGE_S
from channels_realtime.identity import Identity
from tests.support.database import InlineDatabase, no_loop
from tests.support.nodes import FakeClient, NodeHarness, subscribe
from tests.support.virtual_time import in_virtual_time, settle
from tests.unit.auth.credentials import make_session, make_user

pytestmark = pytest.mark.django_db

User = get_user_model()


class Adders(Channel):
    """For those who may add groups."""

    asked = 0

    async def can_subscribe(self, connection):
        type(self).asked += 1
        with no_loop():
            return connection.user.has_perm("auth.add_group")


class Watched(Adders):
    recheck_interval = 60.0


class Harness(NodeHarness):
    """A node that reads users in the test's transaction, and counts."""

    def __init__(self, **config: Any) -> None:
        super().__init__(heartbeat_interval=600.0, **config)
        self.node.routes.register("adders/<str:x>", Adders)
        self.node.routes.register("watched/<str:x>", Watched)
        self.reader = InlineDatabase()
        self.node.authentication = self.reader  # type: ignore[assignment]
        Adders.asked = Watched.asked = 0

    async def of(self, user: Any, **identity: Any) -> FakeClient:
        """A client of a user, who was read now."""
        client = await self.open()
        with no_loop():
            user = User.objects.get(pk=user.pk)
        values = {"method": "jwt", "keys": frozenset({f"token:{user.pk}"})} | identity
        proof = Authenticated(identity=Identity(user_id=str(user.pk), **values), user=user)
        assert client.connection.authenticated(proof, self.node.clock.time())
        return client

    def recheck(self, channel: str) -> None:
        self.node.service(Revocations).recheck(channel, None)


def grant(user: Any) -> None:
    with no_loop():
        user.user_permissions.add(Permission.objects.get(codename="add_group"))


def withdraw(user: Any) -> None:
    with no_loop():
        user.user_permissions.clear()


def granted() -> Any:
    user = make_user()
    user.user_permissions.add(Permission.objects.get(codename="add_group"))
    return user


def kinds(messages: list) -> list[str]:
    return [message["type"] for message in messages]


def test_right_that_was_given_is_seen_by_a_subscribe_some_seconds_later():
    alice = make_user()

    @in_virtual_time
    async def scenario():
        async with Harness() as harness:
            client = await harness.of(alice)
            assert kinds(await client.ask(subscribe("adders/1"))) == ["error"]
            grant(alice)
            await asyncio.sleep(USER_MAX_AGE_S + 0.1)
            assert kinds(await client.ask(subscribe("adders/1"))) == ["subscribed"]

    scenario()


def test_right_that_was_taken_away_ends_by_a_recheck_of_the_channel_at_once():
    alice = granted()

    @in_virtual_time
    async def scenario():
        async with Harness() as harness:
            client = await harness.of(alice)
            assert kinds(await client.ask(subscribe("adders/1"))) == ["subscribed"]
            withdraw(alice)
            harness.recheck("adders/1")
            await settle()
            assert kinds(client.take()) == ["unsubscribed"]

    scenario()


def test_right_that_was_taken_away_ends_at_the_channels_own_interval():
    alice = granted()

    @in_virtual_time
    async def scenario():
        async with Harness() as harness:
            client = await harness.of(alice)
            assert kinds(await client.ask(subscribe("watched/1"))) == ["subscribed"]
            withdraw(alice)
            await asyncio.sleep(60.1)
            assert "unsubscribed" in kinds(client.take())

    scenario()


def test_subscribes_of_some_seconds_read_the_user_once():
    alice = granted()

    @in_virtual_time
    async def scenario():
        async with Harness() as harness:
            client = await harness.of(alice)
            await client.ask(*(subscribe(f"adders/{n}", id=n) for n in range(20)))
            assert harness.reader.tried == 0  # it was read when the client authenticated
            await asyncio.sleep(USER_MAX_AGE_S + 0.1)
            await client.ask(*(subscribe(f"adders/{n}", id=n) for n in range(20, 40)))
            await asyncio.sleep(USER_MAX_AGE_S - 1.0)
            await client.ask(*(subscribe(f"adders/{n}", id=n) for n in range(40, 60)))
            assert harness.reader.calls == {"read_users": 1}
            assert Adders.asked == 60

    scenario()


def test_recheck_of_many_connections_is_one_query_for_each_batch(monkeypatch):
    monkeypatch.setattr(user_reader, "BATCH", 20)
    users = [make_user(f"u{number}", is_superuser=True) for number in range(50)]

    @in_virtual_time
    async def scenario():
        async with Harness() as harness:
            clients = [await harness.of(user) for user in users]
            for client in clients:
                assert kinds(await client.ask(subscribe("adders/1"))) == ["subscribed"]
            with no_loop():
                User.objects.filter(username__in=["u7", "u42"]).update(is_superuser=False)
            harness.recheck("adders/1")
            for _ in range(20):
                await settle()
            assert harness.reader.calls == {"read_users": 3}
            ended = [n for n, client in enumerate(clients) if client.take()]
            assert ended == [7, 42]

    scenario()


def test_intervals_that_end_together_read_the_user_once():
    alice = granted()

    @in_virtual_time
    async def scenario():
        async with Harness() as harness:
            client = await harness.of(alice)
            await client.ask(*(subscribe(f"watched/{n}", id=n) for n in range(20)))
            await asyncio.sleep(60.1)
            assert Watched.asked == 40
            assert harness.reader.calls == {"read_users": 1}

    scenario()


def test_channels_without_hooks_read_no_user():
    alice = make_user()

    @in_virtual_time
    async def scenario():
        async with Harness() as harness:
            client = await harness.of(alice)
            await asyncio.sleep(USER_MAX_AGE_S + 0.1)
            assert kinds(await client.ask(subscribe("public/1"))) == ["subscribed"]
            harness.recheck("public/1")
            await settle()
            assert harness.reader.tried == 0

    scenario()


def test_user_who_cannot_be_read_is_refused_a_subscribe_and_loses_nothing(caplog):
    alice = granted()

    @in_virtual_time
    async def scenario():
        async with Harness() as harness:
            client = await harness.of(alice)
            assert kinds(await client.ask(subscribe("adders/1"))) == ["subscribed"]
            await asyncio.sleep(USER_MAX_AGE_S + 0.1)
            harness.reader.down = True
            (refused,) = await client.ask(subscribe("adders/2"))
            assert refused["payload"]["code"] == "unavailable"
            assert refused["payload"]["reason"] == "the user could not be read"
            harness.recheck("adders/1")
            await settle()
            assert client.take() == []
            assert "Cannot read users again: OperationalError" in caplog.text

    scenario()


@pytest.mark.parametrize("change", [{"is_active": False}, {"password": "another"}])
def test_user_whose_credentials_are_over_is_found_by_a_subscribe(change):
    alice = granted()

    @in_virtual_time
    async def scenario():
        async with Harness() as harness:
            client = await harness.of(alice)
            await asyncio.sleep(USER_MAX_AGE_S + 0.1)
            with no_loop():
                User.objects.update(**change)
            await client.ask(subscribe("adders/1"))
            await settle()
            assert client.connection.close_code == 4401
            assert harness.reader.calls == {"read_users": 1, "read_user": 1}

    scenario()


class OwnBackend:
    """Reads users in a way of its own."""

    def authenticate(self, request: Any, **credentials: Any) -> None:
        return None

    def get_user(self, pk: Any) -> Any:
        user = User.objects.get(pk=pk)
        user.tenant = "acme"
        return user


def test_user_of_a_backend_that_reads_users_its_own_way_is_read_its_way(settings):
    path = f"{__name__}.OwnBackend"
    settings.AUTHENTICATION_BACKENDS = [path]
    alice = granted()
    session = make_session(alice)
    session["_auth_user_backend"] = path
    session.save()

    @in_virtual_time
    async def scenario():
        async with Harness() as harness:
            client = await harness.of(alice, method="session", keys=frozenset())
            client.connection._session_key = session.session_key
            await asyncio.sleep(USER_MAX_AGE_S + 0.1)
            await client.ask(subscribe("adders/1"))
            assert harness.reader.calls == {"read_login_session": 1}
            assert client.connection.user.tenant == "acme"

    scenario()
