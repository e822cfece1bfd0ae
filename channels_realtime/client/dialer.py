"""Opens the WebSocket of an attempt, with the headers and the ticket of the program. On ``websockets``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from websockets.asyncio.client import connect as websockets_connect
from websockets.typing import Subprotocol

from ..errors import ImproperUse
from ..protocol.dialects.base import VERSION
from .callbacks import result_of
from .errors import VersionRefused
from .link import Socket

Headers = Mapping[str, str] | Callable[[], Awaitable[Mapping[str, str]] | Mapping[str, str]]
Ticket = Callable[[], Awaitable[str] | str]

Opener = Callable[..., Awaitable[Any]]
"""Opens a WebSocket, as ``websockets.asyncio.client.connect`` does."""

MAX_FRAME_BYTES = 16 * 1_048_576
"""Of the server, by default: replies to ``history`` may be long."""


class WithoutRedirects(websockets_connect):
    """Opens a WebSocket. Like a browser's it follows no redirect, which may lead a token to another host."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Dialer:
    """Opens the WebSockets of one client.

    Args:
        url: of the server.
        codec: the name of the codec.
        headers: of the handshake, or a function that returns them.
        ticket: a function that fetches a one-time ticket.
        opener: opens a WebSocket.
        options: for the opener.

    Raises:
        ImproperUse: the address is none of a WebSocket.
    """

    def __init__(
        self,
        url: str,
        *,
        codec: str,
        headers: Headers | None,
        ticket: Ticket | None,
        opener: Opener,
        options: Mapping[str, Any],
    ) -> None:
        parts = urlsplit(url if isinstance(url, str) else "")
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
        if scheme not in ("ws", "wss") or not parts.netloc:
            raise ImproperUse(
                f"connect(): the url is {url!r:.200}; expected an address such as wss://www.example.com/ws/"
            )
        self._parts = parts._replace(scheme=scheme, fragment="")
        self._protocol = f"realtime.v{VERSION}.{codec}"
        self._headers = headers
        self._ticket = ticket
        self._opener = opener
        self._options = {
            "max_size": MAX_FRAME_BYTES,
            "open_timeout": None,  # the core's timer is the one that counts
            "close_timeout": 3.0,
            **options,
        }

    @property
    def address(self) -> str:
        """The address, without what may be secret in it."""
        host = self._parts.netloc.rpartition("@")[2]
        return f"{self._parts.scheme}://{host}{self._parts.path}"

    async def dial(self, token: str | None) -> Socket:
        """Open a WebSocket, with a token in its header where there is one."""
        headers: dict[str, str] = {}
        if callable(self._headers):
            headers.update(await result_of(self._headers))
        elif self._headers is not None:
            headers.update(self._headers)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        query = self._parts.query
        if self._ticket is not None:
            ticket = f"ticket={quote(await result_of(self._ticket), safe='')}"
            query = f"{query}&{ticket}" if query else ticket
        socket: Socket = await self._opener(
            urlunsplit(self._parts._replace(query=query)),
            subprotocols=[Subprotocol(self._protocol)],
            additional_headers=headers,
            **self._options,
        )
        if socket.subprotocol != self._protocol:
            await socket.close()
            raise VersionRefused(
                4406,
                f"the server does not speak {self._protocol}: is {self.address} the address of"
                " channels_realtime?",
            )
        return socket
