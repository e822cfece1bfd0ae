"""What a node knows of a channel's members, whatever becomes of the changes on their way."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_realtime.protocol.messages import Member
from channels_realtime.stores.presence.base import Change, Roll
from channels_realtime.stores.presence.roster import AHEAD, Roster


def roll(sequence, *ids, count=None):
    return Roll(len(ids) if count is None else count, sequence, tuple(Member(i, None) for i in ids))


def change(kind, member, sequence, count):
    return Change("room/1", kind, Member(member, None), sequence, count)


def ids(roster):
    return [member.id for member in roster.members.members]


class TestOfAll:
    def test_a_join_and_a_leave_are_news_once(self):
        roster = Roster("room/1", 10, roll(5, "a"))
        joined, left = change("join", "b", 6, 2), change("leave", "a", 7, 1)
        assert roster.take(joined)
        assert not roster.take(joined)
        assert roster.take(left)
        assert not roster.take(left)
        assert (ids(roster), roster.count, roster.sequence) == (["b"], 1, 7)

    def test_what_was_in_the_snapshot_is_no_news(self):
        roster = Roster("room/1", 10, roll(5, "a"))
        assert not roster.take(change("join", "a", 5, 1))
        assert ids(roster) == ["a"]

    def test_changes_of_two_members_need_no_order(self):
        roster = Roster("room/1", 10, roll(5, "a"))
        assert roster.take(change("join", "c", 7, 3))
        assert roster.incomplete
        assert roster.take(change("join", "b", 6, 2))
        assert not roster.incomplete
        assert (sorted(ids(roster)), roster.count, roster.sequence) == (["a", "b", "c"], 3, 7)

    def test_the_newer_change_of_a_member_wins(self):
        roster = Roster("room/1", 10, roll(5, "a"))
        assert not roster.take(change("leave", "b", 7, 1))
        assert not roster.take(change("join", "b", 6, 2))
        assert (ids(roster), roster.count, roster.incomplete) == (["a"], 1, False)

    def test_a_missed_change_is_told_after_reading_again(self):
        roster = Roster("room/1", 10, roll(5, "a", "b"))
        assert roster.take(change("join", "d", 8, 3))
        roster.begin_read()
        repair = roster.end_read(roll(8, "b", "c", "d"))
        assert not repair.whole
        assert [(c.kind, c.member.id, c.count) for c in repair.changes] == [
            ("leave", "a", 2),
            ("join", "c", 3),
        ]
        assert not roster.incomplete

    def test_what_comes_while_it_is_read_is_kept(self):
        roster = Roster("room/1", 10, roll(5, "a"))
        roster.take(change("join", "c", 7, 3))
        roster.begin_read()
        assert roster.take(change("join", "d", 8, 4))
        repair = roster.end_read(roll(7, "a", "b", "c"))
        assert [(c.kind, c.member.id) for c in repair.changes] == [("join", "b")]
        assert sorted(ids(roster)) == ["a", "b", "c", "d"]
        assert (roster.count, roster.sequence) == (4, 8)

    def test_a_store_that_forgot_is_followed(self):
        roster = Roster("room/1", 10, roll(9, "a", "b"))
        roster.begin_read()
        repair = roster.end_read(roll(7, "a"))
        assert [(c.kind, c.member.id) for c in repair.changes] == [("leave", "b")]
        assert roster.take(change("join", "c", 8, 2))

    def test_a_read_that_failed_changes_nothing(self):
        roster = Roster("room/1", 10, roll(5, "a"))
        roster.begin_read()
        assert roster.end_read(None).changes == []
        assert ids(roster) == ["a"]

    def test_it_gives_up_waiting_for_a_missing_change(self):
        roster = Roster("room/1", AHEAD * 2, roll(5))
        for number in range(AHEAD + 1):
            roster.take(change("join", f"m{number}", 7 + number, 2 + number))
        assert roster.overrun


class TestOfSome:
    def test_members_beyond_the_limit_are_told_and_not_kept(self):
        roster = Roster("room/1", 2, roll(5, "a", "b"))
        assert roster.take(change("join", "c", 6, 3))
        assert (ids(roster), roster.count) == (["a", "b"], 3)
        assert roster.take(change("leave", "c", 7, 2))
        assert (ids(roster), roster.count) == (["a", "b"], 2)

    def test_few_that_are_left_are_to_be_read_again_without_news(self):
        roster = Roster("room/1", 4, roll(5, "a", "b", "c", "d", count=9))
        for number, member in enumerate("abc"):
            assert roster.take(change("leave", member, 6 + number, 8 - number))
        assert roster.thin
        roster.begin_read()
        repair = roster.end_read(roll(8, "d", "e", "f", "g", count=6))
        assert (repair.changes, repair.whole) == ([], False)
        assert ids(roster) == ["d", "e", "f", "g"]

    def test_a_missed_change_replaces_the_whole(self):
        roster = Roster("room/1", 2, roll(5, "a", "b", count=9))
        roster.take(change("join", "x", 7, 9))
        roster.begin_read()
        assert roster.end_read(roll(7, "b", "c", count=9)).whole

    def test_a_limit_of_nobody_counts(self):
        roster = Roster("room/1", 0, roll(5, count=7))
        assert roster.take(change("join", "x", 6, 8))
        assert (ids(roster), roster.count) == ([], 8)


@pytest.mark.parametrize("limit", [0, 2, 100])
@given(seed=st.integers(0, 2**32))
def test_any_order_and_repetition_ends_with_what_the_store_has(limit, seed):
    chance = random.Random(seed)
    present, numbered, sequence = ["a"], [], 10
    for _ in range(chance.randrange(1, 30)):
        sequence += 1
        member = chance.choice("abcdefg")
        if member in present:
            present.remove(member)
            numbered.append(change("leave", member, sequence, len(present)))
        else:
            present.append(member)
            numbered.append(change("join", member, sequence, len(present)))
    roster = Roster("room/1", limit, Roll(1, 10, tuple([Member("a", None)][:limit])))
    told = {"a"}
    arriving = numbered + chance.choices(numbered, k=5)
    chance.shuffle(arriving)
    for one in arriving:
        if roster.take(one):
            (told.add if one.kind == "join" else told.discard)(one.member.id)
    assert (roster.count, roster.sequence) == (len(present), sequence)
    assert not roster.incomplete
    if limit == 100:
        assert told == set(present) == set(ids(roster))
    assert set(ids(roster)) <= set(present)
