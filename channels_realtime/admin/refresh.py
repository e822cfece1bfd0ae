"""How the pages of connections update themselves, and what they say about the registry.

Out: what the templates pass to ``live.js`` in attributes, because the pages have no inline
scripts: the path of the site's WebSocket, the channel to subscribe to, the words to show.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..http.address import websocket_url
from ..monitoring.feed import CHANNEL
from ..settings import get_config

REFRESH_HEADER = "X-Realtime-Refresh"
"""Set by the script on the requests that it makes by itself."""

DETAIL_INTERVAL_S = 2
"""Seconds between two requests of the page of one connection."""

PAGE_INTERVAL_S = 5
"""Seconds between two requests of a page that asks all nodes."""

OVERVIEW_INTERVAL_S = 10
"""Seconds between two requests of the overview, which also reads thousands of samples."""

POLL_INTERVAL_S = 5
"""Seconds between two requests of the list where no WebSocket opens."""

IDLE_INTERVAL_S = 10
"""The same where one is open but silent: a process that was killed announces nothing."""


def is_refresh(request: HttpRequest) -> bool:
    """Whether the script made this request, to update the page.

    Its response must not use up the messages that are meant for the next page.
    """
    return REFRESH_HEADER in request.headers


def live_list() -> dict[str, Any]:
    """For the list: the site's own WebSocket tells it of changes."""
    return {
        "kind": "list",
        "path": websocket_url(),
        "channel": CHANNEL,
        "interval": POLL_INTERVAL_S,
        "idle": IDLE_INTERVAL_S,
        "words": {
            **_words(POLL_INTERVAL_S),
            "live": _("Live: this list updates automatically."),
        },
    }


def live_detail() -> dict[str, Any]:
    """For the page of one connection, which changes all the time."""
    return {
        "kind": "detail",
        "path": "",
        "channel": "",
        "interval": DETAIL_INTERVAL_S,
        "idle": DETAIL_INTERVAL_S,
        "words": {
            **_words(DETAIL_INTERVAL_S),
            "live": _("Live.") + " " + _refreshes(DETAIL_INTERVAL_S),
        },
    }


def live_page(interval: int) -> dict[str, Any]:
    """For a page that asks the nodes, or the database, again at intervals."""
    return {
        "kind": "page",
        "path": "",
        "channel": "",
        "interval": interval,
        "idle": interval,
        "words": {**_words(interval), "live": _refreshes(interval)},
    }


def _words(interval: int) -> dict[str, str]:
    return {
        "off": _("Reload the page to see changes."),
        "connecting": _("Connecting …"),
        "polling": _("Not live: no WebSocket connection.") + " " + _refreshes(interval),
        "paused": _("Paused."),
        "failing": _("The server does not respond. Retrying."),
        "gone": _("This connection has ended."),
        "refused": _("You no longer have permission to see this page."),
        "signed_out": _("You have been logged out. Reload the page to log in."),
        "pause": _("Pause"),
        "resume": _("Resume"),
    }


def _refreshes(interval: int) -> str:
    return ngettext(
        "Refreshes every second.",
        "Refreshes every %(seconds)d seconds.",
        interval,
    ) % {"seconds": interval}


def registry_notice() -> str:
    """What a list that does not have all connections says; else empty."""
    share = float(get_config().connection_registry)
    if share <= 0.0:
        return _(
            "The registry is off (CONNECTION_REGISTRY is False): the site serves connections, but"
            " this list stays empty."
        )
    if share < 1.0:
        return _(
            "Shows about %(percent)s %% of the connections: CONNECTION_REGISTRY is %(share)s."
        ) % {"percent": f"{share * 100:.3g}", "share": f"{share:g}"}
    return ""
