"""Everybody but me, over HTTP: the connection that a request names is left out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import SynchronousOnlyOperation
from django.test import AsyncClient, RequestFactory
from rest_framework.request import Request

from channels_realtime import apublish, publish
from channels_realtime.auth.base import Identity
from channels_realtime.errors import ImproperUse
from channels_realtime.exclusion import aexcluded, excluded
from channels_realtime.nodes.outgoing import Outgoing
from channels_realtime.protocol.messages import Publication
from channels_realtime.testing import capture_publications
from tests.support.database import in_thread
from tests.support.kept_channels import register_kinds
from tests.support.nodes import NodeHarness, subscribe
from tests.support.virtual_time import in_virtual_time, settle

ID = "0123456789abcdef"
HEADER = {"x-realtime-connection": ID}


def request(user=None, **headers):
    made = RequestFactory().post("/", headers=headers or HEADER)
    if user is not None:
        made.user = user
    return made


def scope(*headers, user=None):
    return {"type": "http", "headers": list(headers), "user": user}


NAMED = (b"x-realtime-connection", ID.encode())


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, None),
        (ID, (ID, None)),
        (request(User(pk=7)), (ID, "7")),
        (request(AnonymousUser()), (ID, "")),
        (request(), (ID, "")),  # a site without users
        (Request(request(User(pk=7))), (ID, "7")),
        (scope(NAMED, user=User(pk=7)), (ID, "7")),
        (scope(NAMED), (ID, "")),
        (request(User(pk=7), **{"x-other": "a"}), None),
        (scope(), None),
    ],
)
def test_exclude_is_an_id_or_a_request_that_carries_it(given, found):
    if isinstance(given, Request):
        given.user = User(pk=7)
    assert excluded(given) == found


@pytest.mark.parametrize(
    "header", ["", " ", "x" * 65, "a b", f"{ID}, {ID}", "ä", "'; drop", "a\x00b", "../x", "<b>"]
)
def test_malformed_id_excludes_nothing(header):
    assert excluded(request(User(pk=7), **{"x-realtime-connection": header})) is None
    assert excluded(header) is None
    name = b"x-realtime-connection"
    assert excluded(scope((name, header.encode("latin-1")))) is None


def test_header_that_comes_twice_excludes_nothing():
    assert excluded(scope(NAMED, NAMED)) is None


@pytest.mark.parametrize("given", [7, b"id", object(), ["id"], {"headers": []}, User(pk=7)])
def test_something_else_is_refused(given):
    with pytest.raises(ImproperUse, match=r"^exclude is of type .*; expected a connection's id"):
        excluded(given)


class Lazy:
    """A request whose user async code has to read by ``auser``."""

    headers = {"X-Realtime-Connection": ID}

    @property
    def user(self):
        raise SynchronousOnlyOperation


async def test_user_of_a_request_is_read_as_async_code_has_to():
    lazy = Lazy()

    async def auser():
        return User(pk=7)

    lazy.auser = auser
    assert await aexcluded(lazy) == (ID, "7")
    with pytest.raises(ImproperUse, match="cannot be read on an event loop"):
        await aexcluded(Lazy())
    assert await aexcluded(request(User(pk=7))) == (ID, "7")


@pytest.mark.django_db(transaction=True)
async def test_session_user_of_a_request_is_read_on_the_loop_and_in_a_thread():
    """As Django's middleware leaves it: a user that is read from the database when it is looked at."""
    user = await User.objects.acreate_user("alice")
    client = AsyncClient()
    await client.aforce_login(user)

    def made():
        found = RequestFactory().post("/", headers=HEADER)
        found.session = SessionStore(client.cookies["sessionid"].value)
        AuthenticationMiddleware(lambda request: None).process_request(found)
        return found

    assert await aexcluded(made()) == (ID, str(user.pk))
    assert await in_thread(excluded, made()) == (ID, str(user.pk))


async def test_apublish_takes_a_request():
    with capture_publications() as published:
        await apublish("public/a", 1, exclude=request(User(pk=7)))
    assert (published[0].exclude, published[0].exclude_user) == (ID, "7")


def test_publish_refuses_something_else_before_anything_is_sent():
    with capture_publications() as published, pytest.raises(ImproperUse):
        publish("public/a", 1, exclude=SimpleNamespace())
    assert not published


# -- deliveries ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exclude_user", "excludes"), [(None, True), ("7", True), ("8", False), ("", False)]
)
@pytest.mark.parametrize("channel", ["public/a", "numbered/1"])
@in_virtual_time
async def test_only_this_connection_of_this_user_is_left_out(channel, exclude_user, excludes):
    async with NodeHarness() as harness:
        register_kinds(harness.node.routes)
        tab, second = await harness.open(), await harness.open()
        for client in (tab, second):
            client.connection.identity = Identity(user_id="7", method="test")
            await client.ask(subscribe(channel))
            client.take()
        found = harness.node.routes.resolve(channel)
        publication = Publication(channel, 1, exclude=tab.connection.id, exclude_user=exclude_user)
        await harness.node.publish(Outgoing(publication=publication, history=found.kept()))
        await settle()
        assert [message["payload"] for message in tab.take()] == ([] if excludes else [1])
        [message] = second.take()
        assert "exclude" not in message
        assert "exclude_user" not in message


@in_virtual_time
async def test_anonymous_request_leaves_out_an_anonymous_connection():
    async with NodeHarness() as harness:
        client = await harness.open()
        await client.ask(subscribe("public/a"))
        publication = Publication("public/a", 1, exclude=client.connection.id, exclude_user="")
        await harness.node.publish(Outgoing(publication=publication))
        await settle()
        assert client.take() == []
