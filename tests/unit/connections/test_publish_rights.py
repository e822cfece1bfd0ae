"""How long a connection may publish without ``can_publish`` being asked again, and what ends that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from channels_realtime import Channel
from channels_realtime.access.revocation import Revocations
from channels_realtime.access.revocation_list import RECHECK, Revocation
from channels_realtime.auth.base import Authenticated
from channels_realtime.auth.login_session import read_login_session
from channels_realtime.connections import rights, subscriptions
from channels_realtime.connections.rights import PublishRights
from channels_realtime.errors import Forbidden, ImproperUse
from channels_realtime.identity import Identity
from tests.support.database import InlineDatabase, no_loop
from tests.support.nodes import FakeClient, NodeHarness, publish, subscribe
from tests.support.virtual_time import in_virtual_time, settle
from tests.unit.auth.credentials import make_session, make_user


class Asked(Channel):
    """Lets everybody subscribe, and publish unless ``verdict`` says otherwise."""

    public = True
    asked = 0
    verdict: Any = True

    async def can_publish(self, connection):
        type(self).asked += 1
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


class Always(Asked):
    permission_lifetime = 0


class Never(Asked):
    permission_lifetime = None


class Slow(Asked):
    """Its answer waits for a gate."""

    gate: asyncio.Event

    async def can_publish(self, connection):
        verdict = await super().can_publish(connection)
        await self.gate.wait()
        return verdict


class Harness(NodeHarness):
    def __init__(self, **config: Any) -> None:
        super().__init__(heartbeat_interval=600.0, **config)
        for name, kind in (("asked", Asked), ("always", Always), ("never", Never), ("slow", Slow)):
            self.node.routes.register(f"{name}/<str:x>", kind)
            kind.asked, kind.verdict = 0, True
        Slow.gate = asyncio.Event()

    @property
    def revocations(self) -> Revocations:
        return self.node.service(Revocations)

    def sign_in(self, client: FakeClient, user_id: str = "7", **fields: Any) -> bool:
        """As an ``auth`` does, or a refresh of the same user's token."""
        identity = Identity(user_id=user_id, method="jwt", **fields)
        proof = Authenticated(identity=identity, user=object())
        return client.connection.authenticated(proof, self.node.clock.time())


async def say(client: FakeClient, channel: str = "asked/1", times: int = 1) -> list[str | None]:
    """Publish; returns the codes of the errors, None for what was published."""
    codes: list[str | None] = []
    for _ in range(times):
        [reply] = await client.ask(publish("x", channel, id=1))
        codes.append(reply["payload"].get("code"))
    return codes


# -- kept, and for how long ------------------------------------------------------------------------


@in_virtual_time
async def test_grant_is_kept_for_its_lifetime_by_channel():
    async with Harness() as harness:
        client = await harness.open()
        assert await say(client, times=3) == [None] * 3
        assert Asked.asked == 1
        await say(client, "asked/2")
        assert Asked.asked == 2
        await asyncio.sleep(Channel.permission_lifetime - 0.01)
        await say(client)
        assert Asked.asked == 2
        await asyncio.sleep(0.02)
        await say(client)
        assert Asked.asked == 3


@in_virtual_time
async def test_grant_is_of_one_connection():
    async with Harness() as harness:
        first, second = await harness.open(), await harness.open()
        await say(first)
        await say(second)
        assert Asked.asked == 2


@in_virtual_time
async def test_lifetime_counts_from_the_question():
    async with Harness() as harness:
        client = await harness.open()
        await client.ask(publish("x", "slow/1", id=1))
        await asyncio.sleep(4.0)
        Slow.gate.set()
        await settle()
        client.take()
        await asyncio.sleep(1.5)
        await say(client, "slow/1")
        assert Slow.asked == 2


@pytest.mark.parametrize("channel", ["always/1", "never/1"])
@in_virtual_time
async def test_every_publication_is_asked_about_where_the_class_says_so(channel):
    async with Harness() as harness:
        client = await harness.open()
        await say(client, channel, times=3)
        assert Always.asked + Never.asked == 3


@in_virtual_time
async def test_refusal_is_not_kept():
    async with Harness() as harness:
        client = await harness.open()
        Asked.verdict = False
        assert await say(client, times=2) == ["forbidden"] * 2
        Asked.verdict = Forbidden("not you")
        assert await say(client) == ["forbidden"]
        Asked.verdict = True
        assert await say(client) == [None]
        assert Asked.asked == 4


@pytest.mark.parametrize("failure", [RuntimeError("mistake"), TimeoutError(), None])
@in_virtual_time
async def test_failure_of_the_hook_is_not_kept(failure):
    async with Harness() as harness:
        client = await harness.open()
        Asked.verdict = failure
        assert None not in await say(client)
        Asked.verdict = True
        assert await say(client) == [None]
        assert Asked.asked == 2


def test_what_is_kept_is_bounded_and_the_oldest_goes_first(monkeypatch):
    monkeypatch.setattr(rights, "MAX_PUBLISH_RIGHTS", 3)
    kept = PublishRights()
    for number in range(5):
        kept.keep(f"c/{number}", 10.0, 0.0)
    assert len(kept) == 3
    assert [kept.holds(f"c/{number}", 0.0) for number in range(5)] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_what_is_over_is_not_held():
    kept = PublishRights()
    for number in range(5):
        kept.keep(f"c/{number}", 10.0 + number, 0.0)
    kept.keep("c/new", 20.0, 12.0)
    assert len(kept) == 3


@pytest.mark.parametrize("lifetime", [-1, "5", True])
def test_malformed_lifetime_is_a_mistake(lifetime):
    with pytest.raises(
        ImproperUse, match=r"permission_lifetime is .*; expected seconds, 0 or None"
    ):
        type("Wrong", (Channel,), {"permission_lifetime": lifetime})


# -- what ends it ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channel", "user", "again"),
    [
        ("asked/1", None, True),
        ("asked/2", None, False),
        (None, "7", True),
        (None, "8", False),
        ("asked/1", "7", True),
    ],
)
@in_virtual_time
async def test_recheck_that_concerns_it_ends_it_at_once(channel, user, again):
    async with Harness() as harness:
        client = await harness.open()
        assert harness.sign_in(client)
        await say(client)
        Asked.verdict = False
        harness.revocations.recheck(channel, user)
        # Not awaited: the next publication is judged anew, however long the recheck takes.
        client.connection.receive(
            '{"type": "publish", "channel": "asked/1", "payload": 1, "id": 2}'
        )
        assert len(client.connection.publish_rights) == (0 if again else 1)
        await settle()
        codes = [reply["payload"].get("code") for reply in client.take() if reply.get("id") == 2]
        assert codes == (["forbidden"] if again else [None])


@in_virtual_time
async def test_recheck_while_the_hook_is_asked_keeps_its_answer_from_being_kept():
    async with Harness() as harness:
        client = await harness.open()
        await client.ask(publish("x", "slow/1", id=1))
        harness.revocations.recheck("slow/1", None)
        Slow.gate.set()
        await settle()
        client.take()
        await say(client, "slow/1")
        assert Slow.asked == 2


@in_virtual_time
async def test_recheck_of_a_connection_ends_it():
    async with Harness() as harness:
        client = await harness.open()
        await say(client)
        await harness.revocations.recheck_connection(client.connection)  # as the sweep does
        await say(client)
        assert Asked.asked == 2


@in_virtual_time
async def test_recheck_at_the_channels_interval_ends_it():
    async with Harness() as harness:
        client = await harness.open()
        await say(client)
        await client.connection.recheck("asked/1")  # as the timer does
        await say(client)
        assert Asked.asked == 2


@in_virtual_time
async def test_rereading_of_credentials_ends_it_at_once():
    async with Harness() as harness:
        client = await harness.open()
        assert harness.sign_in(client)
        client.connection.read_at = 0.0
        await say(client)
        now = harness.node.clock.time()
        harness.revocations.take([Revocation(f"{RECHECK}7", now, now + 60.0)])
        assert len(client.connection.publish_rights) == 0  # before the user has been read


@pytest.mark.parametrize("user_id", ["7", "8"], ids=["refreshed", "another user"])
@in_virtual_time
async def test_new_credentials_end_it(user_id):
    async with Harness() as harness:
        client = await harness.open()
        assert harness.sign_in(client, "7")
        await say(client)
        assert harness.sign_in(client, user_id)
        await say(client)
        assert Asked.asked == 2


@in_virtual_time
async def test_signing_in_ends_what_an_anonymous_client_was_granted():
    async with Harness() as harness:
        client = await harness.open()
        await say(client)
        assert harness.sign_in(client)
        await say(client)
        assert Asked.asked == 2


@in_virtual_time
async def test_user_that_was_read_again_ends_it():
    async with Harness() as harness:
        client = await harness.open()
        assert harness.sign_in(client)
        await say(client)
        client.connection.take_user(object(), harness.node.clock.time())
        await say(client)
        assert Asked.asked == 2


@in_virtual_time
async def test_end_of_the_subscription_ends_it():
    async with Harness() as harness:
        client = await harness.open()
        await client.ask(subscribe("asked/1", id=9))
        await client.ask(publish("x", "asked/1", id=1), publish("x", "asked/2", id=2))
        connection = client.connection
        channel = connection.subscriptions["asked/1"]
        subscriptions.take_away(harness.node, connection, channel, Forbidden("out"))
        client.take()
        assert await say(client, "asked/1") == [None]
        assert Asked.asked == 3
        await say(client, "asked/2")
        assert Asked.asked == 3


@pytest.mark.django_db
def test_session_that_was_read_again_ends_it():
    alice = make_user()
    key = make_session(alice).session_key

    @in_virtual_time
    async def scenario():
        async with Harness() as harness:
            harness.node.authentication = InlineDatabase()  # type: ignore[assignment]
            client = await harness.open()
            with no_loop():
                found = read_login_session(key)
            assert client.connection.authenticated(found, harness.node.clock.time())
            await say(client)
            await client.connection.reread()
            await say(client)
            assert Asked.asked == 2

    scenario()


@in_virtual_time
async def test_revoked_connection_publishes_nothing_more():
    async with Harness() as harness:
        client = await harness.open()
        listener = await harness.open()
        await listener.ask(subscribe("asked/1"))
        assert harness.sign_in(client, keys=frozenset({"token:a"}))
        await say(client)
        await settle()
        listener.take()
        now = harness.node.clock.time()
        harness.revocations.take([Revocation("token:a", now, now + 60.0)])
        await client.ask(publish("x", "asked/1", id=1))
        assert listener.take() == []
