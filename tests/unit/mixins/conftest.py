"""A node whose time passes when a test says so, and the consumers' ends of what it serves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from channels.layers import get_channel_layer

from channels_realtime import services
from channels_realtime.nodes.node import Node, place, running_node
from channels_realtime.settings import get_config
from tests.unit.auth.credentials import FakeClock


@pytest.fixture(autouse=True)
def _database(transactional_db: None) -> None:
    """Channels looks at the database connections of its thread before each event."""


@pytest.fixture
def configure(settings: Any) -> Callable[..., None]:
    """Change ``CHANNELS_REALTIME``, before the first connection."""
    settings.CHANNEL_LAYERS = dict(settings.CHANNEL_LAYERS)  # a layer of this test's own

    def change(**changes: Any) -> None:
        settings.CHANNELS_REALTIME = {**settings.CHANNELS_REALTIME, **changes}

    change(
        REVOCATION_POLL_INTERVAL=1_000.0,
        SWEEP_INTERVAL=1_000.0,
        HEARTBEAT_INTERVAL=20.0,
        HEARTBEAT_TIMEOUT=10.0,
    )
    return change


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def make_node(configure: Any, clock: FakeClock) -> AsyncIterator[Callable[[], Node]]:
    """Makes this loop's node with the settings in force by then."""

    def make() -> Node:
        config = get_config()
        node = services.make_node(config, get_channel_layer(config.channel_layer), clock=clock)
        place(node)
        return node

    yield make
    node = running_node()
    if node is not None:
        await node.stop()


@pytest.fixture
async def node(make_node: Callable[[], Node]) -> Node:
    return make_node()
