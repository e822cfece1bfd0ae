"""The admin's operations, called in a process without connections, on connections of two others."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.integration.test_registry import CHANNEL, Servers, of_user, rows_when, servers  # noqa: F401
from tests.support.members import Member, do, log_in, make_member, obtain_tokens
from tests.support.pages import Page, pages, wait_until
from tests.support.promptness import PROMPTLY_S
from tests.support.servers import Server


async def operate(server: Server, verb: str, **arguments: Any) -> Any:
    return await do(server, "operate", verb=verb, arguments=json.dumps(arguments))


@dataclass
class Scene:
    """One user's connections in both processes, by server, and a bystander's."""

    servers: Servers
    member: Member
    a: Page
    b: Page
    bystander: Page
    ids: dict[str, str] = field(default_factory=dict)
    """The connections' ids by the server's name."""

    @property
    def both(self) -> list[str]:
        return [self.ids["daphne"], self.ids["uvicorn"]]


@pytest.fixture
async def scene(servers: Servers) -> AsyncIterator[Scene]:  # noqa: F811
    async with pages() as open_one:
        member, other = await make_member(servers.c), await make_member(servers.c)
        token = (await obtain_tokens(servers.c, member))["access"]
        made = Scene(
            servers,
            member,
            await open_one(servers.a, token=token),
            await open_one(servers.b, token=token),
            await open_one(servers.b, cookie=await log_in(servers.c, other)),
        )
        for page in (made.a, made.b, made.bystander):
            await page.subscribe(CHANNEL)
        found = await rows_when(
            servers.c, lambda found: len(of_user(found, member.id)) == 2, "both rows"
        )
        servers = {node["pk"]: node["server"] for node in found["alive"]}
        made.ids = {servers[row["node_id"]]: row["pk"] for row in of_user(found, member.id)}
        yield made
        await made.bystander.round_trip()


def outcome(*done: str, gone: Any = (), silent: Any = ()) -> dict[str, Any]:
    found = {"done": list(done), "gone": list(gone), "silent": list(silent)}
    return {**found, "impossible": [], "silent_nodes": []}


async def test_disconnect_closes_connections_of_other_processes_promptly(scene: Scene) -> None:
    await operate(scene.servers.c, "inspect", connection_id="warm")  # it opens its inbox
    started_at = time.time()
    found = await operate(scene.servers.c, "disconnect", ids=[*scene.both, "gone"])
    assert found == outcome(*scene.both, gone=["gone"])
    for page in (scene.a, scene.b):
        assert await page.closed() == 4403
        assert page.messages[-1]["payload"] == {
            "code": 4403,
            "reason": "disconnected by an administrator",
            "reconnect": False,
        }
        assert (page.closed_at or 0.0) - started_at < PROMPTLY_S
    await rows_when(
        scene.servers.c, lambda found: not of_user(found, scene.member.id), "their rows are gone"
    )
    assert await operate(scene.servers.c, "disconnect", ids=scene.both) == outcome(gone=scene.both)
    assert await operate(scene.servers.c, "inspect", connection_id=scene.both[0]) is None


async def test_serving_process_closes_connections_of_another(scene: Scene) -> None:
    started_at = time.time()
    found = await operate(
        scene.servers.a, "disconnect", ids=[scene.ids["uvicorn"]], may_return=True, retry_after=2.5
    )
    assert found == outcome(scene.ids["uvicorn"])
    assert await scene.b.closed() == 4503
    assert (scene.b.closed_at or 0.0) - started_at < PROMPTLY_S
    assert scene.b.messages[-1]["payload"] == {
        "code": 4503,
        "reason": "disconnected by an administrator",
        "reconnect": True,
        "retry_after": 2.5,
    }
    await scene.a.round_trip()


async def test_connection_that_is_not_written_down_yet_is_found(scene: Scene) -> None:
    async with pages() as open_one:
        page = await open_one(scene.servers.a)
        fresh = page.messages[0]["payload"]["connection_id"]
        await rows_when(scene.servers.c, lambda found: fresh in found["connections"], "its row")
        await do(
            scene.servers.c,
            "sql",
            statement=f"DELETE FROM channels_realtime_connectionrecord WHERE connection_id='{fresh}'",
        )
        assert await operate(scene.servers.c, "disconnect", ids=[fresh]) == outcome(fresh)
        assert await page.closed() == 4403


async def test_notice_arrives(scene: Scene) -> None:
    payload = {"text": "<b>back</b> \u202e in five minutes"}
    found = await operate(scene.servers.c, "send_notice", ids=scene.both, payload=payload)
    assert found == outcome(*scene.both)
    for page in (scene.a, scene.b):
        message = await page.until(lambda m: m.get("event") == "notice", "the notice")
        assert message == {"type": "message", "event": "notice", "payload": payload}
    assert not any(m.get("event") == "notice" for m in scene.bystander.messages)


async def test_subscriptions_are_taken_away(scene: Scene) -> None:
    found = await operate(scene.servers.c, "unsubscribe", to=scene.both, channel=CHANNEL)
    assert found == outcome(*scene.both)
    for page in (scene.a, scene.b):
        message = await page.of_type("unsubscribed")
        assert message == {
            "type": "unsubscribed",
            "channel": CHANNEL,
            "payload": {"code": "forbidden", "reason": "ended by an administrator"},
        }
    await do(scene.servers.c, "publish", channel=CHANNEL, payload="after")
    await scene.bystander.until(lambda m: m.get("payload") == "after", "the publication")
    for page in (scene.a, scene.b):
        await page.round_trip()
        assert page.payloads(CHANNEL) == []
    found = await operate(scene.servers.c, "unsubscribe", to=scene.both, channel=CHANNEL)
    assert found == outcome(gone=scene.both)


async def test_fresh_credentials_are_asked_for(scene: Scene) -> None:
    found = await operate(scene.servers.c, "ask_for_credentials", ids=scene.both, within=3.0)
    assert found == outcome(*scene.both)
    asked_at = time.time()
    for page in (scene.a, scene.b):
        await page.of_type("auth_expiring")
    token = (await obtain_tokens(scene.servers.c, scene.member))["access"]
    await scene.a.send(type="auth", token=token)
    await scene.a.of_type("auth_ok")
    assert await scene.b.closed() == 4401
    assert 2.0 < (scene.b.closed_at or 0.0) - asked_at < 10.0
    await scene.a.round_trip()


async def test_all_of_a_users_credentials_are_revoked(scene: Scene) -> None:
    started_at = time.time()
    await operate(scene.servers.c, "revoke_user", user_pk=scene.member.id)
    for page in (scene.a, scene.b):
        assert await page.closed() == 4401
        assert (page.closed_at or 0.0) - started_at < PROMPTLY_S


async def test_connection_is_inspected(scene: Scene) -> None:
    found = await operate(scene.servers.c, "inspect", connection_id=scene.ids["daphne"])
    assert (found["id"], found["user_id"]) == (scene.ids["daphne"], scene.member.id)
    assert (found["user"], found["address"]) == (scene.member.name, "127.0.0.1")
    assert found["auth"]["method"] == "jwt"
    assert [entry["channel"] for entry in found["subscriptions"]] == [
        f"users/{scene.member.id}",
        CHANNEL,
    ]
    assert (found["received"], found["closed"]) == (1, False)
    assert found["sent"] >= 2
    assert ["authorization", "(hidden)"] in found["headers"]
    assert "eyJ" not in json.dumps(found)


async def test_channels_and_nodes_are_told(scene: Scene) -> None:
    for _ in range(10):
        await do(scene.servers.c, "publish", channel=CHANNEL, payload=1)

    async def told() -> Any:
        found = await operate(scene.servers.c, "live_channels", search="REGISTRY")
        return found if found["channels"] and found["channels"][0]["rate"] >= 0.5 else None

    found = await wait_until(told, "the rate")
    (channel,) = found["channels"]
    assert (channel["name"], channel["subscribers"]) == (CHANNEL, 3)
    assert sorted(channel["by_node"].values()) == [1, 2]
    assert found["silent"] == []
    reports = await operate(scene.servers.c, "nodes")
    assert sorted(report["answer"]["connections"] for report in reports) == [1, 2]
    for report in reports:
        assert report["answer"]["memory"] > 10_000_000
        assert 0.0 <= report["answer"]["loop_lag"] < 5.0


async def test_command_line_acts_too(scene: Scene) -> None:
    """A process of its own, which ends after it."""
    code = (
        "import json, time; from channels_realtime import operations;"
        f"at = time.time(); found = operations.disconnect({scene.both!r});"
        "print(json.dumps([at, len(found.done)]))"
    )
    before = await inboxes(scene.servers)
    assert (before > 0) is scene.servers.kind.endswith("core")
    printed = await asyncio.to_thread(scene.servers.site.manage, "shell", "-v", "0", "-c", code)
    at, done = json.loads(printed.strip().splitlines()[-1])
    assert done == 2
    for page in (scene.a, scene.b):
        assert await page.closed() == 4403
        assert (page.closed_at or 0.0) - at < PROMPTLY_S
    assert await inboxes(scene.servers) == before


async def inboxes(of: Servers) -> int:
    """How many inboxes the core layer has in the group of all nodes; the other layer keeps no such list."""
    import redis.asyncio

    environment = of.site.environment
    async with redis.asyncio.from_url(environment["SITE_REDIS_URL"]) as client:
        found: int = await client.zcard(f"{environment['SITE_REDIS_PREFIX']}:group:realtime.nodes")
        return found
