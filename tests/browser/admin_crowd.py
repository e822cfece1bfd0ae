"""One site with the admin in two processes, and WebSocket clients in a thread of their own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.clients import JSON
from tests.support.members import cookie_of, do
from tests.support.pages import TIMEOUT_S, Message, Page
from tests.support.servers import Server, free_port, run_server
from tests.support.site import SERVERS, made_site
from tests.support.site import Site as MembersSite

APPLICATION = "tests.browser.admin_asgi:application"

STAFF: dict[str, list[str] | None] = {
    "root": None,
    "support": ["view_connectionrecord"],
    "newcomer": [],
}
"""Staff with their permissions; None for all permissions."""

REALTIME = {
    "ALLOW_ANONYMOUS": True,
    "ALLOWED_ORIGINS": "tests.browser.admin_urls.any_origin",
    "TRUSTED_PROXIES": ["127.0.0.1"],
    "CLIENT_ADDRESS_HEADER": "X-Forwarded-For",
    "TRACE_PAYLOADS": True,
    "SAMPLE_INTERVAL": 5.0,
    "DRAIN_RETRY_WINDOW": 1.0,
}


@dataclass(frozen=True)
class Person:
    """A user with a login session."""

    id: str
    name: str
    key: str

    @property
    def cookie(self) -> str:
        return cookie_of(self.key)


@dataclass(frozen=True)
class AdminSite:
    """Two processes of one site: ``a`` is Daphne and serves the pages, ``b`` is uvicorn."""

    a: Server
    b: Server
    people: Mapping[str, Person]
    environment: Mapping[str, str]

    @contextmanager
    def third(self) -> Iterator[Server]:
        """One more process of the site."""
        with _serve(self.environment, "uvicorn") as server:
            yield server


@contextmanager
def admin_site(directory: Path, redis_url: str, visitors: Sequence[str]) -> Iterator[AdminSite]:
    """The site, with an account for each visitor."""
    database_url = f"sqlite://{directory / 'site.sqlite3'}"
    with made_site(database_url, redis_url) as members, ExitStack() as servers:
        site = members.having(
            realtime=REALTIME, DJANGO_SETTINGS_MODULE="tests.browser.admin_settings"
        )
        site.manage("migrate", "--run-syncdb", "--verbosity", "0")
        with ThreadPoolExecutor() as pool:
            people = pool.submit(_make_people, site, visitors)
            starts = [_serve(site.environment, kind) for kind in ("daphne", "uvicorn")]
            begun = [pool.submit(servers.enter_context, start) for start in starts]
            a, b = (server.result() for server in begun)
        yield AdminSite(a, b, people.result(), site.environment)


def _make_people(site: MembersSite, visitors: Sequence[str]) -> dict[str, Person]:
    call = f"make({list(visitors)!r}, {STAFF!r})"
    printed = site.manage("shell", "-c", f"from tests.browser.admin_people import make; {call}")
    made = json.loads(printed.splitlines()[-1])
    return {name: Person(entry["id"], name, entry["key"]) for name, entry in made.items()}


@contextmanager
def _serve(environment: Mapping[str, str], kind: str) -> Iterator[Server]:
    port = free_port()
    command = SERVERS[kind](APPLICATION, port)
    if kind == "uvicorn":
        command += ["--log-level", "warning"]
    with run_server(command, port, environment=environment) as server:
        yield server


@dataclass(frozen=True)
class Client:
    """One WebSocket connection of the crowd, for a test that is not asynchronous."""

    crowd: Crowd = field(repr=False)
    page: Page = field(repr=False)
    name: str
    """Its client id (``X-Client-ID``)."""

    server: Server = field(repr=False)
    user: str
    address: str
    method: str

    def send(self, **message: Any) -> None:
        self.crowd.run(self.page.send(**message))

    def subscribe(self, channel: str) -> None:
        self.crowd.run(_subscribe(self.page, channel))

    def wait_for(self, kind: str, **payload: Any) -> Message:
        """The first message of the type with these fields in its payload."""
        return self.crowd.run(
            self.page.until(
                lambda m: m["type"] == kind and payload.items() <= (m.get("payload") or {}).items(),
                f"{kind} {payload}",
            )
        )

    def wait_for_notice(self, text: str) -> None:
        """Wait for a notice with this text."""
        self.crowd.run(
            self.page.until(
                lambda m: m.get("event") == "notice" and m["payload"] == {"text": text}, text
            )
        )

    def has(self, kind: str) -> bool:
        return any(message["type"] == kind for message in self.page.messages)

    def close_code(self) -> int:
        """Wait for the close; returns its code."""
        return self.crowd.run(self.page.closed())

    @property
    def closed_at(self) -> float:
        assert self.page.closed_at is not None
        return self.page.closed_at

    def is_served(self) -> None:
        """Raise unless the server answers a request."""
        self.crowd.run(self.page.round_trip())

    def end(self) -> None:
        self.crowd.run(self.page.end())


def _header(text: str) -> str:
    """Any text as ``websockets`` takes it: its UTF-8 as Latin-1."""
    return text.encode().decode("latin-1")


async def _subscribe(page: Page, channel: str) -> None:
    """As ``Page`` does, but for names that are too long for an id."""
    mark = len(page.messages)
    await page.send(type="subscribe", channel=channel, id=mark)
    reply = await page.until(lambda m: m.get("id") == mark, f"a reply for {channel}", start=mark)
    assert reply["type"] == "subscribed", reply


class Crowd:
    """Opens connections, and closes them at the end of the block."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._clients: list[Client] = []

    def __enter__(self) -> Crowd:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.end(self._clients)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextmanager
    def of_one_test(self) -> Iterator[None]:
        """Connections opened in the block are closed at its end."""
        known = len(self._clients)
        try:
            yield
        finally:
            self.end(self._clients[known:])
            del self._clients[known:]

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine; returns its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(2 * TIMEOUT_S)

    def do(self, server: Server, what: str, **query: str) -> Any:
        """An action of ``members.views``."""
        return self.run(do(server, what, **query))

    def open(self, server: Server, name: str, **options: Any) -> Client:
        """One open connection. Options: of ``_open`` and ``_connect``."""
        client: Client = self.run(self._open(server, name, **options))
        return client

    def code_at_the_handshake(self, server: Server, **options: Any) -> int | None:
        """The code with which a connection is closed or its handshake denied; None for a welcome."""

        async def attempt() -> int | None:
            try:
                page = await self._connect(server, "at-the-handshake", **options)
            except InvalidStatus as refused:
                return refused.response.status_code
            if await page.first() == "welcome":
                await page.end()
                return None
            return await page.closed()

        code: int | None = self.run(attempt())
        return code

    def open_all(self, wanted: Sequence[dict[str, Any]]) -> list[Client]:
        """Several at once."""

        async def gather() -> list[Client]:
            return await asyncio.gather(*(self._open(**options) for options in wanted))

        found: list[Client] = self.run(gather())
        return found

    def end(self, clients: Sequence[Client]) -> None:
        async def gather() -> None:
            await asyncio.gather(*(c.page.end() for c in clients), return_exceptions=True)

        self.run(gather())

    async def _open(
        self,
        server: Server,
        name: str,
        *,
        channels: Sequence[str] = (),
        **options: Any,
    ) -> Client:
        page = await self._connect(server, name, **options)
        await page.of_type("welcome")
        for channel in channels:
            await _subscribe(page, channel)
        person: Person | None = options.get("person")
        kind = "anonymous" if person is None else "jwt" if options.get("token") else "session"
        user = "" if person is None else person.name
        client = Client(self, page, name, server, user, options.get("address", ""), kind)
        self._clients.append(client)
        return client

    async def _connect(
        self,
        server: Server,
        name: str,
        *,
        person: Person | None = None,
        token: str | None = None,
        address: str = "",
        origin: str = "https://shop.example",
        user_agent: str = "curl/8.5.0",
    ) -> Page:
        headers = [("X-Client-ID", _header(name))]
        if address:
            headers.append(("X-Forwarded-For", address))
        if token is not None:
            headers.append(("Authorization", f"Bearer {token}"))
        elif person is not None:
            headers.append(("Cookie", person.cookie))
        connection = await connect(
            server.websocket_url("/ws/"),
            subprotocols=[JSON],  # type: ignore[list-item]
            origin=_header(origin),  # type: ignore[arg-type]
            user_agent_header=_header(user_agent),
            additional_headers=headers,
            proxy=None,
            open_timeout=TIMEOUT_S,
            close_timeout=1.0,
            ping_interval=None,
            compression=None,
            max_queue=None,
        )
        return Page(connection)
