"""Who is let in, and how much a user or an address may take, in one process and in two."""

from __future__ import annotations

import asyncio

import pytest
from django.core.cache import cache

from channels_realtime.access import limits as admission_module
from channels_realtime.access.limits import AccessLimits
from channels_realtime.config import Config
from channels_realtime.conversation.throttling import LimitExceeded
from tests.virtual_time import VirtualClock, in_virtual_time


class Hooks:
    """Runs what blocks where it stands."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.calls = 0

    async def run(self, hook, *args):
        self.calls += 1
        if self.error is not None:
            raise self.error
        return hook(*args)


class Host:
    def __init__(self, **config) -> None:
        self.config = Config(**config)
        self.clock = VirtualClock()
        self.hooks = Hooks()
        self.connections: dict[str, object] = {}


def make(**config) -> tuple[AccessLimits, Host]:
    host = Host(**config)
    return AccessLimits(host), host


@pytest.fixture(autouse=True)
def empty_cache():
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def shared(monkeypatch):
    """Two admissions of this process stand for two processes: the local cache is theirs alone."""
    monkeypatch.setattr(admission_module, "_cache_is_shared", lambda: True)


# -- handshakes ------------------------------------------------------------------------------------


@in_virtual_time
async def test_handshake_is_let_in_when_nothing_is_limited():
    admission, host = make(address_failures=None)
    host.connections.update({str(n): object() for n in range(10_000)})
    assert admission.handshake("10.0.0.1") is None
    assert admission.handshake(None) is None
    assert admission.refused == 0


@in_virtual_time
async def test_handshake_is_refused_when_the_process_is_full():
    admission, host = make(max_connections=2)
    host.connections["a"] = object()
    assert admission.handshake("10.0.0.1") is None
    host.connections["b"] = object()
    assert admission.handshake("10.0.0.1") == (503, "full")
    assert admission.handshake(None) == (503, "full")
    del host.connections["a"]
    assert admission.handshake("10.0.0.1") is None
    assert admission.refused == 2


@in_virtual_time
async def test_handshake_is_refused_when_the_address_holds_all_it_may():
    admission, _ = make(max_connections_per_address=2)
    admission.count_address("10.0.0.1", 1)
    admission.count_address("10.0.0.1", 1)
    assert admission.handshake("10.0.0.1") == (429, "address")
    assert admission.handshake("10.0.0.2") is None
    assert admission.handshake(None) is None
    admission.count_address("10.0.0.1", -1)
    assert admission.handshake("10.0.0.1") is None


@in_virtual_time
async def test_user_is_full_when_it_holds_all_it_may():
    admission, _ = make(max_connections_per_user=1)
    assert not admission.user_is_full("7")
    admission.count_user("7", 1)
    assert admission.user_is_full("7")
    assert not admission.user_is_full("8")
    assert not admission.user_is_full(None)
    admission.count_user("7", -1)
    assert not admission.user_is_full("7")


@in_virtual_time
async def test_nothing_is_kept_of_users_and_addresses_that_have_gone():
    admission, _ = make(max_connections_per_user=1, max_connections_per_address=1)
    for n in range(100):
        admission.count_user(str(n), 1)
        admission.count_address(str(n), 1)
        admission.handshake(str(n))
        admission.user_is_full(str(n))
        admission.count_user(str(n), -1)
        admission.count_address(str(n), -1)
    admission.count_user(None, 1)
    admission.count_address(None, 1)
    admission.count_user("never came", -1)
    assert not admission._by_user
    assert not admission._by_address


@in_virtual_time
async def test_address_is_refused_past_its_failures_and_let_in_again_later():
    admission, _ = make(address_failures=(1.0, 3.0))
    for _ in range(3):
        assert admission.handshake("10.0.0.1") is None
        admission.failure("10.0.0.1")
    assert admission.handshake("10.0.0.1") == (429, "address")
    assert admission.handshake("10.0.0.2") is None
    await asyncio.sleep(1.0)
    assert admission.handshake("10.0.0.1") is None


@in_virtual_time
async def test_failures_of_nobody_known_limit_nobody():
    admission, _ = make(address_failures=(1.0, 1.0))
    for _ in range(5):
        admission.failure(None)
    assert admission.handshake(None) is None


# -- messages --------------------------------------------------------------------------------------


@in_virtual_time
async def test_messages_of_a_user_are_counted_over_all_its_connections():
    admission, _ = make(user_messages=(2.0, 3.0))
    assert admission.messages("7", "10.0.0.1", 2) is None
    assert admission.messages("7", "10.0.0.2", 1) is None
    assert admission.messages("7", "10.0.0.3", 1) == LimitExceeded("USER_MESSAGES", 0.5)
    assert admission.messages("8", "10.0.0.1", 3) is None
    assert admission.messages(None, "10.0.0.1", 100) is None


@in_virtual_time
async def test_messages_of_an_address_are_counted_over_all_its_users():
    admission, _ = make(address_messages=(1.0, 2.0))
    assert admission.messages("7", "10.0.0.1", 1) is None
    assert admission.messages(None, "10.0.0.1", 1) is None
    assert admission.messages("8", "10.0.0.1", 1) == LimitExceeded("ADDRESS_MESSAGES", 1.0)
    assert admission.messages("8", None, 100) is None


@in_virtual_time
async def test_nothing_is_remembered_when_nothing_is_limited():
    admission, _ = make(address_failures=None)
    admission.messages("7", "10.0.0.1", 1)
    admission.failure("10.0.0.1")
    assert not admission._buckets


@in_virtual_time
async def test_buckets_have_a_bound_and_the_longest_unseen_is_forgotten(monkeypatch):
    monkeypatch.setattr(admission_module, "MAX_BUCKETS", 3)
    admission, _ = make(user_messages=(1.0, 1.0))
    for user in ("1", "2", "3"):
        admission.messages(user, None, 1)
    admission.messages("1", None, 1)  # seen again
    admission.messages("4", None, 1)
    assert [key for _, key in admission._buckets] == ["3", "1", "4"]
    assert admission.messages("2", None, 1) is None  # begins anew
    assert admission.messages("1", None, 1) is not None


# -- two processes ---------------------------------------------------------------------------------


def test_nothing_is_shared_over_a_cache_that_is_the_processs_own():
    @in_virtual_time
    async def scenario():
        admission, host = make(user_messages=(1.0, 1.0))
        admission.messages("7", None, 1)
        await asyncio.sleep(10)
        assert host.hooks.calls == 0

    scenario()


def use(admission: AccessLimits, count: int) -> int:
    """Send messages of a user one by one; returns how many were let through."""
    return sum(admission.messages("7", None, 1) is None for _ in range(count))


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
        admission, host = make(user_messages=(1.0, 10.0))
        use(admission, 5)
        await asyncio.sleep(100)
        assert host.hooks.calls == 1  # five messages, one round
        await admission.stop()

    scenario()


def test_cache_that_is_away_limits_each_process_by_itself_and_is_told_later(shared):
    @in_virtual_time
    async def scenario():
        admission, host = make(user_messages=(1.0, 10.0))
        host.hooks.error = ConnectionError("away")
        assert use(admission, 20) == 10
        await asyncio.sleep(3.5)
        host.hooks.error = None
        await asyncio.sleep(1)
        (entry,) = admission._buckets.values()
        assert (entry.used, entry.known) == (0, 10)
        await admission.stop()

    scenario()


@pytest.mark.parametrize("user", ["with space", "x" * 500, "new\nline", "ünïcode"])
def test_any_user_id_can_be_shared(shared, user, recwarn):
    @in_virtual_time
    async def scenario():
        admission, _ = make(user_messages=(1.0, 10.0))
        admission.messages(user, None, 1)
        await asyncio.sleep(1.5)
        (entry,) = admission._buckets.values()
        assert entry.used == 0
        await admission.stop()

    scenario()
    assert [str(w.message) for w in recwarn] == []  # Django warns of names that memcached refuses


def test_bucket_forgotten_while_it_was_told_of_owes_nothing(shared, monkeypatch):
    monkeypatch.setattr(admission_module, "MAX_BUCKETS", 1)

    @in_virtual_time
    async def scenario():
        admission, _ = make(user_messages=(1.0, 10.0))
        admission.messages("7", None, 5)
        told = admission._tell

        def tell_slowly(changed):
            sums = told(changed)
            admission.messages("8", None, 1)  # pushes user 7 out
            admission.messages("7", None, 1)  # which comes again
            return sums

        admission._tell = tell_slowly
        await asyncio.sleep(1.5)
        (entry,) = admission._buckets.values()
        assert entry.used == 1
        await admission.stop()

    scenario()


def test_stop_ends_the_sharing(shared):
    @in_virtual_time
    async def scenario():
        admission, _ = make(user_messages=(1.0, 10.0))
        use(admission, 1)
        before = asyncio.all_tasks()
        await admission.stop()
        assert len(before - asyncio.all_tasks()) == 1

    scenario()
