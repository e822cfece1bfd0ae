"""The end of a connection's credentials, by a clock that is an argument."""

from __future__ import annotations

import pytest

from channels_realtime.conversation.expiry import HOLD_S, Due, Expiry

NOW = 1_000.0
EPOCH = 1_700_000_000.0


def expiry(seconds: float | None = 100.0, *, lead: float = 30.0, rereads: bool = False) -> Expiry:
    """Credentials that end after so many seconds."""
    made = Expiry()
    at = None if seconds is None else NOW + seconds
    expires_at = None if seconds is None else EPOCH + seconds
    made.set(at, now=NOW, expires_at=expires_at, lead=lead, rereads=rereads)
    return made


def tick(timed: Expiry, seconds: float, *, judging: bool = False) -> Due:
    return timed.tick(NOW + seconds, judging=judging)


def test_nothing_is_due_before_credentials_are_known():
    assert Expiry().deadline is None
    assert Expiry().tick(1e12, judging=False) is Due.NOTHING


def test_credentials_that_do_not_end_are_never_due():
    timed = expiry(None)
    assert timed.deadline is None
    assert tick(timed, 1e12) is Due.NOTHING


def test_token_is_announced_and_ends():
    timed = expiry(100, lead=30)
    assert timed.deadline == NOW + 70
    assert tick(timed, 69.999) is Due.NOTHING
    assert tick(timed, 70) is Due.WARN
    assert timed.deadline == NOW + 100
    assert tick(timed, 70) is Due.NOTHING  # once
    assert tick(timed, 99.999) is Due.NOTHING
    assert tick(timed, 100) is Due.END


def test_token_that_is_short_is_announced_halfway():
    timed = expiry(10, lead=60)
    assert timed.deadline == NOW + 5
    assert tick(timed, 4.999) is Due.NOTHING
    assert tick(timed, 5) is Due.WARN
    assert tick(timed, 10) is Due.END


@pytest.mark.parametrize("seconds", [0, -1, -1e9])
def test_token_that_has_ended_ends_at_once(seconds):
    timed = expiry(seconds)
    assert timed.deadline is not None
    assert timed.deadline <= NOW
    assert tick(timed, 0) is Due.END


def test_late_tick_ends_without_announcing():
    assert tick(expiry(100), 500) is Due.END


def test_auth_being_judged_at_the_deadline_holds_deliveries_for_a_while():
    timed = expiry(100)
    tick(timed, 70)
    assert tick(timed, 100, judging=True) is Due.HOLD
    assert timed.holding
    assert timed.deadline == NOW + 100 + HOLD_S
    assert tick(timed, 100 + HOLD_S - 0.001, judging=True) is Due.NOTHING
    assert tick(timed, 100 + HOLD_S, judging=True) is Due.END


def test_hold_counts_from_the_tick_that_began_it():
    timed = expiry(100)
    assert tick(timed, 101, judging=True) is Due.HOLD
    assert timed.deadline == NOW + 101 + HOLD_S


def test_fresh_credentials_end_a_hold():
    timed = expiry(100)
    tick(timed, 100, judging=True)
    timed.set(NOW + 400, now=NOW + 101, expires_at=EPOCH + 400, lead=60, rereads=False)
    assert not timed.holding
    assert tick(timed, 102) is Due.NOTHING
    assert timed.deadline == NOW + 340


def test_refresh_is_announced_anew():
    timed = expiry(100)
    assert tick(timed, 70) is Due.WARN
    timed.set(NOW + 200, now=NOW + 80, expires_at=EPOCH + 200, lead=60, rereads=False)
    assert tick(timed, 139) is Due.NOTHING
    assert tick(timed, 140) is Due.WARN


def test_login_session_is_never_announced_and_is_read_again():
    timed = expiry(100, rereads=True)
    assert timed.deadline == NOW + 100
    assert tick(timed, 99.999) is Due.NOTHING
    assert tick(timed, 100) is Due.REREAD
    assert timed.holding
    assert tick(timed, 100) is Due.NOTHING  # once


def test_login_session_that_cannot_be_read_ends_after_the_hold():
    timed = expiry(100, rereads=True)
    tick(timed, 100)
    assert tick(timed, 100 + HOLD_S) is Due.END


def test_no_credentials_from_now_on_is_no_deadline():
    timed = expiry(100)
    timed.set(None, now=NOW, expires_at=None, lead=60, rereads=False)
    assert timed.deadline is None
    assert timed.expires_at is None
    assert tick(timed, 1e9) is Due.NOTHING


# -- asked to prove itself anew --------------------------------------------------------------------


@pytest.mark.parametrize("rereads", [False, True])
@pytest.mark.parametrize("seconds", [None, 1_000.0])
def test_end_soon_announces_and_ends(seconds, rereads):
    timed = expiry(seconds, rereads=rereads)
    timed.end_soon(NOW, 30, expires_at=EPOCH + 30)
    assert tick(timed, 0) is Due.WARN
    assert timed.expires_at == EPOCH + 30
    assert timed.deadline == NOW + 30
    assert tick(timed, 29.999) is Due.NOTHING
    assert tick(timed, 30) is Due.END


def test_end_soon_never_extends():
    timed = expiry(10)
    timed.end_soon(NOW, 30, expires_at=EPOCH + 30)
    assert timed.expires_at == EPOCH + 10
    assert tick(timed, 10) is Due.END
