"""What a client's core needs of asyncio: the connection's task and the fetching of tokens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ..errors import ImproperUse
from ..protocol.codecs import Codec
from .callbacks import result_of
from .core import Core, Limits, State
from .credentials import TokenReason
from .dialer import Dialer
from .errors import ConnectFailed, VersionRefused
from .link import Link
from .mistakes import kind
from .values import Message

logger = logging.getLogger("channels_realtime.client")

Token = str | Callable[[TokenReason], Awaitable[str | None] | str | None]

ATTEMPTS_BEFORE_WARNING = 3
"""After so many attempts in a row that failed, the log says what the reason may be."""


class LoopShell:
    """Carries out what the core of a client decides, on the running event loop.

    Args:
        dialer: opens WebSockets.
        token: a token, or a function that returns one.
        in_header: whether it goes into the handshake's header.
        codec: of the frames.
        limits: times and bounds.
        on_state: is called with each new state.
        on_notice: is called with each message of the staff.
    """

    def __init__(
        self,
        dialer: Dialer,
        *,
        token: Token | None,
        in_header: bool,
        codec: Codec,
        limits: Limits,
        on_state: Callable[[State], None] | None,
        on_notice: Callable[[Message], None] | None,
    ) -> None:
        self._dialer = dialer
        self._token = token
        self._on_state = on_state
        self._on_notice = on_notice
        self._link: Link | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._entered: asyncio.Future[None] | None = None
        self._once = False
        self.core = Core(
            self,
            codec,
            limits,
            has_token=token is not None,
            in_header=in_header,
            later=lambda delay_s, due: asyncio.get_running_loop().call_later(delay_s, due),
            clock=lambda: asyncio.get_running_loop().time(),
        )

    async def start(self, timeout_s: float | None) -> None:
        """Connect, and wait for the first ``welcome``.

        Args:
            timeout_s: how long; 0: for one attempt; None: for ever.

        Raises:
            Closed: the server does not want this client.
            ConnectFailed: there was no connection in time.
        """
        self._once = timeout_s == 0
        self._entered = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s or None):
                self.core.start()
                await self._entered
        except TimeoutError:
            await self.close()
            raise self._not_connected(f"within {timeout_s:g} s") from self.core.loss
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close with 1000, and wait until no task is left."""
        self.core.close()
        while leaving := tuple(self._leaving):
            await asyncio.gather(*leaving, return_exceptions=True)
            # Since Python 3.12, gather() does not wait if all are done: their callbacks have not run then.
            self._leaving.difference_update(leaving)

    def _own(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return task

    # -- what the core asks ------------------------------------------------------------------------

    def open(self, token: str | None) -> None:
        """Begin an attempt."""
        self._link = Link(lambda: self._dialer.dial(token), self.core.received, self._lost)
        self._own(self._link.task)

    def send(self, frame: str | bytes) -> None:
        """Send a frame."""
        if self._link is not None:
            self._link.send(frame)

    def drop(self, code: int) -> None:
        """Close the connection, or give up its attempt, and what fetches a token."""
        self._stop_fetching()
        link, self._link = self._link, None
        if link is not None:
            link.drop(code)

    def fetch_token(self, reason: TokenReason) -> None:
        """Fetch a token."""
        self._fetching = self._own(asyncio.create_task(self._fetch(reason)))

    def changed(self) -> None:
        """Log a loss, let the program in or say why not, and tell it the state."""
        core = self.core
        if core.state is State.WAITING and core.next_delay_s is not None:
            logger.info("Not connected: %s. Next attempt in %.1f s.", core.loss, core.next_delay_s)
            if core.attempt == ATTEMPTS_BEFORE_WARNING + 1:
                logger.warning(
                    "%d attempts to connect to %s failed (%s). Is the path right, is the ASGI server"
                    " running, and does it accept clients without an Origin? See"
                    " docs/troubleshooting.md.",
                    ATTEMPTS_BEFORE_WARNING,
                    self._dialer.address,
                    self._why(),
                )
        entered = self._entered
        if entered is not None and not entered.done():
            if core.state is State.CONNECTED:
                entered.set_result(None)
            elif core.ended is not None:
                entered.set_exception(core.ended)
            elif self._once and core.next_delay_s is not None:
                failed = self._not_connected("at the first attempt")
                failed.__cause__ = core.loss
                entered.set_exception(failed)
        self._tell("on_state", self._on_state, core.state)

    def notice(self, message: Message) -> None:
        """Pass on a message of the staff."""
        self._tell("on_notice", self._on_notice, message)

    def warn(self, text: str) -> None:
        """Log it."""
        logger.warning("%s", text[:1].upper() + text[1:] + ".")

    # ----------------------------------------------------------------------------------------------

    def _tell(self, name: str, function: Callable[[Any], None] | None, value: Any) -> None:
        if function is None:
            return
        try:
            function(value)
        except Exception:
            logger.exception("%s failed.", name)

    def _lost(
        self, code: int, reason: str, error: Exception | None, retry_after: float | None
    ) -> None:
        self._link = None
        self._stop_fetching()
        if isinstance(error, VersionRefused):
            code = error.close_code
        self.core.lost(code, reason, error, retry_after)

    def _stop_fetching(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None

    async def _fetch(self, reason: TokenReason) -> None:
        token, failure = self._token, None
        try:
            if token is not None and not isinstance(token, str):
                token = await result_of(token, reason)
            if token is not None and not isinstance(token, str):
                raise ImproperUse(f"the function returned a value {kind(token)}; expected a JWT")
        except Exception as error:
            token, failure = None, error
        self._fetching = None
        self.core.credentials.fetched(token, failure)

    def _why(self) -> str:
        loss = self.core.loss
        return "no attempt has ended" if loss is None else f"{loss}" or type(loss).__name__

    def _not_connected(self, when: str) -> ConnectFailed:
        return ConnectFailed(f"no connection {when}: {self._why()}")
