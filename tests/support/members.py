"""Actions of members and staff over plain HTTP; see ``tests.site.members.views``."""

import asyncio
import json
import urllib.parse
from dataclasses import dataclass
from typing import Any

from tests.support.pages import TIMEOUT_S
from tests.support.servers import Server

CSRF_TOKEN = "a" * 32


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
    """What an action returned."""
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


async def node_state(server: Server) -> dict[str, Any]:
    """Open connections by user, and the counters, of a server's process."""
    found, _ = await http(server, "/state/")
    state: dict[str, Any] = found
    return state
