"""How fast the clients of a consumer may send."""

from __future__ import annotations

from typing import Any, ClassVar, Final, NamedTuple

import msgspec

from ..access.limits import AccessLimits
from ..config import Config
from ..conversation.throttling import LimitExceeded, Rate, Rates
from ..errors import ImproperUse
from ..nodes.node import Node
from ..protocol import messages as m
from ..protocol.codecs import JSON
from ..protocol.codes import ErrorCode
from ..protocol.dialects.realtime_objects import push_object
from ..services import current_node
from .base import ConsumerMixin
from .transport import ConsumerOptions

FROM_SETTINGS: Final = "settings"
"""A limit of the class that is what the setting of the same name in capitals says."""

Limit = tuple[float, float] | str | None
"""``(per second, burst)``, None for no limit, or ``FROM_SETTINGS``."""

_LIMITS = (
    "connection_messages",
    "connection_bytes",
    "user_messages",
    "address_messages",
)


class ThrottleMixin(ConsumerMixin):
    """Token buckets for what comes in, by connection, user and address.

    A frame over a limit does not reach ``receive()``; ``on_throttled`` is called for it. A client that
    goes on is closed with 4429.
    """

    connection_messages: ClassVar[Limit] = FROM_SETTINGS
    connection_bytes: ClassVar[Limit] = FROM_SETTINGS
    user_messages: ClassVar[Limit] = FROM_SETTINGS
    """Of all connections of a user to consumers of this class; of a user at all by the setting."""
    address_messages: ClassVar[Limit] = FROM_SETTINGS
    throttle_patience: ClassVar[int | None] = None
    """Refusals within ten seconds or so that end a connection; None for ``THROTTLE_PATIENCE``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._realtime_expect_async(ThrottleMixin, "on_throttled")
        for name in _LIMITS:
            _check(cls, name)

    def on_throttled(self, limit: str, retry_after: float) -> Any:
        """Answer a frame that was refused; a coroutine in an async consumer.

        By default the wire's ``error`` with the code ``rate_limited`` is sent.

        Args:
            limit: the limit's name in capitals, as the setting's.
            retry_after: seconds until there is room again.
        """
        error = m.Error(
            request="message",
            code=ErrorCode.RATE_LIMITED,
            reason=f"too fast: {limit}",
            retry_after=retry_after,
        )
        return self.send(text_data=JSON.encode(push_object(error)))  # type: ignore[attr-defined]

    async def _realtime_throttled(self, limit: str, retry_after: float) -> None:
        await self._realtime_run(self.on_throttled, limit, retry_after)

    def _realtime_options(self, config: Config) -> ConsumerOptions:
        options = super()._realtime_options(config)
        own = self._realtime_overrides(ThrottleMixin, "on_throttled")
        patience = self.throttle_patience
        return msgspec.structs.replace(
            options,
            says=options.says if own else options.says | {m.Error},
            rates=Rates(
                messages=self._realtime_rate("connection_messages", config),
                bytes=self._realtime_rate("connection_bytes", config),
                patience=float(config.throttle_patience if patience is None else patience),
            ),
            limits=self._realtime_limits(current_node()),
            own_refusals=own,
        )

    def _realtime_rate(self, name: str, config: Config) -> Rate | None:
        value = getattr(self, name)
        return Rate.of(getattr(config, name) if value == FROM_SETTINGS else value)

    def _realtime_limits(self, node: Node) -> _ClassLimits:
        cls = type(self)
        owner = f"{cls.__module__}.{cls.__qualname__}:"
        user, address = (
            (
                self._realtime_rate(name, node.config),
                "" if getattr(cls, name) == FROM_SETTINGS else owner,
            )
            for name in ("user_messages", "address_messages")
        )
        return _ClassLimits(node.service(AccessLimits), user, address)


class _ClassLimits(NamedTuple):
    """What the users and addresses of a class's connections may send, in the node's buckets.

    Each limit is a rate and what the names of its buckets begin with: a limit of the class has
    buckets of its own.
    """

    node_limits: AccessLimits
    user: tuple[Rate | None, str]
    address: tuple[Rate | None, str]

    def messages(
        self, user_id: str | None, address: str | None, count: int
    ) -> LimitExceeded | None:
        """As ``AccessLimits.messages``."""
        return self._take("USER_MESSAGES", self.user, user_id, count) or self._take(
            "ADDRESS_MESSAGES", self.address, address, count
        )

    def _take(
        self, limit: str, bound: tuple[Rate | None, str], key: str | None, count: int
    ) -> LimitExceeded | None:
        rate, prefix = bound
        if rate is None or key is None:
            return None
        return self.node_limits.take(limit, rate, prefix + key, count)


def _check(cls: type, name: str) -> None:
    value = getattr(cls, name)
    if value is None or value == FROM_SETTINGS:
        return
    try:
        rate, burst = value
        if rate > 0 and burst >= 1:
            return
    except (TypeError, ValueError):
        pass
    raise ImproperUse(
        f"{cls.__qualname__}.{name} is {value!r}; expected (per second, burst), such as (10, 50),"
        " None or FROM_SETTINGS"
    )
