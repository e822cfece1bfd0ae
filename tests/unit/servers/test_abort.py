"""Ending TCP connections, on asyncio's own transports."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from channels_realtime.servers.abort import abort, abort_unless_taken


class Protocol(asyncio.Protocol):
    """What uvicorn's protocols have in common."""

    __module__ = "uvicorn.protocols.websockets"

    def __init__(self):
        self.made = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.made.set_result(None)
        self.lost = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc):
        self.lost.set_result(None)

    async def send(self, event):
        raise AssertionError("nothing is sent")


@asynccontextmanager
async def connected():
    """A protocol of the server's, whose client does not read."""
    loop = asyncio.get_running_loop()
    protocol = Protocol()
    server = await loop.create_server(lambda: protocol, "127.0.0.1", 0)
    try:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.transport.pause_reading()
        await protocol.made
        try:
            yield protocol
        finally:
            writer.transport.abort()
            await asyncio.wait_for(protocol.lost, 20)
    finally:
        server.close()


def fill(transport) -> None:
    while transport.get_write_buffer_size() < 1_000_000:
        transport.write(b"x" * 1_000_000)


async def test_polite_close_waits_for_a_client_that_does_not_read_and_abort_does_not():
    async with connected() as protocol:
        fill(protocol.transport)
        protocol.transport.close()
        await asyncio.sleep(0)
        assert not protocol.lost.done()
        abort(protocol.send)
        await asyncio.wait_for(protocol.lost, 20)


async def test_connection_is_aborted_later_when_something_was_not_taken():
    async with connected() as protocol:
        fill(protocol.transport)
        abort_unless_taken(protocol.send, 0.01)
        await asyncio.wait_for(protocol.lost, 20)


async def test_connection_is_left_alone_when_everything_was_taken(monkeypatch):
    async with connected() as protocol:
        monkeypatch.setattr(
            asyncio.get_running_loop(), "call_later", lambda *_: pytest.fail("a timer was set")
        )
        abort_unless_taken(protocol.send, 0.01)
        monkeypatch.undo()


@pytest.mark.parametrize("later", [False, True])
async def test_nothing_happens_when_the_connection_is_closed_already(later):
    errors: list[dict] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: errors.append(context))
    async with connected() as protocol:
        if later:
            fill(protocol.transport)
            abort_unless_taken(protocol.send, 0.01)
            protocol.transport.abort()
        else:
            protocol.transport.close()
        await asyncio.wait_for(protocol.lost, 20)
        if not later:
            abort(protocol.send)
        done = loop.create_future()
        loop.call_later(0.02, done.set_result, None)
        await done
    assert errors == []


async def test_server_that_is_not_known_is_left_alone():
    async def send(event):
        raise AssertionError("nothing is sent")

    abort(send)
    abort_unless_taken(send, 0.0)
