"""Any frames at all, from the dialect through the conversation: answered or closed, never raised."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from channels_realtime.conversation.effects import Close, Run, Send
from channels_realtime.protocol import messages as m
from channels_realtime.protocol.dialects.realtime import RealtimeDialect, realtime_encodings
from channels_realtime.protocol.limits import Limits
from tests.support.conversation import ConversationHarness
from tests.unit.protocol.dialects.test_realtime import ANY_FRAMES, JSON_FRAMES

LIMITS = {"max_in_flight": 3, "max_bad_messages": 5, "max_batch": 4, "max_payload": 200}

ENCODINGS = realtime_encodings(lambda data: data)


@given(
    st.lists(ANY_FRAMES | JSON_FRAMES, max_size=8),
    st.sampled_from(["open", "signed in", "awaiting"]),
    st.sampled_from(["json", "msgpack"]),
    st.booleans(),
)
def test_every_frame_is_answered_or_closes_and_raises_nothing(frames, phase, codec, batches):
    dialect = RealtimeDialect(ENCODINGS[codec], Limits(**LIMITS), batches=batches, heartbeat=True)
    talk = ConversationHarness(beats=True, **LIMITS)
    if phase == "awaiting":
        talk.await_auth()
    else:
        talk.open(signed_in=phase == "signed in")
    closed = False
    running: dict[int, m.Command] = {}
    for frame in frames:
        if talk.conversation.saturated:
            break  # the shell would not read on
        commands = dialect.decode(frame)
        effects = talk.say(*commands)
        if closed:
            assert effects == []
            continue
        answered = [effect for effect in effects if isinstance(effect, Send)]
        running |= {effect.ticket: effect.command for effect in effects if isinstance(effect, Run)}
        closed = any(isinstance(effect, Close) for effect in effects)
        for effect in answered:
            assert dialect.encode(effect.push) is not None
        if not closed:
            immediate = sum(isinstance(c, (m.Malformed, m.Ping)) for c in commands)
            assert len(answered) >= immediate
        assert len(running) <= LIMITS["max_in_flight"] + 1
