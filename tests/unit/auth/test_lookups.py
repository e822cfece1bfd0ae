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
    """In place of the threads: a look-up ends when the test says so."""

    def __init__(self) -> None:
        self.running: list[tuple[str, asyncio.Future]] = []

    async def run(self, judge, present, handshake):
        ended = asyncio.get_running_loop().create_future()
        self.running.append((present[0][1], ended))
        return await ended

    @property
    def begun(self) -> list[str]:
        return [credential for credential, _ in self.running]

    def end(self, credential: str, error: Exception | None = None) -> None:
        for found, ended in self.running:
            if found == credential and not ended.done():
                if error is not None:
                    ended.set_exception(error)
                    return
                user = SimpleNamespace(name=credential)
                identity = Identity(user_id=credential, method="session")
                ended.set_result(Authenticated(identity=identity, user=user))
                return
        raise AssertionError(f"{credential} does not run")

    def close(self) -> None:
        pass


class Running:
    """A node's look-ups with two places."""

    def __init__(self) -> None:
        self.harness = NodeHarness(hook_threads=2, hook_timeout=5.0)
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
        finding = self.look_ups.find([(by(), credential)], handshake, lambda function: function)
        return asyncio.create_task(finding)


@in_virtual_time
async def test_look_ups_run_a_few_at_a_time_in_the_order_of_arrival():
    async with Running() as running:
        finding = [running.find(f"s{n}") for n in range(6)]
        await settle()
        assert running.threads.begun == ["s0", "s1"]
        running.threads.end("s1")
        await settle()
        assert running.threads.begun == ["s0", "s1", "s2"]
        for n in (0, 2, 3, 4, 5):
            running.threads.end(f"s{n}")
            await settle()
        assert running.threads.begun == [f"s{n}" for n in range(6)]
        found = [each.identity.user_id for each, _ in await asyncio.gather(*finding)]
        assert found == [f"s{n}" for n in range(6)]


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
        running.threads.end("s", TokenInvalid())
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
