"""The bare WebSocket client, over a transport that keeps what is written."""

from __future__ import annotations

import asyncio
import struct

import pytest

from channels_realtime.benchmark.connection import CLOSE, PING, PONG, TEXT, RawConnection, frame

ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True


class Client(RawConnection):
    def __init__(self, *, answers: bool = True) -> None:
        super().__init__(answers=answers)
        self.received: list[bytes] = []
        self.ends = 0

    def message_received(self, data: bytes) -> None:
        self.received.append(data)

    def ended(self) -> None:
        self.ends += 1


def connected(*, answers: bool = True) -> tuple[Client, Transport]:
    client, transport = Client(answers=answers), Transport()
    client.connection_made(transport)
    return client, transport


def from_server(opcode: int, data: bytes) -> bytes:
    """A frame without a mask."""
    if len(data) < 126:
        return struct.pack("!BB", 0x80 | opcode, len(data)) + data
    if len(data) < 65_536:
        return struct.pack("!BBH", 0x80 | opcode, 126, len(data)) + data
    return struct.pack("!BBQ", 0x80 | opcode, 127, len(data)) + data


@pytest.mark.parametrize("step", [1, 3, 1_000_000])
async def test_client_takes_every_message_however_it_is_cut(step: int) -> None:
    messages = [b"", b"a" * 125, b"b" * 126, b"c" * 65_535, b"d" * 65_536]
    stream = ACCEPTED + b"".join(from_server(TEXT, message) for message in messages)
    if step < 100:
        messages, stream = messages[:3], stream[: len(ACCEPTED) + 2 + 127 + 130]
    client, _ = connected()
    for at in range(0, len(stream), step):
        client.data_received(stream[at : at + step])
    assert client.status.result() == 101
    assert client.received == messages


async def test_client_keeps_the_status_of_a_refusal() -> None:
    client, _ = connected()
    client.data_received(b"HTTP/1.1 403 Forbidden\r\n\r\n")
    client.connection_lost(None)
    assert client.status.result() == 403
    assert client.closed.result() == 1006
    assert client.ends == 1


async def test_client_has_no_status_where_the_connection_ended_first() -> None:
    client, _ = connected()
    client.connection_lost(ConnectionResetError())
    assert client.status.result() == 0


@pytest.mark.parametrize("answers", [True, False])
async def test_client_answers_a_ping_and_a_close_unless_told_not_to(answers: bool) -> None:
    client, transport = connected(answers=answers)
    close = struct.pack("!H", 4401) + b"reason"
    client.data_received(ACCEPTED + from_server(PING, b"data") + from_server(CLOSE, close))
    assert client.closed.result() == 4401
    expected = [frame(PONG, b"data"), frame(CLOSE, close)] if answers else []
    assert transport.written == expected
    assert transport.closing is answers


async def test_client_reads_a_close_without_a_code_as_1005() -> None:
    client, _ = connected()
    client.data_received(ACCEPTED + from_server(CLOSE, b""))
    client.connection_lost(None)
    assert client.closed.result() == 1005
    assert client.ends == 1


@pytest.mark.parametrize(("size", "head"), [(125, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_frame_is_masked_and_has_the_shortest_length(size: int, head: int) -> None:
    found = frame(TEXT, b"x" * size)
    assert found[0] == 0x81
    assert found[1] & 0x80
    assert len(found) == head + 4 + size
    assert found.endswith(b"\0\0\0\0" + b"x" * size)
