"""Compares what subscribers saw with the streams; no I/O.

The rule: from where it began, a subscriber has every publication once and in order, until it is told
``recovered: false``. It may only be told so where the history had moved on: another epoch, a cursor
above the newest publication, or the next publication was not kept any more.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.checker.record import Cursor, Event, Kept, Received, Record, Started, Truth


@dataclass(frozen=True, slots=True)
class Fault:
    """A promise that was broken."""

    kind: str
    subscriber: str
    channel: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.subscriber} on {self.channel}: {self.what}"


@dataclass(slots=True)
class Verdict:
    """What the comparison found."""

    faults: list[Fault] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def count(self, kind: str) -> int:
        """How many faults of a kind there are."""
        return sum(fault.kind == kind for fault in self.faults)


def judge(truth: Truth, records: Iterable[Record], *, lost_at: float | None = None) -> Verdict:
    """Compare all records with the streams.

    Args:
        truth: the streams.
        records: what the subscribers saw, to the end of the streams.
        lost_at: when a store without the newest publications took over: numbers may be told twice,
            before and after. None where that did not happen, and a number that was told twice is a fault.
    """
    verdict = Verdict()
    for record in records:
        _Judge(truth, record, verdict, lost_at).run()
    if lost_at is None:
        for hole in truth.holes():
            verdict.faults.append(Fault("store", "", "", hole))
    return verdict


def _is_start(event: Event) -> bool:
    return isinstance(event, Started)


class _Judge:
    """The comparison of one record."""

    def __init__(
        self, truth: Truth, record: Record, verdict: Verdict, lost_at: float | None
    ) -> None:
        self._truth = truth
        self._record = record
        self._verdict = verdict
        self._lost_at = lost_at
        self._at: Cursor | None = None
        self._seen: set[Cursor] = set()
        self._branch: str | None = None  # of a fork: which of the two streams it is on

    def run(self) -> None:
        events = self._record.events
        for index, event in enumerate(events):
            if isinstance(event, Started):
                following = itertools.takewhile(_is_start, events[index + 1 :])
                self._started(event, following)
            else:
                self._received(event)
        end = self._truth.end(self._record.channel)
        if end is not None and self._at != end:
            self._fault("tail", f"ended at {self._at}, the stream at {end}")

    def _started(self, event: Started, following: Iterable[Event]) -> None:
        counts = self._verdict.counts
        if event.since is not None and event.since != self._at:
            self._fault("cursor", f"sent {event.since}, was at {self._at}")
        if event.recovered:
            counts["recovered"] += 1
            if event.since is None:
                self._fault("unasked", "recovered, although no position was sent")
            elif event.position.epoch != event.since.epoch:
                self._fault("epoch", f"recovered from {event.since} to {event.position}")
            return  # it goes on where it was
        if event.since is None and not event.pushed:
            counts["subscribed"] += 1
            if self._at is not None:
                self._fault("unasked", f"began anew at {event.position}, was at {self._at}")
        else:
            counts["pushed anew" if event.pushed else "not recovered"] += 1
            if event.recovered is None:
                self._fault("unasked", "the answer does not say whether it recovered")
            known = event.since or self._at
            reason = None if known is None else self._moved_on(known, event, following)
            if reason is None:
                self._fault("unproven", f"not recovered from {known} to {event.position}")
            else:
                counts[reason] += 1
        self._at = event.position
        self._branch = None

    def _moved_on(self, known: Cursor, event: Started, following: Iterable[Event]) -> str | None:
        """Why the history could not give what followed a cursor."""
        if known.epoch != event.position.epoch:
            return "because of a new epoch"
        if known.offset > event.position.offset:
            return "because the store lost it"
        next_one = Cursor(known.epoch, known.offset + 1)
        if self._truth.is_gone(self._record.channel, next_one, event.at):
            return "because it was kept no longer"
        if self._lost_at is not None and any(
            later.position.epoch != known.epoch for later in following
        ):
            # The store was found to be empty, and the node said so before it knew the new epoch.
            return "because of an epoch that began next"
        return None

    def _received(self, event: Received) -> None:
        counts, position, at = self._verdict.counts, event.position, self._at
        counts["received"] += 1
        if event.recovered:
            counts["received later"] += 1
        if at is None:
            self._fault("order", f"{position} before it had subscribed")
        elif position.epoch != at.epoch:
            self._fault("epoch", f"{position} after {at}, without a word")
        elif position.offset <= at.offset:
            kind = "duplicate" if position in self._seen else "order"
            self._fault(kind, f"{position} after {at}")
            return
        elif position.offset > at.offset + 1:
            self._fault("loss", f"{position} after {at}")
        self._seen.add(position)
        self._at = position
        self._compare(event)

    def _compare(self, event: Received) -> None:
        channel, position = self._record.channel, event.position
        kept = self._truth.at(channel, position)
        if self._lost_at is not None:
            kept = kept + self._truth.carried(channel, position)
        match = next((one for one in kept if one.payload == event.payload), None)
        if match is None:
            was = [one.payload for one in kept]
            self._fault("payload", f"{event.payload!r} at {position}, published was {was}")
            return
        if self._lost_at is not None:
            self._follow(position, match)

    def _follow(self, position: Cursor, kept: Kept) -> None:
        """Of two streams that have the same numbers, a subscriber must not change from one to the other."""
        assert self._lost_at is not None
        fork = self._truth.fork(self._record.channel, position.epoch)
        if fork is None or position.offset < fork:
            return
        if kept.begun < self._lost_at <= kept.ended:
            return  # it may be of either
        branch = "before" if kept.ended < self._lost_at else "after"
        if self._branch is not None and self._branch != branch:
            self._fault("fork", f"{position} is of the stream {branch} the loss, the last was not")
        self._branch = branch

    def _fault(self, kind: str, what: str) -> None:
        fault = Fault(kind, self._record.subscriber, self._record.channel, what)
        self._verdict.faults.append(fault)
