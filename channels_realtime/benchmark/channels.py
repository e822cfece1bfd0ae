"""The channel of the measurements; only ``applications`` imports it, in a server."""

from __future__ import annotations

from ..channels import Channel, action, register
from ..hook_client import Client
from ..services import current_node
from .applications import CHANNEL


@register(CHANNEL + "<str:name>")
class BenchChannel(Channel):
    """Everybody may subscribe and publish. Its hooks are sync, as most sites write them."""

    public = True

    def can_publish(self, connection: Client) -> bool:
        """Let everybody."""
        return True

    @action
    async def node(self, connection: Client, payload: None) -> str:
        """The id of the node, so that the command can look for what it left."""
        return current_node().id
