"""What servers do of themselves, in processes that only Redis connects: subscriptions, and inboxes.

And code that follows channels in a process that serves nobody.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.databases import own_database
from tests.support.members import do, log_in, make_member
from tests.support.pages import Message, Page, pages, wait_until
from tests.support.servers import ROOT, Server, together
from tests.support.site import Site, made_site

Pair = tuple[Server, Server]

FOLLOW = """
import asyncio, sys
from channels_realtime import subscribe

async def main():
    async with subscribe(sys.argv[1]) as messages:
        print("ready", flush=True)
        for _ in range(int(sys.argv[2])):
            message = await anext(messages)
            print(message.payload, message.position.offset, flush=True)

asyncio.run(main())
"""


@pytest.fixture(scope="module", params=["pubsub", "core"])
def site(
    request: pytest.FixtureRequest, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("server-side")
    with own_database("sqlite", directory) as url, made_site(url, redis_url) as made:
        prefix = made.environment["SITE_REDIS_PREFIX"]
        yield made.having(
            realtime={"GROUP_PREFIX": prefix[:40]}, SITE_LAYER=request.param, SITE_SERVER_SIDE="1"
        )


@pytest.fixture(scope="module")
def pair(site: Site) -> Iterator[Pair]:
    with together(site.serve("daphne"), site.serve("uvicorn")) as found:
        yield found[0], found[1]
        for server in found:
            assert "Traceback" not in server.log(), server.log()[-5000:]


def of_channel(channel: str, kind: str) -> Any:
    return lambda message: message["type"] == kind and message.get("channel") == channel


async def ack(page: Page, message: Message) -> None:
    at = {"epoch": message["epoch"], "offset": message["offset"]}
    mark = len(page.messages)
    await page.send(type="ack", id="ack", channel=message["channel"], payload=at)
    await page.until(of_channel(message["channel"], "ack"), "the ack's reply", start=mark)


# -- subscriptions ---------------------------------------------------------------------------------


async def test_automatic_channels_follow_the_rights_in_every_process(pair: Pair) -> None:
    member = await make_member(pair[0])
    await do(pair[0], "sit", room="red", user=member.id)
    async with pages() as open_one:
        opened = [await open_one(one, cookie=await log_in(one, member)) for one in pair]
        for page in opened:
            welcome = page.messages[0]["payload"]["channels"]
            assert set(welcome) == {f"users/{member.id}", "seated/red"}
        await do(pair[0], "publish", channel="seated/red", payload="to the reds")
        for page in opened:
            await page.until(of_channel("seated/red", "message"), "the publication")
        await do(pair[1], "stand-up", room="red", user=member.id)
        await do(pair[1], "sit", room="blue", user=member.id)
        await do(pair[1], "recheck", user=member.id)
        for page in opened:
            ended = await page.until(of_channel("seated/red", "unsubscribed"), "the end")
            assert ended["payload"]["code"] == "forbidden"
            made = await page.until(of_channel("seated/blue", "subscribed"), "the new one")
            assert made["automatic"] is True


async def test_operation_subscribes_a_user_in_every_process(pair: Pair) -> None:
    member, other = await make_member(pair[0]), await make_member(pair[0])
    async with pages() as open_one:
        opened = [await open_one(one, cookie=await log_in(one, member)) for one in pair]
        bystander = await open_one(pair[1], cookie=await log_in(pair[1], other))

        async def in_both() -> Any:
            found = await do(pair[0], "subscribe-user", user=member.id, channel="open/case")
            return found if len(found["done"]) == 2 else None

        # Nodes are asked that the registry knows; a server that starts writes itself down soon.
        found = await wait_until(in_both, "both connections")
        assert (found["impossible"], found["silent_nodes"]) == ([], [])
        for page in opened:
            made = await page.until(of_channel("open/case", "subscribed"), "the subscription")
            assert made == {**made, "automatic": True, "payload": {}}
        await do(pair[1], "publish", channel="open/case", payload="hello")
        for page in opened:
            await page.until(of_channel("open/case", "message"), "the publication")
        again = await do(pair[0], "subscribe-user", user=member.id, channel="open/case")
        assert len(again["done"]) == 2
        ended = {"user": member.id, "channel": "open/case", "reason": "the case is closed"}
        assert len((await do(pair[0], "unsubscribe-user", **ended))["done"]) == 2
        for page in opened:
            message = await page.until(of_channel("open/case", "unsubscribed"), "the end")
            assert message["payload"] == {"code": "forbidden", "reason": "the case is closed"}
            subscribed = [m for m in page.messages if of_channel("open/case", "subscribed")(m)]
            assert len(subscribed) == 1
        await bystander.round_trip()
        assert [m for m in bystander.messages if m.get("channel") == "open/case"] == []


async def test_operation_is_part_of_a_resume(pair: Pair) -> None:
    member = await make_member(pair[0])
    cookie = await log_in(pair[0], member)
    async with pages() as open_one:
        first = await open_one(pair[0], cookie=cookie)

        async def subscribed() -> Any:
            found = await do(pair[1], "subscribe-user", user=member.id, channel="open/resumed")
            return found["done"]

        await wait_until(subscribed, "the connection")
        await first.until(of_channel("open/resumed", "subscribed"), "the subscription")
        session_id = first.messages[0]["payload"]["session_id"]

        async def resume() -> Any:
            page = await open_one(pair[1], cookie=cookie)
            await page.send(type="resume", id=1, session_id=session_id)
            reply = await page.until(lambda m: m.get("id") == 1, "the reply")
            return (page, reply) if "open/resumed" in reply["payload"].get("channels", ()) else None

        first.connection.transport.abort()
        page, _ = await wait_until(resume, "the session with its subscription")
        await do(pair[0], "publish", channel="open/resumed", payload="again")
        await page.until(of_channel("open/resumed", "message"), "the publication")


# -- inboxes ---------------------------------------------------------------------------------------


async def test_what_was_not_acknowledged_comes_again_in_another_process(pair: Pair) -> None:
    member = await make_member(pair[0])
    channel = f"duties/{member.id}"
    async with pages() as open_one:
        first = await open_one(pair[0], cookie=await log_in(pair[0], member))
        await first.subscribe(channel)
        for number in range(3):
            await do(pair[1], "publish", channel=channel, payload=str(number))
        last = await first.until(lambda m: m.get("payload") == "2", "the last")
        messages = [m for m in first.messages if of_channel(channel, "message")(m)]
        assert [m["payload"] for m in messages] == ["0", "1", "2"]
        await ack(first, messages[1])
        await first.end()

        async def without_the_acknowledged() -> Any:
            page = await open_one(pair[1], cookie=await log_in(pair[1], member))
            await page.subscribe(channel)
            await page.until(lambda m: m.get("payload") == "2", "the last")
            return page if page.payloads(channel) == ["2"] else None

        # Acknowledgements are written at the end of the connection, which the server sees a little later.
        page = await wait_until(without_the_acknowledged, "the rest alone")
        message = await page.until(of_channel(channel, "message"), "the last")
        assert (message["offset"], message["recovered"]) == (last["offset"], True)


async def test_site_is_told_once_although_the_publisher_was_killed(site: Site, pair: Pair) -> None:
    member = await make_member(pair[0])
    with site.serve("uvicorn") as publisher:
        await do(publisher, "publish", channel=f"users/{member.id}", payload="for the absent")
        os.killpg(publisher.process.pid, signal.SIGKILL)
        publisher.process.wait()

        async def mails() -> Any:
            return await do(pair[0], "seats", user=member.id)

        async with pages() as open_one:  # nodes run as soon as somebody is connected
            for server in pair:
                await open_one(server, cookie=await log_in(server, await make_member(server)))
            assert await wait_until(mails, "the mail") == ["mail: for the absent"]
            # A second publication is told alone, and by then a second mail of the first would be there.
            await do(pair[1], "publish", channel=f"users/{member.id}", payload="more")

            async def two() -> Any:
                return found if len(found := await mails()) == 2 else None

            assert await wait_until(two, "the second") == ["mail: for the absent", "mail: more"]
            page = await open_one(pair[1], cookie=await log_in(pair[1], member))
            message = await page.until(lambda m: m.get("payload") == "more", "the inbox")
            assert page.payloads(f"users/{member.id}") == ["for the absent", "more"]
            await ack(page, message)


# -- following -------------------------------------------------------------------------------------


async def follow(worker_site: Site, pair: Pair, channel: str, count: int) -> None:
    """A worker gets all that is published while it follows a channel: once, and in order."""
    code = f"import sys; sys.argv[1:] = [{channel!r}, {str(count)!r}]\n{FOLLOW}"
    worker = subprocess.Popen(
        [sys.executable, "-m", "django", "shell", "-c", code],
        cwd=ROOT,
        env={**os.environ, **worker_site.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert worker.stdout is not None
        lines = iter(worker.stdout.readline, "")
        assert "ready" in next(line for line in lines if "ready" in line)
        for number in range(count):
            await do(pair[number % 2], "publish", channel=channel, payload=str(number))
        output, errors = await asyncio.to_thread(worker.communicate, timeout=60)
        assert output.splitlines() == [f"{number} {number + 1}" for number in range(count)]
        assert (worker.returncode, errors) == (0, "")
    finally:
        worker.kill()
        worker.wait()


async def test_process_that_serves_nobody_follows_a_channel(site: Site, pair: Pair) -> None:
    await follow(site, pair, "checked/worker", 50)


async def test_follower_misses_nothing_though_the_layer_loses(site: Site, pair: Pair) -> None:
    if site.environment["SITE_LAYER"] != "pubsub":
        pytest.skip("the layer that loses speaks to pub/sub alone")
    faults = json.dumps({"miss": 0.3})
    unruly = site.having(
        realtime={"SYNC_INTERVAL": 0.5}, SITE_LAYER="unruly", SITE_LAYER_FAULTS=faults
    )
    await follow(unruly, pair, "checked/lossy", 50)
