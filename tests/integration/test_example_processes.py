"""Two server processes of the example on one Redis: one site."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from tests.example.site import Socket, Visitor, manage, run_demo
from tests.support.redis_server import private_redis_server
from tests.support.servers import Server


class Site:
    """Two processes and the Redis between them."""

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
    """A page of alice's on each process."""
    with ExitStack() as stack:
        visitors = [Visitor(server).sign_in("alice") for server in site.servers]
        yield [stack.enter_context(visitor.socket()) for visitor in visitors]


def once_each(pages: list[Socket], channel: str, **payload: object) -> None:
    """Each page receives it, and nothing more of it before a later line of its own making."""
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


def test_a_line_said_in_one_process_reaches_both_once(pages: list[Socket]) -> None:
    for page in pages:
        page.subscribe("rooms/lobby")
    pages[0].send(type="publish", channel="rooms/lobby", payload={"text": "across"})
    once_each(pages, "rooms/lobby", text="across")


def test_the_publish_command_reaches_both_once(site: Site, pages: list[Socket]) -> None:
    for page in pages:
        page.subscribe("stocks", {"symbol": "AAPL"})
    said = site.manage("realtime_publish", "stocks", '{"symbol": "AAPL", "price": 178.4}')
    assert "Nobody can hear" not in said
    once_each(pages, "stocks", symbol="AAPL", price=178.4)


def test_a_card_saved_in_a_shell_reaches_both_once(site: Site, pages: list[Socket]) -> None:
    for page in pages:
        page.subscribe("boards/1")
    save = "from boards.models import Card; c = Card.objects.first(); c.title = 'Shell'; c.save()"
    site.manage("shell", "-c", save)
    once_each(pages, "boards/1", title="Shell")


def test_one_process_publishes_the_metrics_and_another_takes_over(
    site: Site, pages: list[Socket]
) -> None:
    for page in pages:
        page.subscribe("host/metrics")
    seen = [[page.message("host/metrics")["payload"] for _ in range(3)] for page in pages]
    publishers = {sample["process"] for samples in seen for sample in samples}
    assert len(publishers) == 1, "both processes publish"
    assert all(b["at"] - a["at"] > 0.5 for samples in seen for a, b in pairwise(samples))

    (leader,) = publishers
    pids = [server.process.pid for server in site.servers]
    gone = pids.index(leader)
    # Killed, it cannot hand over: the others wait for the lease to run out.
    site.servers[gone].process.send_signal(signal.SIGKILL)
    after = pages[1 - gone].until(
        lambda m: m.get("channel") == "host/metrics" and m["payload"]["process"] != leader
    )
    assert after["payload"]["process"] == pids[1 - gone]
    assert after["payload"]["at"] - seen[0][-1]["at"] < 8
