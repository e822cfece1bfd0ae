"""Whatever is asked of them, the memory store and the Redis store give the same answers."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channels_realtime.config import Config
from channels_realtime.errors import Conflict
from channels_realtime.protocol.messages import Position
from channels_realtime.runtime.redis_connection import Script
from channels_realtime.stores.history import redis as redis_store
from channels_realtime.stores.history import scripts
from channels_realtime.stores.history.base import (
    Append,
    Condition,
    History,
    HistoryStore,
    bucket_of,
)
from channels_realtime.stores.history.memory import MemoryHistory
from channels_realtime.stores.history.redis import RedisHistory
from tests.support.redis_server import private_redis_server

STREAMS = ["a", "b"]
BEGIN_S = 1_790_000_000
CLOCK = "the-clock-of-this-test"

stream = st.sampled_from(STREAMS)
versions = st.none() | st.integers(0, 4)
seconds = st.sampled_from([2.0, 5.0, 1_000.0])
appends = st.fixed_dictionaries(
    {
        "stream": stream,
        "history": st.builds(History, size=st.integers(1, 4), ttl=seconds),
        "key": st.none() | st.sampled_from(["k", "l"]),
        "digest": st.sampled_from(["", "d"]),
        "version": versions,
        "state_key": st.none() | st.sampled_from(["", "a", "b"]),
        "state_ttl": st.none() | seconds,
        "removed": st.booleans(),
        "condition": st.none()
        | st.builds(Condition, new=st.booleans(), version=versions)
        | st.just(Condition(new=True)),
    }
)
since = st.none() | st.tuples(st.integers(0, 20), st.integers(-2, 2))
operations = st.lists(
    st.one_of(
        st.tuples(st.just("append"), appends),
        st.tuples(st.just("append"), appends),
        st.tuples(st.just("read"), stream, since, st.integers(0, 6), st.booleans()),
        st.tuples(st.just("state"), stream),
        st.tuples(st.just("renew"), stream, st.integers(0, 20)),
        st.tuples(st.just("purge"), stream),
        st.tuples(st.just("newest")),
        st.tuples(st.just("changes")),
        st.tuples(st.just("pass"), st.integers(1, 4)),
    ),
    max_size=40,
)


class Clock:
    """The time of both stores, which only a test moves."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.now = float(BEGIN_S)
        self.move(0)

    def move(self, seconds: float) -> None:
        self.now += seconds
        self._client.hset(CLOCK, mapping={"s": int(self.now), "us": 0})

    def monotonic(self) -> float:
        return self.now

    time = monotonic


class Asked:
    """A store, and what it has answered: epochs as the numbers in which they were first seen."""

    def __init__(self, store: HistoryStore) -> None:
        self.store = store
        self._epochs: list[str] = []
        self._seen: list[Position] = []
        self._sequences = {bucket_of(name): 0 for name in STREAMS}

    def _shown(self, position: Position | None) -> tuple[int, int] | None:
        if position is None:
            return None
        self._seen.append(position)
        if position.epoch not in self._epochs:
            self._epochs.append(position.epoch)
        return self._epochs.index(position.epoch), position.offset

    def _seen_before(self, number: int) -> Position:
        return self._seen[-1 - number % len(self._seen)] if self._seen else Position("no", 0)

    async def append(self, fields: dict[str, Any], uid: str) -> Any:
        # A key is forgotten by Redis's own clock: not within this test.
        window = 1e6 if fields["key"] is not None else 3.0
        request = Append(uid=uid, body=uid.encode(), key_window=window, **fields)
        try:
            appended = await self.store.append(request)
        except Conflict as error:
            return error.reason
        return self._shown(appended.position), appended.duplicate, appended.previous

    async def read(self, name: str, after: Any, limit: int, reverse: bool) -> Any:
        position = None
        if after is not None:
            seen = self._seen_before(after[0])
            position = Position(seen.epoch, max(0, seen.offset + after[1]))
        page = await self.store.read(name, position, limit=limit, reverse=reverse)
        return self._shown(page.position), page.entries, page.complete

    async def state(self, name: str) -> Any:
        page = await self.store.state(name)
        return self._shown(page.position), page.entries

    async def renew(self, name: str, number: int) -> Any:
        return self._shown(await self.store.renew_epoch(name, self._seen_before(number).epoch))

    async def purge(self, name: str) -> None:
        await self.store.purge(name)

    async def newest(self) -> Any:
        found = await self.store.newest(STREAMS)
        return [one and (self._shown(one.position), one.uid) for one in found]

    async def changes(self) -> Any:
        changes = await self.store.changes(self._sequences)
        begins = [bucket for bucket, sequence in self._sequences.items() if sequence == 0]
        self._sequences.update(changes.sequences)
        assert changes.unknown <= set(begins)  # nothing is lost or forgotten in this test
        # What is known from the beginning on, one store says and the other does not.
        return sorted(
            (name, self._shown(newest.position), newest.uid)
            for name, newest in changes.streams.items()
            if bucket_of(name) not in begins
        )


def test_streams_of_this_test_are_in_different_buckets():
    assert len({bucket_of(name) for name in STREAMS}) == len(STREAMS)


@pytest.fixture(scope="module")
def client() -> Iterator[redis.Redis]:
    with private_redis_server() as url, redis.Redis.from_url(url) as found:
        yield found


@pytest.fixture
def scripted_time(monkeypatch) -> None:
    """Scripts that read the clock of the test."""
    for name in ("APPEND", "READ", "STATE", "RENEW", "PURGE"):
        text = getattr(scripts, name).text
        changed = text.replace("call('TIME')", f"call('HMGET', '{CLOCK}', 's', 'us')")
        assert changed != text
        monkeypatch.setattr(redis_store, name, Script(changed))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations)
def test_memory_and_redis_give_the_same_answers(client, scripted_time, asked):
    async def main() -> None:
        options = client.get_connection_kwargs()
        url = f"redis://{options['host']}:{options['port']}"
        clock = Clock(client)
        prefix = uuid.uuid4().hex
        config = Config(store_redis=url, group_prefix=prefix, store_timeout=20.0)
        memory = Asked(MemoryHistory(None, config, clock))
        other = Asked(RedisHistory(None, config))
        for number, (what, *arguments) in enumerate(asked):
            if what == "pass":
                clock.move(*arguments)
                continue
            if what == "append":
                arguments.append(f"{number:016x}")
            answers = [await getattr(each, what)(*arguments) for each in (memory, other)]
            assert answers[0] == answers[1], (number, what, arguments)
        await other.store.close()

    client.flushdb()  # of this test's own server
    asyncio.run(main())
