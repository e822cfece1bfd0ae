"""The server's own ``send`` behind middleware: flow control, compression and abort need it."""

from __future__ import annotations

import functools
import sys
from types import ModuleType
from typing import Any

import pytest

from channels_realtime.servers import unwrap
from channels_realtime.servers.abort import abort, abort_unless_taken
from channels_realtime.servers.daphne import flow_control, protocol_of
from channels_realtime.servers.unwrap import servers_send


class Transport:
    """Twisted's, as far as it is used; and asyncio's."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name in ("registerProducer", "unregisterProducer", "pauseProducing", "resumeProducing",
                    "abortConnection", "abort"):  # fmt: skip
            return lambda *args: self.calls.append(name)
        raise AttributeError(name)

    def get_write_buffer_size(self) -> int:
        return 1

    def get_extra_info(self, name: str) -> Any:
        return sys.stdin  # something with a descriptor


class DaphneServer:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def handle_reply(self, protocol: Any, event: Any) -> None:
        self.sent.append(event)


class DaphneProtocol:
    closeHandshakeTimeout = 1.0

    def __init__(self) -> None:
        self.transport = Transport()


class UvicornProtocol:
    __module__ = "uvicorn.protocols.websockets.websockets_impl"

    def __init__(self) -> None:
        self.transport = Transport()

    async def asgi_send(self, event: Any) -> None:
        raise AssertionError("nothing is sent")


@pytest.fixture
def daphne(monkeypatch):
    module = ModuleType("daphne.server")
    module.Server = DaphneServer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "daphne.server", module)
    server, protocol = DaphneServer(), DaphneProtocol()
    return functools.partial(server.handle_reply, protocol)


@pytest.fixture
def uvicorn():
    return UvicornProtocol().asgi_send


# -- ways to wrap ----------------------------------------------------------------------------------


def by_closure(send):
    async def wrapped(event):
        await send(event)

    return wrapped


def by_several_closures(send):
    return by_closure(by_closure(by_closure(by_closure(send))))


def by_decorator(send):
    @functools.wraps(send)
    async def wrapped(event):
        await wrapped.__wrapped__(event)

    return wrapped


def by_partial(send):
    async def wrapped(send, event):
        await send(event)

    return functools.partial(wrapped, send)


def by_keyword(send):
    async def wrapped(event, *, inner):
        await inner(event)

    return functools.partial(wrapped, inner=send)


class Instance:
    def __init__(self, send: Any) -> None:
        self.send = send

    async def __call__(self, event: Any) -> None:
        await self.send(event)

    async def method(self, event: Any) -> None:
        await self.send(event)


class Slotted:
    __slots__ = ("inner", "unset")

    def __init__(self, send: Any) -> None:
        self.inner = send

    async def __call__(self, event: Any) -> None:
        await self.inner(event)


class Middleware:
    """Holds the application, and through it a wrapper of an earlier connection."""

    def __init__(self) -> None:
        self.earlier: Any = None

    def wrap(self, send: Any) -> Any:
        async def wrapped(event):
            self.count(event)
            await send(event)

        self.earlier = wrapped
        return wrapped

    def __call__(self) -> None: ...

    def count(self, event: Any) -> None: ...


WAYS = {
    "not at all": lambda send: send,
    "by a closure": by_closure,
    "by several closures": by_several_closures,
    "by a decorator": by_decorator,
    "by a partial": by_partial,
    "by a keyword of a partial": by_keyword,
    "by an instance": Instance,
    "by a method": lambda send: Instance(send).method,
    "by an instance with slots": Slotted,
    "by two kinds": lambda send: by_closure(Instance(send).method),
    "by a middleware": lambda send: Middleware().wrap(send),
}


@pytest.mark.parametrize("way", WAYS)
async def test_flow_control_and_abort_of_daphne_work_behind_a_wrapper(daphne, way):
    send, protocol = WAYS[way](daphne), daphne.args[0]
    assert protocol_of(send) is protocol
    flow = flow_control(send)
    assert flow is not None
    assert protocol.transport.calls == ["unregisterProducer", "registerProducer"]
    await flow.send({"type": "websocket.send"})  # through the wrapper
    assert daphne.func.__self__.sent == [{"type": "websocket.send"}]
    abort(send)
    assert protocol.transport.calls[2:] == ["abortConnection"]


@pytest.mark.parametrize("way", WAYS)
async def test_abort_of_uvicorn_works_behind_a_wrapper(uvicorn, way, monkeypatch):
    send, transport = WAYS[way](uvicorn), uvicorn.__self__.transport
    assert protocol_of(send) is None
    assert flow_control(send) is None  # its own send waits
    monkeypatch.setattr(sys.stdin, "fileno", lambda: 5, raising=False)
    abort(send)
    assert transport.calls == ["abort"]
    abort_unless_taken(send, 3_600)  # sets a timer


def test_nearest_server_is_taken_where_a_wrapper_also_holds_another_connections():
    first, second = UvicornProtocol().asgi_send, UvicornProtocol().asgi_send
    middleware = Middleware()
    middleware.wrap(first)
    wrapped = middleware.wrap(second)
    assert servers_send(wrapped) == second


def test_neither_is_taken_where_two_connections_are_equally_near():
    wrapper = Instance(UvicornProtocol().asgi_send)
    wrapper.other = UvicornProtocol().asgi_send  # type: ignore[attr-defined]
    assert servers_send(wrapper) is None


def test_search_ends_in_a_wrapper_that_holds_itself_and_very_much():
    wrapper = Instance(None)
    wrapper.send = wrapper
    for number in range(2_000):
        setattr(wrapper, f"hook_{number}", lambda: None)
    assert servers_send(wrapper) is None


@pytest.mark.parametrize(
    ("reactor_runs", "modules", "said"),
    [
        (
            True,
            ["daphne.server"],
            "On Daphne a client that does not read makes the process grow, and DAPHNE_COMPRESSION is"
            " without effect.",
        ),
        (
            False,
            ["uvicorn.protocols.websockets.auto"],
            "On uvicorn a client that does not read keeps its connection after it was closed.",
        ),
        (False, [], None),
    ],
)
def test_server_that_cannot_be_found_is_told_once(
    monkeypatch, caplog, daphne, reactor_runs, modules, said
):
    for name in [name for name in sys.modules if name.startswith("uvicorn.protocols.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in modules:
        if name not in sys.modules:
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
    reactor = ModuleType("reactor")
    reactor.running = reactor_runs  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "twisted.internet.reactor", reactor)
    monkeypatch.setattr(unwrap, "_settled", False)
    sends = {1: daphne}

    async def hidden(event):
        await sends[1](event)

    flow_control(hidden)
    flow_control(hidden)
    told = [record.getMessage() for record in caplog.records]
    name = (
        f"{__name__}.test_server_that_cannot_be_found_is_told_once.<locals>.hidden wraps the server's"
        " send and hides it."
    )
    remedy = "Put that middleware around the site's HTTP application alone."
    assert told == ([] if said is None else [f"{name} {said} {remedy}"])


def test_another_server_is_looked_for_once(monkeypatch):
    looks = []
    monkeypatch.setattr(unwrap, "_settled", False)
    monkeypatch.setattr(unwrap, "_running_server", lambda: looks.append(1) or (None, ""))

    async def send(event):
        pass

    flow_control(send)
    flow_control(send)
    assert looks == [1]


def test_stream_whose_daphne_is_out_of_reach_is_told_once(monkeypatch, caplog):
    if "daphne.server" not in sys.modules:
        monkeypatch.setitem(sys.modules, "daphne.server", ModuleType("daphne.server"))
    reactor = ModuleType("reactor")
    monkeypatch.setitem(sys.modules, "twisted.internet.reactor", reactor)
    monkeypatch.setattr(unwrap, "_settled", False)
    unwrap.warn_if_missing(None)  # another server
    reactor.running = True  # type: ignore[attr-defined]
    unwrap.warn_if_missing(print)
    unwrap.warn_if_missing(None)
    unwrap.warn_if_missing(None)
    (record,) = caplog.records
    assert record.getMessage() == (
        "An event stream is served by Daphne without the application of get_realtime_application: a"
        " client that does not read makes the process grow. Serve the site's HTTP through it:"
        " application = get_realtime_application(get_asgi_application())."
    )
