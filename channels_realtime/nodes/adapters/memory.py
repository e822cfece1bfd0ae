"""The way to Channels' in-memory layer, inside the process.

That layer looks through every group and queue of the process at each message it sends and receives, makes
a task for each member and a deep copy, and drops what is sent to 100 that wait. Here a message goes from its
sender to the inboxes of the layer's own ``groups`` at once, and a sender waits while an inbox is behind.
Code that uses the layer itself is reached as before: members of a group that are no inboxes get the message by
``layer.send``, and what is sent to an inbox by others comes through the layer.
"""

from __future__ import annotations

import asyncio
import copy
import weakref
from collections.abc import Callable, Hashable
from typing import Any

from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer

from .base import LayerAdapter, Take, WaitingMessages, is_untouched

_METHODS = ("send", "receive", "new_channel", "group_add", "group_discard", "group_send")

_inboxes: weakref.WeakKeyDictionary[Any, dict[str, WaitingMessages]] = weakref.WeakKeyDictionary()
"""The inboxes of each layer, whichever event loop of the process they belong to."""


class MemoryAdapter(LayerAdapter):
    """See the module's documentation."""

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self._inboxes = _inboxes.setdefault(layer, {})
        self._waiting: list[asyncio.Future[None]] = []

    @staticmethod
    def suits(layer: Any) -> bool:
        """Whether the layer is the in-memory one, with its own methods and its dict of groups."""
        return (
            type(layer) is InMemoryChannelLayer
            and is_untouched(layer, InMemoryChannelLayer, _METHODS)
            and isinstance(getattr(layer, "groups", None), dict)
        )

    async def group_send(
        self, group: str, message: dict[str, Any], timeout: float | None = None
    ) -> None:
        behind = False
        for channel in tuple(self._layer.groups.get(group, ())):
            inbox = self._inboxes.get(channel)
            if inbox is None:
                try:
                    await self._layer.send(channel, message)
                except ChannelFull:
                    pass  # as the layer does
                continue
            # A publication's body is bytes, so receivers share nothing; a control message is a dict.
            own = copy.deepcopy(message) if "control" in message else message
            if inbox.is_of_this_loop:
                behind = inbox.put(own) or behind
            else:
                inbox.put_from_thread(own)
        if behind:
            async with asyncio.timeout(timeout):
                await self._room()

    def sends_at_once(self, group: str) -> bool:
        """Where all members are inboxes, and none of this loop's is behind.

        A group without members holds nobody up: a client that floods it would have whole turns of the loop.
        """
        members = self._layer.groups.get(group, ())
        for channel in members:
            inbox = self._inboxes.get(channel)
            if inbox is None or not inbox.has_room:
                return False
        return bool(members)

    def probe_key(self, group: str) -> Hashable:
        """All are in the layer's own dict once ``group_add`` has returned."""
        return None

    async def _room(self) -> None:
        room = asyncio.get_running_loop().create_future()
        self._waiting.append(room)
        await room

    def _drained(self) -> None:
        waiting, self._waiting = self._waiting, []
        for room in waiting:
            if not room.done():
                room.set_result(None)

    def listen(self, inbox: str, take: Take, lost: Callable[[], None]) -> None:
        self._inboxes[inbox] = WaitingMessages(take, self._drained)
        super().listen(inbox, take, lost)

    def stop_listening(self, inbox: str) -> asyncio.Task[None] | None:
        messages = self._inboxes.pop(inbox, None)
        if messages is not None:
            messages.clear()
            self._drained()
        return super().stop_listening(inbox)
