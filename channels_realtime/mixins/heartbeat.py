"""Heartbeats for a consumer's clients."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from ..config import Config
from ..errors import ImproperUse
from ..protocol import messages as m
from .base import ConsumerMixin
from .transport import ConsumerOptions

PING = '{"type":"ping"}'


class HeartbeatMixin(ConsumerMixin):
    """Closes connections with 4408 when the client no longer answers.

    A client that has sent ``{"type": "ping"}`` or ``{"type": "pong"}`` is sent ``{"type": "ping"}``
    after ``heartbeat_interval`` seconds of silence, and has ``heartbeat_timeout`` seconds to send
    anything. Its own ``ping`` is answered with ``pong``; neither reaches ``receive()``, but
    ``on_heartbeat()`` does its bookkeeping. Others are
    held to the server's own WebSocket pings. While a handler of the consumer runs, nothing is read
    and the clock stands still. All of a process's heartbeats share one timer.
    """

    heartbeat_interval: ClassVar[float | None] = None
    """Seconds of silence before a ping; None for ``HEARTBEAT_INTERVAL``."""

    heartbeat_timeout: ClassVar[float | None] = None
    """Seconds that a client has to answer; None for ``HEARTBEAT_TIMEOUT``."""

    heartbeat_always: ClassVar[bool] = False
    """Whether clients are pinged that have never sent ``ping`` or ``pong``: yours all answer."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._realtime_refuse_in_sync(
            HeartbeatMixin,
            "send_ping",
            "its pings would wait behind the handlers of all sync consumers, which share one thread,"
            " and clients would be closed that were never asked; expected the ping as it is",
        )
        cls._realtime_expect_async(HeartbeatMixin, "send_ping", "on_heartbeat")
        for name in ("heartbeat_interval", "heartbeat_timeout"):
            value = getattr(cls, name)
            if value is not None and not (isinstance(value, (int, float)) and value > 0):
                raise ImproperUse(
                    f"{cls.__qualname__}.{name} is {value!r}; expected seconds over 0"
                )

    async def send_ping(self) -> None:
        """Send a ping; by default ``{"type":"ping"}``."""
        await self.send(text_data=PING)  # type: ignore[attr-defined]

    def is_heartbeat(self, text: str) -> bool:
        """Whether a frame whose ``type`` is ``ping`` or ``pong`` is for the heartbeat.

        Override it where the consumer has messages of these names itself; ``False`` leaves them to
        ``receive()``, and they are life like any others.
        """
        return True

    def on_heartbeat(self, text: str) -> Any:
        """The client sent a ``ping`` or ``pong``; for bookkeeping. A coroutine in an async consumer.

        Called between the consumer's other events. By default it does nothing.

        Args:
            text: the frame.
        """

    async def _realtime_heard(self, text: str) -> None:
        if self._realtime_overrides(HeartbeatMixin, "on_heartbeat"):
            await self._realtime_run(self.on_heartbeat, text)

    def _realtime_options(self, config: Config) -> ConsumerOptions:
        options = super()._realtime_options(config)
        interval, timeout = self.heartbeat_interval, self.heartbeat_timeout
        return msgspec.structs.replace(
            options,
            says=options.says | {m.PingPush, m.PongReply},
            heartbeat=(
                config.heartbeat_interval if interval is None else interval,
                config.heartbeat_timeout if timeout is None else timeout,
            ),
            heartbeat_always=self.heartbeat_always,
            own_ping=self._realtime_overrides(HeartbeatMixin, "send_ping"),
        )
