"""The credentials of a connection: taken up, read again, extended, revoked, expired."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ..access.blocks import Blocks
from ..access.limits import AccessLimits
from ..access.revocation import Revocations
from ..auth.base import Authenticated, Handshake
from ..auth.login_session import LoginSession, SessionView, read_login_session
from ..auth.tokens import verify_token
from ..auth.users import anonymous_user, read_user
from ..errors import Forbidden
from ..identity import ANONYMOUS, Identity
from ..namespaces import namespace_of
from ..protocol.codes import CloseCode
from .rights import PublishRights
from .shell import Shell

USER_FULL_RETRY_S = 30.0
"""How long a client waits when its user has as many connections as allowed."""


class CredentialHolder(Shell):
    """A connected client with credentials, which its conversation's expiry follows."""

    __slots__ = (
        "_publish_rights",
        "_session_key",
        "_user",
        "identity",
        "read_at",
        "user_read_at",
    )

    def _begin_anonymous(self) -> None:
        self._session_key: str | None = None  # a secret: to read the login session again
        self._user: Any = None
        self.identity: Identity = ANONYMOUS
        self.read_at = 0.0
        self.user_read_at = 0.0
        self._publish_rights: PublishRights | None = None

    def __repr__(self) -> str:
        return f"<Connection {self.id} user={self.user_id}>"

    @property
    def user(self) -> Any:
        """The user, as it was last read; an anonymous one is made when it is asked for."""
        if self._user is None:
            self._user = anonymous_user()
        return self._user

    @user.setter
    def user(self, user: Any) -> None:
        self._user = user

    @property
    def publish_rights(self) -> PublishRights:
        """Where it may publish without being asked about again; made when it first publishes."""
        if self._publish_rights is None:
            self._publish_rights = PublishRights()
        return self._publish_rights

    @property
    def user_id(self) -> str | None:
        """The user's primary key as text, or None."""
        return self.identity.user_id

    @property
    def namespace(self) -> str:
        """Its namespace, found at its handshake; ``""`` for none."""
        return namespace_of(self.scope)

    def _around(self, look_up: Callable[..., Any]) -> Callable[..., Any]:
        """A credential look-up in the connection's context."""
        return self._node.context.around(self.scope, look_up)

    def _in_namespace(self, identity: Identity) -> Identity:
        namespace = self.namespace
        if not namespace:
            return identity
        return dataclasses.replace(identity, namespace=namespace)

    @property
    def session(self) -> SessionView:
        """Its Django session: that of its login, else that of the handshake's cookie."""
        return SessionView(self._session_key or self._cookie_key, self.user_id)

    @property
    def _cookie_key(self) -> str | None:
        return LoginSession().find(Handshake(self.scope, self._node.config))

    async def read_user(self, channel: str | None, since: float) -> None:
        """Read its user again, if a hook is to be asked; ``Connection`` does."""
        raise NotImplementedError

    async def recheck(self, channel: str | None = None, since: float | None = None) -> None:
        """Ask again whether it may be on its channels, or on this one; ``Connection`` does."""
        raise NotImplementedError

    def rights_changed(self, channel: str | None = None) -> None:
        """Whether it may publish is asked again, of this channel or of all."""
        if self._publish_rights is not None:
            self._publish_rights.forget(channel)

    def replaced(self) -> None:
        """Its session was resumed on another connection; ``Connection`` closes."""
        raise NotImplementedError

    # -- taking up ---------------------------------------------------------------------------------

    def authenticated(self, found: Authenticated, read_at: float) -> bool:
        """Take credentials up: from now on the connection belongs to their user.

        Args:
            found: what the credentials prove.
            read_at: when they began to be read, in seconds since the epoch.

        Returns:
            False where they were revoked meanwhile, or their user is blocked or has too many
            connections: the connection is closed.
        """
        node = self._node
        revocations, limits = node.service(Revocations), node.service(AccessLimits)
        fresh = self._in_namespace(found.identity)
        revocations.dismiss(self)
        if self.user_id != fresh.user_id:
            if limits.user_is_full(fresh.user_key):
                self.close(
                    CloseCode.RATE_LIMITED,
                    "this user has all the connections it may",
                    retry_after=USER_FULL_RETRY_S,
                )
                return False
            limits.count_user(self.identity.user_key, -1)
            limits.count_user(fresh.user_key, 1)
        same = self.user_id is not None and fresh.user_id == self.user_id
        self.identity = self.identity.joined_by(fresh) if same else fresh
        self.user = found.user
        self.rights_changed()
        self.read_at = self.user_read_at = read_at
        if found.session_key is not None:
            self._session_key = found.session_key
        verdict = revocations.admit(self)
        if verdict == "revoked":
            self.revoke("the credentials were revoked")
            return False
        if node.service(Blocks).blocks(self.user_id, self.client_address):
            node.denied(self.scope, "blocked")
            self.close(CloseCode.BLOCKED, "blocked")
            return False
        node.connection_changed(self.id)
        if verdict == "recheck":
            node.spawn(self.reread(), "reread")
        self._set_expiry()
        return True

    async def _verify(self, token: str) -> Authenticated:
        """Check the token of an ``auth``.

        Raises:
            RealtimeError: it proves nothing, or not this connection's user.
        """
        config = self._node.config
        found: Authenticated = await self._node.authentication.run(
            self._around(verify_token), token, config, "message"
        )
        if self.user_id is not None and found.identity.user_id != self.user_id:
            raise Forbidden("the token is another user's")
        return found

    # -- over, or not ------------------------------------------------------------------------------

    def revoke(self, reason: str) -> None:
        """Its credentials are over: close it with 4401."""
        if self.closed:  # its close may be among what waits
            return
        self._writer.clear()
        self.close(CloseCode.UNAUTHENTICATED, reason)

    async def reread(self) -> None:
        """Read its credentials again, and close it where they no longer hold."""
        read_at = self._node.clock.time()
        run = self._node.authentication.run
        try:
            if self._session_key is not None:
                found = await run(self._around(read_login_session), self._session_key)
                user = None if found is None else found.user
            else:
                found = None
                user = await run(self._around(read_user), self.identity, self.user)
        except Exception:
            self.log_exception("Reading the credentials again failed")
            return
        if self.closed:
            return
        if user is None or (found is not None and found.identity.user_id != self.user_id):
            self.revoke("the credentials are no longer valid")
            return
        self.user = user
        self.rights_changed()
        self.read_at = self.user_read_at = read_at
        if found is not None and self.identity.method == "session":
            self._renew(found)
        if not self.closed:
            self._transport.credentials_read()

    def take_user(self, user: Any, read_at: float) -> None:
        """Have hooks see this user, which was read at ``read_at``, from now on."""
        self.user = user
        self.rights_changed()
        self.user_read_at = read_at
        self._transport.credentials_read()

    def _renew(self, found: Authenticated) -> None:
        """The login session goes on, perhaps for longer than was known, or shorter.

        Where its end has not moved, the deadline stays: computed again by a wall clock that was set
        back, it would keep the connection open for too long.
        """
        revocations = self._node.service(Revocations)
        known = self.identity.expires_at
        revocations.dismiss(self)
        self.identity = self._in_namespace(found.identity)
        revocations.admit(self)
        if found.identity.expires_at != known:
            self._set_expiry()
        elif self._conversation.expiry.is_over(self._now()):
            self.revoke("the credentials have expired")
            return
        self._perform(self._conversation.renewed())

    async def ask_for_credentials(self, seconds: float) -> None:
        """Ask the client for new credentials within ``seconds``."""
        expires_at = self._node.clock.time() + seconds
        self._conversation.expiry.end_soon(self._now(), seconds, expires_at=expires_at)
        self._perform(self._conversation.tick(self._now()))

    def _set_expiry(self) -> None:
        if not self._transport.ends_with_credentials:
            return
        config = self._node.config
        now = self._now()
        expires_at = self.identity.expires_at
        at = None
        if expires_at is not None:
            at = now + (expires_at - self._node.clock.time()) + config.auth_leeway
        self._conversation.expiry.set(
            at,
            now=now,
            expires_at=expires_at,
            lead=config.auth_expiring_lead,
            rereads=self.identity.method == "session",
        )
        self._node.timers.set(self, self._conversation.deadline)
