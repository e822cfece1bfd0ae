"""Two server processes, one of each kind, that only Redis connects; and processes that serve nobody."""

import sys
import uuid
from collections.abc import Iterator

import pytest

from tests.support.clients import JSON, Client, client
from tests.support.servers import Server, together
from tests.support.site import Site, login, publish

Pair = tuple[Server, Server]


@pytest.fixture(scope="module", params=["pubsub", "core"])
def redis_site(request: pytest.FixtureRequest, site: Site, redis_url: str) -> Iterator[Site]:
    """The site over Redis, under a prefix of its own."""
    prefix = f"test-{request.param}-{uuid.uuid4().hex}"
    yield site.having(SITE_LAYER=request.param, SITE_REDIS_URL=redis_url, SITE_REDIS_PREFIX=prefix)
    import redis  # only tests that want a Redis need the client

    with redis.Redis.from_url(redis_url) as connection:
        for key in connection.scan_iter(match=f"{prefix}*", count=1000):
            connection.delete(key)


@pytest.fixture(scope="module")
def pair(redis_site: Site) -> Iterator[Pair]:
    way = "-frames" if redis_site.environment["SITE_LAYER"] == "pubsub" else ""
    with together(redis_site.serve(f"daphne{way}"), redis_site.serve(f"uvicorn{way}")) as (
        first,
        second,
    ):
        yield first, second


@pytest.fixture
def subscribers(pair: Pair) -> Iterator[list[Client]]:
    """Two clients in each process."""
    first, second = pair
    with (
        client(first) as one,
        client(first, subprotocol=JSON) as two,
        client(second) as three,
        client(second, subprotocol=JSON) as four,
    ):
        yield [one, two, three, four]


def assert_each_gets(
    subscribers: list[Client], pair: Pair, channel: str, expected: list[object]
) -> None:
    """Each has got exactly ``expected`` since it subscribed.

    A last word goes through each process: what was sent before it lies before it in every inbox.
    """
    for server in pair:
        publish(server, channel, f"last of {server.port}")
    for subscriber in subscribers:
        got = subscriber.payloads_until(f"last of {pair[0].port}")
        got += subscriber.payloads_until(f"last of {pair[1].port}")
        assert got == expected


@pytest.mark.parametrize("view", ["sync", "async"])
@pytest.mark.parametrize("of", [0, 1])
def test_view_reaches_the_subscribers_of_both(
    pair: Pair, subscribers: list[Client], view: str, of: int
) -> None:
    channel = f"public/view-{view}-{of}"
    for subscriber in subscribers:
        subscriber.subscribe(channel)
    for number in range(20):
        publish(pair[of], channel, number, view=view)
    assert_each_gets(subscribers, pair, channel, list(range(20)))


def test_client_reaches_the_subscribers_of_both(pair: Pair, subscribers: list[Client]) -> None:
    for subscriber in subscribers:
        subscriber.subscribe("public/client")
    for subscriber in subscribers:
        reply = subscriber.request("publish", channel="public/client", payload="hello")
        assert reply["type"] == "published"
    assert_each_gets(subscribers, pair, "public/client", ["hello"] * 4)


def test_transaction_reaches_both_and_a_rollback_neither(
    pair: Pair, subscribers: list[Client]
) -> None:
    channel = "public/transaction"
    for subscriber in subscribers:
        subscriber.subscribe(channel)
    publish(pair[0], channel, 1, view="rollback")
    publish(pair[1], channel, 2, view="transaction")
    expected = [{"savepoint kept": 1}, {"first": 2}, {"committed": 2}]
    assert_each_gets(subscribers, pair, channel, expected)


def test_command_reaches_the_subscribers_of_both(
    redis_site: Site, pair: Pair, subscribers: list[Client]
) -> None:
    for subscriber in subscribers:
        subscriber.subscribe("public/command")
    result = redis_site.run_command(
        "realtime_publish", "public/command", '{"price": 178.4}', "--event", "changed"
    )
    assert (result.stdout, result.stderr) == ("Published to public/command.\n", "")
    for subscriber in subscribers:
        message = subscriber.expect("message")
        assert (message["event"], message["payload"]) == ("changed", {"price": 178.4})
    assert_each_gets(subscribers, pair, "public/command", [])


def test_model_saved_in_the_shell_reaches_the_subscribers_of_both(
    redis_site: Site, pair: Pair, subscribers: list[Client]
) -> None:
    for subscriber in subscribers:
        subscriber.subscribe("notes")
    code = """
from django.db import transaction
from tests.site.publishing.models import Note
Note.objects.create(text="saved")
with transaction.atomic():
    Note.objects.create(text="committed")
try:
    with transaction.atomic():
        Note.objects.create(text="rolled back")
        raise ZeroDivisionError
except ZeroDivisionError:
    pass
"""
    result = redis_site.run_command("shell", "-c", code)
    assert result.stderr == ""
    expected: list[object] = [{"text": "saved"}, {"text": "committed"}]
    assert_each_gets(subscribers, pair, "notes", expected)


def test_forked_workers_reach_the_subscribers_of_both(
    redis_site: Site, pair: Pair, subscribers: list[Client]
) -> None:
    for subscriber in subscribers:
        subscriber.subscribe("public/forks")
    redis_site.manage("publish_from_forks", "public/forks")
    for server in pair:
        publish(server, "public/forks", f"last of {server.port}")
    for subscriber in subscribers:
        got = subscriber.payloads_until(f"last of {pair[0].port}")
        got += subscriber.payloads_until(f"last of {pair[1].port}")
        # The two children run at the same time; each one's own order holds.
        by_worker: dict[str, list[int]] = {}
        for payload in got:
            by_worker.setdefault(payload["from"], []).append(payload["number"])
        assert by_worker == {"parent": [1, 2], "first": [1, 2], "second": [1, 2]}


def test_user_is_reached_in_both_processes(redis_site: Site, pair: Pair) -> None:
    # One database, so a login in one process holds in the other.
    cookie = login(pair[0], "alice")
    with (
        client(pair[0], cookie=cookie, welcomed=False) as here,
        client(pair[1], cookie=cookie, welcomed=False) as there,
        client(pair[1], cookie=login(pair[1], "bob")) as bob,
    ):
        user = here.expect("welcome")["payload"]["user"]
        there.expect("welcome")
        bob.subscribe("public/bob")
        code = (
            "from channels_realtime import publish_to_user\n"
            f"publish_to_user({user!r}, 'for alice', event='told')\n"
        )
        redis_site.manage("shell", "-c", code)
        for one in (here, there):
            message = one.expect("message")
            assert (message["channel"], message["payload"]) == (f"users/{user}", "for alice")
        publish(pair[1], "public/bob", "last")
        assert bob.payloads_until("last") == []


def test_subscription_ends_in_one_process_alone(pair: Pair, subscribers: list[Client]) -> None:
    channel = "public/leaving"
    for subscriber in subscribers:
        subscriber.subscribe(channel)
    for leaver in subscribers[:2]:
        assert leaver.request("unsubscribe", channel=channel)["type"] == "unsubscribed"
    publish(pair[0], channel, "for the others")
    assert_each_gets(subscribers[2:], pair, channel, ["for the others"])
    for leaver in subscribers[:2]:
        assert leaver.request("ping")["type"] == "pong"
        leaver.subscribe("public/elsewhere")
        publish(pair[0], "public/elsewhere", "next")
        assert leaver.expect("message")["channel"] == "public/elsewhere"
        assert leaver.request("unsubscribe", channel="public/elsewhere")


# -- a process that serves nobody ------------------------------------------------------------------

WARNING = (
    "This publication reaches no client: the in-memory channel layer reaches only the connections"
    " of its own process, and this process serves none. Use channels_redis in CHANNEL_LAYERS"
    " to publish from other processes (workers, commands, the shell).\n"
)


def test_command_over_the_in_memory_layer_warns_and_names_the_remedy(site: Site) -> None:
    result = site.run_command("realtime_publish", "public/nobody", "1")
    assert result.stderr == WARNING


def test_shell_over_the_in_memory_layer_warns_once(site: Site) -> None:
    code = (
        "from channels_realtime import publish\n"
        "for number in range(3): publish('public/nobody', number)\n"
    )
    assert site.run_command("shell", "-c", code).stderr == WARNING


def test_server_over_the_in_memory_layer_does_not_warn(site: Site) -> None:
    with site.serve("daphne") as server, client(server) as page:
        page.subscribe("public/somebody")
        publish(server, "public/somebody", "heard")
        assert page.receive()["payload"] == "heard"
        assert "This publication reaches no client" not in server.log()


def test_publishing_to_an_unknown_channel_names_the_routes(site: Site) -> None:
    code = (
        "from channels_realtime import publish\n"
        "from channels_realtime.errors import UnknownChannel\n"
        "import sys\n"
        "try: publish('nowhere/1', 1)\n"
        "except UnknownChannel as error: print(error, file=sys.stderr)\n"
    )
    stderr = site.run_command("shell", "-c", code).stderr
    assert stderr.startswith("channel 'nowhere/1' matches no registered route; there are: ")
    assert "'signed-in/<slug:room>'" in stderr


def test_python_is_the_one_of_the_tests(site: Site) -> None:
    """The commands and servers above run the code under test."""
    code = "import channels_realtime, sys; print(sys.executable, channels_realtime.__file__)"
    import channels_realtime

    expected = f"{sys.executable} {channels_realtime.__file__}\n"
    assert site.manage("shell", "-c", code).endswith(expected)
