"""What a measurement changes of a site's settings, and what its two references do."""

from __future__ import annotations

import pytest

from channels_realtime.benchmark import applications, references
from channels_realtime.benchmark.applications import overrides
from channels_realtime.config import Config
from channels_realtime.settings import problems
from tests.support.asgi_socket import AsgiSocket


def test_measurement_has_groups_of_its_own_and_takes_anonymous_clients() -> None:
    changed = overrides(Config(), "realtime-bench-1")
    assert changed["GROUP_PREFIX"] == "realtime-bench-1"
    assert changed["ALLOW_ANONYMOUS"] is True
    assert list(problems(changed)) == []


def test_limits_of_the_site_are_raised_and_those_that_it_has_not_stay_away() -> None:
    changed = overrides(Config(max_connections_per_address=10, connection_publishes=(1, 1)), "p")
    assert changed["MAX_CONNECTIONS_PER_ADDRESS"] > 1_000_000
    assert changed["CONNECTION_PUBLISHES"][0] > 1_000_000
    assert "MAX_CONNECTIONS_PER_USER" not in changed
    assert "USER_MESSAGES" not in changed
    assert list(problems(changed)) == []


def test_module_has_no_other_applications() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        applications.nothing  # noqa: B018


@pytest.mark.django_db  # Channels looks after the connections of its thread
@pytest.mark.parametrize("name", ["bare", "plain_channels"])
async def test_reference_delivers_to_subscribers_and_answers_pings(name: str) -> None:
    application = getattr(references, name)
    async with AsgiSocket(application) as here, AsgiSocket(application) as there:
        assert here.accepted is not None
        assert here.accepted["subprotocol"] == "realtime.v1.json"
        for socket, channel in ((here, "a"), (there, "b")):
            socket.send({"type": "subscribe", "channel": channel})
            assert await socket.read() == {"type": "subscribed", "channel": channel}
        there.send({"type": "publish", "channel": "a", "payload": {"n": 1}})
        message = {"type": "message", "channel": "a", "payload": {"n": 1}}
        assert await here.read() == message
        there.send({"type": "ping"})
        assert await there.read() == {"type": "pong"}
        here.send({"type": "unsubscribe", "channel": "a"})
        assert await here.read() == {"type": "unsubscribed", "channel": "a"}
        there.send({"type": "publish", "channel": "a", "payload": {"n": 2}})
        here.send({"type": "ping"})
        assert await here.read() == {"type": "pong"}
    assert references._subscribers == {}
