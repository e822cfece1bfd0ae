"""Aborts a client's TCP connection, because ASGI can only close it after all data was sent.

A close waits until the client has read what was written. If the client does not read, but its kernel
keeps the connection alive, the connection, its file descriptor and its buffer stay as long as the
client wants. uvicorn keeps them even after the application has returned; Daphne does not close them
when it returns. So the connection of a client that exceeds its time is aborted.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .daphne import protocol_of
from .unwrap import SendEvent, is_uvicorn, servers_send


def abort(send: SendEvent) -> None:
    """Abort the TCP connection beneath ``send`` at once. Does nothing on an unknown server."""
    daphne = getattr(protocol_of(send), "transport", None)
    if daphne is not None:
        daphne.abortConnection()
        return
    uvicorn = _uvicorn_transport(send)
    if uvicorn is not None:
        _abort(uvicorn)


def abort_unless_taken(send: SendEvent, seconds: float) -> None:
    """Abort the TCP connection after ``seconds`` if the client has not read what was written.

    For uvicorn only, where a connection can outlive the application. On Daphne, autobahn drops the
    connection itself if the client does not answer a close within some seconds.
    """
    uvicorn = _uvicorn_transport(send)
    if uvicorn is not None and uvicorn.get_write_buffer_size() > 0:
        asyncio.get_running_loop().call_later(seconds, _abort, uvicorn)


def _abort(transport: Any) -> None:
    found = transport.get_extra_info("socket")
    if found is not None and found.fileno() != -1:  # asyncio fails to abort a closed transport
        transport.abort()


def _uvicorn_transport(send: SendEvent) -> Any | None:
    found = servers_send(send)
    if not is_uvicorn(found):
        return None
    transport = getattr(found.__self__, "transport", None)  # type: ignore[union-attr]
    return (
        transport if hasattr(transport, "abort") else None
    )  # uvloop has its own transport classes
