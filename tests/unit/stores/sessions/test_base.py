"""The records of sessions: what they are kept under, and what they hold."""

import dataclasses

import pytest

from channels_realtime.identity import ANONYMOUS, Identity
from channels_realtime.protocol.messages import Position
from channels_realtime.stores.sessions.base import (
    SavedSubscription,
    SessionRecord,
    decode_record,
    encode_record,
    identity_key,
    session_key,
)

USER = Identity(user_id="7", method="session", keys=frozenset({"session:abc"}), proven_at=5.0)
RECORD = SessionRecord(
    connection_id="c0ffee",
    node_id="n",
    live=True,
    saved_at=12.5,
    trusted=True,
    identity=USER,
    subscriptions=(
        SavedSubscription("public/a"),
        SavedSubscription("stocks", ({"symbol": "A"}, None), Position("e", 4), True, "operation"),
    ),
)


def test_record_is_read_as_it_was_written():
    assert decode_record(encode_record(RECORD)) == RECORD


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x90", b"\x93\x01\x02\x03", encode_record(RECORD)[:-3]]
)
def test_record_of_another_version_is_none(body):
    assert decode_record(body) is None


def test_key_does_not_hold_the_id():
    key = session_key("5e55" * 8)
    assert len(key) == 40
    assert "5e55" * 2 not in key
    assert session_key("5e55" * 8) == key != session_key("5e56" * 8)


def test_identities_differ_by_user_and_namespace():
    identities = [
        (ANONYMOUS, ""),
        (ANONYMOUS, "a"),
        (USER, ""),
        (USER, "a"),
        (dataclasses.replace(USER, user_id="8"), ""),
        (dataclasses.replace(USER, user_id=""), ""),
        (dataclasses.replace(USER, user_id="?a"), ""),
    ]
    assert len({identity_key(*one) for one in identities}) == len(identities)


def test_two_logins_of_a_user_are_one_identity():
    other = Identity(user_id="7", method="jwt", keys=frozenset({"token:x"}))
    assert identity_key(USER, "a") == identity_key(other, "a")
