"""``POST …/poll/``: messages both ways in single requests, where not even a stream gets through."""

from __future__ import annotations

import asyncio
import math
import re
import secrets
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from ..endpoints.polling import BAD_CURSOR, MAX_WAIT_S, READY, PolledConnection, Polls
from ..endpoints.routed import BUSY, UNKNOWN, arguments_of, node_of_session
from ..errors import Unavailable
from ..namespaces import namespace_of
from ..protocol.codecs import JSON
from ..protocol.codes import ErrorCode
from ..runtime.request_thread import release_request_thread
from .access import Caller, Refused, admit, require_csrf_token, serving_node
from .owners import RETRY_S, ask_owner, unknown_session
from .upstream import MAX_SESSION_ID, batch_of, read_body
from .views import view

_CURSOR = re.compile(r"[0-9]{1,15}", re.ASCII)
_LATE_S = 5.0
"""How much longer than a poll waits its token is known."""


class _Poll(msgspec.Struct):
    session_id: str | None = None
    cursor: str | None = None
    wait: float | None = None
    messages: list[msgspec.Raw] = []


_decode = msgspec.json.Decoder(_Poll).decode


@view("POST")
async def poll(request: HttpRequest) -> HttpResponseBase:
    """Take and give messages; without a session, begin a connection.

    Responds 200 with ``{"messages": […], "cursor": …}``, at the latest after ``wait`` seconds.
    Otherwise 400, 401, 403, 404, 413, 429 or 503 with ``{"code": …, "reason": …}``.
    """
    limits = serving_node().config.limits
    asked = read_body(request, _decode, limits)
    caller = await admit(request, connects=asked.session_id is None)
    await require_csrf_token(request, caller)
    wait = _wait(asked.wait, caller)
    cursor = _number(asked.cursor)
    messages = batch_of(asked.messages, limits) if asked.messages else None
    if asked.session_id is None:
        polled = PolledConnection(
            caller.node, caller.scope, caller.state.address, caller.found, caller.read_at
        )
        await asyncio.wait([polled.opened])
        session_id = polled.connection.session_id
    else:
        session_id = asked.session_id
        if not 1 <= len(session_id) <= MAX_SESSION_ID:
            raise unknown_session()
    token = secrets.token_hex(8)
    ended = caller.node.service(Polls).wait(token, wait + _LATE_S) if wait else None
    answer = await _ask(
        caller,
        session_id,
        cursor,
        messages=messages,
        waiting=(caller.node.id, token) if wait else None,
        wait=wait,
    )
    if ended is None or answer["messages"] or answer["ended"]:
        return HttpResponse(_body(answer), content_type="application/json")
    later = _later(caller, session_id, cursor, ended, token, wait, answer)
    # Streamed, although it is one piece: so the view returns before it waits, and a middleware that
    # is synchronous keeps no thread meanwhile.
    response = StreamingHttpResponse(later, content_type="application/json")
    response["X-Accel-Buffering"] = "no"
    return response


def _wait(seconds: float | None, caller: Caller) -> float:
    if seconds is None:
        return min(caller.node.config.heartbeat_interval, MAX_WAIT_S)
    if not math.isfinite(seconds) or not 0 <= seconds <= MAX_WAIT_S:
        reason = f"'wait' must be 0 to {MAX_WAIT_S:g} seconds"
        raise Refused(400, ErrorCode.BAD_MESSAGE, reason)
    return seconds


def _number(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not _CURSOR.fullmatch(cursor):
        raise _bad_cursor()
    return int(cursor)


def _bad_cursor() -> Refused:
    return Refused(400, ErrorCode.BAD_MESSAGE, "'cursor' is not one that this session has given")


async def _ask(
    caller: Caller,
    session_id: str,
    cursor: int | None,
    *,
    messages: str | None = None,
    waiting: tuple[str, str] | None = None,
    wait: float = 0.0,
) -> dict[str, Any]:
    """What the connection's node answers.

    Raises:
        Refused: what it cannot answer.
    """
    answer: dict[str, Any] = await ask_owner(
        caller,
        session_id,
        "poll",
        {"cursor": cursor, "messages": messages, "waiting": waiting, "wait": wait},
    )
    status = answer["status"]
    if status == UNKNOWN:
        raise unknown_session()
    if status == BAD_CURSOR:
        raise _bad_cursor()
    if status == BUSY:
        reason = "too much of this client is being served"
        raise Refused(503, ErrorCode.UNAVAILABLE, reason, retry_after=RETRY_S)
    return answer


async def _later(
    caller: Caller,
    session_id: str,
    cursor: int | None,
    ended: asyncio.Future[str],
    token: str,
    wait: float,
    answer: dict[str, Any],
) -> AsyncIterator[bytes]:
    """The body of an answer that has to wait: once there is something, or the time is over."""
    release_request_thread()
    try:
        async with asyncio.timeout(wait):
            if await ended == READY:
                answer = await _ask(caller, session_id, cursor)
    except (TimeoutError, Refused):
        pass  # nothing came in time, or the connection has ended: the next poll is told
    except BaseException:
        caller.node.spawn(_give_up(caller, session_id, token), "giving up a poll")
        raise
    yield _body(answer).encode()


async def _give_up(caller: Caller, session_id: str, token: str) -> None:
    owner = node_of_session(session_id)
    assert owner is not None
    of = arguments_of(session_id, caller.identity, namespace_of(caller.scope))
    try:
        await caller.node.requests.request(
            "poll_given_up", {**of, "token": token}, {owner}, wait=1.0
        )
    except Unavailable:
        return  # it is missed later


def _body(answer: dict[str, Any]) -> str:
    messages = ",".join(answer["messages"])
    return f'{{"messages":[{messages}],"cursor":{JSON.encode(str(answer["cursor"]))}}}'
