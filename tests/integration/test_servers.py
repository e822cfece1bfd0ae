"""What a client needs works on servers that are tried and no more, and how all of them close a plain one."""

import contextlib
import importlib.util
import signal
import sys
from collections.abc import Iterator

import pytest

from tests.support.clients import JSON, MSGPACK, client, wait_until
from tests.support.servers import HOST, Server, free_port, run_server
from tests.support.site import APPLICATION, Site, publish, state


def granian(port: int) -> list[str]:
    address = ["--host", HOST, "--port", str(port)]
    return [sys.executable, "-m", "granian", "--interface", "asgi", *address, APPLICATION]


def hypercorn(port: int) -> list[str]:
    return [sys.executable, "-m", "hypercorn", "--bind", f"{HOST}:{port}", APPLICATION]


SERVERS = {"granian": granian, "hypercorn": hypercorn}


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, site: Site) -> Iterator[Server]:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is in the dev extra alone")
    port = free_port()
    found = site.having(realtime={"MAX_BAD_MESSAGES": 0})
    with run_server(SERVERS[request.param](port), port, environment=found.environment) as server:
        yield server


@pytest.mark.parametrize("subprotocol", [None, JSON, MSGPACK])
def test_client_subscribes_publishes_and_hears_the_views(server, subprotocol):
    with client(server, subprotocol=subprotocol) as one, client(server) as other:
        one.subscribe("public/a")
        other.subscribe("public/a")
        assert one.request("publish", channel="public/a", payload=1)["type"] == "published"
        publish(server, "public/a", 2)
        for each in (one, other):
            assert [each.expect("message")["payload"] for _ in range(2)] == [1, 2]


def test_close_of_the_servers_has_its_code_and_its_closing(server):
    with client(server) as one:
        one.connection.send("no JSON")
        assert one.expect("error")["payload"]["code"] == "bad_message"
        assert one.expect("closing")["payload"] == {
            "code": 4400,
            "reason": "too many bad messages",
            "reconnect": False,
        }
        code, reason = one.close_code()
        assert code == 4400
        assert reason in ("too many bad messages", "")  # where the server carries reasons


def test_plain_client_is_told_to_stay_away_by_1008(server):
    with client(server, subprotocol=None) as one:
        one.connection.send("no JSON")
        one.expect("error")
        assert one.expect("closing")["payload"]["code"] == 4400
        assert one.close_code()[0] == 1008


def test_large_messages_come_whole_and_in_order_while_the_client_is_behind(server):
    with client(server, max_queue=1) as one, client(server) as publisher:
        one.subscribe("public/large")
        for number in range(100):
            payload = {"n": number, "pad": "x" * 20_000}
            publisher.request("publish", channel="public/large", payload=payload)
        found = [one.expect("message")["payload"]["n"] for _ in range(100)]
        assert found == list(range(100))


def test_nothing_is_left_when_clients_have_gone(server):
    before = state(server)
    for _ in range(5):
        with client(server) as one:
            one.subscribe("public/left")
    wait_until(
        lambda: state(server)["connections"] == before["connections"] and in_hub(server) == 0,
        "they are gone",
    )


def in_hub(server: Server) -> int:
    return state(server)["channels"]


def test_log_has_no_traceback(server):
    with client(server) as one:
        one.subscribe("public/log")
    assert "Traceback" not in server.log(), server.log()[-5_000:]


# -- the servers that are supported -----------------------------------------------------------------

PLAIN_PATHS = ("/ws/", "/ws/bare/public/plain")


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_plain_clients_are_closed_so_that_others_clients_do_the_right_thing(site, kind):
    found = site.having(realtime={"MAX_BAD_MESSAGES": 0, "DRAIN_GRACE": 2.0})
    with found.serve(kind) as server, contextlib.ExitStack() as stack:
        refused = stack.enter_context(client(server, subprotocol=None))
        refused.connection.send("no JSON")
        assert refused.close_code()[0] == {"daphne": 4400, "uvicorn": 1008}[kind]
        plain = [
            stack.enter_context(
                client(server, path=path, subprotocol=None, welcomed=path == "/ws/")
            )
            for path in PLAIN_PATHS
        ]
        ours = stack.enter_context(client(server))
        server.process.send_signal(signal.SIGTERM)
        for one in plain:
            # 1006: no close frame, after which every client comes back
            assert one.close_code()[0] == {"daphne": 1006, "uvicorn": 1012}[kind]
        assert ours.close_code()[0] == 4503


def test_daphnes_own_age_limit_is_preceded_by_a_close_after_which_clients_come_back(site):
    with (
        site.serve("daphne", "--websocket_timeout", "4") as server,
        client(server, subprotocol=None) as plain,
        client(server) as ours,
    ):
        assert ours.expect("closing")["payload"] == {
            "code": 4503,
            "reason": "the connection reached the server's age limit",
            "reconnect": True,
        }
        assert ours.close_code()[0] == 4503
        assert plain.close_code()[0] == 1006
