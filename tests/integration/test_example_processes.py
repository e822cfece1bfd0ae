"""Two server processes of the example that share one Redis act as one site."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.example.site import Socket, Visitor, manage, run_demo, run_feeds
from tests.support.redis_server import private_redis_server
from tests.support.servers import Server


class Site:
    """Two server processes and the Redis that they share."""

    def __init__(self, servers: list[Server], directory: Path, redis_url: str) -> None:
        self.servers = servers
        self.directory = directory
        self.redis_url = redis_url

    def manage(self, *arguments: str) -> str:
        result = manage(self.directory, *arguments, REDIS_URL=self.redis_url)
        assert result.returncode == 0, result.stderr
        return result.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = Path(tmp_path_factory.mktemp("demo"))
    with ExitStack() as stack:
        redis_url = stack.enter_context(private_redis_server())
        servers = [
            stack.enter_context(run_demo(directory, REDIS_URL=redis_url, SERVER=name))
            for name in ("daphne", "uvicorn")
        ]
        yield Site(servers, directory, redis_url)


@pytest.fixture
def pages(site: Site) -> Iterator[list[Socket]]:
    """A WebSocket of alice on each process."""
    with ExitStack() as stack:
        visitors = [Visitor(server).sign_in("alice") for server in site.servers]
        yield [stack.enter_context(visitor.socket()) for visitor in visitors]


def once_each(pages: list[Socket], channel: str, **payload: object) -> None:
    """Each page receives the message once: the next one it receives is another, sent afterwards."""
    for page in pages:
        page.message(channel, **payload)
    for page in pages:
        page.subscribe("rooms/afterwards")
    pages[0].send(type="publish", channel="rooms/afterwards", payload={"text": "end"})
    for page in pages:
        last = page.until(
            lambda m: (
                m["type"] == "message"
                and (
                    m["channel"] == "rooms/afterwards"
                    or (m["channel"] == channel and payload.items() <= m["payload"].items())
                )
            )
        )
        assert last["channel"] == "rooms/afterwards", "received twice"


def test_a_message_sent_in_one_process_reaches_both_once(pages: list[Socket]) -> None:
    for page in pages:
        page.subscribe("rooms/lobby")
    pages[0].send(type="publish", channel="rooms/lobby", payload={"text": "across"})
    once_each(pages, "rooms/lobby", text="across")


def test_the_publish_command_reaches_both_once(site: Site, pages: list[Socket]) -> None:
    for page in pages:
        page.subscribe("stocks", {"symbol": "AAPL"})
    said = site.manage("realtime_publish", "stocks", '{"symbol": "AAPL", "price": 178.4}')
    assert "This publication reaches no client" not in said
    once_each(pages, "stocks", symbol="AAPL", price=178.4)


def test_a_card_saved_in_a_shell_reaches_both_once(site: Site, pages: list[Socket]) -> None:
    for page in pages:
        page.subscribe("boards/1")
    save = "from boards.models import Card; c = Card.objects.first(); c.title = 'Shell'; c.save()"
    site.manage("shell", "-c", save)
    once_each(pages, "boards/1", title="Shell")


def test_feeds_in_another_process_reach_both_servers(site: Site, pages: list[Socket]) -> None:
    for page in pages:
        page.subscribe("host/metrics")
        page.subscribe("stocks")
    with run_feeds(site.directory, site.redis_url) as feeds:
        for page in pages:
            samples = [page.message("host/metrics")["payload"] for _ in range(3)]
            assert {sample["process"] for sample in samples} == {feeds.pid}
            assert len({sample["at"] for sample in samples}) == 3, "received twice"
            assert page.message("stocks")["event"] == "price"
        recent = pages[0].ask(type="call", channel="host/metrics", method="recent")
        assert samples[-1] in recent["payload"]["samples"]


def test_feeds_that_are_started_again_continue(site: Site, pages: list[Socket]) -> None:
    for page in pages:
        page.subscribe("host/metrics")
    for _ in range(2):
        with run_feeds(site.directory, site.redis_url) as feeds:
            for page in pages:
                page.message("host/metrics", process=feeds.pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_feeds_end_without_an_error_when_told(site: Site, number: signal.Signals) -> None:
    with run_feeds(site.directory, site.redis_url) as feeds:
        feeds.send_signal(number)
        output, _ = feeds.communicate(timeout=20.0)
    assert (feeds.returncode, output) == (0, "")


def test_the_demo_says_how_to_start_the_feeds_over_redis(site: Site) -> None:
    for server in site.servers:
        assert "manage.py run_feeds" in server.log()
