"""Requests between nodes: served once, answered in time, from any thread and any process."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from channels.layers import get_channel_layer

from channels_realtime.config import Config
from channels_realtime.errors import Unavailable
from channels_realtime.nodes import envelope, requests
from channels_realtime.nodes.node import Handler, Node, place
from channels_realtime.nodes.requests import Answers, anotify, notify, request
from channels_realtime.runtime import loops
from channels_realtime.runtime.loops import BackgroundLoop
from tests.support.processes import exit_code
from tests.support.scripted_layer import ScriptedLayer
from tests.support.virtual_time import VirtualClock, in_virtual_time, settle

WAIT_S = 2.0


class Handlers:
    """Requests of the tests' own, and what they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.table: Mapping[str, Handler] = {
            "echo": self.echo,
            "wait": self.wait,
            "fail": self.fail,
            "unencodable": self.unencodable,
            "text": self.text,
            "count": self.count,
        }

    def echo(self, node: Node, arguments: dict[str, Any]) -> Any:
        self.asked.append((node.id, arguments))
        return arguments

    async def wait(self, node: Node, arguments: dict[str, Any]) -> str:
        self.asked.append((node.id, arguments))
        await asyncio.sleep(arguments["seconds"])
        return "at last"

    def fail(self, node: Node, arguments: dict[str, Any]) -> None:
        raise ZeroDivisionError("a secret")

    def unencodable(self, node: Node, arguments: dict[str, Any]) -> Any:
        return {"a set": {1}, "an object": Unavailable("x"), "too long": 2**70}

    def text(self, node: Node, arguments: dict[str, Any]) -> Any:
        return {"path": os.fspath, "error": Unavailable("no")}

    def count(self, node: Node, arguments: dict[str, Any]) -> int:
        self.asked.append((node.id, arguments))
        return len(self.asked)


class Nodes:
    """Nodes on one layer."""

    def __init__(self, count: int = 1) -> None:
        self.layer = ScriptedLayer()
        self.handlers = Handlers()
        self.nodes = [
            Node(Config(), self.layer, handlers=self.handlers.table, clock=VirtualClock())
            for _ in range(count)
        ]

    async def __aenter__(self) -> Nodes:
        for node in self.nodes:
            await node.broker.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await settle()
        for node in self.nodes:
            await node.stop()

    async def request(
        self, kind: str, arguments: Any = None, of: Any = None, wait: float = WAIT_S
    ) -> Answers:
        """The first node requests something, of all nodes unless some are named."""
        wanted = [node.id for node in self.nodes] if of is None else of
        return await self.nodes[0].requests.request(kind, arguments or {}, wanted, wait=wait)


def now() -> float:
    return asyncio.get_running_loop().time()


async def cancel_others() -> None:
    """End what the running loop still waits for."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def errors(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


# -- answers ---------------------------------------------------------------------------------------


@in_virtual_time
async def test_every_node_that_is_asked_answers():
    async with Nodes(3) as group:
        found = await group.request("echo", {"n": [1, "a", b"\xff", None, 0.5]})
        value = {"n": [1, "a", b"\xff", None, 0.5]}
        assert found.by_node == {node.id: value for node in group.nodes}
        assert found.silent == frozenset()


@in_virtual_time
async def test_node_that_is_not_asked_does_not_answer():
    async with Nodes(3) as group:
        one, two, _ = group.nodes
        found = await group.request("echo", of=[one.id, two.id])
        assert set(found.by_node) == {one.id, two.id}
        assert len(group.handlers.asked) == 2
        await group.request("echo", of=[two.id])
        assert len(group.handlers.asked) == 3


@in_virtual_time
async def test_node_answers_itself_without_the_layer():
    async with Nodes() as group:
        group.layer.calls.clear()
        found = await group.request("echo", {"n": 1})
        assert found.by_node == {group.nodes[0].id: {"n": 1}}
        assert group.layer.calls["group_send"] == 0


@in_virtual_time
async def test_one_node_is_asked_in_its_own_group():
    async with Nodes(3) as group:
        group.layer.deaf_groups.add("realtime.nodes")
        wanted = group.nodes[2].id
        assert set((await group.request("echo", of=[wanted])).by_node) == {wanted}


@in_virtual_time
async def test_what_has_no_form_of_its_own_is_answered_as_text():
    async with Nodes(2) as group:
        (value, _) = (await group.request("text")).by_node.values()
        assert value["error"] == str(Unavailable("no"))


@in_virtual_time
async def test_node_that_does_not_answer_is_silent_when_the_time_is_over():
    async with Nodes(2) as group:
        start = now()
        found = await group.request("echo", of=[group.nodes[1].id, "silent"])
        assert set(found.by_node) == {group.nodes[1].id}
        assert found.silent == {"silent"}
        assert now() - start == pytest.approx(WAIT_S, abs=0.01)


@in_virtual_time
async def test_request_ends_in_time_whatever_the_moment_of_its_beginning():
    """What is left of the time may be less than a timer can measure."""
    async with Nodes() as group:
        sent: list[str] = []
        send = group.layer.group_send

        async def count(name: str, message: dict[str, Any]) -> None:
            if "control" in message:
                sent.append(name)
            await send(name, message)

        group.layer.group_send = count  # type: ignore[method-assign]
        for _ in range(100):
            await asyncio.sleep(0.7)
            start = now()
            sent.clear()
            assert (await group.request("echo", of=["silent"])).silent == {"silent"}
            assert now() - start == pytest.approx(WAIT_S, abs=0.01)
            assert len(sent) == 5  # at once, and every 0.4 s


@in_virtual_time
async def test_answer_that_comes_too_late_is_none():
    async with Nodes(2) as group:
        found = await group.request("wait", {"seconds": 3.0}, of=[group.nodes[1].id])
        assert (found.by_node, found.silent) == ({}, {group.nodes[1].id})
        await asyncio.sleep(5)
        assert group.nodes[0].requests._pending == {}


@in_virtual_time
async def test_request_is_answered_as_soon_as_all_have():
    async with Nodes(2) as group:
        start = now()
        found = await group.request("wait", {"seconds": 1.0})
        assert list(found.by_node.values()) == ["at last"] * 2
        assert now() - start == pytest.approx(1.0, abs=0.01)
        assert len(group.handlers.asked) == 2  # asked again meanwhile, and done once


@in_virtual_time
async def test_request_that_was_lost_is_asked_again():
    async with Nodes(2) as group:
        group.layer.deaf_groups.add(f"realtime.node.{group.nodes[1].id}")
        task = asyncio.create_task(group.request("echo", of=[group.nodes[1].id]))
        await asyncio.sleep(1.0)
        group.layer.deaf_groups.clear()
        assert set((await task).by_node) == {group.nodes[1].id}


@in_virtual_time
async def test_answer_that_was_lost_is_repeated_and_nothing_done_twice():
    async with Nodes(2) as group:
        group.layer.deaf_groups.add(f"realtime.node.{group.nodes[0].id}")
        task = asyncio.create_task(group.request("count", of=[group.nodes[1].id]))
        await asyncio.sleep(1.0)
        group.layer.deaf_groups.clear()
        assert (await task).by_node == {group.nodes[1].id: 1}
        assert len(group.handlers.asked) == 1


@in_virtual_time
async def test_node_remembers_some_answers_and_no_more():
    async with Nodes() as group:
        for _ in range(requests._REMEMBERED + 50):
            await group.request("count")
        assert len(group.nodes[0].requests._given) == requests._REMEMBERED


def test_node_remembers_answers_of_a_bounded_size(monkeypatch):
    @in_virtual_time
    async def scenario():
        async with Nodes() as group:
            for _ in range(100):
                await group.request("count")
            given = group.nodes[0].requests._given
            assert 10 < len(given) < 100
            assert sum(len(data or b"") for data in given.values()) <= 200

    monkeypatch.setattr(requests, "_REMEMBERED_BYTES", 200)
    scenario()


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("fail", "A request 'fail' failed"),
        ("unencodable", "A request 'unencodable' failed"),
        ("unheard-of", "This node does not know the request 'unheard-of'"),
    ],
)
def test_request_that_cannot_be_answered_is_silence_at_once(caplog, kind, word):
    @in_virtual_time
    async def scenario():
        async with Nodes(2) as group:
            start = now()
            found = await group.request(kind, of=[group.nodes[1].id])
            assert (found.by_node, found.silent) == ({}, {group.nodes[1].id})
            assert now() - start < 0.1

    scenario()
    assert errors(caplog) == [word]


@in_virtual_time
async def test_layer_that_is_away_is_said_to_be():
    async with Nodes(2) as group:
        group.layer.fail("group_send", OSError("away"))
        with pytest.raises(Unavailable, match=r"did not take the control message: OSError"):
            await group.request("echo", of=[group.nodes[1].id])
        assert group.nodes[0].requests._pending == {}


@in_virtual_time
async def test_answer_that_the_layer_did_not_take_is_repeated():
    async with Nodes(2) as group:
        send, own = group.layer.group_send, f"realtime.node.{group.nodes[0].id}"
        failed = []

        async def fail_once(group, message):
            if group == own and not failed:
                failed.append(group)
                raise OSError("away")
            await send(group, message)

        group.layer.group_send = fail_once
        assert (await group.request("echo", of=[group.nodes[1].id])).silent == frozenset()
        assert failed == [own]


@in_virtual_time
async def test_node_that_lives_is_told_from_one_that_does_not():
    async with Nodes(2) as group:
        one, two = group.nodes
        assert await one.requests.is_alive(two.id)
        assert not await one.requests.is_alive("silent")


def test_request_to_no_node_is_answered_at_once():
    assert request("echo", {}, [], wait=WAIT_S) == Answers(by_node={}, silent=frozenset())


# -- what is not known -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"kind": "unheard-of"},
        {"kind": 7, "nodes": []},
        {"kind": "answer", "number": "unheard-of", "node": "x", "body": b"\xc1"},
        {"kind": "request", "request": "echo", "number": "1", "nodes": [], "body": b"\x80"},
        {"kind": "request", "request": "echo", "number": "1", "nodes": ["x"], "body": b"\x80"},
    ],
)
def test_message_that_is_not_known_or_not_for_this_node_is_ignored(caplog, message):
    @in_virtual_time
    async def scenario():
        async with Nodes() as group:
            (node,) = group.nodes
            node.control({"sender": "x", **message})
            await settle()
            assert group.handlers.asked == []
            assert (node.requests._pending, len(node.requests._given)) == ({}, 0)
            assert (await group.request("echo", {"n": 1})).by_node == {node.id: {"n": 1}}

    scenario()
    assert errors(caplog) == []


@in_virtual_time
async def test_answer_of_a_node_that_was_not_asked_is_ignored():
    async with Nodes(3) as group:
        one, two, three = group.nodes
        task = asyncio.create_task(group.request("wait", {"seconds": 1.0}, of=[two.id]))
        await settle()
        (number,) = one.requests._pending
        body = requests._encode({"value": "forged"})
        answer = {"kind": "answer", "number": number, "node": three.id, "body": body}
        await envelope.send_control(group.layer, "realtime", answer, 1.0, node_id=one.id)
        assert (await task).by_node == {two.id: "at last"}


@in_virtual_time
async def test_inbox_that_serves_nothing_takes_answers_only():
    async with Nodes() as group:
        spawned: list[Any] = []
        inbox = requests.Requests(
            group.nodes[0].requests._handlers,
            node_id="outside",
            layer=group.layer,
            config=Config(),
            spawn=lambda coroutine, name: spawned.append(coroutine),
            serves=False,
        )
        body = requests._encode({})
        for kind in ("request", "notification"):
            inbox.take(
                {
                    "kind": kind,
                    "request": "echo",
                    "number": "1",
                    "sender": group.nodes[0].id,
                    "nodes": ["outside"],
                    "body": body,
                }
            )
        await settle()
        assert (spawned, group.handlers.asked) == ([], [])


# -- notifications ---------------------------------------------------------------------------------


@in_virtual_time
async def test_notification_reaches_every_node():
    async with Nodes(3) as group:
        await group.nodes[0].requests.notify("echo", {"n": 1})
        await settle()
        assert {node_id for node_id, _ in group.handlers.asked} == {n.id for n in group.nodes}
        assert all(arguments == {"n": 1} for _, arguments in group.handlers.asked)


@in_virtual_time
async def test_notification_reaches_the_own_node_before_the_layer():
    async with Nodes(2) as group:
        asked_before_layer: list[Any] = []
        send = group.layer.group_send

        async def note(name: str, message: dict[str, Any]) -> None:
            asked_before_layer.extend(group.handlers.asked)
            await send(name, message)

        group.layer.group_send = note  # type: ignore[method-assign]
        await group.nodes[0].requests.notify("echo", {"n": 1})
        assert asked_before_layer == [(group.nodes[0].id, {"n": 1})]


@in_virtual_time
async def test_notification_reaches_the_own_node_though_the_layer_is_away():
    async with Nodes(2) as group:
        group.layer.fail("group_send", OSError("away"))
        with pytest.raises(Unavailable, match=r"did not take the control message: OSError"):
            await group.nodes[0].requests.notify("echo", {"n": 1})
        assert group.handlers.asked == [(group.nodes[0].id, {"n": 1})]


@in_virtual_time
async def test_notification_is_served_though_its_handler_waits():
    async with Nodes() as group:
        (node,) = group.nodes
        await node.requests.notify("wait", {"seconds": 5.0})
        await settle()
        waiting = [t for t in asyncio.all_tasks() if t.get_name() == "wait"]
        assert len(waiting) == len(group.handlers.asked) > 0
        await asyncio.sleep(5.1)
        assert all(task.done() for task in waiting)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("fail", "A request 'fail' failed"),
        ("unheard-of", "This node does not know the request 'unheard-of'"),
    ],
)
def test_notification_that_cannot_be_served_is_logged_and_nothing_else(caplog, kind, word):
    @in_virtual_time
    async def scenario():
        async with Nodes(2) as group:
            await group.nodes[0].requests.notify(kind, {})
            await settle()
            await group.nodes[0].requests.notify("echo", {})
            await settle()
            assert {node_id for node_id, _ in group.handlers.asked} == {n.id for n in group.nodes}

    scenario()
    assert set(errors(caplog)) == {word}


# -- from sync code --------------------------------------------------------------------------------


@pytest.fixture
def outside(monkeypatch) -> Iterator[BackgroundLoop]:
    """A process that serves no connections, and the loop that it sends from."""
    background_loop = BackgroundLoop()
    monkeypatch.setattr(loops, "background_loop", background_loop)
    monkeypatch.setattr(loops, "_serving", weakref.WeakSet())
    monkeypatch.setattr(requests, "_outside", requests._Outside())
    yield background_loop
    requests._outside.stop()
    background_loop.stop()


def start_node(background_loop: BackgroundLoop, layer: Any) -> Node:
    """A node on the background loop that stands for another process: requests do not go through it."""

    async def make() -> Node:
        node = Node(Config(), layer, handlers=Handlers().table)
        await node.broker.start()
        return node

    return background_loop.submit(make()).result(10)


async def test_thread_requests_while_the_nodes_loop_serves():
    node = Node(Config(), ScriptedLayer(), handlers=Handlers().table)
    await node.broker.start()
    place(node)
    try:
        found = await asyncio.to_thread(request, "echo", {"n": 1}, [node.id], wait=WAIT_S)
        assert found.by_node == {node.id: {"n": 1}}
        many = await asyncio.gather(
            *(
                asyncio.to_thread(request, "echo", {"n": n}, [node.id], wait=WAIT_S)
                for n in range(20)
            )
        )
        assert [found.by_node[node.id]["n"] for found in many] == list(range(20))
    finally:
        await node.stop()


def test_process_that_serves_no_connections_asks_through_an_inbox_of_its_own(outside):
    node = start_node(outside, get_channel_layer())
    for number in range(3):
        found = request("echo", {"n": number}, [node.id], wait=WAIT_S)
        assert found.by_node == {node.id: {"n": number}}
    found = request("echo", {}, [node.id, "silent"], wait=0.5)
    assert (set(found.by_node), found.silent) == ({node.id}, {"silent"})
    outside.submit(node.stop()).result(10)


def test_threads_of_a_process_that_serves_no_connections_share_its_inbox(outside):
    node = start_node(outside, get_channel_layer())
    found: list[Any] = []
    threads = [
        threading.Thread(
            target=lambda n=n: found.append(request("echo", {"n": n}, [node.id], wait=WAIT_S))
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
    node = start_node(outside, get_channel_layer())
    request("echo", {}, [node.id], wait=WAIT_S)
    assert len(get_channel_layer().groups["realtime.nodes"]) == 2
    requests._leave()
    assert len(get_channel_layer().groups["realtime.nodes"]) == 1
    requests._leave()
    outside.submit(node.stop()).result(10)


def test_process_without_a_layer_is_told_so(outside, settings):
    outside._running_loop()
    settings.CHANNELS_REALTIME = {**settings.CHANNELS_REALTIME, "CHANNEL_LAYER": "nowhere"}
    with pytest.raises(Unavailable, match=r"CHANNEL_LAYERS has no 'nowhere'"):
        request("echo", {}, ["x"], wait=WAIT_S)


async def test_loop_that_does_not_answer_is_said_not_to(monkeypatch):
    """The call comes from the loop's own thread, which serves nothing meanwhile."""
    monkeypatch.setattr(loops, "_LOOP_S", 0.1)
    node = Node(Config(), ScriptedLayer(), handlers=Handlers().table)
    place(node)
    try:
        with pytest.raises(
            Unavailable, match=r"^the event loop did not answer within 0.1 seconds$"
        ):
            request("echo", {}, [node.id], wait=-4.0)
    finally:
        await node.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_child_asks_though_its_parents_loop_is_not_its_own(outside):
    node = start_node(outside, get_channel_layer())
    request("echo", {}, [node.id], wait=WAIT_S)
    inbox = requests._outside
    child = os.fork()
    if child == 0:
        status = 1
        try:
            known = start_node(outside, ScriptedLayer())
            requests.configured_layer = lambda alias: known.layer
            found = request("echo", {"n": 1}, [known.id], wait=WAIT_S)
            own = requests._outside
            opened = own is not inbox and own._broker is not None and own._broker.inbox is not None
            status = 0 if found.by_node == {known.id: {"n": 1}} and opened else 2
        finally:
            os._exit(status)
    assert exit_code(child) == 0
    assert request("echo", {"n": 2}, [node.id], wait=WAIT_S).by_node == {node.id: {"n": 2}}
    outside.submit(node.stop()).result(10)


# -- notifications from sync and async code --------------------------------------------------------


async def test_thread_notifies_the_node_that_serves():
    handlers = Handlers()
    node = Node(Config(), ScriptedLayer(), handlers=handlers.table)
    await node.broker.start()
    place(node)
    try:
        assert await asyncio.to_thread(lambda: notify("echo", {"n": 1}, wait=WAIT_S)) is True
        assert await anotify("echo", {"n": 2}) is True
        assert (node.id, {"n": 1}) in handlers.asked
        assert (node.id, {"n": 2}) in handlers.asked
    finally:
        await node.stop()


async def test_own_node_is_notified_though_the_layer_is_away(caplog):
    handlers, layer = Handlers(), ScriptedLayer()
    node = Node(Config(), layer, handlers=handlers.table)
    await node.broker.start()
    place(node)
    try:
        layer.fail("group_send", OSError("away"), OSError("away"))
        assert await asyncio.to_thread(lambda: notify("echo", {"n": 1}, wait=WAIT_S)) is False
        assert await anotify("echo", {"n": 2}) is False
        assert handlers.asked == [(node.id, {"n": 1}), (node.id, {"n": 2})]
    finally:
        await node.stop()
    words = "the channel layer did not take the control message: OSError"
    assert errors(caplog) == [f"The nodes were not told 'echo': {words}"] * 2


def test_process_that_serves_no_connections_notifies_without_an_inbox(outside):
    node = start_node(outside, get_channel_layer())
    heard = threading.Event()
    node.requests._handlers["hear"] = lambda arguments: heard.set()
    assert notify("hear", {}, wait=WAIT_S) is True
    assert heard.wait(10)
    assert len(get_channel_layer().groups["realtime.nodes"]) == 1
    outside.submit(node.stop()).result(10)


def test_notification_that_the_layer_does_not_take_in_time_is_logged(outside, monkeypatch, caplog):
    layer = ScriptedLayer()
    layer.hanging.add("group_send")
    monkeypatch.setattr(requests, "configured_layer", lambda alias: layer)
    assert notify("echo", {}, wait=0.1) is False
    assert errors(caplog) == ["The layer did not take 'echo' within 0.1 seconds"]
    outside.submit(cancel_others()).result(10)


def test_notification_of_a_process_without_a_layer_is_logged(outside, settings, caplog):
    settings.CHANNELS_REALTIME = {**settings.CHANNELS_REALTIME, "CHANNEL_LAYER": "nowhere"}
    assert notify("echo", {}, wait=WAIT_S) is False
    assert errors(caplog) == ["The nodes were not told 'echo': CHANNEL_LAYERS has no 'nowhere'"]
