"""Asking nodes and being answered, from any process: what a control message alone cannot do.

A question goes to one node or to all, is sent again until it is answered or its time is over, and is
answered once: a node that gets it again repeats its answer. Whoever asks needs an inbox of its own: a
process that serves has its node's, any other opens one at its first question.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import dataclasses
import inspect
import logging
import os
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import CancelledError
from typing import Any

import msgspec
from channels.layers import get_channel_layer

from ..errors import Unavailable
from ..monitoring.registry import before_forgetting
from ..protocol.messages import Publication
from ..runtime.loops import background_loop
from ..settings import get_config
from .broker import Broker, send_control
from .node import Node, serving_node, takes_control

logger = logging.getLogger(__name__)

_AGAIN_S = 0.4
"""After how long an unanswered question is sent again; a layer may drop a message in silence."""

_REMEMBERED = 500
"""Answers that a node can repeat; the oldest is forgotten first."""

_THERE_WAIT_S = 2.0
"""How long a node whose lease has run out may take to say that it lives."""

_LEAVE_WAIT_S = 1.0

_encode = msgspec.msgpack.Encoder(enc_hook=str).encode
_decode = msgspec.msgpack.Decoder().decode

Handler = Callable[[Node, dict[str, Any]], Any]
"""Answers one kind of question, on the node's loop: takes the node and the question's arguments,
returns what msgpack can hold. Sync handlers must not block; async ones are awaited."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What came back: the answers by node id, and the nodes that kept silent."""

    by_node: Mapping[str, Any]
    silent: frozenset[str]


_handlers: dict[str, Handler] = {}


def answers(kind: str) -> Callable[[Handler], Handler]:
    """Register the decorated function as the handler of one kind of question."""

    def register(handler: Handler) -> Handler:
        _handlers[kind] = handler
        return handler

    return register


# -- answering -------------------------------------------------------------------------------------


class _Answerer:
    """The questions that one node has been asked."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._given: OrderedDict[str, bytes | None] = OrderedDict()

    def take(self, message: Mapping[str, Any]) -> None:
        """A question has come, perhaps again."""
        number = message["number"]
        wanted = message.get("nodes")
        if wanted is not None and self._node.id not in wanted:
            return
        if number in self._given:
            known = self._given[number]
            if known is not None:
                self._node.spawn(self._reply(message, known), "answer")
            return  # else: it is being worked on
        self._given[number] = None
        while len(self._given) > _REMEMBERED:
            self._given.popitem(last=False)
        self._node.spawn(self._answer(message), "answer")

    async def _answer(self, message: Mapping[str, Any]) -> None:
        kind = message["question"]
        handler = _handlers.get(kind)
        if handler is None:
            logger.warning("This node knows no question %r", kind)
            data = _encode({"error": "unknown"})
        else:
            try:
                value = handler(self._node, _decode(message["body"]))
                if inspect.isawaitable(value):
                    value = await value
                data = _encode({"value": value})
            except Exception as error:
                logger.exception("A question %r failed", kind)
                data = _encode({"error": type(error).__name__})
        self._given[message["number"]] = data
        await self._reply(message, data)

    async def _reply(self, message: Mapping[str, Any], data: bytes) -> None:
        reply = {
            "kind": "answer",
            "number": message["number"],
            "node": self._node.id,
            "body": data,
        }
        asker = message["asker"]
        if asker == self._node.id:
            _take_answer(reply)
            return
        config = self._node.config
        try:
            await send_control(
                self._node.layer, config.group_prefix, reply, config.publish_timeout, node_id=asker
            )
        except Unavailable as error:
            logger.info("An answer was not sent: %s", error.reason)  # it is asked again


@takes_control("question")
def _take_question(node: Node, message: dict[str, Any]) -> None:
    answerer = node.answerer
    if answerer is None:
        answerer = node.answerer = _Answerer(node)
    answerer.take(message)


@takes_control("answer")
def _take_answer_of(node: Node, message: dict[str, Any]) -> None:
    _take_answer(message)


# -- asking ----------------------------------------------------------------------------------------


class _Waiting:
    """A question that is on its way."""

    def __init__(self, wanted: frozenset[str]) -> None:
        self.wanted = wanted
        self.answers: dict[str, Any] = {}
        self.done = asyncio.get_running_loop().create_future()

    def take(self, node_id: str, body: Any) -> None:
        if node_id not in self.wanted or node_id in self.answers:
            return
        self.answers[node_id] = body
        if len(self.answers) == len(self.wanted) and not self.done.done():
            self.done.set_result(None)


_waiting: dict[str, _Waiting] = {}


def _take_answer(message: Mapping[str, Any]) -> None:
    waiting = _waiting.get(message["number"])
    if waiting is not None:
        waiting.take(message["node"], _decode(message["body"]))


def ask(kind: str, arguments: Mapping[str, Any], nodes: Collection[str], *, wait: float) -> Answers:
    """Ask nodes something; from sync code.

    Args:
        kind: of question, as a handler was registered for it.
        arguments: what msgpack can hold.
        nodes: the ids of the nodes whose answers are waited for.
        wait: seconds to wait for all of them.

    Returns:
        what was answered in time. A handler that failed counts as silent.

    Raises:
        Unavailable: the channel layer cannot be reached.
    """
    wanted = frozenset(nodes)
    if not wanted:
        return Answers(by_node={}, silent=frozenset())
    node = serving_node()
    if node is not None:
        # In a context of its own: see ``control``.
        future = contextvars.Context().run(
            asyncio.run_coroutine_threadsafe,
            _ask(node.layer, node.id, node, kind, arguments, wanted, wait),
            node.loop,
        )
    else:
        future = background_loop.submit(_ask_from_outside(kind, arguments, wanted, wait))
    try:
        return future.result(wait + 5.0)
    except (TimeoutError, CancelledError):  # it is busy, or ending
        future.cancel()
        raise Unavailable("the event loop did not answer") from None


async def _ask(
    layer: Any,
    asker: str,
    own: Node | None,
    kind: str,
    arguments: Mapping[str, Any],
    wanted: frozenset[str],
    wait: float,
) -> Answers:
    config = get_config() if own is None else own.config
    number = secrets.token_hex(8)
    waiting = _waiting[number] = _Waiting(wanted)
    message: dict[str, Any] = {
        "kind": "question",
        "question": kind,
        "number": number,
        "asker": asker,
        "nodes": sorted(wanted),
        "body": _encode(dict(arguments)),
    }
    deadline = asyncio.get_running_loop().time() + wait
    try:
        if own is not None and own.id in wanted:
            _take_question(own, message)
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            silent = wanted - waiting.answers.keys()
            if own is not None:
                silent -= {own.id}
            await _send(layer, config.group_prefix, message, silent, config.publish_timeout)
            await asyncio.wait([waiting.done], timeout=min(_AGAIN_S, left))
            if waiting.done.done():
                break
    finally:
        del _waiting[number]
    good = {node: body["value"] for node, body in waiting.answers.items() if "value" in body}
    return Answers(by_node=good, silent=wanted - good.keys())


async def _send(
    layer: Any, prefix: str, message: dict[str, Any], nodes: frozenset[str], timeout: float
) -> None:
    if len(nodes) == 1:
        await send_control(layer, prefix, message, timeout, node_id=next(iter(nodes)))
    elif nodes:
        await send_control(layer, prefix, message, timeout)


class _Outsider:
    """The inbox of a process that serves nobody: a broker that takes answers and nothing else."""

    def __init__(self) -> None:
        self._broker: Broker | None = None
        self.layer: Any = None
        self.id = secrets.token_hex(16)

    @property
    def opened(self) -> bool:
        return self._broker is not None and self._broker.inbox is not None

    async def ready(self) -> None:
        if self._broker is None:
            config = get_config()
            self.layer = get_channel_layer(config.channel_layer)
            if self.layer is None:
                raise Unavailable(f"CHANNEL_LAYERS has no {config.channel_layer!r}")
            self._broker = Broker(
                self.layer,
                prefix=config.group_prefix,
                node_id=self.id,
                receiver=self,
                subscribe_timeout=config.subscribe_timeout,
                publish_timeout=config.publish_timeout,
                check_interval=config.layer_check_interval,
            )
        await self._broker.start()

    async def stop(self) -> None:
        if self._broker is not None:
            await self._broker.stop()

    def receive(self, publication: Publication, sent_at: float | None = None) -> None:
        """Nothing is published to the groups that it is in."""

    def control(self, message: dict[str, Any]) -> None:
        """An answer; questions and the like are for nodes."""
        if message.get("kind") == "answer":
            _take_answer(message)


_outsider = _Outsider()


async def _ask_from_outside(
    kind: str, arguments: Mapping[str, Any], wanted: frozenset[str], wait: float
) -> Answers:
    outsider = _outsider
    await outsider.ready()
    return await _ask(outsider.layer, outsider.id, None, kind, arguments, wanted, wait)


@atexit.register
def _leave() -> None:
    """Take the inbox out of its groups, where a layer would keep it for a day."""
    if _outsider.opened:
        try:
            background_loop.submit(_outsider.stop()).result(_LEAVE_WAIT_S)
        except Exception as error:
            logger.debug("The inbox stays in its groups: %s", type(error).__name__)


def _forget() -> None:
    global _outsider
    _outsider = _Outsider()
    _waiting.clear()


if hasattr(os, "register_at_fork"):  # the loop that the inbox was opened on stayed in the parent
    os.register_at_fork(after_in_child=_forget)


# -- whether a node lives --------------------------------------------------------------------------


@answers("there")
def _there(node: Node, arguments: dict[str, Any]) -> bool:
    return True


@before_forgetting
async def _lives(node: Node, node_id: str) -> bool:
    """Whether a node answers though the database has not heard of it."""
    wanted = frozenset({node_id})
    try:
        found = await _ask(node.layer, node.id, node, "there", {}, wanted, _THERE_WAIT_S)
    except Unavailable:
        return True  # nothing can be said, and nothing could be forgotten
    return node_id in found.by_node
