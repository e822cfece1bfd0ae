"""``{% realtime_url %}``: the path of the site's WebSocket, which the browser client reads from the page.

<meta name="realtime-url" content="{% realtime_url %}">
"""

from __future__ import annotations

from django import template

from ..http.address import websocket_url

register = template.Library()
register.simple_tag(websocket_url, name="realtime_url")
