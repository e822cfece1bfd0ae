"""What the processes of a site share in its database.

Revocations and blocks are read by every node every few seconds. The others are the registry's view
of who is connected: written behind by the nodes, read by the admin, true as long as the lease of
the node that wrote them.

Rows name users, nodes and connections by text or by keys without constraints: a router may keep
them in a database of their own, and no deletion elsewhere has to wait for them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class RevocationRecord(models.Model):
    """Credentials that are over before their time.

    Every node reads these rows every few seconds, so that a lost message keeps no connection open.
    """

    key: models.CharField[str, str] = models.CharField(
        _("key"),
        max_length=300,
        help_text=_("What is revoked: session:<hash>, token:<id>, family:<id>, user:<id> …"),
    )
    not_before: models.FloatField[float, float] = models.FloatField(
        _("not before"),
        help_text=_("Credentials issued before this time are void. Seconds since the epoch."),
    )
    created_at: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        _("created at"), db_index=True
    )
    expires_at: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        _("expires at"), db_index=True
    )

    class Meta:
        verbose_name = _("revocation")
        verbose_name_plural = _("revocations")

    def __str__(self) -> str:
        return self.key


class UtcNow(Now):
    """The time by the database's own clock in UTC, which no change to summer time moves.

    MariaDB's and MySQL's ``CURRENT_TIMESTAMP`` is in the server's time zone, which Django neither
    sets nor knows.
    """

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """``UTC_TIMESTAMP`` with microseconds."""
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **context)


class NodeManager(models.Manager["NodeRecord"]):
    """Nodes, by their leases."""

    def now(self) -> UtcNow:
        """The time that leases are compared with."""
        return UtcNow()

    def alive(self) -> models.QuerySet[NodeRecord]:
        """Those whose lease has not run out, by the database's own clock."""
        return self.filter(lease_until__gt=self.now())


class NodeRecord(models.Model):
    """One node, which renews its lease as long as it lives."""

    id: models.CharField[str, str] = models.CharField(
        _("id"), max_length=32, primary_key=True, serialize=False
    )
    host: models.CharField[str, str] = models.CharField(_("host"), max_length=255)
    pid: models.PositiveIntegerField[int, int] = models.PositiveIntegerField(_("process"))
    server: models.CharField[str, str] = models.CharField(_("server"), max_length=50, blank=True)
    version: models.CharField[str, str] = models.CharField(_("version"), max_length=50)
    inbox: models.CharField[str, str] = models.CharField(
        _("inbox"),
        max_length=200,
        blank=True,
        help_text=_("Its channel in the channel layer, used to end its group memberships."),
    )
    connections: models.PositiveIntegerField[int, int] = models.PositiveIntegerField(
        _("connections"), default=0
    )
    draining: models.BooleanField[bool, bool] = models.BooleanField(_("draining"), default=False)
    started_at: models.DateTimeField[Any, datetime] = models.DateTimeField(_("started at"))
    lease_until: models.DateTimeField[Any, datetime] = models.DateTimeField(
        _("lease until"), db_index=True
    )

    objects = NodeManager()

    class Meta:
        verbose_name = _("node")
        verbose_name_plural = _("nodes")
        default_permissions = ("view",)
        permissions = [("drain_node", _("Can drain nodes"))]

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class ConnectionRecord(models.Model):
    """One connection, as its node last wrote it down."""

    connection_id: models.CharField[str, str] = models.CharField(
        _("connection"), max_length=32, primary_key=True, serialize=False
    )
    node: models.ForeignKey[Any, NodeRecord] = models.ForeignKey(
        NodeRecord,
        verbose_name=_("node"),
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
    )
    node_id: str
    user_pk: models.CharField[str, str] = models.CharField(
        _("user id"), max_length=255, blank=True, db_index=True
    )
    user_label: models.CharField[str, str] = models.CharField(
        _("user"), max_length=255, blank=True, db_index=True
    )
    address: models.CharField[str, str] = models.CharField(
        _("address"), max_length=45, blank=True, db_index=True
    )
    transport: models.CharField[str, str] = models.CharField(_("transport"), max_length=20)
    origin: models.CharField[str, str] = models.CharField(_("origin"), max_length=255, blank=True)
    path: models.CharField[str, str] = models.CharField(
        _("path"), max_length=255, blank=True, default="", db_default=""
    )
    consumer: models.CharField[str, str] = models.CharField(
        _("consumer"), max_length=255, blank=True, default="", db_default=""
    )
    user_agent: models.CharField[str, str] = models.CharField(
        _("user agent"), max_length=512, blank=True
    )
    client_id: models.CharField[str, str] = models.CharField(
        _("client id"), max_length=255, blank=True, db_index=True
    )
    auth_method: models.CharField[str, str] = models.CharField(
        _("authenticated by"), max_length=30, db_index=True
    )
    auth_source: models.CharField[str, str] = models.CharField(
        _("credentials from"), max_length=30, blank=True
    )
    auth_expires_at: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(
        _("authenticated until"), null=True, blank=True
    )
    channels: models.PositiveIntegerField[int, int] = models.PositiveIntegerField(
        _("channels"), default=0
    )
    connected_at: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        _("connected since"), db_index=True
    )
    seen_at: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        _("last seen"), help_text=_("Updated about once a minute.")
    )
    health: models.CharField[str, str] = models.CharField(
        _("health"), max_length=20, blank=True, default="", db_default=""
    )

    class Meta:
        verbose_name = _("connection")
        verbose_name_plural = _("connections")
        default_permissions = ("view",)
        permissions = [
            ("act_on_connection", _("Can disconnect, notify and otherwise act on connections")),
            ("trace_connection", _("Can trace what connections send and receive")),
        ]

    def __str__(self) -> str:
        return self.connection_id


class EndedConnectionRecord(models.Model):
    """A connection that has ended, and why; kept for ``ENDED_RETENTION`` seconds."""

    connection_id: models.CharField[str, str] = models.CharField(
        _("connection"), max_length=32, db_index=True
    )
    node_id: models.CharField[str, str] = models.CharField(_("node"), max_length=32)
    server: models.CharField[str, str] = models.CharField(_("server"), max_length=300, blank=True)
    user_pk: models.CharField[str, str] = models.CharField(_("user id"), max_length=255, blank=True)
    user_label: models.CharField[str, str] = models.CharField(_("user"), max_length=255, blank=True)
    address: models.CharField[str, str] = models.CharField(_("address"), max_length=45, blank=True)
    path: models.CharField[str, str] = models.CharField(_("path"), max_length=255, blank=True)
    user_agent: models.CharField[str, str] = models.CharField(
        _("user agent"), max_length=512, blank=True
    )
    client_id: models.CharField[str, str] = models.CharField(
        _("client id"), max_length=255, blank=True
    )
    auth_method: models.CharField[str, str] = models.CharField(_("authenticated by"), max_length=30)
    connected_at: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        _("connected since")
    )
    ended_at: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        _("ended"), db_index=True
    )
    end: models.CharField[str, str] = models.CharField(
        _("reason"),
        max_length=20,
        help_text=_("A close code of the server, or “client”, “lost” or “server”."),
    )
    detail: models.CharField[str, str] = models.CharField(_("details"), max_length=125, blank=True)

    class Meta:
        verbose_name = _("ended connection")
        verbose_name_plural = _("ended connections")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.connection_id


class SubscriptionRecord(models.Model):
    """A connection on a channel; at most ``REGISTRY_MAX_SUBSCRIPTIONS`` of a connection's are kept."""

    connection: models.ForeignKey[Any, ConnectionRecord] = models.ForeignKey(
        ConnectionRecord,
        verbose_name=_("connection"),
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="subscriptions",
    )
    connection_id: str
    channel: models.CharField[str, str] = models.CharField(
        _("channel"), max_length=255, db_index=True
    )

    class Meta:
        verbose_name = _("subscription")
        verbose_name_plural = _("channels")  # what its page in the admin is of
        default_permissions = ("view",)
        permissions = [
            ("publish_message", _("Can publish test messages")),
            ("purge_history", _("Can delete the history of channels")),
        ]

    def __str__(self) -> str:
        return self.channel


class BlockRecord(models.Model):
    """A user or an address that may not connect for a time."""

    user_pk: models.CharField[str, str] = models.CharField(
        _("user id"), max_length=255, blank=True, db_index=True
    )
    user_label: models.CharField[str, str] = models.CharField(
        _("user"), max_length=255, blank=True, editable=False
    )
    address: models.CharField[str, str] = models.CharField(
        _("address"),
        max_length=50,
        blank=True,
        help_text=_("An address or a network, such as 192.0.2.7 or 2001:db8::/64."),
    )
    until: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        _("until"), db_index=True
    )
    reason: models.CharField[str, str] = models.CharField(
        _("reason"),
        max_length=255,
        blank=True,
        help_text=_("Only staff see it; the client does not."),
    )
    created_by: models.CharField[str, str] = models.CharField(
        _("created by"), max_length=255, blank=True, editable=False
    )
    created_at: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        _("created at"), auto_now_add=True
    )

    class Meta:
        verbose_name = _("block")
        verbose_name_plural = _("blocks")

    def __str__(self) -> str:
        return self.address or self.user_label or self.user_pk


class SampleRecord(models.Model):
    """What one node counted in one interval."""

    node_id: models.CharField[str, str] = models.CharField(_("node"), max_length=32)
    at: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        _("end of the interval"), db_index=True
    )
    seconds: models.FloatField[float, float] = models.FloatField(_("seconds"))
    connections: models.PositiveIntegerField[int, int] = models.PositiveIntegerField(
        _("connections")
    )
    connected: models.PositiveIntegerField[int, int] = models.PositiveIntegerField(_("connected"))
    messages_in: models.PositiveBigIntegerField[int, int] = models.PositiveBigIntegerField(
        _("messages in")
    )
    messages_out: models.PositiveBigIntegerField[int, int] = models.PositiveBigIntegerField(
        _("messages out")
    )
    latency_counts: models.JSONField[Any, Any] = models.JSONField(
        _("latencies"), default=list, help_text=_("Publications received, by latency bucket.")
    )
    disconnects: models.JSONField[Any, Any] = models.JSONField(_("disconnects"), default=dict)
    denials: models.JSONField[Any, Any] = models.JSONField(_("denials"), default=dict)
    throttled: models.PositiveIntegerField[int, int] = models.PositiveIntegerField(
        _("throttled"), default=0
    )
    recovered: models.PositiveIntegerField[int, int] = models.PositiveIntegerField(
        _("recovered"), default=0, db_default=0
    )
    unrecovered: models.PositiveIntegerField[int, int] = models.PositiveIntegerField(
        _("not recovered"), default=0, db_default=0
    )
    healed_gaps: models.PositiveIntegerField[int, int] = models.PositiveIntegerField(
        _("healed gaps"), default=0, db_default=0
    )

    class Meta:
        verbose_name = _("sample")
        verbose_name_plural = _("overview")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.node_id} {self.at:%Y-%m-%d %H:%M:%S}"
