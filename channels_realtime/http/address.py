"""The addresses of the site's WebSocket and of its HTTP views, as pages of the site need them."""

from __future__ import annotations

from urllib.parse import quote

from django.urls import NoReverseMatch, get_script_prefix, reverse
from django.utils.http import escape_leading_slashes

from ..settings import get_config

_SAFE = "/~:@!$&'()*+,;="  # in a path, RFC 3986, section 3.3


def websocket_url() -> str:
    """Return the path of the WebSocket: ``WEBSOCKET_PATH`` beneath the site's prefix, as a URL.

    The prefix is the one that ``reverse()`` uses: ``FORCE_SCRIPT_NAME``, or else the ``root_path``
    with which the server handed over the current request. It is quoted as ``reverse()`` does it.
    """
    path = get_script_prefix().rstrip("/") + "/" + get_config().websocket_path
    return escape_leading_slashes(quote(path, safe=_SAFE))


def http_url() -> str | None:
    """Return the path under which ``channels_realtime.urls`` is included; None where it is not."""
    try:
        return reverse("channels_realtime:ticket").removesuffix("ticket/")
    except NoReverseMatch:
        return None
