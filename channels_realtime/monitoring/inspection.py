"""What a node answers about its connections, and does to them, when it is asked.

In: questions from any process (``operations`` asks them). Out: what msgpack can hold. Each handler
runs on the node's loop and is asked again where its answer was lost, so that doing something twice
must do it once: what is done already counts as done.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections import deque
from collections.abc import Container, Iterable, Iterator
from typing import Any

from ..connections import commands
from ..errors import Forbidden
from ..nodes.node import Node, at_start
from ..nodes.requests import answers
from ..protocol import messages as m
from ..protocol.codes import CloseCode
from ..protocol.subprotocols import SERVED, TOKEN_MARKER
from .registry_rows import user_label

_LEFT_OUT = "(left out)"

_OFFER = "sec-websocket-protocol"
"""May hold a token: only the names that a token cannot be are shown of it."""

_SECRET_WORDS = (
    *("auth", "cookie", "token", "secret", "key", "password", "passwd", "session", "ticket"),
    *("csrf", "xsrf", "jwt", "oidc", "saml", "assertion", "credential", "signature"),
)
"""A header whose name has one of these is taken for a credential."""

_SECRET_VALUE = re.compile(r"(?i)(bearer|basic|digest|token|negotiate)\s|.*eyJ[\w-]+\.", re.DOTALL)
"""A value that begins as ``Authorization`` does, or has a JWT in it."""

MAX_SUBSCRIPTIONS = 500
"""Subscriptions of a connection, and headers, that are shown."""

_RATE_WINDOW_S = 10.0
_LAG_INTERVAL_S = 0.5


# -- one connection --------------------------------------------------------------------------------


@answers("inspect")
def _inspect(node: Node, arguments: dict[str, Any]) -> dict[str, Any] | None:
    connection: Any = node.connections.get(arguments["connection"])
    if connection is None:
        return None
    identity = connection.identity
    names = list(connection.subscriptions)
    writer = connection.writer
    paused = connection.paused_channels
    return {
        "id": connection.id,
        "user_id": identity.user_id,
        "user": "" if identity.user_id is None else user_label(connection.user),
        "address": connection.client_address,
        "transport": connection.transport,
        "dialect": connection.dialect_name,
        "origin": connection.origin,
        "user_agent": connection.user_agent,
        "client_id": connection.client_id,
        "auth": {
            "method": identity.method,
            "source": identity.source,
            "expires_at": identity.expires_at,
        },
        "connected_at": connection.connected_at,
        "seen_at": connection.seen_at,
        "closed": connection.closed,
        "subscriptions": [
            {
                "channel": name,
                "paused": name in paused,
                "selections": len(node.hub.selections(name, connection)),
                "epoch": None,
                "offset": None,
            }
            for name in names[:MAX_SUBSCRIPTIONS]
        ],
        "subscriptions_total": len(names),
        "received": connection.received,
        "received_bytes": connection.received_bytes,
        "sent": writer.sent,
        "sent_bytes": writer.sent_bytes,
        "queued": writer.queued,
        "queued_bytes": writer.queued_bytes,
        "round_trips": connection.round_trips,
        "errors": connection.errors,
        "throttled": connection.throttled,
        "headers": list(_headers(connection.scope.get("headers", ()), _names(node))),
        "traced": connection.id in node.traces,
    }


def _headers(headers: Iterable[tuple[bytes, bytes]], names: Container[str]) -> Iterator[list[str]]:
    """The handshake's headers, credentials left out; ``names`` are subprotocols that are none."""
    for raw_name, raw_value in itertools.islice(headers, MAX_SUBSCRIPTIONS):
        name = raw_name.decode("latin-1").lower()
        value = raw_value.decode("latin-1")
        if name == _OFFER:
            offered = [part.strip() for part in value.split(",")]
            value = ", ".join(part if part in names else _LEFT_OUT for part in offered)
        elif any(word in name for word in _SECRET_WORDS) or _SECRET_VALUE.match(value):
            value = _LEFT_OUT
        elif name == "referer":
            value = value.partition("?")[0]
        yield [name, value]


def _names(node: Node) -> Container[str]:
    return {*SERVED, *node.config.subprotocols, TOKEN_MARKER}


# -- acting ----------------------------------------------------------------------------------------


def _named(node: Node, arguments: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    for connection_id in arguments["connections"]:
        connection: Any = node.connections.get(connection_id)
        if connection is not None:
            yield connection_id, connection


@answers("disconnect")
def _disconnect(node: Node, arguments: dict[str, Any]) -> list[str]:
    code = CloseCode(arguments["code"])
    done = []
    for connection_id, connection in _named(node, arguments):
        if not connection.closed:
            connection.close(code, arguments["reason"], retry_after=arguments["retry_after"])
        done.append(connection_id)
    return done


@answers("notice")
def _notice(node: Node, arguments: dict[str, Any]) -> list[str]:
    notice = m.Notice(payload=arguments["payload"])
    done = []
    for connection_id, connection in _named(node, arguments):
        if connection.notify(notice):  # not on the bare endpoint, which has no word for it
            done.append(connection_id)
    return done


@answers("unsubscribe")
def _unsubscribe(node: Node, arguments: dict[str, Any]) -> list[str]:
    refusal = Forbidden("ended by an administrator")
    done = []
    for connection_id, connection in _named(node, arguments):
        channel = connection.subscriptions.get(arguments["channel"])
        if channel is not None and not connection.closed:
            commands.take_away(node, connection, channel, refusal)
            done.append(connection_id)
    return done


@answers("credentials")
async def _credentials(node: Node, arguments: dict[str, Any]) -> list[str]:
    done = []
    for connection_id, connection in _named(node, arguments):
        # A login session has no auth_expiring: there is nothing that its page could send.
        if not connection.closed and connection.identity.carries_token:
            await connection.ask_for_credentials(arguments["within"])
            done.append(connection_id)
    return done


# -- a node ----------------------------------------------------------------------------------------


class LoadMonitor:
    """What changes all the time in a node: rates and the loop's lag, over the last ten seconds.

    Args:
        node: that it measures.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._due: float | None = None
        self._lags: deque[float] = deque(maxlen=int(_RATE_WINDOW_S / _LAG_INTERVAL_S))
        self._counts: deque[tuple[float, int, int, int]] = deque(maxlen=self._lags.maxlen)

    def beat(self) -> None:
        """Look at the clock, and again in half a second, while the node lives."""
        if self._node.stopped:
            return
        now = self._node.loop.time()
        if self._due is not None:
            self._lags.append(max(0.0, now - self._due))
        node = self._node
        self._counts.append((now, node.messages_in, node.hub.delivered, node.connected_total))
        self._due = now + _LAG_INTERVAL_S
        self._node.loop.call_at(self._due, self.beat)

    @property
    def loop_lag(self) -> float:
        """The longest time that the loop was late of late, in seconds."""
        return max(self._lags, default=0.0)

    def rates(self) -> tuple[float, float, float]:
        """Messages in, deliveries and connections a second."""
        if len(self._counts) < 2:
            return 0.0, 0.0, 0.0
        first, last = self._counts[0], self._counts[-1]
        seconds = max(0.001, last[0] - first[0])
        return (
            (last[1] - first[1]) / seconds,
            (last[2] - first[2]) / seconds,
            (last[3] - first[3]) / seconds,
        )


@at_start
def _measure(node: Node) -> None:
    node.pulse = LoadMonitor(node)
    node.pulse.beat()


@answers("node")
def _node(node: Node, arguments: dict[str, Any]) -> dict[str, Any]:
    statistics = node.statistics()
    messages_in, messages_out, connects = node.pulse.rates()
    return {
        "connections": statistics.connections,
        "channels": statistics.channels,
        "draining": statistics.draining,
        "uptime": node.clock.monotonic() - node.started_at,
        "messages_in_rate": messages_in,
        "messages_out_rate": messages_out,
        "connect_rate": connects,
        "loop_lag": node.pulse.loop_lag,
        "memory": _memory(),
        "refused": statistics.refused,
        "revoked": statistics.revoked,
        "slow": statistics.slow,
        "throttled": statistics.throttled,
        "dropped": statistics.dropped,
        "failures": node.registry.failures,
    }


@answers("drain")
def _drain(node: Node, arguments: dict[str, Any]) -> bool:
    node.drain.begin()
    return True


def _memory() -> int | None:
    """The process's resident memory in bytes, where the platform tells it."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # the peak, in bytes or in KiB


# -- channels --------------------------------------------------------------------------------------


@answers("channels")
def _channels(node: Node, arguments: dict[str, Any]) -> dict[str, Any]:
    """The channels with subscribers here, most of them first: ``[name, subscribers, rate]``."""
    search, limit = arguments["search"], arguments["limit"]
    found = [
        (name, count, node.hub.rate(name))
        for name in node.hub.channels()
        if search in name.lower() and (count := node.hub.count(name))
    ]
    found.sort(key=lambda entry: (-entry[1], entry[0]))
    return {"total": len(found), "channels": [list(entry) for entry in found[:limit]]}
