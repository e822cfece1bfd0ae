"""HTML fragments: the payload of the event ``realtime.html``, and its form for htmx.

The payload is ``{"action": …, "html": …, "target": …}``: without ``html`` where the action is "remove", and
without ``target`` where the element that receives the fragment is meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Any

HTML_EVENT = "realtime.html"
"""Only the server can publish it, so clients take HTML from no other event."""

ACTIONS = ("append", "prepend", "replace", "update", "morph", "remove")

MAX_TARGET_LENGTH = 200

_SWAPS = {
    "append": "beforeend",
    "prepend": "afterbegin",
    "update": "innerHTML",
    "replace": "outerHTML",
    "morph": "outerMorph",
    "remove": "delete",
}
"""htmx' names of the actions. htmx 2 does not have ``outerMorph`` and replaces the content instead."""

_WRAPPERS = {
    "tr": "tbody",
    "td": "tr",
    "th": "tr",
    "col": "colgroup",
    **dict.fromkeys(("tbody", "thead", "tfoot", "caption", "colgroup"), "table"),
}
"""Elements that an HTML parser drops inside a ``div``, with what may contain them."""

_FIRST_TAG = re.compile(r"(?:\s|<!--.*?-->)*<([a-zA-Z][^\s/>]*)", re.DOTALL)


def htmx_text(payload: Mapping[str, Any]) -> str:
    """Return a fragment for htmx: with ``hx-swap-oob`` if it has a target.

    Without a target the HTML is unchanged, and the attributes of the receiving element decide.
    """
    html: str = payload.get("html", "")
    target = payload.get("target")
    if target is None:
        return html
    action = payload["action"]
    attribute = f'hx-swap-oob="{escape(f"{_SWAPS[action]}:{target}")}"'
    first = _FIRST_TAG.match(html)
    if first is not None and action in ("replace", "morph"):
        # These replace the target with the element itself, so the element carries the attribute.
        return f"{html[: first.end()]} {attribute}{html[first.end() :]}"
    wrapper = _WRAPPERS.get(first[1].lower(), "div") if first is not None else "div"
    return f"<{wrapper} {attribute}>{html}</{wrapper}>"
