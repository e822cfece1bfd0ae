"""The composition root: what a node runs, and what it does at the request of other processes.

To have something run in every node, write a ``Service`` and list it in ``SERVICES``; to have nodes do
something when another process asks, write a handler and list it in ``HANDLERS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from .access import blocks, revocation
from .access.blocks import Blocks
from .access.limits import AccessLimits
from .access.revocation import Revocations
from .auth.lookups import LookUps
from .auth.sweep import CredentialSweep
from .channels import ChannelRegistry
from .config import Config
from .connections import server_subscriptions, sessions
from .connections.inboxes import Inboxes
from .connections.sessions import Sessions
from .connections.user_reader import UserReader
from .endpoints import polling, routed
from .endpoints.polling import Polls
from .endpoints.routed import RoutedConnections
from .errors import Unavailable
from .monitoring import inspection, traces
from .monitoring.ended import EndedConnections
from .monitoring.feed import Feed
from .monitoring.load import LoadMonitor
from .monitoring.metrics import MetricsRecorder
from .monitoring.registry import Registry
from .monitoring.traces import Traces
from .nodes import deliveries
from .nodes.layers import configured_layer
from .nodes.node import Handler, Node, Service, place, running_node
from .nodes.presence import Presences
from .runtime.clock import Clock
from .settings import get_config

SERVICES: tuple[type[Service], ...] = (
    Revocations,
    Blocks,
    AccessLimits,
    LookUps,
    CredentialSweep,
    UserReader,
    Presences,
    Sessions,
    RoutedConnections,
    Polls,
    Inboxes,
    Feed,
    Registry,
    EndedConnections,
    MetricsRecorder,
    LoadMonitor,
    Traces,
)
"""In the order of their start; they stop in the opposite order."""

HANDLERS: Mapping[str, Handler] = {
    "revoke": revocation.revoke,
    "recheck": revocation.recheck,
    "blocks": blocks.reload,
    **server_subscriptions.HANDLERS,
    **deliveries.HANDLERS,
    "replace": sessions.replace,
    **routed.HANDLERS,
    **polling.HANDLERS,
    **inspection.HANDLERS,
    **traces.HANDLERS,
}
"""By the kind of request; see ``nodes.requests``."""


def make_node(
    config: Config,
    layer: Any,
    *,
    routes: ChannelRegistry | None = None,
    clock: Clock | None = None,
) -> Node:
    """A node with all services, for the running event loop.

    Args:
        config: the settings.
        layer: the Channels layer.
        routes: to channel classes; by default those that the apps registered.
        clock: where the time comes from.
    """
    return Node(config, layer, services=SERVICES, handlers=HANDLERS, routes=routes, clock=clock)


def require_installed() -> None:
    """Raise ImproperlyConfigured unless the package is among the apps: the node needs its tables."""
    if not apps.is_installed("channels_realtime"):
        raise ImproperlyConfigured(
            "'channels_realtime' is not in INSTALLED_APPS: add it, and run 'manage.py migrate'."
        )


def current_node() -> Node:
    """The node of the running event loop, made at its first use.

    Raises:
        ImproperlyConfigured: there is no such channel layer, the settings are wrong, or the package
            is not installed.
    """
    node = running_node()
    if node is None:
        require_installed()  # consumers with mixins, and middleware, come here alone
        config = get_config()
        try:
            layer = configured_layer(config.channel_layer)
        except Unavailable as error:
            raise ImproperlyConfigured(f"{error.reason}; events need a channel layer.") from error
        node = make_node(config, layer)
        place(node)
    return node
