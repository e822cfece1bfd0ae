"""Requests between processes: to one node, to some or to all, answered or not.

A request goes to nodes over the channel layer, is sent again until it is answered or its time is
over, and is served once: a node that gets it again repeats its answer. A notification is a request
that is not answered: it goes to all nodes once, this process's own first. ``services.HANDLERS``
lists what nodes serve. The sender of a request needs an inbox: a process that serves has its node's,
any other opens one at its first request.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import dataclasses
import inspect
import logging
import os
import secrets
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from ..config import Config
from ..errors import Unavailable
from ..protocol.messages import Publication
from ..runtime import loops
from ..settings import get_config
from .broker import Broker
from .envelope import send_control
from .layers import configured_layer
from .metrics import Metrics

logger = logging.getLogger(__name__)

_RETRY_S = 0.4
"""After how long an unanswered request is sent again; a layer may drop a message silently."""

_LEAST_WAIT_S = 0.001
"""Less is not waited for: timers of an event loop may be early by a part of that."""

_REMEMBERED = 5_000
"""How many requests a node remembers, to recognise repetitions; the oldest is forgotten first. A request that
a busy node forgets within ``_RETRY_S`` may be handled twice."""

_REMEMBERED_BYTES = 16_777_216
"""The total size of the answers that a node keeps in order to repeat them."""

_ALIVE_WAIT_S = 2.0
"""How long a node whose lease has run out may take to answer."""

_LEAVE_WAIT_S = 1.0

_encode = msgspec.msgpack.Encoder(enc_hook=str).encode
_decode = msgspec.msgpack.Decoder().decode

BoundHandler = Callable[[dict[str, Any]], Any]
"""Serves one kind of request: takes its arguments, returns what MessagePack can hold."""

Spawn = Callable[[Any, str], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What came back: the answers by node id, and the nodes that did not answer."""

    by_node: Mapping[str, Any]
    silent: frozenset[str]


class _Pending:
    """A request that was sent and waits for answers."""

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


class Requests:
    """The requests that one inbox sends and serves.

    Args:
        handlers: what is served, by kind; "alive" is always served by a node.
        node_id: names the inbox.
        layer: the Channels layer.
        config: the settings.
        spawn: runs a coroutine that outlives its caller.
        serves: False for the inbox of a process that serves no connections.
    """

    def __init__(
        self,
        handlers: Mapping[str, BoundHandler],
        *,
        node_id: str,
        layer: Any,
        config: Config,
        spawn: Spawn,
        serves: bool = True,
    ) -> None:
        self._handlers = {"alive": _alive, **handlers}
        self._id = node_id
        self._layer = layer
        self._config = config
        self._spawn = spawn
        self._serves = serves
        self._pending: dict[str, _Pending] = {}
        self._given: OrderedDict[str, bytes | None] = OrderedDict()
        self._given_bytes = 0

    def place(self) -> None:
        """Send the requests of this loop from here."""
        _by_loop[asyncio.get_running_loop()] = self

    def remove(self) -> None:
        """Send the requests of this loop from here no more."""
        if _by_loop.get(asyncio.get_running_loop()) is self:
            del _by_loop[asyncio.get_running_loop()]

    # -- serving -----------------------------------------------------------------------------------

    def take(self, message: Mapping[str, Any]) -> None:
        """A message of another inbox, or of this one; never waits."""
        kind = message.get("kind")
        if kind == "answer":
            pending = self._pending.get(message["number"])
            if pending is not None:
                pending.take(message["node"], _decode(message["body"]))
        elif kind == "notification" and self._serves:
            self._serve_notification(message)
        elif kind == "request" and self._serves and self._id in message["nodes"]:
            self._serve(message)

    def _serve_notification(self, message: Mapping[str, Any]) -> None:
        handler = self._handlers.get(message["request"])
        if handler is None:
            logger.warning("This node does not know the request %r", message["request"])
            return
        try:
            result = handler(_decode(message["body"]))
        except Exception:
            logger.exception("A request %r failed", message["request"])
            return
        if inspect.isawaitable(result):
            self._spawn(result, message["request"])

    def _serve(self, message: Mapping[str, Any]) -> None:
        number = message["number"]
        if number in self._given:
            known = self._given[number]
            if known is not None:
                self._spawn(self._reply(message, known), "answer")
            return  # else: it is being served
        self._remember(number, None)
        self._spawn(self._answer(message), "answer")

    async def _answer(self, message: Mapping[str, Any]) -> None:
        kind = message["request"]
        handler = self._handlers.get(kind)
        if handler is None:
            logger.warning("This node does not know the request %r", kind)
            data = _encode({"error": "unknown"})
        else:
            try:
                value = handler(_decode(message["body"]))
                if inspect.isawaitable(value):
                    value = await value
                data = _encode({"value": value})
            except Exception as error:
                logger.exception("A request %r failed", kind)
                data = _encode({"error": type(error).__name__})
        self._remember(message["number"], data)
        await self._reply(message, data)

    def _remember(self, number: str, data: bytes | None) -> None:
        """Remember a request and its answer; without data it is still being handled."""
        self._given[number] = data
        self._given_bytes += len(data or b"")
        while len(self._given) > _REMEMBERED or self._given_bytes > _REMEMBERED_BYTES:
            _, forgotten = self._given.popitem(last=False)
            self._given_bytes -= len(forgotten or b"")

    async def _reply(self, message: Mapping[str, Any], data: bytes) -> None:
        reply = {"kind": "answer", "number": message["number"], "node": self._id, "body": data}
        sender = message["sender"]
        if sender == self._id:
            self.take(reply)
            return
        try:
            await self._send(reply, frozenset({sender}))
        except Unavailable as error:
            logger.info("An answer was not sent: %s", error.reason)  # the request comes again

    # -- sending -----------------------------------------------------------------------------------

    async def request(
        self, kind: str, arguments: Mapping[str, Any], nodes: Collection[str], *, wait: float
    ) -> Answers:
        """Request something of nodes; as the function ``request``, on this inbox's loop."""
        wanted = frozenset(nodes)
        number = secrets.token_hex(8)
        pending = self._pending[number] = _Pending(wanted)
        message: dict[str, Any] = {
            "kind": "request",
            "request": kind,
            "number": number,
            "sender": self._id,
            "nodes": sorted(wanted),
            "body": _encode(dict(arguments)),
        }
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        try:
            self.take(message)
            while (left := deadline - loop.time()) > _LEAST_WAIT_S:
                await self._send(message, wanted - pending.answers.keys() - {self._id})
                await asyncio.wait([pending.done], timeout=min(_RETRY_S, left))
                if pending.done.done():
                    break
        finally:
            del self._pending[number]
        good = {node: body["value"] for node, body in pending.answers.items() if "value" in body}
        return Answers(by_node=good, silent=wanted - good.keys())

    async def notify(self, kind: str, arguments: Mapping[str, Any]) -> None:
        """Notify all nodes; as the function ``notify``, on this inbox's loop."""
        message = _notification(kind, arguments)
        self.take(message)  # what ends here does not wait for the layer
        config = self._config
        await send_control(self._layer, config.group_prefix, message, config.publish_timeout)

    async def is_alive(self, node_id: str) -> bool:
        """Whether a node answers; True where nothing can be said because the layer is away."""
        try:
            found = await self.request("alive", {}, {node_id}, wait=_ALIVE_WAIT_S)
        except Unavailable:
            return True
        return node_id in found.by_node

    async def _send(self, message: dict[str, Any], nodes: frozenset[str]) -> None:
        config = self._config
        if nodes:
            await send_control(
                self._layer,
                config.group_prefix,
                message,
                config.publish_timeout,
                node_id=next(iter(nodes)) if len(nodes) == 1 else None,
            )


def _alive(arguments: dict[str, Any]) -> bool:
    return True


def _notification(kind: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": "notification", "request": kind, "body": _encode(dict(arguments))}


# -- from anywhere ---------------------------------------------------------------------------------


def request(
    kind: str, arguments: Mapping[str, Any], nodes: Collection[str], *, wait: float
) -> Answers:
    """Request something of nodes; from sync code.

    Args:
        kind: a key of ``services.HANDLERS``.
        arguments: what MessagePack can hold.
        nodes: the ids of the nodes whose answers are waited for.
        wait: seconds to wait for all of them.

    Returns:
        what was answered in time. A handler that failed counts as silent.

    Raises:
        Unavailable: the channel layer cannot be reached.
    """
    if not nodes:
        return Answers(by_node={}, silent=frozenset())
    return loops.run(_request(kind, arguments, nodes, wait), wait + 4.0)


async def arequest(
    kind: str, arguments: Mapping[str, Any], nodes: Collection[str], *, wait: float
) -> Answers:
    """Request something of nodes; as ``request``, from async code."""
    if not nodes:
        return Answers(by_node={}, silent=frozenset())
    return await asyncio.wrap_future(loops.submit(_request(kind, arguments, nodes, wait)))


async def _request(
    kind: str, arguments: Mapping[str, Any], nodes: Collection[str], wait: float
) -> Answers:
    requests = _by_loop.get(asyncio.get_running_loop())
    if requests is None:
        requests = await _outside.ready()
    return await requests.request(kind, arguments, nodes, wait=wait)


def notify(kind: str, arguments: Mapping[str, Any], *, wait: float) -> bool:
    """Notify all nodes; from sync code.

    Args:
        kind: a key of ``services.HANDLERS``.
        arguments: what MessagePack can hold.
        wait: seconds to wait until the layer has taken it.

    Returns:
        whether it has. What is not delivered is logged.
    """
    global _late_until
    future = loops.submit(_notify(kind, arguments))
    if time.monotonic() < _late_until:
        wait = 0.0  # an earlier caller has waited, and may have had no answer
    try:
        future.result(wait)
    except concurrent.futures.TimeoutError:
        # It may still go out.
        _late_until = time.monotonic() + get_config().publish_timeout
        future.add_done_callback(_not_late)
        logger.warning("The layer did not take %r within %g seconds", kind, wait)
        return False
    except Unavailable as error:
        logger.warning("The nodes were not told %r: %s", kind, error.reason)
        return False
    return True


def _not_late(future: concurrent.futures.Future[None]) -> None:
    global _late_until
    _late_until = 0.0  # the layer took it, or its breaker knows better


async def anotify(kind: str, arguments: Mapping[str, Any]) -> bool:
    """Notify all nodes; from async code."""
    try:
        await asyncio.wrap_future(loops.submit(_notify(kind, arguments)))
    except Unavailable as error:
        logger.warning("The nodes were not told %r: %s", kind, error.reason)
        return False
    return True


async def _notify(kind: str, arguments: Mapping[str, Any]) -> None:
    requests = _by_loop.get(asyncio.get_running_loop())
    if requests is not None:
        await requests.notify(kind, arguments)
        return
    config = get_config()
    message = _notification(kind, arguments)
    await send_control(
        configured_layer(config.channel_layer), config.group_prefix, message, config.publish_timeout
    )


class _Outside:
    """The inbox of a process that serves no connections: a broker that takes answers only."""

    def __init__(self) -> None:
        self._id = secrets.token_hex(16)
        self._broker: Broker | None = None
        self._requests: Requests | None = None

    async def ready(self) -> Requests:
        """Open the inbox, at the first use.

        Raises:
            Unavailable: the settings name no such channel layer, or it does not answer.
        """
        if self._requests is None or self._broker is None:
            config = get_config()
            layer = configured_layer(config.channel_layer)
            self._requests = Requests(
                {}, node_id=self._id, layer=layer, config=config, spawn=_ignore, serves=False
            )
            self._broker = Broker(
                layer,
                prefix=config.group_prefix,
                node_id=self._id,
                receiver=self,
                metrics=Metrics(),
                subscribe_timeout=config.subscribe_timeout,
                publish_timeout=config.publish_timeout,
                check_interval=config.layer_check_interval,
            )
        await self._broker.start()
        return self._requests

    def stop(self) -> None:
        """Take the inbox out of its groups, where a layer would keep it for a day."""
        if self._broker is not None and self._broker.inbox is not None:
            try:
                loops.background_loop.submit(self._broker.stop()).result(_LEAVE_WAIT_S)
            except Exception as error:
                logger.debug("The inbox stays in its groups: %s", type(error).__name__)

    def receive(self, publication: Publication, sent_at: float | None = None) -> None:
        """Nothing is published to the groups that it is in."""

    def lost(self) -> None:
        """What is not answered is asked again."""

    def control(self, message: dict[str, Any]) -> None:
        """Answers come here; requests are for nodes."""
        if self._requests is not None:
            self._requests.take(message)


def _ignore(coroutine: Any, name: str) -> None:
    raise AssertionError("an inbox that serves nothing has nothing to run")


_by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Requests] = (
    weakref.WeakKeyDictionary()
)
_outside = _Outside()
_late_until = 0.0
"""Until when the layer may still take a notification that it has not taken in time (monotonic)."""


@atexit.register
def _leave() -> None:
    _outside.stop()


def _forget() -> None:
    global _outside
    _outside = _Outside()
    _by_loop.clear()


if hasattr(os, "register_at_fork"):  # the loop that the inbox was opened on stayed in the parent
    os.register_at_fork(after_in_child=_forget)
