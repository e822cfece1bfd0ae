"""The checker must be able to fail: each kind of fault, planted in a good record, is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.checker.record import Cursor, Event, Kept, Received, Record, Started, Truth
from tests.checker.verdict import Verdict, judge

SIZE = 10


def truth_of(count: int, *, epoch: str = "e", channel: str = "c") -> Truth:
    """A stream of ``count`` publications; number n was published at the time n."""
    truth = Truth(size=SIZE, ttl=1_000.0)
    for offset in range(1, count + 1):
        kept = Kept(f"p{offset}", begun=float(offset), ended=offset + 0.5)
        truth.add(channel, Cursor(epoch, offset), kept)
    return truth


def got(offset: int, *, epoch: str = "e", payload: str | None = None) -> Received:
    return Received(float(offset) + 1, Cursor(epoch, offset), payload or f"p{offset}")


def good() -> list[Event]:
    """Live up to 4, away, then 5 and 6 recovered and 7 to 9 live."""
    return [
        Started(0.0, Cursor("e", 0)),
        *map(got, range(1, 5)),
        Started(6.0, Cursor("e", 6), since=Cursor("e", 4), recovered=True),
        *(replace(got(offset), recovered=True) for offset in (5, 6)),
        *map(got, range(7, 10)),
    ]


def judged(events: list[Event], truth: Truth | None = None, **options: float) -> Verdict:
    return judge(truth or truth_of(9), [Record("s", "c", events)], **options)


def kinds(verdict: Verdict) -> list[str]:
    return [fault.kind for fault in verdict.faults]


def test_good_record_has_no_fault() -> None:
    verdict = judged(good())
    assert verdict.faults == []
    assert verdict.counts == {
        "subscribed": 1,
        "recovered": 1,
        "received": 9,
        "received later": 2,
    }


@pytest.mark.parametrize("offset", range(1, 9))
def test_loss_is_found_wherever_it_is(offset: int) -> None:
    events = [event for event in good() if event.position != Cursor("e", offset)]
    found = kinds(judged(events))
    # The cursor that was sent was that of the one that is left out.
    assert found == (["cursor", "loss"] if offset == 4 else ["loss"])


def test_loss_at_the_end_is_found() -> None:
    assert kinds(judged(good()[:-1])) == ["tail"]


def test_subscriber_that_got_nothing_is_found() -> None:
    assert kinds(judged([])) == ["tail"]


@pytest.mark.parametrize("at", [1, 4, 6, 7, 10])
def test_duplicate_is_found_wherever_it_is(at: int) -> None:
    events = good()
    assert kinds(judged([*events[: at + 1], events[at], *events[at + 1 :]])) == ["duplicate"]


@pytest.mark.parametrize("at", [1, 2, 6, 8, 9])
def test_reordering_is_found_wherever_it_is(at: int) -> None:
    events = good()
    events[at], events[at + 1] = events[at + 1], events[at]
    found = kinds(judged(events))
    assert {"loss", "order"} <= set(found)


def test_another_publication_at_a_number_is_found() -> None:
    events = [
        replace(event, payload="p1")
        if isinstance(event, Received) and event.payload == "p3"
        else event
        for event in good()
    ]
    assert kinds(judged(events)) == ["payload"]


def test_publication_that_was_never_published_is_found() -> None:
    assert kinds(judged([*good(), got(10)])) == ["payload", "tail"]


def test_epoch_that_changes_without_a_word_is_found() -> None:
    truth = truth_of(9)
    truth.add("c", Cursor("f", 1), Kept("q1", 100.0, 101.0))
    assert kinds(judged([*good(), got(1, epoch="f", payload="q1")], truth)) == ["epoch"]


def test_recovery_over_epochs_is_found() -> None:
    truth = truth_of(9)
    truth.add("c", Cursor("f", 1), Kept("q1", 100.0, 101.0))
    anew = Started(102.0, Cursor("f", 1), since=Cursor("e", 9), recovered=True)
    found = kinds(judged([*good(), anew, got(1, epoch="f", payload="q1")], truth))
    assert found == ["epoch", "epoch"]


def unrecovered(since: int, at: float, position: Cursor) -> list[Event]:
    cursor = Cursor("e", since)
    return [
        Started(0.0, Cursor("e", 0)),
        *map(got, range(1, since + 1)),
        Started(at, position, since=cursor, recovered=False),
    ]


def test_not_recovered_is_proven_by_a_publication_that_pushed_the_next_one_out() -> None:
    events = unrecovered(4, 16.0, Cursor("e", 15))  # 15 pushes 5 out
    verdict = judged([*events, *map(got, range(16, 21))], truth_of(20))
    assert verdict.faults == []
    assert verdict.counts["because it was kept no longer"] == 1


def test_not_recovered_although_the_next_one_was_kept_is_found() -> None:
    events = unrecovered(4, 14.5, Cursor("e", 14))  # 5 to 14 are kept
    verdict = judged([*events, *map(got, range(15, 21))], truth_of(20))
    assert kinds(verdict) == ["unproven"]


def test_pushed_start_without_a_reason_is_found() -> None:
    pushed = Started(9.0, Cursor("e", 8), recovered=False, pushed=True)
    events = [*good()[:9], pushed, got(9)]
    assert kinds(judged(events)) == ["unproven"]


def test_new_epoch_proves_that_the_history_moved_on() -> None:
    truth = truth_of(9)
    truth.add("c", Cursor("f", 1), Kept("q1", 100.0, 101.0))
    pushed = Started(102.0, Cursor("f", 0), recovered=False, pushed=True)
    verdict = judged([*good(), pushed, got(1, epoch="f", payload="q1")], truth)
    assert verdict.faults == []
    assert verdict.counts["because of a new epoch"] == 1


def test_cursor_that_is_not_what_came_last_is_found() -> None:
    events = [
        replace(event, since=Cursor("e", 3))
        if isinstance(event, Started) and event.since is not None
        else event
        for event in good()
    ]
    assert kinds(judged(events)) == ["cursor"]


def test_second_start_without_a_position_is_found() -> None:
    events = [*good()[:5], Started(6.0, Cursor("e", 6)), *map(got, range(7, 10))]
    assert kinds(judged(events)) == ["unasked"]


def test_number_that_no_publisher_was_told_is_found() -> None:
    truth = truth_of(3)
    truth.add("c", Cursor("e", 5), Kept("p5", 5.0, 5.5))
    events = [Started(0.0, Cursor("e", 0)), *map(got, [1, 2, 3])]
    assert kinds(judged(events, truth)) == ["tail", "store"]


def test_number_that_was_told_twice_is_found() -> None:
    truth = truth_of(9)
    truth.add("c", Cursor("e", 9), Kept("other", 9.0, 9.5))
    assert kinds(judged(good(), truth)) == ["store"]


# -- a store that lost its newest publications -----------------------------------------------------

LOST_AT = 50.0


def forked() -> Truth:
    """1 to 9, of which the store lost 6 to 9; then 6 to 8 again, and a new epoch."""
    truth = truth_of(9)
    for offset in (6, 7, 8):
        kept = Kept(f"q{offset}", begun=60.0 + offset, ended=60.5 + offset)
        truth.add("c", Cursor("e", offset), kept)
    truth.add("c", Cursor("f", 1), Kept("r1", 100.0, 101.0))
    return truth


def anew(since: int | None = None) -> list[Event]:
    cursor = None if since is None else Cursor("e", since)
    started = Started(99.0, Cursor("f", 0), since=cursor, recovered=False, pushed=cursor is None)
    return [started, got(1, epoch="f", payload="r1")]


def test_subscriber_of_the_stream_before_the_loss_that_is_told_has_no_fault() -> None:
    verdict = judged([*good(), *anew()], forked(), lost_at=LOST_AT)
    assert verdict.faults == []


def test_subscriber_of_the_stream_after_the_loss_that_is_told_has_no_fault() -> None:
    events = [Started(0.0, Cursor("e", 4)), got(5), *(got(n, payload=f"q{n}") for n in (6, 7, 8))]
    assert judged([*events, *anew(8)], forked(), lost_at=LOST_AT).faults == []


@pytest.mark.parametrize(("before", "after"), [(("p6",), ("q7", "q8")), (("q6", "q7"), ("p8",))])
def test_silent_change_from_one_stream_to_the_other_is_found(
    before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    events: list[Event] = [Started(0.0, Cursor("e", 5))]
    events += [got(int(payload[1:]), payload=payload) for payload in (*before, *after)]
    verdict = judged([*events, *anew()], forked(), lost_at=LOST_AT)
    assert kinds(verdict) == ["fork"]


def test_old_cursor_that_is_accepted_after_the_loss_is_found() -> None:
    events: list[Event] = [
        Started(0.0, Cursor("e", 5)),
        got(6, payload="p6"),
        Started(70.0, Cursor("e", 8), since=Cursor("e", 6), recovered=True),
        got(7, payload="q7"),
        got(8, payload="q8"),
    ]
    assert kinds(judged([*events, *anew()], forked(), lost_at=LOST_AT)) == ["fork"]


@pytest.mark.parametrize(("lost_at", "found"), [(LOST_AT, []), (None, ["unproven"])])
def test_not_recovered_before_the_new_epoch_is_known_is_proven_by_a_loss_alone(
    lost_at: float | None, found: list[str]
) -> None:
    truth = truth_of(9)
    truth.add("c", Cursor("f", 1), Kept("r1", 100.0, 101.0))
    events = [*good()[:5], Started(55.0, Cursor("e", 9), since=Cursor("e", 4), recovered=False)]
    assert kinds(judge(truth, [Record("s", "c", [*events, *anew()])], lost_at=lost_at)) == found
