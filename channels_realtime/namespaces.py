"""Tenants: what surrounds the code that runs for a connection, and the namespace that it belongs to.

In: the ASGI scope of a connection, or whatever code publishes and revokes. Out: the context in which
hooks and credential look-ups run (``CONNECTION_CONTEXT``), and the namespace (``NAMESPACE``) that
keeps the channels, users and revocations of one tenant apart from another's.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from django.utils.module_loading import import_string

from .config import Config
from .errors import ImproperUse
from .protocol.names import is_namespace
from .runtime.surround import surround
from .settings import SETTING, get_config

SCOPE_KEY = "channels_realtime.namespace"
"""The scope key of a connection's namespace, which is found at its handshake."""

_current: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "realtime_namespace", default=None
)


@contextlib.contextmanager
def namespace(name: str) -> Iterator[None]:
    """Publish and revoke in this namespace inside the ``with`` block, whatever ``NAMESPACE`` says.

    Args:
        name: 1 to 63 characters of ``A-Z a-z 0-9 _ - .``, or ``""`` for none.

    Raises:
        ImproperUse: the name is malformed.
    """
    token = _current.set(_checked(name, "namespace(…)"))
    try:
        yield
    finally:
        _current.reset(token)


def current_namespace() -> str:
    """The namespace of the running code; ``""`` for none.

    Raises:
        ImproperUse: ``NAMESPACE`` returned something else than a name.
    """
    given = _current.get()
    if given is not None:
        return given
    path = get_config().namespace
    if path is None:
        return ""
    return _checked(import_string(path)() or "", f"{SETTING}['NAMESPACE']")


def _checked(name: Any, what: str) -> str:
    if name == "" or is_namespace(name):
        checked: str = name
        return checked
    raise ImproperUse(
        f"{what} is {name!r}; expected 1 to 63 characters of A-Z a-z 0-9 _ - . or None"
    )


class ConnectionContext:
    """What surrounds the code that runs for one connection."""

    def __init__(self, config: Config) -> None:
        self._path = config.connection_context
        self._is_set = config.connection_context is not None or config.namespace is not None

    def around(self, scope: Mapping[str, Any], hook: Callable[..., Any]) -> Callable[..., Any]:
        """Return the hook as it runs for a connection: inside this context, where there is one."""
        if self._is_set or SCOPE_KEY in scope:
            return surround(hook, functools.partial(self._enter, scope))
        return hook

    def must_find_namespace(self, scope: Mapping[str, Any]) -> bool:
        """Whether the connection's namespace is to be found by ``find_namespace``, in a thread."""
        return self._is_set and SCOPE_KEY not in scope

    @contextlib.contextmanager
    def _enter(self, scope: Mapping[str, Any]) -> Iterator[None]:
        """The site's context and the connection's namespace. Entering it may block."""
        with contextlib.ExitStack() as stack:
            if self._path is not None:
                manager: AbstractContextManager[Any] = import_string(self._path)(scope)
                stack.enter_context(manager)
            if SCOPE_KEY in scope:
                stack.enter_context(namespace(scope[SCOPE_KEY]))
            yield


def namespace_of(scope: Mapping[str, Any]) -> str:
    """The namespace of a connection, as found at its handshake; ``""`` for none."""
    found: str = scope.get(SCOPE_KEY, "")
    return found


def outer_namespace() -> str | None:
    """The namespace that middleware around the connection has entered by ``namespace``, or None."""
    return _current.get()
