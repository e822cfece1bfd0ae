"""Look-ups of credentials: bounded, in the order of arrival, and shared where nothing tells them apart."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from channels_realtime.auth.base import Authenticated, Handshake
from channels_realtime.auth.login_session import LoginSession
from channels_realtime.auth.lookups import LookUps
from channels_realtime.auth.tickets import Ticket
from channels_realtime.errors import RequestTimeout, TokenInvalid
from channels_realtime.identity import Identity
from tests.support.nodes import NodeHarness
from tests.support.virtual_time import in_virtual_time, settle


class Threads:
    """In place of the threads: a hop ends when the test says so."""

    def __init__(self) -> None:
        self.hops: list[tuple[list[str], asyncio.Future]] = []
        self.errors: dict[str, Exception] = {}
        self._peeked: list[str] | None = None

    def judge(self, present, handshake):
        credential = present[0][1]
        if self._peeked is not None:
            self._peeked.append(credential)
            return None
        if credential in self.errors:
            raise self.errors[credential]
        identity = Identity(user_id=credential, method="session")
        return Authenticated(identity=identity, user=SimpleNamespace(name=credential))

    async def run(self, work):
        self._peeked = names = []
        for look_up in work.__self__.look_ups:
            look_up.work()
        self._peeked = None
        ended = asyncio.get_running_loop().create_future()
        self.hops.append((names, ended))
        await ended
        work()

    @property
    def begun(self) -> list[str]:
        return [name for names, _ in self.hops for name in names]

    def end(self, credential: str, error: Exception | None = None) -> None:
        """End the hop with this credential; with an error, before anything was looked up."""
        for names, ended in self.hops:
            if credential in names and not ended.done():
                if error is None:
                    ended.set_result(None)
                else:
                    ended.set_exception(error)
                return
        raise AssertionError(f"{credential} does not run")

    def close(self) -> None:
        pass


class Running:
    """A node's look-ups with two places."""

    def __init__(self, threads: int = 2) -> None:
        self.harness = NodeHarness(hook_threads=threads, hook_timeout=5.0)
        self.node = self.harness.node
        self.node.authentication.close()
        self.node.authentication = self.threads = Threads()
        self.look_ups = self.node.service(LookUps)

    async def __aenter__(self) -> Running:
        return self

    async def __aexit__(self, *exception) -> None:
        await self.harness.__aexit__(*exception)

    def find(self, credential: str, by=LoginSession, **changed) -> asyncio.Task:
        scope = {
            "type": "websocket",
            "path": "/ws/",
            "headers": [(b"host", b"a"), (b"sec-websocket-key", credential.encode())],
            "client": ["192.0.2.1", 4711],
            **changed,
        }
        handshake = Handshake(scope, self.node.config)
        finding = self.look_ups.find(
            [(by(), credential)], handshake, lambda function: self.threads.judge
        )
        return asyncio.create_task(finding)


@in_virtual_time
async def test_look_ups_run_a_few_at_a_time_in_the_order_of_arrival():
    async with Running() as running:
        finding = [running.find(f"s{n}") for n in range(11)]
        await settle()
        assert [names for names, _ in running.threads.hops] == [["s0"], ["s1"]]
        running.threads.end("s1")
        await settle()
        for credential in ("s0", "s2", "s6", "s10"):
            running.threads.end(credential)
            await settle()
        # Several a hop where many wait.
        assert [len(names) for names, _ in running.threads.hops] == [1, 1, 4, 4, 1]
        assert running.threads.begun == [f"s{n}" for n in range(11)]
        found = [each.identity.user_id for each, _ in await asyncio.gather(*finding)]
        assert found == [f"s{n}" for n in range(11)]


@in_virtual_time
async def test_more_threads_look_up_only_where_there_is_no_progress():
    async with Running(threads=4) as running:
        finding = [running.find(f"s{n}") for n in range(6)]
        await settle()
        assert len(running.threads.hops) == 2
        await asyncio.sleep(0.06)
        assert len(running.threads.hops) == 3
        await asyncio.sleep(0.2)
        assert len(running.threads.hops) == 4
        for n in range(6):
            await settle()
            running.threads.end(f"s{n}")
        await asyncio.gather(*finding)
        await settle()
        finding = [running.find(f"t{n}") for n in range(3)]
        await settle()
        assert running.threads.begun[6:] == ["t0", "t1"]
        for n in range(3):
            running.threads.end(f"t{n}")
            await settle()
        await asyncio.gather(*finding)


@in_virtual_time
async def test_one_that_hangs_fails_alone_of_its_hop():
    async with Running(threads=1) as running:
        first = running.find("x")
        await settle()
        finding = [running.find(f"s{n}") for n in range(4)]
        await settle()
        running.threads.end("x")
        await settle()
        assert running.threads.begun == ["x", "s0", "s1", "s2", "s3"]
        running.threads.end("s0", RequestTimeout())
        await settle()
        assert running.threads.begun[5:] == ["s1", "s2", "s3"]
        running.threads.end("s1")
        with pytest.raises(RequestTimeout):
            await finding[0]
        found = [each.identity.user_id for each, _ in await asyncio.gather(*finding[1:])]
        assert found == ["s1", "s2", "s3"]
        await first


@in_virtual_time
async def test_equal_handshakes_that_wait_share_one_look_up_and_no_user_object():
    async with Running() as running:
        busy = [running.find("x"), running.find("y")]
        await settle()
        tabs = [running.find("s") for _ in range(5)]
        await settle()
        for credential in "xys":
            running.threads.end(credential)
            await settle()
        assert running.threads.begun == ["x", "y", "s"]
        found = await asyncio.gather(*tabs)
        assert {each.identity.user_id for each, _ in found} == {"s"}
        assert len({id(each.user) for each, _ in found}) == 5
        await asyncio.gather(*busy)


@in_virtual_time
async def test_look_up_that_has_begun_is_not_shared():
    async with Running() as running:
        first = running.find("s")
        await settle()
        await asyncio.sleep(1.0)
        second = running.find("s")
        await settle()
        assert running.threads.begun == ["s", "s"]
        for _ in range(2):
            running.threads.end("s")
            await settle()
        assert (await second)[1] - (await first)[1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "changed",
    [
        {"headers": [(b"host", b"b")]},
        {"headers": [(b"host", b"a"), (b"user-agent", b"x")]},
        {"path": "/other/ws/"},
        {"client": ["192.0.2.2", 4711]},
        {"query_string": b"a=b"},
        {"channels_realtime.namespace": "tenant"},
    ],
)
def test_handshake_that_differs_in_anything_is_looked_up_for_itself(changed):
    @in_virtual_time
    async def scenario():
        async with Running() as running:
            finding = [running.find("x"), running.find("y")]
            await settle()
            finding += [running.find("s"), running.find("s", **changed)]
            for credential in "xyss":
                await settle()
                running.threads.end(credential)
            await asyncio.gather(*finding)
            assert running.threads.begun == ["x", "y", "s", "s"]

    scenario()


class OfTheSite(LoginSession):
    """Its ``authenticate`` may look at anything."""


@pytest.mark.parametrize("by", [Ticket, OfTheSite])
def test_what_may_be_for_one_handshake_alone_is_not_shared(by):
    @in_virtual_time
    async def scenario():
        async with Running() as running:
            finding = [running.find("x"), running.find("y")]
            await settle()
            finding += [running.find("s", by), running.find("s", by)]
            for credential in "xyss":
                await settle()
                running.threads.end(credential)
            await asyncio.gather(*finding)
            assert running.threads.begun == ["x", "y", "s", "s"]

    scenario()


@in_virtual_time
async def test_client_that_goes_while_it_waits_costs_no_look_up():
    async with Running() as running:
        finding = [running.find(name) for name in ("x", "y", "gone", "z")]
        await settle()
        finding.pop(2).cancel()
        for credential in "xyz":
            await settle()
            running.threads.end(credential)
        await asyncio.gather(*finding)
        assert running.threads.begun == ["x", "y", "z"]


@in_virtual_time
async def test_client_that_goes_ends_no_look_up_of_another():
    async with Running() as running:
        busy = [running.find("x"), running.find("y")]
        await settle()
        gone, stays = running.find("s"), running.find("s")
        await settle()
        gone.cancel()
        for credential in "xys":
            await settle()
            running.threads.end(credential)
        assert (await stays)[0].identity.user_id == "s"
        await asyncio.gather(*busy)


@in_virtual_time
async def test_bad_credentials_fail_for_all_that_share_them():
    async with Running() as running:
        busy = [running.find("x"), running.find("y")]
        await settle()
        tabs = [running.find("s") for _ in range(2)]
        await settle()
        running.threads.end("x")
        await settle()
        running.threads.errors["s"] = TokenInvalid()
        running.threads.end("s")
        for tab in tabs:
            with pytest.raises(TokenInvalid):
                await tab
        running.threads.end("y")
        await asyncio.gather(*busy)


@in_virtual_time
async def test_waiting_is_given_up_when_nothing_moves():
    async with Running() as running:
        stuck = [running.find("x"), running.find("y")]
        await settle()
        waits = running.find("old")
        await asyncio.sleep(5.0)
        new = running.find("new")
        await settle()
        running.threads.end("x", RequestTimeout())
        for each in (stuck[0], waits):
            with pytest.raises(RequestTimeout):
                await each
        await settle()
        assert running.threads.begun == ["x", "y", "new"]
        for credential in ("y", "new"):
            running.threads.end(credential)
        await asyncio.gather(stuck[1], new)


@in_virtual_time
async def test_stop_ends_the_look_ups_that_run():
    async with Running() as running:
        finding = running.find("x")
        await settle()
        await running.look_ups.stop()
        with pytest.raises(RequestTimeout, match="the server stops"):
            await finding
