"""Signals about connections and members, for a site's own logs, metrics and rules.

Messages send no signal, because that would cost a call per delivery. Receivers, sync or async, are
called after the event, independently of the connection: a slow receiver delays no connection, and a
failing one is logged. ``sender`` is the node, the runtime of one server process. ``connection`` is
the same object as in hooks (``id``, ``user``, ``identity``,
``client_address``, ``scope`` …).
"""

from __future__ import annotations

from django.dispatch import Signal

connected = Signal()
"""A connection was accepted and has an identity. Sent once for each, also for one that is about to
resume a session. Arguments: ``connection``."""

disconnected = Signal()
"""A connection has ended. Sent once for each, though its session may be resumed. Where it was, the
connection that resumed it has the same id and goes on: this signal may come before or after ``resumed``,
and has the code 4409 if the earlier connection was still open. Arguments: ``connection``, ``code`` (the
close code that the server sent, or None if the client closed it or was lost)."""

resumed = Signal()
"""A connection has resumed the session of an earlier one and taken on its public id. Arguments:
``connection`` (its ``id`` is the earlier one's from now on), ``replaced`` (the id that it had until now, as
``connected`` was sent with it)."""

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

member_joined = Signal()
"""A member joined a channel with presence: its first connection there. Sent once over all processes, by
the one that the store gave the decision to; not sent where that process ends before. Arguments:
``channel`` (its name), ``namespace``, ``member`` (``id``, ``user``, ``info``)."""

member_left = Signal()
"""A member left a channel with presence, after its grace time. Sent and with arguments as
``member_joined``."""

channel_occupied = Signal()
"""A channel with presence got its first member. Sent once over all processes, as ``member_joined``.
Arguments: ``channel`` (its name), ``namespace``."""

channel_vacated = Signal()
"""The last member of a channel with presence left. Sent and with arguments as ``channel_occupied``."""
