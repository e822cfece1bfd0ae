"""Authenticators that take their time: before the connection is registered, and before anything is read."""

import random
import time
from pathlib import Path

from django.contrib.sessions.models import Session

from channels_realtime.auth.login_session import LoginSession

COMMIT_TIMEOUT_S = 20.0
LINGER_S = 0.03


class OvertakenSession(LoginSession):
    """With ``?overtaken``: reads the login session, waits until it was logged out, and lets it in.

    The control message and the poll that follow the commit come before or after the registration, by
    chance.
    """

    def authenticate(self, credential, handshake):
        found = super().authenticate(credential, handshake)
        if found is None or "overtaken" not in handshake.query:
            return found
        deadline = time.monotonic() + COMMIT_TIMEOUT_S
        while Session.objects.filter(session_key=credential).exists():
            if time.monotonic() > deadline:
                raise RuntimeError("this session was not logged out in time")
            time.sleep(0.005)
        time.sleep(random.uniform(0, LINGER_S))
        return found


class GatedSession(LoginSession):
    """With ``?gate=<path>``: reads the login session when that file is there."""

    def authenticate(self, credential, handshake):
        gate = handshake.query.get("gate")
        deadline = time.monotonic() + COMMIT_TIMEOUT_S
        while gate is not None and not Path(gate).exists():
            if time.monotonic() > deadline:
                raise RuntimeError("the gate was not opened in time")
            time.sleep(0.005)
        return super().authenticate(credential, handshake)
