"""Tells the admin's list of connections that rows have changed, over a channel of the package's own.

In: the registry of a node has written rows. Out: ``{"changed": true}``, at most once a second for each
node, and no more than that: what changed is read by those who may read it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import ClassVar

from ..channels import Channel
from ..errors import Unavailable
from ..hook_client import Client
from ..nodes.node import Node, Service
from ..nodes.outgoing import Outgoing
from ..protocol.messages import Publication

logger = logging.getLogger(__name__)

CHANNEL = "realtime/admin/connections"

INTERVAL_S = 1.0
"""Between two publications of the same node."""


class ConnectionsChanged(Channel):
    """For staff who may see the list of connections; asked again while they watch."""

    recheck_interval: ClassVar[float | None] = 60.0

    def can_subscribe(self, connection: Client) -> bool:
        """Whether the user may open the list."""
        user = connection.user
        return bool(
            getattr(user, "is_active", False)
            and getattr(user, "is_staff", False)
            and user.has_perm("channels_realtime.view_connectionrecord")
        )


class Feed(Service):
    """Publishes a node's changes."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._publishing = False
        self._changed = False

    def rows_changed(self) -> None:
        """The registry has written rows; never waits."""
        self._changed = True
        if not self._publishing:
            self._publishing = True
            self._node.spawn(self._publish(), "telling the admin that connections changed")

    async def _publish(self) -> None:
        try:
            while self._changed:
                self._changed = False
                try:
                    changed = Publication(channel=CHANNEL, payload={"changed": True})
                    await self._node.publish(Outgoing(publication=changed))
                except Unavailable as error:  # the page looks for itself at intervals
                    logger.debug("The admin was not told of changes: %s", error.reason)
                await asyncio.sleep(INTERVAL_S)
        finally:
            self._publishing = False
