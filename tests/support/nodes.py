"""A node on a fake layer and fake time, with clients that have no server between."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec

from channels_realtime import Channel
from channels_realtime.access.client_address import find_address
from channels_realtime.channels import ChannelRegistry
from channels_realtime.config import Config
from channels_realtime.connections.connection import Connection
from channels_realtime.endpoints.websocket import ENCODINGS, WebSocketTransport
from channels_realtime.nodes.node import Node
from channels_realtime.protocol.dialects.base import Dialect
from channels_realtime.protocol.dialects.realtime import RealtimeDialect
from channels_realtime.protocol.messages import Publication
from channels_realtime.protocol.subprotocols import negotiate
from channels_realtime.services import make_node
from channels_realtime.stores.history.base import History
from tests.support.scripted_layer import ScriptedLayer
from tests.support.virtual_time import VirtualClock, settle


class NoJitter:
    """Instead of the module ``random``: the heartbeat's jitter is 0."""

    @staticmethod
    def random() -> float:
        return 0.0


class Gated(Channel):
    """Its hooks wait for a gate."""

    gate: asyncio.Event
    log: list[str]

    async def can_subscribe(self, connection):
        await self.gate.wait()
        return True

    async def can_publish(self, connection):
        self.log.append(f"may {self.name}")
        await self.gate.wait()
        return True

    async def on_publish(self, connection, payload, event):
        self.log.append(payload)
        return payload

    async def on_unsubscribe(self, connection):
        self.log.append(f"left {self.name}")


class Public(Channel):
    public = True

    async def can_publish(self, connection):
        return True


class Kept(Public):
    """Keeps a short history."""

    history = History(size=20, ttl=3_600.0)


class Long(Public):
    """Keeps a long history."""

    history = History(size=5_000, ttl=3_600.0)
    select = "symbol"


class Keyed(Public):
    """Keeps the newest of each key, and a short history."""

    history = History(size=20, ttl=3_600.0)
    state = "keyed"


class FakeClient:
    """A client and its connection; keeps what the connection writes."""

    def __init__(
        self,
        node: Node,
        *,
        offered=("realtime.v1.json",),
        scope=None,
        dialect: Dialect | None = None,
    ) -> None:
        if dialect is None:
            found = negotiate(offered)
            dialect = RealtimeDialect(
                ENCODINGS[found.codec.name],
                node.config.limits,
                batches=found.negotiated,
                heartbeat=found.heartbeat,
            )
        self.node = node
        self.events: list[dict] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: BaseException | None = None
        self.dropped: list[float] = []
        scope = {"asgi": {"spec_version": "2.4"}, "extensions": {}} if scope is None else scope
        transport = WebSocketTransport(
            scope,
            self.send,
            SimpleNamespace(drop=self.drop),  # type: ignore[arg-type]
            max_frame_bytes=node.config.max_frame_bytes,
        )
        self.connection = Connection(
            node, scope, find_address(scope, node.config), transport, dialect
        )
        self.connection.begin()

    def drop(self) -> None:
        """As the endpoint's task, which ends."""
        self.dropped.append(self.node.clock.monotonic())
        self.connection.finish()

    async def send(self, event):
        if not self.gate.is_set():
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.events.append(event)

    async def open(self) -> FakeClient:
        await self.connection.welcome()
        self.take()
        return self

    def take(self) -> list:
        """What was written since the last time."""
        found = [
            msgspec.json.decode(event["text"]) if event["type"] == "websocket.send" else event
            for event in self.events
        ]
        self.events.clear()
        return found

    async def ask(self, *messages: dict) -> list:
        for message in messages:
            self.connection.receive(msgspec.json.encode(message).decode())
        await settle()
        return self.take()


class NodeHarness:
    """A node of its own, with two kinds of channels, whose clients end with it.

    Args:
        layer: shared with other nodes; by default one of its own.
        config: what differs from the default settings.
    """

    def __init__(self, *, layer: ScriptedLayer | None = None, **config: Any) -> None:
        values = {"heartbeat_interval": 25.0, "heartbeat_timeout": 10.0, "allow_anonymous": True}
        routes = ChannelRegistry()
        Gated.gate, Gated.log = asyncio.Event(), []
        routes.register("gated/<str:x>", Gated)
        routes.register("public/<str:x>", Public)
        routes.register("stored/<str:x>", Kept)
        routes.register("long/<str:x>", Long)
        routes.register("states/<str:x>", Keyed)
        self.layer = ScriptedLayer() if layer is None else layer
        self.node = make_node(
            Config(**(values | config)), self.layer, routes=routes, clock=VirtualClock()
        )
        self.clients: list[FakeClient] = []

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exception) -> None:
        for client in self.clients:
            client.gate.set()
            client.connection.finish()
        await settle()
        await self.node.stop()

    def publish(self, channel: str, payload: Any) -> None:
        """As the broker, which has got it over the layer."""
        self.node.receive(Publication(channel=channel, payload=payload))

    async def open(self, **options) -> FakeClient:
        client = FakeClient(self.node, **options)
        self.clients.append(client)
        return await client.open()


def subscribe(channel="public/a", **fields):
    return {"type": "subscribe", "channel": channel, **fields}


def publish(payload, channel="gated/a", **fields):
    return {"type": "publish", "channel": channel, "payload": payload, **fields}
