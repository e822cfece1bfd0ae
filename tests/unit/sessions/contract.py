"""What every session store must do; tests of a store subclass it."""

from __future__ import annotations

import asyncio
import secrets

from channels_realtime.sessions.base import Save, SessionStore, Taken

USER = "=1"


def saved(key: str, owner: str = "a", identity: str = USER, body: bytes = b"x", ttl: float = 60.0):
    return Save(key=key, owner=owner, identity=identity, body=body, ttl=ttl)


class SessionStoreContract:
    """``run`` is given a coroutine function that takes a store; ``pass_time`` is after ``seconds``."""

    def run(self, test) -> None:
        raise NotImplementedError

    async def pass_time(self, store: SessionStore, seconds: float) -> None:
        raise NotImplementedError

    def test_takes_what_was_saved_last(self):
        async def test(store):
            key = secrets.token_hex(20)
            assert await store.save([saved(key, body=b"first")]) == frozenset()
            assert await store.save([saved(key, body=b" \x00\n\xff last ")]) == frozenset()
            assert await store.take(key, USER, ttl=60.0) == Taken("a", b" \x00\n\xff last ")

        self.run(test)

    def test_knows_no_session_that_was_never_saved(self):
        async def test(store):
            assert await store.take(secrets.token_hex(20), USER, ttl=60.0) is None

        self.run(test)

    def test_is_taken_once(self):
        async def test(store):
            key = secrets.token_hex(20)
            await store.save([saved(key)])
            assert await store.take(key, USER, ttl=60.0) is not None
            assert await store.take(key, USER, ttl=60.0) is None

        self.run(test)

    def test_one_of_many_that_race_takes_it(self):
        async def test(store):
            keys = [secrets.token_hex(20) for _ in range(20)]
            await store.save([saved(key) for key in keys])
            for key in keys:
                taken = await asyncio.gather(*(store.take(key, USER, ttl=60.0) for _ in range(10)))
                assert sum(one is not None for one in taken) == 1

        self.run(test)

    def test_refuses_the_owner_of_a_session_that_was_taken(self):
        async def test(store):
            one, two = secrets.token_hex(20), secrets.token_hex(20)
            await store.save([saved(one), saved(two)])
            await store.take(one, USER, ttl=60.0)
            assert await store.save([saved(one), saved(two)]) == {one}
            assert await store.take(one, USER, ttl=60.0) is None
            assert await store.take(two, USER, ttl=60.0) is not None

        self.run(test)

    def test_refuses_another_owner(self):
        async def test(store):
            key = secrets.token_hex(20)
            await store.save([saved(key, body=b"mine")])
            assert await store.save([saved(key, owner="b", body=b"other")]) == {key}
            assert await store.take(key, USER, ttl=60.0) == Taken("a", b"mine")

        self.run(test)

    def test_is_not_there_for_another_identity_and_stays(self):
        async def test(store):
            key = secrets.token_hex(20)
            await store.save([saved(key)])
            for identity in ("=2", "?", "=1 ", "", "-", "=\x001", "=\ud800"):
                assert await store.take(key, identity, ttl=60.0) is None
            assert await store.take(key, USER, ttl=60.0) is not None

        self.run(test)

    def test_taken_session_is_not_there_for_an_empty_identity(self):
        async def test(store):
            key = secrets.token_hex(20)
            await store.save([saved(key)])
            await store.take(key, USER, ttl=60.0)
            assert await store.take(key, "", ttl=60.0) is None

        self.run(test)

    def test_changes_its_identity_with_its_owner(self):
        async def test(store):
            key = secrets.token_hex(20)
            await store.save([saved(key, identity="?")])
            await store.save([saved(key, identity=USER)])
            assert await store.take(key, "?", ttl=60.0) is None
            assert await store.take(key, USER, ttl=60.0) is not None

        self.run(test)

    def test_is_too_old_after_its_time(self):
        async def test(store):
            key = secrets.token_hex(20)
            await store.save([saved(key, ttl=0.2)])
            await self.pass_time(store, 0.3)
            assert await store.take(key, USER, ttl=60.0) is None

        self.run(test)

    def test_saving_again_gives_it_its_whole_time(self):
        async def test(store):
            key = secrets.token_hex(20)
            await store.save([saved(key, ttl=0.2)])
            await store.save([saved(key, ttl=60.0)])
            await self.pass_time(store, 0.3)
            assert await store.take(key, USER, ttl=60.0) is not None

        self.run(test)

    def test_owner_saves_anew_what_the_store_has_lost(self):
        async def test(store):
            key = secrets.token_hex(20)
            await store.save([saved(key, ttl=0.2)])
            await self.pass_time(store, 0.3)
            assert await store.save([saved(key, owner="b")]) == frozenset()
            assert await store.take(key, USER, ttl=60.0) == Taken("b", b"x")

        self.run(test)

    def test_forgets_for_the_owner_alone(self):
        async def test(store):
            one, two, taken = (secrets.token_hex(20) for _ in range(3))
            await store.save([saved(one), saved(two), saved(taken)])
            await store.take(taken, USER, ttl=60.0)
            await store.forget([(one, "a"), (two, "b"), (taken, "a")])
            assert await store.take(one, USER, ttl=60.0) is None
            assert await store.take(two, USER, ttl=60.0) is not None
            assert await store.save([saved(taken)]) == {taken}

        self.run(test)

    def test_saves_and_forgets_nothing(self):
        async def test(store):
            assert await store.save([]) == frozenset()
            await store.forget([])

        self.run(test)
