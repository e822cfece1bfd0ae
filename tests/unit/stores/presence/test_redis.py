"""The presence store in Redis passes the contract, and agrees with the one in memory."""

import asyncio
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channels_realtime.config import Config
from channels_realtime.errors import Unavailable
from channels_realtime.protocol.messages import Member
from channels_realtime.stores.presence.base import Departure, Entry, Hold
from channels_realtime.stores.presence.memory import MemoryPresence
from channels_realtime.stores.presence.redis import RedisPresence
from channels_realtime.testing import PresenceStoreContract


def make_store(url, prefix, **options):
    return RedisPresence(None, Config(store_redis=url, group_prefix=prefix), **options)


class TestRedisPresence(PresenceStoreContract):
    @pytest.fixture(autouse=True)
    def _redis(self, redis_url, redis_prefix):
        self.now = time.time()
        self.url, self.prefix = redis_url, redis_prefix

    async def make_store(self):
        return make_store(self.url, self.prefix, clock=lambda: self.now)

    async def advance(self, seconds):
        self.now += seconds


class TestServer:
    async def test_the_time_is_the_servers(self, redis_url, redis_prefix):
        store = make_store(redis_url, redis_prefix)
        entry = Entry("room", "1", Member("user:1", "1"))
        (joined,) = await store.enter("node", [entry], 20.0)
        assert abs(joined.sequence / 1e6 - time.time()) < 60
        await store.leave("node", [Departure(entry.hold, 0.02)])
        async with asyncio.timeout(20):
            while not (changes := (await store.sweep()).changes):
                pass
        assert [change.kind for change in changes] == ["leave"]
        await store.close()

    async def test_nothing_is_left_of_those_who_left(self, redis_url, redis_prefix):
        import redis

        store = make_store(redis_url, redis_prefix)
        entries = [Entry("room", str(n), Member(f"user:{n}", str(n))) for n in range(10)]
        await store.enter("node", entries, 0.01)
        await store.leave("node", [Departure(entry.hold) for entry in entries])
        async with asyncio.timeout(20):
            while (await store.sweep()).more or (await store.members("room", 1)).overdue:
                pass
        with redis.Redis.from_url(redis_url) as client:
            async with asyncio.timeout(20):
                while list(client.scan_iter(match=f"{redis_prefix}:*")):
                    await store.sweep()
        await store.close()

    async def test_ids_may_be_any_text(self, redis_url, redis_prefix):
        store = make_store(redis_url, redis_prefix)
        member = Member("user:a\0b]ü", "a\0b]ü", {"x": "\0"})
        entry = Entry("acme|room/1", "1", member)
        await store.enter("node", [entry], 20.0)
        assert (await store.members("acme|room/1", 5)).members == (member,)
        held = await asyncio.gather(*(store.held("node", n) for n in range(16)))
        assert frozenset().union(*held) == {Hold("acme|room/1", member.id, "1")}
        (left,) = await store.leave("node", [Departure(entry.hold)])
        assert left.member == member
        await store.close()

    async def test_a_server_that_is_away_is_unavailable(self, redis_prefix):
        store = make_store("redis://127.0.0.1:1/0", redis_prefix)
        with pytest.raises(Unavailable, match="presence store"):
            await store.members("room", 1)
        with pytest.raises(Unavailable):
            await store.sweep()


NODES, STREAMS, MEMBERS, HOLDERS = "AB", ("room/1", "room/2"), ("user:1", "c1"), "12"
holds = st.builds(
    Hold, st.sampled_from(STREAMS), st.sampled_from(MEMBERS), st.sampled_from(HOLDERS)
)
nodes = st.sampled_from(NODES)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), nodes, st.lists(holds, min_size=1, max_size=3)),
        st.tuples(
            st.just("leave"),
            nodes,
            st.lists(st.tuples(holds, st.sampled_from([0.0, 5.0])), min_size=1, max_size=3),
        ),
        st.tuples(st.just("renew"), nodes),
        st.tuples(st.just("sweep")),
        st.tuples(st.just("advance"), st.sampled_from([1.0, 6.0, 21.0])),
    ),
    max_size=25,
)


async def play(store, steps, clock):
    """What a store answers to each step; of changes made at once, any order is right."""
    answers = []
    for kind, *arguments in steps:
        match kind:
            case "enter":
                node, entering = arguments
                entries = [Entry(h.stream, h.holder, Member(h.member, None)) for h in entering]
                answers.append(await store.enter(node, entries, 20.0))
            case "leave":
                node, leaving = arguments
                answers.append(await store.leave(node, [Departure(*each) for each in leaving]))
            case "renew":
                answers.append(await store.renew(arguments[0], dict.fromkeys(range(16), 1), 20.0))
            case "sweep":
                found = await store.sweep()
                left = {(change.stream, change.member.id) for change in found.changes}
                numbers = sorted((c.stream, c.sequence, c.count) for c in found.changes)
                answers.append((left, numbers, found.more))
            case "advance":
                clock[0] += arguments[0]
        if kind in ("enter", "leave"):
            answers[-1] = sorted(answers[-1], key=lambda c: (c.stream, c.sequence))
        answers += [await store.members(stream, 1) for stream in STREAMS]
        answers.append(await store.tallies(STREAMS))
        answers += [await store.held(node, number) for node in NODES for number in range(16)]
    return answers


@given(steps=steps)
@settings(
    max_examples=settings.default.max_examples * 3 // 5,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_memory_and_redis_answer_the_same(redis_url, redis_prefix, steps):
    import redis

    async def compare():
        begin = 1_700_000_000.0
        answers = []
        for make in (
            lambda clock: MemoryPresence(clock=lambda: clock[0]),
            lambda clock: make_store(redis_url, redis_prefix, clock=lambda: clock[0]),
        ):
            clock = [begin]
            store = make(clock)
            try:
                answers.append(await play(store, steps, clock))
            finally:
                await store.close()
        assert answers[0] == answers[1]

    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=f"{redis_prefix}:*", count=1000):
            client.delete(key)
    asyncio.run(compare())
