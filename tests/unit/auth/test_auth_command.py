"""``auth`` on a live connection, and the deadline of its credentials; time passes when told to."""

from __future__ import annotations

import asyncio
import datetime

import pytest

from channels_realtime.access.revocation import Revocations
from channels_realtime.errors import TokenExpired
from channels_realtime.publishing import apublish, apublish_to_user
from tests.support.asgi_socket import AsgiSocket
from tests.unit.auth.credentials import (
    cookie,
    in_thread,
    make_session,
    make_user,
    outcome,
    pass_by,
    settle,
)

EXPIRED = {"code": 4401, "reason": "the credentials have expired", "reconnect": True}


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", f"Bearer {token}".encode())]


def only_connection(node):
    (connection,) = node.connections.values()
    return connection


async def until(condition) -> None:
    """Wait for a thread's doing."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(0.001)


async def expect_end(socket: AsgiSocket, reason: str = "the credentials have expired") -> None:
    """``closing`` and 4401 come next, and nothing after them."""
    message = await socket.read()
    assert message["type"] == "closing", message
    assert (message["payload"]["code"], message["payload"]["reason"]) == (4401, reason)
    close = await socket.read()
    assert (close["type"], close["code"]) == ("websocket.close", 4401)
    await apublish("public/a", "after the end")
    await settle()
    assert socket.from_application.empty()


@pytest.fixture
async def node(timed_node, tokens, realtime):
    realtime(AUTH_EXPIRING_LEAD=60.0, HEARTBEAT_INTERVAL=1e6)
    return timed_node()


@pytest.fixture
async def socket(application, node, tokens, clock):
    """A connection of user 1, whose token ends in 100 s; it is on ``public/a``."""
    tokens.add("first", expires_at=clock.time() + 100)
    async with AsgiSocket(application, headers=bearer("first")) as socket:
        welcome = await socket.expect("welcome")
        assert welcome["payload"]["expires_at"] == clock.time() + 100
        await socket.ask({"type": "subscribe", "channel": "public/a"})
        yield socket


# -- auth_expiring and the end ---------------------------------------------------------------------


async def test_token_is_announced_once_and_then_ends(socket, node, clock):
    ends_at = clock.time() + 100
    await pass_by(node, clock, 49.9)
    await socket.quiet()
    await pass_by(node, clock, 0.2)  # halfway: a lead of 60 s would be more than half of it
    assert await socket.read() == {"type": "auth_expiring", "payload": {"expires_at": ends_at}}
    await pass_by(node, clock, 49.8)
    await socket.quiet()
    await pass_by(node, clock, 0.1)
    await expect_end(socket)


async def test_leeway_of_the_site_is_added(application, timed_node, tokens, clock, realtime):
    realtime(AUTH_LEEWAY=20.0, HEARTBEAT_INTERVAL=1e6)
    node = timed_node()
    tokens.add("first", expires_at=clock.time() + 100)
    async with AsgiSocket(application, headers=bearer("first")) as socket:
        await socket.expect("welcome")
        await pass_by(node, clock, 119.9)
        await socket.expect("auth_expiring")
        await socket.quiet()
        await pass_by(node, clock, 0.2)
        await expect_end(socket)


async def test_credentials_without_an_end_stay(application, node, tokens, clock):
    tokens.add("endless")
    scope = {"headers": bearer("endless"), "subprotocols": []}  # and so without a heartbeat
    async with AsgiSocket(application, **scope) as socket:
        welcome = await socket.expect("welcome")
        assert welcome["payload"]["expires_at"] is None
        await pass_by(node, clock, 1e6)
        await socket.quiet()


async def test_credentials_that_end_in_eight_thousand_years_stay(application, node, tokens, clock):
    tokens.add("long", expires_at=253_402_300_799.0)
    scope = {"headers": bearer("long"), "subprotocols": []}  # and so without a heartbeat
    async with AsgiSocket(application, **scope) as socket:
        await socket.expect("welcome")
        await pass_by(node, clock, 1e6)
        await socket.quiet()


@pytest.mark.parametrize("step", [-86_400, 86_400])
async def test_step_of_the_wall_clock_moves_no_deadline(socket, node, clock, step):
    clock.step(step)
    await pass_by(node, clock, 50)
    await socket.expect("auth_expiring")
    await pass_by(node, clock, 49.9)
    await socket.quiet()
    await pass_by(node, clock, 0.1)
    await expect_end(socket)


async def test_what_waits_for_a_slow_client_is_not_delivered_after_the_end(socket, node, clock):
    socket.gate = asyncio.Event()
    for number in range(5):
        await apublish("public/a", number)
    await settle()
    await pass_by(node, clock, 100)
    socket.gate.set()
    messages = []
    while (message := await socket.read())["type"] != "websocket.close":
        messages.append(message)
    # The first was with the server already.
    assert [message.get("payload") for message in messages] == [0, EXPIRED]


# -- refresh in place ------------------------------------------------------------------------------


async def test_refresh_keeps_subscriptions_and_loses_no_message(socket, node, tokens, clock):
    await pass_by(node, clock, 50)
    await socket.expect("auth_expiring")
    tokens.add("second", expires_at=clock.time() + 400)
    await apublish("public/a", "before")
    socket.send({"type": "auth", "token": "second", "id": "refresh"})
    await apublish("public/a", "meanwhile")
    got = [await socket.read() for _ in range(3)]
    assert {"type": "auth_ok", "id": "refresh"}.items() <= got[-1].items()
    assert got[-1]["payload"] == {"user": "1", "expires_at": clock.time() + 400}
    assert [message["payload"] for message in got[:2]] == ["before", "meanwhile"]
    await pass_by(node, clock, 60)
    await apublish("public/a", "after the old deadline")
    assert (await socket.read())["payload"] == "after the old deadline"
    await pass_by(node, clock, 280)
    await socket.expect("auth_expiring")
    await pass_by(node, clock, 60)
    await expect_end(socket)


async def test_refresh_never_waits_behind_a_handler(application, node, tokens, clock, monkeypatch):
    from tests.site.realtime import PublicChannel

    gate = asyncio.Event()

    async def slow(self, connection):
        await gate.wait()
        return True

    monkeypatch.setattr(PublicChannel, "can_publish", slow)
    tokens.add("first", expires_at=clock.time() + 100)
    tokens.add("second", expires_at=clock.time() + 400)
    async with AsgiSocket(application, headers=bearer("first")) as socket:
        await socket.expect("welcome")
        socket.send({"type": "publish", "channel": "public/a", "payload": 1, "id": "slow"})
        await socket.ask({"type": "auth", "token": "second", "id": "auth"})
        gate.set()
        await socket.expect("published")


async def test_refresh_by_a_shorter_token_keeps_the_longer_deadline(socket, node, tokens, clock):
    tokens.add("short", expires_at=clock.time() + 10)
    reply = await socket.ask({"type": "auth", "token": "short"})
    assert reply["payload"]["expires_at"] == clock.time() + 100
    await pass_by(node, clock, 40)
    await socket.quiet()


async def test_refresh_by_the_same_token_changes_nothing(socket, node, clock):
    reply = await socket.ask({"type": "auth", "token": "first"})
    assert reply["payload"] == {"user": "1", "expires_at": clock.time() + 100}


@pytest.mark.parametrize(
    ("refused", "code"),
    [("unknown", "token_invalid"), ("expired", "token_expired"), ("another", "forbidden"),
     ("broken", "internal")],
)  # fmt: skip
async def test_failed_refresh_leaves_the_old_deadline(socket, node, tokens, clock, refused, code):
    tokens.add("another", user_id="2", expires_at=clock.time() + 1e6)
    tokens.fail("expired", TokenExpired())
    tokens.fail("broken", ZeroDivisionError("planted"))
    reply = await socket.ask({"type": "auth", "token": refused, "id": 7})
    assert (reply["type"], reply["request"], reply["id"]) == ("error", "auth", 7)
    assert reply["payload"]["code"] == code
    assert only_connection(node).user_id == "1"
    await pass_by(node, clock, 50)
    await socket.expect("auth_expiring")
    await pass_by(node, clock, 50)
    await expect_end(socket)


async def test_revocation_of_any_of_its_tokens_ends_a_refreshed_connection(
    socket, node, tokens, clock
):
    from channels_realtime.access.revocation_list import Revocation

    tokens.add("second", expires_at=clock.time() + 400)
    await socket.ask({"type": "auth", "token": "second"})
    node.service(Revocations).take([Revocation("token:first", clock.time(), clock.time() + 600)])
    await expect_end(socket, "the credentials were revoked")


async def test_token_that_was_revoked_while_it_was_judged_ends_the_connection(
    socket, node, tokens, clock
):
    from channels_realtime.access.revocation_list import Revocation

    tokens.add("second", expires_at=clock.time() + 400)
    tokens.hold()
    socket.send({"type": "auth", "token": "second"})
    await until(tokens.asked.is_set)
    node.service(Revocations).take([Revocation("token:second", clock.time(), clock.time() + 600)])
    tokens.verdict.set()
    await expect_end(socket, "the credentials were revoked")


# -- an auth that is being judged at the deadline --------------------------------------------------


async def refresh_across_the_deadline(socket, node, tokens, clock, token: str) -> None:
    """The deadline passes while ``token`` is judged; a message comes in the meantime."""
    await pass_by(node, clock, 50)
    await socket.expect("auth_expiring")
    tokens.hold()
    socket.send({"type": "auth", "token": token, "id": "late"})
    await until(tokens.asked.is_set)
    await pass_by(node, clock, 50)
    await apublish("public/a", "held")
    await settle()
    assert socket.from_application.empty()


async def test_good_auth_at_the_deadline_lets_go_what_was_held(socket, node, tokens, clock):
    tokens.add("second", expires_at=clock.time() + 1_000)
    await refresh_across_the_deadline(socket, node, tokens, clock, "second")
    await pass_by(node, clock, 4.9)
    tokens.verdict.set()
    got = [await socket.read(), await socket.read()]
    assert sorted(message["type"] for message in got) == ["auth_ok", "message"]
    await apublish("public/a", "after")
    assert (await socket.read())["payload"] == "after"


async def test_bad_auth_at_the_deadline_ends_it_at_once(socket, node, tokens, clock):
    await refresh_across_the_deadline(socket, node, tokens, clock, "bad")
    tokens.verdict.set()
    error = await socket.read()
    assert (error["type"], error["payload"]["code"]) == ("error", "token_invalid")
    await expect_end(socket)


async def test_auth_that_takes_five_seconds_at_the_deadline_is_too_late(
    socket, node, tokens, clock
):
    tokens.add("second", expires_at=clock.time() + 1_000)
    await refresh_across_the_deadline(socket, node, tokens, clock, "second")
    await pass_by(node, clock, 5)
    await expect_end(socket)
    tokens.verdict.set()


async def test_token_that_ended_while_it_was_judged_lets_nothing_go(socket, node, tokens, clock):
    tokens.add("second", expires_at=clock.time() + 100.5)
    await refresh_across_the_deadline(socket, node, tokens, clock, "second")
    clock.pass_by(1)
    tokens.verdict.set()
    await expect_end(socket)


async def test_revocation_while_deliveries_are_held_drops_them(socket, node, tokens, clock):
    from channels_realtime.access.revocation_list import Revocation

    tokens.add("second", expires_at=clock.time() + 1_000)
    await refresh_across_the_deadline(socket, node, tokens, clock, "second")
    node.service(Revocations).take([Revocation("token:first", clock.time(), clock.time() + 600)])
    tokens.verdict.set()
    await expect_end(socket, "the credentials were revoked")


# -- signing in ------------------------------------------------------------------------------------


@pytest.fixture
async def anonymous(application, timed_node, tokens, realtime):
    realtime(ALLOW_ANONYMOUS=True, MAX_SUBSCRIPTIONS=2, HEARTBEAT_INTERVAL=1e6)
    timed_node()
    async with AsgiSocket(application) as socket:
        welcome = await socket.expect("welcome")
        assert welcome["payload"]["user"] is None
        yield socket


async def test_anonymous_signs_in_on_a_live_connection(anonymous, tokens, clock):
    await anonymous.ask({"type": "subscribe", "channel": "public/a"})
    refused = await anonymous.ask({"type": "subscribe", "channel": "users/7"})
    assert refused["payload"]["code"] == "forbidden"
    tokens.add("in", user_id="7", expires_at=clock.time() + 100)
    reply = await anonymous.ask({"type": "auth", "token": "in", "id": 1})
    assert reply == {
        "type": "auth_ok",
        "id": 1,
        "payload": {"user": "7", "expires_at": clock.time() + 100},
    }
    await apublish_to_user("7", "for 7")
    assert (await anonymous.read())["channel"] == "users/7"
    await apublish_to_user("8", "for 8")
    await apublish("public/a", "kept")
    assert (await anonymous.read())["payload"] == "kept"


async def test_anonymous_that_signed_in_is_announced_and_ends(anonymous, tokens, clock):
    from channels_realtime.services import current_node

    tokens.add("in", user_id="7", expires_at=clock.time() + 100)
    await anonymous.ask({"type": "auth", "token": "in"})
    node = current_node()
    await pass_by(node, clock, 50)
    await anonymous.expect("auth_expiring")
    await pass_by(node, clock, 50)
    await expect_end(anonymous)


async def test_anonymous_with_a_bad_token_stays_anonymous(anonymous, tokens):
    reply = await anonymous.ask({"type": "auth", "token": "bad", "id": 1})
    assert (reply["type"], reply["payload"]["code"]) == ("error", "token_invalid")
    reply = await anonymous.ask({"type": "subscribe", "channel": "public/a"})
    assert reply["type"] == "subscribed"


async def test_anonymous_with_all_its_subscriptions_signs_in(anonymous, tokens):
    for name in "ab":
        reply = await anonymous.ask({"type": "subscribe", "channel": f"public/{name}"})
        assert reply["type"] == "subscribed"
    tokens.add("in", user_id="7")
    assert (await anonymous.ask({"type": "auth", "token": "in"}))["type"] == "auth_ok"
    await apublish_to_user("7", "for 7")
    assert (await anonymous.read())["channel"] == "users/7"
    reply = await anonymous.ask({"type": "subscribe", "channel": "public/c"})
    assert reply["payload"]["code"] == "too_many_subscriptions"


async def test_who_signed_in_cannot_become_another(anonymous, tokens):
    tokens.add("in", user_id="7")
    tokens.add("other", user_id="8")
    await anonymous.ask({"type": "auth", "token": "in"})
    reply = await anonymous.ask({"type": "auth", "token": "other"})
    assert reply["payload"]["code"] == "forbidden"


async def test_two_users_tokens_at_once_make_the_first_one_theirs(anonymous, tokens):
    tokens.add("in", user_id="7")
    tokens.add("other", user_id="8")
    anonymous.send({"type": "auth", "token": "in", "id": 1})
    anonymous.send({"type": "auth", "token": "other", "id": 2})
    first, second = await anonymous.read(), await anonymous.read()
    assert (first["type"], first["payload"]["user"]) == ("auth_ok", "7")
    assert second["payload"]["code"] == "forbidden"


# -- the first message -----------------------------------------------------------------------------


async def test_no_first_message_in_time_is_the_end(application, timed_node, tokens, clock):
    node = timed_node()
    async with AsgiSocket(application) as socket:
        asked = await socket.expect("auth_required")
        assert asked["payload"] == {"timeout": 10.0}
        await pass_by(node, clock, 9.9)
        await socket.quiet()
        await pass_by(node, clock, 0.1)
        assert await outcome(socket) == "4401 no credentials came in time"


async def test_first_message_that_is_judged_when_the_time_ends_is_in_time(
    application, timed_node, tokens, clock
):
    node = timed_node()
    tokens.add("in")
    tokens.hold()
    async with AsgiSocket(application) as socket:
        await socket.expect("auth_required")
        socket.send({"type": "auth", "token": "in"})
        await until(tokens.asked.is_set)
        await pass_by(node, clock, 20)
        tokens.verdict.set()
        await socket.expect("auth_ok")
        await socket.expect("welcome")


async def test_first_message_that_nobody_can_judge_is_no_bad_credential(
    application, timed_node, tokens
):
    """The database is away: a client that throws its token away for that logs its user out."""
    timed_node()
    tokens.fail("in", ConnectionError("planted"))
    async with AsgiSocket(application) as socket:
        await socket.expect("auth_required")
        reply = await socket.ask({"type": "auth", "token": "in"})
        assert reply["payload"]["code"] == "internal"
        closing = await socket.expect("closing")
        assert (closing["payload"]["code"], closing["payload"]["reconnect"]) == (4500, True)


async def test_second_auth_before_welcome_is_judged_after_it(
    application, timed_node, tokens, monkeypatch
):
    node = timed_node()
    tokens.add("in")
    gate = asyncio.Event()
    join = node.broker.join

    async def slow_join(name: str) -> None:
        await gate.wait()
        await join(name)

    monkeypatch.setattr(node.broker, "join", slow_join)
    async with AsgiSocket(application) as socket:
        await socket.expect("auth_required")
        socket.send({"type": "auth", "token": "in", "id": 1})
        await socket.expect("auth_ok")
        tokens.asked.clear()
        socket.send({"type": "auth", "token": "bad", "id": 2})
        socket.send({"type": "auth", "token": "in", "id": 3})
        await settle()
        await in_thread(lambda: None)()  # after whatever was asked of that thread before
        assert not tokens.asked.is_set()
        gate.set()
        await socket.expect("welcome")
        error = await socket.expect("error")
        assert (error["id"], error["payload"]["code"]) == (2, "token_invalid")
        assert (await socket.expect("auth_ok"))["id"] == 3
        await socket.quiet()


async def test_client_that_leaves_while_its_token_is_judged_leaves_nothing(
    application, timed_node, tokens
):
    node = timed_node()
    tokens.add("in")
    tokens.hold()
    async with AsgiSocket(application) as socket:
        await socket.expect("auth_required")
        socket.send({"type": "auth", "token": "in"})
        await until(tokens.asked.is_set)
    tokens.verdict.set()
    await settle()
    assert not node.connections
    assert not node.service(Revocations).connections("user:1")


# -- asked to prove itself anew --------------------------------------------------------------------


async def test_connection_that_is_asked_for_credentials_has_so_long(
    application, node, tokens, clock
):
    tokens.add("endless")
    async with AsgiSocket(application, headers=bearer("endless")) as socket:
        await socket.expect("welcome")
        await only_connection(node).ask_for_credentials(30)
        message = await socket.expect("auth_expiring")
        assert message["payload"] == {"expires_at": clock.time() + 30}
        await pass_by(node, clock, 29.9)
        await socket.quiet()
        await pass_by(node, clock, 0.1)
        await expect_end(socket)


# -- login sessions --------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
class TestLoginSession:
    """Its deadline is that of its row, which is read again at it."""

    @pytest.fixture
    async def connected(self, application, timed_node, clock, realtime):
        realtime(HEARTBEAT_INTERVAL=1e6)
        node = timed_node()
        session = await in_thread(self.log_in)(clock)
        async with AsgiSocket(application, headers=[cookie(session.session_key)]) as socket:
            welcome = await socket.expect("welcome")
            assert welcome["payload"]["expires_at"] == pytest.approx(clock.time() + 100)
            await socket.ask({"type": "subscribe", "channel": "public/a"})
            yield socket, node, session

    def log_in(self, clock):
        session = make_session(make_user())
        self.ends(session, clock, 100)
        return session

    def ends(self, session, clock, seconds: float) -> None:
        """The row ends so long after now, by the fake clock: a slow machine's own is ahead of it."""
        at = datetime.datetime.fromtimestamp(clock.time() + seconds, tz=datetime.UTC)
        model = session.get_model_class()
        assert model.objects.filter(pk=session.session_key).update(expire_date=at)

    async def test_session_has_no_auth_expiring_and_ends(self, connected, clock):
        socket, node, _ = connected
        await pass_by(node, clock, 90)
        await socket.quiet()
        await pass_by(node, clock, 11)
        await expect_end(socket)

    async def test_session_that_has_moved_on_is_extended(self, connected, clock):
        socket, node, session = connected
        await in_thread(self.ends)(session, clock, 1_000)
        await pass_by(node, clock, 101)
        await until(lambda: not only_connection(node)._conversation.expiry.holding)
        await apublish("public/a", "still here")
        assert (await socket.read())["payload"] == "still here"
        await pass_by(node, clock, 800)
        await socket.quiet()
        await pass_by(node, clock, 200)
        await expect_end(socket)

    async def test_deliveries_are_held_while_it_is_read(self, connected, clock, monkeypatch):
        socket, node, session = connected
        await in_thread(self.ends)(session, clock, 1_000)
        gate = asyncio.Event()
        run = node.authentication.run

        async def slow(*args):
            await gate.wait()
            return await run(*args)

        monkeypatch.setattr(node.authentication, "run", slow)
        await pass_by(node, clock, 101)
        await apublish("public/a", "held")
        await settle()
        assert socket.from_application.empty()
        gate.set()
        assert (await socket.read())["payload"] == "held"

    async def test_session_that_cannot_be_read_in_five_seconds_ends(
        self, connected, clock, monkeypatch
    ):
        socket, node, session = connected
        await in_thread(self.ends)(session, clock, 1_000)

        async def never(*args):
            await asyncio.Event().wait()

        monkeypatch.setattr(node.authentication, "run", never)
        await pass_by(node, clock, 101)
        await apublish("public/a", "held")
        await pass_by(node, clock, 5)
        await expect_end(socket)

    async def test_session_that_is_gone_ends_at_its_deadline(self, connected, clock):
        socket, node, session = connected
        await in_thread(session.get_model_class().objects.all()._raw_delete)("default")
        await pass_by(node, clock, 101)
        await expect_end(socket, "the credentials are no longer valid")

    async def test_wall_clock_that_is_set_back_extends_no_session(self, connected, clock):
        socket, node, _ = connected
        clock.step(-3_600)
        await only_connection(node).reread()  # as the sweep does
        await pass_by(node, clock, 101)
        await expect_end(socket)

    async def test_session_that_was_shortened_ends_sooner(self, connected, clock):
        socket, node, session = connected
        await in_thread(self.ends)(session, clock, 50)
        await only_connection(node).reread()
        await pass_by(node, clock, 51)
        await expect_end(socket)

    async def test_token_extends_it_and_its_own_end_still_counts(self, connected, clock, tokens):
        socket, node, session = connected
        user_id = only_connection(node).user_id
        tokens.add("token", user_id=user_id, expires_at=clock.time() + 1_000)
        # The node's settings are those of its making: the verifier is another's here.
        object.__setattr__(node.config, "token_verifier", "tests.unit.auth.credentials.verify_fake")
        reply = await socket.ask({"type": "auth", "token": "token"})
        assert reply["payload"]["expires_at"] == clock.time() + 1_000
        await in_thread(session.get_model_class().objects.all()._raw_delete)("default")
        await only_connection(node).reread()
        await expect_end(socket, "the credentials are no longer valid")
