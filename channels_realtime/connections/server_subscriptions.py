"""Subscriptions that the server makes: a user's own channel, automatic ones, and those of operations.

In: a connection that has an identity, or a request of another process. Out: the connection is on the
channels, and its client is told. ``can_subscribe`` is not asked, because the server has decided:
``Channel.automatic`` for the automatic ones, which a recheck asks again, and the site's code for those
of ``operations.subscribe``, which last until ``operations.unsubscribe`` or the connection's end.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ..access.revocation import Revocations
from ..access.revocation_list import USER
from ..channels import Channel, user_channel_name
from ..errors import ConnectionClosed, Forbidden, RealtimeError, Unavailable
from ..nodes.node import Handler, Node
from ..protocol import messages as m
from ..protocol.names import channel_key, split_key
from ..runtime.hooks import translate
from . import inboxes, subscriptions
from .rights import resolve, resolve_subscriber
from .user_reader import UserReader

if TYPE_CHECKING:
    from .connection import Connection

logger = logging.getLogger(__name__)

AUTOMATIC = "automatic"
OPERATION = "operation"

_AT_ONCE = 50
"""Connections that one request is served for at once."""


# -- at the start ----------------------------------------------------------------------------------


Since = Callable[[str], m.Position | None]
"""Returns the position up to which a client has a channel's messages, or None."""


async def subscribe_at_start(
    node: Node, connection: Connection, since: Since | None = None
) -> dict[str, m.Subscribed]:
    """Put a connection on its user's own channel and on the automatic ones.

    Called when it is welcomed, and again when it has signed in. A failure of a class's ``automatic``
    or ``on_subscribe`` is logged and costs that subscription alone.

    Args:
        node: the connection's node.
        connection: the connection.
        since: the client's positions in these channels; by default it has none.

    Returns:
        those that were made now, by channel.

    Raises:
        Unavailable: the layer or a store did not answer.
        ConnectionClosed: the connection has ended meanwhile.
    """
    made: dict[str, m.Subscribed] = {}
    if connection.user_id is not None:
        own = resolve(node, connection, user_channel_name(connection.user_id))
        joined = await make(node, connection, own, hooks=False, since=since)
        if joined is not None:
            made[own.name] = joined
    classes = node.routes.automatic_classes()
    if not classes:
        return made
    rechecks = node.service(Revocations).rechecks
    answers = await asyncio.gather(*(_ask(node, connection, kind) for kind in classes))
    for channel in itertools.chain.from_iterable(answers):
        subscribed = await _try_to_make(node, connection, channel, since)
        if subscribed is not None:
            made[channel.name] = subscribed
    if rechecks != node.service(Revocations).rechecks:
        # What the answers were made of may have changed meanwhile.
        node.spawn(connection.recheck(), "recheck")
    return made


def may_deliver_at_start(node: Node) -> bool:
    """Whether something may be delivered while a connection is put on the channels of its start."""
    return bool(node.routes.automatic_classes()) or node.routes.user_class.kept() is not None


async def _ask(node: Node, connection: Connection, kind: type[Channel]) -> list[Channel]:
    """The channels that a class puts the connection on; none where it fails, which is logged."""
    try:
        return await _ask_or_raise(node, connection, kind)
    except Exception:
        connection.log_exception(f"{kind.__qualname__}.automatic failed")
        return []


async def _ask_or_raise(node: Node, connection: Connection, kind: type[Channel]) -> list[Channel]:
    limit = node.config.max_subscriptions
    hook = _collecting(kind.automatic, limit + 1)
    names = await node.hooks.run(node.context.around(connection.scope, hook), connection)
    if len(names) > limit:
        logger.error(
            "%s.automatic gave more than %d channels (MAX_SUBSCRIPTIONS); the rest are left out",
            kind.__qualname__,
            limit,
        )
    return [_of_class(node, connection, kind, name) for name in names[:limit]]


def _of_class(node: Node, connection: Connection, kind: type[Channel], name: Any) -> Channel:
    channel = resolve_subscriber(node, connection, name)
    if type(channel) is not kind:
        raise TypeError(
            f"{kind.__qualname__}.automatic gave {name!r}, a channel of"
            f" {type(channel).__qualname__}; expected channels of its own class"
        )
    channel.granted_by = AUTOMATIC
    return channel


def _collecting(hook: Callable[..., Any], limit: int) -> Callable[..., Any]:
    """The hook, which may return or yield names, as one that returns a bounded list of them."""

    async def from_generator(connection: Connection) -> list[str]:
        names: list[str] = []
        async for name in hook(connection):
            names.append(name)
            if len(names) >= limit:
                break
        return names

    async def from_coroutine(connection: Connection) -> list[str]:
        return _listed(await hook(connection), limit)

    def from_function(connection: Connection) -> list[str]:
        return _listed(hook(connection), limit)

    if inspect.isasyncgenfunction(hook):
        return from_generator
    return from_coroutine if inspect.iscoroutinefunction(hook) else from_function


def _listed(names: Any, limit: int) -> list[str]:
    if names is None:
        return []
    if isinstance(names, str):
        raise TypeError(f"automatic gave the text {names!r}; expected a list of channel names")
    return list(itertools.islice(names, limit))


async def _try_to_make(
    node: Node, connection: Connection, channel: Channel, since: Since | None = None
) -> m.Subscribed | None:
    """Make a subscription; None where it was there, or cannot be made, which is logged."""
    try:
        return await make(node, connection, channel, since=since)
    except (ConnectionClosed, Unavailable):
        raise
    except RealtimeError as error:
        logger.warning(
            "Connection %s is not on %r automatically: %s",
            connection.id,
            channel.name,
            error.reason,
        )
    except Exception as error:
        if translate(error) is None:
            connection.log_exception(f"on_subscribe of {channel.name!r} failed")
    return None


async def make(
    node: Node,
    connection: Connection,
    channel: Channel,
    *,
    hooks: bool = True,
    since: Since | None = None,
) -> m.Subscribed | None:
    """Put a connection on a channel, as ``channel.granted_by`` says; nothing is asked.

    Args:
        node: the connection's node.
        connection: the connection.
        channel: the channel.
        hooks: False for the user's own channel; see ``subscriptions.join``.
        since: the client's position in the channel; by default it has none.

    Returns:
        what to tell the client, with nothing awaited since; None where it was on the channel before.

    Raises:
        TooManySubscriptions: it has all that it may have.
        Unavailable: the layer or the store did not answer.
        ConnectionClosed: it has ended meanwhile.
        Exception: what ``on_subscribe`` raises.
    """
    async with subscriptions.turn(connection, channel.name):
        held = connection.subscriptions.get(channel.name)
        if held is not None:
            if held.granted_by != OPERATION:  # which no recheck ends
                held.granted_by = channel.granted_by
            return None
        known = None if since is None or channel.kept() is None else since(channel.name)
        subscribed = await subscriptions.join(node, connection, channel, hooks=hooks, since=known)
        return msgspec.structs.replace(subscribed, automatic=True)


def tell(connection: Connection, subscribed: m.Subscribed) -> None:
    """Tell a client of a subscription that the server has made, and give it what comes first."""
    if not connection.notify(subscribed):  # a site's own consumer is not told
        for publication in subscribed.missed:
            connection.hand(publication)


# -- afterwards ------------------------------------------------------------------------------------


async def recheck(
    node: Node, connection: Connection, name: str | None = None, since: float | None = None
) -> None:
    """Ask the classes again which channels the connection is on automatically.

    Ends what is no longer among them. Without ``name``, makes what is new.

    Args:
        node: the connection's node.
        connection: the connection.
        name: judge this channel only.
        since: how old the connection's user may be; by default it is read again.
    """
    if name is not None:
        channel = connection.subscriptions.get(name)
        if channel is None or channel.granted_by != AUTOMATIC:
            return
        classes: tuple[type[Channel], ...] = (type(channel),)
    else:
        classes = node.routes.automatic_classes()
    if not classes:
        return
    if since is None:
        since = node.clock.time()
        connection.user_read_at = 0.0
    try:
        await node.service(UserReader).refresh(connection, since)
    except Unavailable:
        return
    for kind in classes:
        try:
            channels = await _ask_or_raise(node, connection, kind)
        except asyncio.CancelledError:
            raise
        except Exception:
            connection.log_exception(f"{kind.__qualname__}.automatic failed")
            continue
        if connection.closed:
            return
        _end_others(node, connection, kind, {channel.name for channel in channels}, name)
        if name is None:
            for channel in channels:
                await _make_and_tell(node, connection, channel)


def _end_others(
    node: Node, connection: Connection, kind: type[Channel], names: set[str], only: str | None
) -> None:
    for channel in list(connection.subscriptions.values()):
        if (
            type(channel) is kind
            and channel.granted_by == AUTOMATIC
            and channel.name not in names
            and only in (None, channel.name)
        ):
            refusal = Forbidden(f"no longer on {channel.name!r}")
            subscriptions.take_away(node, connection, channel, refusal)
            inboxes.refused(node, connection, channel)


async def _make_and_tell(node: Node, connection: Connection, channel: Channel) -> None:
    try:
        subscribed = await _try_to_make(node, connection, channel)
    except (ConnectionClosed, Unavailable) as error:
        logger.warning("%r was not made automatically: %s", channel.name, error.reason)
    else:
        if subscribed is not None:
            tell(connection, subscribed)


# -- requests of other processes -------------------------------------------------------------------


def _chosen(node: Node, arguments: dict[str, Any]) -> list[Connection]:
    """The connections that a request is about: those of ``user``, or ``connections`` by their ids."""
    user = arguments.get("user")
    found: Iterable[Any] = (
        map(node.connections.get, arguments["connections"])
        if user is None
        else node.service(Revocations).connections(USER + user)
    )
    key, name = arguments["channel"], split_key(arguments["channel"])[1]
    return [
        cast("Connection", connection)
        for connection in found
        if connection is not None
        and not connection.closed
        and channel_key(connection.namespace, name) == key  # another is of another tenant
    ]


async def _subscribe(node: Node, arguments: dict[str, Any]) -> dict[str, list[str]]:
    done: list[str] = []
    impossible: list[str] = []
    name = split_key(arguments["channel"])[1]
    places = asyncio.Semaphore(_AT_ONCE)

    async def subscribe_one(connection: Connection) -> None:
        try:
            channel = resolve_subscriber(node, connection, name, arguments["parameters"])
            channel.granted_by = OPERATION
            async with places:
                subscribed = await make(node, connection, channel)
        except ConnectionClosed:
            return
        except Exception as error:
            if translate(error) is None:
                connection.log_exception(f"Subscribing to {name!r} failed")
            impossible.append(connection.id)
            return
        done.append(connection.id)
        if subscribed is not None:
            tell(connection, subscribed)

    chosen = [connection for connection in _chosen(node, arguments) if connection.welcomed]
    impossible += [one.id for one in chosen if not one.takes_subscriptions]
    await asyncio.gather(*(subscribe_one(one) for one in chosen if one.takes_subscriptions))
    return {"done": done, "impossible": impossible}


def _unsubscribe(node: Node, arguments: dict[str, Any]) -> list[str]:
    name = split_key(arguments["channel"])[1]
    refusal = Forbidden(arguments.get("reason", "ended by an administrator"))
    done = []
    for connection in _chosen(node, arguments):
        channel = connection.subscriptions.get(name)
        if channel is not None:
            subscriptions.take_away(node, connection, channel, refusal)
            done.append(connection.id)
    return done


HANDLERS: Mapping[str, Handler] = {"subscribe": _subscribe, "unsubscribe": _unsubscribe}
"""By the kind of request; see ``nodes.requests``."""
