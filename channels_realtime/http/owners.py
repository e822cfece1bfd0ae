"""Hands a request to the process that holds its connection, and answers what that says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from django.db import DatabaseError

from ..endpoints import polling, routed
from ..endpoints.routed import arguments_of, node_of_session
from ..errors import Unavailable
from ..models import NodeRecord
from ..namespaces import namespace_of
from ..protocol.codes import ErrorCode
from .access import Caller, Refused

WAIT_S = 5.0
"""How long the process that holds the connection may take to answer."""

_LOOK_AFTER_S = 0.5
"""After how much silence to look whether that process is still there."""

RETRY_S = 2.0

_HANDLERS = {"take_messages": routed.take_messages, "poll": polling.poll}


def unknown_session() -> Refused:
    """There is no such connection, or it is another client's: which of the two is not said."""
    return Refused(404, ErrorCode.UNKNOWN_SESSION, "there is no such session: begin a new one")


async def ask_owner(
    caller: Caller, session_id: str, kind: str, arguments: Mapping[str, Any]
) -> Any:
    """Have the node of a session serve a request.

    Args:
        caller: who asks.
        session_id: of its connection.
        kind: a key of ``_HANDLERS``.
        arguments: beside those that name the session.

    Raises:
        Refused: 404 where there is no such node; 503 where it does not answer in time.
    """
    owner = node_of_session(session_id)
    if owner is None:
        raise unknown_session()
    node = caller.node
    of = arguments_of(session_id, caller.identity, namespace_of(caller.scope))
    if owner == node.id:
        return await _HANDLERS[kind](node, {**of, **arguments})
    asking = asyncio.ensure_future(
        node.requests.request(kind, {**of, **arguments}, {owner}, wait=WAIT_S)
    )
    try:
        await asyncio.wait([asking], timeout=_LOOK_AFTER_S)
        if not asking.done() and await _is_gone(caller, owner):
            raise unknown_session()
        answers = await asking
    except Unavailable as error:
        raise Refused(503, error.code, error.reason, retry_after=RETRY_S) from error
    finally:
        asking.cancel()
    if owner not in answers.by_node:
        reason = "the process that holds this session does not answer"
        raise Refused(503, ErrorCode.UNAVAILABLE, reason, retry_after=RETRY_S)
    return answers.by_node[owner]


async def _is_gone(caller: Caller, node_id: str) -> bool:
    """Whether the registry says that a node is gone; False where it cannot tell."""
    if not caller.node.config.connection_registry:
        return False
    with contextlib.suppress(DatabaseError):
        return not await NodeRecord.objects.alive().filter(pk=node_id).aexists()
    return False
