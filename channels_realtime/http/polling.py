"""``POST …/poll/``: messages both ways in single requests, where not even a stream gets through."""

from __future__ import annotations

import asyncio
import contextlib
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

_BEGIN_S = 1.0
"""How long after the end of its view's task the body of a poll may begin."""


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
    held = _HeldPoll(caller, session_id, cursor, wait) if wait else None
    try:
        answer = await _ask(
            caller,
            session_id,
            cursor,
            messages=messages,
            waiting=None if held is None else (caller.node.id, held.token),
            wait=wait,
        )
    except asyncio.CancelledError:
        if held is not None:
            held.client_gone()
        raise
    if held is None or answer["messages"] or answer["ended"]:
        return HttpResponse(_body(answer), content_type="application/json")
    held.hold(answer)
    # Streamed, although it is one piece: so the view returns before it waits, and a middleware that
    # is synchronous keeps no thread meanwhile.
    response = StreamingHttpResponse(held, content_type="application/json")
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


class _HeldPoll:
    """A poll that waits; the body of its answer.

    The connection's node is told of a client that goes before it is answered. Django cancels the request
    then: in the view, in a middleware after it, whose response it does not close, or in the body.

    Args:
        caller: who asks.
        session_id: of the connection.
        cursor: what the client has.
        wait: for how many seconds.
    """

    def __init__(self, caller: Caller, session_id: str, cursor: int | None, wait: float) -> None:
        self.token = secrets.token_hex(8)
        """By which the connection's node knows the poll."""
        self._unchanged: dict[str, Any] = {}  # the answer if nothing comes in time
        self._begun = False
        self._caller = caller
        self._session_id = session_id
        self._cursor = cursor
        self._wait = wait
        self._answered = False
        self._ended = caller.node.service(Polls).wait(self.token, wait + _LATE_S)

    def hold(self, unchanged: dict[str, Any]) -> None:
        """The view returns this, and the body is to come.

        Args:
            unchanged: the answer if nothing comes in time.
        """
        self._unchanged = unchanged
        request = asyncio.current_task()
        assert request is not None
        request.add_done_callback(self._request_ended)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """What the server writes, once there is something or the time is over."""
        self._begun = True
        release_request_thread()
        answer = self._unchanged
        try:
            async with asyncio.timeout(self._wait):
                if await self._ended == READY:
                    answer = await _ask(self._caller, self._session_id, self._cursor)
        except (TimeoutError, Refused):
            pass  # nothing came in time, or the connection has ended: the next poll is told
        self._answered = True
        yield _body(answer).encode()

    def _request_ended(self, request: asyncio.Task[Any]) -> None:
        # Under a synchronous middleware it was the view's own, and the body follows.
        if not self._begun:
            self._caller.node.loop.call_later(_BEGIN_S, self._miss)

    def _miss(self) -> None:
        if not self._begun:
            self.client_gone()

    def close(self) -> None:
        """The response is over; Django's handler says so, in a thread."""
        loop = self._caller.node.loop
        if not loop.is_closed():
            loop.call_soon_threadsafe(self.client_gone)

    def client_gone(self) -> None:
        """Tell the connection's node, once, unless the poll was answered."""
        if not self._answered:
            self._answered = True
            self._caller.node.spawn(self._give_up(), "giving up a poll")

    async def _give_up(self) -> None:
        caller, owner = self._caller, node_of_session(self._session_id)
        assert owner is not None  # it was asked
        of = arguments_of(self._session_id, caller.identity, namespace_of(caller.scope))
        with contextlib.suppress(Unavailable):  # it is missed later
            await caller.node.requests.request(
                "poll_given_up", {**of, "token": self.token}, {owner}, wait=1.0
            )


def _body(answer: dict[str, Any]) -> str:
    messages = ",".join(answer["messages"])
    return f'{{"messages":[{messages}],"cursor":{JSON.encode(str(answer["cursor"]))}}}'
