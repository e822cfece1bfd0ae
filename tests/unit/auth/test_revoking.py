"""The public verbs: ``revoke``, ``recheck`` and the command, and what they do to connections."""

from __future__ import annotations

import contextlib
from io import StringIO

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.db.utils import ConnectionHandler
from django.utils import timezone

from channels_realtime import arecheck, arevoke, recheck, revoke
from channels_realtime.auth import revoking
from channels_realtime.auth.login_session import session_hash
from channels_realtime.errors import ImproperUse
from channels_realtime.models import RevocationRecord
from channels_realtime.publishing import apublish
from channels_realtime.runtime import commits
from tests.support.asgi_socket import AsgiSocket
from tests.unit.auth.credentials import (
    claims_of,
    cookie,
    in_thread,
    make_session,
    make_token,
    make_user,
    opened,
    outcome,
    sign,
)

REVOKED = "4401 the credentials were revoked"
WEEK_S = 7 * 86_400


# -- what is written down --------------------------------------------------------------------------


@pytest.fixture
def entries(db, monkeypatch, django_capture_on_commit_callbacks):
    """The rows that a call writes, by key, with the seconds that they last."""
    monkeypatch.setattr(revoking, "notify", lambda kind, arguments, wait: True)

    def of(**what):
        RevocationRecord.objects.all().delete()
        revoke(**what)
        now = timezone.now()
        return {
            record.key: (record.expires_at - now).total_seconds()
            for record in RevocationRecord.objects.all()
        }

    return of


def test_revoke_of_a_user_lasts_as_long_as_sessions_and_tokens_do(entries):
    alice = make_user()
    for user in (alice, alice.pk, str(alice.pk)):
        found = entries(user=user)
        assert list(found) == [f"user:{alice.pk}"]
        assert found[f"user:{alice.pk}"] > 2 * WEEK_S - 60


def test_revocation_is_written_with_naive_times_where_the_site_has_no_time_zones(db, settings):
    settings.USE_TZ = False
    with timezone.override("Asia/Kolkata"):  # as a middleware does for each user
        revoke(token="planted")
    record = RevocationRecord.objects.get(key="token:planted")
    age = timezone.now() - record.created_at
    assert 0 <= age.total_seconds() < 60
    assert 86_400 < (record.expires_at - record.created_at).total_seconds() < 2 * 86_400


def test_revoke_of_a_login_session_lasts_as_long_as_its_row_may(entries):
    """The row is still there: whoever has the cookie could come back once it is forgotten."""
    session = make_session(make_user())
    found = entries(login_session=session.session_key)
    assert list(found) == [session_hash(session.session_key)]
    assert found[session_hash(session.session_key)] > 2 * WEEK_S - 60


def test_revoke_of_an_access_token_ends_it_alone(entries):
    found = entries(token=make_token(1, jti="planted", sid="family"))
    assert list(found) == ["token:planted"]


def test_revoke_of_a_token_by_its_id(entries):
    assert list(entries(token="planted")) == ["token:planted"]


@pytest.mark.parametrize(("sid", "family"), [("login", "login"), (None, "planted")])
def test_revoke_of_a_refresh_token_ends_its_family(entries, sid, family):
    token = make_token(1, token_type="refresh", jti="planted", sid=sid)
    assert set(entries(token=token)) == {"token:planted", f"family:{family}"}


def test_revoke_of_a_token_asks_for_no_signature(entries):
    """Whoever calls it decides; a token of a key that was replaced can be revoked too."""
    token = sign(claims_of(1, jti="planted", exp=1), "another key, and long enough for it")
    assert list(entries(token=token)) == ["token:planted"]


def test_revoke_goes_by_the_names_of_the_claims_that_the_site_uses(entries, simple_jwt):
    simple_jwt(JTI_CLAIM="id", TOKEN_TYPE_CLAIM="kind")
    token = make_token(1, id="planted", kind="refresh", jti="another")
    assert set(entries(token=token)) == {"token:planted", "family:planted"}


def test_revoke_of_tokens_lasts_as_long_as_any_of_them(entries, simple_jwt):
    from datetime import timedelta

    assert 86_400 <= entries(token="planted")["token:planted"] < 86_400 + 120
    simple_jwt(REFRESH_TOKEN_LIFETIME=timedelta(days=30))
    assert entries(token="planted")["token:planted"] > 29 * 86_400
    simple_jwt(REFRESH_TOKEN_LIFETIME=timedelta(days=1))
    simple_jwt(SLIDING_TOKEN_REFRESH_LIFETIME=timedelta(days=30))
    assert entries(token="planted")["token:planted"] > 29 * 86_400


@pytest.mark.parametrize(
    "what",
    [
        {},
        {"user": None},
        {"token": ""},
        {"token": "a.b.c"},
        {"token": "..."},
        {"token": "a.é.c"},
        {"token": "a.bnVsbA.c"},
        {"token": "a.e30.c"},
        {"token": "a.eyJqdGkiOjF9.c"},
    ],
)
def test_revoke_of_nothing_is_improper_use(db, what):
    with pytest.raises(ImproperUse, match=r"revoke\("):
        revoke(**what)
    assert not RevocationRecord.objects.exists()


def test_error_of_revoke_does_not_hold_the_token(db):
    with pytest.raises(ImproperUse) as caught:
        revoke(token="planted-secret.planted-secret.planted-secret")
    assert "planted" not in str(caught.value)


def test_recheck_of_nothing_is_improper_use():
    with pytest.raises(ImproperUse, match="channel=… or user=…"):
        recheck()


# -- connections -----------------------------------------------------------------------------------


@pytest.fixture
def site(transactional_db, application):
    """A site on a loop of its own, whose transactions commit."""
    return application


@contextlib.asynccontextmanager
async def connected(application, **scope):
    async with AsgiSocket(application, **scope) as socket:
        await socket.expect("welcome")
        yield socket


def by_session(session):
    return {"headers": [cookie(session.session_key)]}


def by_token(token):
    return {"headers": [(b"authorization", f"Bearer {token}".encode())]}


def people():
    """Alice with two login sessions and two tokens, and bob."""
    alice, bob = make_user(), make_user("bob")
    return {
        "alice": alice,
        "bob": bob,
        "session": make_session(alice),
        "other session": make_session(alice),
        "token": make_token(alice.pk, jti="one", sid="login one"),
        "other token": make_token(alice.pk, jti="two", sid="login two"),
        "bob's session": make_session(bob),
        "bob's token": make_token(bob.pk, jti="three", sid="login three"),
    }


WAYS = ("session", "other session", "token", "other token", "bob's session", "bob's token")
EVERYTHING_OF_ALICE = set(WAYS[:4])


def set_password(given):
    given["alice"].set_password("another")
    given["alice"].save()


def deactivate(given):
    given["alice"].is_active = False
    given["alice"].save()


def blacklist(given):
    from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

    outstanding = OutstandingToken.objects.create(
        jti="one", token=given["token"], expires_at=timezone.now(), user=given["alice"]
    )
    BlacklistedToken.objects.create(token=outstanding)


# what happens, and whom it ends
CAUSES = {
    "revoke(user)": (lambda g: revoke(user=g["alice"]), EVERYTHING_OF_ALICE),
    "revoke(login_session)": (
        lambda g: revoke(login_session=g["session"].session_key),
        {"session"},
    ),
    "revoke(token)": (lambda g: revoke(token=g["token"]), {"token"}),
    "revoke(token id)": (lambda g: revoke(token="two"), {"other token"}),
    "revoke(family)": (lambda g: revoke(family="login one"), {"token"}),
    "logout": (lambda g: g["session"].flush(), {"session"}),
    "password": (set_password, EVERYTHING_OF_ALICE),
    "deactivation": (deactivate, EVERYTHING_OF_ALICE),
    "deletion": (lambda g: g["alice"].delete(), EVERYTHING_OF_ALICE),
    "blacklist": (blacklist, {"token"}),
    "nothing": (lambda g: g["alice"].save(), set()),
    "the command": (
        lambda g: call_command("realtime_disconnect", user="alice", verbosity=0),
        EVERYTHING_OF_ALICE,
    ),
}


@pytest.mark.parametrize("name", CAUSES)
async def test_cause_ends_whom_it_should_and_nobody_else(site, name):
    act, expected = CAUSES[name]
    given = await in_thread(people)()
    async with contextlib.AsyncExitStack() as stack:
        sockets = {}
        for way in WAYS:
            scope = by_token(given[way]) if "token" in way else by_session(given[way])
            sockets[way] = await stack.enter_async_context(connected(site, **scope))
        await in_thread(act)(given)
        ended = set()
        for way, socket in sockets.items():
            if way in expected:
                assert (await outcome(socket)).startswith("4401 "), way
                ended.add(way)
            else:
                await socket.quiet()
    assert ended == expected


async def test_nobody_comes_back_with_what_was_revoked(site):
    given = await in_thread(people)()
    await in_thread(revoke)(user=given["alice"])
    for scope in (by_session(given["session"]), by_token(given["token"])):
        async with AsgiSocket(site, **scope) as socket:
            assert await outcome(socket) == REVOKED
    session = await in_thread(make_session)(given["alice"])
    async with AsgiSocket(site, **by_session(session)) as socket:
        assert await outcome(socket) == f"welcome {given['alice'].pk}"


async def test_nothing_is_delivered_after_the_end(site):
    given = await in_thread(people)()
    async with connected(site, **by_token(given["token"])) as socket:
        await socket.ask({"type": "subscribe", "channel": "public/a"})
        await arevoke(token="one")
        await apublish("public/a", "too late")
        assert await outcome(socket) == REVOKED
        assert socket.from_application.empty()


async def test_ticket_of_a_session_ends_with_it_and_with_its_password(site):
    from channels_realtime.auth.login_session import read_login_session
    from channels_realtime.auth.tickets import issue_ticket

    given = await in_thread(people)()

    def ticket(way):
        found = read_login_session(given[way].session_key)
        return issue_ticket(found, "http://testserver")[0]

    first, second = [await in_thread(ticket)(way) for way in ("session", "other session")]
    async with (
        connected(site, query_string=f"ticket={first}".encode()) as socket,
        connected(site, query_string=f"ticket={second}".encode()) as other,
    ):
        await in_thread(given["session"].flush)()
        assert await outcome(socket) == REVOKED
        await other.quiet()
        await in_thread(set_password)(given)
        assert await outcome(other) == "4401 the credentials are no longer valid"


async def test_recheck_takes_away_what_is_no_longer_allowed(site, monkeypatch):
    from tests.site.realtime import MemberChannel

    given = await in_thread(people)()

    async def denied(self, connection):
        return connection.user_id != str(given["alice"].pk)

    async with (
        connected(site, **by_token(given["token"])) as alice,
        connected(site, **by_token(given["bob's token"])) as bob,
    ):
        for socket in (alice, bob):
            reply = await socket.ask({"type": "subscribe", "channel": "members/1"})
            assert reply["type"] == "subscribed"
        await arecheck(channel="members/1")
        await alice.quiet()
        monkeypatch.setattr(MemberChannel, "can_subscribe", denied)
        await arecheck(channel="members/1")
        message = await alice.expect("unsubscribed")
        assert message["payload"]["code"] == "forbidden"
        await apublish("members/1", "for members")
        assert (await bob.read())["payload"] == "for members"
        await alice.quiet()


async def test_recheck_of_a_user_reads_it_again(site):
    from channels_realtime.services import current_node

    given = await in_thread(people)()
    async with connected(site, **by_token(given["token"])) as socket:
        (connection,) = current_node().connections.values()
        given["alice"].is_staff = True
        await in_thread(given["alice"].save)()
        assert not connection.user.is_staff
        await in_thread(recheck)(user=given["alice"])
        reply = await socket.ask({"type": "publish", "channel": "members/1", "payload": 1, "id": 1})
        while not connection.user.is_staff:
            await socket.quiet()
        reply = await socket.ask({"type": "publish", "channel": "members/1", "payload": 1, "id": 1})
        assert reply["type"] == "published"


async def test_row_alone_ends_a_connection_within_a_poll(site, realtime, monkeypatch):
    """The control message was lost."""
    realtime(REVOCATION_POLL_INTERVAL=0.05)
    given = await in_thread(people)()
    monkeypatch.setattr(revoking, "notify", lambda kind, arguments, wait: False)
    async with connected(site, **by_token(given["token"])) as socket:
        await in_thread(revoke)(token="one")
        assert await outcome(socket) == REVOKED


@pytest.mark.django_db
def test_first_connection_of_a_process_waits_for_the_rows(realtime):
    alice = make_user()
    session = make_session(alice)
    revoke(login_session=session.session_key)
    assert opened(**by_session(session)) == REVOKED


# -- the command -----------------------------------------------------------------------------------


@pytest.mark.django_db
class TestCommand:
    @pytest.fixture(autouse=True)
    def _silent(self, monkeypatch):
        monkeypatch.setattr(revoking, "notify", lambda kind, arguments, wait: True)

    def keys(self, **options):
        out = StringIO()
        call_command("realtime_disconnect", stdout=out, **options)
        assert out.getvalue() == "Revoked. The connections are being closed.\n"
        return set(RevocationRecord.objects.values_list("key", flat=True))

    def test_user_by_name_or_key(self):
        alice = make_user()
        assert self.keys(user="alice") == {f"user:{alice.pk}"}
        RevocationRecord.objects.all().delete()
        assert self.keys(user=str(alice.pk)) == {f"user:{alice.pk}"}

    def test_name_comes_before_a_key(self):
        alice = make_user()
        numbered = make_user(str(alice.pk))
        assert self.keys(user=str(alice.pk)) == {f"user:{numbered.pk}"}

    def test_session_token_and_family(self):
        assert self.keys(session="planted") == {session_hash("planted")}
        assert "token:planted" in self.keys(token="planted")
        assert "family:planted" in self.keys(family="planted")

    @pytest.mark.parametrize("user", ["nobody", "987654", "1e9", ""])
    def test_unknown_user(self, user):
        with pytest.raises(CommandError, match="There is no user"):
            call_command("realtime_disconnect", user=user)

    def test_what_is_no_token(self):
        with pytest.raises(CommandError, match="neither a JWT nor"):
            call_command("realtime_disconnect", token="planted.planted.planted")

    def test_exactly_one_thing(self):
        for arguments in ([], ["--user", "a", "--token", "b"]):
            with pytest.raises(CommandError):
                call_command("realtime_disconnect", *arguments)


# -- what is waited for ----------------------------------------------------------------------------


@pytest.fixture
def notified(monkeypatch) -> list[str]:
    """The kinds of notifications that were sent."""
    kinds: list[str] = []
    monkeypatch.setattr(revoking, "notify", lambda kind, arguments, wait: kinds.append(kind))
    return kinds


def test_recheck_waits_for_the_commit_of_any_database(other_database, notified):
    with transaction.atomic(using="other"):
        recheck(channel="public/a")
        assert notified == []
        recheck(channel="public/a", using="default")
        assert notified == ["recheck"]
    assert notified == ["recheck", "recheck"]


def test_recheck_dies_with_a_rollback(other_database, notified):
    with contextlib.suppress(ZeroDivisionError), transaction.atomic(using="other"):
        recheck(channel="public/a")
        raise ZeroDivisionError
    assert notified == []


async def test_recheck_on_the_event_loop_is_refused_and_names_the_remedy(notified):
    with pytest.raises(ImproperUse) as caught:
        recheck(channel="public/a")
    assert caught.value.reason == (
        "recheck() would block the event loop it runs on: await arecheck() instead"
    )
    assert notified == []


class UsersElsewhere:
    """The package's tables stay in ``default``; users are in ``other``."""

    def db_for_read(self, model, **hints):
        return "other" if model._meta.app_label == "auth" else None

    db_for_write = db_for_read


@pytest.fixture
def users_elsewhere(other_database, settings, notified):
    """Users in another database than the revocations."""
    settings.DATABASE_ROUTERS = [f"{__name__}.UsersElsewhere"]
    with connections["other"].schema_editor() as schema:
        for model in (ContentType, Permission, Group, User):
            schema.create_model(model)
    yield notified
    RevocationRecord.objects.all().delete()


def revoked() -> list[str]:
    return list(RevocationRecord.objects.values_list("key", flat=True))


def test_deactivation_that_is_rolled_back_revokes_nothing_where_users_are_elsewhere(
    users_elsewhere,
):
    alice = User.objects.create_user("alice", password="planted")
    with contextlib.suppress(ZeroDivisionError), transaction.atomic(using="other"):
        alice.is_active = False
        alice.save()
        assert revoked() == []
        raise ZeroDivisionError
    assert (revoked(), users_elsewhere) == ([], [])


def test_deactivation_revokes_at_its_commit_where_users_are_elsewhere(users_elsewhere):
    alice = User.objects.create_user("alice", password="planted")
    with transaction.atomic(using="other"):
        alice.is_active = False
        alice.save()
        assert revoked() == []
    assert (revoked(), users_elsewhere) == ([f"user:{alice.pk}"], ["revoke"])


def test_deactivation_does_not_wait_for_a_transaction_that_it_is_not_in(users_elsewhere):
    alice = User.objects.create_user("alice", password="planted")
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        alice.is_active = False
        alice.save()
        assert users_elsewhere == ["revoke"]


@pytest.mark.parametrize("rolled_back", ["default", "other", None])
def test_revoke_waits_for_all_open_transactions(users_elsewhere, rolled_back):
    with contextlib.suppress(ZeroDivisionError), transaction.atomic(using="other"):
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            revoke(token="planted")
            if rolled_back == "default":
                raise ZeroDivisionError
        assert (revoked(), users_elsewhere) == ([], [])
        if rolled_back == "other":
            raise ZeroDivisionError
    expected = (["token:planted"], ["revoke"]) if rolled_back is None else ([], [])
    assert (revoked(), users_elsewhere) == expected


def test_revoke_waits_for_the_named_database_alone(users_elsewhere):
    with transaction.atomic(using="other"):
        revoke(token="planted", using="default")
        assert (revoked(), users_elsewhere) == (["token:planted"], ["revoke"])


async def test_revoke_on_the_event_loop_is_refused_and_names_the_remedy(notified):
    with pytest.raises(ImproperUse) as caught:
        revoke(token="planted")
    assert caught.value.reason == (
        "revoke() would block the event loop it runs on: await arevoke() instead"
    )


@pytest.mark.parametrize("what", [{"user": 7}, {"token": "planted"}, {"login_session": "planted"}])
def test_revoke_notifies_where_there_is_no_database(no_databases, notified, what):
    revoke(**what)
    recheck(user=7)
    assert notified == ["revoke", "recheck"]


@pytest.fixture
def no_databases(monkeypatch):
    """As with ``DATABASES = {}``."""
    handler = ConnectionHandler({})
    for module in (revoking, commits):
        monkeypatch.setattr(module, "connections", handler)
