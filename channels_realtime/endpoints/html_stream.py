"""An event stream for htmx: HTML in events without a name, which htmx swaps, and all else by name.

The names are those of the events of ``<realtime-channel>``: ``realtime:status`` for a publication with the
event "status". So a page that swaps unnamed events, as htmx 4 does and ``sse-swap="message"`` of htmx 2,
puts in place what the server has rendered, and never what a client has published.
"""

from __future__ import annotations

import re

from ..protocol import messages as m
from ..protocol.codecs import JSON
from ..protocol.dialects.base import Wrap
from ..protocol.dialects.realtime_objects import publication_object, push_object
from ..protocol.fragments import HTML_EVENT, htmx_text
from ..protocol.frames import Frame, Policy, frame_size
from ..protocol.limits import Limits
from .http_transport import HttpDialect, HttpEncoding, HttpTransport, Message, PushText

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_OWN_EVENTS = frozenset(
    [
        "message",
        "html",
        "swapped",
        "loaded",
        "subscribed",
        "recovered",
        "missed",
        "error",
        "state",
        "members",
        "join",
        "leave",
        "welcome",
        "unsubscribed",
        "closing",
        "notice",
    ]
)
"""Names that a publication's event does not have here: it would be taken for another one."""


class HtmlEncoding(HttpEncoding):
    """Publications and pushes as htmx takes them."""

    __slots__ = ()

    def __init__(self, wrap: Wrap) -> None:
        super().__init__(JSON, wrap)
        self.name = "html"

    def publication_frame(self, publication: m.Publication, policy: Policy) -> Frame:
        """The frame of a publication, the same for every subscriber, with the position after it."""
        text = _publication_text(publication)
        position = None if publication.state or publication.kind else publication.position
        event = _publication_event(publication)
        content = Message(text, publication.channel, position, event=event)
        return Frame(content, frame_size(text), publication.channel, policy)

    def frame(self, data: str | bytes) -> Frame:
        """The frame of a push to one client."""
        assert isinstance(data, PushText)
        push = data.push
        return Frame(Message(str(data), push=push, event=_push_event(push)), frame_size(data))


class HtmlDialect(HttpDialect):
    """Writes for htmx."""

    __slots__ = ()

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits, HTML_ENCODING)

    def encode(self, push: m.Push) -> str | bytes | None:
        """The text of a push, which keeps the push."""
        return PushText(_push_text(push), push)


def _publication_text(publication: m.Publication) -> str:
    if publication.event == HTML_EVENT:
        # The field's name is repeated on each line but the first, which the transport begins.
        return "\ndata: ".join(_LINE_BREAK.split(htmx_text(publication.payload)))
    return JSON.encode(publication_object(publication))


def _publication_event(publication: m.Publication) -> str | None:
    event = publication.event
    if event == HTML_EVENT:
        return None
    if publication.kind:
        event = publication.kind
    elif event is None or event in _OWN_EVENTS or not event.isprintable():
        event = "message"
    return f"realtime:{event}"


def _push_text(push: m.Push) -> str:
    if isinstance(push, m.Message):
        return _publication_text(push.publication)
    message = push_object(push)
    if isinstance(push, m.Welcome):
        # A session's id is a secret, and each script of a page hears its events.
        message["payload"] = {"connection_id": push.connection_id, "user": push.user}
    return JSON.encode(message)


def _push_event(push: m.Push) -> str | None:
    if isinstance(push, m.Message):
        return _publication_event(push.publication)
    if isinstance(push, m.Notice):
        return "realtime:notice"
    if isinstance(push, m.Subscribed) and push.recovered is False:
        return "realtime:missed"
    kind: str = push_object(push)["type"]
    return f"realtime:{kind}"


HTML_ENCODING = HtmlEncoding(HttpTransport.wrap)
"""Shared by all streams for htmx."""
