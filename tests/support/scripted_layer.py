"""A channel layer that loses, fails, hangs and counts as a test tells it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from channels.layers import InMemoryChannelLayer


class ScriptedLayer(InMemoryChannelLayer):
    """The in-memory layer, until told otherwise. It passes the contract of Channels' layers."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.calls: Counter[str] = Counter()
        self.failing: dict[str, list[Exception]] = {}
        self.hanging: set[str] = set()
        self.deaf_groups: set[str] = set()
        """What is sent to these is lost, although their members are in them."""

    def fail(self, method: str, *errors: Exception) -> None:
        """The next calls of a method raise these."""
        self.failing.setdefault(method, []).extend(errors)

    def forget_groups(self) -> None:
        """Lose every membership without notice, as a Redis that was flushed."""
        self.groups.clear()

    async def _script(self, method: str) -> None:
        self.calls[method] += 1
        if method in self.hanging:
            await asyncio.Event().wait()
        errors = self.failing.get(method)
        if errors:
            raise errors.pop(0)

    async def new_channel(self, prefix: str = "specific.") -> str:
        await self._script("new_channel")
        return await super().new_channel(prefix)

    async def receive(self, channel: str) -> dict[str, Any]:
        await self._script("receive")
        return await super().receive(channel)

    async def group_add(self, group: str, channel: str) -> None:
        await self._script("group_add")
        await super().group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        await self._script("group_discard")
        await super().group_discard(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await self._script("group_send")
        if group not in self.deaf_groups:
            await super().group_send(group, message)
