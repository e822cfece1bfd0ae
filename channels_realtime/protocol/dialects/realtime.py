"""The project's own dialect, version 1: one object with a ``type`` a message.

The wire protocol's reference in the documentation is the rule; the names of fields here are its.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...errors import BadChannel, BadMessage, BadPayload, RealtimeError, TooLarge
from .. import messages as m
from ..codecs import CODECS, Codec
from ..codes import ErrorCode
from ..frames import frame_size
from ..limits import Limits
from ..names import MAX_NAME_LENGTH, check_name
from ..payloads import normalise
from .base import TEXT_PING, TEXT_PONG, Encoding, Wrap
from .realtime_objects import publication_object, push_object

MAX_EVENT_LENGTH = 100
MAX_KEY_LENGTH = 100
MAX_EPOCH_LENGTH = 64
MAX_METHOD_LENGTH = 100
MAX_TOKEN_LENGTH = 16_384
"""Longer than any header a server takes; a JWT is one to two thousand characters."""
MAX_RESUMED_CHANNELS = 1_000
MAX_HISTORY_LIMIT = 1_000

_MISSING: Any = object()


class RealtimeEncoding(Encoding):
    """Publications as ``message`` objects in one codec."""

    __slots__ = ("codec", "name", "ping", "pong")

    def __init__(self, codec: Codec, wrap: Wrap) -> None:
        super().__init__(wrap)
        self.codec = codec
        self.name = f"realtime.{codec.name}"
        self.ping = codec.encode(push_object(m.PingPush()))
        self.pong = codec.encode(push_object(m.PongReply()))

    def encode_publication(self, publication: m.Publication) -> str | bytes:
        """The frame of a ``message``, the same for every subscriber of this codec."""
        return self.codec.encode(publication_object(publication))


class RealtimeDialect:
    """Reads and writes version 1.

    Args:
        encoding: the codec's shared encoding.
        limits: what this client may send.
        batches: whether a frame may be an array (a negotiated subprotocol) or not (bare).
        heartbeat: whether the client agreed to answer pings.
    """

    __slots__ = ("_batches", "_codec", "_limits", "encoding", "heartbeat")

    def __init__(
        self, encoding: RealtimeEncoding, limits: Limits, *, batches: bool, heartbeat: bool
    ) -> None:
        self.encoding = encoding
        self.heartbeat = heartbeat
        self._codec = encoding.codec
        self._limits = limits
        self._batches = batches

    @property
    def name(self) -> str:
        """What operators are shown."""
        return self.encoding.name

    # -- in ----------------------------------------------------------------------------------------

    def decode(self, frame: str | bytes) -> list[m.Command]:
        """The commands of a frame; what cannot be read becomes ``Malformed``."""
        size = frame_size(frame)
        if size > self._limits.max_frame:
            reason = f"a frame of {size} bytes; expected at most {self._limits.max_frame}"
            return [_malformed(TooLarge(reason))]
        if isinstance(frame, bytes) is not self._codec.binary:
            got, expected = ("text", "binary") if self._codec.binary else ("binary", "text")
            return [_malformed(BadMessage(f"a {got} frame; this connection speaks {expected}"))]
        if frame == TEXT_PING and not self._batches:
            return [m.Ping(as_text=True)]
        try:
            value = self._codec.decode(frame)
        except BadMessage as error:
            return [_malformed(error)]
        if not isinstance(value, list):
            return [self._command(value, size)]
        if not self._batches:
            return [_malformed(BadMessage("an array; batches need the subprotocol realtime.v1.*"))]
        if not 1 <= len(value) <= self._limits.max_batch:
            return [
                _malformed(
                    BadMessage(
                        f"a batch of {len(value)} messages; expected 1 to {self._limits.max_batch}"
                    )
                )
            ]
        return [self._command(item, size) for item in value]

    def _command(self, value: Any, bound: int) -> m.Command:
        """One message; ``bound``, its frame's bytes, spares measuring a payload that must fit."""
        if not isinstance(value, dict):
            return _malformed(BadMessage(f"expected an object, got {_kind(value)}"))
        request_id: m.RequestId = None
        about: str | None = None
        try:
            try:
                request_id = _request_id(value)
            finally:  # an error names the type even where the id is wrong, and the other way round
                about = _type(value)
            signal = _SIGNALS.get(about)
            if signal is not None:
                return signal(id=request_id)
            read = _READERS.get(about)
            if read is None:
                raise BadMessage(f"unknown type {about!r}", code=ErrorCode.UNKNOWN_TYPE)
            return read(value, request_id, self._payload_reader(bound))
        except RealtimeError as error:
            return _malformed(error, request_id, about, value.get("channel"))

    def _payload_reader(self, bound: int) -> Callable[[Any], Any]:
        limits = self._limits

        def read(payload: Any) -> Any:
            payload = normalise(payload, max_depth=limits.max_depth)
            if bound > limits.max_payload:
                size = frame_size(self._codec.encode(payload))
                if size > limits.max_payload:
                    raise TooLarge(
                        f"a payload of {size} bytes; expected at most {limits.max_payload}"
                    )
            return payload

        return read

    # -- out ---------------------------------------------------------------------------------------

    def encode(self, push: m.Push) -> str | bytes | None:
        """The frame of a push."""
        if type(push) is m.PongReply:
            if push.as_text:
                return TEXT_PONG
            if push.id is None:
                return self.encoding.pong
        elif type(push) is m.PingPush:
            return self.encoding.ping
        return self._codec.encode(push_object(push))


# -- reading ---------------------------------------------------------------------------------------

_PayloadReader = Callable[[Any], Any]


def _malformed(
    error: RealtimeError,
    request_id: m.RequestId = None,
    about: str | None = None,
    channel: Any = None,
) -> m.Malformed:
    if not isinstance(channel, str) or len(channel) > MAX_NAME_LENGTH or not channel.isprintable():
        channel = None
    return m.Malformed(
        id=request_id, code=error.code, reason=error.reason, about=about, channel=channel
    )


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {dict: "an object", list: "an array", str: "text", bool: "a boolean", bytes: "bytes"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else "something")


def _request_id(value: Mapping[str, Any]) -> m.RequestId:
    request_id = value.get("id")
    if request_id is None:
        return None
    if type(request_id) is str and 1 <= len(request_id) <= m.MAX_ID_LENGTH:
        return request_id
    if type(request_id) is int and -m.MAX_ID_INTEGER <= request_id <= m.MAX_ID_INTEGER:
        return request_id
    raise BadMessage(
        f"'id' must be text of 1 to {m.MAX_ID_LENGTH} characters or an integer within 2**53"
    )


def _type(value: Mapping[str, Any]) -> str:
    kind = value.get("type", _MISSING)
    if kind is _MISSING:
        raise BadMessage("a message needs a 'type'")
    if not isinstance(kind, str):
        raise BadMessage(f"'type' must be text, got {_kind(kind)}")
    if len(kind) > 64 or not kind.isprintable():
        raise BadMessage("unknown type", code=ErrorCode.UNKNOWN_TYPE)
    return kind


def _channel(value: Mapping[str, Any]) -> str:
    if "channel" not in value:
        raise BadMessage(f"{value['type']!r} needs a 'channel'")
    channel = value["channel"]
    if not isinstance(channel, str):
        raise BadChannel(f"'channel' must be text, got {_kind(channel)}")
    return check_name(channel)


def _text(
    value: Mapping[str, Any], name: str, longest: int, *, required: bool = False
) -> str | None:
    text = value.get(name)
    if text is None:
        if required:
            raise BadMessage(f"{value['type']!r} needs {name!r}")
        return None
    if not isinstance(text, str) or not 1 <= len(text) <= longest:
        raise BadMessage(f"{name!r} must be text of 1 to {longest} characters")
    return text


def _boolean(value: Mapping[str, Any], name: str) -> bool:
    flag = value.get(name, False)
    if flag is None:
        return False
    if not isinstance(flag, bool):
        raise BadMessage(f"{name!r} must be true or false, got {_kind(flag)}")
    return flag


def _position(value: Any, name: str = "since") -> m.Position | None:
    if value is None:
        return None
    if isinstance(value, dict):
        epoch, offset = value.get("epoch"), value.get("offset")
        if (
            isinstance(epoch, str)
            and len(epoch) <= MAX_EPOCH_LENGTH
            and type(offset) is int
            and 0 <= offset <= m.MAX_ID_INTEGER
        ):
            return m.Position(epoch, offset)
    raise BadMessage(f"{name!r} must be an object of 'epoch' (text) and 'offset' (an integer >= 0)")


def _read_auth(value: Mapping[str, Any], rid: m.RequestId, read: _PayloadReader) -> m.Command:
    token = _text(value, "token", MAX_TOKEN_LENGTH, required=True)
    assert token is not None
    return m.Authenticate(id=rid, token=token)


def _read_subscribe(value: Mapping[str, Any], rid: m.RequestId, read: _PayloadReader) -> m.Command:
    return m.Subscribe(
        id=rid,
        channel=_channel(value),
        parameters=read(value.get("payload")),
        since=_position(value.get("since")),
        presence=_boolean(value, "presence"),
        require_recovery=_boolean(value, "require_recovery"),
    )


def _read_unsubscribe(
    value: Mapping[str, Any], rid: m.RequestId, read: _PayloadReader
) -> m.Command:
    return m.Unsubscribe(id=rid, channel=_channel(value), parameters=read(value.get("payload")))


def _read_publish(value: Mapping[str, Any], rid: m.RequestId, read: _PayloadReader) -> m.Command:
    channel = _channel(value)
    if "payload" not in value:
        raise BadMessage("'publish' needs a 'payload' (null is one)")
    return m.Publish(
        id=rid,
        channel=channel,
        payload=read(value["payload"]),
        event=_text(value, "event", MAX_EVENT_LENGTH),
        key=_text(value, "key", MAX_KEY_LENGTH),
        echo=value.get("echo") is None or _boolean(value, "echo"),
        transient=_boolean(value, "transient"),
        version=_version(value),
        state_key=_text(value, "state_key", MAX_KEY_LENGTH),
        removed=_boolean(value, "removed"),
        only_if=_only_if(value.get("only_if")),
    )


def _version(value: Mapping[str, Any], name: str = "version") -> int | None:
    version = value.get("version")
    if version is not None and (type(version) is not int or abs(version) > m.MAX_ID_INTEGER):
        raise BadMessage(f"{name!r} must be an integer within 2^53, got {_kind(version)}")
    return version


def _only_if(value: Any) -> m.OnlyIf | None:
    if value is None:
        return None
    if isinstance(value, dict):
        if value.get("new") is True:
            return m.OnlyIf(new=True)
        version = _version(value, "only_if.version")
        if version is not None:
            return m.OnlyIf(version=version)
    raise BadMessage("'only_if' must be {'new': true} or {'version': <integer>}")


def _read_call(value: Mapping[str, Any], rid: m.RequestId, read: _PayloadReader) -> m.Command:
    method = _text(value, "method", MAX_METHOD_LENGTH, required=True)
    assert method is not None
    channel = _channel(value) if value.get("channel") is not None else None
    return m.Call(id=rid, channel=channel, method=method, payload=read(value.get("payload")))


def _read_presence(value: Mapping[str, Any], rid: m.RequestId, read: _PayloadReader) -> m.Command:
    return m.GetPresence(id=rid, channel=_channel(value))


def _read_history(value: Mapping[str, Any], rid: m.RequestId, read: _PayloadReader) -> m.Command:
    limit = value.get("limit")
    if limit is not None and (type(limit) is not int or not 0 <= limit <= MAX_HISTORY_LIMIT):
        raise BadMessage(f"'limit' must be an integer from 0 to {MAX_HISTORY_LIMIT}")
    return m.GetHistory(
        id=rid,
        channel=_channel(value),
        since=_position(value.get("since")),
        limit=limit,
        reverse=_boolean(value, "reverse"),
    )


def _read_resume(value: Mapping[str, Any], rid: m.RequestId, read: _PayloadReader) -> m.Command:
    name = "session_id" if value.get("session_id") is not None else "sessionId"
    if value.get(name) is None:
        raise BadMessage("'resume' needs 'session_id'")
    session_id = _text(value, name, 64, required=True)
    assert session_id is not None
    since = value.get("since")
    if since is None:
        since = {}
    if not isinstance(since, dict) or len(since) > MAX_RESUMED_CHANNELS:
        raise BadMessage(f"'since' must be an object of at most {MAX_RESUMED_CHANNELS} channels")
    positions: dict[str, m.Position] = {}
    for channel, position in since.items():
        found = _position(position, "since.<channel>")
        if found is not None:
            positions[check_name(channel)] = found
    return m.Resume(id=rid, session_id=session_id, since=positions)


def _read_ack(value: Mapping[str, Any], rid: m.RequestId, read: _PayloadReader) -> m.Command:
    position = _position(value.get("payload"), "payload")
    if position is None:
        raise BadMessage("'ack' needs a payload of 'epoch' and 'offset'")
    return m.Acknowledge(id=rid, channel=_channel(value), position=position)


def _read_flow(value: Mapping[str, Any], rid: m.RequestId, read: _PayloadReader) -> m.Command:
    channel = _channel(value)
    payload = value.get("payload")
    paused = payload.get("paused") if isinstance(payload, dict) else None
    if not isinstance(paused, bool):
        raise BadPayload("'flow' needs a payload of {'paused': true or false}")
    return m.Flow(id=rid, channel=channel, paused=paused)


_READERS: dict[str, Callable[[Mapping[str, Any], m.RequestId, _PayloadReader], m.Command]] = {
    "auth": _read_auth,
    "subscribe": _read_subscribe,
    "unsubscribe": _read_unsubscribe,
    "publish": _read_publish,
    "call": _read_call,
    "presence": _read_presence,
    "history": _read_history,
    "resume": _read_resume,
    "ack": _read_ack,
    "flow": _read_flow,
}

_SIGNALS: dict[str, type[m.Ping | m.Pong]] = {"ping": m.Ping, "pong": m.Pong}
"""Messages that say nothing but their type."""


def realtime_encodings(wrap: Wrap) -> dict[str, RealtimeEncoding]:
    """The encodings of one transport, by codec: the hub encodes once for all who share one."""
    return {name: RealtimeEncoding(codec, wrap) for name, codec in CODECS.items()}
