"""``POST …/send/``: messages of clients whose connection has no way up, such as an event stream."""

from __future__ import annotations

from typing import Any

import msgspec
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponseBase, JsonResponse

from ..endpoints.routed import BUSY, UNKNOWN
from ..protocol.codes import ErrorCode
from ..protocol.limits import Limits
from .access import Refused, admit, require_csrf_token, serving_node
from .owners import RETRY_S, ask_owner, unknown_session
from .views import view

MAX_SESSION_ID = 64


class _Sent(msgspec.Struct):
    session_id: str
    messages: list[msgspec.Raw]


_decode = msgspec.json.Decoder(_Sent).decode


@view("POST")
async def send(request: HttpRequest) -> HttpResponseBase:
    """Take messages for a connection.

    Responds 202 with ``{}`` once its process has them, whichever that is; their replies come on the
    stream. Otherwise 400, 401, 403, 404, 413 or 503 with ``{"code": …, "reason": …}``.
    """
    limits = serving_node().config.limits
    sent = read_body(request, _decode, limits)
    caller = await admit(request, connects=False)
    await require_csrf_token(request, caller)
    if not 1 <= len(sent.session_id) <= MAX_SESSION_ID:
        raise unknown_session()
    messages = batch_of(sent.messages, limits)
    taken = await ask_owner(caller, sent.session_id, "take_messages", {"messages": messages})
    if taken == UNKNOWN:
        raise unknown_session()
    if taken == BUSY:
        reason = "too much of this client is being served"
        raise Refused(503, ErrorCode.UNAVAILABLE, reason, retry_after=RETRY_S)
    return JsonResponse({}, status=202)


def read_body(request: HttpRequest, decode: Any, limits: Limits) -> Any:
    """The body of a request, of the type that ``decode`` reads.

    Called before anything else: Django's CSRF check may parse the body as a form's, after which it
    cannot be read any more.

    Raises:
        Refused: 413 where it is over ``max_frame``, 400 where it is not that type.
    """
    try:
        body = request.body
    except RequestDataTooBig as error:
        raise _too_large("more", limits) from error
    if len(body) > limits.max_frame:
        raise _too_large(str(len(body)), limits)
    try:
        return decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError) as error:
        reason = str(error).partition("\n")[0][:120]
        raise Refused(400, ErrorCode.BAD_MESSAGE, f"not a request: {reason}") from error


def _too_large(size: str, limits: Limits) -> Refused:
    reason = f"a body of {size} bytes; expected at most {limits.max_frame}"
    return Refused(413, ErrorCode.TOO_LARGE, reason)


def batch_of(messages: list[msgspec.Raw], limits: Limits) -> str:
    """Messages as one frame.

    Raises:
        Refused: there are none, or too many.
    """
    if not 1 <= len(messages) <= limits.max_batch:
        raise Refused(
            400,
            ErrorCode.BAD_MESSAGE,
            f"{len(messages)} messages; expected 1 to {limits.max_batch}",
        )
    return "[" + ",".join(bytes(one).decode() for one in messages) + "]"
