"""Sessions over two server processes, one of each kind, that only Redis connects."""

import asyncio
import json
import os
import signal
import sqlite3
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from channels_realtime.models import ConnectionRecord, EndedConnectionRecord
from tests.support.clients import Client, Message, client, wait_until
from tests.support.forwarder import Forwarder
from tests.support.servers import HOST, Server, stop, together
from tests.support.site import Site, login, publish

UNKNOWN = {"code": "unknown_session", "reason": "no such session; subscribe anew"}


@pytest.fixture(scope="module")
def redis_site(site: Site, redis_url: str) -> Iterator[Site]:
    """The site over Redis, under a prefix of its own."""
    prefix = f"test-{uuid.uuid4().hex}"
    yield site.having(
        SITE_LAYER="pubsub",
        SITE_REDIS_URL=redis_url,
        SITE_REDIS_PREFIX=prefix,
        realtime={"GROUP_PREFIX": prefix[:30], "DRAIN_GRACE": 1.0},
    )
    import redis  # only tests that want a Redis need the client

    with redis.Redis.from_url(redis_url) as connection:
        for key in connection.scan_iter(match=f"{prefix[:30]}*", count=1000):
            connection.delete(key)


@pytest.fixture(scope="module")
def pair(redis_site: Site) -> Iterator[dict[str, Server]]:
    with together(redis_site.serve("daphne"), redis_site.serve("uvicorn")) as (first, second):
        yield {"daphne": first, "uvicorn": second}


BOTH_WAYS = pytest.mark.parametrize(
    ("here", "there"), [("daphne", "uvicorn"), ("uvicorn", "daphne"), ("uvicorn", "uvicorn")]
)


@contextmanager
def opened(server: Server, **options: Any) -> Iterator[tuple[Client, Message]]:
    """A client, and the payload of its ``welcome``."""
    with client(server, welcomed=False, **options) as made:
        yield made, made.expect("welcome")["payload"]


def lose(made: Client) -> None:
    """End the TCP connection without a close frame."""
    made.connection.socket.shutdown(2)


def lost_session(server: Server, *names: str, **options: Any) -> Message:
    """The ``welcome`` of a client that has subscribed to these channels, and was lost."""
    with opened(server, **options) as (made, welcome):
        for name in names:
            made.subscribe(name)
        lose(made)
    return welcome


@BOTH_WAYS
def test_lost_client_resumes_on_the_other_process(
    pair: dict[str, Server], here: str, there: str
) -> None:
    names = [f"public/{uuid.uuid4().hex}" for _ in range(3)]
    lost = lost_session(pair[here], *names)
    with opened(pair[there]) as (second, welcome):
        assert "resume" in welcome["capabilities"]
        reply = second.request("resume", session_id=lost["session_id"])
        assert reply["payload"] == {
            "session_id": welcome["session_id"],
            "connection_id": lost["connection_id"],
            "channels": {name: {} for name in names},
            "dropped": {},
        }
        for name in names:
            publish(pair[here], name, name)
        assert [second.expect("message")["payload"] for _ in names] == names


@BOTH_WAYS
@pytest.mark.parametrize("with_positions", [True, False])
def test_what_was_missed_comes_once_with_positions_and_at_least_once_without(
    pair: dict[str, Server], here: str, there: str, with_positions: bool
) -> None:
    names = [f"kept/{uuid.uuid4().hex}" for _ in range(3)]
    with opened(pair[here]) as (first, lost):
        since = {name: first.subscribe(name)["payload"] for name in names}
        for name in names:
            for number in range(1, 6):
                publish(pair[there], name, number)
            for number in range(1, 4):
                assert first.expect("message")["payload"] == number
            since[name] = {**since[name], "offset": 3}
            for number in range(4, 6):  # of which the client says nothing
                assert first.expect("message")["payload"] == number
        lose(first)
    for name in names:
        for number in range(6, 11):
            publish(pair[here], name, number)
    with client(pair[there]) as second:
        fields = {"since": since} if with_positions else {}
        reply = second.request("resume", session_id=lost["session_id"], **fields)
        assert {
            name: one["recovered"] for name, one in reply["payload"]["channels"].items()
        } == dict.fromkeys(names, True)
        for name in names:
            publish(pair[here], name, "live")
        got: dict[str, list[Any]] = {name: [] for name in names}
        while not all(got[name][-1:] == ["live"] for name in names):
            message = second.expect("message")
            got[message["channel"]].append(message["payload"])
            if message["payload"] != "live":
                assert message["recovered"] is True
        first_missed = 4 if with_positions else 1
        assert got == {name: [*range(first_missed, 11), "live"] for name in names}


@BOTH_WAYS
def test_admin_has_one_row_of_it_throughout(
    redis_site: Site, pair: dict[str, Server], here: str, there: str
) -> None:
    with opened(pair[here]) as (first, lost):
        first.subscribe("public/rows")
        name = lost["connection_id"]
        wait_until(lambda: rows(redis_site, name) == [1], "the row of the first")
        with client(pair[there]) as second:
            wait_until(lambda: resumed_within(second, lost["session_id"]), "it resumes")
            assert first.close_code()[0] == 4409
            # The one that ended is noted, and takes no row of the one that goes on.
            wait_until(lambda: rows(redis_site, name, ended=True) == [1], "the first has ended")
            wait_until(lambda: rows(redis_site, name) == [1], "the row of the second")
    wait_until(lambda: rows(redis_site, name) == [0], "the second has ended")


def rows(site: Site, connection_id: str, *, ended: bool = False) -> list[int]:
    """How many rows a connection has, from the file itself: a management command takes seconds."""
    table = (EndedConnectionRecord if ended else ConnectionRecord)._meta.db_table
    path = site.environment["SITE_DATABASE_URL"].removeprefix("sqlite://")
    with closing(sqlite3.connect(path, timeout=20)) as database:
        query = f"SELECT count(*) FROM {table} WHERE connection_id = ?"
        return list(database.execute(query, [connection_id]).fetchone())


@pytest.mark.parametrize("field", ["sessionId", "session_id"])
@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_first_frame_of_a_plain_page_resumes(
    pair: dict[str, Server], kind: str, field: str
) -> None:
    """``new WebSocket(url)`` and ``{"type": "resume", "sessionId": …}``, sent before anything was read."""
    lost = lost_session(pair[kind], "public/plain", subprotocol=None)
    with client(pair[kind], subprotocol=None, welcomed=False) as second:
        second.connection.send(json.dumps({"type": "resume", field: lost["session_id"]}))
        second.expect("welcome")
        reply = second.expect("resumed")
        assert list(reply["payload"]["channels"]) == ["public/plain"]
        assert reply["payload"]["connection_id"] == lost["connection_id"]


def test_one_of_many_that_race_over_both_processes_resumes(pair: dict[str, Server]) -> None:
    for _ in range(5):
        lost = lost_session(pair["daphne"], "public/race")
        with ExitStack() as stack:
            rivals = [
                stack.enter_context(client(server)) for server in pair.values() for _ in range(4)
            ]
            with ThreadPoolExecutor(len(rivals)) as pool:
                replies = list(
                    pool.map(
                        lambda rival, session=lost["session_id"]: rival.request(
                            "resume", session_id=session
                        ),
                        rivals,
                    )
                )
        kinds = sorted(reply["type"] for reply in replies)
        assert kinds == ["error"] * (len(rivals) - 1) + ["resumed"]
        assert all(r["payload"] == UNKNOWN for r in replies if r["type"] == "error")


@pytest.mark.parametrize("owner", ["alice", None])
@pytest.mark.parametrize("taker", ["bob", None, "alice"])
def test_session_is_the_same_identitys_alone(
    pair: dict[str, Server], owner: str | None, taker: str | None
) -> None:
    first, second = pair.values()

    def cookie(user: str | None) -> str | None:
        return None if user is None else login(second, user)

    lost = lost_session(first, "public/identity", cookie=cookie(owner))
    with client(second, cookie=cookie(taker)) as made:
        reply = made.request("resume", session_id=lost["session_id"])
        if owner == taker:
            assert "public/identity" in reply["payload"]["channels"]
        else:
            assert reply["payload"] == UNKNOWN
    if owner != taker:  # who has no right to it does not end it either
        with client(second, cookie=cookie(owner)) as made:
            reply = made.request("resume", session_id=lost["session_id"])
            assert "public/identity" in reply["payload"]["channels"]


def test_login_that_was_revoked_cannot_resume(pair: dict[str, Server]) -> None:
    first, second = pair.values()
    cookie = login(first, "alice")
    lost = lost_session(first, "public/revoked", cookie=cookie)
    urllib.request.urlopen(
        urllib.request.Request(second.url("/logout/"), headers={"Cookie": cookie}), timeout=15.0
    ).close()
    with client(second, cookie=cookie) as made:  # an anonymous visitor now
        assert made.request("resume", session_id=lost["session_id"])["payload"] == UNKNOWN
    with client(second, cookie=login(first, "alice")) as made:  # of another login
        assert made.request("resume", session_id=lost["session_id"])["payload"] == UNKNOWN


def test_closed_with_1000_is_given_up_and_with_another_code_is_not(pair: dict[str, Server]) -> None:
    for server in pair.values():
        for code, expected in ((1000, "error"), (1001, "resumed"), (3000, "resumed")):
            with opened(server) as (made, welcome):
                made.subscribe("public/closed")
                made.connection.close(code)
            with client(server) as second:
                reply = second.request("resume", session_id=welcome["session_id"])
                assert reply["type"] == expected, (code, reply)


# -- half-open -------------------------------------------------------------------------------------


class Wire:
    """A forwarder to a server, on a loop of its own."""

    def __init__(self, server: Server) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.forwarder = Forwarder(HOST, server.port)
        self.call(self.forwarder.start())

    def call(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(15.0)

    async def _hang(self) -> None:
        self.forwarder.hang()

    async def _go_on(self) -> None:
        self.forwarder.go_on()

    def hang(self) -> None:
        self.call(self._hang())

    def go_on(self) -> None:
        self.call(self._go_on())

    async def _end(self) -> None:
        with_tasks = asyncio.all_tasks() - {asyncio.current_task()}
        await self.forwarder.refuse()
        for task in with_tasks:
            task.cancel()
        await asyncio.gather(*with_tasks, return_exceptions=True)

    def close(self) -> None:
        self.call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(15.0)
        self._loop.close()


@BOTH_WAYS
def test_half_open_owner_closes_with_4409_and_writes_nothing_more(
    pair: dict[str, Server], here: str, there: str
) -> None:
    channel = f"public/{uuid.uuid4().hex}"
    wire = Wire(pair[here])
    try:
        through = Server(
            port=wire.forwarder.port, process=pair[here].process, log_path=pair[here].log_path
        )
        with opened(through) as (first, lost):
            first.subscribe(channel)
            publish(pair[here], channel, "before")
            assert first.expect("message")["payload"] == "before"
            wire.hang()
            with client(pair[there]) as second:
                reply = wait_until(
                    lambda: resumed_within(second, lost["session_id"]), "the session is kept"
                )
                assert list(reply["payload"]["channels"]) == [channel]
                for number in range(5):
                    publish(pair[here], channel, number)
                got = [second.expect("message")["payload"] for _ in range(5)]
                assert got == list(range(5))
                wire.go_on()
                closing = first.receive()
                assert (closing["type"], closing["payload"]["code"]) == ("closing", 4409), closing
                assert closing["payload"]["reconnect"] is False
                with pytest.raises(ConnectionClosed) as closed:
                    first.connection.recv(timeout=15.0)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4409
                publish(pair[here], channel, "after")
                assert second.expect("message")["payload"] == "after"
    finally:
        wire.close()


def resumed_within(made: Client, session_id: str) -> Message | None:
    """The reply to a resume; None while the session is not there yet: it is written behind."""
    reply = made.request("resume", session_id=session_id)
    return reply if reply["type"] == "resumed" else None


# -- processes that end ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_process_that_was_killed_loses_no_session(
    redis_site: Site, pair: dict[str, Server], kind: str
) -> None:
    other = pair["uvicorn" if kind == "daphne" else "daphne"]
    with redis_site.serve(kind) as server, ExitStack() as stack:
        made = [stack.enter_context(opened(server)) for _ in range(10)]
        for number, (each, _) in enumerate(made):
            each.subscribe(f"public/killed-{number}")
        wait_until(lambda: kept(redis_site) >= 10, "the sessions are kept")
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()
        for number, (_, lost) in enumerate(made):
            with client(other) as second:
                reply = second.request("resume", session_id=lost["session_id"])
                assert list(reply["payload"]["channels"]) == [f"public/killed-{number}"]
                assert reply["payload"]["connection_id"] == lost["connection_id"]


def kept(site: Site) -> int:
    """Sessions in Redis that nobody has taken."""
    import redis

    prefix = json.loads(site.environment["SITE_REALTIME"])["GROUP_PREFIX"]
    with redis.Redis.from_url(site.environment["SITE_REDIS_URL"]) as connection:
        keys = connection.scan_iter(match=f"*:{prefix}:{{s*", count=1000)
        return sum(connection.get(key) != b"-" for key in keys)


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_process_that_stops_hands_its_sessions_over(
    redis_site: Site, pair: dict[str, Server], kind: str
) -> None:
    other = pair["uvicorn" if kind == "daphne" else "daphne"]
    with redis_site.serve(kind) as server, opened(server) as (made, lost):
        made.subscribe("public/stopped")
        stopping = threading.Thread(target=stop, args=(server,), kwargs={"timeout_s": 15.0})
        stopping.start()
        assert made.close_code()[0] == 4503
        stopping.join()
        with client(other) as second:
            reply = second.request("resume", session_id=lost["session_id"])
            assert list(reply["payload"]["channels"]) == ["public/stopped"]


# -- malformed -------------------------------------------------------------------------------------

MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({}, "bad_message"),
    ({"session_id": None}, "bad_message"),
    ({"sessionId": None}, "bad_message"),
    ({"session_id": ""}, "bad_message"),
    ({"session_id": 1}, "bad_message"),
    ({"session_id": True}, "bad_message"),
    ({"session_id": []}, "bad_message"),
    ({"session_id": {}}, "bad_message"),
    ({"session_id": "s" * 65}, "bad_message"),
    ({"sessionId": 0.5}, "bad_message"),
    ({"session_id": "s", "since": []}, "bad_message"),
    ({"session_id": "s", "since": "a"}, "bad_message"),
    ({"session_id": "s", "since": 1}, "bad_message"),
    ({"session_id": "s", "since": True}, "bad_message"),
    ({"session_id": "s", "since": {"public/a": 1}}, "bad_message"),
    ({"session_id": "s", "since": {"public/a": []}}, "bad_message"),
    ({"session_id": "s", "since": {"public/a": {}}}, "bad_message"),
    ({"session_id": "s", "since": {"public/a": {"epoch": "e"}}}, "bad_message"),
    ({"session_id": "s", "since": {"public/a": {"offset": 1}}}, "bad_message"),
    ({"session_id": "s", "since": {"public/a": {"epoch": 1, "offset": 1}}}, "bad_message"),
    ({"session_id": "s", "since": {"public/a": {"epoch": "e", "offset": "1"}}}, "bad_message"),
    ({"session_id": "s", "since": {"public/a": {"epoch": "e", "offset": -1}}}, "bad_message"),
    ({"session_id": "s", "since": {"public/a": {"epoch": "e", "offset": 1.5}}}, "bad_message"),
    ({"session_id": "s", "since": {"public/a": {"epoch": "e", "offset": 2**63}}}, "bad_message"),
    ({"session_id": "s", "since": {"a b": {"epoch": "e", "offset": 1}}}, "bad_channel"),
    ({"session_id": "s", "since": {"": {"epoch": "e", "offset": 1}}}, "bad_channel"),
    ({"session_id": "s", "since": {"x" * 201: {"epoch": "e", "offset": 1}}}, "bad_channel"),
    ({"session_id": "s", "since": {str(n): None for n in range(1_001)}}, "bad_message"),
    ({"session_id": "s"}, "unknown_session"),
    ({"session_id": "f" * 32}, "unknown_session"),
    ({"session_id": "\u0000" * 32}, "unknown_session"),
    ({"session_id": "'; DROP TABLE s; --"}, "unknown_session"),
    ({"session_id": "{s0}:*", "since": {}}, "unknown_session"),
    ({"session_id": "é" * 64, "since": None}, "unknown_session"),
]


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_malformed_resume_has_its_documented_error_and_the_neighbour_hears_nothing(
    pair: dict[str, Server], kind: str
) -> None:
    server = pair[kind]
    channel = f"public/{uuid.uuid4().hex}"
    lost = lost_session(server, channel)
    with client(server) as neighbour, client(server) as made:
        neighbour.subscribe(channel)
        for fields, code in MALFORMED:
            reply = made.request("resume", **fields)
            assert (reply["type"], reply["request"]) == ("error", "resume"), (fields, reply)
            assert reply["payload"]["code"] == code, (fields, reply)
        reply = made.request("resume", session_id=lost["session_id"])
        assert list(reply["payload"]["channels"]) == [channel]
        reply = made.request("resume", session_id=lost["session_id"])
        assert reply["payload"]["code"] == "already_subscribed"
        publish(server, channel, "last")
        assert neighbour.payloads_until("last") == []
