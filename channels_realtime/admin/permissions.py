"""Which permissions the admin's pages ask for. Each page asks at every request: a URL can be typed."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

APP = "channels_realtime"

SEE = "view_connectionrecord"
ACT = (SEE, "act_on_connection")
BLOCK = (*ACT, "add_blockrecord")
TRACE = (SEE, "trace_connection")


def may(request: HttpRequest, *codenames: str) -> bool:
    """Whether the user has all these permissions of the package."""
    user: Any = request.user  # AbstractBaseUser has no permissions; the admin wants one that has
    return bool(user.has_perms([f"{APP}.{codename}" for codename in codenames]))
