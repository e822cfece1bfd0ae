"""A node whose channels have a history, with a store and a layer that fail as a test tells them."""

from __future__ import annotations

import asyncio
from typing import Any

from channels_realtime.nodes.groups import group_name
from channels_realtime.nodes.outgoing import Outcome, Outgoing
from channels_realtime.protocol.messages import Publication
from channels_realtime.stores.history.base import HistoryStore
from channels_realtime.stores.history.memory import MemoryHistory
from tests.support.nodes import FakeClient, NodeHarness, subscribe
from tests.support.virtual_time import settle

CHANNEL = "stored/a"


class ScriptedStore(MemoryHistory):
    """The memory store, until told otherwise."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.away = False
        self.late = asyncio.Event()
        self.late.set()
        """Unset, what was read arrives later."""
        self.deaf = False
        """Whether appends are kept, and their answers lost."""
        self.calls: list[str] = []

    async def _script(self, method: str) -> None:
        self.calls.append(method)
        await asyncio.sleep(0)
        if self.away:
            raise OSError("refused")

    async def append(self, request):
        await self._script("append")
        appended = await super().append(request)
        if self.deaf:
            raise OSError("reset")
        return appended

    async def read(self, stream, since=None, *, limit, reverse=False):
        await self._script("read")
        page = await super().read(stream, since, limit=limit, reverse=reverse)
        await self.late.wait()
        return page

    async def newest(self, streams):
        await self._script("newest")
        return await super().newest(streams)

    async def changes(self, seen):
        await self._script("changes")
        return await super().changes(seen)


STORE = f"{__name__}.ScriptedStore"


class HistoryHarness(NodeHarness):
    """A node with a store that can be away, whose layer loses what it is told to."""

    def __init__(self, **config) -> None:
        super().__init__(history_store=STORE, heartbeat_interval=3_600.0, **config)

    @property
    def store(self) -> ScriptedStore:
        store: HistoryStore = self.node.history
        assert isinstance(store, ScriptedStore)
        return store

    async def publish(
        self, *payloads: Any, channel: str = CHANNEL, lost: bool = False, **fields: Any
    ) -> list[Outcome]:
        """Publish; ``lost`` on the way to this node."""
        layer, sent = self.layer, []
        group = group_name(self.node.config.group_prefix, channel)
        history = self.node.routes.resolve(channel).kept()
        if lost:
            layer.deaf_groups.add(group)
        for payload in payloads:
            publication = Publication(channel, payload, **fields)
            outgoing = Outgoing(
                publication=publication, history=history, state_key=publication.state_key
            )
            sent.append(await self.node.publish(outgoing))
        layer.deaf_groups.discard(group)
        await settle()
        return sent

    async def subscribed(self, channel: str = CHANNEL) -> FakeClient:
        client = await self.open()
        (reply,) = await client.ask(subscribe(channel))
        assert reply["type"] == "subscribed"
        return client


def told(client: FakeClient) -> list:
    """Payloads of the messages since the last time, and pushed ``subscribed``."""
    return [
        one["payload"] if one["type"] == "message" else (one["type"], one["payload"])
        for one in client.take()
    ]


async def past(seconds: float) -> None:
    await asyncio.sleep(seconds)
    await settle()
