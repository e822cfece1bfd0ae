"""How fast the clients of a consumer may send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

import msgspec

from ..config import Config
from ..connections.consumer import ConsumerConnection, ConsumerOptions
from ..conversation.throttling import LimitExceeded, Rate, Rates
from ..errors import ImproperUse
from ..nodes.node import Node, current_node
from ..protocol import messages as m
from ..protocol.codecs import JSON
from ..protocol.codes import ErrorCode
from ..protocol.dialects.realtime import push_object
from .base import ConsumerMixin

FROM_SETTINGS: Final = "settings"
"""A limit of the class that is what the setting of the same name in capitals says."""

Limit = tuple[float, float] | str | None
"""``(a second, at once)``, None for no limit, or ``FROM_SETTINGS``."""

_LIMITS = (
    "connection_messages",
    "connection_bytes",
    "user_messages",
    "address_messages",
)


class ThrottleMixin(ConsumerMixin):
    """Token buckets for what comes in, by connection, user and address.

    A frame over a limit does not reach ``receive()``; ``on_throttled`` is called for it. Who goes on
    is closed with 4429.
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

    def _realtime_habits(self, config: Config) -> ConsumerOptions:
        habits = super()._realtime_habits(config)
        own = self._realtime_overrides(ThrottleMixin, "on_throttled")
        patience = self.throttle_patience
        return msgspec.structs.replace(
            habits,
            says=habits.says if own else habits.says | {m.Error},
            rates=Rates(
                messages=self._realtime_rate("connection_messages", config),
                bytes=self._realtime_rate("connection_bytes", config),
                patience=float(config.throttle_patience if patience is None else patience),
            ),
            shared_limits=self._realtime_shared_limits(current_node()),
            own_refusals=own,
        )

    def _realtime_rate(self, name: str, config: Config) -> Rate | None:
        value = getattr(self, name)
        return Rate.of(getattr(config, name) if value == FROM_SETTINGS else value)

    def _realtime_shared_limits(
        self, node: Node
    ) -> Callable[[ConsumerConnection], LimitExceeded | None]:
        """What looks at the buckets of a connection's user and address."""
        admission = node.admission
        cls = type(self)
        owner = f"{cls.__module__}.{cls.__qualname__}"
        shared = [
            (
                name.upper(),
                "" if getattr(cls, name) == FROM_SETTINGS else f"{owner}:",
                self._realtime_rate(name, node.config),
                by,
            )
            for name, by in (("user_messages", "user_id"), ("address_messages", "client_address"))
        ]
        in_force = [(name, prefix, rate, by) for name, prefix, rate, by in shared if rate]

        def look(connection: ConsumerConnection) -> LimitExceeded | None:
            for limit, prefix, rate, by in in_force:
                whose = getattr(connection, by)
                if whose is not None:
                    over = admission.take(limit, rate, prefix + whose, 1)
                    if over is not None:
                        return over
            return None

        return look


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
        f"{cls.__qualname__}.{name} is {value!r}; expected (a second, at once), such as (10, 50),"
        " None or FROM_SETTINGS"
    )
