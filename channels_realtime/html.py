"""Publishes server-rendered HTML: fragments that pages insert without JavaScript of their own.

In: a channel, a template and a target. Out: a publication with the event ``realtime.html``. Only the server
can publish events with names that begin with ``realtime.``, and clients take HTML only from this event. So
nothing that a client publishes becomes HTML in another client's page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from asgiref.sync import sync_to_async
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from .errors import BadPayload, ImproperUse, Unsupported
from .exclusion import aexcluded, excluded
from .nodes.outgoing import Outgoing
from .protocol.fragments import ACTIONS, HTML_EVENT, MAX_TARGET_LENGTH
from .publications import PublicationOptions, Published, check_channel, prepare
from .runtime.loops import refuse_event_loop
from .sending import Failures, asend_all, raises, send_all

Template = str | Sequence[str] | Any
"""A template's name, a list of names of which the first that exists is used, or what ``get_template`` returns."""

_OWN_TARGET = ("append", "prepend", "update")
"""The actions that do not need a target: they change the element that receives the fragment."""

_PAGES_TOKEN = "of-the-page"  # noqa: S105  # no secret: the client puts its page's own there
"""What ``{% csrf_token %}`` writes: all subscribers get the fragment, so it cannot contain one visitor's token."""


def publish_html(
    channel: str,
    template: Template | None = None,
    context: Mapping[str, Any] | None = None,
    *,
    html: SafeString | None = None,
    target: str | None = None,
    action: str = "append",
    request: HttpRequest | None = None,
    exclude: Any = None,
    using: str | None = None,
    on_commit: bool = True,
    failures: Failures | None = None,
    **options: Unpack[PublicationOptions],
) -> Published | None:
    """Render a template and publish its HTML to the subscribers of a channel; from sync code.

    The template is rendered immediately, and once for all subscribers, who all see the same HTML.

    Args:
        channel: the channel's name, such as ``"orders/42"``.
        template: its name, or a template that ``get_template`` returned.
        context: for the template.
        html: in place of a template, HTML that is marked as safe, for example by ``format_html``.
        target: a CSS selector of the elements to change. By default the element that receives the
            fragment: ``<realtime-channel>`` itself, or what htmx' own attributes say.
        action: "append" or "prepend" to the target's content; "update", which replaces its content;
            "replace", which replaces the target; "morph", which changes the target as far as it
            differs, and keeps focus, input and scroll positions; "remove", which takes no HTML.
        request: for the template's context processors. Each page replaces ``{% csrf_token %}`` with its
            own token.
        exclude, using, on_commit, failures, options: as for ``publish``, which has ``key``, ``version``,
            ``state_key`` and ``transient`` too.

    Returns:
        as ``publish``.

    Raises:
        BadPayload: an argument is malformed or missing.
        Unsupported: the channel's class selects by a field of the payload, which HTML does not have.
        Others: as ``publish``, and what rendering raises.
    """
    refuse_event_loop("publish_html", "apublish_html")
    _check(channel, template, context, html, target, action)
    text = _render(template, context, request) if template is not None else html
    one = _prepare(channel, text, target, action, excluded(exclude), options)
    published = send_all([one], using=using, on_commit=on_commit, raises=raises(failures))
    return None if published is None else published[0]


async def apublish_html(
    channel: str,
    template: Template | None = None,
    context: Mapping[str, Any] | None = None,
    *,
    html: SafeString | None = None,
    target: str | None = None,
    action: str = "append",
    request: HttpRequest | None = None,
    exclude: Any = None,
    failures: Failures | None = None,
    **options: Unpack[PublicationOptions],
) -> Published | None:
    """Render a template in a thread and publish its HTML; from async code. Does not wait for a commit.

    Args, returns and raises as ``publish_html``.
    """
    _check(channel, template, context, html, target, action)
    text: str | None = html
    if template is not None:
        text = await sync_to_async(_render)(template, context, request)
    one = _prepare(channel, text, target, action, await aexcluded(exclude), options)
    published = await asend_all([one], raises=raises(failures))
    return None if published is None else published[0]


def _check(channel: str, template: Any, context: Any, html: Any, target: Any, action: Any) -> None:
    if action not in ACTIONS:
        raise BadPayload(f"action is {action!r:.100}; expected one of {', '.join(ACTIONS)}")
    if target is None:
        if action not in _OWN_TARGET:
            raise BadPayload(
                f"action {action!r} without a target; expected a CSS selector such as '#order-42'"
            )
    elif not (
        isinstance(target, str)
        and 0 < len(target.strip()) <= len(target) <= MAX_TARGET_LENGTH
        and target.isprintable()
    ):
        raise BadPayload(
            f"target is {target!r:.100}; expected a CSS selector of 1 to {MAX_TARGET_LENGTH} characters"
        )
    if action == "remove":
        if (template, context, html) != (None, None, None):
            raise BadPayload("action 'remove' takes no HTML; expected neither template nor html")
    elif (template is None) == (html is None):
        got = "neither" if html is None else "both"
        raise BadPayload(f"expected a template or html, got {got}")
    elif html is not None and not isinstance(html, SafeString):
        raise BadPayload(
            f"html is {type(html).__name__}, which may contain what users wrote; expected text that is"
            " marked as safe, by format_html, render_to_string or mark_safe"
        )
    elif html is not None and context is not None:
        raise BadPayload("context without a template; expected a template, or html alone")
    found = check_channel(channel)
    if found.select is not None:
        raise Unsupported(
            f"{channel!r} selects by {found.select!r}, which HTML does not have; expected a channel"
            " without 'select'"
        )


def _render(
    template: Template, context: Mapping[str, Any] | None, request: HttpRequest | None
) -> str:
    given = {"csrf_token": _PAGES_TOKEN, **(context or {})}
    render = getattr(template, "render", None)
    if render is not None:
        return str(render(given, request))
    if not isinstance(template, (str, list, tuple)):
        raise ImproperUse(
            f"template is of type {type(template).__name__}; expected a name, or what get_template"
            " returns"
        )
    return render_to_string(template, given, request)


def _prepare(
    channel: str,
    html: str | None,
    target: str | None,
    action: str,
    exclude: tuple[str, str | None] | None,
    options: PublicationOptions,
) -> Outgoing:
    payload = {"action": action}
    if html is not None:
        payload["html"] = str(html).strip()
    if target is not None:
        payload["target"] = target
    return prepare(channel, payload, event=HTML_EVENT, reserved=True, exclude=exclude, **options)
