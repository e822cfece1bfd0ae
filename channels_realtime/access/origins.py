"""Which pages may open a connection: the allowlist of origins.

A browser sends its cookies with a WebSocket handshake from any page, and the same-origin policy does
not apply to it (RFC 6455, section 10.2). The ``Origin`` header is what tells a foreign page from
our own; without this check any site could act as the visitor (cross-site WebSocket hijacking).

By default an origin is ours where Django's CSRF check would call it so: scheme, host and port are
those of the request, with ``Host`` among ``ALLOWED_HOSTS`` and the scheme by
``SECURE_PROXY_SSL_HEADER``, or it is in ``CSRF_TRUSTED_ORIGINS``. ``wss`` is ``https`` and ``ws`` is
``http`` wherever one of them stands: in the origin, as apps write it, and in the proxy's header.
"""

from __future__ import annotations

import inspect
import ipaddress
import logging
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from django.conf import settings as django_settings
from django.http.request import validate_host
from django.utils.module_loading import import_string

from ..config import Config, OriginRule
from ..errors import ImproperUse
from ..runtime.clock import Clock
from ..settings import SETTING, get_config
from .headers import Headers, header_values

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
    """The parts of an origin, or None where it is ``null`` or malformed; raises nothing.

    ``wss`` and ``ws`` become ``https`` and ``http``: no browser writes them, but the WebSocket libraries
    of apps take the origin from the socket's own address.
    """
    return _parse_origin(text) if len(text) <= _MAX_ORIGIN_LENGTH else None


@lru_cache(maxsize=1_024)
def _parse_origin(text: str) -> Origin | None:
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return None
    scheme, host = match["scheme"].lower(), match["host"].lower()
    scheme = _HTTP_OF.get(scheme, scheme)
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


def origin_fault(text: Any) -> tuple[str, str] | None:
    """What is wrong with an entry of a list of origins, and the remedy; None where it can match."""
    if not isinstance(text, str):
        return "which is no text", "Write an origin, such as 'https://www.example.com'."
    if text in ("*", "null"):
        return None
    if "://" not in text:
        return "which has no scheme and matches nothing", f"Write 'https://{text}'."
    is_web = text.lower().startswith(("http://", "https://", "ws://", "wss://"))
    if is_web and parse_origin(text.replace("://*.", "://", 1)) is None:
        return (
            "which is not an origin and matches nothing",
            "An origin is a scheme, a host and optionally a port, without path or final slash.",
        )
    return None


def same_origin(one: str | None, other: str | None) -> bool:
    """Whether two ``Origin`` headers name the same origin; None is one that was not sent.

    A client that is not a browser may send none with a request and, because its WebSocket library
    adds one, ``wss://…`` with a handshake. Browsers never write such an origin.
    """
    if one == other:
        return True
    if one is None or other is None:
        present = one or other or ""
        return present.lower().startswith(("ws://", "wss://"))
    parsed = parse_origin(one)
    return parsed is not None and parsed == parse_origin(other)


class OriginPolicy:
    """Judges the ``Origin`` of a handshake.

    Args:
        allowed: exact origins, ``https://*.example.com`` (subdomains, not the domain itself),
            ``null`` and non-web origins where listed, or ``*``; or a callable of the origin's text
            and the scope; None for the default.
        allow_missing: whether a handshake without ``Origin``, which no browser sends, passes.
        place: where ``allowed`` stands in the site's code, for the log.
    """

    def __init__(
        self,
        allowed: Iterable[str] | OriginRule | None,
        *,
        allow_missing: bool = True,
        place: str = "the origins that this middleware or consumer allows",
    ) -> None:
        self._place = place
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
            self._list(django_settings.CSRF_TRUSTED_ORIGINS if allowed is None else allowed)

    @classmethod
    def of(
        cls, allowed: Iterable[str] | OriginRule, owner: str, *, allow_missing: bool
    ) -> OriginPolicy:
        """The policy of a class or middleware of the site's.

        Raises:
            ImproperUse: it is no list, or has an entry that matches nothing.
        """
        if isinstance(allowed, str):
            raise ImproperUse(f"{owner} is {allowed!r}; expected a list of origins or a function")
        if not callable(allowed):
            allowed = list(allowed)
            for text in allowed:
                fault = origin_fault(text)
                if fault is not None:
                    raise ImproperUse(f"{owner} contains {text!r}, {fault[0]}. {fault[1]}")
        return cls(allowed, allow_missing=allow_missing)

    @classmethod
    def from_config(cls, config: Config) -> OriginPolicy:
        """The policy that the settings describe."""
        allowed = config.allowed_origins
        if isinstance(allowed, str):
            allowed = import_string(allowed)
        place = f"{SETTING}['ALLOWED_ORIGINS']"
        return cls(allowed, allow_missing=config.allow_missing_origin, place=place)

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

    def allows(self, scope: Mapping[str, Any], headers: Headers | None = None) -> bool:
        """Whether the handshake's origin may connect; malformed and doubled headers may not.

        Args:
            headers: those of the scope, where they were read already.
        """
        headers = headers or Headers(scope)
        values = headers.values(b"origin")
        if not values:
            return self._allow_missing
        text = values[0]
        if len(values) > 1 or len(text) > _MAX_ORIGIN_LENGTH:
            return False
        if self._rule is not None:
            return _verdict(self._rule(_as_page(text), scope))
        return self.lists(text) or (self._default and _is_own(text, scope, headers))

    def lists(self, text: str) -> bool:
        """Whether an origin is in the list, or in ``CSRF_TRUSTED_ORIGINS`` where that is the list."""
        origin = parse_origin(text)
        if origin is None:
            return text.lower() in self._literal or (self._any and text == "null")
        if self._any or origin in self._exact or text.lower() in self._literal:
            return True
        return any(
            origin.scheme == parent.scheme
            and origin.port == parent.port
            and origin.host.endswith("." + parent.host)
            for parent in self._subdomains
        )

    def remedy(self, scope: Mapping[str, Any]) -> str:
        """What to do if a refused origin is the site's own, as sentences for the log."""
        values = header_values(scope, b"origin")
        if not values:
            return "ALLOW_MISSING_ORIGIN is False, which refuses clients without an Origin header."
        if len(values) > 1:
            return "A handshake has one Origin header: look for a proxy that adds another."
        text = values[0]
        origin = parse_origin(text)
        if self._rule is not None:
            return f"The rule in {self._place} did not allow it."
        if origin is None and text.lower() != "null" and not text.lower().startswith("file:"):
            return (
                "It is malformed: an origin is a scheme, a host and, where it is not the default, a"
                " port, such as https://shop.example."
            )
        if not self._default:
            return f"Add it to {self._place} if it is yours."
        if origin is None or origin.scheme not in _DEFAULT_PORTS:
            return (
                f"It is not a web page's. If it is yours, list it in {self._place} together with the"
                " site's own origins, which that list replaces."
            )
        return _remedy_for_foreign(text, origin, scope)


def _as_page(text: str) -> str:
    """An origin of ``wss`` or ``ws`` as a browser writes it, for a rule that compares texts."""
    scheme, separator, rest = text.partition("://")
    return _HTTP_OF.get(scheme.lower(), scheme) + separator + rest


def _verdict(said: Any) -> bool:
    if inspect.iscoroutine(said):  # true whatever it would say
        said.close()
        raise TypeError("the rule for origins is async; expected a function that returns a bool")
    return bool(said)


def _is_own(text: str, scope: Mapping[str, Any], headers: Headers) -> bool:
    """Whether an origin is the request's own site, as Django's ``request.get_host()`` sees it."""
    origin = parse_origin(text)
    if origin is None or origin != _requested_origin(scope, headers):
        return False
    return is_own_host(origin.host)


def is_own_host(host: str) -> bool:
    """Whether a host is in ``ALLOWED_HOSTS``."""
    return validate_host(host.removesuffix("."), _allowed_hosts())


def _requested_origin(scope: Mapping[str, Any], headers: Headers) -> Origin | None:
    """The origin that the request is for, whether or not the site has this host."""
    hosts, forwarded = headers.values(b"host"), headers.values(b"x-forwarded-host")
    if len(hosts) > 1 or len(forwarded) > 1:
        return None  # ambiguous
    if forwarded and django_settings.USE_X_FORWARDED_HOST:
        hosts = forwarded
    host = hosts[0] if hosts else ""
    return (
        _origin_of_host(_own_scheme(scope, headers), host)
        if len(host) <= _MAX_ORIGIN_LENGTH
        else None
    )


@lru_cache(maxsize=1_024)
def _origin_of_host(scheme: str, host: str) -> Origin | None:
    parsed = parse_origin("http://" + host)
    if parsed is None:
        return None
    match = re.search(r":([0-9]+)$", host)
    port = int(match[1]) if match else 0
    return Origin(scheme, parsed.host, 0 if port == _DEFAULT_PORTS[scheme] else port)


def _own_scheme(scope: Mapping[str, Any], headers: Headers) -> str:
    secure = django_settings.SECURE_PROXY_SSL_HEADER
    if secure:
        name, expected = secure
        values = headers.values(_wire_name(name).lower().encode("latin-1"))
        if values:
            first = values[0].split(",", 1)[0].strip()
            # A proxy may write the scheme of the upgrade: Traefik writes "wss" (its wsHeaders).
            return "https" if expected in (first, _HTTP_OF.get(first)) else "http"
    scheme = str(scope.get("scheme", "ws"))
    return _HTTP_OF.get(scheme, scheme if scheme in _DEFAULT_PORTS else "http")


def _wire_name(name: str) -> str:
    """``HTTP_X_FORWARDED_PROTO``, as Django's settings write a header, as it is sent."""
    return name.removeprefix("HTTP_").replace("_", "-").title()


def _allowed_hosts() -> Sequence[str]:
    hosts: Sequence[str] = django_settings.ALLOWED_HOSTS
    if not hosts and django_settings.DEBUG:
        return (".localhost", "127.0.0.1", "[::1]")  # as HttpRequest.get_host
    return hosts


# -- what to do about a refusal --------------------------------------------------------------------


def _remedy_for_foreign(text: str, origin: Origin, scope: Mapping[str, Any]) -> str:
    """Tells a page of another site from one of our own that a proxy made look foreign."""
    trust = f"add {text!r} to CSRF_TRUSTED_ORIGINS"
    requested = _requested_origin(scope, Headers(scope))
    if requested is not None and requested.host == origin.host and not is_own_host(origin.host):
        return f"Its host is the request's, but is not in ALLOWED_HOSTS: add {origin.host!r} there."
    if requested is None or requested.host != origin.host:
        if origin.host == _forwarded_host(scope):
            return (
                "A proxy replaced the Host header and names the page's host in X-Forwarded-Host: have"
                " it pass Host on, or set USE_X_FORWARDED_HOST = True."
            )
        here = "has no usable Host header" if requested is None else f"is for {requested.host!r}"
        if "*" not in _allowed_hosts() and is_own_host(origin.host):
            return (
                f"Its host is in ALLOWED_HOSTS, but the request {here}. If a proxy replaced the Host"
                f" header, have it pass Host on; if the page is on another host, {trust}."
            )
        return f"It is another site's page: the request {here}. If it is yours, {trust}."
    found = []
    port = 0 if requested.port == _DEFAULT_PORTS[origin.scheme] else requested.port
    if port != origin.port:
        page = "no port" if origin.port == 0 else f"port {origin.port}"
        shown = "none" if port == 0 else str(port)
        found.append(
            f"The page's address has {page}, the Host header {shown}: a proxy has to pass Host on with"
            " its port (nginx: $http_host)."
        )
    if requested.scheme != origin.scheme:
        found.append(_remedy_for_scheme(origin.scheme, requested.scheme))
    return " ".join([*found, f"If the page is on another server, {trust}."])


def _remedy_for_scheme(page: str, request: str) -> str:
    said = f"The page is on {page} and the request arrived as {request}"
    secure = django_settings.SECURE_PROXY_SSL_HEADER
    if page == "http":
        return f"{said}: send visitors to https (SECURE_SSL_REDIRECT = True)."
    if not secure:
        return (
            f"{said}: behind a proxy that ends TLS, set SECURE_PROXY_SSL_HEADER, such as"
            " ('HTTP_X_FORWARDED_PROTO', 'https')."
        )
    return (
        f"{said}: SECURE_PROXY_SSL_HEADER expects {_wire_name(secure[0])}: {secure[1]}, so have the"
        " proxy send that with the handshake."
    )


def _forwarded_host(scope: Mapping[str, Any]) -> str | None:
    values = header_values(scope, b"x-forwarded-host")
    origin = parse_origin("http://" + values[0].split(",", 1)[0].strip()) if values else None
    return None if origin is None else origin.host


class DenialLog:
    """Logs a refused origin once a minute, however often it tries; counts every time."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = Clock() if clock is None else clock
        self._logged_at: OrderedDict[str, float] = OrderedDict()
        self._minute = self._clock.monotonic()
        self._lines = 0
        self.denied = 0
        """Handshakes refused since the start."""

    def deny(self, scope: Mapping[str, Any], policy: OriginPolicy | None = None) -> None:
        """Count a refusal, and log it where this origin was not logged within the last minute."""
        self.denied += 1
        values = header_values(scope, b"origin")
        text = ", ".join(repr(value[:100]) for value in values[:2]) or "none"
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
            "Refused a connection from origin %s (%d refused so far). %s",
            text,
            self.denied,
            (policy or OriginPolicy(None)).remedy(scope),
        )


denials = DenialLog()
"""The process's refused handshakes."""


def check_origin(
    scope: Mapping[str, Any], policy: OriginPolicy | None = None, headers: Headers | None = None
) -> bool:
    """Whether a handshake may go on by this policy, or by that of the settings; refusals are logged.

    Args:
        headers: those of the scope, where they were read already.
    """
    try:
        policy = policy or _policy()
        allowed = policy.allows(scope, headers)
    except Exception:
        logger.exception("The rule for origins failed; the connection is refused")
        allowed = False
    if not allowed:
        denials.deny(scope, policy or _NO_POLICY)
    return allowed


def _policy() -> OriginPolicy:
    """The policy of the settings; made again where they have changed, as tests override them."""
    global _last_policy
    config, trusted = get_config(), tuple(django_settings.CSRF_TRUSTED_ORIGINS)
    if _last_policy is None or _last_policy[0] is not config or _last_policy[1] != trusted:
        _last_policy = (config, trusted, OriginPolicy.from_config(config))
    return _last_policy[2]


_NO_POLICY = OriginPolicy(lambda origin, scope: False, place=f"{SETTING}['ALLOWED_ORIGINS']")
"""In place of one that cannot be made."""

_last_policy: tuple[Config, tuple[str, ...], OriginPolicy] | None = None
