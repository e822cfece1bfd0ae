"""What no signal told: sessions and users that were changed behind Django's back."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.models import Session
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from channels_realtime.auth import sweep
from channels_realtime.auth.sweep import CredentialSweep, find_changed
from channels_realtime.models import RevocationRecord
from channels_realtime.services import current_node
from tests.support.asgi_socket import AsgiSocket
from tests.unit.auth.credentials import (
    NOBODY,
    cookie,
    in_thread,
    make_session,
    make_token,
    make_user,
    outcome,
)


@dataclasses.dataclass(eq=False)
class Known:
    """What the sweep asks of a connection."""

    user: Any
    session_key: str | None = None

    @property
    def user_id(self) -> str | None:
        return None if self.user.pk is None else str(self.user.pk)


@pytest.fixture
def queries():
    from django.db import connection

    return CaptureQueriesContext(connection)


@pytest.fixture
def alice(db):
    return make_user()


def fresh(user):
    return get_user_model().objects.get(pk=user.pk)


# -- sessions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["db", "cached_db", "cache", "file", "signed_cookies"])
def test_session_that_is_alive_is_left_alone(alice, settings, tmp_path, engine):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    assert find_changed([Known(fresh(alice), make_session(alice).session_key)]) == []


@pytest.mark.parametrize("how", ["deleted by SQL", "expired"])
def test_session_that_is_gone_is_found(alice, how):
    gone = Known(fresh(alice), make_session(alice).session_key)
    there = Known(fresh(alice), make_session(alice).session_key)
    rows = Session.objects.filter(pk=gone.session_key)
    if how == "expired":
        rows.update(expire_date=timezone.now())
    else:
        rows._raw_delete("default")
    assert find_changed([gone, there]) == [gone]


@pytest.mark.parametrize("engine", ["cache", "file"])
def test_session_that_is_gone_from_another_store_is_found(alice, settings, tmp_path, engine):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    session = make_session(alice)
    known = Known(fresh(alice), session.session_key)
    session.delete()
    assert find_changed([known]) == [known]


def test_every_connection_of_a_session_is_found(alice):
    session = make_session(alice)
    tabs = [Known(fresh(alice), session.session_key) for _ in range(3)]
    Session.objects.all()._raw_delete("default")
    assert find_changed(tabs) == tabs


# -- users -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"is_active": False}, {"password": "x"}, {"is_staff": True}, {"is_superuser": True}],
    ids=lambda change: next(iter(change)),
)
def test_user_who_was_changed_by_sql_is_found(alice, change):
    bob = make_user("bob")
    connections = [Known(fresh(alice)), Known(fresh(bob)), Known(fresh(alice))]
    get_user_model().objects.filter(pk=alice.pk).update(**change)
    assert find_changed(connections) == [connections[0], connections[2]]


@pytest.mark.parametrize("change", [{"first_name": "A"}, {"last_login": timezone.now()}])
def test_other_changes_of_a_user_are_none_of_its_business(alice, change):
    known = Known(fresh(alice))
    get_user_model().objects.filter(pk=alice.pk).update(**change)
    assert find_changed([known]) == []


def test_user_who_was_deleted_by_sql_is_found(alice):
    known = Known(fresh(alice))
    get_user_model().objects.filter(pk=alice.pk)._raw_delete("default")
    assert find_changed([known]) == [known]


def test_anonymous_and_users_without_a_row_are_left_alone(db):
    from rest_framework_simplejwt.models import TokenUser

    assert find_changed([Known(AnonymousUser()), Known(TokenUser({"user_id": NOBODY}))]) == []


def test_lazy_user_is_looked_at_like_any_other(alice):
    from django.utils.functional import SimpleLazyObject

    known = Known(SimpleLazyObject(lambda: fresh(alice)))
    assert find_changed([known]) == []
    get_user_model().objects.update(is_staff=True)
    assert find_changed([known]) == [known]


# -- what it costs ---------------------------------------------------------------------------------


def test_queries_do_not_depend_on_the_number_of_connections(alice, queries):
    session = make_session(alice)
    bob = make_user("bob")
    other = make_session(bob)
    connections = [Known(fresh(alice), session.session_key) for _ in range(50)]
    connections += [Known(fresh(bob), other.session_key) for _ in range(50)]
    with queries:
        assert find_changed(connections) == []
    assert len(queries) == 3  # expired revocations, sessions, users


def test_batches_are_bounded(alice, monkeypatch, queries):
    monkeypatch.setattr(sweep, "BATCH", 2)
    sessions = [make_session(alice) for _ in range(5)]
    connections = [Known(fresh(alice), session.session_key) for session in sessions]
    Session.objects.filter(pk=sessions[4].session_key)._raw_delete("default")
    with queries:
        assert find_changed(connections) == [connections[4]]
    assert len(queries) == 1 + 3 + 1


def test_revocations_that_have_expired_are_forgotten(db):
    now = timezone.now()
    for key, seconds in (("old", -1), ("new", 60)):
        RevocationRecord.objects.create(
            key=key,
            not_before=0,
            created_at=now,
            expires_at=now + timezone.timedelta(seconds=seconds),
        )
    find_changed([])
    assert [record.key for record in RevocationRecord.objects.all()] == ["new"]


# -- what becomes of the connections ---------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
class TestConnections:
    def sql(self, model, change):
        """A change that sends no signal."""
        rows = model.objects.all()
        if change is None:
            rows._raw_delete("default")
        else:
            rows.update(**change)

    @contextlib.asynccontextmanager
    async def connected(self, application, **scope):
        async with AsgiSocket(application, **scope) as socket:
            await socket.expect("welcome")
            yield socket, current_node()

    async def by_session(self):
        session = await in_thread(lambda: make_session(make_user()))()
        return {"headers": [cookie(session.session_key)]}

    async def by_token(self):
        user = await in_thread(make_user)()
        return {"headers": [(b"authorization", f"Bearer {make_token(user.pk)}".encode())]}

    async def test_session_deleted_by_sql(self, application):
        async with self.connected(application, **await self.by_session()) as (socket, node):
            await node.service(CredentialSweep).sweep()
            await socket.quiet()
            await in_thread(self.sql)(Session, None)
            await node.service(CredentialSweep).sweep()
            assert await outcome(socket) == "4401 the credentials are no longer valid"

    @pytest.mark.parametrize("change", [{"is_active": False}, None], ids=["inactive", "deleted"])
    @pytest.mark.parametrize("way", ["session", "token"])
    async def test_user_deactivated_or_deleted_by_sql(self, application, way, change):
        scope = await (self.by_session() if way == "session" else self.by_token())
        async with self.connected(application, **scope) as (socket, node):
            await in_thread(self.sql)(get_user_model(), change)
            await node.service(CredentialSweep).sweep()
            assert await outcome(socket) == "4401 the credentials are no longer valid"

    @pytest.mark.parametrize("way", ["session", "token"])
    async def test_password_changed_by_sql_ends_what_is_of_before(self, application, way):
        scope = await (self.by_session() if way == "session" else self.by_token())
        async with self.connected(application, **scope) as (socket, node):
            await node.service(CredentialSweep).sweep()
            await socket.quiet()
            await in_thread(self.sql)(get_user_model(), {"password": "another"})
            await node.service(CredentialSweep).sweep()
            assert await outcome(socket) == "4401 the credentials are no longer valid"

    async def test_rights_taken_by_sql_are_asked_for_again(self, application):
        scope = await self.by_token()
        await in_thread(self.sql)(get_user_model(), {"is_staff": True})
        async with self.connected(application, **scope) as (socket, node):
            message = {"type": "publish", "channel": "members/1", "payload": 1, "id": 1}
            assert (await socket.ask(message))["type"] == "published"
            await in_thread(self.sql)(get_user_model(), {"is_staff": False})
            await node.service(CredentialSweep).sweep()
            (connection,) = node.connections.values()
            while connection.user.is_staff:
                await socket.quiet()
            assert (await socket.ask(message))["payload"]["code"] == "forbidden"

    async def test_token_that_carries_all_is_left_alone(self, application, realtime):
        realtime(STATELESS_TOKENS=True)
        token = make_token(NOBODY)
        headers = [(b"authorization", f"Bearer {token}".encode())]
        async with self.connected(application, headers=headers) as (socket, node):
            await node.service(CredentialSweep).sweep()
            (connection,) = node.connections.values()
            await connection.reread()
            await socket.quiet()

    async def test_database_that_is_away_ends_nobody(self, application, monkeypatch):
        from django.db import OperationalError

        from channels_realtime.connections import credentials as credentials_module

        def away(*args):
            raise OperationalError("away")

        async with self.connected(application, **await self.by_session()) as (socket, node):
            monkeypatch.setattr(credentials_module, "read_login_session", away)
            (connection,) = node.connections.values()
            await connection.reread()
            await socket.quiet()
