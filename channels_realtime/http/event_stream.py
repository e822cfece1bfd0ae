"""``GET …/sse/``: messages as server-sent events, for clients that get no WebSocket through."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from ..endpoints.cursors import MAX_CURSOR_CHANNELS, ReadCursor
from ..endpoints.event_stream import EventStream, refusal_stream
from ..endpoints.html_stream import HtmlDialect
from ..endpoints.http_transport import HttpDialect
from ..errors import BadChannel, UnknownChannel
from ..nodes.node import Node
from ..protocol import messages as m
from ..protocol.codes import CloseCode, ErrorCode
from ..protocol.names import check_name
from .access import Refused, admit
from .views import view

CONTENT_TYPE = "text/event-stream"


@view("GET")
async def sse(request: HttpRequest) -> HttpResponseBase:
    """Stream messages.

    Query: ``channel``, as often as there are channels to subscribe to; ``cursor`` or ``last_event_id``
    for clients that cannot send ``Last-Event-ID``; ``format=html`` for htmx.

    Responds 200, 204 to an ``EventSource`` that comes back to a stream that has ended for good, or
    400, 401, 403, 429 or 503 with ``{"code": …, "reason": …}``.
    """
    came_with = ReadCursor(_cursor(request))
    if came_with.closed is not None:
        return _stay_away(request, came_with.closed)
    try:
        caller = await admit(request)
    except Refused as refused:
        if refused.retry_after is not None and is_event_source(request):
            html = request.GET.get("format") == "html"
            body = _try_again(refused, "realtime:closing" if html else None)
            return HttpResponse(body, content_type=CONTENT_TYPE)
        raise
    channels = _channels(caller.node, request)
    dialect = _dialect(caller.node, request)
    stream = EventStream(
        caller.node,
        caller.scope,
        caller.state.address,
        caller.found,
        caller.read_at,
        channels=channels,
        came_with=came_with,
        dialect=dialect,
    )
    return _stream(stream)


def _dialect(node: Node, request: HttpRequest) -> HttpDialect:
    """What the client asks for.

    Raises:
        Refused: there is no such format.
    """
    match request.GET.get("format", "json"):
        case "json":
            return HttpDialect(node.config.limits)
        case "html":
            return HtmlDialect(node.config.limits)
        case other:
            reason = f"format is {other!r:.40}; expected json or html"
            raise Refused(400, ErrorCode.BAD_MESSAGE, reason)


def _stream(body: EventStream) -> HttpResponseBase:
    response = StreamingHttpResponse(body, content_type=CONTENT_TYPE)
    response["X-Accel-Buffering"] = "no"  # nginx
    response["Content-Encoding"] = "identity"  # GZipMiddleware leaves it alone
    return response


def is_event_source(request: HttpRequest) -> bool:
    """Whether a request looks like an ``EventSource``'s, which takes any status but 200 for final."""
    return request.headers.get("Accept") == CONTENT_TYPE and "HX-Request" not in request.headers


def _cursor(request: HttpRequest) -> str:
    header = request.headers.get("Last-Event-ID")
    if header is not None:
        return header
    return request.GET.get("cursor") or request.GET.get("last_event_id") or ""


def _stay_away(request: HttpRequest, code: int) -> HttpResponseBase:
    """Answer a client that comes back to a stream that has ended for good."""
    if is_event_source(request):
        return HttpResponse(status=204)
    if code == CloseCode.UNAUTHENTICATED:
        raise Refused(401, ErrorCode.UNAUTHENTICATED, "this stream has ended: begin a new one")
    raise Refused(403, ErrorCode.FORBIDDEN, "this stream has ended")


def _try_again(refused: Refused, event: str | None) -> bytes:
    closing = m.Closing(
        code=CloseCode.RATE_LIMITED if refused.status == 429 else CloseCode.GOING_AWAY,
        reason=refused.reason,
        reconnect=True,
        retry_after=refused.retry_after,
    )
    return refusal_stream(closing, event=event)


def _channels(node: Node, request: HttpRequest) -> list[str]:
    """The channels that a request names, each once.

    Raises:
        Refused: a name is malformed, or there are too many.
    """
    names = list(dict.fromkeys(request.GET.getlist("channel")))
    most = node.config.max_subscriptions
    if len(names) > most:
        raise Refused(
            400, ErrorCode.TOO_MANY_SUBSCRIPTIONS, f"{len(names)} channels; expected at most {most}"
        )
    kept = 0
    for name in names:
        try:
            kept += node.routes.resolve(check_name(name)).kept() is not None
        except BadChannel as error:
            raise Refused(400, error.code, error.reason) from error
        except UnknownChannel:
            continue  # which the stream says, among the others
    if kept > MAX_CURSOR_CHANNELS:
        raise Refused(
            400,
            ErrorCode.TOO_MANY_SUBSCRIPTIONS,
            f"{kept} channels with history; a stream can recover at most {MAX_CURSOR_CHANNELS}",
        )
    return names
