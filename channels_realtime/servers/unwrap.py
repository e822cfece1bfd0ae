"""Finds the server's own ``send`` behind what wraps it.

Sentry, OpenTelemetry, Starlette and other middleware give the application a ``send`` of theirs, which
calls the server's. What the server does not do through ASGI needs the server's (``daphne``, ``abort``).
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator
from types import FunctionType, MethodType
from typing import Any

logger = logging.getLogger(__name__)

SendEvent = Callable[[dict[str, Any]], Awaitable[None]]

_MAX_SEEN = 300
"""Objects that are looked at: a wrapper may also hold the site's whole application."""


def is_daphne(send: Any) -> bool:
    """Whether this is Daphne's: a partial of a method of its server, and the connection's protocol."""
    module = sys.modules.get("daphne.server")
    return (
        module is not None
        and isinstance(send, functools.partial)
        and isinstance(getattr(send.func, "__self__", None), module.Server)
        and bool(send.args)
    )


def is_uvicorn(send: Any) -> bool:
    """Whether this is uvicorn's: a method of the connection's protocol."""
    owner: Any = type(getattr(send, "__self__", None))
    return isinstance(send, MethodType) and _is_uvicorns(owner)


@functools.lru_cache(maxsize=64)
def _is_uvicorns(owner: type) -> bool:
    return any(base.__module__.startswith("uvicorn.protocols.") for base in owner.__mro__)


def servers_send(send: SendEvent) -> Any | None:
    """Return the ``send`` of Daphne or uvicorn behind ``send``; None on another server.

    Searches what the wrapper holds and can call, the nearest first. Where two are equally near, one
    belongs to another connection, and neither is returned.
    """
    if is_uvicorn(send) or is_daphne(send):
        return send
    level: list[Any] = [send]
    seen: dict[int, Any] = {id(send): send}  # kept alive, so that no id is used twice
    while level:
        found = [held for held in level if is_daphne(held) or is_uvicorn(held)]
        if found:
            return found[0] if all(each == found[0] for each in found) else None
        following = []
        for wrapper in level:
            for held in _held_by(wrapper):
                if id(held) not in seen and len(seen) < _MAX_SEEN and _may_wrap(held):
                    seen[id(held)] = held
                    following.append(held)
        level = following
    return None


def _may_wrap(held: Any) -> bool:
    return callable(held) and not isinstance(held, type)


def _held_by(wrapper: Any) -> Iterator[Any]:
    if isinstance(wrapper, functools.partial):
        yield from (wrapper.func, *wrapper.args, *wrapper.keywords.values())
    elif isinstance(wrapper, MethodType):
        yield wrapper.__func__
        yield from _attributes(wrapper.__self__)
    elif isinstance(wrapper, FunctionType):
        for cell in wrapper.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:
                continue  # not assigned yet
        yield from vars(wrapper).values()
    else:
        yield from _attributes(wrapper)


def _attributes(instance: Any) -> Iterator[Any]:
    yield from getattr(instance, "__dict__", {}).values()
    for base in type(instance).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            try:
                yield getattr(instance, name)
            except AttributeError:
                continue  # not assigned


_settled = False
"""Whether there is nothing more to warn of in this process."""


def warn_if_hidden(send: SendEvent) -> None:
    """Log, once in a process, that the ``send`` of Daphne or uvicorn is out of sight."""
    global _settled
    if _settled or servers_send(send) is not None:
        return
    _settled = True  # also on another server, which need not be looked for at each connection
    server, missing = _running_server()
    if server is None:
        return
    logger.warning(
        "%s.%s wraps the server's send and hides it. On %s %s. Put that middleware around the site's"
        " HTTP application alone.",
        send.__module__,
        getattr(send, "__qualname__", type(send).__qualname__),
        server,
        missing,
    )


def warn_if_missing(send: SendEvent | None) -> None:
    """Log, once in a process, that Daphne writes a stream and its ``send`` is not known."""
    global _settled
    if _settled or send is not None or _running_server()[0] != "Daphne":
        return
    _settled = True
    logger.warning(
        "An event stream is served by Daphne without the application of get_realtime_application: a"
        " client that does not read makes the process grow. Serve the site's HTTP through it:"
        " application = get_realtime_application(get_asgi_application())."
    )


def _running_server() -> tuple[str | None, str]:
    """The server of this process, and what it lacks without its own ``send``."""
    reactor = sys.modules.get("twisted.internet.reactor")
    if "daphne.server" in sys.modules and getattr(reactor, "running", False):
        return "Daphne", (
            "a client that does not read makes the process grow, and DAPHNE_COMPRESSION is without"
            " effect"
        )
    if any(name.startswith("uvicorn.protocols.websockets.") for name in sys.modules):
        return "uvicorn", "a client that does not read keeps its connection after it was closed"
    return None, ""
