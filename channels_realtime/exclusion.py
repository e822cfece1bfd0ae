"""Which connection a publication is not sent to: "everybody but me", over HTTP.

In: what a caller of ``publish`` gives as ``exclude``: a connection's id, or a request that carries one in
the header ``X-Realtime-Connection``. Out: the id, and whose connection it has to be. A connection's id is
public (others see it in presence), so a request excludes connections of its own user alone: a client must
not be able to hide what it does from another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import SynchronousOnlyOperation

from .errors import ImproperUse

HEADER = "X-Realtime-Connection"
"""The header by which a client tells which of its connections a request comes from."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

Excluded = tuple[str, str | None]
"""A connection's id, and its user's key: ``""`` for an anonymous one, None for anybody's."""


def excluded(exclude: Any) -> Excluded | None:
    """Return the connection that a publication is not sent to.

    Args:
        exclude: a connection's public id; a request of Django or Django REST framework, or an ASGI scope,
            of which the header is read; or None. A malformed id excludes nothing.

    Raises:
        ImproperUse: it is something else.
    """
    if exclude is None:
        return None
    if isinstance(exclude, str):
        return (exclude, None) if _ID.fullmatch(exclude) else None
    connection_id = _header(exclude)
    if connection_id is None or not _ID.fullmatch(connection_id):
        return None
    user = exclude.get("user") if isinstance(exclude, Mapping) else getattr(exclude, "user", None)
    return connection_id, _key(user)


async def aexcluded(exclude: Any) -> Excluded | None:
    """Return the connection that a publication is not sent to; from async code.

    Raises:
        ImproperUse: as ``excluded``, or the request's user cannot be read on an event loop.
    """
    try:
        return excluded(exclude)
    except SynchronousOnlyOperation:  # of request.user, which is read when it is first looked at
        read = getattr(exclude, "auser", None)
        if read is None:
            raise ImproperUse(
                "exclude: the user of the request cannot be read on an event loop; expected"
                " AuthenticationMiddleware, or a request whose user was read"
            ) from None
        found = _header(exclude)
        return None if found is None else (found, _key(await read()))


def _header(request: Any) -> str | None:
    headers = getattr(request, "headers", None)
    if headers is not None and hasattr(headers, "get"):
        found = headers.get(HEADER)
        return found if isinstance(found, str) else None
    if isinstance(request, Mapping) and "type" in request:
        name = HEADER.lower().encode()
        values = [value for key, value in request.get("headers", ()) if key.lower() == name]
        return values[0].decode("latin-1") if len(values) == 1 else None
    raise ImproperUse(
        f"exclude is of type {type(request).__name__}; expected a connection's id, a request that may"
        f" carry it as {HEADER}, or an ASGI scope"
    )


def _key(user: Any) -> str:
    key = getattr(user, "pk", None)
    return "" if key is None else str(key)
