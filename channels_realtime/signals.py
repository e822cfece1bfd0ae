"""Signals about connections, for a site's own logs, metrics and rules.

Messages send no signal, because that would cost a call per delivery. Receivers, sync or async, are
called after the event, independently of the connection: a slow receiver delays no connection, and a
failing one is logged. ``sender`` is the node, the runtime of one server process. ``connection`` is
the same object as in hooks (``id``, ``user``, ``identity``,
``client_address``, ``scope`` …).
"""

from __future__ import annotations

from django.dispatch import Signal

connected = Signal()
"""A connection was accepted and has an identity. Arguments: ``connection``."""

disconnected = Signal()
"""A connection has ended. Arguments: ``connection``, ``code`` (the close code that the server sent, or
None if the client closed it or was lost)."""

subscribed = Signal()
"""A connection subscribed to a channel. Arguments: ``connection``, ``channel`` (its name)."""

unsubscribed = Signal()
"""A subscription ended. Arguments: ``connection``, ``channel`` (its name)."""

denied = Signal()
"""A handshake or credentials were refused. Arguments: ``scope``, ``reason`` (``"origin"``,
``"credentials"``, ``"full"``, ``"draining"``, ``"address"``, ``"blocked"``)."""

throttled = Signal()
"""A connection exceeded a rate limit; repetitions within a while send no signal. Arguments:
``connection``, ``limit`` (the setting's key, or ``"publish_rate"`` for a channel class's limit)."""

slow = Signal()
"""A client's queue was full; repetitions within a while send no signal. With the ``policy``
``"close"`` the connection was closed, with another policy messages were dropped. Arguments:
``connection``, ``policy``."""
