"""Reads ``CHANNELS_REALTIME`` from Django's settings into a ``Config``.

The setting is read on each access, so that ``override_settings`` works. ``problems`` lists what is
wrong with it, for the system checks; ``get_config`` raises ImproperlyConfigured for the first.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from .config import FIELDS, Config
from .protocol.codecs import CODECS
from .protocol.frames import Policy

SETTING = "CHANNELS_REALTIME"

MAX_TICKET_LIFETIME_S = 300
"""A ticket must expire before the revocation of the login session behind it is deleted (600 s)."""


class Problem(NamedTuple):
    """A fault in the settings: the key, what is wrong, and the remedy."""

    key: str
    message: str
    hint: str


def get_config() -> Config:
    """Return the current configuration.

    Raises:
        ImproperlyConfigured: ``CHANNELS_REALTIME`` has unknown keys or wrong values.
    """
    global _cached
    raw = getattr(django_settings, SETTING, None)
    if _cached is not None and _cached[0] is raw:
        return _cached[1]
    found = list(problems(raw))
    if found:
        first = found[0]
        raise ImproperlyConfigured(f"{first.message} {first.hint}")
    config = Config(**{key.lower(): value for key, value in (raw or {}).items()})
    _cached = (raw, config)
    return config


_cached: tuple[Any, Config] | None = None


def problems(raw: Any) -> Iterator[Problem]:
    """Yield what is wrong with the value of ``CHANNELS_REALTIME``."""
    if raw is None:
        return
    if not isinstance(raw, Mapping):
        yield Problem("", f"{SETTING} is {raw!r}.", "Make it a dict.")
        return
    for key, value in raw.items():
        if key not in FIELDS:
            close = difflib.get_close_matches(str(key).upper(), FIELDS, n=1)
            hint = (
                f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(FIELDS))}."
            )
            yield Problem(str(key), f"{SETTING} has an unknown key {key!r}.", hint)
            continue
        expected = _RULES[key](value)
        if expected is not None:
            yield Problem(key, f"{SETTING}[{key!r}] is {value!r}.", f"Expected {expected}.")


_Rule = Callable[[Any], str | None]
"""Returns None for a valid value, else what is expected."""

_COLLECTIONS = (list, tuple, set, frozenset)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "True or False"


def _integer(least: int) -> _Rule:
    def rule(value: Any) -> str | None:
        return None if type(value) is int and value >= least else f"an integer of at least {least}"

    return rule


def _seconds(value: Any) -> str | None:
    return None if _is_number(value) and 0 < value < 1e7 else "a number of seconds greater than 0"


def _not_negative(value: Any) -> str | None:
    return None if _is_number(value) and 0 <= value < 1e7 else "a number of seconds, at least 0"


def _between(least: float, most: float) -> _Rule:
    def rule(value: Any) -> str | None:
        if _is_number(value) and least <= value <= most:
            return None
        return f"a number of seconds from {least:g} to {most:g}"

    return rule


def _one_of(*values: str) -> _Rule:
    def rule(value: Any) -> str | None:
        return None if value in values else f"one of {', '.join(map(repr, values))}"

    return rule


def _group_prefix(value: Any) -> str | None:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_.\-]{1,40}", value, re.ASCII):
        return None
    return "1 to 40 characters of A-Z a-z 0-9 _ - ."


def _path(value: Any) -> str | None:
    if isinstance(value, str) and value.strip("/") and not value.startswith("/"):
        return None
    return "a path without a leading slash, such as 'ws/'"


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value else "text that is not empty"


_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]{1,100}", re.ASCII)
"""RFC 9110, section 5.6.2."""


def _subprotocols(value: Any) -> str | None:
    if isinstance(value, Mapping) and all(
        isinstance(name, str) and _TOKEN.fullmatch(name) and codec in CODECS
        for name, codec in value.items()
    ):
        return None
    return f"a dict of subprotocol names to one of {', '.join(sorted(CODECS))}"


def _origins(value: Any) -> str | None:
    if value is None or callable(value) or _dotted(value) is None:
        return None
    if isinstance(value, _COLLECTIONS) and all(isinstance(origin, str) for origin in value):
        return None
    return "None, a list of origins, a callable or the dotted path of one"


def _rate(value: Any) -> str | None:
    if (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and all(map(_is_number, value))
        and value[0] > 0
        and value[1] >= 1
    ):
        return None
    return "(per second, burst), such as (10, 50)"


def _schemes(value: Any) -> str | None:
    if isinstance(value, (list, tuple)) and all(
        isinstance(scheme, str) and _TOKEN.fullmatch(scheme) for scheme in value
    ):
        return None
    return "a list of schemes, such as ['Bearer', 'Token']"


def _paths(value: Any) -> str | None:
    if isinstance(value, (list, tuple)) and all(_dotted(path) is None for path in value):
        return None
    return "a list of dotted paths of classes"


def _dotted(value: Any) -> str | None:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", value):
        return None
    return "a dotted path"


def _header(value: Any) -> str | None:
    # No underscore: servers and proxies drop such names, and Django's HTTP_X_REAL_IP has them.
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9\-]{1,100}", value, re.ASCII):
        return None
    return "the name of a header as it is sent, such as 'X-Forwarded-For' or 'CF-Connecting-IP'"


def _redis(value: Any) -> str | None:
    servers = value if isinstance(value, (list, tuple)) else [value]
    if servers and all(
        (isinstance(s, str) and "://" in s) or isinstance(s, Mapping) for s in servers
    ):
        return None
    return (
        "a URL such as 'redis://localhost:6379/1', a dict as in channels_redis's hosts, or a list"
    )


def _optional(rule: _Rule) -> _Rule:
    def optional(value: Any) -> str | None:
        if value is None:
            return None
        expected = rule(value)
        return None if expected is None else f"{expected}, or None"

    return optional


def _share(value: Any) -> str | None:
    if isinstance(value, bool) or (isinstance(value, (int, float)) and 0 <= value <= 1):
        return None
    return "True, False, or the share of connections to record, from 0.0 to 1.0"


def _networks(value: Any) -> str | None:
    expected = "a list of addresses and networks, such as '10.0.0.0/8'"
    if not isinstance(value, _COLLECTIONS):
        return expected
    for network in value:
        try:
            ipaddress.ip_network(network, strict=False)
        except (ValueError, TypeError):
            return expected
    return None


_RULES: dict[str, _Rule] = {
    "CHANNEL_LAYER": _text,
    "GROUP_PREFIX": _group_prefix,
    "WEBSOCKET_PATH": _path,
    "ALLOW_ANONYMOUS": _flag,
    "AUTH_TIMEOUT": _seconds,
    "CONNECTION_CONTEXT": _optional(_dotted),
    "NAMESPACE": _optional(_dotted),
    "AUTHENTICATORS": _paths,
    "TOKEN_VERIFIER": _optional(_dotted),
    "TOKEN_HEADER_TYPES": _optional(_schemes),
    "QUERY_TOKEN": _flag,
    "JWT_COOKIE": _optional(_text),
    "STATELESS_TOKENS": _flag,
    "FIRST_MESSAGE_AUTH": _flag,
    "TICKET_LIFETIME": _between(1, MAX_TICKET_LIFETIME_S),
    "AUTH_EXPIRING_LEAD": _seconds,
    "AUTH_LEEWAY": _not_negative,
    "REVOCATION_POLL_INTERVAL": _seconds,
    "SWEEP_INTERVAL": _seconds,
    "TRUSTED_PROXIES": _networks,
    "CLIENT_ADDRESS_HEADER": _optional(_header),
    "ALLOWED_ORIGINS": _origins,
    "ALLOW_MISSING_ORIGIN": _flag,
    "SUBPROTOCOLS": _subprotocols,
    "CLOSE_CODES": _one_of("application", "rfc"),
    "HEARTBEAT_INTERVAL": _seconds,
    "HEARTBEAT_TIMEOUT": _seconds,
    "MAX_FRAME_BYTES": _integer(128),
    "MAX_PAYLOAD_BYTES": _integer(1),
    "MAX_PUBLICATION_BYTES": _integer(1),
    "MAX_PAYLOAD_DEPTH": _integer(1),
    "MAX_BATCH": _integer(1),
    "MAX_SUBSCRIPTIONS": _integer(1),
    "MAX_IN_FLIGHT": _integer(1),
    "MAX_BAD_MESSAGES": _integer(0),
    "CONNECTION_MESSAGES": _optional(_rate),
    "CONNECTION_BYTES": _optional(_rate),
    "CONNECTION_PUBLISHES": _optional(_rate),
    "CONNECTION_FAILURES": _optional(_rate),
    "THROTTLE_PATIENCE": _integer(1),
    "USER_MESSAGES": _optional(_rate),
    "ADDRESS_MESSAGES": _optional(_rate),
    "ADDRESS_FAILURES": _optional(_rate),
    "MAX_CONNECTIONS": _optional(_integer(1)),
    "MAX_CONNECTIONS_PER_USER": _optional(_integer(1)),
    "MAX_CONNECTIONS_PER_ADDRESS": _optional(_integer(1)),
    "SLOW_POLICY": _one_of(*(policy.value for policy in Policy)),
    "OUTBOX_MAX_MESSAGES": _integer(1),
    "OUTBOX_MAX_BYTES": _integer(1),
    "HOOK_THREADS": _integer(0),
    "HOOK_TIMEOUT": _seconds,
    "MAX_CONCURRENT_HOOKS": _integer(1),
    "CONNECTION_REGISTRY": _share,
    "REGISTRY_MAX_SUBSCRIPTIONS": _integer(0),
    "NODE_LEASE": _between(3, 3_600),
    "SAMPLE_INTERVAL": _between(5, 3_600),
    "SAMPLE_RETENTION": _seconds,
    "ENDED_RETENTION": _between(0, 31_536_000),
    "TRACE_PAYLOADS": _flag,
    "PUBLISH_TIMEOUT": _seconds,
    "PUBLISH_FAILURES": _one_of("raise", "log"),
    "SUBSCRIBE_TIMEOUT": _seconds,
    "LAYER_CHECK_INTERVAL": _seconds,
    "HISTORY_STORE": _optional(_dotted),
    "PRESENCE_STORE": _optional(_dotted),
    "SESSION_STORE": _optional(_dotted),
    "STORE_REDIS": _optional(_redis),
    "STORE_TIMEOUT": _seconds,
    "STORE_FAILURES": _one_of("raise", "retry", "live"),
    "PUBLISH_KEY_WINDOW": _seconds,
    "SYNC_INTERVAL": _between(0.1, 3_600),
    "RESUME_WINDOW": _not_negative,
    "DAPHNE_COMPRESSION": _flag,
    "TUNE_GARBAGE_COLLECTOR": _flag,
    "DRAIN_ON_STOP": _flag,
    "DRAIN_GRACE": _seconds,
    "DRAIN_RETRY_WINDOW": _not_negative,
    "DRAIN_BATCH": _integer(1),
    "DRAIN_BATCH_INTERVAL": _not_negative,
}
