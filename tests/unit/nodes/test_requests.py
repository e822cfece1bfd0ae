"""Asking nodes and being answered: once, in time, from wherever one is."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from channels.layers import get_channel_layer

from channels_realtime.config import Config
from channels_realtime.errors import Unavailable
from channels_realtime.nodes import node as nodes
from channels_realtime.nodes import requests
from channels_realtime.nodes.node import Node
from channels_realtime.nodes.requests import answers, ask
from channels_realtime.runtime.loops import BackgroundLoop
from tests.support.scripted_layer import ScriptedLayer
from tests.support.virtual_time import VirtualClock, in_virtual_time, settle

WAIT_S = 2.0


@pytest.fixture(autouse=True)
def own_handlers(monkeypatch) -> list[Any]:
    """Questions of the test's own; returns what they were asked."""
    asked: list[Any] = []
    monkeypatch.setattr(requests, "_handlers", dict(requests._handlers))

    @answers("echo")
    def echo(node, arguments):
        asked.append(arguments)
        return arguments

    @answers("wait")
    async def wait(node, arguments):
        asked.append(arguments)
        await asyncio.sleep(arguments["seconds"])
        return "at last"

    @answers("fail")
    def fail(node, arguments):
        raise ZeroDivisionError("a secret")

    @answers("odd")
    def odd(node, arguments):
        return {"a set": {1}, "an object": Unavailable("x"), "too long": 2**70}

    @answers("number")
    def number(node, arguments):
        asked.append(arguments)
        return len(asked)

    return asked


class Street:
    """Nodes on one layer."""

    def __init__(self, count: int = 1) -> None:
        self.layer = ScriptedLayer()
        self.nodes = [Node(Config(), self.layer, clock=VirtualClock()) for _ in range(count)]

    async def __aenter__(self) -> Street:
        for node in self.nodes:
            await node.broker.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await settle()
        for node in self.nodes:
            await node.stop()

    async def ask(self, kind: str, arguments: Any = None, of: Any = None, wait: float = WAIT_S):
        first = self.nodes[0]
        wanted = frozenset([node.id for node in self.nodes] if of is None else of)
        return await requests._ask(self.layer, first.id, first, kind, arguments or {}, wanted, wait)


def now() -> float:
    return asyncio.get_running_loop().time()


def errors(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


# -- answers ---------------------------------------------------------------------------------------


@in_virtual_time
async def test_every_node_that_is_asked_answers():
    async with Street(3) as street:
        found = await street.ask("echo", {"n": [1, "a", b"\xff", None, 0.5]})
        value = {"n": [1, "a", b"\xff", None, 0.5]}
        assert found.by_node == {node.id: value for node in street.nodes}
        assert found.silent == frozenset()


@in_virtual_time
async def test_node_that_is_not_asked_does_not_answer(own_handlers):
    async with Street(3) as street:
        one, two, _ = street.nodes
        found = await street.ask("echo", of=[one.id, two.id])
        assert set(found.by_node) == {one.id, two.id}
        assert len(own_handlers) == 2
        await street.ask("echo", of=[two.id])
        assert len(own_handlers) == 3


@in_virtual_time
async def test_node_answers_itself_without_the_layer():
    async with Street() as street:
        street.layer.calls.clear()
        found = await street.ask("echo", {"n": 1})
        assert found.by_node == {street.nodes[0].id: {"n": 1}}
        assert street.layer.calls["group_send"] == 0


@in_virtual_time
async def test_one_node_is_asked_in_its_own_group():
    async with Street(3) as street:
        street.layer.deaf_groups.add("realtime.nodes")
        wanted = street.nodes[2].id
        assert set((await street.ask("echo", of=[wanted])).by_node) == {wanted}


@in_virtual_time
async def test_what_has_no_form_of_its_own_is_answered_as_text():
    async with Street(2) as street:

        @answers("text")
        def text(node, arguments):
            return {"path": os.fspath, "error": Unavailable("no")}

        (value, _) = (await street.ask("text")).by_node.values()
        assert value["error"] == str(Unavailable("no"))


@in_virtual_time
async def test_node_that_does_not_answer_is_silent_when_the_time_is_over():
    async with Street(2) as street:
        start = now()
        found = await street.ask("echo", of=[street.nodes[1].id, "nobody"])
        assert set(found.by_node) == {street.nodes[1].id}
        assert found.silent == {"nobody"}
        assert now() - start == pytest.approx(WAIT_S, abs=0.01)


@in_virtual_time
async def test_answer_that_comes_too_late_is_none():
    async with Street(2) as street:
        found = await street.ask("wait", {"seconds": 3.0}, of=[street.nodes[1].id])
        assert (found.by_node, found.silent) == ({}, {street.nodes[1].id})
        await asyncio.sleep(5)
        assert requests._waiting == {}


@in_virtual_time
async def test_question_is_answered_as_soon_as_all_have(own_handlers):
    async with Street(2) as street:
        start = now()
        found = await street.ask("wait", {"seconds": 1.0})
        assert list(found.by_node.values()) == ["at last"] * 2
        assert now() - start == pytest.approx(1.0, abs=0.01)
        assert len(own_handlers) == 2  # asked again meanwhile, and done once


@in_virtual_time
async def test_question_that_was_lost_is_asked_again():
    async with Street(2) as street:
        group = f"realtime.node.{street.nodes[1].id}"
        street.layer.deaf_groups.add(group)
        task = asyncio.create_task(street.ask("echo", of=[street.nodes[1].id]))
        await asyncio.sleep(1.0)
        street.layer.deaf_groups.clear()
        assert set((await task).by_node) == {street.nodes[1].id}


@in_virtual_time
async def test_answer_that_was_lost_is_repeated_and_nothing_done_twice(own_handlers):
    async with Street(2) as street:
        street.layer.deaf_groups.add(f"realtime.node.{street.nodes[0].id}")
        task = asyncio.create_task(street.ask("number", of=[street.nodes[1].id]))
        await asyncio.sleep(1.0)
        street.layer.deaf_groups.clear()
        assert (await task).by_node == {street.nodes[1].id: 1}
        assert len(own_handlers) == 1


@in_virtual_time
async def test_node_remembers_some_answers_and_no_more(own_handlers):
    async with Street() as street:
        for _ in range(requests._REMEMBERED + 50):
            await street.ask("number")
        assert len(street.nodes[0].answerer._given) == requests._REMEMBERED


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("fail", "A question 'fail' failed"),
        ("odd", "A question 'odd' failed"),
        ("unheard-of", "This node knows no question 'unheard-of'"),
    ],
)
def test_question_that_cannot_be_answered_is_silence_at_once(caplog, kind, word):
    @in_virtual_time
    async def scenario():
        async with Street(2) as street:
            start = now()
            found = await street.ask(kind, of=[street.nodes[1].id])
            assert (found.by_node, found.silent) == ({}, {street.nodes[1].id})
            assert now() - start < 0.1

    scenario()
    assert errors(caplog) == [word]


@in_virtual_time
async def test_layer_that_is_away_is_said_to_be():
    async with Street(2) as street:
        street.layer.fail("group_send", OSError("away"))
        with pytest.raises(Unavailable, match=r"did not take the control message: OSError"):
            await street.ask("echo", of=[street.nodes[1].id])
        assert requests._waiting == {}


@in_virtual_time
async def test_answer_that_the_layer_did_not_take_is_repeated():
    async with Street(2) as street:
        send, own = street.layer.group_send, f"realtime.node.{street.nodes[0].id}"
        failed = []

        async def fail_once(group, message):
            if group == own and not failed:
                failed.append(group)
                raise OSError("away")
            await send(group, message)

        street.layer.group_send = fail_once
        assert (await street.ask("echo", of=[street.nodes[1].id])).silent == frozenset()
        assert failed == [own]


@in_virtual_time
async def test_node_that_lives_is_told_from_one_that_does_not():
    async with Street(2) as street:
        one, two = street.nodes
        assert await requests._lives(one, two.id)
        assert not await requests._lives(one, "nobody")


def test_nobody_is_asked_where_nobody_is_named():
    assert ask("echo", {}, [], wait=WAIT_S) == requests.Answers(by_node={}, silent=frozenset())


# -- from sync code --------------------------------------------------------------------------------


@pytest.fixture
def outside(monkeypatch) -> Iterator[BackgroundLoop]:
    """A process that serves nobody, and a loop on which a node may be put all the same."""
    background_loop = BackgroundLoop()
    monkeypatch.setattr(requests, "background_loop", background_loop)
    monkeypatch.setattr(requests, "_outsider", requests._Outsider())
    monkeypatch.setattr(nodes, "_nodes", type(nodes._nodes)())
    yield background_loop
    background_loop.submit(requests._outsider.stop()).result(10)
    background_loop.stop()


def placed(background_loop: BackgroundLoop, layer: Any) -> Node:
    """A node on the background_loop's loop, unknown to this process."""

    async def make() -> Node:
        node = Node(Config(), layer)
        await node.broker.start()
        return node

    return background_loop.submit(make()).result(10)


async def test_thread_asks_while_the_nodes_loop_serves(monkeypatch):
    layer = ScriptedLayer()
    node = Node(Config(), layer)
    await node.broker.start()
    nodes._nodes[asyncio.get_running_loop()] = node
    try:
        found = await asyncio.to_thread(ask, "echo", {"n": 1}, [node.id], wait=WAIT_S)
        assert found.by_node == {node.id: {"n": 1}}
        many = await asyncio.gather(
            *(asyncio.to_thread(ask, "echo", {"n": n}, [node.id], wait=WAIT_S) for n in range(20))
        )
        assert [found.by_node[node.id]["n"] for found in many] == list(range(20))
    finally:
        await node.stop()


def test_process_that_serves_nobody_asks_through_an_inbox_of_its_own(outside):
    node = placed(outside, get_channel_layer())
    for number in range(3):
        found = ask("echo", {"n": number}, [node.id], wait=WAIT_S)
        assert found.by_node == {node.id: {"n": number}}
    found = ask("echo", {}, [node.id, "nobody"], wait=0.5)
    assert (set(found.by_node), found.silent) == ({node.id}, {"nobody"})
    outside.submit(node.stop()).result(10)


def test_threads_of_a_process_that_serves_nobody_share_its_inbox(outside):
    node = placed(outside, get_channel_layer())
    found: list[Any] = []
    threads = [
        threading.Thread(
            target=lambda n=n: found.append(ask("echo", {"n": n}, [node.id], wait=WAIT_S))
        )
        for n in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(answer.by_node[node.id]["n"] for answer in found) == list(range(10))
    assert len(get_channel_layer().groups["realtime.nodes"]) == 2
    outside.submit(node.stop()).result(10)


def test_process_that_ends_takes_its_inbox_out_of_the_groups(outside):
    node = placed(outside, get_channel_layer())
    ask("echo", {}, [node.id], wait=WAIT_S)
    assert len(get_channel_layer().groups["realtime.nodes"]) == 2
    requests._leave()
    assert len(get_channel_layer().groups["realtime.nodes"]) == 1
    requests._leave()
    outside.submit(node.stop()).result(10)


def test_process_without_a_layer_is_told_so(outside, settings):
    outside._running_loop()
    settings.CHANNELS_REALTIME = {**settings.CHANNELS_REALTIME, "CHANNEL_LAYER": "nowhere"}
    with pytest.raises(Unavailable, match=r"CHANNEL_LAYERS has no 'nowhere'"):
        ask("echo", {}, ["x"], wait=WAIT_S)


async def test_loop_that_does_not_answer_is_said_not_to(monkeypatch):
    """The call comes from the loop's own thread, which can serve nobody meanwhile."""
    node = Node(Config(), ScriptedLayer())
    nodes._nodes[asyncio.get_running_loop()] = node
    try:
        with pytest.raises(Unavailable, match=r"the event loop did not answer"):
            ask("echo", {}, [node.id], wait=-4.9)
    finally:
        await node.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_child_asks_though_its_parents_loop_is_not_its_own(outside):
    node = placed(outside, get_channel_layer())
    ask("echo", {}, [node.id], wait=WAIT_S)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            requests.background_loop.forget()  # as the process's own does by itself
            fresh = requests._outsider
            known = placed(requests.background_loop, ScriptedLayer())
            requests.get_channel_layer = lambda alias: known.layer
            found = ask("echo", {"n": 1}, [known.id], wait=WAIT_S)
            status = 0 if found.by_node == {known.id: {"n": 1}} and fresh.opened else 2
        finally:
            os._exit(status)
    deadline = time.monotonic() + 30
    done, status = os.waitpid(child, os.WNOHANG)
    while not done and time.monotonic() < deadline:
        time.sleep(0.02)
        done, status = os.waitpid(child, os.WNOHANG)
    assert (done, os.waitstatus_to_exitcode(status)) == (child, 0)
    assert ask("echo", {"n": 2}, [node.id], wait=WAIT_S).by_node == {node.id: {"n": 2}}
    outside.submit(node.stop()).result(10)
