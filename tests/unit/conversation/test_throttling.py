"""Token buckets, and what a conversation says to a client that is too fast."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_realtime.conversation.effects import Close, Effect, Run, Send
from channels_realtime.conversation.machine import Phase
from channels_realtime.conversation.throttling import (
    LimitExceeded,
    Rate,
    Rates,
    Throttle,
    TokenBucket,
)
from channels_realtime.protocol import messages as m
from channels_realtime.protocol.codes import CloseCode, ErrorCode
from tests.support.conversation import START, ConversationHarness

# -- buckets ---------------------------------------------------------------------------------------


def test_bucket_gives_its_burst_at_once_and_then_says_how_long_to_wait():
    bucket = TokenBucket(Rate(2.0, 3.0), START)
    assert [bucket.take(1, START) for _ in range(3)] == [None] * 3
    assert bucket.take(1, START) == 0.5
    assert bucket.take(2, START) == 1.0


def test_bucket_gives_again_exactly_when_it_said_it_would():
    bucket = TokenBucket(Rate(2.0, 1.0), START)
    bucket.take(1, START)
    assert bucket.take(1, START + 0.25) == 0.25
    assert bucket.take(1, START + 0.5) is None


def test_bucket_does_not_save_up_more_than_its_burst():
    bucket = TokenBucket(Rate(10.0, 2.0), START)
    assert [bucket.take(1, START + 3_600) is None for _ in range(3)] == [True, True, False]


def test_bucket_measures_an_amount_over_its_burst_against_a_full_one():
    bucket = TokenBucket(Rate(10.0, 5.0), START)
    assert bucket.take(1_000, START) is None
    assert bucket.take(1_000, START) == 0.5
    assert bucket.take(1_000, START + 0.5) is None


def test_bucket_is_not_emptied_by_what_it_refuses():
    bucket = TokenBucket(Rate(1.0, 2.0), START)
    bucket.take(1, START)
    assert bucket.take(2, START) == 1.0
    assert bucket.take(1, START) is None


def test_bucket_that_others_drain_owes_what_was_not_there():
    bucket = TokenBucket(Rate(1.0, 2.0), START)
    bucket.drain(5, START)
    assert bucket.take(1, START) == 4.0
    assert bucket.is_empty(START + 3.9)
    assert not bucket.is_empty(START + 4)


@pytest.mark.parametrize(("rate", "burst", "wait"), [(1.0, 2.0, 11.0), (1.0, 50.0, 51.0)])
def test_bucket_owes_no_more_than_ten_seconds_or_its_burst(rate, burst, wait):
    bucket = TokenBucket(Rate(rate, burst), START)
    bucket.drain(1e9, START)
    assert bucket.take(1, START) == wait


def test_bucket_without_a_rate_says_an_hour():
    bucket = TokenBucket(Rate(0.0, 1.0), START)
    bucket.take(1, START)
    assert bucket.take(1, START) == 3_600.0


def test_bucket_gains_nothing_when_the_clock_goes_back():
    bucket = TokenBucket(Rate(1.0, 1.0), START)
    bucket.take(1, START)
    assert bucket.take(1, START - 50) == 1.0


@given(
    rate=st.floats(0.1, 1_000),
    burst=st.floats(1, 1_000),
    steps=st.lists(st.tuples(st.floats(0, 10), st.floats(0.001, 50)), max_size=60),
)
def test_bucket_never_gives_more_than_its_burst_and_what_it_gained(rate, burst, steps):
    bucket, now, taken = TokenBucket(Rate(rate, burst), START), START, 0.0
    for wait, amount in steps:
        now += wait
        retry_after = bucket.take(amount, now)
        if retry_after is None:
            taken += min(amount, burst)
        else:
            assert 0 < retry_after <= burst / rate + 1e-6
        assert taken <= burst + (now - START) * rate + 1e-6


def test_throttle_without_limits_never_refuses():
    throttle = Throttle(Rates())
    for _ in range(10_000):
        assert throttle.message(1e9, START) is None
        assert throttle.publish(START) is None
        assert throttle.failure(START) is None


def test_throttle_names_the_setting_that_was_exceeded():
    one = Rate(1.0, 1.0)
    throttle = Throttle(Rates(messages=one, publishes=one, failures=one))
    assert (throttle.message(9, START), throttle.publish(START), throttle.failure(START)) == (
        None,
        None,
        None,
    )
    assert throttle.message(9, START) == LimitExceeded("CONNECTION_MESSAGES", 1.0)
    assert throttle.publish(START) == LimitExceeded("CONNECTION_PUBLISHES", 1.0)
    assert throttle.failure(START) == LimitExceeded("CONNECTION_FAILURES", 1.0)


def test_throttle_counts_bytes():
    throttle = Throttle(Rates(bytes=Rate(100.0, 1_000.0)))
    assert throttle.message(900, START) is None
    assert throttle.message(150, START) == LimitExceeded("CONNECTION_BYTES", 0.5)
    assert throttle.message(100, START) is None


# -- the conversation ------------------------------------------------------------------------------


def limited(**rates) -> ConversationHarness:
    return ConversationHarness(max_in_flight=1_000, rates=Rates(**rates)).open()


def refusal(limit: str, retry_after: float, request: str, **fields) -> Send:
    return Send(
        m.Error(
            request=request,
            code=ErrorCode.RATE_LIMITED,
            reason=f"too fast: {limit}",
            retry_after=retry_after,
            **fields,
        )
    )


def ends_4429(limit: str, retry_after: float) -> list[Effect]:
    reason = f"too fast: {limit}"
    return [
        Send(
            m.Closing(
                code=CloseCode.RATE_LIMITED, reason=reason, reconnect=True, retry_after=retry_after
            )
        ),
        Close(CloseCode.RATE_LIMITED, reason, True),
    ]


ONE = Rate(0.5, 1.0)


def test_message_over_the_limit_is_answered_with_its_request_id_and_channel():
    harness = limited(messages=ONE)
    harness.say(m.Ping())
    assert harness.say(m.Subscribe(id="a", channel="rooms/1")) == [
        refusal("CONNECTION_MESSAGES", 2.0, "subscribe", id="a", channel="rooms/1")
    ]
    assert harness.say(m.Ping(id=7)) == [refusal("CONNECTION_MESSAGES", 2.0, "ping", id=7)]
    assert harness.conversation.over == LimitExceeded("CONNECTION_MESSAGES", 2.0)


def test_request_that_was_refused_may_come_again_with_the_same_id():
    harness = limited(messages=ONE)
    harness.say(m.Ping())
    harness.say(m.Subscribe(id=1, channel="a"))
    harness.now += 2.0
    assert harness.say(m.Subscribe(id=1, channel="a")) == [Run(1, m.Subscribe(id=1, channel="a"))]


def test_publish_over_its_limit_is_refused_and_other_requests_are_not():
    harness = limited(publishes=ONE)
    publish = m.Publish(channel="a", payload=1)
    assert harness.say(publish) == [Run(1, publish)]
    assert harness.say(publish) == [refusal("CONNECTION_PUBLISHES", 2.0, "publish", channel="a")]
    assert harness.say(m.Ping()) == [Send(m.PongReply())]


def test_bytes_of_a_batch_are_shared_among_its_messages():
    harness = limited(bytes=Rate(100.0, 1_000.0))
    assert harness.say(m.Ping(), m.Ping(), m.Ping(), size=1_500) == [
        Send(m.PongReply()),
        Send(m.PongReply()),
        refusal("CONNECTION_BYTES", 5.0, "ping"),
    ]


def test_message_of_a_user_or_address_over_its_limit_is_refused():
    over = LimitExceeded("USER_MESSAGES", 3.0)
    assert limited().say(m.Call(id=1, channel="a", method="x"), over=over) == [
        refusal("USER_MESSAGES", 3.0, "call", id=1, channel="a")
    ]


def test_malformed_message_over_the_limit_is_refused_as_what_it_seems_to_be():
    malformed = m.Malformed(
        code=ErrorCode.BAD_PAYLOAD, reason="odd", about="publish", id=4, channel="a"
    )
    assert limited().say(malformed, over=LimitExceeded("CONNECTION_MESSAGES", 1.0)) == [
        refusal("CONNECTION_MESSAGES", 1.0, "publish", id=4, channel="a")
    ]


def test_pong_over_the_limit_is_not_answered_and_is_life_all_the_same():
    harness = limited(messages=ONE)
    harness.conversation.heartbeat.enabled = True
    harness.say(m.Ping())
    harness.now += 24.9
    harness.say(m.Ping(), m.Pong())
    assert harness.conversation.heartbeat.deadline == harness.now + 25.0


def test_client_that_goes_on_too_fast_is_closed_with_4429():
    harness = limited(messages=Rate(1.0, 1.0), patience=3.0)
    harness.say(m.Ping())
    for _ in range(3):
        assert harness.say(m.Ping()) == [refusal("CONNECTION_MESSAGES", 1.0, "ping")]
    assert harness.say(m.Ping()) == ends_4429("CONNECTION_MESSAGES", 1.0)
    assert harness.conversation.phase is Phase.CLOSED


def test_nothing_of_a_batch_is_judged_after_the_message_that_ends_it():
    harness = limited(messages=Rate(1.0, 1.0), patience=1.0)
    *_, closing, close = harness.say(*[m.Ping() for _ in range(50)])
    assert [closing, close] == ends_4429("CONNECTION_MESSAGES", 1.0)


def test_patience_comes_back_in_ten_seconds():
    harness = limited(messages=Rate(0.001, 1.0), patience=2.0)
    harness.say(m.Ping())
    for _ in range(20):
        harness.now += 5.0
        (answer,) = harness.say(m.Ping())
        assert isinstance(answer, Send)


def test_pongs_that_are_too_many_end_the_connection_too():
    harness = limited(messages=Rate(1.0, 1.0), patience=2.0)
    assert harness.say(*[m.Pong() for _ in range(10)]) == ends_4429("CONNECTION_MESSAGES", 1.0)


def test_client_whose_requests_fail_too_often_is_closed_with_4429():
    harness = limited(failures=Rate(0.5, 2.0))
    error = m.Error(request="subscribe", code=ErrorCode.FORBIDDEN, reason="no")
    for ticket in (1, 2):
        harness.say(m.Subscribe(channel="a"))
        assert harness.conversation.complete(ticket, error, harness.now) == [Send(error)]
    harness.say(m.Subscribe(channel="a"))
    assert harness.conversation.complete(3, error, harness.now) == [
        Send(error),
        *ends_4429("CONNECTION_FAILURES", 2.0),
    ]
    assert harness.conversation.over == LimitExceeded("CONNECTION_FAILURES", 2.0)


@pytest.mark.parametrize("code", [ErrorCode.BAD_MESSAGE, ErrorCode.BAD_PAYLOAD])
def test_malformed_messages_count_as_failures(code):
    harness = limited(failures=Rate(1.0, 1.0))
    malformed = m.Malformed(code=code, reason="odd")
    harness.say(malformed)
    assert harness.say(malformed)[1:] == ends_4429("CONNECTION_FAILURES", 1.0)


def test_failures_are_forgiven_with_time():
    harness = limited(failures=Rate(1.0, 1.0))
    malformed = m.Malformed(code=ErrorCode.BAD_PAYLOAD, reason="odd")
    for _ in range(100):
        assert len(harness.say(malformed)) == 1
        harness.now += 1.0
