"""The site's ASGI application: the applications inside it, the server's start and end, wrong settings."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import Any

import pytest
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured

from channels_realtime.asgi import get_realtime_application
from channels_realtime.errors import ImproperUse
from channels_realtime.nodes.node import running_node
from channels_realtime.services import current_node
from tests.support.asgi_socket import AsgiSocket

DJANGO = get_asgi_application()


class Server:
    """Speaks the lifespan protocol with an application, as uvicorn does."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.state: dict[str, Any] = {}
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": self.state}
        self.task = asyncio.create_task(application(scope, self.events.get, self.answers.put))

    async def say(self, kind: str) -> dict[str, Any]:
        self.events.put_nowait({"type": f"lifespan.{kind}"})
        async with asyncio.timeout(10):
            return await self.answers.get()

    async def end(self) -> None:
        await asyncio.wait([self.task], timeout=10)
        assert self.task.done()
        self.task.result()


class Starlette:
    """An application with a lifespan, as Starlette's: a pool that it opens, and passes on as state."""

    def __init__(self, name: str, log: list[str], fails_at: Iterable[str] = ()) -> None:
        self.name = name
        self.log = log
        self.fails_at = fails_at
        self.seen: dict[str, Any] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            self.seen = dict(scope["state"])
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close"})
            return
        scope["app"] = self
        await self.step("startup", receive, send)
        scope["state"][self.name] = f"the pool of {self.name}"
        await send({"type": "lifespan.startup.complete"})
        await self.step("shutdown", receive, send)
        await send({"type": "lifespan.shutdown.complete"})

    async def step(self, kind: str, receive: Any, send: Any) -> None:
        event = await receive()
        assert event == {"type": f"lifespan.{kind}"}
        self.log.append(f"{kind} {self.name}, node {running_node() is not None}")
        if kind in self.fails_at:
            await send({"type": f"lifespan.{kind}.failed", "message": f"no {kind}"})
            raise ValueError("the pool")


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """The application of many a tutorial: it never looks at the scope."""
    while True:
        event = await receive()
        if event["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif event["type"] == "websocket.disconnect":
            return


@pytest.fixture(autouse=True)
async def _node():
    yield
    node = running_node()
    if node is not None:
        await node.stop()


# -- lifespan --------------------------------------------------------------------------------------


async def test_inner_lifespans_run_around_the_node():
    log: list[str] = []
    first, second = Starlette("first", log), Starlette("second", log)
    server = Server(get_realtime_application(first, websocket=second))
    assert await server.say("startup") == {"type": "lifespan.startup.complete"}
    assert log == ["startup first, node False", "startup second, node False"]
    assert running_node() is not None
    assert await server.say("shutdown") == {"type": "lifespan.shutdown.complete"}
    assert log[2:] == ["shutdown second, node False", "shutdown first, node False"]
    await server.end()


async def test_state_of_an_inner_lifespan_arrives_in_its_connections():
    inner = Starlette("inner", [])
    application = get_realtime_application(inner, websocket=inner)
    server = Server(application)
    await server.say("startup")
    assert server.state == {"inner": "the pool of inner"}  # the server copies it into each scope
    await application({"type": "http", "state": dict(server.state)}, None, None)
    assert inner.seen == {"inner": "the pool of inner"}
    inner.seen = {}
    async with AsgiSocket(application, "/other/", state=dict(server.state)):
        assert inner.seen == {"inner": "the pool of inner"}


async def test_application_that_is_given_twice_starts_once():
    log: list[str] = []
    inner = Starlette("inner", log)
    server = Server(get_realtime_application(inner, websocket=inner, channel=inner))
    await server.say("startup")
    await server.say("shutdown")
    assert log == ["startup inner, node False", "shutdown inner, node False"]


async def test_failure_of_an_inner_start_stops_the_server_and_what_has_started():
    log: list[str] = []
    good, bad = Starlette("good", log), Starlette("bad", log, fails_at=["startup"])
    server = Server(get_realtime_application(good, websocket=bad))
    answer = await server.say("startup")
    assert answer == {"type": "lifespan.startup.failed", "message": "no startup"}
    assert log[-1] == "shutdown good, node False"
    await server.end()


async def test_failure_of_an_inner_end_is_told_and_keeps_no_other_from_ending():
    log: list[str] = []
    good, bad = Starlette("good", log), Starlette("bad", log, fails_at=["shutdown"])
    server = Server(get_realtime_application(good, websocket=bad))
    await server.say("startup")
    answer = await server.say("shutdown")
    assert answer == {"type": "lifespan.shutdown.failed", "message": "no shutdown"}
    assert log[-1] == "shutdown good, node False"


@pytest.mark.parametrize(
    "websocket", [None, URLRouter([]), ProtocolTypeRouter({"websocket": URLRouter([])}), echo]
)
async def test_application_without_a_lifespan_is_no_obstacle(websocket):
    server = Server(get_realtime_application(DJANGO, websocket=websocket))
    assert await server.say("startup") == {"type": "lifespan.startup.complete"}
    assert await server.say("shutdown") == {"type": "lifespan.shutdown.complete"}
    await server.end()


async def test_server_that_ends_without_a_shutdown_leaves_no_task():
    server = Server(get_realtime_application(Starlette("inner", [])))
    await server.say("startup")
    server.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await server.task
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if "inner" in task.get_name()]


# -- workers ---------------------------------------------------------------------------------------


class Consumer:
    def __init__(self) -> None:
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)


ROUTED = {
    "by its own argument": lambda router: get_realtime_application(DJANGO, channel=router),
    "beside the site's sockets": lambda router: get_realtime_application(
        DJANGO,
        websocket=ProtocolTypeRouter({"websocket": URLRouter([]), "channel": router}),
    ),
    "beside the site's HTTP": lambda router: get_realtime_application(
        ProtocolTypeRouter({"http": DJANGO, "channel": router}), websocket=URLRouter([])
    ),
    "beside another framework": lambda router: get_realtime_application(
        echo, websocket=ProtocolTypeRouter({"websocket": URLRouter([]), "channel": router})
    ),
    "inside something unknown": lambda router: get_realtime_application(DJANGO, websocket=router),
}


@pytest.mark.parametrize("place", ROUTED)
async def test_messages_of_workers_reach_an_inner_router(place):
    consumer = Consumer()
    application = ROUTED[place](ChannelNameRouter({"thumbnails": consumer}))
    await application({"type": "channel", "channel": "thumbnails"}, None, None)
    assert [scope["channel"] for scope in consumer.scopes] == ["thumbnails"]


async def test_messages_of_workers_without_a_router_are_refused_with_the_remedy():
    application = get_realtime_application(DJANGO, websocket=URLRouter([]))
    with pytest.raises(ImproperUse) as caught:
        await application({"type": "channel", "channel": "thumbnails"}, None, None)
    assert str(caught.value) == (
        "get_realtime_application() has no application for the scope type 'channel'; for runworker"
        " expected channel=ChannelNameRouter({…})"
    )


# -- wrong settings --------------------------------------------------------------------------------


def test_wrong_setting_stops_the_server_where_the_application_is_made(settings):
    settings.CHANNELS_REALTIME = {"ALOW_ANONYMOUS": True}
    with pytest.raises(ImproperlyConfigured) as caught:
        get_realtime_application(DJANGO)
    assert str(caught.value) == (
        "CHANNELS_REALTIME has an unknown key 'ALOW_ANONYMOUS'. Did you mean 'ALLOW_ANONYMOUS'?"
    )


WRONG = {
    "CHANNELS_REALTIME['AUTHENTICATORS'] names 'shop.Nothing'": {
        "CHANNELS_REALTIME": {"AUTHENTICATORS": ["shop.Nothing"]}
    },
    "CHANNELS_REALTIME['TOKEN_VERIFIER'] names 'shop.nothing'": {
        "CHANNELS_REALTIME": {"TOKEN_VERIFIER": "shop.nothing"}
    },
    "CHANNELS_REALTIME['ALLOWED_ORIGINS'] names 'shop.nothing'": {
        "CHANNELS_REALTIME": {"ALLOWED_ORIGINS": "shop.nothing"}
    },
    "CHANNEL_LAYERS has no 'default'": {"CHANNEL_LAYERS": {}},
    "CHANNEL_LAYERS['default'] names 'shop.Layer'": {
        "CHANNEL_LAYERS": {"default": {"BACKEND": "shop.Layer"}}
    },
}


@pytest.mark.parametrize("said", WRONG)
def test_setting_that_would_fail_later_is_an_error_in_the_servers_log(settings, caplog, said):
    for name, value in WRONG[said].items():
        setattr(settings, name, value)
    caplog.set_level(logging.ERROR, logger="channels_realtime")
    get_realtime_application(DJANGO)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith(said)


@pytest.mark.parametrize("command", ["check", "runserver"])
def test_command_that_runs_the_checks_does_not_log_them_too(settings, monkeypatch, caplog, command):
    monkeypatch.setattr("sys.argv", ["manage.py", command])
    settings.CHANNELS_REALTIME = {"AUTHENTICATORS": ["shop.Nothing"]}
    caplog.set_level(logging.ERROR, logger="channels_realtime")
    get_realtime_application(DJANGO)
    assert not caplog.records


async def test_missing_layer_stops_a_server_with_a_lifespan(settings, caplog):
    log: list[str] = []
    application = get_realtime_application(Starlette("inner", log))
    settings.CHANNEL_LAYERS = {}
    caplog.set_level(logging.ERROR, logger="channels_realtime")
    server = Server(application)
    said = "CHANNEL_LAYERS has no 'default'; events need a channel layer."
    assert await server.say("startup") == {
        "type": "lifespan.startup.failed",
        "message": f"the application cannot start: {said}",
    }
    assert [record.getMessage() for record in caplog.records] == [
        f"The application cannot start: {said}"
    ]
    assert log[-1] == "shutdown inner, node False"
    await server.end()


@pytest.mark.parametrize("drains", [False, True])
async def test_lasting_response_of_the_sites_own_ends_when_the_server_cancels_it(drains):
    log: list[str] = []

    async def forever(scope: Any, receive: Any, send: Any) -> None:
        log.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            log.append("ended")

    application = get_realtime_application(forever)
    scope = {"type": "http", "path": "/news/sse/"}
    serving = asyncio.create_task(application(scope, None, None))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log == ["begun"]
    if drains:
        current_node().drain.begin()  # of no connections
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(serving, 10)
    assert log == ["begun", "ended"]
    node = running_node()
    if node is not None:
        await node.stop()


async def test_failure_of_a_lasting_response_is_the_servers_to_log():
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await get_realtime_application(fails)({"type": "http", "path": "/news/poll/"}, None, None)


# -- the garbage collector -------------------------------------------------------------------------


class Tuned:
    """Counts how often the collector is tuned, in a process that is not a test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        monkeypatch.setattr("channels_realtime.asgi.tune_garbage_collector", self.tune)
        monkeypatch.delattr("django.core.mail.outbox")

    def tune(self) -> None:
        self.times += 1


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> Tuned:
    return Tuned(monkeypatch)


async def test_the_collector_is_tuned_once_at_the_servers_start(tuned: Tuned) -> None:
    server = Server(get_realtime_application(DJANGO))
    await server.say("startup")
    assert tuned.times == 1
    await AsgiSocket(server.application, "/nowhere/").connect()
    await server.say("shutdown")
    await server.end()
    assert tuned.times == 1


async def test_the_collector_is_tuned_by_the_first_connection_without_a_lifespan(
    tuned: Tuned,
) -> None:
    application = get_realtime_application(DJANGO)
    assert tuned.times == 0
    for _ in range(2):
        await AsgiSocket(application, "/nowhere/").connect()
    assert tuned.times == 1


async def test_the_collector_is_left_alone_where_the_setting_is_off(
    tuned: Tuned, settings: Any
) -> None:
    settings.CHANNELS_REALTIME = {**settings.CHANNELS_REALTIME, "TUNE_GARBAGE_COLLECTOR": False}
    await AsgiSocket(get_realtime_application(DJANGO), "/nowhere/").connect()
    assert tuned.times == 0


async def test_the_collector_is_left_alone_in_a_test_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tuned = Tuned(monkeypatch)
    monkeypatch.setattr("django.core.mail.outbox", [], raising=False)
    await AsgiSocket(get_realtime_application(DJANGO), "/nowhere/").connect()
    assert tuned.times == 0
