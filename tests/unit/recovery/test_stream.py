"""Whatever the layer and the store lose, a stream delivers once and in order, or says that it starts anew."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_realtime.protocol.messages import Position
from channels_realtime.recovery.stream import (
    MAX_HELD,
    MAX_HELD_BYTES,
    Finding,
    Stream,
    Verdict,
)


@dataclass(frozen=True)
class Kept:
    """One publication of the store."""

    offset: int
    uid: str


@dataclass
class Store:
    """The truth: what was appended, and how much of it is kept."""

    epoch: str = "e1"
    entries: list[Kept] = field(default_factory=list)
    first: int = 1
    uids: int = 0
    epochs: int = 1

    @property
    def position(self) -> Position:
        return Position(self.epoch, len(self.entries))

    @property
    def uid(self) -> str:
        return self.entries[-1].uid if self.entries else ""

    def append(self) -> tuple[Position, str, str]:
        """The position, the uid and the previous uid, as they are sent."""
        previous = self.uid
        self.uids += 1
        self.entries.append(Kept(len(self.entries) + 1, f"u{self.uids}"))
        return self.position, self.uid, previous

    def read(self, since: int, limit: int) -> list[Kept]:
        first = max(since + 1, self.first)
        return self.entries[first - 1 :][:limit]

    def lose(self, count: int) -> None:
        """A replica that was behind takes over."""
        del self.entries[len(self.entries) - count :]
        self.first = min(self.first, len(self.entries) + 1)

    def begin_epoch(self) -> Position:
        self.epochs += 1
        self.epoch, self.entries, self.first = f"e{self.epochs}", [], 1
        return self.position


class Node:
    """Does what the shell does with a stream's verdicts, without time."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.stream = Stream(store.epoch, store.position.offset, store.uid)
        self.delivered: list[tuple[str, int, str]] = []
        self.runs = [store.position]
        """Where it began, and where it began anew."""

    def deliver(self, uid: str) -> None:
        """One was counted as delivered; released ones are counted one by one."""
        self.delivered.append((self.stream.epoch, self.stream.offset, uid))

    def take(self, position: Position, uid: str, previous: str) -> None:
        verdict = self.stream.take(position, uid, previous)
        if verdict is Verdict.DELIVER:
            self.deliver(uid)
            self.release()
        elif verdict is Verdict.AHEAD:
            self.stream.hold(position.offset, uid, uid, 1)

    def release(self) -> None:
        for uid in self.stream.released():
            self.deliver(uid)

    def start_anew(self, position: Position) -> None:
        self.stream.start_anew(position)
        self.runs.append(position)
        self.release()

    def heal(self, limit: int = 3) -> None:
        """Read the store until nothing is missing."""
        for _round in range(1_000):
            if not self.stream.incomplete:
                return
            doubts = self.stream.doubts
            entries = self.store.read(max(0, self.stream.offset - 1), limit)
            finding = self.stream.fill(
                self.stream.top, self.store.position, entries, lambda one: self.deliver(one.uid)
            )
            if finding in (Finding.COMPLETE, Finding.MORE):
                self.stream.settle(doubts)
            self.release()
            if finding is Finding.GONE or finding is Finding.OTHER_EPOCH:
                self.start_anew(self.store.position)
            elif finding is Finding.FORKED:
                self.start_anew(self.store.begin_epoch())
        raise AssertionError("it reads for ever")

    def sync(self) -> None:
        self.stream.learn(self.store.position, self.store.uid)
        self.heal()


# -- one thing at a time ---------------------------------------------------------------------------


def make_stream(offset: int = 10, uid: str = "u10") -> Stream[str]:
    return Stream("e", offset, uid)


def at(offset: int, epoch: str = "e") -> Position:
    return Position(epoch, offset)


def test_stream_delivers_the_next_one():
    stream = make_stream()
    assert stream.take(at(11), "u11") is Verdict.DELIVER
    assert stream.position == at(11)
    assert not stream.incomplete


def test_stream_drops_what_comes_twice():
    stream = make_stream()
    stream.take(at(11), "u11")
    assert stream.take(at(11), "u11") is Verdict.REPEATED
    assert stream.take(at(10), "u10") is Verdict.REPEATED
    assert not stream.incomplete


def test_stream_holds_what_is_ahead_and_releases_it_in_order():
    stream = make_stream()
    for offset in (13, 12):
        assert stream.take(at(offset), f"u{offset}") is Verdict.AHEAD
        assert stream.hold(offset, f"u{offset}", f"p{offset}", 5)
    assert stream.take(at(13), "u13") is Verdict.REPEATED
    assert stream.incomplete
    assert stream.held == 2
    assert stream.take(at(11), "u11") is Verdict.DELIVER
    assert list(stream.released()) == ["p12", "p13"]
    assert stream.position == at(13)
    assert not stream.incomplete
    assert stream.held == 0


@pytest.mark.parametrize(
    ("offset", "uid", "epoch"),
    [(10, "other", "e"), (9, "u9", "e"), (1, "u1", "e"), (11, "u11", "other"), (1, "u1", "other")],
)
def test_stream_doubts_what_does_not_fit(offset, uid, epoch):
    stream = make_stream()
    assert stream.take(at(offset, epoch), uid) is Verdict.DOUBTFUL
    assert stream.incomplete
    assert stream.position == at(10)


def test_stream_doubts_another_publication_of_a_number_that_is_held():
    stream = make_stream()
    stream.take(at(12), "u12")
    stream.hold(12, "u12", "p12", 5)
    assert stream.take(at(12), "other") is Verdict.DOUBTFUL


def test_what_is_held_is_bounded_in_number_and_in_bytes():
    stream = make_stream(0, "")
    held = [stream.hold(offset, "u", "p", 1) for offset in range(2, MAX_HELD + 3)]
    assert held.count(True) == MAX_HELD
    assert held[-1] is False
    stream = make_stream(0, "")
    assert stream.hold(2, "u", "p", MAX_HELD_BYTES)
    assert not stream.hold(3, "u", "p", 1)
    stream.take(at(1), "u")
    assert list(stream.released()) == ["p"]
    assert stream.hold(4, "u", "p", MAX_HELD_BYTES)


def fill(stream: Stream[str], top: Position, *offsets: int) -> tuple[Finding, list[int]]:
    found: list[int] = []
    entries = [Kept(offset, f"u{offset}") for offset in offsets]
    return stream.fill(stream.top, top, entries, lambda one: found.append(one.offset)), found


def test_page_fills_a_gap_and_what_is_held_follows():
    stream = make_stream()
    stream.take(at(13), "u13")
    stream.hold(13, "u13", "p13", 1)
    assert fill(stream, at(13), 10, 11, 12) == (Finding.MORE, [11, 12])
    assert list(stream.released()) == ["p13"]
    assert not stream.incomplete


def test_page_that_ends_the_gap_is_complete():
    stream = make_stream()
    stream.learn(at(12))
    assert fill(stream, at(12), 10, 11, 12) == (Finding.COMPLETE, [11, 12])
    assert not stream.incomplete


def test_page_without_the_next_one_says_that_it_is_gone():
    stream = make_stream()
    stream.learn(at(20))
    assert fill(stream, at(20), 15, 16) == (Finding.GONE, [])
    assert fill(stream, at(20)) == (Finding.GONE, [])


def test_page_of_another_epoch_says_so():
    stream = make_stream()
    stream.take(at(1, "new"), "n1")
    assert fill(stream, at(1, "new"), 1) == (Finding.OTHER_EPOCH, [])


def test_store_below_what_was_seen_has_lost_something():
    stream = make_stream()
    stream.take(at(11), "u11")
    assert fill(stream, at(10), 10)[0] is Finding.FORKED
    stream = make_stream()
    stream.take(at(12), "u12")  # received, though not yet delivered
    assert fill(stream, at(11), 10, 11)[0] is Finding.FORKED


def test_other_uid_of_what_was_delivered_is_a_fork():
    stream = make_stream()
    stream.take(at(11), "another line's")
    assert fill(stream, at(12), 10, 11, 12) == (Finding.FORKED, [])


def test_publication_after_another_than_the_one_delivered_is_held_and_doubted():
    stream = make_stream()
    assert stream.take(at(11), "u11", "another line's") is Verdict.AHEAD
    stream.hold(11, "u11", "p11", 1)
    assert stream.doubts
    assert list(stream.released()) == []
    doubts = stream.doubts
    assert fill(stream, at(11), 10, 11) == (Finding.COMPLETE, [11])  # it was no fork
    stream.settle(doubts)
    assert not stream.incomplete
    assert stream.take(at(12), "u12", "u11") is Verdict.DELIVER


def test_doubt_that_comes_while_the_store_is_read_is_not_settled_by_it():
    stream = make_stream()
    stream.doubt()
    doubts = stream.doubts
    stream.take(at(3), "late")
    stream.settle(doubts)
    assert stream.incomplete


def test_newest_of_the_store_with_another_uid_is_doubted():
    stream = make_stream()
    assert not stream.learn(at(10), "u10")
    assert not stream.learn(at(10))
    assert stream.learn(at(10), "another line's")


def test_stream_that_gives_up_goes_on_with_what_is_held():
    stream = make_stream()
    for offset in (15, 16):
        stream.take(at(offset), f"u{offset}")
        stream.hold(offset, f"u{offset}", f"p{offset}", 1)
    position = stream.give_up()
    assert position == at(14)
    stream.start_anew(position)
    assert list(stream.released()) == ["p15", "p16"]
    assert not stream.incomplete
    stream.learn(at(20))
    assert stream.give_up() == at(20)


# -- anything at all -------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 8)),
        st.tuples(st.just("arrive"), st.integers(0, 40)),
        st.tuples(st.just("lose"), st.integers(0, 40)),
        st.tuples(st.just("heal"), st.integers(2, 5)),
        st.tuples(st.just("sync"), st.just(0)),
    ),
    max_size=60,
)
MISFORTUNES = st.lists(
    st.one_of(
        st.tuples(st.just("trim"), st.integers(1, 10)),
        st.tuples(st.just("replica"), st.integers(1, 8)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=3,
)


def play(steps, store: Store, nodes: list[Node]) -> None:
    """Publish; let the layer deliver any of what was published, in any order, any number of times."""
    under_way: list[list[tuple[Position, str, str]]] = [[] for _ in nodes]
    for step, number in steps:
        if step == "publish":
            for _ in range(number):
                published = store.append()
                for waiting in under_way:
                    waiting.append(published)
        elif step == "trim":
            store.first = min(store.first + number, len(store.entries) + 1)
        elif step == "replica":
            store.lose(min(number, len(store.entries)))
        elif step == "restart":
            store.begin_epoch()
        for node, waiting in zip(nodes, under_way, strict=True):
            if step == "arrive" and waiting:
                node.take(*waiting[number % len(waiting)])  # it may come again
            elif step == "lose" and waiting:
                waiting.pop(number % len(waiting))
            elif step == "heal":
                node.heal(number)
            elif step == "sync":
                node.sync()
    for node in nodes:
        node.sync()


def check(node: Node) -> None:
    """What was delivered is in order, once, and without a gap from where it last began."""
    store = node.store
    runs = list(node.runs)
    expected = runs.pop(0)
    for epoch, offset, _uid in node.delivered:
        while (epoch, offset) != (expected.epoch, expected.offset + 1):
            assert runs, f"{(epoch, offset)} follows {expected} and nothing was said"
            expected = runs.pop(0)
        expected = Position(epoch, offset)
    last = runs[-1] if runs else expected
    assert last == store.position
    begun = node.runs[-1]
    since = [one for one in node.delivered if one[0] == begun.epoch and one[1] > begun.offset]
    kept = {entry.offset: entry.uid for entry in store.entries}
    if not runs:  # nothing was said after the last delivery: it is what the store has
        tail = since[len(since) - (store.position.offset - begun.offset) :]
        assert tail == [
            (store.epoch, offset, kept[offset])
            for offset in range(begun.offset + 1, store.position.offset + 1)
        ]


@given(steps=STEPS, before=st.integers(0, 5))
def test_layer_that_loses_repeats_and_reorders_is_healed_without_a_word(steps, before):
    store = Store()
    for _ in range(before):
        store.append()
    node = Node(store)
    play(steps, store, [node])
    check(node)
    assert node.runs == [Position("e1", before)]  # it never began anew
    assert len(node.delivered) == len(store.entries) - before


@given(
    parts=st.lists(st.tuples(STEPS, MISFORTUNES), min_size=1, max_size=4), before=st.integers(0, 5)
)
def test_store_that_loses_forks_or_forgets_is_noticed_and_said(parts, before):
    store = Store()
    for _ in range(before):
        store.append()
    node = Node(store)
    for steps, misfortunes in parts:
        play([*steps, *misfortunes], store, [node])
        check(node)


@given(
    steps=STEPS,
    lost=st.integers(1, 8),
    after=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12),
)
def test_two_nodes_agree_after_a_replica_that_was_behind_took_over(steps, lost, after):
    store = Store()
    nodes = [Node(store), Node(store)]
    play(steps, store, nodes)
    seen = store.position
    lost = min(lost, seen.offset)
    store.lose(lost)
    for arrive in after:
        published = store.append()
        for node, got in zip(nodes, arrive, strict=True):
            if got:
                node.take(*published)
    for _round in range(2):  # the first to see it begins an epoch, which the other then sees
        for node in nodes:
            node.sync()
    if lost:
        assert store.epoch != seen.epoch
    for node in nodes:
        check(node)
        assert node.stream.position == store.position
