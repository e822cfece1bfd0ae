"""Who is let in, and how much a user or an address may take, in one process and in two."""

from __future__ import annotations

import asyncio

import pytest
from django.core.cache import cache

from channels_realtime.access import limits as admission_module
from channels_realtime.access.limits import AccessLimits
from channels_realtime.config import Config
from channels_realtime.conversation.throttling import LimitExceeded
from channels_realtime.nodes.metrics import Metrics
from tests.support.virtual_time import VirtualClock, in_virtual_time


class InlineDatabase:
    """Runs what blocks in place."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.calls = 0

    async def run(self, hook, *args):
        self.calls += 1
        if self.error is not None:
            raise self.error
        return hook(*args)


class FakeNode:
    def __init__(self, **config) -> None:
        self.config = Config(**config)
        self.clock = VirtualClock()
        self.background = InlineDatabase()
        self.metrics = Metrics()
        self.connections: dict[str, object] = {}


def make(**config) -> tuple[AccessLimits, FakeNode]:
    node = FakeNode(**config)
    return AccessLimits(node), node


@pytest.fixture(autouse=True)
def empty_cache():
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def shared(monkeypatch):
    """Two instances of this process stand for two processes: the local cache is theirs alone."""
    monkeypatch.setattr(admission_module, "_cache_is_shared", lambda: True)


# -- handshakes ------------------------------------------------------------------------------------


@in_virtual_time
async def test_handshake_is_let_in_when_nothing_is_limited():
    limits, node = make(address_failures=None)
    node.connections.update({str(n): object() for n in range(10_000)})
    assert limits.handshake("10.0.0.1") is None
    assert limits.handshake(None) is None
    assert node.metrics.refused == 0


@in_virtual_time
async def test_handshake_is_refused_when_the_process_is_full():
    limits, node = make(max_connections=2)
    node.connections["a"] = object()
    assert limits.handshake("10.0.0.1") is None
    node.connections["b"] = object()
    assert limits.handshake("10.0.0.1") == (503, "full")
    assert limits.handshake(None) == (503, "full")
    del node.connections["a"]
    assert limits.handshake("10.0.0.1") is None
    assert node.metrics.refused == 2


@in_virtual_time
async def test_handshake_is_refused_when_the_address_holds_all_it_may():
    limits, _ = make(max_connections_per_address=2)
    limits.count_address("10.0.0.1", 1)
    limits.count_address("10.0.0.1", 1)
    assert limits.handshake("10.0.0.1") == (429, "address")
    assert limits.handshake("10.0.0.2") is None
    assert limits.handshake(None) is None
    limits.count_address("10.0.0.1", -1)
    assert limits.handshake("10.0.0.1") is None


@in_virtual_time
async def test_user_is_full_when_it_holds_all_it_may():
    limits, _ = make(max_connections_per_user=1)
    assert not limits.user_is_full("7")
    limits.count_user("7", 1)
    assert limits.user_is_full("7")
    assert not limits.user_is_full("8")
    assert not limits.user_is_full(None)
    limits.count_user("7", -1)
    assert not limits.user_is_full("7")


@in_virtual_time
async def test_nothing_is_kept_of_users_and_addresses_that_have_gone():
    limits, _ = make(max_connections_per_user=1, max_connections_per_address=1)
    for n in range(100):
        limits.count_user(str(n), 1)
        limits.count_address(str(n), 1)
        limits.handshake(str(n))
        limits.user_is_full(str(n))
        limits.count_user(str(n), -1)
        limits.count_address(str(n), -1)
    limits.count_user(None, 1)
    limits.count_address(None, 1)
    limits.count_user("never came", -1)
    assert not limits._by_user
    assert not limits._by_address


@in_virtual_time
async def test_address_is_refused_past_its_failures_and_let_in_again_later():
    limits, _ = make(address_failures=(1.0, 3.0))
    for _ in range(3):
        assert limits.handshake("10.0.0.1") is None
        limits.failure("10.0.0.1")
    assert limits.handshake("10.0.0.1") == (429, "address")
    assert limits.handshake("10.0.0.2") is None
    await asyncio.sleep(1.0)
    assert limits.handshake("10.0.0.1") is None


@in_virtual_time
async def test_failures_of_nobody_known_limit_nobody():
    limits, _ = make(address_failures=(1.0, 1.0))
    for _ in range(5):
        limits.failure(None)
    assert limits.handshake(None) is None


# -- messages --------------------------------------------------------------------------------------


@in_virtual_time
async def test_messages_of_a_user_are_counted_over_all_its_connections():
    limits, _ = make(user_messages=(2.0, 3.0))
    assert limits.messages("7", "10.0.0.1", 2) is None
    assert limits.messages("7", "10.0.0.2", 1) is None
    assert limits.messages("7", "10.0.0.3", 1) == LimitExceeded("USER_MESSAGES", 0.5)
    assert limits.messages("8", "10.0.0.1", 3) is None
    assert limits.messages(None, "10.0.0.1", 100) is None


@in_virtual_time
async def test_messages_of_an_address_are_counted_over_all_its_users():
    limits, _ = make(address_messages=(1.0, 2.0))
    assert limits.messages("7", "10.0.0.1", 1) is None
    assert limits.messages(None, "10.0.0.1", 1) is None
    assert limits.messages("8", "10.0.0.1", 1) == LimitExceeded("ADDRESS_MESSAGES", 1.0)
    assert limits.messages("8", None, 100) is None


@in_virtual_time
async def test_nothing_is_remembered_when_nothing_is_limited():
    limits, _ = make(address_failures=None)
    limits.messages("7", "10.0.0.1", 1)
    limits.failure("10.0.0.1")
    assert not limits._buckets


@in_virtual_time
async def test_buckets_have_a_bound_and_the_longest_unseen_is_forgotten(monkeypatch):
    monkeypatch.setattr(admission_module, "MAX_BUCKETS", 3)
    limits, _ = make(user_messages=(1.0, 1.0))
    for user in ("1", "2", "3"):
        limits.messages(user, None, 1)
    limits.messages("1", None, 1)  # seen again
    limits.messages("4", None, 1)
    assert [key for _, key in limits._buckets] == ["3", "1", "4"]
    assert limits.messages("2", None, 1) is None  # begins anew
    assert limits.messages("1", None, 1) is not None


# -- two processes ---------------------------------------------------------------------------------


def test_nothing_is_shared_over_a_cache_that_is_the_processs_own():
    @in_virtual_time
    async def scenario():
        limits, node = make(user_messages=(1.0, 1.0))
        limits.messages("7", None, 1)
        await asyncio.sleep(10)
        assert node.background.calls == 0

    scenario()


def use(limits: AccessLimits, count: int) -> int:
    """Send messages of a user one by one; returns how many were let through."""
    return sum(limits.messages("7", None, 1) is None for _ in range(count))


def test_user_of_two_processes_has_one_limit(shared):
    @in_virtual_time
    async def scenario():
        (here, _), (there, _) = (make(user_messages=(10.0, 20.0)) for _ in range(2))
        allowed = 0
        for _ in range(60):
            allowed += use(here, 40) + use(there, 40)
            await asyncio.sleep(1.01)
        # Each process lets its own burst through once, before it has heard of the other.
        assert 60 * 10 * 0.9 <= allowed <= 2 * 20 + 60 * 10 * 1.1
        await here.stop()
        await there.stop()

    scenario()


def test_other_users_are_not_drained(shared):
    @in_virtual_time
    async def scenario():
        (here, _), (there, _) = (make(user_messages=(0.001, 20.0)) for _ in range(2))
        use(here, 1)
        use(there, 1)
        await asyncio.sleep(1.5)
        use(here, 10)
        there.messages("8", None, 1)
        await asyncio.sleep(1.5)
        use(there, 1)
        await asyncio.sleep(1.5)
        assert there.messages("8", None, 19) is None
        assert there.messages("7", None, 9) is not None  # 2 here, 11 there: 7 or so are left
        assert there.messages("7", None, 7) is None
        await here.stop()
        await there.stop()

    scenario()


def test_nothing_is_asked_of_the_cache_while_nobody_uses_anything(shared):
    @in_virtual_time
    async def scenario():
        limits, node = make(user_messages=(1.0, 10.0))
        use(limits, 5)
        await asyncio.sleep(100)
        assert node.background.calls == 1  # five messages, one round
        await limits.stop()

    scenario()


def test_cache_that_is_away_limits_each_process_by_itself_and_is_told_later(shared):
    @in_virtual_time
    async def scenario():
        limits, node = make(user_messages=(1.0, 10.0))
        node.background.error = ConnectionError("away")
        assert use(limits, 20) == 10
        await asyncio.sleep(3.5)
        node.background.error = None
        await asyncio.sleep(1)
        (entry,) = limits._buckets.values()
        assert (entry.used, entry.known) == (0, 10)
        await limits.stop()

    scenario()


@pytest.mark.parametrize("user", ["with space", "x" * 500, "new\nline", "ünïcode"])
def test_any_user_id_can_be_shared(shared, user, recwarn):
    @in_virtual_time
    async def scenario():
        limits, _ = make(user_messages=(1.0, 10.0))
        limits.messages(user, None, 1)
        await asyncio.sleep(1.5)
        (entry,) = limits._buckets.values()
        assert entry.used == 0
        await limits.stop()

    scenario()
    assert [str(w.message) for w in recwarn] == []  # Django warns of names that memcached refuses


def test_bucket_forgotten_while_it_was_told_of_owes_nothing(shared, monkeypatch):
    monkeypatch.setattr(admission_module, "MAX_BUCKETS", 1)

    @in_virtual_time
    async def scenario():
        limits, _ = make(user_messages=(1.0, 10.0))
        limits.messages("7", None, 5)
        told = limits._tell

        def tell_slowly(changed):
            sums = told(changed)
            limits.messages("8", None, 1)  # pushes user 7 out
            limits.messages("7", None, 1)  # which comes again
            return sums

        limits._tell = tell_slowly
        await asyncio.sleep(1.5)
        (entry,) = limits._buckets.values()
        assert entry.used == 1
        await limits.stop()

    scenario()


def test_stop_ends_the_sharing(shared):
    @in_virtual_time
    async def scenario():
        limits, _ = make(user_messages=(1.0, 10.0))
        use(limits, 1)
        before = asyncio.all_tasks()
        await limits.stop()
        assert len(before - asyncio.all_tasks()) == 1

    scenario()
