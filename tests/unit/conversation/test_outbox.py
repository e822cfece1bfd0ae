"""What waits for a client that does not read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from channels_realtime.conversation.outbox import Outbox
from channels_realtime.protocol.frames import Frame, Policy


def frame(size: int = 1, channel: str | None = None) -> Frame:
    return Frame({"type": "websocket.send", "text": "x" * size}, size, channel)


def drain(outbox: Outbox) -> list[Frame]:
    return list(iter(outbox.get, None))


def test_outbox_gives_frames_in_their_order():
    outbox = Outbox(10, 100)
    frames = [frame(n) for n in range(5)]
    assert all(outbox.put(each) for each in frames)
    assert len(outbox) == 5
    assert outbox.size == 10
    assert drain(outbox) == frames
    assert (len(outbox), outbox.size) == (0, 0)


def test_outbox_gives_nothing_when_it_is_empty():
    assert Outbox(1, 1).get() is None


def test_outbox_refuses_a_frame_when_too_many_wait():
    outbox = Outbox(2, 100)
    assert outbox.put(frame())
    assert outbox.put(frame())
    assert not outbox.put(frame())
    assert (len(outbox), outbox.size) == (2, 2)


def test_outbox_refuses_a_frame_when_too_many_bytes_wait():
    outbox = Outbox(10, 5)
    assert outbox.put(frame(3))
    assert not outbox.put(frame(3))
    assert outbox.put(frame(2))
    assert outbox.size == 5


def test_outbox_takes_a_frame_again_when_one_has_gone():
    outbox = Outbox(1, 5)
    outbox.put(frame(5))
    outbox.get()
    assert outbox.put(frame(5))


def test_outbox_takes_back_what_waits_of_a_channel_and_nothing_else():
    outbox = Outbox(10, 100)
    reply, a1, b, a2 = frame(1), frame(2, "a"), frame(3, "b"), frame(4, "a")
    for each in (reply, a1, b, a2):
        outbox.put(each)
    assert outbox.discard("a") == 2
    assert outbox.size == 4
    assert drain(outbox) == [reply, b]


def test_outbox_takes_back_nothing_when_nothing_waits_of_the_channel():
    outbox = Outbox(10, 100)
    outbox.put(frame(1, "b"))
    assert outbox.discard("a") == 0
    assert (len(outbox), outbox.size) == (1, 1)


def test_outbox_forgets_everything_when_it_is_cleared():
    outbox = Outbox(10, 100)
    outbox.put(frame(5))
    outbox.clear()
    assert (len(outbox), outbox.size, outbox.get()) == (0, 0, None)


@given(
    st.lists(
        st.tuples(st.just("put"), st.integers(0, 6), st.sampled_from(["a", "b", None]))
        | st.tuples(st.just("get"))
        | st.tuples(st.just("discard"), st.sampled_from(["a", "b"]))
    )
)
def test_outbox_keeps_its_bounds_and_its_count_whatever_happens(steps):
    outbox, model = Outbox(4, 12), []
    for step in steps:
        if step[0] == "put":
            each = frame(step[1], step[2])
            fits = len(model) < 4 and sum(f.size for f in model) + each.size <= 12
            assert outbox.put(each) is fits
            model += [each] if fits else []
        elif step[0] == "get":
            assert outbox.get() is (model.pop(0) if model else None)
        else:
            kept = [f for f in model if f.channel != step[1]]
            assert outbox.discard(step[1]) == len(model) - len(kept)
            model = kept
        assert (len(outbox), outbox.size) == (len(model), sum(f.size for f in model))


# -- policies --------------------------------------------------------------------------------------


def droppable(size: int = 1, channel: str = "d") -> Frame:
    return Frame({"text": "x" * size}, size, channel, Policy.DROP_OLDEST)


def latest(size: int = 1, channel: str = "l") -> Frame:
    return Frame({"text": "x" * size}, size, channel, Policy.LATEST)


def test_drop_oldest_makes_room_for_the_newest():
    outbox, frames = Outbox(3, 100), [droppable() for _ in range(6)]
    assert all(outbox.put(each) for each in frames)
    assert drain(outbox) == frames[3:]
    assert outbox.dropped == 3


def test_drop_oldest_makes_room_in_bytes_too():
    outbox, frames = Outbox(100, 10), [droppable(4) for _ in range(5)]
    assert all(outbox.put(each) for each in frames)
    assert (drain(outbox), outbox.dropped) == (frames[3:], 3)


def test_drop_oldest_drops_no_frame_of_a_channel_that_loses_nothing():
    outbox = Outbox(3, 100)
    kept, old, new = frame(1, "kept"), droppable(), droppable()
    for each in (kept, old, frame(1), new):
        assert outbox.put(each)
    assert [f.channel for f in drain(outbox)] == ["kept", None, "d"]


def test_reply_makes_room_among_what_may_be_dropped():
    outbox = Outbox(2, 100)
    first, second, reply = droppable(), droppable(), frame()
    for each in (first, second, reply):
        assert outbox.put(each)
    assert drain(outbox) == [second, reply]


def test_frame_is_refused_when_nothing_may_be_dropped():
    outbox = Outbox(2, 100)
    kept = [frame(), frame(1, "a")]
    for each in kept:
        outbox.put(each)
    assert not outbox.put(droppable())
    assert not outbox.put(latest())
    assert drain(outbox) == kept


def test_frame_that_never_fits_drops_nothing():
    outbox = Outbox(10, 10)
    waiting = droppable(5)
    outbox.put(waiting)
    assert not outbox.put(droppable(11))
    assert (drain(outbox), outbox.dropped) == ([waiting], 0)


def test_latest_keeps_only_the_newest_of_a_channel_though_there_is_room():
    outbox = Outbox(10, 100)
    a1, b1, reply, a2 = latest(1, "a"), latest(1, "b"), frame(), latest(1, "a")
    for each in (a1, b1, reply, a2):
        assert outbox.put(each)
    assert drain(outbox) == [b1, reply, a2]
    assert outbox.dropped == 1


def test_latest_never_fills_the_queue():
    outbox = Outbox(2, 10)
    for _ in range(1_000):
        assert outbox.put(latest(8))
    assert (len(outbox), outbox.size) == (1, 8)


def test_last_words_are_taken_over_the_bounds_and_drop_nothing():
    outbox = Outbox(1, 1)
    waiting, closing, close = droppable(), frame(50), frame(0)
    outbox.put(waiting)
    assert outbox.put(closing, last=True)
    assert outbox.put(close, last=True)
    assert drain(outbox) == [waiting, closing, close]


POLICIES = st.sampled_from(list(Policy))


@given(
    st.integers(1, 6),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abc"), POLICIES) | st.none()),
)
def test_policies_keep_the_bounds_the_order_and_what_must_not_be_lost(most, most_bytes, steps):
    """None is a frame taken out; policies are mixed, as channels are on a connection."""
    outbox, put, got = Outbox(most, most_bytes), [], []
    for step in steps:
        if step is None:
            frame_out = outbox.get()
            got += [] if frame_out is None else [frame_out]
        else:
            size, channel, policy = step
            each = Frame({"n": len(put)}, size, f"{channel}{policy}", policy)
            lost_before = [f for f in outbox._frames if f.policy is Policy.CLOSE]
            if outbox.put(each):
                put.append(each)
            kept = [f for f in outbox._frames if f.policy is Policy.CLOSE]
            assert kept[: len(lost_before)] == lost_before  # these are never dropped
            newest = [f for f in outbox._frames if f.policy is Policy.LATEST]
            assert len({f.channel for f in newest}) == len(newest)
        assert len(outbox) <= most
        assert outbox.size == sum(f.size for f in outbox._frames) <= most_bytes
    got += drain(outbox)
    numbers = [f.content["n"] for f in got]
    assert numbers == sorted(numbers)
    assert {f.content["n"] for f in put if f.policy is Policy.CLOSE} <= set(numbers)
    assert len(got) + outbox.dropped == len(put)
