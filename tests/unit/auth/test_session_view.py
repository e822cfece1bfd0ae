"""What a hook sees of a session, a visitor's without a login too, and the session's own channel."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import SESSION_KEY
from django.core.exceptions import SynchronousOnlyOperation
from django.test import Client

from channels_realtime import (
    Channel,
    apublish_to_session,
    publish_to_session,
    register,
    session_channel,
)
from channels_realtime.auth.login_session import SessionView
from channels_realtime.auth.sweep import find_changed
from channels_realtime.channels import registry, session_channel_name
from channels_realtime.errors import ImproperUse
from channels_realtime.services import current_node
from channels_realtime.testing import FakeConnection
from tests.support.asgi_socket import AsgiSocket
from tests.unit.auth.credentials import converse, make_session, make_token, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("visitors")]

ENGINES = {
    "db": "django.contrib.sessions.backends.db",
    "cached_db": "django.contrib.sessions.backends.cached_db",
    "cache": "django.contrib.sessions.backends.cache",
    "signed_cookies": "django.contrib.sessions.backends.signed_cookies",
}


@pytest.fixture
def visitors(realtime):
    realtime(ALLOW_ANONYMOUS=True)


@pytest.fixture(params=ENGINES)
def engine(request, settings):
    settings.SESSION_ENGINE = ENGINES[request.param]


def saved(**data: Any) -> Any:
    """A session of a visitor, with this data."""
    from django.conf import settings

    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session.update(data)
    session.save()
    return session


@pytest.fixture
def seen():
    """What the hook of ``carts/mine`` saw, by ``look``."""
    found: list[Any] = []

    class Carts(Channel):
        def can_subscribe(self, connection):
            session = connection.session
            found.append((session.session_key, dict(session)))
            return True

    class AsyncCarts(Channel):
        async def can_subscribe(self, connection):
            session = await connection.session.aload()
            found.append((session.session_key, dict(session)))
            return "cart" in session

    register("carts/mine")(Carts)
    register("async-carts/mine")(AsyncCarts)
    yield found
    registry.unregister("carts/mine")
    registry.unregister("async-carts/mine")


def subscribe(channel: str, key: str | None, *headers: tuple[str, str]) -> dict[str, Any]:
    return dict(converse(_subscribe, channel, key, headers))


async def _subscribe(application: Any, channel: str, key: str | None, headers: Any) -> Any:
    async with opened(application, key, *headers) as socket:
        await socket.expect("welcome")
        return await request(socket, channel)


def opened(application: Any, key: str | None, *headers: tuple[str, str]) -> AsgiSocket:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    if key is not None:
        raw.append((b"cookie", f"sessionid={key}".encode()))
    return AsgiSocket(application, headers=raw)


async def request(socket: AsgiSocket, channel: str) -> Any:
    socket.send({"type": "subscribe", "channel": channel, "id": 1})
    return await socket.read()


# -- what a hook reads -----------------------------------------------------------------------------


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("channel", ["carts/mine", "async-carts/mine"])
def test_hook_reads_the_session_of_a_visitor(seen, channel):
    session = saved(cart=[1, 2])
    assert subscribe(channel, session.session_key)["type"] == "subscribed"
    assert seen == [(session.session_key, {"cart": [1, 2]})]


def test_hook_reads_the_session_of_a_login(seen):
    session = make_session(make_user())
    session["cart"] = [1]
    session.save()
    subscribe("carts/mine", session.session_key)
    key, data = seen[0]
    assert key == session.session_key
    assert data["cart"] == [1]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("key", [None, "", "0" * 32, "forged", "a b"])
def test_hook_reads_nothing_of_a_session_that_does_not_exist(seen, key):
    subscribe("carts/mine", key)
    assert seen == [(None, {})]


def test_hook_reads_nothing_of_another_users_session(seen):
    alice, bob = make_user("alice"), make_user("bob")
    token = ("authorization", f"Bearer {make_token(alice.pk)}")
    subscribe("carts/mine", make_session(bob).session_key, token)
    assert seen == [(None, {})]
    subscribe("carts/mine", saved(cart=[3]).session_key, token)
    assert seen[1][1] == {"cart": [3]}  # a visitor's, in the same browser


def test_hook_reads_nothing_of_the_session_of_a_deactivated_user(seen):
    session = make_session(make_user(is_active=False))
    subscribe("carts/mine", session.session_key)
    assert seen == [(None, {})]


def test_session_is_read_when_it_is_asked_for_and_once_a_view(django_assert_num_queries):
    session = saved(cart=[1])
    with django_assert_num_queries(0):
        view = SessionView(session.session_key, None)
        assert repr(view) == "<SessionView>"
    with django_assert_num_queries(1):
        assert view["cart"] == [1]
        assert view.get("nothing", 5) == 5
        assert "cart" in view
        assert len(view) == 1
        assert list(view) == ["cart"]
        assert view.session_key == session.session_key


def test_view_cannot_be_written():
    session = saved(cart=[1])
    view = SessionView(session.session_key, None)
    with pytest.raises(TypeError):
        view["cart"] = []  # type: ignore[index]
    with pytest.raises(AttributeError):
        view.session_key = "another"  # type: ignore[misc]
    view["cart"].append(2)
    assert SessionView(session.session_key, None)["cart"] == [1]


async def test_view_that_is_read_on_the_event_loop_says_so():
    with pytest.raises(SynchronousOnlyOperation):
        SessionView("0" * 32, None).get("cart")


def test_fake_connection_of_a_test_has_the_session():
    session = saved(cart=[1])
    connection = FakeConnection(session_key=session.session_key)
    assert connection.session["cart"] == [1]
    assert FakeConnection().session.session_key is None
    channel = registry.resolve(session_channel(session))
    assert channel.can_subscribe(connection) is True
    assert channel.can_subscribe(FakeConnection()) is False


# -- the session's own channel ---------------------------------------------------------------------


def test_visitor_is_sent_what_is_published_to_the_session():
    session = saved(cart=[1])
    channel = session_channel(session)
    assert session.session_key not in channel

    async def conversation(application: Any) -> Any:
        async with opened(application, session.session_key) as socket:
            await socket.expect("welcome")
            assert (await request(socket, channel))["type"] == "subscribed"
            await apublish_to_session(session, {"place": 3}, event="queue")
            return await socket.read()

    message = converse(conversation)
    assert (message["type"], message["channel"]) == ("message", channel)
    assert (message["event"], message["payload"]) == ("queue", {"place": 3})


def test_user_is_sent_what_is_published_to_the_login_session():
    key = make_session(make_user()).session_key
    assert subscribe(session_channel(key), key)["type"] == "subscribed"


@pytest.mark.parametrize("other", ["another session", "no session", "no cookie"])
def test_channel_of_a_session_is_forbidden_for_anyone_else(other):
    session = saved(cart=[1])
    key = {"another session": saved(cart=[2]).session_key, "no session": "0" * 32}.get(other)
    assert subscribe(session_channel(session), key)["payload"]["code"] == "forbidden"


def test_page_of_a_new_visitor_gets_a_session_with_its_channel(rf):
    session = import_module("django.contrib.sessions.backends.db").SessionStore()
    channel = session_channel(session)
    assert channel == session_channel_name(session.session_key)
    assert session.modified  # so that the middleware sends the cookie
    assert subscribe(channel, session.session_key)["type"] == "subscribed"


def test_publishing_to_a_session_that_was_never_saved_does_nothing():
    session = import_module("django.contrib.sessions.backends.db").SessionStore()
    assert publish_to_session(session, 1) is None
    assert session.session_key is None


@pytest.mark.parametrize("session", ["", 5, object()])
@pytest.mark.parametrize("verb", [session_channel, lambda session: publish_to_session(session, 1)])
def test_what_is_no_session_is_refused(verb, session):
    with pytest.raises(ImproperUse) as caught:
        verb(session)
    assert str(caught.value) == (
        f"a session is expected, got {type(session).__name__}; expected request.session or the text of"
        " a session's key"
    )


def test_session_in_a_signed_cookie_has_no_channel(settings):
    settings.SESSION_ENGINE = ENGINES["signed_cookies"]
    with pytest.raises(ImproperUse) as caught:
        session_channel(saved(cart=[1]))
    assert str(caught.value) == (
        "sessions in signed cookies have no channel: their key changes whenever they are saved;"
        " expected SESSION_ENGINE 'django.contrib.sessions.backends.db' or 'cached_db'"
    )


# -- through login and logout ----------------------------------------------------------------------


def test_login_gives_the_session_another_channel_and_ends_the_visitors():
    """Django gives the session a new key, so that one who planted the old key learns nothing."""
    user = make_user()
    browser = Client()
    session = browser.session
    session["cart"] = [1]
    session.save()
    old = session.session_key
    old_channel = session_channel(old)

    async def conversation(application: Any) -> Any:
        async with opened(application, old) as socket:
            await socket.expect("welcome")
            assert (await request(socket, old_channel))["type"] == "subscribed"
            await sync_to_async(browser.force_login)(user)
            assert session_channel(browser.session) != old_channel
            (connection,) = current_node().connections.values()
            assert await sync_to_async(find_changed)([connection]) == [connection]
            await connection.recheck()  # as the sweep does
            return await socket.read()

    message = converse(conversation)
    assert (message["type"], message["channel"]) == ("unsubscribed", old_channel)
    assert message["payload"]["code"] == "forbidden"
    assert browser.session["cart"] == [1]
    assert browser.session[SESSION_KEY] == str(user.pk)
    key = browser.session.session_key
    assert subscribe(session_channel(key), key)["type"] == "subscribed"
    assert subscribe(old_channel, old)["payload"]["code"] == "forbidden"
    assert subscribe(old_channel, key)["payload"]["code"] == "forbidden"


def test_logout_ends_the_connections_on_the_sessions_channel():
    browser = Client()
    browser.force_login(make_user())
    key = browser.session.session_key

    async def conversation(application: Any) -> Any:
        async with opened(application, key) as socket:
            await socket.expect("welcome")
            assert (await request(socket, session_channel(key)))["type"] == "subscribed"
            await sync_to_async(browser.logout)()
            (connection,) = current_node().connections.values()
            await connection.reread()  # as at once after the commit
            return await socket.expect("closing")

    assert converse(conversation)["payload"]["code"] == 4401
    assert subscribe(session_channel(key), key)["payload"]["code"] == "forbidden"
