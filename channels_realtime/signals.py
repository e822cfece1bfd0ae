"""Signals of what happens to connections, for a site's own logs, metrics and rules.

None is sent for a message: that would be a call a delivery. Receivers, sync or async, are called
after the fact and apart from the connection: a slow one delays nobody, a failing one is logged.
``sender`` is the node. ``connection`` has what hooks see (``id``, ``user``, ``identity``,
``client_address``, ``scope`` …).
"""

from __future__ import annotations

from django.dispatch import Signal

connected = Signal()
"""A connection was welcomed. Arguments: ``connection``."""

disconnected = Signal()
"""A connection is gone. Arguments: ``connection``, ``code`` (the close code that the server sent, or
None where the client left or was lost)."""

subscribed = Signal()
"""Arguments: ``connection``, ``channel`` (its name)."""

unsubscribed = Signal()
"""Arguments: ``connection``, ``channel``."""

denied = Signal()
"""A handshake or a credential was refused. Arguments: ``scope``, ``reason`` (``"origin"``,
``"credentials"``, ``"full"``, ``"draining"``, ``"address"``, ``"blocked"``)."""

throttled = Signal()
"""A connection was over a limit for the first time within a while. Arguments: ``connection``,
``limit`` (the setting's key, or ``"publish_rate"`` for a channel class's own)."""

slow = Signal()
"""A client did not keep up, for the first time within a while: with the ``policy`` ``"close"`` its
queue was full and it was closed, with another one messages were dropped. Arguments: ``connection``,
``policy``."""
