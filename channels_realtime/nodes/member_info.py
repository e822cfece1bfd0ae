"""Asks channel classes what others may see of those who enter, for many of them at once.

In: connections that enter a channel. Out: their members, with what ``Channel.members_info`` says of
them. Those who enter together, and those who come while a class is being asked, are one call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ..channels import Channel
from ..hook_client import Client
from ..runtime.encoding import normalise_payload, payload_size
from .node import Node

if TYPE_CHECKING:
    from .presence import Stay

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 500
"""Members in one call: what databases take in one ``IN``."""

MAX_INFO_BYTES = 4_096
"""What one member's information may take, as JSON."""


class MemberInfo:
    """Fetches the information of members.

    Args:
        node: runs the hooks.
        done: takes each when its information is there, or could not be had.
    """

    def __init__(self, node: Node, done: Callable[[Stay], None]) -> None:
        self._node = node
        self._done = done
        self._waiting: dict[tuple[type[Channel], str], dict[Stay, None]] = {}
        self._tasks: dict[tuple[type[Channel], str], asyncio.Task[None]] = {}

    def want(self, stay: Stay) -> None:
        """Have the information of a member, as soon as its class says it."""
        channel_class = type(stay.channel)
        if not channel_class.has_members_info():
            self._done(stay)
            return
        key = (channel_class, stay.channel.namespace)
        self._waiting.setdefault(key, {})[stay] = None
        if key not in self._tasks:
            self._tasks[key] = self._node.loop.create_task(
                self._fetch(key), name="realtime-members-info"
            )

    def close(self) -> None:
        """Ask no more."""
        for task in self._tasks.values():
            task.cancel()

    async def _fetch(self, key: tuple[type[Channel], str]) -> None:
        try:
            await asyncio.sleep(0)  # those who enter together are asked for together
            waiting = self._waiting[key]
            while waiting:
                batch = list(waiting)[:MOST_AT_ONCE]
                for stay in batch:
                    del waiting[stay]
                await self._inform([stay for stay in batch if not stay.gone])
        finally:
            del self._tasks[key], self._waiting[key]

    async def _inform(self, stays: list[Stay]) -> None:
        if not stays:
            return
        found: Mapping[str, Any] = {}
        channel_class = type(stays[0].channel)
        try:
            found = await self._ask(channel_class, [stay.connection for stay in stays])
        except Exception:
            logger.exception("%s.members_info failed", channel_class.__qualname__)
        for stay in stays:
            info = found.get(stay.connection.id, found.get(stay.member.user or ""))
            stay.member = msgspec.structs.replace(
                stay.member, info=self._checked(info, channel_class)
            )
            self._done(stay)

    async def _ask(self, channel_class: type[Channel], clients: list[Client]) -> Mapping[str, Any]:
        node = self._node
        hook = node.context.around(clients[0].scope, channel_class.members_info)
        answer = await node.hooks.run(hook, clients)
        if not isinstance(answer, Mapping):
            raise TypeError(
                f"it returned {type(answer).__name__}; expected a dict of information by"
                " user id or connection id"
            )
        return {str(key): info for key, info in answer.items()}

    def _checked(self, info: Any, channel_class: type[Channel]) -> Any:
        if info is None:
            return None
        try:
            normal = normalise_payload(info)
            size = payload_size(normal)
            if size > MAX_INFO_BYTES:
                raise ValueError(f"{size} bytes; expected at most {MAX_INFO_BYTES}")
        except Exception as error:
            logger.error(
                "%s.members_info: what it says of a member cannot be sent: %s",
                channel_class.__qualname__,
                error,
            )
            return None
        return normal
