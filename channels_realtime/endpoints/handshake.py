"""The steps from a handshake to an authenticated connection, shared by all endpoints.

``RealtimeConsumer``, the mixins for other consumers, ``AuthMiddleware`` and ``OriginMiddleware`` take
these steps, in this order:

1. ``refusal``: the origin, the address's blocks, room in the process. What fails here is refused
   before it is accepted (``refuse``: 403, 429 or 503).
2. ``identify``: the credentials. What fails from here on is accepted and closed with a code, because
   a browser sees no HTTP status and would try again for ever.
3. ``opening`` and ``close_if_blocked`` around greeting it.

Where several layers of an application take steps of one handshake, each step is taken once:
``HandshakeState`` in the scope says what an outer layer has done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from operator import is_
from typing import Any, NamedTuple, cast

from ..access.blocks import Blocks
from ..access.client_address import FoundAddress, find_address
from ..access.headers import Headers
from ..access.limits import AccessLimits
from ..access.origins import OriginPolicy, check_origin
from ..access.revocation import Revocations
from ..auth.base import Authenticated, Handshake
from ..auth.handshake import check_unread, credentials_of
from ..auth.login_session import LoginSession, has_login_sessions, session_store
from ..auth.lookups import LookUps
from ..config import Config
from ..connections.connection import UNAVAILABLE_RETRY_S, Connection
from ..errors import (
    ConnectionClosed,
    TokenExpired,
    TokenInvalid,
    Unauthenticated,
    Unavailable,
)
from ..identity import Identity
from ..namespaces import SCOPE_KEY, current_namespace, namespace_of, outer_namespace
from ..nodes.node import Node
from ..protocol.codes import CloseCode
from ..protocol.subprotocols import Negotiation, negotiate

logger = logging.getLogger(__name__)

STATE = "channels_realtime.handshake"
"""The scope key of the ``HandshakeState``."""

SEND = "channels_realtime.send"
"""The scope key of the server's ``send`` of a request; see ``asgi.RealtimeApplication``."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
SendEvent = Callable[[dict[str, Any]], Awaitable[None]]

CREDENTIAL_ERRORS = (TokenExpired, TokenInvalid, Unauthenticated)
"""What bad credentials raise."""


@dataclasses.dataclass(slots=True)
class HandshakeState:
    """What has been found out about one handshake.

    Args:
        address: the client's, through trusted proxies.
        origin_checked: whether the origin was found good.
        identified: what the credentials prove (None: anonymous) and when they began to be read, in
            seconds since the epoch; None before that step.
        is_served: whether it has a connection of the node's, so that no outer layer makes another.
        headers: as the layer that serves it has read them; an outer one's could have been changed since.
    """

    address: FoundAddress
    origin_checked: bool = False
    identified: tuple[Authenticated | None, float] | None = None
    is_served: bool = False
    headers: Headers | None = None


class Refusal(NamedTuple):
    """Why a handshake is not accepted.

    Args:
        status: of HTTP.
        reason: as the signal ``denied`` has it; empty for what is not announced.
        body: for a person.
    """

    status: int
    reason: str
    body: str


def state_of(scope: Scope, config: Config) -> HandshakeState:
    """The state of a handshake, made at its first step; ``scope`` is the caller's own copy."""
    state: HandshakeState | None = scope.get(STATE)
    if state is None:
        state = scope[STATE] = HandshakeState(find_address(scope, config))
    return state


def begin(scope: Scope, config: Config) -> HandshakeState:
    """The state of a handshake for the layer that serves it, which looks for headers in all its steps."""
    headers = Headers(scope)
    if STATE not in scope:
        scope[STATE] = HandshakeState(find_address(scope, config, headers))
    state: HandshakeState = scope[STATE]
    state.headers = headers
    return state


# -- before it is accepted -------------------------------------------------------------------------


def refusal(node: Node, scope: Scope) -> Refusal | None:
    """Why the handshake is not accepted, whatever its origin; None lets it go on."""
    address = state_of(scope, node.config).address
    blocks, limits = node.service(Blocks), node.service(AccessLimits)
    if not blocks.empty and blocks.blocks(None, address.text):
        return Refusal(403, "blocked", "This address is blocked.\n")
    if node.drain.begun:
        return Refusal(503, "draining", "This server is going away.\n")
    refused = limits.handshake(limits.counted_address(address))
    if refused is None:
        return None
    status, reason = refused
    return Refusal(status, reason, "This server is full.\n" if status == 503 else "Too many.\n")


def origin_refusal(node: Node, scope: Scope, policy: OriginPolicy | None = None) -> Refusal | None:
    """Why this policy, or that of the settings, does not accept a handshake; None lets it go on."""
    state = state_of(scope, node.config)
    if not state.origin_checked:
        state.origin_checked = check_origin(scope, policy, state.headers)
    if state.origin_checked:
        return None
    return Refusal(403, "origin", "This origin may not connect.\n")


async def refuse(
    node: Node | None,
    scope: Mapping[str, Any],
    receive: Receive,
    send: SendEvent,
    refused: Refusal,
) -> None:
    """Refuse a handshake before it is accepted: 403, or the status with a body where the server can.

    Args:
        node: that counts and announces it; None where there is nothing to announce.
    """
    if node is not None and refused.reason:
        node.denied(scope, refused.reason)
    event = await receive()
    if event["type"] != "websocket.connect":
        return
    if "websocket.http.response" in scope.get("extensions", {}):
        data = refused.body.encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(data)).encode()),
        ]
        start = {"type": "websocket.http.response.start", "headers": headers}
        await send({**start, "status": refused.status})
        await send({"type": "websocket.http.response.body", "body": data})
    else:
        await send({"type": "websocket.close"})


# -- credentials -----------------------------------------------------------------------------------


async def enter_namespace(node: Node, scope: Scope) -> None:
    """Find the connection's namespace and keep it in its scope; once for a handshake.

    Raises:
        RequestTimeout: that took longer than ``HOOK_TIMEOUT``. Otherwise what the site's functions
            raise.
    """
    outer = outer_namespace()
    if outer is not None:
        scope.setdefault(SCOPE_KEY, outer)
    elif node.context.must_find_namespace(scope):
        scope[SCOPE_KEY] = await node.authentication.run(
            node.context.around(scope, current_namespace)
        )


async def identify(
    node: Node, scope: Scope, token: str | None
) -> tuple[Authenticated | None, float]:
    """Whose handshake this is, and when that began to be read, in seconds since the epoch.

    Where it carries no credentials, the user counts that another middleware put into the scope.

    Args:
        token: the one among its subprotocols, or None.

    Raises:
        TokenInvalid, TokenExpired, Unauthenticated: credentials are present and bad.
        RequestTimeout: checking them took longer than ``HOOK_TIMEOUT``, or none moved
            on for so long.
    """
    state = state_of(scope, node.config)
    if state.identified is None:
        await enter_namespace(node, scope)
        read_at = node.clock.time()
        handshake = Handshake(scope, node.config, token, state.headers)
        present = credentials_of(handshake)
        found = None
        if present:
            around = functools.partial(node.context.around, scope)
            found, read_at = await node.service(LookUps).find(present, handshake, around)
        if found is None:
            found = user_from_scope(scope)
        check_unread(handshake, found)
        if found is not None and namespace_of(scope):
            # For those that look for revocations where there is no connection.
            identity = dataclasses.replace(found.identity, namespace=namespace_of(scope))
            found = dataclasses.replace(found, identity=identity)
        state.identified = found, read_at
    return state.identified


def identified_outside(node: Node, scope: Scope) -> tuple[Authenticated | None, float]:
    """As ``identify``, for consumers that leave authentication to a middleware.

    A middleware of the site's has looked at its user's credentials just now: they count as made at
    this moment, because revocations before it are the middleware's responsibility.
    """
    state = state_of(scope, node.config)
    if state.identified is None:
        read_at = node.clock.time()
        state.identified = user_from_scope(scope, proven_at=read_at), read_at
    return state.identified


def add_session(scope: Scope, config: Config) -> None:
    """Put ``cookies`` and ``session`` into the scope, as Channels' ``AuthMiddlewareStack`` does.

    Consumers that were written behind it read them. Nothing is read from the database before they do.
    """
    handshake = Handshake(scope, config)
    scope.setdefault("cookies", handshake.cookies)
    if "session" not in scope and has_login_sessions():
        scope["session"] = session_store(LoginSession().find(handshake))


def user_from_scope(scope: Mapping[str, Any], *, proven_at: float = 0.0) -> Authenticated | None:
    """The user that another middleware put into the scope, such as Channels' own."""
    user = scope.get("user")
    try:
        if user is None or not user.is_authenticated:
            return None
    except (AttributeError, ValueError):  # Channels' lazy user, before its middleware has run
        return None
    identity = Identity(user_id=str(user.pk), method="scope", proven_at=proven_at)
    return Authenticated(identity=identity, user=user)


def credentials_failed(node: Node, scope: Scope) -> None:
    """Count bad credentials against their address, and announce them."""
    limits = node.service(AccessLimits)
    limits.failure(limits.counted_address(state_of(scope, node.config).address))
    node.denied(scope, "credentials")


async def code_of_credentials(
    node: Node, scope: Scope, found: Authenticated | None
) -> CloseCode | None:
    """The close code of good credentials that are revoked or blocked; None lets them go on.

    For connections that the node does not keep: others are closed by ``Connection.authenticated``.
    """
    if found is None:
        return None
    revocations, blocks = node.service(Revocations), node.service(Blocks)
    await revocations.start()
    if revocations.revokes(found.identity):
        return CloseCode.UNAUTHENTICATED
    await blocks.start()
    if blocks.blocks(found.identity.user_id, state_of(scope, node.config).address.text):
        return CloseCode.BLOCKED
    return None


async def accept_and_close(
    scope: Mapping[str, Any],
    receive: Receive,
    send: SendEvent,
    negotiation: Negotiation,
    code: CloseCode,
) -> None:
    """Accept a handshake in order to close it with a code that a browser sees."""
    event = await receive()
    if event["type"] != "websocket.connect":
        return
    accept: dict[str, Any] = {"type": "websocket.accept"}
    answer = negotiation.answer_or_any(scope.get("subprotocols", ()))
    if answer is not None:
        accept["subprotocol"] = answer
    await send(accept)
    await send({"type": "websocket.close", "code": int(code)})


def answer_offer(
    event: dict[str, Any], scope: Mapping[str, Any], config: Config, consumer: str
) -> dict[str, Any]:
    """A site's own acceptance, with the subprotocol without which a browser would fail the connection.

    A page that sends its token as a subprotocol must be answered with one of the names that it
    offered (RFC 6455, section 4.1), and a consumer that calls plain ``accept()`` knows of none. An
    offer without a token is the consumer's own to answer.

    Args:
        event: ``websocket.accept``.
        scope: of the handshake.
        config: the settings.
        consumer: its class, for the log; empty where it is not known.
    """
    consumer = consumer or "A consumer"
    offered, chosen = scope.get("subprotocols", ()), event.get("subprotocol")
    if chosen is not None:
        if chosen not in offered:
            _warn_of_answer(
                f"{consumer} accepts with the subprotocol {chosen!r}, which the client did not offer"
            )
        return event
    if not offered:
        return event
    negotiation = negotiate(offered, config.subprotocols)
    if negotiation.token is not None:
        return {**event, "subprotocol": negotiation.answer_or_any(offered)}
    _warn_of_answer(f"{consumer} accepts without any of the subprotocols that the client offers")
    return event


@functools.lru_cache(maxsize=100)
def _warn_of_answer(what: str) -> None:
    """Say it once; never which names were offered, because one may be a token."""
    logger.warning(
        "%s: browsers fail such a connection (1006). Accept with one of scope['subprotocols'].",
        what,
    )


# -- of a connection that was accepted -------------------------------------------------------------


def close_if_blocked(node: Node, connection: Connection) -> bool:
    """Whether the connection is over before it began, because its address is blocked.

    For after ``node.ready``: the blocks may have been read while the handshake was under way, as the
    first of a process always is. A later block closes it when it is read.
    """
    blocks = node.service(Blocks)
    if not connection.closed and blocks.blocks(None, connection.client_address):
        node.denied(connection.scope, "blocked")
        connection.close(CloseCode.BLOCKED, "blocked")
    return connection.closed


def forget_handshake(connection: Connection, given: Mapping[str, Any]) -> None:
    """Let go of the state of a handshake that is over, and of the copy of its scope that was made for it.

    The copy stays where something else was put into it, such as a namespace.

    Args:
        given: the scope as it came.
    """
    scope = connection.scope
    if STATE not in given:
        scope.pop(STATE, None)
    if scope.keys() == given.keys() and all(map(is_, scope.values(), given.values())):
        connection.scope = cast("Scope", given)


def start_behind(node: Node) -> None:
    """Start the node without waiting, for connections that need no channel layer."""

    async def start() -> None:
        try:
            await node.ready()
        except Unavailable:
            return  # the broker has logged it, and tries again with the next connection

    node.spawn(start(), "the node's start")


@contextlib.contextmanager
def opening(node: Node, connection: Connection) -> Iterator[None]:
    """Close the connection where identifying or greeting it fails in the block."""
    try:
        yield
    except ConnectionClosed:
        return  # revoked while it was being greeted: its close is on its way
    except CREDENTIAL_ERRORS as error:
        node.service(AccessLimits).failure(connection.counted_address)
        node.denied(connection.scope, "credentials")
        connection.close(CloseCode.UNAUTHENTICATED, error.reason)
    except Unavailable as error:
        connection.close(CloseCode.GOING_AWAY, error.reason, retry_after=UNAVAILABLE_RETRY_S)
    except Exception:
        connection.log_exception("Opening failed")
        connection.close(CloseCode.INTERNAL, "internal error")
