"""Tenants: the context around hooks and look-ups, and namespaces that share no event and no user."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import functools
import inspect
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.contrib.auth import get_user_model

from channels_realtime import (
    Channel,
    apublish,
    apublish_to_user,
    arecheck,
    namespace,
    publish,
    register,
    services,
    signals,
)
from channels_realtime.access.revocation import Revocations
from channels_realtime.auth import revoking
from channels_realtime.auth.base import Authenticated
from channels_realtime.auth.login_session import LoginSession, SessionView
from channels_realtime.auth.sweep import CredentialSweep
from channels_realtime.auth.tickets import issue_ticket, redeem_ticket
from channels_realtime.channels import registry
from channels_realtime.checks import check_namespaces
from channels_realtime.errors import ImproperUse, TokenInvalid, Unauthenticated
from channels_realtime.identity import Identity
from channels_realtime.namespaces import current_namespace
from channels_realtime.nodes import groups
from channels_realtime.operations import publish_test
from channels_realtime.protocol.names import channel_key, is_key, split_key
from channels_realtime.services import current_node
from channels_realtime.testing import capture_publications
from tests.support.asgi_socket import AsgiSocket
from tests.unit.auth.credentials import converse, make_session, make_token, make_user

# -- a site with a tenant for each host ------------------------------------------------------------

schema = contextvars.ContextVar("schema", default="public")
entered: list[tuple[str, str]] = []


@contextlib.contextmanager
def tenant_of(scope):
    """``CONNECTION_CONTEXT``: as django-tenants' ``schema_context``, with a variable for the schema."""
    host = dict(scope["headers"])[b"host"].decode()
    name = host.partition(".")[0]
    if name == "nobody":
        raise Unauthenticated("there is no such shop")
    token = schema.set(name)
    entered.append(("enter", name))
    try:
        yield
    finally:
        schema.reset(token)
        entered.append(("exit", name))


def schema_name():
    """``NAMESPACE``."""
    return schema.get()


def bad_namespace():
    return "a|b"


@pytest.fixture(autouse=True)
def _hosts(settings):
    settings.ALLOWED_HOSTS = [".example.com", "testserver"]


@pytest.fixture
def tenants(realtime):
    entered.clear()
    realtime(
        CONNECTION_CONTEXT=f"{__name__}.tenant_of",
        NAMESPACE=f"{__name__}.schema_name",
        ALLOW_ANONYMOUS=True,
    )


@pytest.fixture
def seen():
    """In which schema, and in which namespace, each hook of ``sync/…`` and ``async/…`` has run."""
    found: list[tuple[str, str, str]] = []

    def note(hook: str) -> None:
        found.append((hook, schema.get(), current_namespace()))

    class Sync(Channel):
        client_events = ("typing",)

        def can_subscribe(self, connection):
            note("can_subscribe")
            return True

        def on_subscribe(self, connection):
            note("on_subscribe")

        def can_publish(self, connection):
            note("can_publish")
            return True

        def on_publish(self, connection, payload, event):
            note("on_publish")
            return payload

        def sender(self, connection):
            note("sender")

        def can_call(self, connection, method):
            note("can_call")
            return True

        def on_unsubscribe(self, connection):
            note("on_unsubscribe")

    class Async(Channel):
        async def can_subscribe(self, connection):
            note("can_subscribe")
            await sync_to_async(note)("its ORM")
            return True

        async def on_subscribe(self, connection):
            note("on_subscribe")
            await apublish("plain/told", schema.get())

        async def on_unsubscribe(self, connection):
            note("on_unsubscribe")

    class Plain(Channel):
        public = True

        def can_publish(self, connection):
            return True

    for name, channel in {
        "sync/<str:x>": Sync,
        "async/<str:x>": Async,
        "plain/<str:x>": Plain,
    }.items():
        register(name)(channel)
    yield found
    for name in ("sync/<str:x>", "async/<str:x>", "plain/<str:x>"):
        registry.unregister(name)


class Visitor(AsgiSocket):
    """A client of one tenant's site."""

    def __init__(self, application: Any, tenant: str, token: str | None = None) -> None:
        host = f"{tenant}.example.com".encode()
        headers = [(b"origin", b"http://" + host)]
        if token is not None:
            headers.append((b"authorization", f"Bearer {token}".encode()))
        super().__init__(application, headers=headers)
        self.scope["headers"] = [(b"host", host), *headers]

    async def ask(self, **message: Any) -> Any:
        self.send({**message, "id": 1})
        return await self.read()

    async def subscribed(self, *channels: str) -> Visitor:
        await self.expect("welcome")
        for channel in channels:
            reply = await self.ask(type="subscribe", channel=channel)
            assert (reply["type"], reply["channel"]) == ("subscribed", channel), reply
        return self

    async def nothing(self) -> None:
        """Nothing has arrived: what is sent for this comes first."""
        assert (await self.ask(type="unsubscribe", channel="plain/none"))["type"] == "error"


# -- the seam --------------------------------------------------------------------------------------

HOOKS = ("can_subscribe", "on_subscribe", "on_unsubscribe")


@pytest.mark.usefixtures("tenants")
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_hooks_run_in_the_context_and_the_namespace_of_their_connection(seen, kind):
    async def conversation(application: Any) -> None:
        async with Visitor(application, "a") as socket:
            await socket.subscribed(f"{kind}/x")
            if kind == "sync":
                await socket.ask(type="publish", channel="sync/y", payload=1)
                await socket.ask(type="call", channel="sync/y", method="no", payload=1)

    converse(conversation)
    hooks = {hook for hook, _, _ in seen}
    assert hooks >= set(HOOKS) | ({"its ORM"} if kind == "async" else {"on_publish", "can_call"})
    assert {found[1:] for found in seen} == {("a", "a")}
    assert schema.get() == "public"
    opened = entered.count(("enter", "a"))
    assert opened == entered.count(("exit", "a")) > 0


@pytest.mark.django_db
@pytest.mark.usefixtures("tenants")
def test_credentials_are_looked_up_in_the_context(monkeypatch):
    from channels_realtime.auth import jwt as module

    looked_up = []
    original = module._user
    monkeypatch.setattr(
        module, "_user", lambda claims: (looked_up.append(schema.get()), original(claims))[1]
    )
    alice = make_user()

    async def conversation(application: Any) -> None:
        async with Visitor(application, "b", make_token(alice.pk)) as socket:
            await socket.subscribed()
            await socket.ask(type="auth", token=make_token(alice.pk))
            (connection,) = current_node().connections.values()
            assert connection.namespace == connection.identity.namespace == "b"
            monkeypatch.setattr(
                "channels_realtime.connections.credentials.read_user",
                lambda identity, user: looked_up.append(f"again {schema.get()}") or user,
            )
            await connection.reread()

    converse(conversation)
    assert looked_up == ["b", "b", "again b"]


@pytest.mark.usefixtures("tenants")
def test_context_refuses_a_connection_as_an_authenticator_does():
    async def conversation(application: Any) -> Any:
        async with Visitor(application, "nobody") as socket:
            return await socket.read()

    closing = converse(conversation)
    assert closing["payload"]["code"] == 4401
    assert closing["payload"]["reason"] == "there is no such shop"


async def test_context_of_an_async_hook_is_entered_and_left_in_the_thread_of_its_orm():
    from channels_realtime.runtime.hooks import HookRunner
    from channels_realtime.runtime.surround import surround

    threads: list[Any] = []
    variable = contextvars.ContextVar("variable", default="outside")

    @contextlib.contextmanager
    def within():
        threads.append(("enter", threading.current_thread()))
        token = variable.set("inside")
        try:
            yield
        finally:
            variable.reset(token)
            threads.append(("exit", threading.current_thread()))

    async def hook():
        await sync_to_async(lambda: threads.append((variable.get(), threading.current_thread())))()
        return variable.get()

    async def fails():
        raise ZeroDivisionError

    runner = HookRunner(threads=2, timeout=10, max_concurrent=2)
    assert await runner.run(surround(hook, within)) == "inside"
    assert [what for what, _ in threads] == ["enter", "inside", "exit"]
    assert len({thread for _, thread in threads}) == 1
    assert threading.main_thread() not in {thread for _, thread in threads}
    with pytest.raises(ZeroDivisionError):
        await runner.run(surround(fails, within))
    assert threads[-1][0] == "exit"
    assert await runner.run(surround(lambda: hook(), within)) == "inside"  # a sync wrapper
    assert variable.get() == "outside"
    runner.close()


async def test_context_of_an_async_hook_is_left_when_its_time_is_over():
    from channels_realtime.errors import RequestTimeout
    from channels_realtime.runtime.hooks import HookRunner
    from channels_realtime.runtime.surround import surround

    log = []

    @contextlib.contextmanager
    def within():
        try:
            yield
        finally:
            log.append("left")

    async def hangs():
        await asyncio.Event().wait()

    runner = HookRunner(threads=2, timeout=0.05, max_concurrent=2)
    with pytest.raises(RequestTimeout):
        await runner.run(surround(hangs, within))
    assert log == ["left"]
    runner.close()


@pytest.mark.usefixtures("tenants")
def test_receivers_of_a_connections_signals_run_in_its_context():
    told: list[tuple[str, str, str]] = []
    all_told = threading.Event()

    def receiver(connection: Any, **arguments: Any) -> None:
        told.append((connection.namespace, schema.get(), current_namespace()))
        if len(told) == 4:
            all_told.set()

    async def async_receiver(connection: Any, **arguments: Any) -> None:
        receiver(connection)

    async def conversation(application: Any) -> None:
        async with Visitor(application, "a") as a, Visitor(application, "b") as b:
            await a.subscribed()
            await b.subscribed()
            assert await asyncio.to_thread(all_told.wait, 10)

    for each in (receiver, async_receiver):
        signals.connected.connect(each)
    try:
        converse(conversation)
    finally:
        for each in (receiver, async_receiver):
            signals.connected.disconnect(each)
    assert sorted(told) == [("a", "a", "a")] * 2 + [("b", "b", "b")] * 2


# -- namespaces ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tenants", "seen")
def test_two_tenants_share_no_event_of_channels_of_one_name():
    async def conversation(application: Any) -> Any:
        async with Visitor(application, "a") as a, Visitor(application, "b") as b:
            await a.subscribed("plain/x")
            await b.subscribed("plain/x")
            with namespace("a"):
                await apublish("plain/x", "for a")
            with namespace("b"):
                await apublish("plain/x", "for b")
            await apublish("plain/x", "for public")
            got = [await a.read(), await b.read()]
            await a.nothing()
            await b.nothing()
            await a.ask(type="publish", channel="plain/x", payload="by a client of a")
            got.append(await a.read())
            await b.nothing()
            return got

    messages = [message for message in converse(conversation) if message["type"] == "message"]
    assert [(message["channel"], message["payload"]) for message in messages][:2] == [
        ("plain/x", "for a"),
        ("plain/x", "for b"),
    ]


@pytest.mark.usefixtures("tenants")
def test_publication_of_a_hook_goes_to_the_namespace_of_its_connection(seen):
    async def conversation(application: Any) -> Any:
        async with Visitor(application, "a") as a, Visitor(application, "b") as b:
            await a.subscribed("plain/told")
            await b.subscribed("plain/told")
            async with Visitor(application, "a") as other:
                await other.subscribed("async/x")
                message = await a.read()
                await b.nothing()
                return message

    assert converse(conversation)["payload"] == "a"


@pytest.mark.django_db
@pytest.mark.usefixtures("tenants", "seen")
def test_users_of_one_key_share_no_own_channel_and_no_revocation():
    alice = make_user()
    token = make_token(alice.pk)

    async def conversation(application: Any) -> Any:
        async with Visitor(application, "a", token) as a, Visitor(application, "b", token) as b:
            await a.subscribed("plain/x")
            await b.subscribed("plain/x")
            with namespace("a"):
                await apublish_to_user(alice.pk, "for a's user 1")
                revocation = revoking.of_user(alice.pk)
            message = await a.read()
            await b.nothing()
            assert revocation.key == f"user:a|{alice.pk}"
            current_node().service(Revocations).take([revocation])
            closing = await a.expect("closing")
            await b.nothing()
            return message, closing

    message, closing = converse(conversation)
    assert (message["channel"], message["payload"]) == (f"users/{alice.pk}", "for a's user 1")
    assert closing["payload"]["code"] == 4401


@pytest.mark.usefixtures("tenants")
def test_recheck_of_a_channel_asks_the_hooks_of_one_namespace(seen):
    async def conversation(application: Any) -> Any:
        async with Visitor(application, "a") as a, Visitor(application, "b") as b:
            await a.subscribed("sync/x")
            await b.subscribed("sync/x")
            seen.clear()
            with namespace("b"):
                await arecheck(channel="sync/x")
            for _ in range(50):
                await asyncio.sleep(0)
            await b.nothing()

    converse(conversation)
    assert {found for found in seen if found[0] == "can_subscribe"} == {("can_subscribe", "b", "b")}


@pytest.mark.usefixtures("seen")
def test_middleware_may_enter_the_namespace_instead_of_settings(realtime):
    realtime(ALLOW_ANONYMOUS=True)

    async def conversation(application: Any) -> Any:
        async def middleware(scope: Any, receive: Any, send: Any) -> None:
            with namespace(dict(scope["headers"])[b"host"].decode().partition(".")[0]):
                await application(scope, receive, send)

        async with Visitor(middleware, "a") as a, Visitor(middleware, "b") as b:
            await a.subscribed("plain/x")
            await b.subscribed("plain/x")
            with namespace("a"):
                await apublish("plain/x", "for a")
            message = await a.read()
            await b.nothing()
            return message

    assert converse(conversation)["payload"] == "for a"


@pytest.mark.usefixtures("tenants", "seen")
def test_namespace_is_that_of_the_code_that_publishes():
    with capture_publications() as published:
        publish("plain/x", 1)
        with namespace("a"):
            publish("plain/x", 2)
            with namespace(""):
                publish("plain/x", 3)
    assert [publication.namespace for publication in published] == ["public", "a", ""]
    assert [publication.key for publication in published] == [
        "public|plain/x",
        "a|plain/x",
        "plain/x",
    ]


@pytest.mark.django_db
@pytest.mark.usefixtures("tenants")
def test_ticket_of_one_tenant_is_refused_by_another():
    identity = Identity(user_id=str(make_user().pk), method="jwt")
    with namespace("a"):
        ticket, _ = issue_ticket(Authenticated(identity=identity, user=None), None)
    with namespace("b"), pytest.raises(TokenInvalid) as caught:
        redeem_ticket(ticket, None)
    assert caught.value.reason == "the ticket is for another namespace"
    with namespace("a"):
        assert redeem_ticket(ticket, None).identity.user_id == identity.user_id


@pytest.mark.parametrize("name", ["a|b", "a/b", "ä", "a" * 64, None, 1])
def test_malformed_namespace_is_refused(name):
    with pytest.raises(ImproperUse) as caught, namespace(name):
        pass
    assert str(caught.value) == (
        f"namespace(…) is {name!r}; expected 1 to 63 characters of A-Z a-z 0-9 _ - . or None"
    )


def test_malformed_namespace_of_the_setting_is_refused(realtime):
    realtime(NAMESPACE=f"{__name__}.bad_namespace")
    with pytest.raises(ImproperUse, match=r"CHANNELS_REALTIME\['NAMESPACE'\] is 'a|b'; expected"):
        current_namespace()


def test_key_of_a_channel_is_split_as_it_was_made_and_the_packages_own_has_no_namespace():
    assert channel_key("a", "orders/42") == "a|orders/42"
    assert split_key("a|orders/42") == ("a", "orders/42")
    assert channel_key("", "orders/42") == "orders/42"
    assert split_key("orders/42") == ("", "orders/42")
    assert channel_key("a", "realtime/connections") == "realtime/connections"
    assert groups.group_name("p", "a|x") != groups.group_name("p", "a-px")
    get_channel_layer().require_valid_group_name(groups.group_name("p", "a|x"))


@pytest.mark.usefixtures("tenants", "seen")
def test_sweep_looks_at_each_namespace_in_its_context(monkeypatch):
    looked = []
    monkeypatch.setattr(
        "channels_realtime.auth.sweep.find_changed",
        lambda members: looked.append((schema.get(), len(members))) or [],
    )

    async def conversation(application: Any) -> None:
        visitors = [Visitor(application, tenant) for tenant in ("a", "b", "a")]
        async with visitors[0], visitors[1], visitors[2]:
            for visitor in visitors:
                await visitor.subscribed()
            await current_node().service(CredentialSweep).sweep()

    converse(conversation)
    assert sorted(looked) == [("a", 2), ("b", 1)]


@pytest.mark.parametrize(
    ("key", "number", "hint"),
    [
        (
            "CONNECTION_CONTEXT",
            "E029",
            "Name a plain function that takes the ASGI scope and returns a context manager.",
        ),
        ("NAMESPACE", "E030", "Name a plain function without arguments that returns text or None."),
    ],
)
def test_check_reports_a_function_that_cannot_be_called(settings, key, number, hint):
    settings.CHANNELS_REALTIME = {key: "shop.nothing"}
    (message,) = check_namespaces()
    assert (message.id, message.hint) == (f"channels_realtime.{number}", hint)
    assert message.msg.startswith(f"CHANNELS_REALTIME[{key!r}] names 'shop.nothing', which cannot")
    settings.CHANNELS_REALTIME = {key: f"{__name__}.schema_name"}
    assert list(check_namespaces()) == []


# -- impersonation, as the guide writes it ---------------------------------------------------------


class ImpersonatingSession(LoginSession):
    def authenticate(self, credential, handshake):
        found = super().authenticate(credential, handshake)
        if found is None or not found.user.is_superuser:
            return found
        key = SessionView(credential, found.identity.user_id).get("_impersonate")
        user = get_user_model().objects.filter(pk=key, is_active=True).first()
        if user is None:
            return found
        identity = dataclasses.replace(found.identity, user_id=str(user.pk), method="impersonated")
        return Authenticated(identity=identity, user=user)


@pytest.mark.django_db
def test_impersonated_user_stays_who_it_is_when_the_credentials_are_read_again(realtime):
    realtime(AUTHENTICATORS=[f"{__name__}.ImpersonatingSession"])
    staff, alice = make_user("staff", is_superuser=True), make_user("alice")
    session = make_session(staff)
    session["_impersonate"] = alice.pk
    session.save()

    async def conversation(application: Any) -> Any:
        cookie = (b"cookie", f"sessionid={session.session_key}".encode())
        async with AsgiSocket(application, headers=[cookie]) as socket:
            welcome = await socket.expect("welcome")
            (connection,) = current_node().connections.values()
            await connection.reread()
            assert connection.user_id == welcome["payload"]["user"] == str(alice.pk)
            revocations = revoking.of_session(session.session_key, deleted=True)
            current_node().service(Revocations).take(revocations)
            return await socket.expect("closing")

    assert converse(conversation)["payload"]["code"] == 4401


# -- what staff do ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("tenants", "seen")
def test_staff_name_a_channel_with_its_namespace():
    async def conversation(application: Any) -> Any:
        async with Visitor(application, "a") as a, Visitor(application, "b") as b:
            await a.subscribed("plain/x")
            await b.subscribed("plain/x")
            node = current_node()
            ids = list(node.connections)
            asked = functools.partial(_asked, node)
            channels = await asked("channels", search="", limit=10)
            shown = await asked("inspect", connection=ids[0])
            await sync_to_async(publish_test)("a|plain/x", "a test")
            got = [await a.read()]
            await b.nothing()
            sent = await asked("broadcast_notice", payload="hello", channel="b|plain/x")
            got.append(await b.read())
            assert await asked("broadcast_notice", payload="hello", channel="plain/x") == 0
            done = await asked("unsubscribe", connections=ids, channel="a|plain/x")
            got.append(await a.read())
            await b.nothing()
            return channels, shown, got, sent, done == [ids[0]]

    channels, shown, got, sent, only_a = converse(conversation)
    assert {name for name, _, _ in channels["channels"]} == {"a|plain/x", "b|plain/x"}
    assert [entry["channel"] for entry in shown["subscriptions"]] == ["a|plain/x"]
    assert shown["subscriptions"][0]["selections"] == 1
    assert [message["type"] for message in got] == ["message", "message", "unsubscribed"]
    assert (got[0]["payload"], got[1]["payload"]) == ("a test", "hello")
    assert (sent, only_a) == (1, True)


async def _asked(node: Any, kind: str, **arguments: Any) -> Any:
    answer = services.HANDLERS[kind](node, arguments)
    return await answer if inspect.isawaitable(answer) else answer


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("orders/42", True),
        ("acme|orders/42", True),
        ("|orders/42", False),
        ("acme|", False),
        ("a|b|c", False),
        ("a b|c", False),
        (None, False),
    ],
)
def test_key_that_staff_type_is_a_name_perhaps_with_a_namespace(key, expected):
    assert is_key(key) is expected
