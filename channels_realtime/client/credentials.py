"""The tokens of one client: when one is wanted, what is done with it, and what follows a 4401. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ImproperUse, RealtimeError
from ..protocol.codes import CloseCode
from .errors import ClientError, SignedOut, closed

if TYPE_CHECKING:
    from .core import Core

TokenReason = Literal["required", "expiring", "refused", "anonymous"]
"""Why a token is wanted: for a connection, because the last one ends soon, because it was refused, or
because the server took the client for an anonymous visitor."""

MAX_RENEWALS = 5
RENEWALS_S = 60.0
"""So many credentials, which were refused or about to end, are replaced within that time. A server that
refuses whatever it gets would be asked for ever."""

_Then = Callable[[str | None, Exception | None], None]
"""Takes a token, None where there is none, or why it could not be fetched."""


class Credentials:
    """The credentials of one client.

    Args:
        core: the client's.
        has_token: whether there is a source of tokens.
        in_header: whether a token goes into the handshake's header; otherwise into the first message.
    """

    def __init__(self, core: Core, *, has_token: bool, in_header: bool) -> None:
        self._core = core
        self._has_token = has_token
        self._in_header = in_header
        self._then: _Then | None = None
        self._sent: str | None = None
        self._fresh: str | None = None
        """Fetched after a 4401, for the next connection."""
        self._renewed = False
        """Whether a 4401 was answered with a new attempt, and no ``welcome`` has come since."""
        self._renewals: list[float] = []

    # -- the source of tokens ----------------------------------------------------------------------

    def _want(self, reason: TokenReason, then: _Then) -> None:
        token, self._fresh = self._fresh, None
        if token is not None:
            then(token, None)
        else:
            self._then = then
            self._core.shell.fetch_token(reason)

    def fetched(self, token: str | None, error: Exception | None = None) -> None:
        """The token that was wanted; None: there is none, or it could not be fetched for this error."""
        then, self._then = self._then, None
        if then is not None:
            then(token, error)

    def lost(self) -> None:
        """The connection has ended, and with it what a token was wanted for."""
        self._then = None

    def _unavailable(self, error: Exception) -> None:
        why = error.reason if isinstance(error, ImproperUse) else type(error).__name__
        self._core.shell.warn(f"the token could not be fetched: {why}")

    def _missing(self, error: Exception) -> None:
        self._unavailable(error)
        self._core.give_up("the token could not be fetched", error)

    # -- a connection ------------------------------------------------------------------------------

    def open(self) -> None:
        """Begin an attempt, with a token in its header if that is where one goes."""

        def proceed(token: str | None, error: Exception | None) -> None:
            if error is not None:
                self._missing(error)
            else:
                self._sent = token
                self._core.shell.open(token)

        if self._has_token and self._in_header:
            self._want("required", proceed)
        else:
            self._core.shell.open(None)

    def required(self) -> None:
        """The server waits for a token."""

        def proceed(token: str | None, error: Exception | None) -> None:
            if error is not None:
                self._missing(error)
            elif token is None:
                self._signed_out("the server requires credentials, and the client has none")
            else:
                self._authenticate(token)  # `welcome` follows, or `closing` and 4401

        if not self._has_token:
            proceed(None, None)
        elif self._in_header and self._sent is not None:
            self._authenticate(self._sent)  # this server takes none in the header
        else:
            self._want("required", proceed)

    def accepts(self, user: str | None) -> bool:
        """Whether the client goes on as the user of a ``welcome``."""
        core = self._core
        if self._renewed and self._sent is None and user is None and core.user is not None:
            # It would go on as a visitor, and nothing would say so.
            self._signed_out("the client's login has ended")
            return False
        self._renewed = False
        if user is not None:
            self._fresh = None  # other credentials were used; it would be old by then
        core.user = user
        return True

    def sign_in(self, then: Callable[[], None]) -> None:
        """After ``welcome``: send the token where the server took none yet, and then go on."""

        def proceed(token: str | None, error: Exception | None) -> None:
            if error is not None:
                self._missing(error)
            elif token is None:
                then()
            else:
                self._authenticate(token, then)

        if self._core.user is None and self._has_token and not self._in_header:
            self._want("anonymous", proceed)
        else:
            then()

    def expiring(self) -> None:
        """The credentials end soon."""

        def proceed(token: str | None, error: Exception | None) -> None:
            if error is not None:
                self._unavailable(error)
            elif token is not None and token != self._sent:
                self._authenticate(token)

        if self._has_token and self._then is None and self._may_renew():
            self._want("expiring", proceed)

    def _authenticate(self, token: str, then: Callable[[], None] | None = None) -> None:
        def done(payload: Any, error: RealtimeError | None) -> None:
            if error is None and isinstance(payload, dict):
                self._core.user = payload.get("user")
            elif error is not None and not isinstance(error, ClientError):
                self._core.shell.warn(f"the server did not accept the token: {error.code}")
            if then is not None and not isinstance(error, ClientError):
                then()

        self._sent = token
        self._core.requests.ask({"type": "auth", "token": token}, done)

    def _signed_out(self, reason: str) -> None:
        self._core.end(SignedOut(CloseCode.UNAUTHENTICATED, reason))

    # -- after 4401 --------------------------------------------------------------------------------

    def _may_renew(self) -> bool:
        now = self._core.clock()
        self._renewals = [at for at in self._renewals if now - at < RENEWALS_S]
        self._renewals.append(now)
        return len(self._renewals) <= MAX_RENEWALS

    def renew(self, code: int, reason: str, retry_after: float | None) -> None:
        """Make one new attempt, with another token, or with headers that may be others by now.

        The second 4401 in a row is the end.
        """
        core = self._core

        def proceed(token: str | None, error: Exception | None) -> None:
            if error is not None:
                self._unavailable(error)
                core.retry(retry_after)  # its source may recover; the backoff bounds the attempts
            elif self._sent is not None and token in (None, self._sent):
                core.end(closed(code, reason))
            else:
                self._renewed = True
                self._fresh = token
                # A cookie not sooner: the answer with the new one may still be on its way.
                least = core.limits.backoff_base_s if token is None else 0.0
                core.retry(max(retry_after or 0.0, least) or None)

        self._fresh = None
        if self._renewed or not self._may_renew():
            core.end(closed(code, reason))
        elif self._has_token:
            if core.wait_for_token(self._late):
                self._want("refused", proceed)
        else:
            proceed(None, None)

    def _late(self) -> None:
        self._core.shell.drop(CloseCode.NORMAL)
        self.fetched(None, TimeoutError("the token was not fetched in time"))
