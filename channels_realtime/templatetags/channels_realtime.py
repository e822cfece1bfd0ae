"""``{% realtime %}``, in the ``<head>``: loads the browser client with its elements, and its configuration.

``{% realtime_url %}``: the path of the site's WebSocket, which the browser client reads from the page.

<meta name="realtime-url" content="{% realtime_url %}">

``{% realtime_position "orders/42" %}``: the position of a channel, with which the page's subscription starts.
It is read when the template reaches the tag, so write it above the page's data.

<table data-position="{% realtime_position "orders/42" %}">
"""

from __future__ import annotations

import json
from typing import Any

from django import template
from django.conf import settings
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.templatetags.static import static
from django.utils.html import format_html, json_script
from django.utils.safestring import SafeString

from ..auth.login_session import has_login_sessions
from ..errors import Unavailable
from ..http.address import http_url, websocket_url
from ..protocol.messages import Position
from ..publications import Published
from ..settings import get_config
from ..stored import position

register = template.Library()
register.simple_tag(websocket_url, name="realtime_url")


@register.simple_tag(takes_context=True)
def realtime(context: template.Context, *, nonce: object = None) -> SafeString:
    """Write the script element of the browser client and its configuration.

    Args:
        context: the template's. The nonce and, where cookies authenticate, the CSRF token for the client's
            POSTs are taken from its request.
        nonce: of the page's Content-Security-Policy. By default that of Django 6 or of django-csp, if one
            of them is in use.
    """
    request: HttpRequest | None = context.get("request")
    return format_html(
        '{}\n<script type="module" src="{}"{}></script>',
        json_script(_configuration(request), "realtime-config"),
        static("channels_realtime/realtime-elements.min.js"),
        _nonce_attribute(_nonce(context, request) if nonce is None else nonce),
    )


def _configuration(request: HttpRequest | None) -> dict[str, str]:
    found = {"url": websocket_url()}
    http = http_url()
    if http is None:
        return found
    found["http"] = http
    if request is not None and (has_login_sessions() or get_config().jwt_cookie is not None):
        found["csrfToken"] = get_token(request)
        name: str = settings.CSRF_HEADER_NAME
        found["csrfHeader"] = name.removeprefix("HTTP_").replace("_", "-")
    return found


def _nonce(context: template.Context, request: HttpRequest | None) -> object:
    # Compare with None: a lazy nonce that has not been used yet is false.
    for found in (
        context.get("csp_nonce"),
        getattr(request, "csp_nonce", None),  # django-csp
        getattr(request, "_csp_nonce", None),  # Django's middleware, without its context processor
    ):
        if found is not None:
            return found
    return None


def _nonce_attribute(nonce: object) -> str:
    text = "" if nonce is None else str(nonce)
    return format_html(' nonce="{}"', text) if text else ""


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
        channel: the channel's name, or a position that the view has read. An async view needs the latter,
            because the tag would block while it reads the store.
        required: whether a store that does not respond is an error.

    Returns:
        an empty text if the store does not respond. The page is then served anyway, and its client loads
        the state.

    Raises:
        BadChannel, UnknownChannel: no such name, or no route for it.
        Unsupported: the channel's class keeps no history.
        Unavailable: the store does not respond, and the position is ``required``.
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
