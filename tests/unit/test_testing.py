"""Capturing publications in the tests of sites."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.test import SimpleTestCase, TestCase, TransactionTestCase

from channels_realtime import apublish, publish, publish_many, publish_to_user
from channels_realtime.errors import UnknownChannel
from channels_realtime.testing import capture_publications


class Rollback(Exception):
    pass


def payloads(captured) -> list:
    return [publication.payload for publication in captured]


class InsideATestCase(TestCase):
    """Whose own transaction never commits."""

    def test_publication_is_captured(self):
        with capture_publications() as published:
            publish("public/a", {"n": 1}, event="e")
            assert len(published) == 1
        assert published[0].channel == "public/a"
        assert published[0].payload == {"n": 1}
        assert published[0].event == "e"
        assert len(published) == 1

    def test_publication_of_an_atomic_block_is_captured_once_it_was_left(self):
        with capture_publications() as published:
            with transaction.atomic():
                publish("public/a", 1)
                assert payloads(published) == []
                with transaction.atomic():
                    publish("public/a", 2)
                assert payloads(published) == []
            assert payloads(published) == [1, 2]

    def test_publication_that_was_rolled_back_is_not_captured(self):
        with capture_publications() as published:
            with suppress(Rollback), transaction.atomic():
                publish("public/a", 1)
                raise Rollback
            with transaction.atomic():
                publish("public/a", "outer")
                with suppress(Rollback), transaction.atomic():
                    publish("public/a", "inner")
                    raise Rollback
        assert payloads(published) == ["outer"]

    def test_publication_that_does_not_wait_is_captured_whatever_follows(self):
        with capture_publications() as published, suppress(Rollback), transaction.atomic():
            publish("public/a", 1, on_commit=False)
            raise Rollback
        assert payloads(published) == [1]

    def test_order_is_that_of_the_calls(self):
        with capture_publications() as published:
            publish("public/a", 1)
            with transaction.atomic():
                publish_many([("public/a", 2), ("public/b", 3)])
            publish("public/a", 4, on_commit=False)
        assert payloads(published) == [1, 2, 3, 4]
        assert payloads(published.to("public/b")) == [3]

    def test_captured_stays_when_the_block_is_over(self):
        with capture_publications() as published:
            publish("public/a", 1)
        with capture_publications() as others:
            publish("public/a", 2)
        assert (payloads(published), payloads(others)) == ([1], [2])

    def test_inner_capture_takes_all(self):
        with capture_publications() as outer:
            publish("public/a", 1)
            with capture_publications() as inner:
                publish("public/a", 2)
            publish("public/a", 3)
        assert (payloads(outer), payloads(inner)) == ([1, 3], [2])

    def test_mistakes_are_raised_as_without_a_capture(self):
        with capture_publications() as published, pytest.raises(UnknownChannel):
            publish("nope", 1)
        assert len(published) == 0

    def test_capture_ends_when_the_block_raises(self):
        from channels_realtime.testing import captures

        with suppress(Rollback), capture_publications() as published:
            publish("public/a", 1)
            raise Rollback
        assert payloads(published) == [1]
        assert captures.current() is None

    def test_capture_works_beside_djangos_own_of_commits(self):
        with capture_publications() as published:
            with self.captureOnCommitCallbacks(execute=True):
                publish("public/a", 1)
            assert payloads(published) == [1]
        assert payloads(published) == [1]

    def test_users_and_async_publications_are_captured(self):
        with capture_publications() as published:
            publish_to_user(7, 1)
            async_to_sync(apublish)("public/a", 2)
        assert [(p.channel, p.payload) for p in published] == [("users/7", 1), ("public/a", 2)]

    def test_publication_of_another_thread_is_captured(self):
        with capture_publications() as published:
            thread = threading.Thread(target=publish, args=("public/a", 1))
            thread.start()
            thread.join()
        assert payloads(published) == [1]


class SetUpTestData(TestCase):
    @classmethod
    def setUpTestData(cls):
        with capture_publications() as cls.published:
            publish("public/a", 1)

    def test_publication_is_captured_there_too(self):
        assert payloads(self.published) == [1]


class InsideATransactionTestCase(TransactionTestCase):
    """Whose commits are real."""

    def test_publication_outside_a_transaction_is_captured_at_once(self):
        with capture_publications() as published:
            publish("public/a", 1)
            assert payloads(published) == [1]

    def test_publication_is_captured_once_it_was_committed(self):
        with capture_publications() as published:
            with transaction.atomic():
                publish("public/a", 1)
                assert payloads(published) == []
            assert payloads(published) == [1]

    def test_publication_that_was_rolled_back_is_not_captured(self):
        with capture_publications() as published, suppress(Rollback), transaction.atomic():
            publish("public/a", 1)
            raise Rollback
        assert payloads(published) == []


class WithoutADatabase(SimpleTestCase):
    def test_publication_is_captured(self):
        with capture_publications() as published:
            publish("public/a", 1)
        assert payloads(published) == [1]
        assert repr(published).startswith("<Captured [CapturedPublication(")
        assert payloads(published[0:1]) == [1]
