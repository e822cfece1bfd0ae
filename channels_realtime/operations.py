"""Inspect live connections and act on them, from any process of a site; the admin uses this.

In: ids of connections, as the registry or a log has them. Out: what their nodes answered and did. A node
gets a request and has two seconds to answer. Nodes that do not answer are named, and nothing
counts as done that was not.

All of it is for sync code (views, the shell, commands), with async twins where a site acts from async
code, and raises ``Unavailable`` where the channel layer cannot be reached.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import router
from django.utils import timezone

from . import publications, publishing
from .access.blocks import add_block
from .auth.revoking import revoke
from .channels import Channel, registry
from .errors import RealtimeError, Unavailable
from .identity import Identity
from .members import member_counts
from .models import BlockRecord, ConnectionRecord, NodeRecord
from .namespaces import current_namespace, namespace
from .nodes.alive import alive_nodes
from .nodes.requests import notify, request
from .protocol.codes import CloseCode
from .protocol.names import channel_key, namespaced, split_key
from .runtime.commits import after_commit, open_transactions
from .runtime.encoding import normalise_payload
from .stored import purge as purge_history
from .stored import usages
from .stores.history.base import Usage
from .user_keys import user_key

_Value = TypeVar("_Value")

WAIT_S = 2.0
"""How long nodes have to answer."""

DRAIN_WAIT_S = 5.0
"""How long the channel layer has to take the message that drains all nodes."""

BATCH = 500
"""Connections named in one request, and in one query."""

RETRY_S = 5.0
"""When a client that may return comes back, where nothing else is said."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of something that was asked of connections, by their ids."""

    done: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    """No longer there, or nothing there that it could be done to."""
    silent: tuple[str, ...] = ()
    """Their nodes did not answer: it may have been done or not."""
    impossible: tuple[str, ...] = ()
    """They are there, and their clients speak nothing in which it could be said; or a subscription was
    not made, because they have all that they may, or ``on_subscribe`` refused or failed."""
    silent_nodes: tuple[str, ...] = ()
    """Where a user is named: ids of nodes that did not answer. The user may have more connections there
    than ``silent`` tells."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastReport:
    """What became of a notice to many.

    Args:
        sent: connections that it was sent to.
        silent: ids of nodes that did not answer: theirs may have it or not.
    """

    sent: int
    silent: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChannelReport:
    """One live channel.

    Args:
        name: of the channel.
        subscribers: its connections, all nodes together.
        by_node: the same by node id.
        rate: publications a second, over about the last ten seconds.
    """

    name: str
    subscribers: int
    by_node: Mapping[str, int]
    rate: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChannelsReport:
    """The live channels, those with most subscribers first; ``total`` counts them all.

    With several nodes ``total`` is the least that there are: a channel may be on more than one.
    """

    channels: list[ChannelReport]
    total: int
    silent: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoredReport:
    """What the stores hold of one channel.

    Args:
        keeps: whether its class keeps a history or a state.
        usage: what is kept; None where nothing was published, or nothing is kept.
        members: how many are on it; None where its class has no presence.
    """

    keeps: bool = False
    usage: Usage | None = None
    members: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """One node: what it wrote down, and what it says now (None where it does not answer)."""

    record: NodeRecord
    answer: Mapping[str, Any] | None

    @property
    def connections(self) -> int:
        """How many it has."""
        return int(self.record.connections if self.answer is None else self.answer["connections"])

    @property
    def draining(self) -> bool:
        """Whether it accepts no new connections."""
        return bool(self.record.draining if self.answer is None else self.answer["draining"])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TracePart:
    """What a trace has seen since it was last read.

    Args:
        events: oldest first.
        next: what to read after next time.
        lost: events that were overwritten before they could be read.
    """

    events: list[dict[str, Any]]
    next: int
    lost: int


# -- one connection --------------------------------------------------------------------------------


def inspect(connection_id: str) -> dict[str, Any] | None:
    """What a connection's node knows of it at this moment; None where it is no longer there.

    Raises:
        Unavailable: its node does not answer.
    """
    found: dict[str, Any] | None = _request_of_owner("inspect", connection_id, {})
    return found


def read_trace(
    connection_id: str, *, viewer: str, after: int = 0, payloads: bool = False
) -> TracePart | None:
    """What a connection sent and received since; the first call begins the trace.

    The trace ends by itself ten seconds after its last viewer's last call.

    Args:
        connection_id: of the connection.
        viewer: the operator, for the log and to tell viewers apart.
        after: ``next`` of the last part.
        payloads: whether payloads are wanted; credentials are never in them.

    Returns:
        the next part, or None where the connection is no longer there.

    Raises:
        Unavailable: its node does not answer.
    """
    answer = _request_of_owner(
        "trace", connection_id, {"viewer": viewer, "after": after, "payloads": payloads}
    )
    return None if answer is None else TracePart(**answer)


def stop_trace(connection_id: str, *, viewer: str) -> None:
    """Watch no longer; the trace ends with its last viewer."""
    _request_of_owner("trace_stop", connection_id, {"viewer": viewer})


def _request_of_owner(kind: str, connection_id: str, arguments: dict[str, Any]) -> Any:
    nodes = _owners([connection_id]).get(connection_id) or alive_nodes()
    found = request(kind, {"connection": connection_id, **arguments}, nodes, wait=WAIT_S)
    for answer in found.by_node.values():
        if answer is not None:
            return answer
    if found.silent:
        raise Unavailable("the connection's server does not answer")
    return None


# -- many connections ------------------------------------------------------------------------------


def disconnect(
    ids: Iterable[str],
    *,
    may_return: bool = False,
    retry_after: float | None = None,
    reason: str = "disconnected by an administrator",
) -> Outcome:
    """Close connections: with 4403, after which clients stay away, or with 4503.

    Args:
        ids: of the connections.
        may_return: whether they may come back by themselves.
        retry_after: seconds after which; only where they may.
        reason: which the clients are told.
    """
    code = CloseCode.GOING_AWAY if may_return else CloseCode.BLOCKED
    wait = (RETRY_S if retry_after is None else retry_after) if may_return else None
    return _act(ids, "disconnect", {"code": int(code), "reason": reason, "retry_after": wait})


def send_notice(ids: Iterable[str], payload: Any) -> Outcome:
    """Send connections a message from staff (``message`` with the event ``notice``).

    Raises:
        BadPayload: the payload cannot be encoded.
    """
    return _act(ids, "notice", {"payload": normalise_payload(payload)})


def broadcast_notice(payload: Any, *, channel: str | None = None) -> BroadcastReport:
    """Send a message from staff to every connection, or to those on a channel.

    Raises:
        BadPayload: the payload cannot be encoded.
        Unavailable: the channel layer cannot be reached.
    """
    arguments = {"payload": normalise_payload(payload), "channel": channel}
    found = request("broadcast_notice", arguments, alive_nodes(), wait=WAIT_S)
    return BroadcastReport(sent=sum(found.by_node.values()), silent=tuple(sorted(found.silent)))


def subscribe(to: Any, channel: str, *, parameters: Any = None) -> Outcome:
    """Put live connections on a channel, in every process; ``can_subscribe`` is not asked.

    Their clients get ``subscribed`` with ``automatic: true``. Connections that are on it count as done.
    It ends with ``unsubscribe``, with the connection, or where the client unsubscribes; a resumed session
    has it again, and a recheck does not end it. Connections to come are for ``Channel.automatic``.

    Args:
        to: a user, or its primary key as a number or UUID: all the user's connections. A connection, as
            hooks have it, or its id, or ids.
        channel: the channel's name.
        parameters: where the channel class selects by them.

    Raises:
        BadChannel, UnknownChannel: no such name, or no route for it.
        BadPayload: the parameters cannot be encoded.
        Unavailable: the channel layer cannot be reached.
    """
    publications.check_channel(split_key(channel)[1])
    arguments = {"channel": _key_of(channel), "parameters": normalise_payload(parameters)}
    return _act_on(to, "subscribe", arguments)


async def asubscribe(to: Any, channel: str, *, parameters: Any = None) -> Outcome:
    """Put live connections on a channel; from async code."""
    outcome: Outcome = await sync_to_async(subscribe)(to, channel, parameters=parameters)
    return outcome


def unsubscribe(to: Any, channel: str, *, reason: str = "ended by an administrator") -> Outcome:
    """End the subscriptions of connections to a channel; those without one count as gone.

    Args:
        to: as for ``subscribe``.
        channel: the channel's name.
        reason: which the clients are told.
    """
    return _act_on(to, "unsubscribe", {"channel": _key_of(channel), "reason": reason})


async def aunsubscribe(
    to: Any, channel: str, *, reason: str = "ended by an administrator"
) -> Outcome:
    """End the subscriptions of connections to a channel; from async code."""
    outcome: Outcome = await sync_to_async(unsubscribe)(to, channel, reason=reason)
    return outcome


def _key_of(channel: str) -> str:
    """The channel with its namespace: that in its name, else that of the running code."""
    of, name = split_key(channel)
    return channel_key(of or current_namespace(), name)


def _act_on(to: Any, kind: str, arguments: dict[str, Any]) -> Outcome:
    if isinstance(to, str):
        return _act([to], kind, arguments)
    if isinstance(getattr(to, "identity", None), Identity):
        return _act([to.id], kind, arguments)
    if isinstance(to, Iterable) and not hasattr(to, "is_authenticated"):
        return _act(to, kind, arguments)
    return _act_on_user(user_key(to, f"operations.{kind}"), kind, arguments)


def _act_on_user(user: str, kind: str, arguments: dict[str, Any]) -> Outcome:
    """Act on the connections of a user; which those are, their nodes know."""
    of = split_key(arguments["channel"])[0]
    found = request(kind, {"user": namespaced(of, user), **arguments}, alive_nodes(), wait=WAIT_S)
    done: set[str] = set()
    impossible: set[str] = set()
    for answer in found.by_node.values():
        _take_answer(answer, done, impossible)
    silent: set[str] = set()
    if found.silent:
        rows = ConnectionRecord._default_manager.filter(node_id__in=found.silent)
        silent.update(rows.filter(user_pk=user).values_list("pk", flat=True)[:BATCH])
    return Outcome(
        done=tuple(sorted(done)),
        silent=tuple(sorted(silent - done - impossible)),
        impossible=tuple(sorted(impossible - done)),
        silent_nodes=tuple(sorted(found.silent)),
    )


def _take_answer(answer: Any, done: set[str], impossible: set[str]) -> None:
    if isinstance(answer, dict):
        done.update(answer["done"])
        impossible.update(answer["impossible"])
    else:
        done.update(answer)


def ask_for_credentials(ids: Iterable[str], *, within: float = 30.0) -> Outcome:
    """Ask clients for new credentials; close with 4401 those that send none within so many seconds.

    Done only where the credentials are a token: a login session has nothing to send.
    """
    return _act(ids, "credentials", {"within": within})


def _act(ids: Iterable[str], kind: str, arguments: dict[str, Any]) -> Outcome:
    wanted = list(dict.fromkeys(ids))
    done: set[str] = set()
    silent: set[str] = set()
    impossible: set[str] = set()
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        owners = _owners(batch)
        # What the registry does not know (it is off, sampled, or a second behind) is asked of all.
        alive = frozenset() if len(owners) == len(batch) else alive_nodes()
        nodes = alive.union(*owners.values())
        found = request(kind, {"connections": batch, **arguments}, nodes, wait=WAIT_S)
        for answer in found.by_node.values():
            _take_answer(answer, done, impossible)
        if found.silent:
            silent.update(i for i in batch if not found.silent.isdisjoint(owners.get(i, alive)))
    impossible -= done
    silent -= done | impossible
    known = done | impossible | silent
    return Outcome(
        done=tuple(i for i in wanted if i in done),
        gone=tuple(i for i in wanted if i not in known),
        silent=tuple(i for i in wanted if i in silent),
        impossible=tuple(i for i in wanted if i in impossible),
    )


def _owners(ids: list[str]) -> dict[str, frozenset[str]]:
    """The node of each connection that the registry knows, as a set of one.

    Nodes with a lease that has run out do not count: what they had is gone.
    """
    rows = ConnectionRecord._default_manager.filter(pk__in=ids).values_list("pk", "node_id")
    known = dict(rows)
    alive = alive_nodes() if known else frozenset()
    return {connection_id: frozenset({node_id}) & alive for connection_id, node_id in known.items()}


# -- users and addresses ---------------------------------------------------------------------------


def revoke_user(user_pk: str) -> None:
    """End all of a user's login sessions and tokens, and what is connected with them."""
    revoke(user=user_pk)


def block(
    *,
    user_pk: str = "",
    user_label: str = "",
    address: str = "",
    seconds: float,
    reason: str = "",
    created_by: str = "",
) -> BlockRecord:
    """Keep a user or an address out for a time, and close what it has open with 4403.

    Raises:
        ValidationError: neither or both are given, or the address is none.
    """
    record: BlockRecord = add_block(
        user_pk=user_pk,
        user_label=user_label,
        address=address,
        seconds=seconds,
        reason=reason,
        created_by=created_by,
    )
    notify_of_blocks()
    return record


def unblock(pks: Iterable[Any]) -> int:
    """End blocks now; returns how many were in force."""
    now = timezone.now()
    ended = BlockRecord._default_manager.filter(pk__in=list(pks), until__gt=now).update(until=now)
    notify_of_blocks()
    return ended


def notify_of_blocks(*, wait: float = WAIT_S) -> None:
    """Have the nodes read the blocks, once the transaction that wrote them is committed.

    Args:
        wait: seconds to wait until the layer has taken it; the nodes look by themselves soon after.
    """
    using = router.db_for_write(BlockRecord)
    tell = functools.partial(notify, "blocks", {}, wait=wait)
    after_commit(tell, open_transactions(using))


# -- channels and nodes ----------------------------------------------------------------------------


def live_channels(*, search: str = "", limit: int = 200) -> ChannelsReport:
    """The channels that have subscribers now.

    Args:
        search: a part of the name, in any case.
        limit: channels to tell, those with most subscribers first.
    """
    found = request(
        "channels", {"search": search.lower(), "limit": limit}, alive_nodes(), wait=WAIT_S
    )
    by_name: defaultdict[str, dict[str, int]] = defaultdict(dict)
    rates: dict[str, float] = {}
    for node_id, answer in found.by_node.items():
        for name, count, rate in answer["channels"]:
            by_name[name][node_id] = count
            rates[name] = max(rate, rates.get(name, 0.0))  # each node sees every publication
    reports = [
        ChannelReport(name=name, subscribers=sum(counts.values()), by_node=counts, rate=rates[name])
        for name, counts in by_name.items()
    ]
    reports.sort(key=lambda report: (-report.subscribers, report.name))
    most = max((answer["total"] for answer in found.by_node.values()), default=0)
    return ChannelsReport(
        channels=reports[:limit],
        total=max(most, len(reports)),
        silent=tuple(sorted(found.silent)),
    )


def stored(channels: Iterable[str]) -> dict[str, StoredReport]:
    """What the stores hold of channels; those whose class keeps nothing are left out.

    Args:
        channels: as ``live_channels`` names them.

    Raises:
        Unavailable: a store does not answer.
    """
    classes = {name: kind for name in channels if (kind := _class_of(name)) is not None}
    kept = [name for name, kind in classes.items() if kind.kept() is not None]
    present = [name for name, kind in classes.items() if kind.presence is not None]
    usage = dict(zip(kept, usages(kept), strict=True)) if kept else {}
    members = dict(zip(present, member_counts(present), strict=True)) if present else {}
    return {
        name: StoredReport(keeps=name in usage, usage=usage.get(name), members=members.get(name))
        for name in classes
        if name in usage or name in members
    }


def purge(channel: str) -> None:
    """Drop what is kept of a channel, its state too; its offsets go on.

    Args:
        channel: as ``live_channels`` names it.

    Raises:
        RealtimeError: as the function ``purge`` of the package.
    """
    of, name = split_key(channel)
    with namespace(of or current_namespace()):
        purge_history(name)


def _class_of(channel: str) -> type[Channel] | None:
    try:
        return type(registry.resolve(split_key(channel)[1]))
    except RealtimeError:  # of another version of the site
        return None


def nodes() -> list[NodeReport]:
    """The live nodes, by host and process, and what they answer now."""
    records = list(NodeRecord.objects.alive().order_by("host", "pid"))
    found = request("node", {}, [record.pk for record in records], wait=WAIT_S)
    return [NodeReport(record=record, answer=found.by_node.get(record.pk)) for record in records]


def drain_all() -> bool:
    """Have every node send its connections elsewhere and accept no new ones.

    Returns:
        whether the channel layer has taken the message.
    """
    return notify("drain", {}, wait=DRAIN_WAIT_S)


def drain(node_id: str) -> bool:
    """Have a node send its connections elsewhere and accept no new ones.

    Returns:
        whether the node says that it does; one that does not answer may or may not.
    """
    return node_id in request("drain", {}, {node_id}, wait=WAIT_S).by_node


def publish_test(channel: str, payload: Any, *, event: str | None = None) -> None:
    """Publish at once, whatever transaction is open.

    Raises:
        RealtimeError: as ``publish``.
    """
    of, name = split_key(channel)
    with namespace(of or current_namespace()):
        publishing.publish(name, payload, event=event, on_commit=False, failures="raise")
