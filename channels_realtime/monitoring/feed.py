"""The package's own channel: it tells the admin's list of connections that rows have changed.

In: word from the registry of each node, after it has written. Out: ``{"changed": true}``, at most
once a second a node, and no more than that: what changed is read by whoever may read it.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from typing import Any, ClassVar

from ..channels import Channel, Client, register
from ..errors import Unavailable
from ..protocol.messages import Publication
from . import registry

logger = logging.getLogger(__name__)

CHANNEL = "realtime/admin/connections"

INTERVAL_S = 1.0
"""From one word to the next of the same node."""


@register(CHANNEL)
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


_again: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()
"""The nodes that said it less than a second ago, and whether more has changed since."""


@registry.on_written
def _tell(node: Any) -> None:
    if node in _again:
        _again[node] = True
        return
    _again[node] = False
    node.spawn(_publish(node), "telling the admin that connections changed")


async def _publish(node: Any) -> None:
    try:
        while True:
            try:
                await node.publish(Publication(channel=CHANNEL, payload={"changed": True}))
            except Unavailable as error:  # the page looks for itself now and then
                logger.debug("The admin was not told of changes: %s", error.reason)
            await asyncio.sleep(INTERVAL_S)
            if not _again[node]:
                return
            _again[node] = False
    finally:
        _again.pop(node, None)
