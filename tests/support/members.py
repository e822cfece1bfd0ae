"""The members' site in several processes, plain HTTP to it, and clients that note when they were closed."""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.servers import ROOT, Server, daphne, free_port, run_server, uvicorn

APPLICATION = "tests.integration.members.asgi:application"
SERVERS = {"daphne": daphne, "uvicorn": uvicorn}
TIMEOUT_S = 20.0
"""How long anything may take; a machine under load is slow and still right."""

POSTGRES_URL = os.environ.get("POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")

CSRF_TOKEN = "a" * 32

Message = dict[str, Any]


# -- the site --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MembersSite:
    """The environment that makes one site; several servers and commands share it."""

    environment: Mapping[str, str]

    def having(
        self, *, realtime: Mapping[str, Any] | None = None, **variables: str
    ) -> "MembersSite":
        """The same site with other variables, and with these keys in ``CHANNELS_REALTIME``."""
        changed = {**self.environment, **variables}
        if realtime is not None:
            known = json.loads(self.environment.get("MEMBERS_REALTIME", "{}"))
            changed["MEMBERS_REALTIME"] = json.dumps({**known, **realtime})
        return replace(self, environment=changed)

    @contextmanager
    def serve(self, kind: str = "uvicorn") -> Iterator[Server]:
        port = free_port()
        command = SERVERS[kind](APPLICATION, port)
        if kind == "uvicorn":
            command += ["--log-level", "warning"]
        with run_server(command, port, environment=self.environment) as server:
            yield server

    def manage(self, *arguments: str) -> str:
        """Run a management command; an exit status other than 0 fails."""
        result = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            cwd=ROOT,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60.0,
            check=False,
        )
        assert result.returncode == 0, f"{arguments} ended with {result.returncode}:\n{result}"
        return result.stdout


@contextmanager
def own_database(kind: str, directory: Path) -> Iterator[str]:
    """The URL of a database of the test's own, ``sqlite`` or ``postgres``, without tables."""
    if kind == "sqlite":
        yield f"sqlite://{directory / (uuid.uuid4().hex + '.sqlite3')}"
        return
    import psycopg  # only where there is a PostgreSQL

    name = f"members_{uuid.uuid4().hex[:12]}"
    parts = urllib.parse.urlsplit(POSTGRES_URL)
    with psycopg.connect(POSTGRES_URL, autocommit=True, connect_timeout=3) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield parts._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def postgres_answers() -> bool:
    try:
        import psycopg

        psycopg.connect(POSTGRES_URL, connect_timeout=2).close()
    except Exception:
        return False
    return True


@contextmanager
def made_site(database_url: str, redis_url: str, **realtime: Any) -> Iterator[MembersSite]:
    """A site with its tables made, and a prefix of its own in Redis, whose keys are gone afterwards."""
    import redis  # only where there is one

    prefix = f"test-{uuid.uuid4().hex}"
    try:
        yield _make_site(database_url, redis_url, prefix, realtime)
    finally:
        with redis.Redis.from_url(redis_url) as client:
            for key in client.scan_iter(match=f"*{prefix}*", count=1000):
                client.delete(key)


def _make_site(
    database_url: str, redis_url: str, prefix: str, realtime: Mapping[str, Any]
) -> MembersSite:
    site = MembersSite(
        {
            "DJANGO_SETTINGS_MODULE": "tests.integration.members.settings",
            "MEMBERS_DATABASE_URL": database_url,
            "MEMBERS_REDIS_URL": redis_url,
            "MEMBERS_REDIS_PREFIX": prefix,
            "MEMBERS_REALTIME": json.dumps(realtime),
        }
    )
    site.manage("migrate", "--run-syncdb", "--verbosity", "0")
    return site


# -- HTTP ------------------------------------------------------------------------------------------


class HTTPError(Exception):
    """An answer other than 200."""


async def http(
    server: Server,
    path: str,
    *,
    body: Any = None,
    cookie: str | None = None,
    bearer: str | None = None,
    csrf: bool = False,
    timeout: float = TIMEOUT_S,
    **query: str,
) -> tuple[Any, str | None]:
    """The JSON of a page, and the cookie it sets; with a body it is a POST."""
    if query:
        path += "?" + urllib.parse.urlencode(query)
    data = b"" if body is None else json.dumps(body).encode()
    head = [
        f"{'GET' if body is None else 'POST'} {path} HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
    ]
    head += ["Connection: close", "Content-Type: application/json", f"Content-Length: {len(data)}"]
    if csrf:
        cookie = f"{cookie}; csrftoken={CSRF_TOKEN}"
        head.append(f"X-CSRFToken: {CSRF_TOKEN}")
    if cookie is not None:
        head.append(f"Cookie: {cookie}")
    if bearer is not None:
        head.append(f"Authorization: Bearer {bearer}")
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + data)
            raw = await reader.read()
        finally:
            writer.close()
    head_text, _, content = raw.partition(b"\r\n\r\n")
    status, *lines = head_text.decode("latin-1").split("\r\n")
    headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines]
    if b"chunked" in head_text.lower():
        content = _dechunked(content)
    if " 200" not in status:
        raise HTTPError(f"{path}: {status} {content[:500]!r}\n{server.log()[-3000:]}")
    cookies = [value.split(";")[0] for name, value in headers if name.lower() == "set-cookie"]
    return json.loads(content) if content else None, cookies[0] if cookies else None


def _dechunked(content: bytes) -> bytes:
    whole = b""
    while content:
        size, _, content = content.partition(b"\r\n")
        length = int(size, 16)
        whole += content[:length]
        content = content[length + 2 :]
    return whole


async def do(server: Server, what: str, *, cookie: str | None = None, **query: str) -> Any:
    """What an action of ``members.views`` returned."""
    found, _ = await http(server, f"/do/{what}/", cookie=cookie, **query)
    return found["found"]


@dataclass(frozen=True)
class Member:
    """A user; the name is the password."""

    id: str
    name: str


async def make_member(server: Server, model: str = "user") -> Member:
    (made,) = await do(server, "make-users", model=model)
    return Member(made["id"], made["name"])


async def log_in(server: Server, member: Member) -> str:
    """The cookie of a new login session."""
    (made,) = await do(server, "make-sessions", user=member.id)
    return cookie_of(made["key"])


def cookie_of(key: str) -> str:
    return f"sessionid={key}"


def key_of(cookie: str) -> str:
    return cookie.partition("=")[2]


async def obtain_tokens(server: Server, member: Member, *, stock: bool = False) -> dict[str, str]:
    """A login by token: ``access`` and ``refresh``."""
    body = {"username": member.name, "password": member.name}
    found, _ = await http(server, "/api/token/stock/" if stock else "/api/token/", body=body)
    tokens: dict[str, str] = found
    return tokens


async def connections(server: Server) -> dict[str, Any]:
    """Who is on a process."""
    found, _ = await http(server, "/connections/")
    state: dict[str, Any] = found
    return state


# -- WebSocket -------------------------------------------------------------------------------------


class Page:
    """One connection, read all the time; it notes when what came.

    Args:
        connection: open.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.messages: list[Message] = []
        self.times: list[float] = []
        self.closed_at: float | None = None
        self.close_code: int | None = None
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for frame in self.connection:
                message = json.loads(frame)
                now = time.time()
                if message["type"] == "ping":
                    await self.connection.send('{"type": "pong"}')
                    continue
                self.messages.append(message)
                self.times.append(now)
                self._changed.set()
        except ConnectionClosed:
            pass
        finally:
            self.closed_at = time.time()
            self.close_code = self.connection.close_code
            self._changed.set()

    async def send(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def until(
        self,
        condition: Callable[[Message], Any],
        what: str,
        timeout: float = TIMEOUT_S,
        start: int = 0,
    ) -> Message:
        """The first message, from number ``start`` on, for which the condition holds."""
        seen = start
        try:
            async with asyncio.timeout(timeout):
                while True:
                    self._changed.clear()
                    for message in self.messages[seen:]:
                        if condition(message):
                            return message
                    seen = len(self.messages)
                    if self.closed_at is not None:
                        raise AssertionError(
                            f"closed with {self.close_code} before {what}: {self.messages[-3:]}"
                        )
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(
                f"not within {timeout:g} s: {what}; last: {self.messages[-3:]}"
            ) from None

    async def first(self) -> str:
        """The type of the first message; empty where it was closed without one."""
        async with asyncio.timeout(TIMEOUT_S):
            while not self.messages and self.closed_at is None:
                self._changed.clear()
                await self._changed.wait()
        return self.messages[0]["type"] if self.messages else ""

    async def of_type(self, kind: str, timeout: float = TIMEOUT_S) -> Message:
        return await self.until(lambda message: message["type"] == kind, kind, timeout)

    async def closed(self, timeout: float = TIMEOUT_S) -> int:
        """The close code, once it is closed."""
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._task)
        except TimeoutError:
            raise TimeoutError(
                f"still open after {timeout:g} s; last: {self.messages[-3:]}"
            ) from None
        assert self.close_code is not None
        return self.close_code

    async def round_trip(self) -> None:
        """Raises unless the connection is served."""
        mark = len(self.messages)
        await self.send(type="ping", id=f"r{mark}")
        await self.until(lambda message: message.get("id") == f"r{mark}", "a pong", start=mark)

    async def subscribe(self, channel: str) -> None:
        mark = len(self.messages)
        await self.send(type="subscribe", channel=channel, id=channel)
        reply = await self.until(
            lambda m: m.get("id") == channel, f"a reply for {channel}", start=mark
        )
        assert reply["type"] == "subscribed", reply

    def payloads(self, channel: str) -> list[Any]:
        return [
            m["payload"]
            for m in self.messages
            if m["type"] == "message" and m["channel"] == channel
        ]

    async def end(self) -> None:
        await self.connection.close()
        with suppress(Exception):
            await self._task


async def open_page(
    server: Server,
    *,
    cookie: str | None = None,
    token: str | None = None,
    query: str = "",
    first: str = "welcome",
) -> Page:
    """A connection whose first message has come: ``welcome``, ``auth_required``, or any for ''."""
    headers = []
    if cookie is not None:
        headers.append(("Cookie", cookie))
    if token is not None:
        headers.append(("Authorization", f"Bearer {token}"))
    connection = await connect(
        server.websocket_url(f"/ws/?{query}"),
        additional_headers=headers,
        proxy=None,
        open_timeout=TIMEOUT_S,
        close_timeout=1.0,
        ping_interval=None,
        compression=None,
        max_queue=None,
    )
    page = Page(connection)
    if first:
        await page.of_type(first)
    return page


@asynccontextmanager
async def pages() -> AsyncIterator[Callable[..., Any]]:
    """``open_page``, whose connections end with the block."""
    opened: list[Page] = []

    async def open_one(*args: Any, **kwargs: Any) -> Page:
        page = await open_page(*args, **kwargs)
        opened.append(page)
        return page

    try:
        yield open_one
    finally:
        await asyncio.gather(*(page.end() for page in opened), return_exceptions=True)


async def wait_until(
    condition: Callable[[], Any], what: str, timeout: float = TIMEOUT_S, every: float = 0.05
) -> Any:
    """Ask (a coroutine function) until the answer is true, and return it."""
    deadline = time.monotonic() + timeout
    while not (answer := await condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what} (last answer: {answer!r})")
        await asyncio.sleep(every)
    return answer


# -- between a server and what it needs ------------------------------------------------------------


class Forwarder:
    """A TCP port before another, which can be taken away; lives on the test's event loop.

    Args:
        host: of what it stands before.
        port: likewise.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.port = free_port()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._open = asyncio.Event()
        self._open.set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """Break every connection, and refuse new ones."""
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()

    def hang(self) -> None:
        """Keep every connection, take new ones, and let nothing through."""
        self._open.clear()

    def go_on(self) -> None:
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._writers -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
