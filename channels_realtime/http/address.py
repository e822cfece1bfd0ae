"""The address of the site's WebSocket, as pages of the site need it."""

from __future__ import annotations

from urllib.parse import quote

from django.urls import get_script_prefix
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
