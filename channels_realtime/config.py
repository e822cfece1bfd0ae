"""The configuration as one frozen value, which ``settings`` makes from ``CHANNELS_REALTIME``.

A field's name is its setting's key in lower case. Times are in seconds, sizes in bytes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from .conversation.throttling import Rate, Rates
from .protocol.limits import Limits

OriginRule = Callable[[str, Mapping[str, Any]], bool]
"""Takes an origin and the ASGI scope, and returns whether the origin is allowed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All settings with their defaults. The settings reference explains each of them."""

    channel_layer: str = "default"
    group_prefix: str = "realtime"
    websocket_path: str = "ws/"

    allow_anonymous: bool = False
    auth_timeout: float = 10.0
    connection_context: str | None = None
    namespace: str | None = None
    authenticators: Sequence[str] = (
        "channels_realtime.auth.tokens.HeaderToken",
        "channels_realtime.auth.tokens.SubprotocolToken",
        "channels_realtime.auth.tickets.Ticket",
        "channels_realtime.auth.tokens.QueryToken",
        "channels_realtime.auth.tokens.CookieToken",
        "channels_realtime.auth.login_session.LoginSession",
    )
    token_verifier: str | None = "channels_realtime.auth.jwt.verify_jwt"  # noqa: S105
    token_header_types: Sequence[str] | None = None
    query_token: bool = False
    jwt_cookie: str | None = None
    stateless_tokens: bool = False
    first_message_auth: bool = True
    ticket_lifetime: float = 30.0
    auth_expiring_lead: float = 60.0
    auth_leeway: float = 0.0
    revocation_poll_interval: float = 2.0
    sweep_interval: float = 60.0

    trusted_proxies: Sequence[str] = ()
    client_address_header: str | None = None

    allowed_origins: Sequence[str] | OriginRule | str | None = None
    allow_missing_origin: bool = True

    subprotocols: Mapping[str, str] = dataclasses.field(default_factory=dict)
    close_codes: Literal["application", "rfc"] = "application"

    heartbeat_interval: float = 25.0
    heartbeat_timeout: float = 10.0

    max_frame_bytes: int = 131_072
    max_payload_bytes: int = 65_536
    max_publication_bytes: int = 1_000_000
    max_payload_depth: int = 32
    max_batch: int = 64
    max_subscriptions: int = 256
    max_in_flight: int = 16
    max_bad_messages: int = 50

    connection_messages: tuple[float, float] | None = (1_000.0, 5_000.0)
    connection_bytes: tuple[float, float] | None = (8_388_608.0, 33_554_432.0)
    connection_publishes: tuple[float, float] | None = None
    connection_failures: tuple[float, float] | None = (10.0, 200.0)
    throttle_patience: int = 100
    user_messages: tuple[float, float] | None = None
    address_messages: tuple[float, float] | None = None
    address_failures: tuple[float, float] | None = (1.0, 100.0)
    max_connections: int | None = None
    max_connections_per_user: int | None = None
    max_connections_per_address: int | None = None

    slow_policy: str = "close"
    outbox_max_messages: int = 1_000
    outbox_max_bytes: int = 1_048_576

    hook_threads: int = 8
    hook_timeout: float = 30.0
    max_concurrent_hooks: int = 32

    connection_registry: bool | float = True
    registry_max_subscriptions: int = 50
    node_lease: float = 20.0
    sample_interval: float = 60.0
    sample_retention: float = 90_000.0
    ended_retention: float = 86_400.0
    trace_payloads: bool = False

    publish_timeout: float = 5.0
    publish_failures: Literal["raise", "log"] = "raise"
    subscribe_timeout: float = 5.0
    layer_check_interval: float = 10.0

    history_store: str | None = None
    presence_store: str | None = None
    session_store: str | None = None
    store_redis: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None = None
    store_timeout: float = 2.0
    store_failures: Literal["raise", "retry", "live"] = "raise"
    publish_key_window: float = 300.0
    sync_interval: float = 5.0
    resume_window: float = 120.0

    daphne_compression: bool = False
    tune_garbage_collector: bool = True

    drain_on_stop: bool = True
    drain_grace: float = 20.0
    drain_retry_window: float = 5.0
    drain_batch: int = 100
    drain_batch_interval: float = 0.05

    @functools.cached_property
    def rates(self) -> Rates:
        """The rate limits of one connection."""
        return Rates(
            messages=Rate.of(self.connection_messages),
            bytes=Rate.of(self.connection_bytes),
            publishes=Rate.of(self.connection_publishes),
            failures=Rate.of(self.connection_failures),
            patience=float(self.throttle_patience),
        )

    @functools.cached_property
    def limits(self) -> Limits:
        """The limits on what one connection may send."""
        return Limits(
            max_frame=self.max_frame_bytes,
            max_payload=self.max_payload_bytes,
            max_depth=self.max_payload_depth,
            max_batch=self.max_batch,
            max_subscriptions=self.max_subscriptions,
            max_in_flight=self.max_in_flight,
            max_bad_messages=self.max_bad_messages,
        )


FIELDS: dict[str, dataclasses.Field[Any]] = {
    field.name.upper(): field for field in dataclasses.fields(Config)
}
"""The fields of ``Config`` by the key of their setting."""
