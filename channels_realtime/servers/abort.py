"""Ending a client's TCP connection for good, where ASGI knows only a polite close.

Closing waits until what was written has been taken. A client that does not read takes nothing, and
its kernel says that it is alive: the connection, its file descriptor and its buffer stay for as long
as the client likes, also after the application has returned (on uvicorn), or because it has (on
Daphne, which closes nothing then). So the connection of a client that has had its time is aborted.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .daphne import SendEvent, protocol_of


def abort(send: SendEvent) -> None:
    """End the TCP connection beneath ``send`` at once; nothing happens on a server not known."""
    daphne = getattr(protocol_of(send), "transport", None)
    if daphne is not None:
        daphne.abortConnection()
        return
    uvicorn = _uvicorn_transport(send)
    if uvicorn is not None:
        _abort(uvicorn)


def abort_unless_taken(send: SendEvent, seconds: float) -> None:
    """End the TCP connection after ``seconds`` where the client has not taken what was written.

    For uvicorn, whose connections leave the application behind; autobahn, beneath Daphne, gives a
    client some seconds for its answer to a close and then does the same.
    """
    uvicorn = _uvicorn_transport(send)
    if uvicorn is not None and uvicorn.get_write_buffer_size() > 0:
        asyncio.get_running_loop().call_later(seconds, _abort, uvicorn)


def _abort(transport: Any) -> None:
    found = transport.get_extra_info("socket")
    if found is not None and found.fileno() != -1:  # aborting what is closed fails in asyncio
        transport.abort()


def _uvicorn_transport(send: SendEvent) -> Any | None:
    protocol = getattr(send, "__self__", None)
    if not type(protocol).__module__.startswith("uvicorn."):
        return None
    transport = getattr(protocol, "transport", None)
    return transport if hasattr(transport, "abort") else None  # uvloop's have classes of their own
