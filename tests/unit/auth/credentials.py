"""Users, login sessions, tokens and keys for the tests of the ways in."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from typing import Any

import jwt
from asgiref.sync import async_to_sync, sync_to_async
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.utils.module_loading import import_string

from channels_realtime.asgi import get_realtime_application
from channels_realtime.auth.base import Authenticated
from channels_realtime.errors import TokenInvalid
from channels_realtime.identity import Identity
from channels_realtime.nodes.node import Node, running_node
from tests.support.asgi_socket import AsgiSocket

NOBODY = 987_654
"""The primary key of no user."""


def make_user(name: str = "alice", **fields: Any) -> Any:
    """A user whose password is ``secret``."""
    user = get_user_model()(username=name, **fields)
    user.set_password("secret")
    user.save()
    return user


def make_session(user: Any, engine: str | None = None) -> SessionBase:
    """A login session, made as ``django.contrib.auth.login`` makes it, and saved."""
    store = import_string(f"{engine or settings.SESSION_ENGINE}.SessionStore")()
    request = HttpRequest()
    request.session = store
    request.user = AnonymousUser()
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    store.save()
    return store  # type: ignore[no-any-return]


def cookie(key: str) -> tuple[bytes, bytes]:
    """The header that shows a session key."""
    return (b"cookie", f"{settings.SESSION_COOKIE_NAME}={key}".encode())


# -- tokens ----------------------------------------------------------------------------------------

Claims = dict[str, Any]

OMIT = object()
"""The value of a claim that is to be left out."""


def claims_of(user_id: Any, /, **changes: Any) -> Claims:
    """An access token's claims; ``OMIT`` leaves one out."""
    now = int(time.time())
    claims = {
        "token_type": "access",
        "exp": now + 300,
        "iat": now - 10,
        "jti": "planted-jti",
        "user_id": str(user_id),
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not OMIT}


def sign(
    claims: Mapping[str, Any],
    key: Any = None,
    algorithm: str = "HS256",
    headers: dict[str, Any] | None = None,
) -> str:
    """A token of these claims, by default signed as simplejwt signs by default."""
    return jwt.encode(
        dict(claims), settings.SECRET_KEY if key is None else key, algorithm, headers=headers
    )


def make_token(user_id: Any, /, **changes: Any) -> str:
    """An access token, signed as simplejwt signs by default."""
    return sign(claims_of(user_id, **changes))


class KeyPair:
    """An RSA key pair, as PEM."""

    def __init__(self) -> None:
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.private_key = private
        self.private = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
        self.public = (
            private.public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode()
        )

    def jwk(self, kid: str) -> dict[str, Any]:
        """The public key as JSON Web Key Sets have it."""
        algorithm = jwt.algorithms.RSAAlgorithm
        return {
            **algorithm.to_jwk(self.private_key.public_key(), as_dict=True),
            "kid": kid,
            "use": "sig",
        }


# -- conversations ----------------------------------------------------------------------------------


async def no_http(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("no HTTP here")


def converse(conversation: Any, *args: Any) -> Any:
    """Run ``await conversation(application, *args)`` from a sync test.

    On a loop and a node of its own. With ``HOOK_THREADS`` 0 the ORM runs in the caller's thread,
    inside its transaction, which is rolled back and needs no flush.
    """

    async def run() -> Any:
        try:
            return await conversation(get_realtime_application(no_http), *args)
        finally:
            node = running_node()
            if node is not None:
                await node.stop()

    return async_to_sync(run)()


def opened(path: str = "/ws/", **scope: Any) -> str:
    """What a handshake with this scope leads to; see ``outcome``."""

    async def connect(application: Any) -> str:
        async with AsgiSocket(application, path, **scope) as socket:
            return await outcome(socket)

    return str(converse(connect))


# -- what a handshake led to -----------------------------------------------------------------------


async def outcome(socket: AsgiSocket) -> str:
    """What the server says first: ``welcome <user id>``, ``auth_required`` or ``4401 <reason>``."""
    message = await socket.read()
    if message["type"] == "welcome":
        return f"welcome {message['payload']['user']}"
    if message["type"] != "closing":
        return str(message["type"])
    payload = message["payload"]
    close = await socket.read()
    assert close["type"] == "websocket.close", close
    plain = "realtime.v1.json" not in socket.scope["subprotocols"]
    assert close["code"] == (1008 if plain else payload["code"]), (close, payload)
    return f"{payload['code']} {payload['reason']}"


# -- tokens of a verifier of our own: no database, and a verdict when the test says so ----------------


class FakeTokens:
    """A ``TOKEN_VERIFIER`` whose tokens are known beforehand."""

    def __init__(self) -> None:
        self._known: dict[str, Authenticated | Exception] = {}
        self.verdict = threading.Event()
        self.verdict.set()
        self.asked = threading.Event()

    def add(self, token: str, user_id: str = "1", expires_at: float | None = None) -> str:
        """A good token."""
        identity = Identity(
            user_id=user_id,
            method="jwt",
            expires_at=expires_at,
            proven_at=time.time(),
            keys=frozenset({f"token:{token}"}),
        )
        self._known[token] = Authenticated(identity=identity, user=FakeUser(user_id))
        return token

    def fail(self, token: str, error: Exception) -> str:
        """A token whose judging ends so."""
        self._known[token] = error
        return token

    def hold(self) -> None:
        """Give no verdict until ``verdict`` is set."""
        self.verdict.clear()
        self.asked.clear()

    def verify(self, token: str) -> Authenticated:
        self.asked.set()
        assert self.verdict.wait(10)
        found = self._known.get(token, TokenInvalid())
        if isinstance(found, Exception):
            raise found
        return found


class FakeUser:
    """A user of no database."""

    is_authenticated = True

    def __init__(self, pk: str) -> None:
        self.pk = pk


fake_tokens = FakeTokens()


def verify_fake(token: str) -> Authenticated:
    """For ``TOKEN_VERIFIER``."""
    return fake_tokens.verify(token)


# -- time ------------------------------------------------------------------------------------------


class FakeClock:
    """Time that passes when a test says so; a step changes the wall clock alone."""

    def __init__(self) -> None:
        self._monotonic = 1_000.0
        self._wall = time.time()

    def monotonic(self) -> float:
        return self._monotonic

    def time(self) -> float:
        return self._wall

    def pass_by(self, seconds: float) -> None:
        self._monotonic += seconds
        self._wall += seconds

    def step(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self._wall += seconds


async def pass_by(node: Node, clock: FakeClock, seconds: float) -> None:
    """Let time pass on a node whose clock is fake, and its timers run."""
    clock.pass_by(seconds)
    node.timers._fire()
    await settle()


async def settle() -> None:
    """Let everything run that waits for nothing."""
    for _ in range(20):
        await asyncio.sleep(0)


def in_thread(function: Any) -> Any:
    """Django's ORM from a test's loop: in asgiref's thread, which the hooks of these tests share."""
    return sync_to_async(function, thread_sensitive=True)
