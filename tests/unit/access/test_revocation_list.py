"""The list of revocations: what each entry ends, and what it leaves alone."""

from __future__ import annotations

import pytest

from channels_realtime.access import revocation_list
from channels_realtime.access.revocation_list import CLOCK_SLACK_S, Revocation, RevocationList
from channels_realtime.identity import ANONYMOUS, Identity

NOW = 1_000_000.0
LATER = NOW + 600


def listed(*entries: tuple[str, float]) -> RevocationList:
    found = RevocationList()
    found.add(Revocation(key, not_before, LATER) for key, not_before in entries)
    return found


def by_token(proven_at: float = NOW, **changes) -> Identity:
    keys = changes.pop("keys", {"token:a", "family:f"})
    fields = {"user_id": "1", "method": "jwt", "proven_at": proven_at, **changes}
    return Identity(keys=frozenset(keys), **fields)


def by_session(proven_at: float = NOW, **changes) -> Identity:
    fields = {"user_id": "1", "method": "session", "proven_at": proven_at, **changes}
    return Identity(keys=frozenset({"session:s"}), **fields)


def by_ticket(source: str, keys: set[str], **changes) -> Identity:
    fields = {"user_id": "1", "method": "ticket", "source": source, "proven_at": NOW, **changes}
    return Identity(keys=frozenset(keys), **fields)


# entry, its moment, identity, whether it ends it
TABLE = [
    # A key voids its proof whenever that was made.
    ("token:a", NOW - 9, by_token(), True),
    ("family:f", NOW - 9, by_token(), True),
    ("session:s", NOW - 9, by_session(), True),
    ("session:s", NOW - 9, by_ticket("session", {"session:s"}), True),
    ("token:b", NOW + 9, by_token(), False),
    ("family:a", NOW + 9, by_token(), False),
    ("session:t", NOW + 9, by_session(), False),
    ("token:a", NOW - 9, by_session(), False),
    # A user: what was proven before the moment.
    ("user:1", NOW + 0.001, by_token(), True),
    ("user:1", NOW + 0.001, by_session(), True),
    ("user:1", NOW, by_token(), False),
    ("user:1", NOW - 1, by_session(), False),
    ("user:1", NOW, by_session(proven_at=0.0), True),  # nobody knows when: before
    ("user:2", NOW + 9, by_token(), False),
    ("user:11", NOW + 9, by_token(), False),
    ("user:1", NOW + 9, by_ticket("session", {"session:s"}), True),
    # A user's tokens, and what came of one.
    ("tokens:1", NOW + 9, by_token(), True),
    ("tokens:1", NOW - 9, by_token(), False),
    ("tokens:1", NOW + 9, by_session(), False),
    ("tokens:2", NOW + 9, by_token(), False),
    ("tokens:1", NOW + 9, by_ticket("jwt", {"token:a"}), True),
    ("tokens:1", NOW + 9, by_ticket("jwt", set()), True),  # of a token without an id
    ("tokens:1", NOW + 9, by_ticket("session", {"session:s"}), False),
    ("tokens:1", NOW + 9, by_token(keys=set()), True),
    # Rereading ends nothing by itself.
    ("recheck:1", NOW + 9, by_session(), False),
    # Nobody is nobody.
    ("user:None", NOW + 9, ANONYMOUS, False),
    ("tokens:None", NOW + 9, ANONYMOUS, False),
    ("token:", NOW + 9, ANONYMOUS, False),
]


@pytest.mark.parametrize(("key", "not_before", "identity", "expected"), TABLE)
def test_entry_ends(key, not_before, identity, expected):
    assert listed((key, not_before)).revokes(identity) is expected


def test_empty_list_ends_nothing():
    assert not RevocationList().revokes(by_token())
    assert not RevocationList().rechecks(by_token(), 0.0)


@pytest.mark.parametrize(
    ("read_at", "expected"),
    [(NOW - 1, True), (NOW, True), (NOW + CLOCK_SLACK_S, True), (NOW + CLOCK_SLACK_S + 0.1, False)],
)
def test_proof_that_was_read_before_the_moment_is_read_again(read_at, expected):
    revocations = listed(("recheck:1", NOW))
    assert revocations.rechecks(by_session(), read_at) is expected
    assert not revocations.rechecks(by_session(user_id="2"), read_at)
    assert not revocations.rechecks(ANONYMOUS, read_at)


def test_add_returns_what_is_new():
    revocations = RevocationList()
    first, second = Revocation("user:1", NOW, LATER), Revocation("user:2", NOW, LATER)
    assert revocations.add([first, first]) == [first]
    assert revocations.add([first, second]) == [second]
    later = Revocation("user:1", NOW + 1, LATER)
    assert revocations.add([later]) == [later]
    assert revocations.add([first]) == []  # said already, and more
    assert revocations.revokes(by_token(proven_at=NOW + 0.5))
    assert len(revocations) == 2


def test_entry_is_forgotten_once_it_can_end_nothing():
    revocations = listed(("token:a", NOW))
    revocations.forget_expired(LATER - 0.001)
    assert revocations.revokes(by_token())
    revocations.forget_expired(LATER)
    assert len(revocations) == 0
    assert not revocations.revokes(by_token())


def test_oldest_entries_go_first_where_there_are_too_many(monkeypatch):
    monkeypatch.setattr(revocation_list, "MAX_ENTRIES", 3)
    revocations = listed(("user:1", NOW), ("user:2", NOW), ("user:3", NOW))
    revocations.add([Revocation("user:1", NOW + 1, LATER)])  # anew, so no longer the oldest
    revocations.add([Revocation("user:4", NOW, LATER)])
    kept = [n for n in range(1, 5) if revocations.revokes(by_token(0.0, user_id=str(n)))]
    assert kept == [1, 3, 4]


# -- identities ------------------------------------------------------------------------------------


def test_identity_joined_by_a_fresh_proof_is_ended_by_either():
    joined = by_session(expires_at=NOW + 10).joined_by(by_token(expires_at=NOW + 20))
    assert joined.keys == {"session:s", "token:a", "family:f"}
    assert joined.expires_at == NOW + 20
    for key in joined.keys:
        assert listed((key, NOW)).revokes(joined)


def test_identity_joined_by_a_shorter_proof_keeps_its_deadline():
    assert by_token(expires_at=NOW + 20).joined_by(by_token(expires_at=NOW + 10)).expires_at == (
        NOW + 20
    )


def test_identity_that_does_not_end_does_not_end_by_a_fresh_proof():
    assert by_token(expires_at=None).joined_by(by_token(expires_at=NOW)).expires_at is None


def test_joined_identity_is_as_old_as_its_older_proof():
    joined = by_token(proven_at=NOW).joined_by(by_token(proven_at=NOW + 60))
    assert joined.proven_at == NOW
    assert listed(("user:1", NOW + 30)).revokes(joined)


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (by_token(), True),
        (by_token(keys=set()), True),
        (by_session(), False),
        (by_ticket("jwt", {"token:a"}), True),
        (by_ticket("jwt", set()), True),
        (by_ticket("session", {"session:s"}), False),
        (ANONYMOUS, False),
    ],
)
def test_identity_says_whether_a_token_is_part_of_it(identity, expected):
    assert identity.carries_token is expected
