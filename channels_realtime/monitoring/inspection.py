"""What a node answers about its connections, and does to them, at the request of another process.

In: requests from any process (``operations`` sends them). Out: what MessagePack can hold. Each handler
runs on the node's loop. A request may come twice, when an answer was lost, so doing it twice must do
it once: what is done already counts as done.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from ..channels import Channel
from ..connections.connection import Connection, live_connections
from ..nodes.node import Handler, Node
from ..nodes.stores import stores_of
from ..protocol import messages as m
from ..protocol.codes import CloseCode
from ..protocol.names import channel_key, split_key
from ..protocol.subprotocols import SERVED, TOKEN_MARKER
from .load import LoadMonitor
from .registry import Registry
from .registry_rows import path_of, user_label
from .traces import Traces

_HIDDEN = "(hidden)"

_OFFER = "sec-websocket-protocol"
"""May hold a token: of it the names are shown that this server knows."""

_SHOWN_HEADERS = frozenset(
    {
        *("host", "origin", "user-agent", "x-client-id", "x-request-id", "traceparent"),
        *("accept", "accept-encoding", "accept-language", "cache-control", "pragma", "dnt"),
        *("connection", "upgrade", "sec-websocket-version", "sec-websocket-extensions"),
        *("sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-user"),
        *("sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform", "sec-gpc"),
        *("forwarded", "via", "x-real-ip", "x-forwarded-for", "x-forwarded-host"),
        *("x-forwarded-port", "x-forwarded-proto", "cf-connecting-ip", "true-client-ip"),
    }
)
"""Headers of a handshake whose values are shown; any other may hold credentials."""

_AT_ONCE = 100
"""Connections that are written to before others of the loop have their turn."""

MAX_SUBSCRIPTIONS = 500
"""Subscriptions of a connection, and headers, that are shown."""


# -- one connection --------------------------------------------------------------------------------


def _inspect(node: Node, arguments: dict[str, Any]) -> dict[str, Any] | None:
    connection = live_connections(node).get(arguments["connection"])
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
        "path": path_of(connection),
        "consumer": connection.consumer,
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
                "channel": channel_key(connection.namespace, name),
                "paused": name in paused,
                "selections": len(
                    node.hub.selections(channel_key(connection.namespace, name), connection)
                ),
                "offset": _offset(node, channel_key(connection.namespace, name)),
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
        "traced": connection.id in node.service(Traces),
    }


def _offset(node: Node, channel: str) -> int | None:
    """Up to where a channel with history was delivered here."""
    position = node.streams.position(channel)
    return None if position is None else position.offset


def _headers(headers: Iterable[tuple[bytes, bytes]], names: Container[str]) -> Iterator[list[str]]:
    """The handshake's headers; ``names`` are the subprotocols that hold no credentials."""
    for raw_name, raw_value in itertools.islice(headers, MAX_SUBSCRIPTIONS):
        name = raw_name.decode("latin-1").lower()
        value = raw_value.decode("latin-1")
        if name == _OFFER:
            offered = [part.strip() for part in value.split(",")]
            value = ", ".join(part if part in names else _HIDDEN for part in offered)
        elif name == "referer":
            value = value.partition("?")[0]
        elif name not in _SHOWN_HEADERS:
            value = _HIDDEN
        yield [name, value]


def _names(node: Node) -> Container[str]:
    return {*SERVED, *node.config.subprotocols, TOKEN_MARKER}


# -- acting ----------------------------------------------------------------------------------------


def _named(node: Node, arguments: dict[str, Any]) -> Iterator[tuple[str, Connection]]:
    for connection_id in arguments["connections"]:
        connection = live_connections(node).get(connection_id)
        if connection is not None:
            yield connection_id, connection


def _disconnect(node: Node, arguments: dict[str, Any]) -> list[str]:
    code = CloseCode(arguments["code"])
    done = []
    for connection_id, connection in _named(node, arguments):
        if not connection.closed:
            connection.close(code, arguments["reason"], retry_after=arguments["retry_after"])
        done.append(connection_id)
    return done


_Outcome = list[str] | dict[str, list[str]]
"""Ids of connections where it was done; and of those where it is not possible, where there are any."""


def _outcome(done: list[str], impossible: list[str]) -> _Outcome:
    # Servers of the version before know the list alone.
    return {"done": done, "impossible": impossible} if impossible else done


def _notice(node: Node, arguments: dict[str, Any]) -> _Outcome:
    notice = m.Notice(payload=arguments["payload"])
    done, impossible = [], []
    for connection_id, connection in _named(node, arguments):
        if connection.notify(notice):
            done.append(connection_id)
        elif not connection.closed:  # the bare endpoint and the site's own consumers
            impossible.append(connection_id)
    return _outcome(done, impossible)


def _subscription(connection: Connection, key: str) -> Channel | None:
    """Its subscription to a channel, which staff name with its namespace."""
    name = split_key(key)[1]
    return (
        connection.subscriptions.get(name)
        if key == channel_key(connection.namespace, name)
        else None
    )


async def _broadcast_notice(node: Node, arguments: dict[str, Any]) -> int:
    """Send a notice to all connections, or to those on a channel; returns to how many."""
    notice, channel = m.Notice(payload=arguments["payload"]), arguments["channel"]
    sent = 0
    for number, connection in enumerate(list(live_connections(node).values()), 1):
        if not number % _AT_ONCE:
            await asyncio.sleep(0)
        if channel is None or _subscription(connection, channel) is not None:
            sent += connection.notify(notice)
    return sent


async def _credentials(node: Node, arguments: dict[str, Any]) -> _Outcome:
    done, impossible = [], []
    for connection_id, connection in _named(node, arguments):
        # A login session has no auth_expiring: there is nothing that its page could send.
        if connection.closed or not connection.identity.carries_token:
            continue
        if connection.can_say(m.AuthExpiring(expires_at=0.0)):
            await connection.ask_for_credentials(arguments["within"])
            done.append(connection_id)
        else:
            impossible.append(connection_id)
    return _outcome(done, impossible)


# -- a node ----------------------------------------------------------------------------------------


def _node(node: Node, arguments: dict[str, Any]) -> dict[str, Any]:
    metrics, load = node.metrics, node.service(LoadMonitor)
    rates = load.rates()
    return {
        "connections": len(node.connections),
        "channels": len(node.hub),
        "draining": node.drain.begun,
        "uptime": node.clock.monotonic() - node.started_at,
        "messages_in_rate": rates.messages_in,
        "messages_out_rate": rates.delivered,
        "connect_rate": rates.connected,
        "loop_lag": load.loop_lag,
        "memory": _memory(),
        "refused": metrics.refused,
        "revoked": metrics.revoked,
        "slow": metrics.slow,
        "throttled": metrics.throttled,
        "dropped": metrics.dropped,
        "failures": node.service(Registry).failures,
        "history_failing": "history" in stores_of(node.layer, node.config).failing,
    }


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


HANDLERS: Mapping[str, Handler] = {
    "inspect": _inspect,
    "disconnect": _disconnect,
    "notice": _notice,
    "broadcast_notice": _broadcast_notice,
    "credentials": _credentials,
    "node": _node,
    "drain": _drain,
    "channels": _channels,
}
"""What a node answers, by the kind of request."""
