"""What permessage-deflate costs and saves: `python -m tests.benchmarks.compression`.

Real servers, with compression and without: processor time and bytes on the wire for each delivery of a publication to
many subscribers, and the memory of a connection that has sent and received compressed messages. The subscribers count
bytes and inflate nothing, so that the machine's time is the server's.
"""

import argparse
import asyncio
import base64
import json
import os
import random
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers import HOST, Server, daphne, free_port, run_server, uvicorn
from tests.support.site import APPLICATION, Site, new_site

SIZES = (200, 2_000, 16_000)
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
CHANNEL = "public/benchmark"


@dataclass(frozen=True)
class Variant:
    """A server, and whether it compresses."""

    kind: str
    compressed: bool

    def __str__(self) -> str:
        return f"{self.kind}, {'compressed' if self.compressed else 'plain'}"

    @contextmanager
    def serve(self, site: Site) -> Iterator[Server]:
        port = free_port()
        if self.kind == "daphne":
            command = daphne(APPLICATION, port)
            site = site.having(realtime={"DAPHNE_COMPRESSION": self.compressed})
        else:
            flag = str(self.compressed).lower()
            command = [*uvicorn(APPLICATION, port), "--ws-per-message-deflate", flag]
        with run_server(command, port, environment=site.environment) as server:
            yield server


VARIANTS = [Variant(kind, on) for kind in ("daphne", "uvicorn") for on in (False, True)]


class Subscriber:
    """A client that counts."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> "Subscriber":
        reader, writer = await asyncio.open_connection(HOST, port)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /ws/ HTTP/1.1\r\nHost: {HOST}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n".encode()
        )
        answer = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in answer, answer
        self = cls(reader, writer)
        self.compressed = b"permessage-deflate" in answer
        await self.frame()  # welcome
        await self.send({"type": "subscribe", "channel": CHANNEL})
        await self.frame()
        return self

    async def send(self, message: object) -> None:
        """One frame, compressed where that was agreed; every client is as wide awake as that."""
        payload = json.dumps(message).encode()
        first = 0x81
        if self.compressed:
            compressor = zlib.compressobj(wbits=-12)
            payload = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
            first |= 0x40
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size)
        self.writer.write(bytes([first]) + length + b"\0\0\0\0" + payload)
        await self.writer.drain()

    async def frame(self) -> int:
        """Read a frame; returns its bytes on the wire."""
        while True:
            head = await self._reader.readexactly(2)
            size, extra = head[1] & 0x7F, 0
            if size == 126:
                size, extra = struct.unpack("!H", await self._reader.readexactly(2))[0], 2
            elif size == 127:
                size, extra = struct.unpack("!Q", await self._reader.readexactly(8))[0], 8
            await self._reader.readexactly(size)
            if head[0] & 0x0F < 8:  # not one of the server's own pings
                return 2 + extra + size


def document(size: int) -> object:
    """A table of a typical kind whose JSON has about this size; no two are alike."""
    rows: list[dict[str, object]] = []
    while True:
        rows.append(
            {
                "id": random.randrange(10**6),
                "symbol": random.choice(["AAPL", "MSFT", "GOOG", "AMZN", "NVDA"]),
                "price": round(random.uniform(10, 900), 2),
                "volume": random.randrange(10**6),
                "state": random.choice(["open", "closed", "pending"]),
            }
        )
        if len(json.dumps(rows)) >= size:
            return rows


def resident_kib(server: Server) -> int:
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def processor_s(server: Server) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


async def deliveries(server: Server, subscribers: int, messages: int, size: int) -> str:
    """Processor time and bytes of a delivery."""
    clients = [await Subscriber.open(server.port) for _ in range(subscribers)]
    publisher = clients[0]
    total = 0
    before = 0.0
    for number in range(messages + 5):
        if number == 5:  # warm
            before, total = processor_s(server), 0
        await publisher.send({"type": "publish", "channel": CHANNEL, "payload": document(size)})
        total += sum(await asyncio.gather(*(client.frame() for client in clients)))
    spent = processor_s(server) - before
    count = messages * subscribers
    for client in clients:
        client.writer.close()
    return f"{spent / count * 1e6:7.1f} µs {total / count:8.0f} B"


async def memory(server: Server, connections: int) -> str:
    """What a connection holds that has sent and received compressed messages."""
    first = [await Subscriber.open(server.port) for _ in range(50)]
    before = resident_kib(server)
    rest = [await Subscriber.open(server.port) for _ in range(connections)]
    clients = [*first, *rest]
    for _ in range(3):
        await first[0].send({"type": "publish", "channel": CHANNEL, "payload": document(2_000)})
        await asyncio.gather(*(client.frame() for client in clients))
    after = resident_kib(server)
    for client in clients:
        client.writer.close()
    return f"{(after - before) / connections:6.1f} KiB"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--subscribers", type=int, default=200)
    parser.add_argument("--messages", type=int, default=60)
    parser.add_argument("--connections", type=int, default=1_000)
    options = parser.parse_args()
    random.seed(4)
    with tempfile.TemporaryDirectory() as directory:
        site = new_site(Path(directory))
        print(f"a delivery to one of {options.subscribers} subscribers, and a connection's memory")
        for variant in VARIANTS:
            columns = []
            for size in SIZES:
                with variant.serve(site) as server:
                    found = asyncio.run(
                        deliveries(server, options.subscribers, options.messages, size)
                    )
                columns.append(f"{size:6d} B: {found}")
            with variant.serve(site) as server:
                columns.append(asyncio.run(memory(server, options.connections)))
            print(f"{variant!s:20} | " + " | ".join(columns), flush=True)


if __name__ == "__main__":
    main()
