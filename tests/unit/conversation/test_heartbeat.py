"""The heartbeat's clock, hours of it."""

from __future__ import annotations

import pytest

from channels_realtime.conversation.heartbeat import Beat, Heartbeat

START = 1_000.0


def make_heartbeat(**options) -> Heartbeat:
    heartbeat = Heartbeat(25.0, 10.0, now=START, **options)
    heartbeat.enabled = True
    return heartbeat


def test_heartbeat_has_no_deadline_while_it_is_disabled():
    heartbeat = Heartbeat(25.0, 10.0, now=START)
    assert heartbeat.deadline is None
    assert heartbeat.tick(START + 1e6) is Beat.NOTHING


def test_heartbeat_pings_after_an_interval_of_silence():
    heartbeat = make_heartbeat()
    assert heartbeat.deadline == START + 25
    assert heartbeat.tick(START + 24.7) is Beat.NOTHING
    assert heartbeat.tick(START + 25) is Beat.PING
    assert heartbeat.deadline == START + 35


def test_heartbeat_pings_a_hundredth_of_the_interval_early_at_a_tick_that_comes_then():
    assert make_heartbeat().tick(START + 24.74) is Beat.NOTHING
    assert make_heartbeat().tick(START + 24.76) is Beat.PING


def test_heartbeat_is_never_early_to_find_a_client_dead():
    heartbeat = make_heartbeat()
    heartbeat.tick(START + 24.76)
    assert heartbeat.tick(START + 34.75) is Beat.NOTHING
    assert heartbeat.tick(START + 34.76) is Beat.DEAD


def test_heartbeat_is_dead_when_no_word_follows_a_ping():
    heartbeat = make_heartbeat()
    heartbeat.tick(START + 25)
    assert heartbeat.tick(START + 34.999) is Beat.NOTHING
    assert heartbeat.tick(START + 35) is Beat.DEAD


def test_heartbeat_lives_when_any_message_follows_a_ping():
    heartbeat = make_heartbeat()
    heartbeat.tick(START + 25)
    heartbeat.seen(START + 34.9)
    assert heartbeat.tick(START + 35) is Beat.NOTHING
    assert heartbeat.deadline == START + 34.9 + 25


def test_heartbeat_pings_late_but_does_not_kill_when_its_tick_was_late():
    heartbeat = make_heartbeat()
    assert heartbeat.tick(START + 3_600) is Beat.PING
    assert heartbeat.deadline == START + 3_610


def test_heartbeat_measures_the_round_trip_of_a_ping():
    heartbeat = make_heartbeat()
    assert heartbeat.round_trip is None
    heartbeat.tick(START + 25)
    heartbeat.answered(START + 25.25)
    assert heartbeat.round_trip == 0.25


def test_heartbeat_measures_nothing_when_the_pong_answers_no_ping():
    heartbeat = make_heartbeat()
    heartbeat.answered(START + 1)
    assert heartbeat.round_trip is None


def test_heartbeat_never_measures_less_than_nothing():
    heartbeat = make_heartbeat()
    heartbeat.tick(START + 25)
    heartbeat.answered(START + 24)
    assert heartbeat.round_trip == 0.0


@pytest.mark.parametrize(("jitter", "first"), [(0.0, 25.0), (0.5, 18.75), (1.0, 12.5)])
def test_heartbeat_brings_the_first_ping_forward_by_the_jitter(jitter, first):
    assert make_heartbeat(jitter=jitter).deadline == START + first


def test_heartbeat_pauses_before_a_ping():
    heartbeat = make_heartbeat()
    heartbeat.pause(100.0)
    assert heartbeat.tick(START + 124) is Beat.NOTHING
    assert heartbeat.tick(START + 125) is Beat.PING


def test_heartbeat_pauses_after_a_ping():
    heartbeat = make_heartbeat()
    heartbeat.tick(START + 25)
    heartbeat.pause(100.0)
    assert heartbeat.tick(START + 134) is Beat.NOTHING
    assert heartbeat.tick(START + 135) is Beat.DEAD


def test_heartbeat_beats_for_a_day_when_every_ping_is_answered():
    heartbeat = make_heartbeat(jitter=0.3)
    pings, now = 0, START
    while now < START + 86_400:
        now = heartbeat.deadline
        assert heartbeat.tick(now) is Beat.PING
        pings += 1
        now += 0.1
        heartbeat.answered(now)
    assert pings == pytest.approx(86_400 / 25.1, abs=2)
