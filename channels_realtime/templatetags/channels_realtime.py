"""``{% realtime_url %}``: the path of the site's WebSocket, which the browser client reads from the page.

<meta name="realtime-url" content="{% realtime_url %}">

``{% realtime_position "orders/42" %}``: the position of a channel, from where the page's subscription goes
on. It stands before the data of the page in the template, and is read when the template reaches it.

<table data-position="{% realtime_position "orders/42" %}">
"""

from __future__ import annotations

import json
from typing import Any

from django import template

from ..errors import Unavailable
from ..http.address import websocket_url
from ..protocol.messages import Position
from ..publications import Published
from ..stored import position

register = template.Library()
register.simple_tag(websocket_url, name="realtime_url")


class _Json(dict[str, Any]):
    """A position: a dict for ``json_script``, and JSON text where a template writes it."""

    def __str__(self) -> str:
        return json.dumps(self)


@register.simple_tag(takes_context=True)
def realtime_position(
    context: template.Context, channel: str | Position | Published, *, required: bool = False
) -> Any:
    """The position of a channel as JSON text, for the option ``since`` of the browser client.

    With ``as`` it is a dict, for ``json_script``.

    Args:
        context: the template's.
        channel: the channel's name. A position that the view has read stands for itself: an async view
            needs that, because the tag would wait for the store.
        required: whether a store that does not answer is an error.

    Returns:
        nothing where the store does not answer: the page is served all the same, and its client loads the
        state.

    Raises:
        BadChannel, UnknownChannel: no such name, or no route for it.
        Unsupported: the channel's class keeps no history.
        Unavailable: the store does not answer, and the position is ``required``.
    """
    found: Any = channel
    if isinstance(channel, str):
        try:
            found = position(channel)
        except Unavailable:  # logged where the store was asked
            if required:
                raise
            return ""
    shown = _Json(epoch=found.epoch, offset=found.offset)
    return shown if context.autoescape else str(shown)
