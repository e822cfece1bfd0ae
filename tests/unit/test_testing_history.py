"""Channels that keep something, in the tests of sites."""

from __future__ import annotations

import pytest
from django.db import transaction
from django.test import TestCase

from channels_realtime import channels, history, publish
from channels_realtime.errors import RealtimeError
from channels_realtime.testing import RealtimeClient
from tests.support.kept_channels import fresh, registered


@pytest.fixture(autouse=True)
def _kinds():
    with registered(channels.registry):
        yield


@pytest.mark.usefixtures("_kinds")
class KeptChannels(TestCase):
    def test_publications_of_the_test_have_positions_and_are_kept(self):
        name = fresh("numbered")
        with RealtimeClient() as client:
            start = client.subscribe(name)
            with transaction.atomic():
                publish(name, 1)
            publish(name, 2)
            assert [message["offset"] for message in client.received()] == [1, 2]
            assert [one.payload for one in history(name)] == [1, 2]
            kept = client.history(name, limit=1, reverse=True)
            assert [message["payload"] for message in kept["messages"]] == [2]
            with RealtimeClient() as late:
                assert late.subscribe(name, since=start)["recovered"] is True
                assert [message["payload"] for message in late.received()] == [1, 2]

    def test_state_comes_first_and_a_key_counts_once(self):
        name = fresh("keyed")
        with RealtimeClient() as client:
            publish(name, 1, state_key="a", key="k")
            publish(name, 1, state_key="a", key="k")
            client.subscribe(name)
            [message] = client.received()
            assert (message["payload"], message["offset"], message["state"]) == (1, 1, True)
            assert client.publish(name, 2, state_key="a", key="k")["duplicate"] is False
            with pytest.raises(RealtimeError) as refused:
                client.publish(name, 3, state_key="a", only_if={"new": True})
            assert refused.value.code == "conflict"

    def test_nothing_is_left_for_the_next_test(self):
        with RealtimeClient() as client:
            name = fresh("numbered")
            publish(name, 1)
            client.received()
        with RealtimeClient() as client:
            assert client.history(name)["messages"] == []

    def test_publisher_without_echo_gets_nothing_of_it(self):
        name = fresh("open")
        with RealtimeClient() as client, RealtimeClient() as other:
            client.subscribe(name)
            other.subscribe(name)
            publish(name, 1, exclude=client.welcome["connection_id"])
            client.publish(name, 2, echo=False)
            client.publish(name, "…", event="typing", transient=True)
            assert [message["payload"] for message in client.received()] == ["…"]
            assert [message["payload"] for message in other.received()] == [1, 2, "…"]
