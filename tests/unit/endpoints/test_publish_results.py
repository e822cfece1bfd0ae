"""What ``publish`` returns and leaves out, with connections that listen."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import RequestFactory

from channels_realtime import apublish, channels, publish
from channels_realtime.asgi import get_realtime_application
from channels_realtime.services import current_node
from tests.support.asgi_socket import AsgiSocket
from tests.support.database import in_thread
from tests.support.kept_channels import fresh, registered
from tests.unit.auth.credentials import no_http


@pytest.fixture
async def application():
    with registered(channels.registry):
        yield get_realtime_application(no_http)
        await current_node().stop()


async def listening(socket: AsgiSocket, name: str) -> str:
    """Subscribe; return the connection's public id."""
    welcome = await socket.expect("welcome")
    await socket.ask({"type": "subscribe", "channel": name})
    return welcome["payload"]["connection_id"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["counted", "counted-and-kept"])
async def test_publish_says_how_many_connections_were_told(application, kind):
    name = fresh(kind)
    async with AsgiSocket(application) as one, AsgiSocket(application) as two:
        connection_id = await listening(one, name)
        assert (await apublish(name, 1)).told == 1
        await listening(two, name)
        assert (await apublish(name, 2)).told == 2
        assert (await in_thread(publish, name, 3)).told == 2
        assert (await apublish(name, 4, exclude=connection_id)).told == 1
        assert [(await one.read())["payload"] for _ in range(3)] == [1, 2, 3]
        assert [(await two.read())["payload"] for _ in range(3)] == [2, 3, 4]


@pytest.mark.django_db(transaction=True)
async def test_duplicate_is_not_counted(application):
    name = fresh("counted-and-kept")
    async with AsgiSocket(application) as socket:
        await listening(socket, name)
        assert (await apublish(name, 1, key="a")).told == 1
        again = await apublish(name, 1, key="a")
        assert (again.duplicate, again.told) == (True, None)


@pytest.mark.parametrize("kind", ["open", "numbered"])
async def test_request_that_names_a_connection_reaches_everybody_else(application, kind):
    name = fresh(kind)
    async with AsgiSocket(application) as one, AsgiSocket(application) as two:
        connection_id = await listening(one, name)
        await listening(two, name)
        request = RequestFactory().post("/", headers={"x-realtime-connection": connection_id})
        request.user = AnonymousUser()
        await apublish(name, "mine", exclude=request)
        await apublish(name, "everybody's")
        assert (await one.read())["payload"] == "everybody's"
        assert [(await two.read())["payload"] for _ in range(2)] == ["mine", "everybody's"]
