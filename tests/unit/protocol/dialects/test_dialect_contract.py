"""What each dialect and encoding must do; a new one is added to the lists here."""

from __future__ import annotations

import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_realtime.endpoints.websocket import BARE_ENCODING, ENCODINGS
from channels_realtime.mixins.transport import ConsumerDialect
from channels_realtime.protocol import messages as m
from channels_realtime.protocol.codes import CloseCode, ErrorCode
from channels_realtime.protocol.dialects.bare import BareDialect
from channels_realtime.protocol.dialects.base import Dialect, Encoding
from channels_realtime.protocol.dialects.realtime import RealtimeDialect
from channels_realtime.protocol.frames import Policy, frame_size
from channels_realtime.protocol.limits import Limits

LIMITS = Limits(max_batch=4, max_payload=100, max_depth=4)

DIALECTS: dict[str, Dialect] = {
    "json": RealtimeDialect(ENCODINGS["json"], LIMITS, batches=False, heartbeat=False),
    "json batches": RealtimeDialect(ENCODINGS["json"], LIMITS, batches=True, heartbeat=True),
    "msgpack": RealtimeDialect(ENCODINGS["msgpack"], LIMITS, batches=True, heartbeat=True),
    "bare": BareDialect(BARE_ENCODING, "rooms/lobby", LIMITS),
    "consumer": ConsumerDialect(lambda text: True, frozenset({m.Closing}), decodes=False),
    "consumer that decodes": ConsumerDialect(None, frozenset(), decodes=True),
}
ENCODINGS_BY_NAME: dict[str, Encoding] = {
    encoding.name: encoding for encoding in (*ENCODINGS.values(), BARE_ENCODING)
}

ALL_DIALECTS = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
ALL_ENCODINGS = pytest.mark.parametrize(
    "encoding", ENCODINGS_BY_NAME.values(), ids=ENCODINGS_BY_NAME
)

PUSHES: dict[type[m.Push], m.Push] = {
    type(push): push
    for push in (
        m.Welcome(
            session_id="s",
            user=None,
            expires_at=None,
            heartbeat_interval=25.0,
            heartbeat_timeout=10.0,
            limits={},
            capabilities=(),
            channels={"users/1": None},
        ),
        m.AuthRequired(timeout=10.0),
        m.AuthOk(user="1", expires_at=None),
        m.AuthExpiring(expires_at=1.0),
        m.Subscribed(channel="a"),
        m.Unsubscribed(channel="a", code="forbidden", reason="no"),
        m.Published(channel="a"),
        m.Result(channel=None, payload=1),
        m.FlowChanged(channel="a", paused=True),
        m.Message(publication=m.Publication("a", {"n": 1})),
        m.Notice(payload="restart at noon"),
        m.PingPush(),
        m.PongReply(id=1),
        m.Error(code=ErrorCode.FORBIDDEN, reason="no"),
        m.Resumed(
            session_id="s",
            channels=(m.Subscribed(channel="a", recovered=True),),
            dropped={"b": "x"},
        ),
        m.HistoryReply(channel="a", position=m.Position("e", 1), publications=()),
        m.PresenceReply(channel="a", members=m.Members(1, (m.Member("1", "1", {}),))),
        m.Acknowledged(channel="a"),
        m.Closing(code=CloseCode.GOING_AWAY, reason="restart", reconnect=True),
    )
}

FRAMES = st.one_of(
    st.text(max_size=150),
    st.binary(max_size=150),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=6)
            | st.dictionaries(st.sampled_from(["type", "id", "channel", "payload", "since"]), inner)
            | st.fixed_dictionaries(
                {"type": st.sampled_from(["publish", "subscribe", "ping"]), "channel": inner}
            )
        ),
        max_leaves=12,
    ).map(lambda value: msgspec.json.encode(str(value) if isinstance(value, int) else value)),
)


def payload_size(dialect: Dialect, payload: typing.Any) -> int:
    """In bytes, as the dialect's clients write it."""
    if dialect.name == "bare":
        return frame_size(payload)
    encode = msgspec.msgpack.encode if "msgpack" in dialect.name else msgspec.json.encode
    return len(encode(payload))


def every_kind_of_push() -> set[type]:
    return {cls for cls in vars(m).values() if _is_push(cls)}


def _is_push(cls: typing.Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, m.Push) and cls is not m.Push


def test_every_kind_of_push_is_tried():
    assert set(PUSHES) == every_kind_of_push()


@ALL_DIALECTS
def test_it_names_itself_and_its_encoding(dialect: Dialect):
    assert dialect.name
    assert isinstance(dialect.encoding, Encoding)
    assert dialect.heartbeat in (True, False)


@ALL_DIALECTS
@given(frame=FRAMES)
def test_any_frame_becomes_commands_within_the_bounds(dialect: Dialect, frame):
    for data in (frame, frame.decode("latin-1") if isinstance(frame, bytes) else frame.encode()):
        commands = dialect.decode(data)
        assert 1 <= len(commands) <= LIMITS.max_batch
        assert all(isinstance(command, m.Command) for command in commands)
        for command in commands:
            if isinstance(command, m.Publish):
                assert payload_size(dialect, command.payload) <= LIMITS.max_payload


@ALL_DIALECTS
@given(frame=FRAMES)
def test_nothing_is_kept_from_one_frame_to_the_next(dialect: Dialect, frame):
    first = dialect.decode(frame)
    dialect.decode("{")
    assert dialect.decode(frame) == first


@ALL_DIALECTS
@pytest.mark.parametrize("push", PUSHES.values(), ids=lambda push: type(push).__name__)
def test_each_push_has_a_form_or_none(dialect: Dialect, push):
    data = dialect.encode(push)
    assert data is None or isinstance(data, (str, bytes))
    assert dialect.encode(push) == data
    if data is not None:
        frame = dialect.encoding.frame(data)
        assert (frame.size, frame.channel) == (frame_size(data), None)


@ALL_ENCODINGS
@pytest.mark.parametrize("payload", [None, "", "ä", b"\xff", 1.5, {"a": [1, {"b": True}]}])
@pytest.mark.parametrize("policy", Policy)
def test_publication_becomes_one_frame_with_its_channel_size_and_policy(encoding, payload, policy):
    publication = m.Publication("orders/1", payload, "paid", {"user": "1"}, m.Position("e", 7))
    frame = encoding.publication_frame(publication, policy)
    data = encoding.encode_publication(publication)
    assert frame.content == encoding.wrap(data)
    assert (frame.size, frame.channel, frame.policy) == (frame_size(data), "orders/1", policy)
    assert encoding.publication_frame(publication, policy) == frame
