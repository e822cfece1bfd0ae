"""A revocation closes connections in another process within a second of the commit.

Every cause is tried through HTTP in one process against connections that another one holds.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import own_database, postgres_answers
from tests.support.members import (
    HTTPError,
    Member,
    cookie_of,
    do,
    http,
    key_of,
    log_in,
    make_member,
    obtain_tokens,
)
from tests.support.pages import Page, pages, wait_until
from tests.support.promptness import PROMPTLY_S
from tests.support.servers import Server, together
from tests.support.site import Site, made_site

SWEEP_INTERVAL_S = 0.5
NEVER_S = 3_600.0


@dataclass
class Servers:
    """Two processes: what happens in ``a`` ends connections in ``b``."""

    kind: str
    site: Site
    a: Server
    b: Server
    latencies: dict[str, float] = field(default_factory=dict)


@pytest.fixture(scope="module", params=["sqlite-pubsub", "postgres-pubsub"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    if found.startswith("postgres") and not postgres_answers():
        pytest.skip("no PostgreSQL answers")
    return found


@pytest.fixture(scope="module")
def servers(
    kind: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    with serving(kind, redis_url, tmp_path_factory.mktemp("members")) as made:
        yield made


@contextlib.contextmanager
def serving(kind: str, redis_url: str, directory: Path) -> Iterator[Servers]:
    """Neither a poll nor a sweep comes to help: what ends here was ended by message."""
    database_kind, _, layer = kind.partition("-")
    with (
        own_database(database_kind, directory) as url,
        made_site(url, redis_url, REVOCATION_POLL_INTERVAL=NEVER_S, SWEEP_INTERVAL=NEVER_S) as made,
    ):
        members = made.having(SITE_LAYER=layer)
        way = "-frames" if database_kind == "sqlite" else ""
        with together(members.serve(f"daphne{way}"), members.serve(f"uvicorn{way}")) as (a, b):
            servers = Servers(kind, members, a, b)
            yield servers
            assert_nothing_failed(a, b)
    figures = ", ".join(f"{what} {s * 1000:.0f} ms" for what, s in servers.latencies.items())
    print(f"\nrevocation, {kind}: {figures}")


def assert_nothing_failed(*servers: Server) -> None:
    for server in servers:
        assert "Traceback" not in server.log(), server.log()[-5000:]


@dataclass
class Scene:
    """One user's connections in process b, each with credentials of its own, and a bystander's."""

    servers: Servers
    member: Member
    open: Callable[..., Awaitable[Page]]
    cookies: list[str] = field(default_factory=list)
    pages: dict[str, Page] = field(default_factory=dict)

    async def by_session(self, name: str) -> str:
        cookie = await log_in(self.servers.a, self.member)
        self.pages[name] = await self.open(self.servers.b, cookie=cookie)
        return cookie

    async def by_token(self, name: str, *, stock: bool = False) -> dict[str, str]:
        tokens = await obtain_tokens(self.servers.a, self.member, stock=stock)
        self.pages[name] = await self.open(self.servers.b, token=tokens["access"])
        return tokens

    async def ends(self, what: str, cause: Awaitable[Any], *names: str) -> None:
        """The cause ends these connections promptly, with 4401, and no others."""
        started_at = time.time()
        await cause
        codes = await asyncio.gather(*(self.pages[name].closed() for name in names))
        assert codes == [4401] * len(names)
        latest = max((self.pages[name].closed_at or 0.0) - started_at for name in names)
        self.servers.latencies[what] = latest
        assert latest < PROMPTLY_S, f"{what} took {latest:.3f} s"
        for name in names:
            closing = self.pages[name].messages[-1]
            assert closing["type"] == "closing", closing
            assert closing["payload"]["code"] == 4401
            del self.pages[name]
        for page in self.pages.values():
            await page.round_trip()


@pytest.fixture
async def scene(servers: Servers) -> AsyncIterator[Scene]:
    async with pages() as open_one:
        made = Scene(servers, await make_member(servers.a), open_one)
        bystander = Scene(servers, await make_member(servers.a), open_one)
        await bystander.by_session("session")
        await bystander.by_token("token")
        made.pages = {f"bystander's {name}": page for name, page in bystander.pages.items()}
        yield made


async def stays_out(server: Server, scene: Scene, **proof: str) -> None:
    """The credentials open no connection, now or later."""
    page = await scene.open(server, first="", **proof)
    first = await page.until(lambda message: True, "any message")
    if first["type"] == "closing":
        assert await page.closed() == 4401
    else:
        assert first["type"] == "auth_required", first


# -- login sessions --------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["logout", "flush"])
async def test_end_of_a_login_session_ends_its_connections_alone(scene: Scene, action: str) -> None:
    cookie = await scene.by_session("one tab")
    scene.pages["another tab"] = await scene.open(scene.servers.b, cookie=cookie)
    scene.pages["a tab of process a"] = await scene.open(scene.servers.a, cookie=cookie)
    await scene.by_session("another login")
    await scene.by_token("a token")
    await scene.ends(
        action,
        do(scene.servers.a, action, cookie=cookie),
        "one tab",
        "another tab",
        "a tab of process a",
    )
    await stays_out(scene.servers.b, scene, cookie=cookie)


async def test_session_row_deleted_through_the_orm_ends_its_connections(scene: Scene) -> None:
    cookie = await scene.by_session("one login")
    await scene.by_session("another login")
    await scene.ends(
        "session row deleted",
        do(scene.servers.a, "delete-session", key=key_of(cookie)),
        "one login",
    )


async def test_ticket_ends_with_the_login_session_it_came_from(scene: Scene) -> None:
    cookie = await scene.by_session("the session")
    await scene.by_session("another login")
    ticket = await ticket_of(scene, cookie)
    scene.pages["the ticket"] = await scene.open(scene.servers.b, query=f"ticket={ticket}")
    await scene.ends(
        "logout with a ticket",
        do(scene.servers.a, "logout", cookie=cookie),
        "the session",
        "the ticket",
    )


async def ticket_of(scene: Scene, cookie: str) -> str:
    found, _ = await http(scene.servers.a, "/realtime/ticket/", body={}, cookie=cookie, csrf=True)
    ticket: str = found["ticket"]
    return ticket


async def test_core_layer_carries_revocations_and_rechecks(redis_url: str, tmp_path: Path) -> None:
    with serving("sqlite-core", redis_url, tmp_path) as servers:
        async with pages() as open_one:
            scene = Scene(servers, await make_member(servers.a), open_one)
            cookie = await scene.by_session("one login")
            await scene.by_session("another login")
            await scene.by_token("a token")
            await scene.ends("logout", do(servers.a, "logout", cookie=cookie), "one login")
            channel = room(scene, "lost")
            page = await seated(scene, channel)
            await lose_seat(scene, channel)
            await do(servers.a, "recheck", channel=channel)
            await taken_away(page, channel, timeout=PROMPTLY_S)
            await scene.ends(
                "password set",
                do(servers.a, "set-password", user=scene.member.id, password="another"),
                "another login",
                "a token",
                "the page",
            )


# -- passwords -------------------------------------------------------------------------------------


async def test_password_change_ends_all_connections_of_before(scene: Scene) -> None:
    """The session that changed it has a new key; its old cookie, perhaps stolen, is invalid."""
    cookie = await scene.by_session("the one that changes it")
    await scene.by_session("another login")
    await scene.by_token("a token")
    ticket = await ticket_of(scene, await log_in(scene.servers.a, scene.member))
    scene.pages["a ticket"] = await scene.open(scene.servers.b, query=f"ticket={ticket}")
    answers: list[str | None] = []

    async def change() -> None:
        _, fresh = await http(
            scene.servers.a, "/do/change-password/", cookie=cookie, password="another"
        )
        answers.append(fresh)

    await scene.ends(
        "password changed",
        change(),
        "the one that changes it",
        "another login",
        "a token",
        "a ticket",
    )
    (fresh,) = answers
    assert fresh is not None
    assert fresh != cookie
    page = await scene.open(scene.servers.b, cookie=fresh)
    await page.round_trip()
    await stays_out(scene.servers.b, scene, cookie=cookie)


async def test_password_set_by_staff_ends_all_connections(scene: Scene) -> None:
    cookie = await scene.by_session("a session")
    tokens = await scene.by_token("a token")
    scene.pages["both"] = await scene.open(scene.servers.b, cookie=cookie)
    await scene.pages["both"].send(type="auth", token=tokens["access"])
    await scene.pages["both"].of_type("auth_ok")
    await scene.ends(
        "password set",
        do(scene.servers.a, "set-password", user=scene.member.id, password="another"),
        "a session",
        "a token",
        "both",
    )
    await stays_out(scene.servers.b, scene, cookie=cookie)
    await stays_out(scene.servers.b, scene, token=tokens["access"])


async def test_password_change_ends_who_came_in_before_its_commit(
    scene: Scene, tmp_path: Path
) -> None:
    """Between the save and the commit the old password is still valid, and its hash is in the credentials."""
    cookie = await log_in(scene.servers.a, scene.member)
    saved, commit = tmp_path / "saved", tmp_path / "commit"
    files = {"saved": str(saved), "commit": str(commit)}
    change = asyncio.create_task(
        do(scene.servers.a, "change-password-slowly", user=scene.member.id, **files)
    )
    try:
        await wait_until(lambda: asyncio.to_thread(saved.exists), "the password is saved")
        scene.pages["late"] = await scene.open(scene.servers.b, cookie=cookie)
        if scene.servers.kind.startswith("postgres"):  # SQLite has one writer at a time
            late = await obtain_tokens(scene.servers.b, scene.member)
            scene.pages["late token"] = await scene.open(scene.servers.b, token=late["access"])
        names = [name for name in scene.pages if name.startswith("late")]
        assert not change.done()
    finally:
        commit.touch()
        await change
    await scene.ends("late commit", asyncio.sleep(0), *names)


# -- users -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["user", "employee", "customer"])
async def test_deactivated_user_is_off(scene: Scene, model: str) -> None:
    scene.member = await make_member(scene.servers.a, model)
    cookie = await scene.by_session("a session")
    tokens = await scene.by_token("a token")
    await scene.ends(
        f"deactivated {model}",
        do(scene.servers.a, "deactivate", user=scene.member.id, model=model),
        "a session",
        "a token",
    )
    await stays_out(scene.servers.b, scene, cookie=cookie)
    await stays_out(scene.servers.b, scene, token=tokens["access"])


async def test_deleted_user_is_off(scene: Scene) -> None:
    cookie = await scene.by_session("a session")
    tokens = await scene.by_token("a token")
    await scene.ends(
        "user deleted",
        do(scene.servers.a, "delete-user", user=scene.member.id),
        "a session",
        "a token",
    )
    await stays_out(scene.servers.b, scene, cookie=cookie)
    await stays_out(scene.servers.b, scene, token=tokens["access"])


# -- tokens ----------------------------------------------------------------------------------------


async def blacklist(scene: Scene, refresh: str) -> None:
    await http(scene.servers.a, "/api/token/blacklist/", body={"refresh": refresh})


async def rotate(scene: Scene, refresh: str) -> dict[str, str]:
    found, _ = await http(scene.servers.a, "/api/token/refresh/", body={"refresh": refresh})
    tokens: dict[str, str] = found
    return tokens


async def test_blacklisted_refresh_token_ends_its_family_alone(scene: Scene) -> None:
    tokens = await scene.by_token("one login")
    rotated = await rotate(scene, tokens["refresh"])
    scene.pages["one login, refreshed"] = await scene.open(scene.servers.b, token=rotated["access"])
    await scene.by_token("another login")
    await scene.by_session("a session")
    await scene.ends(
        "refresh token blacklisted",
        blacklist(scene, rotated["refresh"]),
        "one login",
        "one login, refreshed",
    )
    await stays_out(scene.servers.b, scene, token=rotated["access"])


async def test_blacklisted_token_without_family_ends_all_the_users_tokens(scene: Scene) -> None:
    tokens = await scene.by_token("one login", stock=True)
    await scene.by_token("another login", stock=True)
    await scene.by_token("one with a family")
    await scene.by_session("a session")
    await scene.ends(
        "stock token blacklisted",
        blacklist(scene, tokens["refresh"]),
        "one login",
        "another login",
        "one with a family",
    )


@pytest.mark.parametrize("stock", [False, True])
async def test_rotation_ends_nothing(scene: Scene, stock: bool) -> None:
    tokens = await scene.by_token("before", stock=stock)
    for number in range(3):
        tokens = await rotate(scene, tokens["refresh"])
        scene.pages[f"after {number}"] = await scene.open(scene.servers.b, token=tokens["access"])
    with pytest.raises(HTTPError, match="401"):
        await rotate(scene, (await spent(scene))["refresh"])
    # Whatever went out with the rotations has been heard once what went out later is.
    cookie = await scene.by_session("a session")
    await scene.ends("after rotations", do(scene.servers.a, "logout", cookie=cookie), "a session")


async def spent(scene: Scene) -> dict[str, str]:
    """Tokens of a login after its refresh token was rotated."""
    tokens = await obtain_tokens(scene.servers.a, scene.member)
    await rotate(scene, tokens["refresh"])
    return tokens


# -- by hand ---------------------------------------------------------------------------------------


async def test_revoked_user_is_off_until_the_next_login(scene: Scene) -> None:
    cookie = await scene.by_session("a session")
    tokens = await scene.by_token("a token")
    await scene.ends(
        "revoke(user=)",
        do(scene.servers.a, "revoke", user=scene.member.id),
        "a session",
        "a token",
    )
    await stays_out(scene.servers.b, scene, cookie=cookie)
    await stays_out(scene.servers.b, scene, token=tokens["access"])
    page = await scene.open(scene.servers.b, cookie=await log_in(scene.servers.a, scene.member))
    await page.round_trip()


async def test_revoked_login_session_is_off(scene: Scene) -> None:
    cookie = await scene.by_session("one login")
    await scene.by_session("another login")
    await scene.ends(
        "revoke(login_session=)",
        do(scene.servers.a, "revoke", login_session=key_of(cookie)),
        "one login",
    )
    await stays_out(scene.servers.b, scene, cookie=cookie)


async def test_revoked_access_token_is_off(scene: Scene) -> None:
    tokens = await scene.by_token("one token")
    rotated = await rotate(scene, tokens["refresh"])
    scene.pages["the same login"] = await scene.open(scene.servers.b, token=rotated["access"])
    await scene.ends(
        "revoke(token=)", do(scene.servers.a, "revoke", token=tokens["access"]), "one token"
    )
    await scene.ends(
        "revoke(token=<refresh>)",
        do(scene.servers.a, "revoke", token=rotated["refresh"]),
        "the same login",
    )


async def test_command_disconnects(scene: Scene) -> None:
    cookie = await scene.by_session("a session")
    await scene.by_session("another session")
    await scene.by_token("a token")

    async def command(*arguments: str) -> float:
        """When the command's own process had said what it did."""
        await asyncio.to_thread(scene.servers.site.manage, "realtime_disconnect", *arguments)
        return time.time()

    ended_at = await command("--session", key_of(cookie))
    assert await scene.pages["a session"].closed() == 4401
    assert (scene.pages.pop("a session").closed_at or 0.0) - ended_at < PROMPTLY_S
    ended_at = await command("--user", scene.member.name)
    for name in ("another session", "a token"):
        assert await scene.pages[name].closed() == 4401
        assert (scene.pages.pop(name).closed_at or 0.0) - ended_at < PROMPTLY_S
    for page in scene.pages.values():
        await page.round_trip()


# -- rights ----------------------------------------------------------------------------------------


async def seated(scene: Scene, *rooms: str) -> Page:
    await scene.by_session("the page")
    page = scene.pages["the page"]
    for room in rooms:
        await do(scene.servers.a, "sit", room=room.partition("/")[2], user=scene.member.id)
        await page.subscribe(room)
    return page


def room(scene: Scene, name: str, kind: str = "rooms") -> str:
    return f"{kind}/{name}-{scene.member.id}"


async def lose_seat(scene: Scene, channel: str) -> None:
    await do(scene.servers.a, "stand-up", room=channel.partition("/")[2], user=scene.member.id)


async def taken_away(page: Page, channel: str, timeout: float = 20.0) -> dict[str, Any]:
    message = await page.until(
        lambda m: m["type"] == "unsubscribed" and m["channel"] == channel,
        f"unsubscribed {channel}",
        timeout,
    )
    assert message["payload"] == {
        "code": "forbidden",
        "reason": f"no longer allowed on {channel!r}",
    }
    return message


@pytest.mark.parametrize("by", ["channel", "user"])
async def test_recheck_takes_away_what_is_no_longer_allowed(scene: Scene, by: str) -> None:
    kept, lost = room(scene, "kept"), room(scene, "lost")
    page = await seated(scene, kept, lost)
    await lose_seat(scene, lost)
    await do(scene.servers.b, "publish", channel=lost, payload="before")
    await page.until(lambda m: m.get("payload") == "before", "a publication")
    started_at = time.time()
    what = {"channel": lost} if by == "channel" else {"user": scene.member.id}
    await do(scene.servers.a, "recheck", **what)
    message = await taken_away(page, lost)
    latency = page.times[page.messages.index(message)] - started_at
    scene.servers.latencies[f"recheck({by}=)"] = latency
    assert latency < PROMPTLY_S
    await do(scene.servers.a, "publish", channel=lost, payload="after")
    await do(scene.servers.a, "publish", channel=kept, payload="after")
    await page.until(lambda m: m.get("channel") == kept and m["type"] == "message", "the other")
    assert page.payloads(lost) == ["before"]


async def test_recheck_during_a_subscribe_is_not_lost(scene: Scene) -> None:
    """The hook has said yes, then the seat is lost and rechecked, then the subscription is made."""
    channel = room(scene, "slow", "slow")
    await scene.by_session("the page")
    page = scene.pages["the page"]
    await do(scene.servers.a, "sit", room=channel.partition("/")[2], user=scene.member.id)
    await page.send(type="subscribe", channel=channel, id=1)
    await asyncio.sleep(0.15)  # not a wait for anything: the hook is on its way for 0.4 s
    await lose_seat(scene, channel)
    await do(scene.servers.a, "recheck", channel=channel)
    assert not any(m["type"] == "subscribed" for m in page.messages), "the hook was faster"
    await taken_away(page, channel)


async def test_channels_own_interval_takes_away_what_is_no_longer_allowed(scene: Scene) -> None:
    kept, lost = room(scene, "kept", "watched"), room(scene, "lost", "watched")
    page = await seated(scene, kept, lost)
    await lose_seat(scene, lost)
    await taken_away(page, lost, timeout=0.5 + PROMPTLY_S)
    await do(scene.servers.a, "publish", channel=kept, payload="there")
    await page.until(lambda m: m.get("payload") == "there", "a publication")


# -- the sweep -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(servers: Servers) -> Iterator[Server]:
    """A third process, which sweeps."""
    interval = {"SWEEP_INTERVAL": SWEEP_INTERVAL_S}
    with servers.site.having(realtime=interval).serve("uvicorn") as server:
        yield server
        assert_nothing_failed(server)


@contextlib.contextmanager
def measured(servers: Servers, what: str) -> Iterator[None]:
    started_at = time.time()
    yield
    servers.latencies[what] = time.time() - started_at
    assert servers.latencies[what] < SWEEP_INTERVAL_S + PROMPTLY_S


async def sql(scene: Scene, statement: str) -> None:
    assert await do(scene.servers.a, "sql", statement=statement) == 1, statement


async def test_sweep_finds_a_session_deleted_by_sql(scene: Scene, swept: Server) -> None:
    cookie = await log_in(scene.servers.a, scene.member)
    page = await scene.open(swept, cookie=cookie)
    other = await scene.open(swept, cookie=await log_in(scene.servers.a, scene.member))
    with measured(scene.servers, "sweep: session"):
        await sql(scene, f"DELETE FROM django_session WHERE session_key = '{key_of(cookie)}'")
        assert await page.closed() == 4401
    await other.round_trip()


async def test_sweep_finds_a_user_deactivated_by_sql(scene: Scene, swept: Server) -> None:
    page = await scene.open(swept, cookie=await log_in(scene.servers.a, scene.member))
    tokens = await obtain_tokens(scene.servers.a, scene.member)
    by_token = await scene.open(swept, token=tokens["access"])
    with measured(scene.servers, "sweep: is_active"):
        await sql(scene, f"UPDATE auth_user SET is_active = false WHERE id = {scene.member.id}")
        assert await page.closed() == 4401
        assert await by_token.closed() == 4401


async def test_sweep_finds_rights_changed_by_sql(scene: Scene, swept: Server) -> None:
    await sql(scene, f"UPDATE auth_user SET is_staff = true WHERE id = {scene.member.id}")
    page = await scene.open(swept, cookie=await log_in(scene.servers.a, scene.member))
    await page.subscribe("staff")
    with measured(scene.servers, "sweep: is_staff"):
        await sql(scene, f"UPDATE auth_user SET is_staff = false WHERE id = {scene.member.id}")
        await taken_away(page, "staff")
    await page.round_trip()


async def test_sweep_leaves_everyone_else_alone(scene: Scene, swept: Server) -> None:
    cookie = await log_in(scene.servers.a, scene.member)
    page = await scene.open(swept, cookie=cookie)
    gone = await log_in(scene.servers.a, scene.member)
    for _ in range(2):
        marked = await scene.open(swept, cookie=gone)
        await sql(scene, f"DELETE FROM django_session WHERE session_key = '{key_of(gone)}'")
        assert await marked.closed() == 4401
        gone = await log_in(scene.servers.a, scene.member)
    await page.round_trip()
    assert cookie_of(key_of(cookie)) == cookie
