"""Two ASGI applications to compare a site with: what plain Channels does, and what the server can do at most.

Both take a part of the package's messages: ``subscribe``, ``unsubscribe``, ``publish`` and ``ping``.
"""

from __future__ import annotations

import json
import os
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

LAYER_VARIABLE = "REALTIME_BENCH_LAYER"
"""The alias of the channel layer, for ``plain_channels``."""
PREFIX_VARIABLE = "REALTIME_BENCH_PREFIX"
"""Begins the names of all groups of one run."""


class PlainConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc]
    """A chat as the tutorial of Channels has it."""

    channel_layer_alias = os.environ.get(LAYER_VARIABLE, "default")

    async def connect(self) -> None:
        """Accept, with the first subprotocol that the client offers."""
        self.channels: set[str] = set()
        offered = self.scope["subprotocols"]
        await self.accept(offered[0] if offered else None)

    async def disconnect(self, code: int) -> None:
        """Leave all groups."""
        for channel in self.channels:
            await self.channel_layer.group_discard(_group(channel), self.channel_name)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Serve one message."""
        kind = content["type"]
        if kind == "subscribe":
            channel = content["channel"]
            self.channels.add(channel)
            await self.channel_layer.group_add(_group(channel), self.channel_name)
            await self.send_json({"type": "subscribed", "channel": channel})
        elif kind == "unsubscribe":
            channel = content["channel"]
            self.channels.discard(channel)
            await self.channel_layer.group_discard(_group(channel), self.channel_name)
            await self.send_json({"type": "unsubscribed", "channel": channel})
        elif kind == "publish":
            channel = content["channel"]
            event = {"type": "bench.message", "channel": channel, "payload": content["payload"]}
            await self.channel_layer.group_send(_group(channel), event)
        elif kind == "ping":
            await self.send_json({"type": "pong"})

    async def bench_message(self, event: dict[str, Any]) -> None:
        """Pass on one publication."""
        await self.send_json({**event, "type": "message"})


def _group(channel: str) -> str:
    prefix = os.environ.get(PREFIX_VARIABLE, "realtime-bench")
    return f"{prefix}.{channel.replace('/', '-')}"


_consumer: Any = PlainConsumer.as_asgi()


async def plain_channels(scope: Any, receive: Any, send: Any) -> None:
    """A consumer of plain Channels on the site's channel layer."""
    if scope["type"] == "websocket":
        await _consumer(scope, receive, send)


_subscribers: dict[str, dict[Any, None]] = {}
"""By channel, the ``send`` of each connection."""


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """One dict of subscribers: encodes once and sends in a loop, without a channel layer or any promise."""
    if scope["type"] != "websocket":
        return
    await receive()
    offered = scope["subprotocols"]
    await send({"type": "websocket.accept", "subprotocol": offered[0] if offered else None})
    mine: set[str] = set()
    try:
        while (event := await receive())["type"] == "websocket.receive":
            message = json.loads(event["text"])
            kind = message["type"]
            if kind == "subscribe":
                channel = message["channel"]
                mine.add(channel)
                _subscribers.setdefault(channel, {})[send] = None
                await _send(send, {"type": "subscribed", "channel": channel})
            elif kind == "unsubscribe":
                channel = message["channel"]
                _leave(channel, send)
                mine.discard(channel)
                await _send(send, {"type": "unsubscribed", "channel": channel})
            elif kind == "publish":
                channel = message["channel"]
                found = {
                    "type": "websocket.send",
                    "text": _encode(
                        {"type": "message", "channel": channel, "payload": message["payload"]}
                    ),
                }
                for one in tuple(_subscribers.get(channel, ())):
                    await one(found)
            elif kind == "ping":
                await _send(send, {"type": "pong"})
    finally:
        for channel in mine:
            _leave(channel, send)


def _leave(channel: str, send: Any) -> None:
    remaining = _subscribers.get(channel, {})
    remaining.pop(send, None)
    if not remaining:
        _subscribers.pop(channel, None)


async def _send(send: Any, message: dict[str, Any]) -> None:
    await send({"type": "websocket.send", "text": _encode(message)})


def _encode(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))
