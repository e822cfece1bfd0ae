"""Each step of the how-to runs, and does what the page says of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient

from channels_realtime import apublish, arevoke
from channels_realtime.channels import registry
from tests.site.howto_chat.steps import COUNT, blocks, run, step
from tests.support.asgi_socket import AsgiSocket
from tests.unit.auth.credentials import pass_by
from tests.unit.mixins.consumers import closing, nothing_left, until

MIXED = range(1, COUNT)
LAST = COUNT - 1


@pytest.fixture(autouse=True)
def _channels() -> Iterator[None]:
    (code,) = blocks("chat/realtime.py")
    run(code, "chat.realtime")
    yield
    registry.unregister("chat/<slug:room_name>")


class Chat:
    """One step's chat, with somebody's browser in the room ``lobby``."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.application = step(number).as_asgi()

    async def browser(self, name: str, **scope: Any) -> AsgiSocket:
        user, _ = await User.objects.aget_or_create(username=name)
        client = AsyncClient()
        await client.aforce_login(user)
        cookie = f"sessionid={client.cookies['sessionid'].value}".encode()
        headers = [(b"cookie", cookie), *scope.pop("headers", [])]
        return self.page(headers=headers, **scope)

    def page(self, **scope: Any) -> AsgiSocket:
        route = {"args": (), "kwargs": {"room_name": "lobby"}}
        return AsgiSocket(self.application, "/ws/chat/lobby/", url_route=route, **scope)

    def shown(self, frame: dict[str, Any]) -> str:
        """What a page of this step shows of a frame."""
        if self.number < LAST:
            return str(frame["message"])
        name = frame.get("sender", {}).get("name", "The house")
        return f"{name}: {frame['payload']}"


def test_page_has_all_its_steps():
    assert COUNT == 5


@pytest.mark.parametrize("number", range(COUNT))
async def test_what_one_says_the_other_sees(node, number):
    chat = Chat(number)
    async with await chat.browser("alice") as alice, await chat.browser("bob") as bob:
        alice.send({"message": "hello"})
        for page in (alice, bob):
            expected = "alice: hello" if number else "hello"
            assert chat.shown(await page.read()) == expected
    await nothing_left(node)


@pytest.mark.parametrize("number", MIXED)
async def test_foreign_pages_and_strangers_stay_out_from_step_1_on(node, number):
    chat = Chat(number)
    foreign = await chat.browser("alice", headers=[(b"origin", b"https://evil.example")])
    assert await foreign.connect() == {"type": "websocket.close"}
    async with chat.page() as stranger:
        while (event := await stranger.event())["type"] == "websocket.send":
            pass
        assert event["code"] == 4401


@pytest.mark.parametrize("number", MIXED)
async def test_revoked_user_is_closed_from_step_1_on(node, number):
    chat = Chat(number)
    async with await chat.browser("alice") as alice:
        await arevoke(user=await User.objects.aget(username="alice"))
        if number == LAST:
            await alice.expect("closing")
        assert await closing(alice) == 4401


@pytest.mark.parametrize("number", MIXED[1:])
async def test_silent_page_that_knew_pings_is_closed_from_step_2_on(node, clock, number):
    chat = Chat(number)
    async with await chat.browser("alice") as alice:
        alice.send({"type": "pong"})
        (connection,) = node.connections.values()
        await until(lambda: connection._conversation.deadline is not None)
        await until(lambda: connection._conversation.heartbeat.enabled)
        await pass_by(node, clock, 20.1)
        assert await alice.read() == {"type": "ping"}
        await pass_by(node, clock, 10.1)
        if number == LAST:
            await alice.expect("closing")
        assert await closing(alice) == 4408


@pytest.mark.parametrize("number", MIXED[1:])
async def test_page_that_is_too_fast_is_told_to_wait_from_step_2_on(node, number):
    chat = Chat(number)
    async with await chat.browser("alice") as alice:
        for _ in range(11):
            alice.send({"message": "spam"})
        frames = [await alice.read() for _ in range(11)]
        if number == LAST:
            refused = [f for f in frames if f["type"] == "error"]
            assert [f["payload"]["code"] for f in refused] == ["rate_limited"]
            assert refused[0]["request"] == "message"
        else:
            assert {"message": "Too fast: wait 0.5 s."} in frames


@pytest.mark.parametrize("number", MIXED[2:])
async def test_site_publishes_to_the_room_from_step_3_on(node, number):
    chat = Chat(number)
    async with await chat.browser("alice") as alice:
        assert not hasattr(chat.application.consumer_class, "chat_message")
        await apublish("chat/lobby", "closing soon")
        assert chat.shown(await alice.read()) == "The house: closing soon"
