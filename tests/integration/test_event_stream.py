"""Server-sent events on real servers: `sse` and `send`, in one process and between two."""

import random
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import wait_until
from tests.support.event_streams import EventStream, post, wait_for_connections
from tests.support.servers import Server, together
from tests.support.site import Site, login, publish

ANONYMOUS = {"ALLOW_ANONYMOUS": True, "HEARTBEAT_INTERVAL": 1.0}


@pytest.fixture(scope="module")
def pair(site: Site, redis_url: str) -> Iterator[tuple[Server, Server]]:
    """Daphne and uvicorn, over one Redis."""
    prefix = f"test-{uuid.uuid4().hex}"
    shared = site.having(
        realtime=ANONYMOUS, SITE_LAYER="pubsub", SITE_REDIS_URL=redis_url, SITE_REDIS_PREFIX=prefix
    )
    with together(shared.serve("daphne"), shared.serve("uvicorn")) as (first, second):
        yield first, second
    import redis

    with redis.Redis.from_url(redis_url) as connection:
        for key in connection.scan_iter(match=f"*{prefix}*", count=1000):
            connection.delete(key)


@pytest.fixture(params=[0, 1], ids=["daphne", "uvicorn"])
def server(request: pytest.FixtureRequest, pair: tuple[Server, Server]) -> Server:
    return pair[request.param]


def name(kind: str = "public") -> str:
    return f"{kind}/{uuid.uuid4().hex[:8]}"


def test_stream_greets_subscribes_and_delivers(server):
    channel = name()
    with EventStream(server, channel) as stream:
        assert stream.status == 200
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert stream.headers["Cache-Control"] == "no-cache, no-transform"
        assert stream.headers["X-Accel-Buffering"] == "no"
        welcome = stream.expect("welcome")["payload"]
        assert (welcome["user"], welcome["version"]) == (None, 1)
        assert stream.expect("subscribed")["channel"] == channel
        publish(server, channel, "hello")
        assert stream.message() == {"type": "message", "channel": channel, "payload": "hello"}
        assert stream.last_id is None  # nothing to come back to
        stream.comment()  # nothing else is said for a while


def test_stream_comes_back_with_its_cursor_and_gets_what_it_missed(server):
    kept, plain = name("kept"), name()
    with EventStream(server, kept, plain) as stream:
        stream.expect("welcome")
        assert {stream.expect("subscribed")["channel"] for _ in range(2)} == {kept, plain}
        publish(server, kept, 1)
        assert stream.expect("message")["payload"] == 1
        cursor = stream.last_id
        assert cursor
    publish(server, kept, 2)
    publish(server, kept, 3)
    with EventStream(server, kept, plain, cursor=cursor) as stream:
        stream.expect("welcome")
        found = [stream.message() for _ in range(4)]
        replies = [one for one in found if one["type"] == "subscribed"]
        assert {one["channel"]: one["payload"].get("recovered") for one in replies} == {
            kept: True,
            plain: None,
        }
        assert [one["payload"] for one in found if one["type"] == "message"] == [2, 3]
        publish(server, kept, 4)
        assert stream.expect("message")["payload"] == 4
        again = stream.last_id
    with EventStream(server, kept, cursor=again) as stream:
        stream.expect("welcome")
        assert stream.expect("subscribed")["payload"]["recovered"] is True
        publish(server, kept, 5)
        assert stream.expect("message")["payload"] == 5


def test_messages_go_up_to_whichever_process_holds_the_stream(pair):
    first, second = pair
    for holder, other in ((first, second), (second, first)):
        channel = name()
        with EventStream(holder) as stream:
            session = stream.expect("welcome")["payload"]["session_id"]
            subscribe = {"type": "subscribe", "id": 1, "channel": channel}
            body = {"session_id": session, "messages": [subscribe]}
            assert post(other, "send", body) == (202, {})
            assert stream.expect("subscribed")["id"] == 1
            hello = {"type": "publish", "id": 2, "channel": channel, "payload": "up"}
            body = {"session_id": session, "messages": [hello, {"type": "ping", "id": 3}]}
            assert post(holder, "send", body) == (202, {})
            kinds = sorted(stream.message()["type"] for _ in range(3))
            assert kinds == ["message", "pong", "published"]


def ask(server: Server, stream: EventStream, session: str, message: Any) -> Any:
    """The reply to a message that goes up beside a stream."""
    assert post(server, "send", {"session_id": session, "messages": [message]}) == (202, {})
    return stream.message()


def test_session_resumes_on_a_stream_of_the_other_process(pair):
    first, second = pair
    channel = name("kept")
    with EventStream(first) as stream:
        session = stream.expect("welcome")["payload"]["session_id"]
        subscribe = {"type": "subscribe", "id": 1, "channel": channel}
        position = ask(first, stream, session, subscribe)["payload"]
    for number, server in enumerate((second, first)):
        publish(first, channel, number)
        with EventStream(server) as stream:
            mine = stream.expect("welcome")["payload"]["session_id"]
            resume = {
                "type": "resume",
                "session_id": session,
                "since": {channel: position},
            }
            resumed = wait_until(
                lambda: resumed_as(ask(server, stream, mine, resume)),  # noqa: B023
                "the end of the stream is known",
            )
            assert resumed["session_id"] == mine
            assert resumed["channels"][channel]["recovered"] is True
            missed = stream.expect("message")
            assert (missed["payload"], missed["recovered"]) == (number, True)
            position = {key: missed[key] for key in ("epoch", "offset")}
            session = mine


def resumed_as(reply: Any) -> Any:
    return reply["payload"] if reply["type"] == "resumed" else None


def test_session_of_another_client_is_not_there(server):
    cookie = login(server, "alice")
    with EventStream(server, headers={"Cookie": cookie}) as stream:
        welcome = stream.expect("welcome")["payload"]
        body = {"session_id": welcome["session_id"], "messages": [{"type": "ping"}]}
        unknown = {
            "code": "unknown_session",
            "reason": "there is no such session: begin a new one",
        }
        assert post(server, "send", body) == (404, unknown)
        gone = {**body, "session_id": "x" * 22 + "." + "0" * 32}
        assert post(server, "send", gone) == (404, unknown)
        assert post(server, "send", {**body, "session_id": "x"}) == (404, unknown)
        refused = {"code": "forbidden", "reason": "the CSRF token is missing or wrong"}
        assert post(server, "send", body, {"Cookie": cookie}) == (403, refused)
        headers = {"Cookie": f"{cookie}; csrftoken={'a' * 32}", "X-CSRFToken": "a" * 32}
        assert post(server, "send", body, headers) == (202, {})
        assert stream.message() == {"type": "pong"}


def test_client_that_goes_leaves_nothing(server):
    stream = EventStream(server, name())
    stream.expect("welcome")
    wait_for_connections(server, 1)
    stream.close()
    wait_for_connections(server, 0)


def test_stream_keeps_no_thread(server):
    tasks = Path(f"/proc/{server.process.pid}/task")
    with ExitStack() as stack:
        streams = [stack.enter_context(EventStream(server, name())) for _ in range(20)]
        for stream in streams:
            stream.expect("welcome")
            stream.expect("subscribed")
        wait_until(lambda: len(list(tasks.iterdir())) < 15, "their threads have ended")
    wait_for_connections(server, 0)


def test_users_own_channel_goes_on_from_the_cursor(site):
    own_channels = site.having(SITE_SERVER_SIDE="1")
    with own_channels.serve("uvicorn") as server:
        headers = {"Cookie": login(server, "alice")}
        with EventStream(server, headers=headers) as stream:
            own = f"users/{stream.expect('welcome')['payload']['user']}"
            cursor = stream.last_id
            assert cursor  # its position, from the start
            publish(server, own, 1)
            assert stream.expect("message")["payload"] == 1
            moved = stream.last_id
        publish(server, own, 2)
        publish(server, own, 3)
        for known, expected in ((moved, [2, 3]), (cursor, [1, 2, 3])):
            with EventStream(server, cursor=known, headers=headers) as stream:
                stream.expect("welcome")
                missed = [stream.expect("message") for _ in expected]
                assert [message["payload"] for message in missed] == expected
                assert all(message["recovered"] for message in missed)
                last = stream.last_id
        with EventStream(server, cursor=last, headers=headers) as stream:
            stream.expect("welcome")
            publish(server, own, 4)
            assert stream.expect("message")["payload"] == 4
        lost = "kaZ4eHh4eHijb2xkAQ"  # of nothing that there is
        with EventStream(server, cursor=lost, headers=headers) as stream:
            stream.expect("welcome")
            told = stream.expect("subscribed")
            assert (told["channel"], told["payload"]["recovered"]) == (own, False)


def test_stream_that_is_cut_anywhere_loses_and_repeats_nothing(pair):
    chance, channels, count = random.Random(7), [name("kept") for _ in range(2)], 60
    got: dict[str, list[int]] = {channel: [] for channel in channels}
    stream = EventStream(pair[0], *channels)
    assert [stream.message()["type"] for _ in range(3)] == ["welcome", "subscribed", "subscribed"]

    def publish_all() -> None:
        for number in range(count):
            for channel in channels:
                publish(pair[number % 2], channel, number)

    publishing = threading.Thread(target=publish_all)
    publishing.start()
    cuts = 0
    while min(map(len, got.values())) < count:
        message = stream.message()
        if message["type"] == "message":
            got[message["channel"]].append(message["payload"])
        if chance.random() < 0.1:
            cuts += 1
            stream.close()
            stream = EventStream(chance.choice(pair), *channels, cursor=stream.last_id)
    stream.close()
    publishing.join()
    assert cuts > 3
    assert got == {channel: list(range(count)) for channel in channels}
