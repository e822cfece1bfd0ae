"""Histories in Redis: the contract on a server and a cluster, what an append costs, and what is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from channels_redis.pubsub import RedisPubSubChannelLayer

from channels_realtime.config import Config
from channels_realtime.errors import Unavailable
from channels_realtime.nodes.stores import Stores
from channels_realtime.protocol.messages import Position
from channels_realtime.runtime import redis_clients
from channels_realtime.stores.history import redis as redis_store
from channels_realtime.stores.history import scripts
from channels_realtime.stores.history.base import Append, Condition, History, bucket_of
from channels_realtime.stores.history.redis import RedisHistory
from channels_realtime.testing import HistoryStoreContract
from tests.support.redis_server import private_redis_cluster, private_redis_server
from tests.support.servers import free_port


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with private_redis_server() as url:
        yield url


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    with private_redis_cluster() as url:
        yield url


class TestContract(HistoryStoreContract):
    @pytest.fixture(autouse=True)
    def _redis(self, redis_url: str, redis_prefix: str) -> None:
        self.config = Config(store_redis=redis_url, group_prefix=redis_prefix, store_timeout=20.0)

    def make_store(self) -> RedisHistory:
        return RedisHistory(None, self.config)


class TestValkeyContract(TestContract):
    """The same on the embedded Valkey, wherever the tests' Redis is another server."""

    @pytest.fixture
    def redis_url(self, server: str) -> str:
        return server


class TestClusterContract(HistoryStoreContract):
    """A cluster refuses commands and scripts whose keys are not all in one slot."""

    @pytest.fixture(autouse=True)
    def _redis(self, cluster_url: str, redis_prefix: str) -> None:
        host = {"address": cluster_url, "cluster": True}
        self.config = Config(store_redis=host, group_prefix=redis_prefix, store_timeout=20.0)

    def make_store(self) -> RedisHistory:
        return RedisHistory(None, self.config)


class TestServersContract(HistoryStoreContract):
    """Two servers: buckets are spread over them."""

    @pytest.fixture(autouse=True)
    def _redis(self, redis_url: str, server: str, redis_prefix: str) -> None:
        hosts = [redis_url, {"address": server}]
        self.config = Config(store_redis=hosts, group_prefix=redis_prefix, store_timeout=20.0)

    def make_store(self) -> RedisHistory:
        return RedisHistory(None, self.config)


def request(stream: str = "rooms/1", **more: Any) -> Append:
    history = History(size=more.pop("size", 10), ttl=more.pop("ttl", 60.0))
    return Append(**{"stream": stream, "uid": "0" * 16, "body": b"x", "history": history, **more})


Make = Callable[..., RedisHistory]


@pytest.fixture
def make(server: str) -> Make:
    def make(**more: Any) -> RedisHistory:
        return RedisHistory(None, Config(**{"store_redis": server, "store_timeout": 20.0, **more}))

    return make


@pytest.fixture
def admin(server: str) -> Iterator[redis.Redis]:
    """The server of these tests alone, emptied."""
    with redis.Redis.from_url(server) as client:
        client.flushall()
        client.config_resetstat()
        client.script_flush()
        client.client_kill_filter(_type="normal", skipme=True)
        yield client


async def test_an_append_is_one_round_trip(make, admin):
    store = make()
    first = request(key="k", state_key="a", version=1, condition=Condition(new=True))
    await store.append(first)
    before = admin.info("commandstats")
    await store.append(request(key="k2", state_key="a", version=2))
    after = admin.info("commandstats")
    assert after["cmdstat_evalsha"]["calls"] == before["cmdstat_evalsha"]["calls"] + 1
    assert after["cmdstat_eval"]["calls"] == before["cmdstat_eval"]["calls"] == 1
    sent = {"cmdstat_script|load", "cmdstat_multi", "cmdstat_exec", "cmdstat_ping"}
    assert not sent & after.keys()
    await store.close()


async def test_a_server_that_forgot_its_scripts_is_given_them(make, admin):
    store = make()
    await store.append(request())
    admin.script_flush()
    assert (await store.append(request())).position.offset == 2
    await store.close()


async def test_after_a_restart_without_data_all_is_new(make, admin):
    store = make()
    old = (await store.append(request())).position
    await store.append(request())
    seen = {bucket_of("rooms/1"): 0}
    seen.update((await store.changes(seen)).sequences)
    admin.flushall()  # of this test's own server
    assert (await store.changes(seen)).unknown == set(seen)
    for _ in range(5):  # more than there were
        await store.append(request())
    changes = await store.changes(seen)
    assert changes.unknown == set(seen)
    page = await store.read("rooms/1", old, limit=10)
    assert not page.complete
    assert page.position.epoch != old.epoch
    await store.close()


async def test_what_is_evicted_piece_by_piece_is_no_silent_gap(make, admin):
    store = make()
    for _ in range(3):
        await store.append(request(state_key="a", version=None))
    old = (await store.read("rooms/1", limit=0)).position
    bucket = bucket_of("rooms/1")
    admin.delete(f"realtime:{{{bucket}}}:hx:rooms/1")
    page = await store.read("rooms/1", old, limit=10)
    assert (page.position, page.entries, page.complete) == (old, (), True)
    assert (await store.append(request())).position.offset == 4
    assert (await store.read("rooms/1", old, limit=10)).complete
    admin.delete(f"realtime:{{{bucket}}}:hm:rooms/1")
    assert (await store.append(request())).position.offset == 1
    page = await store.read("rooms/1", limit=10)
    assert [entry.offset for entry in page.entries] == [1]
    assert (await store.state("rooms/1")).entries == ()
    await store.close()


async def test_every_key_expires(make, admin):
    store = make()
    keyed = {"state_key": "a", "version": 1, "state_ttl": 5.0, "key": "k"}
    await store.append(request(ttl=1_000_000.0))
    await store.append(request(ttl=10.0, **keyed))
    await store.read("rooms/2", limit=1)
    await store.append(request("rooms/3", state_key="b"))
    left = {key: admin.pttl(key) for key in admin.keys("*")}
    assert len(left) >= 9
    assert [key for key, ms in left.items() if ms < 0] == []
    await store.close()


async def test_many_that_are_too_old_are_dropped_in_few_steps(make, admin):
    store = make()
    first = (await store.append(request())).position
    begin, end = f"realtime:{{{bucket_of('rooms/1')}}}", "rooms/1"
    meta, entries = f"{begin}:hm:{end}", f"{begin}:hx:{end}"
    admin.delete(entries)
    pipe = admin.pipeline(transaction=False)
    for offset in range(1, 1_001):
        too_old = offset <= 990
        pipe.xadd(entries, {"u": "0" * 16, "b": "x"}, id=f"{offset}-{1 if too_old else 10**13}")
    pipe.set(meta, f"{first.epoch} 1000 1 {'0' * 16}", keepttl=True)
    pipe.execute()
    admin.config_resetstat()
    await store.append(request(size=1_000))
    stats = admin.info("commandstats")
    assert sum(stats[name]["calls"] for name in stats if name.startswith("cmdstat_x")) < 30
    page = await store.read("rooms/1", limit=100)
    assert [entry.offset for entry in page.entries] == list(range(991, 1_002))
    for offset, complete in ((989, False), (990, True)):
        since = Position(first.epoch, offset)
        assert (await store.read("rooms/1", since, limit=1)).complete is complete
    await store.close()


async def test_changes_over_the_bound_are_unknown(make, admin, monkeypatch):
    small = scripts.Script(scripts.APPEND.text.replace(str(scripts.MAX_CHANGED), "32"))
    monkeypatch.setattr(redis_store, "APPEND", small)
    monkeypatch.setattr(redis_store, "bucket_of", lambda stream: 7)
    store = make()
    await store.append(request("rooms/0"))
    seen = dict((await store.changes({7: 0})).sequences)
    for number in range(1, 31):
        await store.append(request(f"rooms/{number}"))
    known = await store.changes(seen)
    assert (len(known.streams), known.unknown) == (30, frozenset())
    for number in range(31, 40):
        await store.append(request(f"rooms/{number}"))
    assert (await store.changes(seen)).unknown == {7}
    assert admin.zcard("realtime:{7}:hc") <= 33
    assert len((await store.changes(known.sequences)).streams) == 9
    await store.close()


async def test_old_changes_are_forgotten_and_unknown(make, admin):
    store = make()
    await store.append(request())
    changed = f"realtime:{{{bucket_of('rooms/1')}}}:hc"
    earlier = int(scripts.CHANGES_KEPT_S * 1_000_000) + 1_000_000
    for member, score in admin.zrange(changed, 0, -1, withscores=True):
        admin.zadd(changed, {member: int(score) - earlier})
    admin.zadd(changed, {"rooms/gone": admin.zscore(changed, "rooms/1")})
    bucket = bucket_of("rooms/1")
    seen = {bucket: int(admin.zscore(changed, "")) + 1}
    await store.append(request())
    assert admin.zrange(changed, 0, -1) == [b"", b"rooms/1"]
    assert (await store.changes(seen)).unknown == {bucket}
    await store.close()


async def test_too_many_state_keys_are_refused(make, monkeypatch):
    small = scripts.Script(scripts.APPEND.text.replace(str(scripts.MAX_STATE_KEYS), "2"))
    monkeypatch.setattr(redis_store, "APPEND", small)
    store = make()
    for key in ("a", "b", "a"):
        await store.append(request(state_key=key))
    with pytest.raises(Exception, match="a state for 10,000 keys"):
        await store.append(request(state_key="c"))
    await store.append(request(state_key="a", removed=True))
    await store.append(request(state_key="c"))
    await store.close()


async def test_a_store_that_is_away_is_unavailable_and_says_no_password(make):
    port = free_port()
    store = make(store_redis=f"redis://somebody:hunter2@127.0.0.1:{port}/0")
    with pytest.raises(Unavailable) as raised:
        await store.append(request())
    assert raised.value.reason == "the history store failed with ConnectionError"
    for text in (repr(raised.value), str(raised.value.__cause__), repr(store._clients)):
        assert "hunter2" not in text


async def test_a_cluster_that_is_away_is_unavailable_and_one_that_is_back_is_used():
    port = free_port()
    host = {"address": f"redis://127.0.0.1:{port}", "cluster": True}
    store = RedisHistory(None, Config(store_redis=host, store_timeout=20.0))
    with pytest.raises(Unavailable, match=r"^the history store failed with Redis\w+$"):
        await store.append(request())
    with private_redis_cluster(port) as url:
        assert url == host["address"]
        assert (await store.append(request())).position.offset == 1
        await store.close()


async def test_a_store_that_hangs_is_unavailable_in_time(make, admin):
    store = make(store_timeout=0.1)
    await store.append(request())
    admin.execute_command("CLIENT", "PAUSE", 600, "ALL")
    with pytest.raises(Unavailable) as raised:
        await store.append(request())
    assert raised.value.reason == "the history store did not respond within 0.1 s"
    admin.ping()  # answered when the pause is over
    async with asyncio.timeout(20):
        while True:
            try:
                await store.read("rooms/1", limit=1)
            except Unavailable:
                continue
            break
    await store.close()


async def test_appends_of_one_turn_go_over_one_connection_in_their_order(make, admin):
    store = make()
    uids = [f"{n:032x}" for n in range(600)]
    appended = await asyncio.gather(*[store.append(request(uid=uid, size=600)) for uid in uids])
    assert [one.position.offset for one in appended] == list(range(1, 601))
    page = await store.read("rooms/1", limit=600)
    assert [entry.uid for entry in page.entries] == uids
    assert len(admin.client_list()) == 3
    await store.close()


async def test_an_append_that_is_refused_fails_alone(make, admin):
    store = make()
    await store.append(request(key="k", digest="1"))
    outcomes = await asyncio.gather(
        store.append(request()),
        store.append(request(key="k", digest="2")),
        store.append(request()),
        return_exceptions=True,
    )
    assert [type(outcome).__name__ for outcome in outcomes] == ["Appended", "Conflict", "Appended"]
    await store.close()


async def test_a_redis_py_that_looks_different_inside_is_used_as_it_is(make, admin, monkeypatch):
    monkeypatch.setattr(redis_clients, "can_be_taken_over", lambda redis: False)
    store = make()
    assert (await store.append(request())).position.offset == 1
    assert len(admin.client_list()) == 2
    await store.close()


async def test_an_append_is_sent_once_though_its_connection_breaks(make, admin, server):
    origin = redis.connection.parse_url(server)
    answers = True

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await asyncio.open_connection(origin["host"], origin["port"])

        async def pump(source, target, *, cut: bool) -> None:
            while data := await source.read(65_536):
                if cut and not answers:
                    break
                target.write(data)
            target.close()

        await asyncio.gather(
            pump(reader, upstream[1], cut=False), pump(upstream[0], writer, cut=True)
        )

    async with await asyncio.start_server(forward, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        store = make(store_redis=f"redis://127.0.0.1:{port}/0")
        await store.append(request())
        answers = False
        with pytest.raises(Unavailable, match=r"^the history store failed with ConnectionError$"):
            await store.append(request())
        answers = True
        assert (await store.read("rooms/1", limit=0)).position.offset == 2
        await store.close()


async def test_many_appends_at_once_share_a_few_connections(make, admin):
    store = make()
    await asyncio.gather(*(store.append(request(f"rooms/{number}")) for number in range(500)))
    assert len(admin.client_list()) <= 33
    await store.close()
    async with asyncio.timeout(20):
        while len(await asyncio.to_thread(admin.client_list)) > 1:
            pass


async def test_the_stores_of_a_layer_share_their_connections(server, admin):
    layer = RedisPubSubChannelLayer(hosts=[server])
    stores = Stores(layer, Config())
    for _ in range(3):
        await stores.history.append(request())
        await stores.presence.members("rooms/1", 10)
        await stores.sessions.forget([("0" * 32, "owner")])
        await stores.inboxes.acknowledged("rooms/1", "1")
    assert len(admin.client_list()) == 3  # one appends, and the admin has its own
    await stores.history.close()


def test_the_connections_of_a_loop_end_with_it(make, admin):
    store = make()
    for number in range(3):  # one store, several loops
        appended = asyncio.run(store.append(request()))
        assert appended.position.offset == number + 1
        assert len(store._clients._servers._clients) == 1
    assert len(admin.client_list()) == 1
