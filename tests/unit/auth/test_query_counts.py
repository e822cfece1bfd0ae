"""What the receivers cost a site: queries with them and without, and messages.

``MANY=5000 pytest -s tests/unit/auth/test_query_counts.py`` prints the figures.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model, logout
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connection, reset_queries, transaction
from django.db.models.signals import post_delete, post_init, post_save, pre_save
from django.http import HttpRequest
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from channels_realtime.auth import receivers, revoking
from channels_realtime.auth.login_session import session_hash
from channels_realtime.models import RevocationRecord
from tests.unit.auth.credentials import make_session, make_user

# On SQLite, 999 values a statement and 4 a row.
MANY = int(os.environ.get("MANY", "100"))
ROWS_PER_INSERT = 249

User = get_user_model()


@pytest.fixture(autouse=True)
def _committing(transactional_db):
    """Transactions of the test's own: an open one would change what is counted."""


@pytest.fixture
def messages(monkeypatch) -> list[list[str]]:
    """The keys of each message to the nodes."""
    sent: list[list[str]] = []

    def notify(kind, arguments, *, wait):
        sent.append([key for key, _, _ in arguments["entries"]])
        return True

    monkeypatch.setattr(revoking, "notify", notify)
    return sent


@pytest.fixture
def without() -> Iterator[Callable[[Callable[[], Any]], int]]:
    """Counts the queries of a function while none of our receivers is connected."""
    signals = (post_delete, post_init, post_save, pre_save)
    known = [signal.receivers for signal in signals]

    def connected(lists):
        for signal, found in zip(signals, lists, strict=True):
            signal.receivers = found
            signal.sender_receivers_cache.clear()

    def count(act: Callable[[], Any]) -> int:
        connected([[r for r in found if not _is_ours(r)] for found in known])
        try:
            return queries(act)
        finally:
            connected(known)

    yield count
    connected(known)


def _is_ours(receiver: Any) -> bool:
    return str(receiver[0][0]).startswith("channels_realtime.")


def queries(act: Callable[[], Any]) -> int:
    reset_queries()  # the log has a limit
    with CaptureQueriesContext(connection) as captured:
        act()
    return len(captured)


def make_many(prefix: str, **fields: Any) -> list[Any]:
    User.objects.bulk_create(
        User(username=f"{prefix}{number}", password="!", **fields) for number in range(MANY)
    )
    return list(User.objects.filter(username__startswith=prefix).order_by("pk"))


def report(what: str, mine: int, plain: int) -> None:
    print(f"\n{what}: {mine} queries with the app, {plain} without")


def one_logout() -> Callable[[], None]:
    alice = User.objects.filter(username="alice").first() or make_user()
    request = HttpRequest()
    request.session, request.user = make_session(alice), alice
    return lambda: logout(request)


def test_logout_costs_the_one_query_that_writes_the_revocation(messages, monkeypatch):
    mine = queries(one_logout())
    assert [len(keys) for keys in messages] == [1]
    assert RevocationRecord.objects.count() == 1
    monkeypatch.setattr(revoking, "submit", lambda revocations: list(revocations))
    plain = queries(one_logout())
    report("logout()", mine, plain)
    assert mine == plain + 1


def test_expired_sessions_are_cleared_by_one_statement(messages):
    alice = make_user()
    data = make_session(alice)
    Session.objects.bulk_create(
        Session(
            session_key=f"expired{number}",
            session_data=data.encode(dict(data.items())),
            expire_date=timezone.now() - datetime.timedelta(days=1),
        )
        for number in range(MANY)
    )
    with CaptureQueriesContext(connection) as captured:
        call_command("clearsessions")
    print(f"\nclearsessions: {[query['sql'][:40] for query in captured]}")
    assert [query["sql"].split()[0] for query in captured] == ["BEGIN", "DELETE", "COMMIT"]
    assert Session.objects.count() == 1
    assert messages == []


def test_sessions_that_are_deleted_by_their_keys_end_at_once(messages):
    alice = make_user()
    first, second, third = (make_session(alice).session_key for _ in range(3))
    assert queries(lambda: Session.objects.filter(pk=first).delete()) == 4  # and BEGIN and COMMIT
    Session.objects.filter(session_key__in=[second, third]).delete()
    assert [set(keys) for keys in messages] == [
        {session_hash(first)},
        {session_hash(second), session_hash(third)},
    ]
    assert not Session.objects.exists()


def test_session_that_is_kept_though_its_key_is_named_does_not_end(messages):
    key = make_session(make_user()).session_key
    Session.objects.exclude(pk=key).delete()
    Session.objects.filter(pk__in=[]).delete()
    assert messages == []


def test_deletion_of_many_users_costs_their_rows_and_one_message(messages, without):
    make_many("with")
    mine = queries(User.objects.filter(username__startswith="with").delete)
    make_many("without")
    plain = without(User.objects.filter(username__startswith="without").delete)
    report(f"{MANY} users deleted", mine, plain)
    assert [len(keys) for keys in messages] == [MANY]
    # Five early rows with a savepoint each, and the others in one transaction after the commit.
    assert mine - plain <= 5 * 3 + 2 + -(-MANY // ROWS_PER_INSERT)


@pytest.mark.parametrize("atomic", [False, True])
def test_saves_of_inactive_users_cost_nothing(messages, without, atomic):
    users = make_many("u", is_active=False)

    def save():
        if atomic:
            with transaction.atomic():
                save_all()
        else:
            save_all()

    def save_all():
        for user in users:
            user.save()

    mine, plain = queries(save), without(save)
    report(f"{MANY} inactive users saved", mine, plain)
    assert mine == plain
    assert messages == []


def test_deactivations_of_one_transaction_are_one_message(messages, without):
    users = make_many("u")

    def deactivate(active=False):
        with transaction.atomic():
            for user in users:
                user.is_active = active
                user.save()

    mine = queries(deactivate)
    assert [len(keys) for keys in messages] == [MANY]
    assert {key for (key,) in RevocationRecord.objects.values_list("key")} == {
        f"user:{user.pk}" for user in users
    }
    plain = without(lambda: deactivate(active=True))
    report(f"{MANY} users deactivated", mine, plain)
    assert mine - plain <= 5 * 3 + 2 + -(-MANY // ROWS_PER_INSERT)


def test_fixture_of_inactive_users_costs_one_message_and_no_rows(messages, without, tmp_path):
    users = make_many("u", is_active=False)
    fixture = tmp_path / "users.json"
    with fixture.open("w") as file:
        call_command("dumpdata", "auth.user", stdout=file)
    assert json.loads(fixture.read_text())
    load = lambda: call_command("loaddata", str(fixture), verbosity=0)  # noqa: E731
    mine, plain = queries(load), without(load)
    report(f"loaddata of {MANY} inactive users", mine, plain)
    assert mine == plain
    (keys,) = messages
    assert set(keys) == {f"recheck:{user.pk}" for user in users}


# -- what counts as a deactivation -----------------------------------------------------------------


def deactivated(messages, act) -> bool:
    messages.clear()
    act()
    return any(key.startswith("user:") for keys in messages for key in keys)


def test_only_a_change_from_active_to_inactive_is_a_deactivation(messages):
    alice = make_user()
    alice.is_active = False
    assert not deactivated(messages, lambda: alice.save(update_fields=["last_login"]))
    assert deactivated(messages, alice.save)
    assert not deactivated(messages, alice.save)
    assert not deactivated(messages, User.objects.get(pk=alice.pk).save)
    alice.is_active = True
    assert not deactivated(messages, alice.save)
    alice.is_active = False
    assert deactivated(messages, alice.save)


def test_user_that_is_read_again_is_deactivated_from_what_was_read(messages):
    alice = make_user(is_active=False)
    alice = User.objects.get(pk=alice.pk)
    User.objects.update(is_active=True)
    alice.refresh_from_db()
    alice.is_active = False
    assert deactivated(messages, alice.save)


def test_user_of_whom_nothing_is_known_is_deactivated(messages):
    alice = make_user()
    deferred = User.objects.only("username").get(pk=alice.pk)
    deferred.is_active = False
    assert deactivated(messages, deferred.save)
    made = User(pk=alice.pk, username="alice", is_active=False)
    assert deactivated(messages, made.save)


def deactivate(user, *, then: type[Exception] | None = None) -> None:
    """In a transaction or a savepoint, which an exception rolls back."""
    with transaction.atomic():
        user.is_active = False
        user.save()
        if then is not None:
            raise then


def test_savepoints_are_one_message_without_those_that_are_rolled_back(messages):
    users = [make_user(f"u{number}") for number in range(6)]
    with transaction.atomic():
        for number, user in enumerate(users):
            with contextlib.suppress(ZeroDivisionError):
                deactivate(user, then=ZeroDivisionError if number % 3 == 1 else None)
    assert messages == [[f"user:{users[number].pk}" for number in (0, 2, 3, 5)]]


def test_savepoint_that_is_rolled_back_takes_those_within_it_along(messages):
    alice, bob, carol = (make_user(name) for name in ("alice", "bob", "carol"))
    with transaction.atomic():
        deactivate(alice)
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            deactivate(bob)
            deactivate(carol, then=ZeroDivisionError)
    assert messages == [[f"user:{alice.pk}"]]


def test_transaction_that_is_rolled_back_leaves_nothing_to_the_next(messages):
    alice, bob = make_user(), make_user("bob")
    with contextlib.suppress(ZeroDivisionError):
        deactivate(alice, then=ZeroDivisionError)
    deactivate(bob)
    assert messages == [[f"user:{bob.pk}"]]


def test_receivers_are_connected_once():
    before = len(post_save.receivers)
    delete = Session.delete
    receivers.connect()
    assert len(post_save.receivers) == before
    assert Session.delete is delete
