"""permessage-deflate on real servers: negotiation, intact delivery, and decompression bombs."""

import itertools
import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.support.clients import JSON, MSGPACK, Client, client
from tests.support.servers import Server
from tests.support.site import SERVERS, Site, publish

ON = {"DAPHNE_COMPRESSION": True}
BOMB_BYTES = 100_000_000
GROWTH_MAX_KIB = 6_144
"""How much a process may grow during a bomb: a message of 1 MiB, some copies of it, and noise."""


@pytest.fixture(scope="module")
def compressing(site: Site) -> Iterator[Server]:
    """Daphne with the setting on."""
    with site.having(realtime=ON).serve("daphne") as running:
        yield running


@pytest.fixture(scope="module", params=list(SERVERS))
def server(site: Site, request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each server, compressing."""
    with site.having(realtime=ON).serve(request.param) as running:
        yield running


def agreed(page: Client) -> str | None:
    """What the server answered to the offer."""
    response = page.connection.response
    assert response is not None
    return response.headers.get("Sec-WebSocket-Extensions")


# -- what is agreed --------------------------------------------------------------------------------


def test_daphne_does_not_compress_unless_told_to(site: Site) -> None:
    with site.serve("daphne") as running, client(running) as page:
        assert agreed(page) is None


def test_uvicorn_compresses_by_itself(site: Site) -> None:
    with site.serve("uvicorn") as running, client(running) as page:
        assert (agreed(page) or "").startswith("permessage-deflate")


def test_daphne_answers_a_browsers_offer_with_small_windows(compressing: Server) -> None:
    with client(compressing) as page:
        assert agreed(page) == (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        )


def test_daphne_does_not_compress_for_who_does_not_offer(compressing: Server) -> None:
    with client(compressing, compression=None) as page:
        assert agreed(page) is None
        assert page.request("ping")["type"] == "pong"


def test_other_applications_websockets_stay_as_they_were(compressing: Server) -> None:
    with client(compressing, path="/elsewhere/", welcomed=False) as page:
        assert agreed(page) is None


# -- messages --------------------------------------------------------------------------------------

OFFERS = [
    ClientPerMessageDeflateFactory(),
    ClientPerMessageDeflateFactory(client_max_window_bits=True),
    ClientPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=9),
    ClientPerMessageDeflateFactory(server_no_context_takeover=True),
    ClientPerMessageDeflateFactory(client_no_context_takeover=True),
]


@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: str(OFFERS.index(offer)))
@pytest.mark.parametrize("subprotocol", [JSON, MSGPACK])
def test_messages_arrive_whole(
    server: Server, offer: ClientPerMessageDeflateFactory, subprotocol: str
) -> None:
    with client(server, subprotocol=subprotocol, compression=None, extensions=[offer]) as page:
        assert agreed(page) is not None
        page.subscribe("public/whole")
        for payload in ("", "é" * 20_000, list(range(5_000)), {"a": {"b": ["c"] * 1_000}}):
            reply = page.request("call", channel="public/whole", method="echo", payload=payload)
            assert reply["payload"] == payload
        page.send({"type": "publish", "channel": "public/whole", "payload": "x" * 60_000})
        assert page.expect("message")["payload"] == "x" * 60_000


def test_clients_with_and_without_compression_hear_the_same(server: Server) -> None:
    small = ClientPerMessageDeflateFactory(server_max_window_bits=9)
    with (
        client(server) as first,
        client(server, subprotocol=JSON) as second,
        client(server, compression=None) as plain,
        client(server, compression=None, extensions=[small]) as narrow,
    ):
        pages = (first, second, plain, narrow)
        for page in pages:
            page.subscribe("public/same")
        for number in range(20):
            publish(server, "public/same", {"number": number, "text": "so " * 500})
        for page, number in itertools.product(pages, range(20)):
            assert page.expect("message")["payload"]["number"] == number


def test_compression_saves_most_of_a_typical_message(compressing: Server) -> None:
    with client(compressing) as page:
        page.subscribe("public/table")
        rows = [{"symbol": "AAPL", "price": 178.4 + n, "volume": n * 17} for n in range(50)]
        size = len(json.dumps(rows))
        received = 0
        feed = page.connection.protocol.receive_data

        def counting(data: bytes | bytearray) -> None:
            nonlocal received
            received += len(data)
            feed(data)

        page.connection.protocol.receive_data = counting  # type: ignore[method-assign]
        publish(compressing, "public/table", rows)
        assert page.expect("message")["payload"] == rows
        assert 0 < received < size / 3


# -- harm ------------------------------------------------------------------------------------------


def bomb() -> bytes:
    """100 MB of one letter; deflate packs at most 1,032 of them into a byte (RFC 1951, section 3.2.5)."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -12)
    letters = b"a" * 1_000_000
    parts = [compressor.compress(letters) for _ in range(BOMB_BYTES // len(letters))]
    return b"".join([*parts, compressor.flush(zlib.Z_SYNC_FLUSH)])[:-4]


BOMB = bomb()


FIN, COMPRESSED, TEXT = 0x80, 0x40, 0x01  # RFC 6455, section 5.2


def throw_frame(page: Client, first: int, body: bytes) -> None:
    """Send a frame past the client's library, masked with zeroes."""
    head = struct.pack("!BBQ", first, 0x80 | 127, len(body)) + b"\0\0\0\0"
    page.connection.socket.sendall(head + body)


def throw(page: Client, pieces: int) -> None:
    """Send the bomb in this many frames of one message."""
    size = -(-len(BOMB) // pieces)
    for start in range(0, len(BOMB), size):
        first = (TEXT | COMPRESSED) if start == 0 else 0
        last = FIN if start + size >= len(BOMB) else 0
        try:
            throw_frame(page, first | last, BOMB[start : start + size])
        except OSError:
            return  # closed already


def peak_kib(server: Server) -> int:
    """The most memory that the process has ever held."""
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        pytest.skip("the peak of a process's memory is read from /proc")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("pieces", [1, 40])
def test_bomb_closes_the_connection_and_the_process_does_not_grow(
    compressing: Server, pieces: int
) -> None:
    explode(compressing, pieces)


def test_bomb_does_no_harm_where_daphne_has_no_limit_on_messages(site: Site) -> None:
    unlimited = ["--websocket-max-message-size", "0", "--websocket-max-frame-size", "0"]
    with site.having(realtime=ON).serve("daphne", *unlimited) as running:
        explode(running, 1)


def test_bomb_does_no_harm_on_uvicorn_with_the_limit_of_the_deployment_guide(site: Site) -> None:
    with site.serve("uvicorn", "--ws-max-size", "1048576") as running:
        explode(running, 1)


def explode(server: Server, pieces: int) -> None:
    assert len(BOMB) < 100_000  # no limit on frames would have stopped it
    with client(server) as bystander:
        bystander.subscribe("public/bystander")
        with client(server) as page:  # warm: what a connection and a message of 1 MiB take anyway
            page.connection.send("a" * 1_000_000)
            assert page.close_code()[0] == 4413
        before = peak_kib(server)
        with client(server) as page:
            throw(page, pieces)
            assert page.close_code()[0] in (1006, 1009)  # autobahn drops the connection
        publish(server, "public/bystander", "still here")
        assert bystander.expect("message")["payload"] == "still here"
        assert peak_kib(server) - before < GROWTH_MAX_KIB


def test_message_that_inflates_past_our_limit_is_closed_with_4413(server: Server) -> None:
    with client(server) as page:
        page.connection.send("x" * 140_000)
        closing = page.expect("closing")["payload"]
        assert closing["reason"] == "a frame of 140000 bytes; expected at most 131072"
        assert page.close_code()[0] == 4413


def test_frame_that_is_no_deflate_closes_that_connection_alone(server: Server) -> None:
    with client(server) as bystander, client(server) as page:
        throw_frame(page, FIN | COMPRESSED | TEXT, b"\xff\xff\xff\xff")
        assert page.close_code()[0] in (1002, 1006, 1007)
        assert bystander.request("ping")["type"] == "pong"


def test_compressed_frame_where_none_was_agreed_closes_the_connection(compressing: Server) -> None:
    with client(compressing, compression=None) as page:
        throw_frame(page, FIN | COMPRESSED | TEXT, BOMB[:100])
        assert page.close_code()[0] in (1002, 1006)
