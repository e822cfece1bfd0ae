"""Mixins that give a site's own Channels consumer the parts of this package.

Each mixin stands before the consumer class, in any order::

    class ChatConsumer(OriginMixin, HeartbeatMixin, AsyncJsonWebsocketConsumer): ...

With any of them, the connection is counted, refused where the process is full or draining, closed
with 4503 when the process drains, and freed at its end.
"""

from __future__ import annotations

from .authentication import AuthenticationMixin
from .base import ConsumerMixin
from .heartbeat import HeartbeatMixin
from .multiplexing import ChannelsMixin, ConsumerChannels, SyncConsumerChannels
from .origin import OriginMixin
from .throttle import FROM_SETTINGS, ThrottleMixin

__all__ = [
    "FROM_SETTINGS",
    "AuthenticationMixin",
    "ChannelsMixin",
    "ConsumerChannels",
    "ConsumerMixin",
    "HeartbeatMixin",
    "OriginMixin",
    "RealtimeMixin",
    "SyncConsumerChannels",
    "ThrottleMixin",
]


class RealtimeMixin(OriginMixin, AuthenticationMixin, HeartbeatMixin, ThrottleMixin, ChannelsMixin):
    """All of them."""
