"""Frames that are made once and written at once, by real servers: order, partial writes and closes."""

import asyncio
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from channels_realtime.servers.frames import EXTENSION
from tests.support.frames_application import numbered
from tests.support.servers import HOST, Server, free_port, run_server
from tests.support.site import COMMANDS, Site

APPLICATION = "tests.support.frames_application:application"
TIMEOUT_S = 20.0
SMALL_BUFFER = 4_096
LARGE = 60_000
MANY = 200  # 12 MB: more than the kernel takes for a client that does not read

# Daphne and uvicorn, each with an untested version of a library, started as usual.
UNTESTED = """
import sys
from channels_realtime.servers import frames
frames.metadata.version = lambda name: "99.0"
sys.argv = sys.argv[1:]
import runpy
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@contextmanager
def serve(kind: str, *options: str) -> Iterator[Server]:
    port = free_port()
    with run_server([*COMMANDS[kind](APPLICATION, port), *options], port) as server:
        yield server


SERVERS = {
    "daphne": ("daphne-frames",),
    "uvicorn": ("uvicorn-frames",),
    "uvicorn-asyncio": ("uvicorn-frames", "--loop", "asyncio"),
}


@pytest.fixture(scope="module", params=list(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serve(*SERVERS[request.param]) as server:
        yield server


async def ask(client, **told):
    await client.send(json.dumps(told))
    return json.loads(await client.recv())


def opened(server: Server, **options):
    return connect(server.websocket_url(), proxy=None, compression=None, **options)


def slow(server: Server):
    """A client whose kernel keeps little, and which reads when it is told to."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    found.connect((HOST, server.port))
    return opened(server, sock=found, max_queue=1, ping_interval=None)


async def numbers(client, count: int, size: int) -> None:
    for number in range(count):
        assert await client.recv() == numbered(number, size), number


async def test_server_announces_that_it_writes_frames(server: Server) -> None:
    async with asyncio.timeout(TIMEOUT_S), opened(server) as client:
        state = await ask(client)
    assert EXTENSION in state["extensions"]
    assert (state["direct"], state["behind_middleware"]) == (True, False)


@pytest.mark.parametrize("size", [8, 125, 126, 65_535, 65_536, 200_000])
@pytest.mark.parametrize("way", ["direct", "mixed"])
async def test_messages_of_every_length_arrive_whole_and_in_order(
    server: Server, way: str, size: int
) -> None:
    async with asyncio.timeout(TIMEOUT_S), opened(server) as client:
        await client.send(json.dumps({"burst": 9, "size": size, "way": way}))
        await numbers(client, 9, size)


async def test_message_is_written_without_a_coroutine_when_nothing_waits(server: Server) -> None:
    async with asyncio.timeout(TIMEOUT_S), opened(server) as client:
        await client.send(json.dumps({"burst": 5, "size": 100, "way": "direct"}))
        await numbers(client, 5, 100)
        assert (await ask(client))["directly"] == 5


@pytest.mark.parametrize("way", ["direct", "send", "mixed"])
async def test_order_holds_when_the_client_does_not_read_for_a_while(
    server: Server, way: str
) -> None:
    async with asyncio.timeout(TIMEOUT_S), slow(server) as client:
        await client.send(json.dumps({"burst": MANY, "size": LARGE, "way": way}))
        await numbers(client, MANY, LARGE)


async def test_close_follows_what_was_not_read_yet(server: Server) -> None:
    async with asyncio.timeout(TIMEOUT_S), slow(server) as client:
        await client.send(json.dumps({"burst": 60, "size": LARGE, "way": "direct"}))
        await client.send(json.dumps({"close": 4430, "reason": "too slow"}))
        await numbers(client, 60, LARGE)
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4430, "too slow")


async def test_nothing_is_written_after_a_close(server: Server) -> None:
    async with asyncio.timeout(TIMEOUT_S), opened(server) as client:
        await client.send(json.dumps({"close": 4503, "reason": "bye"}))
        await client.send(json.dumps({"burst": 3, "size": 10, "way": "direct"}))
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
    assert closed.value.rcvd.code == 4503


@pytest.mark.parametrize(
    ("code", "reason", "seen"),
    [
        (1000, "", ""),
        (1012, "restarting", "restarting"),
        (1013, "", ""),
        (4401, "ä" * 60, "ä" * 60),
    ],
)
async def test_close_code_and_reason_reach_the_client(
    server: Server, code: int, reason: str, seen: str
) -> None:
    async with asyncio.timeout(TIMEOUT_S), opened(server) as client:
        await client.send(json.dumps({"close": code, "reason": reason}))
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, seen)
    assert closed.value.rcvd_then_sent


async def test_headers_of_the_acceptance_reach_the_client(server: Server) -> None:
    async with asyncio.timeout(TIMEOUT_S), opened(server, subprotocols=["b", "a"]) as client:
        assert client.subprotocol == "b"
        assert client.response.headers["x-told"] == "accepted"


async def test_middleware_sees_every_message(server: Server) -> None:
    async with asyncio.timeout(TIMEOUT_S), opened(server) as client:
        await client.send(json.dumps({"burst": 4, "size": 10, "way": "wrapped"}))
        await numbers(client, 4, 10)
        state = await ask(client)
    assert (state["seen"], state["directly"]) == (4, 0)


async def test_compressed_connection_is_written_to_in_the_plain_way() -> None:
    with serve("uvicorn-frames") as server:
        async with (
            asyncio.timeout(TIMEOUT_S),
            connect(server.websocket_url(), proxy=None) as client,
        ):
            assert client.protocol.extensions
            await client.send(json.dumps({"burst": 5, "size": 1_000, "way": "direct"}))
            await numbers(client, 5, 1_000)
            assert not (await ask(client))["direct"]


async def test_tls_is_written_to_in_the_plain_way_by_daphne(tmp_path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
         "-days", "2", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    endpoint = f"ssl:port={port}:interface={HOST}:privateKey={key}:certKey={certificate}"
    command = [sys.executable, "-m", "channels_realtime.servers.daphne", "-e", endpoint]
    trusting = ssl.create_default_context(cafile=certificate)
    trusting.check_hostname = False
    with run_server([*command, APPLICATION], port):
        async with (
            asyncio.timeout(TIMEOUT_S),
            connect(
                f"wss://{HOST}:{port}/ws/", proxy=None, compression=None, ssl=trusting
            ) as client,
        ):
            await client.send(json.dumps({"burst": 9, "size": LARGE, "way": "direct"}))
            await numbers(client, 9, LARGE)
            state = await ask(client)
    assert (state["direct"], EXTENSION in state["extensions"]) == (False, True)


@pytest.mark.parametrize("kind", ["daphne-frames", "uvicorn-frames"])
async def test_untested_version_is_served_in_the_plain_way(kind: str) -> None:
    port = free_port()
    command = COMMANDS[kind](APPLICATION, port)
    assert command[1] == "-m"
    with run_server([command[0], "-c", UNTESTED, *command[2:]], port) as server:
        async with asyncio.timeout(TIMEOUT_S), opened(server) as client:
            await client.send(json.dumps({"burst": 5, "size": 100, "way": "mixed"}))
            await numbers(client, 5, 100)
            state = await ask(client)
        log = server.log()
    assert (state["direct"], EXTENSION in state["extensions"]) == (False, False)
    assert "frames are written in the plain way, which costs more time" in log


async def test_unix_socket_is_written_to_at_once(tmp_path) -> None:
    path = tmp_path / "server.sock"
    port = free_port()
    command = [*COMMANDS["daphne-frames"](APPLICATION, port), "-u", str(path)]
    with run_server(command, port):
        async with asyncio.timeout(TIMEOUT_S):
            found = socket.socket(socket.AF_UNIX)
            found.connect(str(path))
            async with connect("ws://localhost/ws/", sock=found, compression=None) as client:
                await client.send(json.dumps({"burst": 5, "size": 100, "way": "direct"}))
                await numbers(client, 5, 100)
                assert (await ask(client))["directly"] == 5


@pytest.mark.parametrize("compressed", [True, False])
async def test_daphne_compression_works_beside_frames(site: Site, compressed: bool) -> None:
    with site.having(realtime={"DAPHNE_COMPRESSION": True}).serve("daphne-frames") as server:
        options = {} if compressed else {"compression": None}
        async with (
            asyncio.timeout(TIMEOUT_S),
            connect(server.websocket_url("/ws/bare/public/a"), proxy=None, **options) as client,
        ):
            assert bool(client.protocol.extensions) is compressed
            for text in ("a" * 1_000, "b" * 1_000):
                await client.send(text)
                assert await client.recv() == text
