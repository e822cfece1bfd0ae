"""Which pages may open a connection: the allowlist of origins.

A browser sends its cookies with a WebSocket handshake from any page, and the same-origin policy does
not apply to it (RFC 6455, section 10.2). The ``Origin`` header is what tells a foreign page from
our own; without this check any site could act as the visitor (cross-site WebSocket hijacking).

By default an origin is ours where Django's CSRF check would call it so: scheme, host and port are
those of the request, with ``Host`` among ``ALLOWED_HOSTS`` and the scheme by
``SECURE_PROXY_SSL_HEADER``, or it is in ``CSRF_TRUSTED_ORIGINS``.
"""

from __future__ import annotations

import inspect
import ipaddress
import logging
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from django.conf import settings as django_settings
from django.http.request import validate_host
from django.utils.module_loading import import_string

from ..config import Config, OriginRule
from ..runtime.clock import Clock, SystemClock
from ..settings import get_config

logger = logging.getLogger(__name__)

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_HTTP_OF = {"ws": "http", "wss": "https"}

_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.\-]{0,30})://"
    r"(?P<host>\[[0-9a-f:.]{2,45}\]|[a-z0-9_.\-]{1,253})(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII | re.IGNORECASE,
)
_MAX_ORIGIN_LENGTH = 300
_LOG_INTERVAL_S = 60.0
_LOG_MEMORY = 1_000
_LOG_LINES = 100
"""Refusals logged a minute, whatever the number of origins."""


class Origin(NamedTuple):
    """A serialised origin (RFC 6454, section 6.2), taken apart; ports that go without saying are 0."""

    scheme: str
    host: str
    port: int


def parse_origin(text: str) -> Origin | None:
    """The parts of an origin, or None where it is ``null`` or malformed; raises nothing."""
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return None
    scheme, host = match["scheme"].lower(), match["host"].lower()
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return None
    port = int(match["port"]) if match["port"] else 0
    if port > 65_535 or (match["port"] and port == 0):
        return None
    if port == _DEFAULT_PORTS.get(scheme):
        port = 0
    return Origin(scheme, host, port)


class OriginPolicy:
    """Judges the ``Origin`` of a handshake.

    Args:
        allowed: exact origins, ``https://*.example.com`` (subdomains, not the domain itself),
            ``null`` and non-web origins where listed, or ``*``; or a callable of the origin's text
            and the scope; None for the default.
        allow_missing: whether a handshake without ``Origin``, which no browser sends, passes.
    """

    def __init__(
        self, allowed: Iterable[str] | OriginRule | None, *, allow_missing: bool = True
    ) -> None:
        self._allow_missing = allow_missing
        self._rule: OriginRule | None = None
        self._exact: set[Origin] = set()
        self._literal: set[str] = set()
        self._subdomains: list[Origin] = []
        self._any = False
        self._default = allowed is None
        if callable(allowed):
            self._rule = allowed
        else:
            self._list(_trusted_origins() if allowed is None else allowed)

    @classmethod
    def from_config(cls, config: Config) -> OriginPolicy:
        """The policy that the settings describe."""
        allowed = config.allowed_origins
        if isinstance(allowed, str):
            allowed = import_string(allowed)
        return cls(allowed, allow_missing=config.allow_missing_origin)

    def _list(self, origins: Iterable[str]) -> None:
        for text in origins:
            if text == "*":
                self._any = True
                continue
            subdomains = "://*." in text
            parsed = parse_origin(text.replace("://*.", "://", 1) if subdomains else text)
            if parsed is None:
                self._literal.add(text.lower())  # "null", "file://"
            elif subdomains:
                self._subdomains.append(parsed)
                if self._default:  # Django's CSRF check counts the domain itself among them
                    self._exact.add(parsed)
            else:
                self._exact.add(parsed)

    def allows(self, scope: Mapping[str, Any]) -> bool:
        """Whether the handshake's origin may connect; malformed and doubled headers may not."""
        values = [value for name, value in scope.get("headers", ()) if name.lower() == b"origin"]
        if not values:
            return self._allow_missing
        if len(values) > 1 or len(values[0]) > _MAX_ORIGIN_LENGTH:
            return False
        text = values[0].decode("latin-1")
        if self._rule is not None:
            return _verdict(self._rule(text, scope))
        origin = parse_origin(text)
        if origin is None:
            return text.lower() in self._literal or (self._any and text == "null")
        if self._any:
            return True
        if origin in self._exact or text.lower() in self._literal:
            return True
        if self._default and origin == _own_origin(scope):
            return True
        return any(
            origin.scheme == parent.scheme
            and origin.port == parent.port
            and origin.host.endswith("." + parent.host)
            for parent in self._subdomains
        )


def _verdict(said: Any) -> bool:
    if inspect.iscoroutine(said):  # true whatever it would say
        said.close()
        raise TypeError("the rule for origins is async; expected a function that returns a bool")
    return bool(said)


def _trusted_origins() -> Sequence[str]:
    origins: Sequence[str] = django_settings.CSRF_TRUSTED_ORIGINS
    return origins


def _own_origin(scope: Mapping[str, Any]) -> Origin | None:
    """The origin of the request's own site, as Django's ``request.get_host()`` sees it."""
    headers: dict[bytes, bytes] = {}
    for name, value in scope.get("headers", ()):
        name = name.lower()
        if name in headers and name in (b"host", b"x-forwarded-host"):
            return None  # two of them: ambiguous
        headers.setdefault(name, value)
    host = headers.get(b"host", b"")
    if django_settings.USE_X_FORWARDED_HOST and b"x-forwarded-host" in headers:
        host = headers[b"x-forwarded-host"]
    parsed = parse_origin("http://" + host.decode("latin-1"))
    if parsed is None or not validate_host(parsed.host.removesuffix("."), _allowed_hosts()):
        return None
    scheme = _own_scheme(scope, headers)
    match = re.search(r":([0-9]+)$", host.decode("latin-1"))
    port = int(match[1]) if match else 0
    return Origin(scheme, parsed.host, 0 if port == _DEFAULT_PORTS[scheme] else port)


def _own_scheme(scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> str:
    secure = django_settings.SECURE_PROXY_SSL_HEADER
    if secure:
        name, expected = secure
        wire_name = name.removeprefix("HTTP_").replace("_", "-").lower().encode("latin-1")
        value = headers.get(wire_name)
        if value is not None:
            first = value.decode("latin-1").split(",", 1)[0].strip()
            return "https" if first == expected else "http"
    scheme = str(scope.get("scheme", "ws"))
    return _HTTP_OF.get(scheme, scheme if scheme in _DEFAULT_PORTS else "http")


def _allowed_hosts() -> Sequence[str]:
    hosts: Sequence[str] = django_settings.ALLOWED_HOSTS
    if django_settings.DEBUG and not hosts:
        return (".localhost", "127.0.0.1", "[::1]")  # as HttpRequest.get_host
    return hosts


class DenialLog:
    """Logs a refused origin once a minute, however often it tries; counts every time.

    Args:
        clock: where the time comes from.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = SystemClock() if clock is None else clock
        self._logged_at: OrderedDict[str, float] = OrderedDict()
        self._minute = self._clock.monotonic()
        self._lines = 0
        self.denied = 0
        """Handshakes refused since the start."""

    def deny(self, scope: Mapping[str, Any]) -> None:
        """Count a refusal, and log it where this origin was not logged within the last minute."""
        self.denied += 1
        values = [value for name, value in scope.get("headers", ()) if name.lower() == b"origin"]
        text = ", ".join(repr(value[:100].decode("latin-1")) for value in values[:2]) or "none"
        now = self._clock.monotonic()
        last = self._logged_at.get(text)
        if last is not None and now - last < _LOG_INTERVAL_S:
            return
        if now - self._minute >= _LOG_INTERVAL_S:
            self._minute, self._lines = now, 0
        self._lines += 1
        if self._lines > _LOG_LINES:  # made-up origins must not fill the log
            return
        self._logged_at[text] = now
        self._logged_at.move_to_end(text)
        if len(self._logged_at) > _LOG_MEMORY:
            self._logged_at.popitem(last=False)
        logger.warning(
            "Refused a connection from origin %s (%d refused so far). Add it to"
            " CHANNELS_REALTIME['ALLOWED_ORIGINS'] if it is yours.",
            text,
            self.denied,
        )


denials = DenialLog()
"""The process's refused handshakes."""


def check_origin(scope: Mapping[str, Any], policy: OriginPolicy | None = None) -> bool:
    """Whether a handshake of this origin may go on; refusals are logged.

    Args:
        scope: of the handshake.
        policy: by default that of the settings.
    """
    try:
        allowed = (policy or _policy()).allows(scope)
    except Exception:
        logger.exception("The rule for origins failed; the connection is refused")
        allowed = False
    if not allowed:
        denials.deny(scope)
    return allowed


def _policy() -> OriginPolicy:
    """The policy of the settings; made again where they have changed, as tests override them."""
    global _last_policy
    config, trusted = get_config(), tuple(django_settings.CSRF_TRUSTED_ORIGINS)
    if _last_policy is None or _last_policy[0] is not config or _last_policy[1] != trusted:
        _last_policy = (config, trusted, OriginPolicy.from_config(config))
    return _last_policy[2]


_last_policy: tuple[Config, tuple[str, ...], OriginPolicy] | None = None
