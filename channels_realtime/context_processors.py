"""A context processor, for pages that cannot load a template tag, such as those of Jinja.

"OPTIONS": {"context_processors": [..., "channels_realtime.context_processors.realtime"]}
"""

from __future__ import annotations

from django.http import HttpRequest

from .http.address import websocket_url


def realtime(request: HttpRequest) -> dict[str, str]:
    """Add ``realtime_url``, the path of the site's WebSocket."""
    return {"realtime_url": websocket_url()}
