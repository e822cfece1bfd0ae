"""Typical mistakes, each with what the package says: the table of ``docs/troubleshooting.md``.

Each is made here, and what a check, an exception or the log says then is compared with the page, to
the letter.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import InMemoryChannelLayer
from channels.routing import URLRouter
from django.contrib.auth.models import AnonymousUser, Group, User
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.core.wsgi import get_wsgi_application
from django.db import ProgrammingError
from django.test import RequestFactory
from django.urls import path

from channels_realtime import (
    Channel,
    asgi,
    checks,
    position,
    publish,
    publish_html,
    publish_to_user,
    recheck,
    register,
    revoke,
    sending,
    services,
)
from channels_realtime.access import origins
from channels_realtime.asgi import get_realtime_application
from channels_realtime.channels import registry
from channels_realtime.client import Limits, connect
from channels_realtime.connections import rights
from channels_realtime.endpoints import handshake as handshake_module
from channels_realtime.errors import RealtimeError, Unavailable
from channels_realtime.http import access, lost_handshakes
from channels_realtime.middleware import OriginMiddleware
from channels_realtime.mixins import (
    AuthenticationMixin,
    OriginMixin,
    RealtimeMixin,
    ThrottleMixin,
)
from channels_realtime.nodes.node import running_node
from channels_realtime.runtime import database
from tests.support.asgi_socket import AsgiSocket
from tests.support.nodes import NodeHarness, subscribe
from tests.support.nodes import publish as client_publish
from tests.support.scripted_server import ScriptedServer
from tests.unit.auth.credentials import no_http

from .checks.reports import PREFIX, async_function

PAGE = Path(__file__).resolve().parents[2] / "docs/troubleshooting.md"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
MISTAKES: dict[str, Callable[[Any], tuple[str, str]]] = {}


def mistake(what: str) -> Callable[[Any], Any]:
    """Enter a function that makes the mistake; it returns who says what."""

    def enter(function: Any) -> Any:
        assert what not in MISTAKES
        MISTAKES[what] = function
        return function

    return enter


@pytest.fixture
def site(settings, monkeypatch, caplog):
    """A site to make mistakes in, and to see what it says."""
    caplog.set_level(logging.INFO, logger="channels_realtime")
    monkeypatch.setattr(registry, "_routes", dict(registry._routes))
    monkeypatch.setattr(registry, "_candidates", functools.lru_cache(registry._match))
    monkeypatch.setattr(asgi, "_logged_paths", set())
    monkeypatch.setattr(rights, "_warned", set())
    monkeypatch.setattr(database, "_told_of_migrations", False)
    monkeypatch.setattr(lost_handshakes, "_told", False)
    monkeypatch.setattr(access, "_told_of_wsgi", False)
    monkeypatch.setattr(sending, "_warned", False)
    monkeypatch.setattr(sending, "_serves", False)

    def told(expected: str = "") -> tuple[str, str]:
        (record,) = (r for r in caplog.records if expected in r.getMessage())
        assert record.levelno >= logging.WARNING
        return "log", record.getMessage()

    return SimpleNamespace(settings=settings, monkeypatch=monkeypatch, told=told, log=caplog)


def check(function: Callable[[], list[Any]]) -> tuple[str, str]:
    """What a system check says, with its hint."""
    (message,) = function()
    return f"check {message.id.removeprefix(PREFIX)}", f"{message.msg} HINT: {message.hint}"


def configured(site: Any, **settings: Any) -> None:
    site.settings.CHANNELS_REALTIME = settings


def raised(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[str, str]:
    """What an exception says."""
    expected = (RealtimeError, ImproperlyConfigured, CommandError, ValueError)
    with pytest.raises(expected) as caught:
        function(*args, **kwargs)
    return type(caught.value).__name__, str(caught.value)


def command(site: Any, *arguments: str) -> None:
    site.monkeypatch.setattr("sys.argv", ["manage.py", *arguments])


def installed(site: Any, *names: str) -> None:
    configs = [SimpleNamespace(name=name) for name in names]
    site.monkeypatch.setattr(checks.server.apps, "get_app_configs", lambda: configs)


django_application = get_asgi_application()


# -- installation ----------------------------------------------------------------------------------


@mistake("`channels_realtime` is not in `INSTALLED_APPS`")
def _(site):
    site.monkeypatch.setattr(asgi.apps, "is_installed", lambda name: False)
    return raised(get_realtime_application, no_http)


@mistake("the same, with own consumers and their mixins alone")
def _(site):
    site.monkeypatch.setattr(services.apps, "is_installed", lambda name: False)

    async def connect() -> None:
        services.current_node()

    return raised(asyncio.run, connect())


@mistake("`get_realtime_application()` before `get_asgi_application()`")
def _(site):
    site.monkeypatch.setattr(asgi.apps, "ready", False)
    return raised(get_realtime_application, no_http)


@mistake("`asgi.py` is as `startproject` made it")
def _(site):
    command(site, "runserver")
    module = ModuleType("mysite.asgi")
    module.application = django_application
    site.monkeypatch.setitem(sys.modules, "mysite.asgi", module)
    site.settings.ASGI_APPLICATION = "mysite.asgi.application"
    return check(checks.check_asgi_application)


@mistake("the same, and uvicorn serves it: Django's own words")
def _(site):
    handshake = django_application({"type": "websocket", "path": "/ws/"}, None, None)
    return raised(asyncio.run, handshake)


@mistake('`ASGI_APPLICATION = "mysite.application"`')
def _(site):
    command(site, "runserver")
    site.settings.ASGI_APPLICATION = "mysite.application"
    return check(checks.check_asgi_application)


@mistake("`daphne`, but no `ASGI_APPLICATION`")
def _(site):
    installed(site, "daphne")
    site.settings.ASGI_APPLICATION = None
    return check(checks.check_server)


@mistake("`daphne` at the end of `INSTALLED_APPS`")
def _(site):
    installed(site, "django.contrib.staticfiles", "daphne")
    return check(checks.check_server)


@mistake("`runserver` without `daphne`")
def _(site):
    command(site, "runserver")
    site.settings.DEBUG = True
    return check(checks.check_server)


def handshake(**environ: str) -> Any:
    return RequestFactory(**{"HTTP_SEC_WEBSOCKET_KEY": "x", **environ}).get("/ws/").environ


@mistake("gunicorn, uWSGI or mod_wsgi serves `wsgi.py`")
def _(site):
    get_wsgi_application()(handshake(), lambda *_: None)
    return site.told("handshake")


@mistake("the same, and a page falls back to an event stream or to polling")
def _(site):
    get_wsgi_application()(RequestFactory().get("/realtime/sse/").environ, lambda *_: None)
    return site.told("event stream")


@mistake("the proxy does not pass on `Upgrade` and `Connection`")
def _(site):
    headers = [(b"host", b"testserver"), (b"sec-websocket-key", b"x")]
    scope = {"type": "http", "method": "GET", "path": "/ws/", "headers": headers}

    async def request() -> None:
        incoming: asyncio.Queue[Any] = asyncio.Queue()
        incoming.put_nowait({"type": "http.request", "body": b""})
        await django_application(scope, incoming.get, lambda event: asyncio.sleep(0))

    asyncio.run(request())
    return site.told("handshake")


@mistake("`websocket=[path(…)]`")
def _(site):
    return raised(get_realtime_application, no_http, websocket=[path("chat/", no_http)])


class ChatConsumer(AsyncWebsocketConsumer):
    """Of the site."""


@mistake("`websocket=ChatConsumer`")
def _(site):
    return raised(get_realtime_application, no_http, websocket=ChatConsumer)


@mistake("`get_realtime_application(get_wsgi_application())`")
def _(site):
    return raised(get_realtime_application, get_wsgi_application())


@mistake("the page connects to `/wss/`")
def _(site):
    async def connect() -> None:
        socket = AsgiSocket(get_realtime_application(no_http), "/wss/")
        assert (await socket.connect())["type"] == "websocket.close"

    asyncio.run(connect())
    return site.told()


def refused(site: Any, origin: str) -> tuple[str, str]:
    """What the log says of a page's origin."""
    site.monkeypatch.setattr(origins, "denials", origins.DenialLog())

    async def connect() -> None:
        headers = [(b"origin", origin.encode())]
        socket = AsgiSocket(get_realtime_application(no_http), headers=headers)
        assert (await socket.connect())["type"] == "websocket.close"
        node = running_node()
        assert node is not None
        await node.stop()

    asyncio.run(connect())
    return site.told("origin")


@mistake("a page of another site connects to `testserver`")
def _(site):
    return refused(site, "https://app.example.com")


@mistake("the proxy ends TLS, and Django does not know")
def _(site):
    return refused(site, "https://testserver")


@mistake("`migrate` was forgotten")
def _(site):
    site.monkeypatch.setattr(
        database, "_pending_migrations", lambda: ["channels_realtime.0002_registry"]
    )

    def statement() -> None:
        raise ProgrammingError('relation "channels_realtime_noderecord" does not exist')

    with pytest.raises(database.NotMigrated):
        asyncio.run(database.DatabaseThread().run(statement))
    return site.told()


# -- settings --------------------------------------------------------------------------------------


@mistake("`CHANNEL_REALTIME = {…}`")
def _(site):
    site.settings.CHANNEL_REALTIME = {"ALLOW_ANONYMOUS": True}
    return check(checks.check_settings)


@mistake('`{"ALOW_ANONYMOUS": True}`')
def _(site):
    configured(site, ALOW_ANONYMOUS=True)
    return check(checks.check_settings)


@mistake('`{"WEBSOCKET_PATH": "/ws/"}`')
def _(site):
    configured(site, WEBSOCKET_PATH="/ws/")
    return check(checks.check_settings)


@mistake('`{"HEARTBEAT_INTERVAL": "25"}`')
def _(site):
    configured(site, HEARTBEAT_INTERVAL="25")
    return check(checks.check_settings)


@mistake("no `CHANNEL_LAYERS`")
def _(site):
    site.settings.CHANNEL_LAYERS = {}
    return check(checks.check_channel_layer)


@mistake("a `BACKEND` with a typing error, or not installed")
def _(site):
    site.settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_reddis.pubsub.Layer"}}
    return check(checks.check_channel_layer)


@mistake("the in-memory layer in production")
def _(site):
    site.monkeypatch.delattr("django.core.mail.outbox")
    return check(checks.check_channel_layer)


@mistake("`RedisChannelLayer` on redis-py 8 as it comes")
def _(site):
    site.monkeypatch.setattr(checks.layer, "_major_version", lambda distribution: 8)
    layer = {"BACKEND": "channels_redis.core.RedisChannelLayer"}
    site.settings.CHANNEL_LAYERS = {"default": layer}
    return check(checks.check_channel_layer)


@mistake('`{"ALLOWED_ORIGINS": ["app.example.com"]}`')
def _(site):
    configured(site, ALLOWED_ORIGINS=["app.example.com"])
    return check(checks.check_origins)


@mistake('`{"ALLOWED_ORIGINS": ["*"]}`')
def _(site):
    configured(site, ALLOWED_ORIGINS=["*"])
    return check(checks.check_origins)


@mistake('`{"ALLOWED_ORIGINS": []}`')
def _(site):
    configured(site, ALLOWED_ORIGINS=[])
    return check(checks.check_allowlist)


@mistake("`AUTHENTICATORS` with a path to nothing")
def _(site):
    configured(site, AUTHENTICATORS=["shop.Nope"])
    return check(checks.check_authenticators)


@mistake("an `async` `TOKEN_VERIFIER`")
def _(site):
    configured(site, TOKEN_VERIFIER=f"{async_function.__module__}.async_function")
    return check(checks.check_tokens)


@mistake("no `SessionMiddleware`")
def _(site):
    site.settings.MIDDLEWARE = []
    return check(checks.check_login_sessions)


@mistake("`JWT_COOKIE` without a verifier of tokens")
def _(site):
    configured(site, JWT_COOKIE="jwt", TOKEN_VERIFIER=None)
    return check(checks.check_tokens)


@mistake("tickets, Redis, and Django's default cache")
def _(site):
    site.settings.CHANNEL_LAYERS = {"default": {"BACKEND": PUBSUB}}
    site.settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    return check(checks.check_tickets)


@mistake("`TRUSTED_PROXIES` alone")
def _(site):
    configured(site, TRUSTED_PROXIES=["10.0.0.0/8"])
    return check(checks.check_trusted_proxies)


# -- the channel layer -----------------------------------------------------------------------------


class Unreachable(InMemoryChannelLayer):
    """As the layer of a Redis that is down, or at another port."""

    async def new_channel(self, prefix: str = "specific.") -> str:
        raise ConnectionError("Error 111 connecting to localhost:6380. Connection refused.")

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await self.new_channel()


@mistake("Redis is down, or at another port, and a client connects")
def _(site):
    async def connect() -> None:
        async with NodeHarness(layer=Unreachable()) as house:
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await house.node.ready()

    asyncio.run(connect())
    return site.told()


@mistake("Redis is down, or at another port, and a view publishes")
def _(site):
    site.settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{__name__}.Unreachable"}}
    return raised(publish, "public/a", 1, on_commit=False)


@mistake("Redis is down, or at another port, and `realtime_publish` is called")
def _(site):
    site.settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{__name__}.Unreachable"}}
    # Outside the test's transaction.
    site.monkeypatch.setattr(sending, "open_transactions", lambda using: ())
    return raised(call_command, "realtime_publish", "public/a", "1")


@mistake("the shell or a worker publishes, and the layer is in memory")
def _(site):
    for _ in range(2):
        publish("public/a", 1, on_commit=False)
    return site.told()


# -- channel classes -------------------------------------------------------------------------------


@mistake("`@register` without parentheses")
def _(site):
    class OrderChannel(Channel):
        pass

    OrderChannel.__qualname__ = "OrderChannel"
    return raised(register, OrderChannel)


def registered(pattern: str, kind: type[Channel] = Channel) -> tuple[str, str]:
    return raised(register(pattern), kind)


@mistake('`@register("/orders/<int:id>")`')
def _(site):
    return registered("/orders/<int:id>")


@mistake('`@register("orders/<integer:id>")`')
def _(site):
    return registered("orders/<integer:id>")


@mistake('`@register("users/<int:id>")`')
def _(site):
    return registered("users/<int:id>")


@mistake("two classes with one pattern")
def _(site):
    register("orders/<int:id>")(made())
    return registered("orders/<int:id>")


@mistake("`@register(…)` above another kind of class")
def _(site):
    return registered("chat", ChatConsumer)


def made(**attributes: Any) -> type[Channel]:
    """A channel class as a site writes it."""
    names = {"__qualname__": "OrderChannel", "__module__": "shop.realtime", **attributes}
    return type("OrderChannel", (Channel,), names)


@mistake("`def can_subcribe(self, connection)`")
def _(site):
    register("orders")(made(can_subcribe=lambda self, connection: True))
    return check(checks.check_channel_classes)


@mistake("`def on_publish(self, connection, payload)`")
def _(site):
    register("orders")(made(on_publish=lambda self, connection, payload: payload))
    return check(checks.check_channel_classes)


@mistake("`can_subscribe = True`")
def _(site):
    return raised(made, can_subscribe=True)


def asked(*messages: dict[str, Any], **hooks: Any) -> list[Any]:
    """What a client is answered by a channel class with these hooks."""

    async def ask() -> list[Any]:
        async with NodeHarness() as house:
            house.node.routes.register("orders", made(**hooks))
            return await (await house.open()).ask(*messages)

    return asyncio.run(ask())


async def nothing(*args: Any) -> None:
    """A hook that forgets to return."""


@mistake("`can_subscribe` returns nothing")
def _(site):
    answers = asked(subscribe("orders"), subscribe("orders"), can_subscribe=nothing)
    assert [answer["payload"]["code"] for answer in answers] == ["forbidden", "forbidden"]
    return site.told()


@mistake("`on_publish` returns nothing")
def _(site):
    async def yes(self, connection):
        return True

    asked(client_publish(1, "orders"), can_publish=yes, on_publish=nothing)
    return site.told()


@mistake('`client_events = "typing"`')
def _(site):
    return raised(made, client_events="typing")


@mistake('`transient_events = "typing"`')
def _(site):
    return raised(made, transient_events="typing")


@mistake('`messages = {"status": dict}`')
def _(site):
    return raised(made, messages={"status": dict})


@mistake("`state_ttl = 60` without a `state`")
def _(site):
    return raised(made, state_ttl=60)


@mistake('`slow_policy = "drop"`')
def _(site):
    return raised(made, slow_policy="drop")


# -- publishing ------------------------------------------------------------------------------------


def short_routes(site: Any) -> None:
    """As on a site with one channel class."""
    site.monkeypatch.setattr(registry, "_routes", {})
    register("orders/<int:order_id>")(made())


@mistake('`publish("order/42", …)`')
def _(site):
    short_routes(site)
    return raised(publish, "order/42", 1)


@mistake('`publish("orders/4 2", …)`')
def _(site):
    return raised(publish, "orders/4 2", 1)


@mistake('`publish("public/a", order)`')
def _(site):
    return raised(publish, "public/a", Group(name="an object of a model"))


@mistake('`publish("public/a", {"ratio": float("nan")})`')
def _(site):
    return raised(publish, "public/a", {"ratio": float("nan")})


@mistake("a payload of two megabytes")
def _(site):
    return raised(publish, "public/a", "x" * 2_000_000)


@mistake('`event="realtime.saved"`')
def _(site):
    return raised(publish, "public/a", 1, event="realtime.saved")


@mistake("`event=3`")
def _(site):
    return raised(publish, "public/a", 1, event=3)


@mistake('`key="a"` for a channel that keeps nothing')
def _(site):
    short_routes(site)
    return raised(publish, "orders/42", 1, key="a")


@mistake("`version=3` for a class without `versions`")
def _(site):
    short_routes(site)
    return raised(publish, "orders/42", 1, version=3)


@mistake('`state_key="a"` for a class without `state = "keyed"`')
def _(site):
    short_routes(site)
    return raised(publish, "orders/42", 1, state_key="a")


@mistake("`removed=True` without a `state_key`")
def _(site):
    return raised(publish, "public/a", 1, removed=True)


@mistake("`exclude=request.user`")
def _(site):
    return raised(publish, "public/a", 1, exclude=User(username="alice"))


@mistake('`publish_html("public/a", html=f"<p>{name}</p>")`')
def _(site):
    return raised(publish_html, "public/a", html="<p>name</p>")


@mistake('`publish_html("public/a", "row.html", action="replace")`')
def _(site):
    return raised(publish_html, "public/a", "row.html", action="replace")


@mistake('`publish_html("public/a", "row.html", target="#a", action="delete")`')
def _(site):
    return raised(publish_html, "public/a", "row.html", target="#a", action="delete")


@mistake('`position("orders/42")` of a channel that keeps nothing')
def _(site):
    short_routes(site)
    return raised(position, "orders/42")


@mistake("`publish()` in an `async` view")
def _(site):
    async def view() -> None:
        publish("public/a", 1)

    return raised(asyncio.run, view())


@mistake('`publish_to_user("alice", …)`')
def _(site):
    return raised(publish_to_user, "alice", 1)


@mistake("`publish_to_user(order, …)`")
def _(site):
    return raised(publish_to_user, Group(pk=7), 1)


@mistake("`publish_to_user(request.user, …)` for a visitor")
def _(site):
    return raised(publish_to_user, AnonymousUser(), 1)


@mistake("`realtime_publish notes hello`")
def _(site):
    return raised(call_command, "realtime_publish", "notes", "hello")


# -- revoking --------------------------------------------------------------------------------------


@mistake('`revoke(user="alice")`')
def _(site):
    return raised(revoke, user="alice")


@mistake("`revoke(user=999)`, a key that no user has")
def _(site):
    revoke(user=999)
    return site.told()


@mistake("`revoke()`")
def _(site):
    return raised(revoke)


@mistake("`revoke(login_session=request.session)`")
def _(site):
    from django.contrib.sessions.backends.db import SessionStore

    return raised(revoke, login_session=SessionStore())


@mistake('`recheck(user="alice")`')
def _(site):
    return raised(recheck, user="alice")


@mistake('`recheck(channel="order/42")`')
def _(site):
    short_routes(site)
    return raised(recheck, channel="order/42")


@mistake("`realtime_disconnect --user nobody`")
def _(site):
    return raised(call_command, "realtime_disconnect", user="nobody")


# -- consumers of the site's own ---------------------------------------------------------------------


@mistake("a mixin behind the consumer class")
def _(site):
    return raised(type, "Chat", (AsyncWebsocketConsumer, RealtimeMixin), {})


@mistake("a mixin without a consumer class")
def _(site):
    return raised(type("Chat", (RealtimeMixin,), {}).as_asgi)


@mistake('`allowed_origins = ["app.example.com"]`')
def _(site):
    attributes = {"allowed_origins": ["app.example.com"]}
    return raised(type, "Chat", (OriginMixin, AsyncWebsocketConsumer), attributes)


@mistake('`OriginMiddleware(router, "https://app.example.com")`')
def _(site):
    return raised(OriginMiddleware, URLRouter([]), "https://app.example.com")


@mistake("`def on_throttled` in an async consumer")
def _(site):
    attributes = {"on_throttled": lambda self, limit, retry_after: None}
    return raised(type, "Chat", (ThrottleMixin, AsyncWebsocketConsumer), attributes)


@mistake("`groups`, and no layer channel to have them with")
def _(site):
    return raised(type, "Chat", (RealtimeMixin, AsyncWebsocketConsumer), {"groups": ["chat"]})


def talked_to(application: Any, *, subprotocols: tuple[str, ...] = ()) -> None:
    async def connect() -> None:
        async with AsgiSocket(application, subprotocols=list(subprotocols)):
            pass
        await running_node().stop()

    asyncio.run(connect())


@mistake("`accept()` without the subprotocol that the page offers")
def _(site):
    handshake_module._warn_of_answer.cache_clear()
    consumer = type("Chat", (OriginMixin, AsyncWebsocketConsumer), {"__module__": "chat.consumers"})
    talked_to(consumer.as_asgi(), subprotocols=("chat",))
    return site.told("1006")


@mistake("a login by the consumer's own first message, and no `allow_anonymous`")
def _(site):
    site.settings.CHANNELS_REALTIME = {"ALLOW_ANONYMOUS": False}
    consumer = type("Chat", (AuthenticationMixin, AsyncWebsocketConsumer), {})
    talked_to(consumer.as_asgi())
    return site.told("allow_anonymous")


# -- clients in Python -----------------------------------------------------------------------------


URL = "wss://www.example.com/ws/"


@mistake('`connect("www.example.com/ws/")`')
def _(site):
    return raised(connect, "www.example.com/ws/")


@mistake("`connect(…, tokn=fetch_token)`")
def _(site):
    return raised(connect, URL, tokn=print)


@mistake("`connect(…, additional_headers={…})`")
def _(site):
    return raised(connect, URL, additional_headers={})


@mistake('`connect(…, token=os.environ.get("TOKEN", ""))`')
def _(site):
    return raised(connect, URL, token="")


@mistake("`connect(…, on_state=…)` with an `async` function")
def _(site):
    return raised(connect, URL, on_state=nothing)


@mistake('`connect(…, limits={"queue_seconds": 30})`')
def _(site):
    return raised(connect, URL, limits={"queue_seconds": 30})


@mistake('`Limits(queue_seconds="30")`')
def _(site):
    return raised(Limits, queue_seconds="30")


@mistake("`client = connect(…)`, and no `async with`")
def _(site):
    return raised(connect(URL).subscribe, "orders/42")


@mistake("a second `subscribe` to a channel")
def _(site):
    async def twice() -> None:
        server = ScriptedServer()
        accepting = asyncio.create_task(server.welcomed())
        async with connect(URL, opener=server) as client:
            await accepting
            client.subscribe("orders/42")
            client.subscribe("orders/42")

    return raised(asyncio.run, twice())


@mistake("no server answers, or not at this address")
def _(site):
    server = ScriptedServer()
    server.failures = [ConnectionRefusedError("Connect call failed ('127.0.0.1', 8000)")] * 3

    async def follow() -> None:
        accepting = asyncio.create_task(server.welcomed())
        async with connect(URL, opener=server, limits=Limits(backoff_base_s=0.001)):
            await accepting

    asyncio.run(follow())
    return site.told("attempts")


# -- the page --------------------------------------------------------------------------------------


def rows() -> dict[str, tuple[str, str]]:
    """The rows of the page's tables of three columns: what was done, and who says what."""
    text = PAGE.read_text(encoding="utf-8")
    section = text.partition("\n## Typical mistakes")[2]
    found = re.findall(r"^\| (.+) \| (.+) \| `(.+)` \|$", section, re.MULTILINE)
    return {done: (said_by, said) for done, said_by, said in found}


@pytest.mark.django_db
@pytest.mark.parametrize("what", MISTAKES)
def test_mistake_is_answered_as_the_page_says(site, what):
    assert MISTAKES[what](site) == rows().get(what)


def test_page_has_every_mistake_in_this_order():
    assert list(rows()) == list(MISTAKES)
    assert len(MISTAKES) >= 50
