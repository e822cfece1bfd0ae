"""How the admin's pages keep themselves up to date, and what they say of the registry.

In: a request. Out: what the templates hand to ``connections.js`` in attributes: the path of the
site's WebSocket, the channel to hear, the words to show. No script and no style stands in a page.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import get_script_prefix
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..monitoring.feed import CHANNEL
from ..settings import get_config

REFRESH_HEADER = "X-Realtime-Refresh"
"""Set by the script on the requests that a person did not make."""

DETAIL_INTERVAL_S = 2
"""How often the page of one connection asks again."""

POLL_INTERVAL_S = 5
"""How often the list asks where no socket opens."""

IDLE_INTERVAL_S = 10
"""How often the list asks though nothing was said: a process that was killed says nothing."""


def is_refresh(request: HttpRequest) -> bool:
    """Whether the page itself asks, to renew what it shows.

    Such an answer must not use up the messages that are meant for the next page.
    """
    return REFRESH_HEADER in request.headers


def live_list() -> dict[str, Any]:
    """For the list: it is told of changes by the site's own WebSocket."""
    return {
        "kind": "list",
        "path": get_script_prefix() + get_config().websocket_path.lstrip("/"),
        "channel": CHANNEL,
        "interval": POLL_INTERVAL_S,
        "idle": IDLE_INTERVAL_S,
        "words": {
            **_words(POLL_INTERVAL_S),
            "live": _("Live: this list updates automatically."),
        },
    }


def live_detail() -> dict[str, Any]:
    """For the page of one connection: what it shows changes all the time."""
    return {
        "kind": "detail",
        "path": "",
        "channel": "",
        "interval": DETAIL_INTERVAL_S,
        "idle": DETAIL_INTERVAL_S,
        "words": {**_words(DETAIL_INTERVAL_S), "live": _("Live.") + " " + _asks(DETAIL_INTERVAL_S)},
    }


def _words(interval: int) -> dict[str, str]:
    return {
        "off": _("Reload the page to see what has changed."),
        "connecting": _("Connecting …"),
        "polling": _("Not live: the WebSocket cannot connect.") + " " + _asks(interval),
        "paused": _("Paused."),
        "failing": _("The server does not respond. Retrying."),
        "gone": _("This connection is no longer there."),
        "refused": _("You no longer have permission to view this."),
        "signed_out": _("You have been logged out. Reload the page to log in."),
        "pause": _("Pause"),
        "resume": _("Resume"),
    }


def _asks(interval: int) -> str:
    return ngettext(
        "Refreshes every second.",
        "Refreshes every %(seconds)d seconds.",
        interval,
    ) % {"seconds": interval}


def registry_notice() -> str:
    """What the setting CONNECTION_REGISTRY leaves out of the list; empty where nothing is."""
    share = float(get_config().connection_registry)
    if share <= 0.0:
        return _(
            "The registry is off (CONNECTION_REGISTRY is False). Connections are served but not"
            " listed here."
        )
    if share < 1.0:
        return _(
            "Shows about %(percent)s %% of the connections: CONNECTION_REGISTRY is %(share)s."
        ) % {"percent": f"{share * 100:.3g}", "share": f"{share:g}"}
    return ""
