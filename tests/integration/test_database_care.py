"""Hooks leave no database connection open and no transaction unfinished; on PostgreSQL."""

import os
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.clients import JSON, TIMEOUT_S, Client, client, wait_until
from tests.support.servers import Server
from tests.support.site import Site, publish

psycopg = pytest.importorskip("psycopg")

ADDRESS = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432")

HOOK_THREADS = 4
DATABASE_THREADS = 1  # thread of the node's own, for the registry and its like
MAX_CONCURRENT_HOOKS = 8
SETTINGS = {
    "HOOK_THREADS": HOOK_THREADS,
    "MAX_CONCURRENT_HOOKS": MAX_CONCURRENT_HOOKS,
    "MAX_SUBSCRIPTIONS": 1_000,
}
PERSISTENT = '{"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": true}'


class Database:
    """A database of the test's own, seen from outside."""

    def __init__(self) -> None:
        self.name = f"channels_realtime_{uuid.uuid4().hex}"
        self.url = f"{ADDRESS}/{self.name}"
        self._connection = psycopg.connect(f"{ADDRESS}/postgres", autocommit=True)
        self._connection.execute(f"CREATE DATABASE {self.name}")
        self._lock = threading.Lock()

    def drop(self) -> None:
        self._connection.execute(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")
        self._connection.close()

    def connections(self, state: str = "%") -> int:
        """How many connections there are in a state such as ``idle in transaction``."""
        with self._lock:
            (count,) = self._connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state LIKE %s",
                [self.name, state],
            ).fetchone()
            return int(count)

    def sleeping(self) -> int:
        """How many slow hooks are in the database."""
        with self._lock:
            (count,) = self._connection.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = %s AND state = 'active' AND wait_event = 'PgSleep'",
                [self.name],
            ).fetchone()
            return int(count)

    def terminate(self) -> int:
        """End every connection from the server's side; returns how many that were."""
        with self._lock:
            ended = self._connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [self.name],
            ).fetchall()
            return len(ended)


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    try:
        psycopg.connect(f"{ADDRESS}/postgres", connect_timeout=3).close()
    except psycopg.OperationalError as error:
        reason = f"no PostgreSQL at {ADDRESS} (TEST_POSTGRES_URL names another): {error}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    made = Database()
    try:
        yield made
    finally:
        made.drop()


@pytest.fixture(scope="module")
def postgres_site(site: Site, database: Database) -> Site:
    made = site.having(realtime=SETTINGS, SITE_DATABASE_URL=database.url)
    made.manage("prepare")
    return made


# Connections of one use on one server, persistent ones on the other.
@pytest.fixture(scope="module", params=["daphne, one use", "uvicorn, persistent"])
def kept(request: pytest.FixtureRequest) -> int:
    """How many idle connections hooks and the node's database thread may leave open."""
    return HOOK_THREADS + DATABASE_THREADS if "persistent" in request.param else 0


@pytest.fixture(scope="module")
def server(postgres_site: Site, kept: int) -> Iterator[Server]:
    kind, options = ("uvicorn", PERSISTENT) if kept else ("daphne", "{}")
    with postgres_site.having(SITE_DATABASE_OPTIONS=options).serve(kind) as running:
        yield running


def assert_settled(database: Database, kept: int) -> None:
    """No transaction is open, and no more connections than the pool's threads keep."""
    wait_until(
        lambda: database.connections() <= kept and not database.connections("idle in tr%"),
        f"hooks and the database thread leave at most {kept} connections, none in a transaction",
    )


class Watch:
    """The most connections that were seen at once while the block ran."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.most = 0

    def _run(self) -> None:
        while not self._over.wait(0.01):
            self.most = max(self.most, self._database.connections())

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join(TIMEOUT_S)


def subscribe_many(clients: list[Client], channel: str, each: int) -> list[dict[str, Any]]:
    """Subscribe every client to ``each`` channels, all at once; returns the replies."""
    for page in clients:
        for first in range(0, each, 50):
            numbers = range(first, min(first + 50, each))
            page.send(
                [{"type": "subscribe", "id": n, "channel": f"{channel}/{n}"} for n in numbers]
            )
    return [page.receive() for page in clients for _ in range(each)]


@pytest.mark.parametrize("hooks", ["sync", "async"])
def test_hundreds_of_subscribes_leave_nothing_behind(
    server: Server, database: Database, kept: int, hooks: str
) -> None:
    with (
        client(server, subprotocol=JSON) as one,
        client(server, subprotocol=JSON) as two,
        client(server, subprotocol=JSON) as three,
        client(server, subprotocol=JSON) as four,
    ):
        with Watch(database) as watch:
            replies = subscribe_many([one, two, three, four], f"orm/{hooks}", 60)
        assert {reply["type"] for reply in replies} == {"subscribed"}
        # One more for each: a connection that has been closed is seen for a moment longer.
        bound = (
            HOOK_THREADS + DATABASE_THREADS
            if hooks == "sync"
            else DATABASE_THREADS + kept + MAX_CONCURRENT_HOOKS
        )
        assert 0 < watch.most <= 2 * bound
        assert_settled(database, kept)
    # The connections end: 240 hooks more.
    assert_settled(database, kept)


@pytest.mark.parametrize("hooks", ["sync", "async"])
def test_hook_that_fails_in_a_transaction_leaves_none_open(
    server: Server, database: Database, kept: int, hooks: str
) -> None:
    with client(server, subprotocol=JSON) as page:
        replies = subscribe_many([page], f"orm/broken/{hooks}", 50)
        assert {reply["payload"]["code"] for reply in replies} == {"internal"}
        assert "nowhere" not in str(replies)
        assert_settled(database, kept)
        for number in range(2 * HOOK_THREADS):
            page.subscribe(f"orm/{hooks}/{number}")
    assert 'relation "nowhere" does not exist' in server.log()


@pytest.mark.parametrize("hooks", ["sync", "async"])
def test_transaction_that_a_hook_forgot_is_ended(
    server: Server, database: Database, kept: int, hooks: str
) -> None:
    with client(server, subprotocol=JSON) as page:
        replies = subscribe_many([page], f"orm/forgotten/{hooks}", 50)
        assert {reply["type"] for reply in replies} == {"subscribed"}
        assert_settled(database, kept)
        for number in range(2 * HOOK_THREADS):
            page.subscribe(f"orm/{hooks}/{number}")


@pytest.mark.parametrize("hooks", ["sync", "async"])
def test_hook_works_after_its_connection_was_terminated(
    server: Server, database: Database, kept: int, hooks: str
) -> None:
    with client(server, subprotocol=JSON) as page:
        replies = subscribe_many([page], f"orm/{hooks}", 50)
        assert {reply["type"] for reply in replies} == {"subscribed"}
        if hooks == "sync" and kept:
            assert database.terminate() > 0
        else:
            database.terminate()
        page.send([{"type": "unsubscribe", "channel": f"orm/{hooks}/{n}"} for n in range(50)])
        for _ in range(50):
            page.expect("unsubscribed")
        replies = subscribe_many([page], f"orm/{hooks}", 50)
        assert {reply["type"] for reply in replies} == {"subscribed"}
    assert_settled(database, kept)


def test_hook_whose_connection_is_terminated_fails_alone(
    server: Server, database: Database, kept: int
) -> None:
    for hooks in ("sync", "async"):
        with client(server) as page, client(server) as bystander:
            bystander.subscribe("public/bystander")
            page.send({"type": "subscribe", "id": 1, "channel": f"orm/slow/{hooks}/100/1"})
            wait_until(lambda: database.sleeping(), "the hook is in the database")
            database.terminate()
            assert page.receive()["payload"]["code"] == "internal"
            publish(server, "public/bystander", hooks)
            assert bystander.receive()["payload"] == hooks
            page.subscribe(f"orm/{hooks}/1")
    assert_settled(database, kept)


def assert_served(server: Server, bystander: Client) -> None:
    """The process goes on: publications by a view (client's own need a hook's thread), and replies."""
    for number in range(10):
        publish(server, "public/bystander", number)
        assert bystander.receive()["payload"] == number
        assert bystander.request("ping")["type"] == "pong"


@pytest.mark.parametrize("hooks", ["sync", "async"])
def test_slow_hooks_delay_no_other_client(
    server: Server, database: Database, kept: int, hooks: str
) -> None:
    with client(server, subprotocol=JSON) as slow, client(server) as bystander:
        bystander.subscribe("public/bystander")
        slow.send(
            [
                {"type": "subscribe", "channel": f"orm/slow/{hooks}/15/{number}"}
                for number in range(HOOK_THREADS)
            ]
        )
        wait_until(lambda: database.sleeping() == HOOK_THREADS, "all hooks are in the database")
        assert_served(server, bystander)
        with pytest.raises(TimeoutError):
            slow.receive(timeout=0)  # none of the slow ones is done yet
        for _ in range(HOOK_THREADS):
            slow.expect("subscribed")
    assert_settled(database, kept)


@pytest.mark.parametrize("ending", ["breaks off", "closes", "is closed"])
@pytest.mark.parametrize("hooks", ["sync", "async"])
def test_client_that_leaves_during_hooks_leaves_nothing_behind(
    server: Server, database: Database, kept: int, hooks: str, ending: str
) -> None:
    with client(server) as bystander:
        bystander.subscribe("public/bystander")
        with client(server, subprotocol=JSON) as page:
            page.send(
                [
                    {"type": "subscribe", "channel": f"orm/slow/{hooks}/20/{number}"}
                    for number in range(HOOK_THREADS)
                ]
            )
            wait_until(
                lambda: database.sleeping() == HOOK_THREADS,
                "all hooks are in the database",
            )
            if ending == "breaks off":
                page.connection.socket.close()
            elif ending == "closes":
                page.connection.close(1000)
            else:
                page.connection.send("x" * 140_000)
                assert page.close_code()[0] == 4413
        # The hooks' queries still run, and the event loop does not wait for them.
        assert_served(server, bystander)
        assert database.sleeping() > 0
    assert_settled(database, kept)
