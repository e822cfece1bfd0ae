"""Consumers that the tests put the mixins on."""

from __future__ import annotations

import asyncio
from typing import Any

from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)

from channels_realtime.access.limits import AccessLimits
from channels_realtime.access.revocation import Revocations
from channels_realtime.nodes.node import Node
from tests.support.asgi_socket import TIMEOUT_S, AsgiSocket

KINDS = (
    AsyncWebsocketConsumer,
    AsyncJsonWebsocketConsumer,
    WebsocketConsumer,
    JsonWebsocketConsumer,
)


def echoing(kind: type) -> type:
    """A consumer of this kind that sends back each frame as ``{"echo": <its text>}``."""
    import json

    if getattr(kind, "_sync", False):

        class Echo(kind):  # type: ignore[misc, valid-type]
            def receive(self, text_data=None, bytes_data=None):
                self.send(text_data=json.dumps({"echo": text_data}))
    else:

        class Echo(kind):  # type: ignore[misc, valid-type, no-redef]
            async def receive(self, text_data=None, bytes_data=None):
                await self.send(text_data=json.dumps({"echo": text_data}))

    return Echo


def made(*bases: type, **attributes: Any) -> Any:
    """An application of a class with these bases and attributes."""
    return type("Made", bases, attributes).as_asgi()  # type: ignore[attr-defined]


async def closing(socket: AsgiSocket) -> int:
    """The close code that must come next."""
    event = await socket.event()
    assert event["type"] == "websocket.close", event
    return int(event["code"])


async def echoed(socket: AsgiSocket, text: str) -> None:
    """The consumer answers: it has this text, and nothing else was sent before its answer."""
    socket.send_text(text)
    assert await socket.read() == {"echo": text}


async def until(condition: Any) -> None:
    """Let others run until it is true."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - of whatever, in tests
            await asyncio.sleep(0.001)


def sending(node: Node) -> bool:
    """Whether a consumer waits for its client to read what it sends."""
    return any(connection._transport._sending for connection in node.connections.values())


async def ended(socket: AsgiSocket) -> None:
    """The application has ended, though the client did not go."""
    assert socket.task is not None
    await asyncio.wait_for(socket.task, TIMEOUT_S)


async def nothing_left(node: Node) -> None:
    """Whoever was there has gone, with all they held."""
    await until(lambda: not node._tasks)
    assert node.connections == {}
    assert len(node.hub) == 0
    assert len(node.timers) == 0
    assert node.service(Revocations)._by_key == {}
    assert node.service(AccessLimits)._by_address == {}
    assert node.service(AccessLimits)._by_user == {}
    assert [m.group for m in node.broker._memberships.values() if m.references] == []
    await until(lambda: not _tasks_of_connections())


def _tasks_of_connections() -> list[asyncio.Task[Any]]:
    known = {
        *("inbox", "groups", "revocation-poll", "sweep", "revocations", "limits"),
        *("samples", "blocks"),
    }
    return [
        task
        for task in asyncio.all_tasks()
        if task is not asyncio.current_task()
        and task.get_name().removeprefix("realtime-") not in known
        and not task.get_name().startswith(
            "writing "
        )  # what is written behind, for all connections
    ]
