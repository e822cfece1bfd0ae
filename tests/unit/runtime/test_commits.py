"""Which transactions of a thread are waited for."""

from __future__ import annotations

from contextlib import suppress

import pytest
from django.db import DEFAULT_DB_ALIAS, transaction
from django.test import TestCase
from django.utils.connection import ConnectionDoesNotExist

from channels_realtime.runtime.commits import after_commit, open_transactions


class Rollback(Exception):
    pass


@pytest.fixture
def done() -> list[str]:
    return []


def test_no_database_is_waited_for_outside_a_transaction(other_database, done):
    assert open_transactions(None) == ()
    after_commit(lambda: done.append("now"), open_transactions(None))
    assert done == ["now"]


def test_open_transaction_is_found_in_any_database(other_database):
    with transaction.atomic(using="other"):
        assert open_transactions(None) == ("other",)
        assert open_transactions("other") == ("other",)
        assert open_transactions(DEFAULT_DB_ALIAS) == ()
        with transaction.atomic():
            assert set(open_transactions(None)) == {"default", "other"}


@pytest.mark.parametrize("outer", ["default", "other"])
def test_all_open_transactions_are_waited_for(other_database, done, outer):
    inner = "default" if outer == "other" else "other"
    with transaction.atomic(using=outer):
        with transaction.atomic(using=inner):
            after_commit(lambda: done.append("now"), open_transactions(None))
        assert done == []
    assert done == ["now"]


@pytest.mark.parametrize("outer", ["default", "other"])
@pytest.mark.parametrize("rolled_back", ["default", "other"])
def test_nothing_is_done_when_one_of_the_transactions_is_rolled_back(
    other_database, done, outer, rolled_back
):
    inner = "default" if outer == "other" else "other"
    with suppress(Rollback), transaction.atomic(using=outer):
        with suppress(Rollback), transaction.atomic(using=inner):
            after_commit(lambda: done.append("now"), open_transactions(None))
            if rolled_back == inner:
                raise Rollback
        if rolled_back == outer:
            raise Rollback
    assert done == []


def test_failure_after_the_commit_is_logged(other_database, done, caplog):
    def fail() -> None:
        raise ZeroDivisionError

    with transaction.atomic():
        after_commit(fail, open_transactions(None))
        after_commit(lambda: done.append("now"), open_transactions(None))
    assert done == ["now"]
    assert "ZeroDivisionError" in caplog.text


def test_unknown_database_is_the_callers_mistake():
    with pytest.raises(ConnectionDoesNotExist):
        open_transactions("nope")


class InTestCase(TestCase):
    """Whose transaction never commits."""

    def test_transaction_of_the_test_is_waited_for_where_there_is_no_other(self):
        assert open_transactions(None) == ("default",)
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            after_commit(lambda: None, open_transactions(None))
        assert len(callbacks) == 1
