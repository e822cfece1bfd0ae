"""The conversation: order, limits, sign-in, heartbeat, without I/O and in hours of made-up time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from channels_realtime.conversation.effects import Close, Effect, Run, Send
from channels_realtime.conversation.machine import Phase
from channels_realtime.conversation.throttling import Rate, Rates
from channels_realtime.protocol import messages as m
from channels_realtime.protocol.codes import CloseCode
from tests.support.conversation import MEMBER_WELCOME, START, ConversationHarness


def subscribe(channel: str, request_id: m.RequestId = None) -> m.Subscribe:
    return m.Subscribe(channel=channel, id=request_id)


def publish(channel: str, payload: Any = None, request_id: m.RequestId = None) -> m.Publish:
    return m.Publish(channel=channel, payload=payload, id=request_id)


def closing(code: CloseCode, reason: str, *, reconnect: bool) -> list[Effect]:
    return [
        Send(m.Closing(code=code, reason=reason, reconnect=reconnect)),
        Close(code, reason, code.reconnect),
    ]


# -- order -----------------------------------------------------------------------------------------


def test_command_runs_at_once_when_nothing_is_before_it():
    assert ConversationHarness().open().say(subscribe("a")) == [Run(1, subscribe("a"))]


def test_reply_is_sent_when_the_command_was_served():
    harness = ConversationHarness().open()
    harness.say(subscribe("a", 1))
    reply = m.Subscribed(id=1, channel="a")
    assert harness.answer(1, reply) == [Send(reply)]


def test_nothing_is_sent_when_the_command_needs_no_answer():
    harness = ConversationHarness().open()
    harness.say(publish("a"))
    assert harness.answer(1, None) == []


def test_answer_to_an_unknown_or_answered_ticket_does_nothing():
    harness = ConversationHarness().open()
    harness.say(subscribe("a", 1))
    harness.answer(1, m.Subscribed(channel="a"))
    assert harness.answer(1, m.Subscribed(channel="a")) == []
    assert harness.answer(99, m.Subscribed(channel="a")) == []


def test_commands_of_one_channel_run_in_the_order_sent():
    harness = ConversationHarness().open()
    commands = [subscribe("a"), publish("a", 1), publish("a", 2), m.Unsubscribe(channel="a")]
    assert harness.say(*commands) == [Run(1, commands[0])]
    for ticket, following in enumerate(commands[1:], start=2):
        assert harness.answer(ticket - 1) == [Run(ticket, following)]
    assert harness.answer(4) == []


def test_commands_of_one_channel_keep_their_order_across_frames():
    harness = ConversationHarness().open()
    harness.say(subscribe("a"))
    assert harness.say(publish("a", 1)) == []
    assert harness.say(publish("a", 2)) == []
    assert harness.answer(1) == [Run(2, publish("a", 1))]
    assert harness.answer(2) == [Run(3, publish("a", 2))]


def test_commands_of_different_channels_may_overtake_each_other():
    harness = ConversationHarness().open()
    assert harness.say(subscribe("a"), subscribe("b")) == [
        Run(1, subscribe("a")),
        Run(2, subscribe("b")),
    ]
    assert harness.answer(2, m.Subscribed(channel="b")) == [Send(m.Subscribed(channel="b"))]


@pytest.mark.parametrize(
    "command",
    [
        m.Call(channel="a", method="f"),
        m.GetHistory(channel="a"),
        m.GetPresence(channel="a"),
        m.Flow(channel="a", paused=True),
    ],
)
def test_every_command_about_a_channel_waits_for_its_lane(command):
    harness = ConversationHarness().open()
    harness.say(subscribe("a"))
    assert harness.say(command) == []
    assert harness.answer(1) == [Run(2, command)]


def test_calls_without_a_channel_wait_for_nobody():
    harness = ConversationHarness().open()
    call = m.Call(method="f")
    assert harness.say(call, call) == [Run(1, call), Run(2, call)]


@pytest.mark.parametrize("barrier", [m.Resume(session_id="s"), m.Authenticate(token="t")])
def test_barrier_waits_for_what_came_before_and_holds_what_comes_after(barrier):
    harness = ConversationHarness().open()
    assert len(harness.say(subscribe("a"), subscribe("b"))) == 2
    assert harness.say(barrier) == []
    assert harness.say(subscribe("c")) == []
    assert harness.answer(1) == []
    assert harness.answer(2) == [Run(3, barrier)]
    assert harness.say(subscribe("d")) == []
    assert harness.answer(3) == [Run(4, subscribe("c")), Run(5, subscribe("d"))]


def test_two_barriers_run_one_after_the_other():
    harness = ConversationHarness().open()
    one, two = m.Resume(session_id="1"), m.Resume(session_id="2")
    assert harness.say(one, two) == [Run(1, one)]
    assert harness.answer(1) == [Run(2, two)]


def test_refreshing_auth_never_waits_behind_handlers():
    harness = ConversationHarness(max_in_flight=2).open(signed_in=True)
    harness.say(subscribe("a"), subscribe("b"), subscribe("c"))
    auth = m.Authenticate(token="t")
    assert harness.say(auth) == [Run(3, auth)]
    assert harness.say(subscribe("d")) == []


def test_refreshing_auth_holds_nothing():
    harness = ConversationHarness().open(signed_in=True)
    harness.say(m.Authenticate(token="t"))
    assert harness.say(subscribe("a")) == [Run(2, subscribe("a"))]


def test_second_refresh_waits_for_the_first():
    harness = ConversationHarness().open(signed_in=True)
    one, two = m.Authenticate(token="1"), m.Authenticate(token="2")
    assert harness.say(one, two) == [Run(1, one)]
    assert harness.answer(1) == [Run(2, two)]


def test_refresh_passes_a_barrier_that_runs():
    harness = ConversationHarness().open(signed_in=True)
    harness.say(m.Resume(session_id="s"))
    auth = m.Authenticate(token="t")
    assert harness.say(auth) == [Run(2, auth)]
    assert harness.answer(2) == []
    assert harness.say(subscribe("a")) == []
    assert harness.answer(1) == [Run(3, subscribe("a"))]


def test_ping_is_answered_at_once_whatever_runs():
    harness = ConversationHarness(max_in_flight=1).open()
    harness.say(m.Resume(session_id="s"), subscribe("a"))
    assert harness.say(m.Ping(id=7)) == [Send(m.PongReply(id=7))]


def test_pong_is_not_answered():
    assert ConversationHarness().open().say(m.Pong(id=1)) == []


# -- limits ----------------------------------------------------------------------------------------


def test_no_more_than_the_limit_run_at_once():
    harness = ConversationHarness(max_in_flight=3).open()
    effects = harness.say(*[subscribe(str(n)) for n in range(5)])
    assert effects == [Run(n + 1, subscribe(str(n))) for n in range(3)]
    assert harness.conversation.saturated
    assert harness.answer(2) == [Run(4, subscribe("3"))]
    assert harness.conversation.saturated
    assert harness.answer(1) == [Run(5, subscribe("4"))]
    assert harness.conversation.saturated
    harness.answer(3)
    assert not harness.conversation.saturated


def test_what_waits_in_a_lane_counts_towards_the_limit():
    harness = ConversationHarness(max_in_flight=3).open()
    harness.say(*[publish("a", n) for n in range(3)])
    assert harness.conversation.saturated
    harness.answer(1)
    assert not harness.conversation.saturated


def test_reading_stops_while_something_waits_for_a_barrier():
    harness = ConversationHarness().open()
    harness.say(m.Resume(session_id="s"))
    assert not harness.conversation.saturated
    harness.say(subscribe("a"))
    assert harness.conversation.saturated
    harness.answer(1)
    assert not harness.conversation.saturated


def test_full_batch_is_served_in_the_end_when_one_may_run_at_a_time():
    harness = ConversationHarness(max_in_flight=1).open()
    effects = harness.say(*[publish("ab"[n % 2], n) for n in range(64)])
    served = []
    while effects:
        (run,) = effects
        served.append(run.command.payload)
        effects = harness.answer(run.ticket)
    assert served == list(range(64))
    assert not harness.conversation.saturated


# -- ids -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "second", [subscribe("b", 1), m.Ping(id=1), m.Authenticate(id=1, token="t")]
)
def test_id_is_refused_while_its_request_is_unanswered(second):
    harness = ConversationHarness().open()
    harness.say(subscribe("a", 1))
    assert harness.say(second) == [
        Send(
            m.Error(
                id=1,
                request=second.request,
                channel=second.lane,
                code="bad_message",
                reason="'id' 1 is of a request that is still unanswered",
            )
        )
    ]


def test_id_is_refused_when_its_request_still_waits():
    harness = ConversationHarness().open()
    harness.say(m.Resume(session_id="s"), subscribe("a", "x"))
    (effect,) = harness.say(subscribe("b", "x"))
    assert effect.push.code == "bad_message"


def test_id_may_be_used_again_when_its_request_was_answered():
    harness = ConversationHarness().open()
    harness.say(subscribe("a", 1))
    harness.answer(1, m.Subscribed(id=1, channel="a"))
    assert harness.say(subscribe("b", 1)) == [Run(2, subscribe("b", 1))]


def test_text_and_integer_ids_are_different():
    harness = ConversationHarness().open()
    harness.say(subscribe("a", 1))
    assert harness.say(subscribe("b", "1")) == [Run(2, subscribe("b", "1"))]


def test_requests_without_an_id_never_collide():
    assert len(ConversationHarness().open().say(subscribe("a"), subscribe("b"))) == 2


# -- before the welcome ----------------------------------------------------------------------------


def test_client_is_told_to_authenticate_and_how_long_it_has():
    harness = ConversationHarness()
    assert harness.conversation.require_auth(START, 10.0) == [Send(m.AuthRequired(timeout=10.0))]
    assert harness.conversation.phase is Phase.AWAITING_AUTH
    assert harness.conversation.deadline == START + 10.0


@pytest.mark.parametrize(
    "command",
    [
        subscribe("a", 1),
        m.Resume(id=1, session_id="s"),
        m.Call(id=1, method="f"),
        publish("a", None, 1),
    ],
)
def test_request_is_refused_before_an_auth(command):
    assert ConversationHarness().await_auth().say(command) == [
        Send(
            m.Error(
                id=1,
                request=command.request,
                channel=command.lane,
                code="unauthenticated",
                reason="authenticate first",
            )
        )
    ]


def test_ping_and_pong_are_judged_before_an_auth():
    assert ConversationHarness().await_auth().say(m.Ping(id=1), m.Pong()) == [
        Send(m.PongReply(id=1))
    ]


def test_what_follows_an_auth_waits_for_the_welcome():
    harness = ConversationHarness().await_auth()
    auth = m.Authenticate(id=1, token="t")
    assert harness.say(auth, subscribe("a")) == [Run(1, auth)]
    assert harness.say(subscribe("b")) == []
    ok = m.AuthOk(id=1, user="1", expires_at=None)
    assert [
        e for e in harness.conversation.signed_in_as(1, ok, harness.now) if isinstance(e, Send)
    ] == [Send(ok)]
    assert harness.conversation.welcome(MEMBER_WELCOME, harness.now) == [
        Send(MEMBER_WELCOME),
        Run(2, subscribe("a")),
        Run(3, subscribe("b")),
    ]


def test_request_between_auth_ok_and_welcome_waits_for_the_welcome():
    harness = ConversationHarness().await_auth()
    harness.say(m.Authenticate(id=1, token="t"))
    harness.conversation.signed_in_as(1, m.AuthOk(id=1, user="1", expires_at=None), harness.now)
    assert harness.say(subscribe("a")) == []
    assert harness.conversation.welcome(MEMBER_WELCOME, harness.now) == [
        Send(MEMBER_WELCOME),
        Run(2, subscribe("a")),
    ]


def test_conversation_ends_when_the_first_auth_is_bad():
    harness = ConversationHarness().await_auth()
    harness.say(m.Authenticate(id=1, token="t"), subscribe("a"))
    error = m.Error(id=1, request="auth", code="token_invalid", reason="the token is not valid")
    assert harness.conversation.sign_in_failed(1, error, harness.now) == [
        Send(error),
        *closing(CloseCode.UNAUTHENTICATED, "the token is not valid", reconnect=True),
    ]


def test_conversation_ends_when_no_auth_comes_in_time():
    harness = ConversationHarness().await_auth(10.0)
    harness.say(m.Ping(), subscribe("a"))
    assert harness.wait(9.999) == []
    assert harness.wait(0.001) == closing(
        CloseCode.UNAUTHENTICATED, "no credentials came in time", reconnect=True
    )


def test_auth_that_is_being_judged_is_not_cut_short_by_the_timeout():
    harness = ConversationHarness().await_auth(10.0)
    harness.say(m.Authenticate(token="t"))
    assert harness.wait(60.0) == []
    assert harness.conversation.phase is Phase.AWAITING_AUTH


def test_deadline_for_credentials_is_gone_after_the_welcome():
    harness = ConversationHarness().await_auth(10.0).open(signed_in=True)
    assert harness.conversation.deadline is None
    assert harness.wait(3_600.0) == []


# -- bad messages ----------------------------------------------------------------------------------

BAD = m.Malformed(code="bad_message", reason="not JSON", id=1, about="x", channel="a")
BAD_ERROR = Send(m.Error(id=1, request="x", channel="a", code="bad_message", reason="not JSON"))
TOO_MANY = closing(CloseCode.BAD_MESSAGES, "too many bad messages", reconnect=False)


def test_bad_message_is_answered_with_what_could_be_read_of_it():
    assert ConversationHarness().open().say(BAD) == [BAD_ERROR]


def test_bad_message_is_answered_before_the_welcome():
    assert ConversationHarness().await_auth().say(BAD) == [BAD_ERROR]


@pytest.mark.parametrize("code", ["bad_message", "unknown_type"])
def test_conversation_ends_when_there_are_too_many_bad_messages(code):
    harness = ConversationHarness(max_bad_messages=3).open()
    bad = m.Malformed(code=code, reason="r")
    for _ in range(3):
        assert len(harness.say(bad)) == 1
    assert harness.say(bad)[1:] == TOO_MANY


def test_nothing_of_a_batch_is_judged_after_the_bad_message_that_ends_it():
    harness = ConversationHarness(max_bad_messages=0).open()
    assert harness.say(BAD, m.Ping(), subscribe("a")) == [BAD_ERROR, *TOO_MANY]


@pytest.mark.parametrize("code", ["bad_channel", "bad_payload", "too_large"])
def test_wrong_value_does_not_count_as_a_bad_message(code):
    harness = ConversationHarness(max_bad_messages=3).open()
    for _ in range(100):
        assert len(harness.say(m.Malformed(code=code, reason="r"))) == 1


def test_bad_messages_are_forgiven_one_every_two_seconds():
    harness = ConversationHarness(max_bad_messages=3).open()
    harness.say(BAD, BAD, BAD)
    for _ in range(100):
        harness.wait(2.0)
        assert harness.say(BAD) == [BAD_ERROR]
    harness.wait(1.9)
    assert harness.say(BAD) == [BAD_ERROR, *TOO_MANY]


def test_forgiveness_does_not_add_up_over_hours():
    harness = ConversationHarness(max_bad_messages=3).open()
    harness.wait(86_400)
    assert harness.say(BAD, BAD, BAD) == [BAD_ERROR] * 3
    assert harness.say(BAD) == [BAD_ERROR, *TOO_MANY]


# -- heartbeat -------------------------------------------------------------------------------------

DEAD = closing(CloseCode.HEARTBEAT, "no answer to a ping", reconnect=True)


def test_silent_client_is_pinged_and_then_given_up():
    harness = ConversationHarness(beats=True).open()
    assert harness.wait(24.9) == []
    assert harness.wait(0.1) == [Send(m.PingPush())]
    assert harness.wait(9.9) == []
    assert harness.wait(0.1) == DEAD


@pytest.mark.parametrize(
    "word", [m.Pong(), m.Ping(), subscribe("a"), m.Malformed(code="bad_message", reason="r")]
)
def test_any_word_after_a_ping_is_life(word):
    harness = ConversationHarness(beats=True).open()
    harness.wait(25.0)
    harness.now += 9.9
    harness.say(word)
    assert harness.wait(24.9) == []
    assert harness.wait(0.1) == [Send(m.PingPush())]


def test_bare_client_is_never_pinged():
    assert ConversationHarness(beats=False).open().wait(7 * 86_400) == []


@pytest.mark.parametrize("word", [m.Ping(), m.Pong()])
def test_client_is_pinged_once_it_has_itself_sent_ping_or_pong(word):
    harness = ConversationHarness(beats=False).open()
    harness.say(word)
    assert harness.wait(25.0) == [Send(m.PingPush())]
    assert harness.wait(10.0) == DEAD


TEXT_PING, TEXT_PONG = m.Ping(as_text=True), Send(m.PongReply(as_text=True))


def test_text_ping_each_second_is_answered_for_a_day_and_pings_nobody():
    harness = ConversationHarness(
        beats=False, rates=Rates(messages=Rate(10, 50), failures=Rate(0.001, 1))
    ).open()
    for _ in range(86_400):
        assert harness.say(TEXT_PING) == [TEXT_PONG]
        assert harness.wait(1.0) == []


def test_text_ping_is_life():
    harness = ConversationHarness(beats=True).open()
    harness.wait(25.0)
    harness.now += 9.9
    assert harness.say(TEXT_PING) == [TEXT_PONG]
    assert harness.wait(24.9) == []
    assert harness.wait(0.1) == [Send(m.PingPush())]


def test_text_ping_is_answered_before_the_client_has_authenticated():
    harness = ConversationHarness().await_auth()
    assert harness.say(TEXT_PING) == [TEXT_PONG]


def test_text_ping_over_a_limit_is_no_error():
    harness = ConversationHarness(rates=Rates(messages=Rate(1, 1))).open()
    assert harness.say(TEXT_PING) == [TEXT_PONG]
    assert harness.say(TEXT_PING) == []


def test_round_trip_is_measured_from_a_ping_to_its_pong():
    harness = ConversationHarness(beats=True).open()
    harness.wait(25.0)
    harness.now += 0.25
    harness.say(m.Pong())
    assert harness.conversation.heartbeat.round_trip == 0.25


def test_client_that_answers_stays_for_a_day():
    harness = ConversationHarness(beats=True, jitter=0.7).open()
    pings, end = 0, START + 86_400
    while harness.now < end:
        effects = harness.wait(harness.conversation.deadline - harness.now)
        assert effects == [Send(m.PingPush())]
        pings += 1
        harness.now += 1.0
        harness.say(m.Pong())
    assert 3_300 < pings < 3_330


def test_jitter_brings_the_first_ping_forward():
    assert ConversationHarness(beats=True, jitter=1.0).open().wait(12.5) == [Send(m.PingPush())]


def test_clock_stops_while_the_server_does_not_read():
    harness = ConversationHarness(beats=True, max_in_flight=1).open()
    harness.say(subscribe("a"))
    assert harness.conversation.deadline is None
    assert harness.wait(3_600) == []
    harness.answer(1, m.Subscribed(channel="a"))
    assert harness.wait(24.9) == []
    assert harness.wait(0.1) == [Send(m.PingPush())]


def test_clock_stops_after_a_ping_while_the_server_does_not_read():
    harness = ConversationHarness(beats=True, max_in_flight=2).open()
    harness.say(subscribe("a"))
    assert harness.wait(25.0) == [Send(m.PingPush())]
    harness.say(subscribe("b"))
    assert harness.wait(3_600) == []
    harness.answer(1)
    assert harness.wait(24.9) == []
    assert harness.wait(0.1) == [Send(m.PingPush())]


def test_client_waiting_for_the_welcome_is_pinged_too():
    harness = ConversationHarness(beats=True).await_auth(60.0)
    assert harness.wait(25.0) == [Send(m.PingPush())]
    assert harness.wait(10.0) == DEAD


# -- the end ---------------------------------------------------------------------------------------


def test_close_says_closing_and_ends():
    harness = ConversationHarness().open()
    assert harness.conversation.close(
        CloseCode.GOING_AWAY, "restart", reconnect=False, retry_after=3.0
    ) == [
        Send(m.Closing(code=4503, reason="restart", reconnect=False, retry_after=3.0)),
        Close(CloseCode.GOING_AWAY, "restart", False),
    ]
    assert harness.conversation.phase is Phase.CLOSED


def test_frame_too_large_ends_the_conversation():
    harness = ConversationHarness(max_frame=100).open()
    assert harness.conversation.frame_too_large(101) == closing(
        CloseCode.TOO_LARGE, "a frame of 101 bytes; expected at most 100", reconnect=False
    )


def test_nothing_happens_after_the_end():
    harness = ConversationHarness(beats=True, max_in_flight=1).open()
    harness.say(subscribe("a"), subscribe("b"))
    harness.conversation.close(CloseCode.NORMAL, "bye")
    assert harness.say(m.Ping(), subscribe("c")) == []
    assert harness.answer(1, m.Subscribed(channel="a")) == []
    assert harness.conversation.tick(harness.now + 3_600) == []
    assert harness.conversation.close(CloseCode.INTERNAL, "again") == []
    assert harness.conversation.frame_too_large(1) == []
    assert harness.conversation.deadline is None


def test_nothing_waits_when_the_client_has_gone():
    harness = ConversationHarness(max_in_flight=1).open()
    harness.say(subscribe("a"), subscribe("b"))
    harness.conversation.gone()
    assert harness.answer(1) == []
    assert not harness.conversation._backlog
    assert not harness.conversation._lanes


# -- whatever happens ------------------------------------------------------------------------------

CHANNELS = st.sampled_from(["a", "b", "c"])
KINDS = st.sampled_from(["publish", "call", "resume", "auth", "ping", "bad", "duplicate"])


class ConversationMachine(RuleBasedStateMachine):
    """A client that sends anything, handlers that answer in any order, and time that passes."""

    MAX_IN_FLIGHT = 3

    def __init__(self) -> None:
        super().__init__()
        self.harness = ConversationHarness(
            beats=True, max_in_flight=self.MAX_IN_FLIGHT, max_bad_messages=4
        )
        self.numbers = iter(range(10**9))
        self.asked: dict[int, m.Command] = {}
        self.replied: set[int] = set()
        self.running: dict[int, m.Command] = {}
        self.last_of_lane: dict[str, int] = {}
        self.closed = False
        self.welcomed = False

    @initialize(first=st.sampled_from(["anonymous", "member", "auth"]))
    def begin(self, first):
        if first == "auth":
            self.harness.await_auth(60.0)
        else:
            self.harness.open(signed_in=first == "member")
            self.welcomed = True

    # -- checking what it does

    def take(self, effects: list[Effect]) -> None:
        if self.closed:
            assert effects == []
        for place, effect in enumerate(effects):
            if isinstance(effect, Send):
                self.sent(effect.push)
            elif isinstance(effect, Run):
                self.started(effect)
            elif isinstance(effect, Close):
                assert place == len(effects) - 1, "nothing follows a close"
                assert isinstance(effects[place - 1].push, m.Closing)
                self.closed = True

    def sent(self, push: m.Push) -> None:
        if isinstance(push, m.Welcome):
            assert not self.welcomed
            self.welcomed = True
        if push.id is not None and getattr(push, "reason", "").find("unanswered") == -1:
            assert push.id in self.asked
            assert push.id not in self.replied, "one reply a request"
            self.replied.add(push.id)

    def started(self, run: Run) -> None:
        command = run.command
        others = list(self.running.values())
        if not self.welcomed:
            assert isinstance(command, m.Authenticate)
        refresh = isinstance(command, m.Authenticate) and self.harness.conversation.signed_in
        if isinstance(command, m.Resume) or (isinstance(command, m.Authenticate) and not refresh):
            assert not others, "a barrier waits for what came before"
        elif not refresh:
            assert not any(isinstance(other, m.Resume) for other in others)
        if command.lane is not None:
            assert command.lane not in [other.lane for other in others], "one of a lane at a time"
            assert self.last_of_lane.get(command.lane, -1) < command.id, "a lane in its order"
            self.last_of_lane[command.lane] = command.id
        assert run.ticket not in self.running
        self.running[run.ticket] = command

    # -- what may happen

    def make(self, kind: str, channel: str) -> m.Command:
        if kind == "duplicate":
            if not self.running:
                return m.Pong()
            return publish(channel, None, min(c.id for c in self.running.values()))
        number = next(self.numbers)  # rising, so that the order of a lane can be told from the ids
        command: m.Command = {
            "publish": publish(channel, None, number),
            "call": m.Call(id=number, method="f"),
            "resume": m.Resume(id=number, session_id="s"),
            "auth": m.Authenticate(id=number, token="t"),
            "ping": m.Ping(id=number),
            "bad": m.Malformed(id=number, code="bad_message", reason="r"),
        }[kind]
        self.asked[number] = command
        return command

    @precondition(lambda self: not self.harness.conversation.saturated)
    @rule(drawn=st.lists(st.tuples(KINDS, CHANNELS), min_size=1, max_size=6))
    def receive(self, drawn):
        self.take(self.harness.say(*[self.make(kind, channel) for kind, channel in drawn]))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), good=st.booleans())
    def finish(self, data, good):
        ticket = data.draw(st.sampled_from(sorted(self.running)))
        command = self.running.pop(ticket)
        conversation, now = self.harness.conversation, self.harness.now
        if isinstance(command, m.Authenticate):
            if good:
                ok = m.AuthOk(id=command.id, user="1", expires_at=None)
                self.take(conversation.signed_in_as(ticket, ok, now))
                if conversation.phase is Phase.AWAITING_AUTH:
                    self.take(conversation.welcome(MEMBER_WELCOME, now))
            else:
                error = m.Error(id=command.id, code="token_invalid", reason="no")
                self.take(conversation.auth_failed(ticket, error, now))
        else:
            reply = m.Published(id=command.id, channel="a") if good else None
            if not good:
                self.replied.add(command.id)
            self.take(self.harness.answer(ticket, reply))

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 20.0, 300.0]))
    def wait(self, seconds):
        self.take(self.harness.wait(seconds))

    @rule()
    def pong(self):
        self.take(self.harness.say(m.Pong()))

    @precondition(lambda self: self.welcomed)
    @rule(chance=st.integers(0, 9))
    def close(self, chance):
        if chance == 0:
            self.take(self.harness.conversation.close(CloseCode.NORMAL, "bye"))

    # -- what holds

    @invariant()
    def no_more_run_than_may(self):
        refreshing = sum(isinstance(c, m.Authenticate) for c in self.running.values())
        assert refreshing <= 1
        assert len(self.running) - refreshing <= self.MAX_IN_FLIGHT

    @invariant()
    def something_runs_where_something_waits(self):
        conversation = self.harness.conversation
        if conversation.saturated and conversation.phase is not Phase.CLOSED:
            assert self.running, "saturated, and nothing would ever wake the reader"

    @invariant()
    def it_is_over_exactly_where_it_was_closed(self):
        assert (self.harness.conversation.phase is Phase.CLOSED) == self.closed
        if self.closed:
            assert self.harness.conversation.deadline is None

    def teardown(self):
        for _ in range(1_000):
            if not self.running:
                break
            ticket = min(self.running)
            command = self.running.pop(ticket)
            if isinstance(command, m.Authenticate) and not self.welcomed:
                ok = m.AuthOk(id=command.id, user="1", expires_at=None)
                self.take(self.harness.conversation.signed_in_as(ticket, ok, self.harness.now))
                self.take(self.harness.conversation.welcome(MEMBER_WELCOME, self.harness.now))
            else:
                self.take(self.harness.answer(ticket, m.Published(id=command.id, channel="a")))
        if not self.closed:
            unanswered = self.asked.keys() - self.replied
            assert unanswered == set(), "every request gets its reply"
            assert not self.harness.conversation.saturated


ConversationMachine.TestCase.settings = settings(
    max_examples=settings.default.max_examples * 4 // 5,
    stateful_step_count=30,
    report_multiple_bugs=False,
)
TestConversationMachine = ConversationMachine.TestCase
