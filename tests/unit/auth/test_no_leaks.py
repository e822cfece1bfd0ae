"""No token, cookie, ticket, session key or session id in what is logged, said or shown."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback

import msgspec
import pytest

from channels_realtime import revoke
from channels_realtime.access.revocation import Revocations
from channels_realtime.access.revocation_list import Revocation
from channels_realtime.auth import tickets
from channels_realtime.auth.base import Authenticated, Handshake
from channels_realtime.auth.jwt import verify_jwt
from channels_realtime.auth.login_session import read_login_session
from channels_realtime.auth.tickets import issue_ticket, redeem_ticket
from channels_realtime.auth.tokens import verify_token
from channels_realtime.connections.connection import Connection
from channels_realtime.conversation.effects import Run, Send
from channels_realtime.errors import ImproperUse, TokenExpired, TokenInvalid
from channels_realtime.identity import Identity
from channels_realtime.models import RevocationRecord
from channels_realtime.protocol import messages as m
from channels_realtime.protocol.subprotocols import negotiate
from channels_realtime.services import current_node
from channels_realtime.settings import get_config
from tests.support.asgi_socket import AsgiSocket
from tests.unit.auth.credentials import (
    NOBODY,
    converse,
    cookie,
    make_session,
    make_token,
    make_user,
    sign,
)

pytestmark = pytest.mark.django_db

PLANTED = "pl4nt3d"
"""In every secret of these tests that we can choose."""


class Secrets:
    """What must be found nowhere."""

    def __init__(self):
        self.texts = {PLANTED}

    def add(self, text: str) -> str:
        """Remember a secret; of a token the signed part, which is the proof."""
        self.texts.update(part for part in text.split(".") if len(part) > 20)
        self.texts.update(part for part in text.split(":") if len(part) > 20)
        self.texts.add(text)
        return text

    def assert_not_in(self, text: str, what: str) -> None:
        for secret in self.texts:
            assert secret not in text, f"{what} holds a secret: {text[:500]}"


@pytest.fixture
def secrets():
    return Secrets()


@pytest.fixture
def all_ways(realtime, settings):
    realtime(QUERY_TOKEN=True, JWT_COOKIE="access", ALLOW_ANONYMOUS=False)


def shown_tokens(secrets, alice):
    """A token of every kind of failure, and a good one."""
    now = int(time.time())
    jti = f"{PLANTED}-jti-is-no-secret"
    made = {
        "good": make_token(alice.pk),
        "malformed": f"{PLANTED}.{PLANTED}.{PLANTED}",
        "not ASCII": f"{PLANTED}\xe9",
        "too long": PLANTED * 5_000,
        "expired": make_token(alice.pk, exp=now - 10),
        "expires in 1e20": make_token(alice.pk, exp=1e20),
        "wrong signature": sign({"user_id": PLANTED, "exp": now + 60}, "x" * 40),
        "alg none": f"eyJhbGciOiJub25lIn0.{PLANTED}.",
        "refresh": make_token(alice.pk, token_type="refresh"),
        "unknown user": make_token(NOBODY),
        "user id": make_token(0, user_id=PLANTED),
        "user id a list": make_token(0, user_id=[PLANTED]),
        "jti a list": make_token(alice.pk, jti=[jti]),
        "claims": make_token(alice.pk, exp={"a": PLANTED}, iat=PLANTED, nbf=PLANTED),
    }
    return {name: secrets.add(token) for name, token in made.items()}


def scopes(token: str):
    """Every way that a token may take in a handshake."""
    raw = token.encode("utf-8")
    yield {"headers": [(b"authorization", b"Bearer " + raw)]}
    yield {"headers": [(b"cookie", b"access=" + raw)]}
    yield {"query_string": b"token=" + raw}
    yield {"query_string": b"ticket=" + raw}
    yield {"headers": [(b"cookie", b"sessionid=" + raw)]}
    yield {"subprotocols": ["realtime.v1.json", f"access_token_{token}"]}
    yield {"subprotocols": ["jwt", token]}
    yield {"subprotocols": ["realtime.v9.json", "jwt", token]}
    yield {"subprotocols": [token]}


async def everything_said(socket: AsgiSocket) -> str:
    """What the server says until it greets, asks, closes, or waits for a message that it can read.

    Without the greeting, whose session id is the client's to know.
    """
    said = []
    while True:
        event = await socket.event()
        if '"welcome"' in event.get("text", ""):
            break
        said.append(event)
        text = event.get("text", "")
        if event["type"] == "websocket.close" or "auth_required" in text or "bad_message" in text:
            break
    return repr(said)


def test_handshakes_leak_nothing(all_ways, secrets, caplog):
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="asyncio")
    alice = make_user()
    session = make_session(alice)
    secrets.add(session.session_key)
    found = read_login_session(session.session_key)
    ticket = secrets.add(issue_ticket(found, "http://testserver")[0])
    tokens = shown_tokens(secrets, alice)

    async def connect(application):
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.slow_callback_duration = 0.0  # asyncio writes down all that it runs
        shown = [scope for token in tokens.values() for scope in scopes(token)]
        shown += [{"query_string": f"ticket={ticket}".encode()}] * 2  # redeemed, then refused
        shown += [{"headers": [cookie(session.session_key)]}]
        for scope in shown:
            async with AsgiSocket(application, **scope) as socket:
                said = await everything_said(socket)
                secrets.assert_not_in(said, "a frame")
                for connection in current_node().connections.values():
                    secrets.assert_not_in(repr(connection), "a connection")
                    secrets.assert_not_in(connection.session_id, "a session id")
                    secrets.add(connection.session_id)
        loop.set_debug(False)

    converse(connect)
    assert caplog.records
    check_log(caplog, secrets)


def test_messages_leak_nothing(all_ways, secrets, caplog):
    caplog.set_level(logging.DEBUG)
    alice = make_user()
    tokens = shown_tokens(secrets, alice)

    async def talk(application):
        for token in tokens.values():
            async with AsgiSocket(application) as socket:
                await socket.expect("auth_required")
                socket.send({"type": "auth", "token": token, "id": 1})
                secrets.assert_not_in(await everything_said(socket), "a frame")
        good = {"headers": [(b"authorization", b"Bearer " + tokens["good"].encode())]}
        async with AsgiSocket(application, **good) as socket:
            await socket.expect("welcome")
            for name, token in tokens.items():
                reply = await socket.ask({"type": "auth", "token": token, "id": name})
                secrets.assert_not_in(repr(reply), "a reply")
            for message in (
                {"type": "auth", "token": [tokens["good"]]},
                {"type": "resume", "session_id": PLANTED},
                {"type": "resume", "sessionId": [PLANTED]},
                {"type": "auth", "token": {"a": tokens["good"]}, "id": 1},
            ):
                reply = await socket.ask(message)
                secrets.assert_not_in(repr(reply), "a reply")

    converse(talk)
    check_log(caplog, secrets)


def test_trouble_of_ours_leaks_nothing(all_ways, secrets, caplog, monkeypatch):
    """The database fails, a hook fails, a proof cannot be read again."""
    from channels_realtime.auth import jwt, login_session
    from channels_realtime.connections import credentials as credentials_module

    caplog.set_level(logging.DEBUG)
    alice = make_user()
    session = make_session(alice)
    secrets.add(session.session_key)
    token = secrets.add(make_token(alice.pk))

    def broken(*args):
        raise ZeroDivisionError

    async def talk(application):
        by_session = {"headers": [cookie(session.session_key)]}
        by_token = {"headers": [(b"authorization", b"Bearer " + token.encode())]}
        async with AsgiSocket(application, **by_session) as socket:
            await socket.expect("welcome")
            (connection,) = current_node().connections.values()
            with monkeypatch.context() as patch:
                patch.setattr(credentials_module, "read_login_session", broken)
                await connection.reread()
                patch.setattr(login_session, "_load", broken)
                patch.setattr(jwt, "_user", broken)
                for scope in (by_session, by_token):
                    async with AsgiSocket(application, **scope) as other:
                        secrets.assert_not_in(await everything_said(other), "a frame")
                reply = await socket.ask({"type": "auth", "token": token})
                assert reply["payload"]["code"] == "internal"
            connection.lost(ConnectionError("the client is gone"))

    converse(talk)
    assert "Reading the credentials again failed" in caplog.text
    assert "Opening failed" in caplog.text
    check_log(caplog, secrets)


def test_revoking_leaks_nothing(secrets, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    alice = make_user()
    session = make_session(alice)
    key = secrets.add(session.session_key)
    token = secrets.add(make_token(alice.pk, jti="the-id-is-no-secret"))
    revoke(login_session=key)
    revoke(token=token)
    revoke(user=alice)
    session.flush()
    for record in RevocationRecord.objects.all():
        shown = f"{record!r} {record} {msgspec.json.encode([record.key])!r}"
        secrets.assert_not_in(shown, "a row")
    for bad in (f"{PLANTED}.{PLANTED}", f"{PLANTED}.{PLANTED}.{PLANTED}", f"a.{PLANTED}=.b"):
        with pytest.raises(ImproperUse) as caught:
            revoke(token=bad)
        shown = "".join(traceback.format_exception(caught.value))
        secrets.assert_not_in(shown.replace(f'"{PLANTED}', ""), "a traceback")
    with monkeypatch.context() as patch:
        patch.setattr(RevocationRecord.objects, "using", lambda name: 1 / 0)
        make_session(alice).flush()
    check_log(caplog, secrets)


@pytest.mark.parametrize(
    "call",
    [
        lambda token: verify_jwt(token),
        lambda token: verify_token(token, get_config(), "header"),
        lambda token: redeem_ticket(token, None),
    ],
    ids=["verify_jwt", "verify_token", "redeem_ticket"],
)
def test_errors_leak_nothing(secrets, call):
    alice = make_user()
    for name, token in shown_tokens(secrets, alice).items():
        try:
            call(token)
        except (TokenInvalid, TokenExpired) as error:
            # As a log would have it: with whatever it came of.
            secrets.assert_not_in("".join(traceback.format_exception(error)), name)
            secrets.assert_not_in(f"{error!r} {error.reason}", name)


def test_reprs_leak_nothing(secrets, settings):
    alice = make_user()
    session = make_session(alice)
    key = secrets.add(session.session_key)
    token = secrets.add(make_token(alice.pk))
    found = read_login_session(key)
    ticket = secrets.add(issue_ticket(found, None)[0])
    negotiation = negotiate(["access_token_" + token])
    scope = {
        "path": "/ws/",
        "headers": [cookie(key), (b"authorization", b"Bearer " + token.encode())],
        "query_string": f"ticket={ticket}&token={token}".encode(),
        "subprotocols": ["access_token_" + token],
    }
    handshake = Handshake(scope, get_config(), token)
    assert handshake.cookies  # both are cached from now on
    assert handshake.query
    command = m.Authenticate(token=token, id=1)
    welcome = m.Welcome(
        session_id=secrets.add("5e55" * 8),
        user="1",
        expires_at=None,
        heartbeat_interval=1.0,
        heartbeat_timeout=1.0,
        limits=get_config().limits.advertised(),
        capabilities=(),
        channels={},
    )
    shown = [
        found,
        found.identity,
        verify_jwt(token),
        negotiation,
        handshake,
        command,
        Run(1, command),
        m.Resume(session_id=PLANTED, since={}),
        welcome,
        Send(welcome),
        Authenticated(identity=Identity(user_id="1", method="jwt"), user=PLANTED, session_key=key),
        tickets._read(ticket),
        Revocation("session:0", 0.0, 0.0),
    ]
    for value in shown:
        secrets.assert_not_in(f"{value!r} {value}", type(value).__name__)


def test_connection_shows_no_secret(secrets, realtime):
    alice = make_user()
    key = secrets.add(make_session(alice).session_key)

    async def connect(application):
        async with AsgiSocket(application, headers=[cookie(key)]) as socket:
            await socket.expect("welcome")
            node = current_node()
            (connection,) = node.connections.values()
            assert isinstance(connection, Connection)
            secrets.add(connection.session_id)
            shown = [
                connection,
                connection._conversation,
                connection._writer,
                node,
                node.service(Revocations),
            ]
            shown += [node.statistics(), connection._log_context(), list(node.connections)]
            for value in shown:
                secrets.assert_not_in(repr(value), type(value).__name__)
            for task in asyncio.all_tasks():
                secrets.assert_not_in(repr(task), "a task")

    converse(connect)


def check_log(caplog, secrets) -> None:
    """Neither message nor arguments nor traceback, of our loggers and of what we run on."""
    formatter = logging.Formatter("%(name)s %(message)s")
    for record in caplog.records:
        if record.name == "django.db.backends":
            continue  # the SQL log, which Django writes with DEBUG alone, holds every parameter
        secrets.assert_not_in(formatter.format(record), f"the log of {record.name}")
        extra = {name: str(value) for name, value in vars(record).items() if name != "exc_info"}
        secrets.assert_not_in(repr(extra), f"a record of {record.name}")
