"""The bare dialect: one channel, and frames are payloads.

For devices, htmx and pages with no protocol at all: ``ws.send("hello")`` publishes ``"hello"``.
"""

from __future__ import annotations

from ...errors import BadPayload
from .. import messages as m
from ..codecs import JSON
from ..codes import ErrorCode
from ..fragments import HTML_EVENT, htmx_text
from ..frames import frame_size
from ..limits import Limits
from ..payloads import normalise
from .base import TEXT_PING, TEXT_PONG, Encoding


class BareEncoding(Encoding):
    """Only the payload: text, bytes and HTML unchanged, everything else as JSON text."""

    __slots__ = ()

    name = "bare"

    def encode_publication(self, publication: m.Publication) -> str | bytes | None:
        """The frame: the payload and nothing else."""
        payload = publication.payload
        if publication.event == HTML_EVENT:
            return htmx_text(payload)
        # Daphne sends no empty text frame; there is no other way to write empty text, so it is lost.
        return payload if isinstance(payload, (str, bytes)) else JSON.encode(payload)


class HtmlBareEncoding(BareEncoding):
    """Only the server-rendered HTML, for pages that insert every frame as HTML.

    Text that a client has published would otherwise be inserted too.
    """

    __slots__ = ()

    name = "bare html"

    def encode_publication(self, publication: m.Publication) -> str | bytes | None:
        """The HTML, or None for any other publication."""
        html = publication.event == HTML_EVENT
        return super().encode_publication(publication) if html else None


class BareDialect:
    """Reads each frame as a publish to the one channel, writes publications only.

    The one exception is the keep-alive: the text ``ping`` is answered with ``pong``.
    """

    __slots__ = ("_channel", "_limits", "encoding")

    name = "bare"
    heartbeat = False

    def __init__(self, encoding: BareEncoding, channel: str, limits: Limits) -> None:
        self.encoding = encoding
        self._channel = channel
        self._limits = limits

    def decode(self, frame: str | bytes) -> list[m.Command]:
        """A publish of the frame as it is; the text ``ping`` is a keep-alive."""
        if frame == TEXT_PING:
            return [m.Ping(as_text=True)]
        size = frame_size(frame)
        limit = min(self._limits.max_payload, self._limits.max_frame)
        if size > limit:
            return [
                m.Malformed(
                    code=ErrorCode.TOO_LARGE,
                    reason=f"a payload of {size} bytes; expected at most {limit}",
                    about="publish",
                    channel=self._channel,
                )
            ]
        try:
            payload = normalise(frame)
        except BadPayload as error:
            return [
                m.Malformed(
                    code=error.code, reason=error.reason, about="publish", channel=self._channel
                )
            ]
        return [m.Publish(channel=self._channel, payload=payload)]

    def encode(self, push: m.Push) -> str | bytes | None:
        """Only publications and the answer to a keep-alive have a form here."""
        if isinstance(push, m.Message):
            return self.encoding.encode_publication(push.publication)
        return TEXT_PONG if isinstance(push, m.PongReply) and push.as_text else None
