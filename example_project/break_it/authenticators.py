"""Lets a page choose a token though its browser sends the login session's cookie with every handshake."""

from channels_realtime.auth.base import Handshake
from channels_realtime.auth.login_session import LoginSession


class LoginSessionUnlessToken(LoginSession):
    """The login session, except for connections to `/ws/?credentials=token`."""

    def find(self, handshake: Handshake) -> str | None:
        if handshake.query.get("credentials") == "token":
            return None  # the client is asked for a token
        return super().find(handshake)
