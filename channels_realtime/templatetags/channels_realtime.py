"""``{% realtime_url %}``: the path of the site's WebSocket, which the browser client reads from the page.

<meta name="realtime-url" content="{% realtime_url %}">

``{% realtime_position "orders/42" %}``: the position of a channel, from where the page's subscription goes
on. It stands before the data of the page in the template, and is read when the template reaches it.

<table data-position="{% realtime_position "orders/42" %}">
"""

from __future__ import annotations

import json

from django import template

from ..errors import Unavailable
from ..http.address import websocket_url
from ..protocol.messages import Position
from ..stored import position

register = template.Library()
register.simple_tag(websocket_url, name="realtime_url")


@register.simple_tag
def realtime_position(channel: str | Position) -> str:
    """The position of a channel as JSON text, for the option ``since`` of the browser client.

    Args:
        channel: the channel's name. A position that the view has read stands for itself: an async view
            needs that, because the tag would wait for the store.

    Returns:
        nothing where the store does not answer: the page is served all the same, and its client loads the
        state.

    Raises:
        BadChannel, UnknownChannel: no such name, or no route for it.
        Unsupported: the channel's class keeps no history.
    """
    if not isinstance(channel, Position):
        try:
            channel = position(channel)
        except Unavailable:  # logged where the store was asked
            return ""
    return json.dumps({"epoch": channel.epoch, "offset": channel.offset})
