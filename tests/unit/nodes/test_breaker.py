"""A channel layer that does not answer is not waited for by one caller after another."""

from __future__ import annotations

import logging

import pytest

from channels_realtime.errors import Unavailable
from channels_realtime.nodes import envelope
from channels_realtime.nodes.breaker import Breaker, breaker_of
from channels_realtime.protocol.messages import Publication
from tests.support.scripted_layer import ScriptedLayer

REFUSED = "the channel layer does not answer; it is tried again every 2 seconds"


def opened() -> Breaker:
    """A breaker whose layer kept its last caller waiting until the time 105."""
    breaker = Breaker()
    assert breaker.timeout(100.0, 5.0) == 5.0
    breaker.failed(105.0, 5.0, 5.0)
    return breaker


def test_breaker_refuses_at_once_when_the_last_caller_waited_in_vain():
    breaker = opened()
    for now in (105.0, 106.99):
        with pytest.raises(Unavailable) as caught:
            breaker.timeout(now, 5.0)
        assert caught.value.reason == REFUSED
    assert breaker.failing is True


def test_breaker_lets_one_short_try_through_after_its_pause():
    breaker = opened()
    assert breaker.timeout(107.0, 5.0) == 1.0
    with pytest.raises(Unavailable):
        breaker.timeout(107.0, 5.0)
    breaker.failed(108.0, 1.0, 5.0)
    with pytest.raises(Unavailable):
        breaker.timeout(109.9, 5.0)
    assert breaker.timeout(110.0, 0.3) == 0.3


def test_breaker_tries_again_when_a_try_was_never_reported():
    """Its caller was cancelled."""
    breaker = opened()
    breaker.timeout(107.0, 5.0)
    assert breaker.timeout(110.0, 5.0) == 1.0


def test_breaker_closes_and_says_so_when_the_layer_takes_a_message(caplog):
    caplog.set_level(logging.INFO)
    breaker = opened()
    breaker.failed(105.0, 5.0, 5.0)  # others that were waiting
    breaker.sent()
    breaker.sent()
    assert breaker.timeout(105.0, 5.0) == 5.0
    assert breaker.failing is False
    assert [record.getMessage() for record in caplog.records] == [
        "The channel layer does not answer: until it does, what is sent fails at once, and it"
        " is tried again every 2 seconds",
        "The channel layer answers again",
    ]


def test_breaker_stops_nothing_when_a_layer_fails_at_once():
    breaker = Breaker()
    breaker.failed(100.0, 0.01, 5.0)
    assert breaker.timeout(100.0, 5.0) == 5.0
    assert breaker.failing is True
    breaker.sent()
    assert breaker.failing is False


def test_breaker_is_the_layers_own():
    layer = ScriptedLayer()
    assert breaker_of(layer) is breaker_of(layer)
    assert breaker_of(layer) is not breaker_of(ScriptedLayer())


@pytest.mark.parametrize("message", ["publication", "control message"])
async def test_layer_that_hangs_is_asked_once(settings, message):
    settings.CHANNELS_REALTIME = {"PUBLISH_TIMEOUT": 0.05}
    layer = ScriptedLayer()
    layer.hanging.add("group_send")

    async def send() -> None:
        if message == "publication":
            await envelope.send(layer, "realtime", Publication("public/a", 1), 0.05)
        else:
            await envelope.send_control(layer, "realtime", {"kind": "answer"}, 0.05)

    with pytest.raises(Unavailable) as caught:
        await send()
    assert caught.value.reason == f"the channel layer did not take the {message}: TimeoutError"
    for _ in range(3):
        with pytest.raises(Unavailable) as caught:
            await send()
        assert caught.value.reason == REFUSED
    assert layer.calls["group_send"] == 1
