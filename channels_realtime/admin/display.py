"""How the admin shows what came from outside: as text that can do nothing but be read.

In: values that a client, a token or a database gave. Out: escaped HTML and plain words. Whatever
would hide, reorder or end text (NUL, control characters, the controls of writing direction) is shown
as its code point, and each value is isolated from the text around it.
"""

from __future__ import annotations

import datetime
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from django.utils import timezone
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

try:
    import ua_parser
except ImportError:  # the extra `admin` is not installed: user agents are shown as they came
    ua_parser = None  # type: ignore[assignment]

SHORT = 60
"""Characters of a value in a list; a title has more of it."""

LONG = 200
"""Characters of a value on a page of its own; the rest is behind a click."""

_TITLE = 1_000
_PARSED = 512
"""Characters of a user agent that are looked at; browsers' own are shorter."""

_SHOWN_AS_CODE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"  # Persian and emoji are written with them

METHODS = {
    "session": gettext_lazy("login session"),
    "jwt": gettext_lazy("token"),
    "ticket": gettext_lazy("ticket"),
    "scope": gettext_lazy("the site's middleware"),
    "anonymous": gettext_lazy("not authenticated"),
}
"""How a connection was authenticated, in words."""


TRANSPORTS = {
    "websocket": gettext_lazy("WebSocket"),
    "sse": gettext_lazy("server-sent events"),
    "poll": gettext_lazy("long polling"),
}


# -- text ------------------------------------------------------------------------------------------


def visible(text: object) -> str:
    """The text, with what cannot be seen shown as code points: ``⟨U+202E⟩``."""
    raw = str(text)
    if raw.isprintable():
        return raw
    return "".join(_visible(character) for character in raw)


def _visible(character: str) -> str:
    if unicodedata.category(character) in _SHOWN_AS_CODE and character not in _JOINERS:
        return f"⟨U+{ord(character):04X}⟩"
    return character


def text(value: object, *, limit: int = SHORT) -> SafeString:
    """One value for a table cell: isolated, cut, the whole in its title."""
    raw = "" if value is None else str(value)
    if not raw:
        return nothing()
    if len(raw) <= limit:
        return format_html('<bdi class="realtime-text">{}</bdi>', visible(raw))
    return format_html(
        '<bdi class="realtime-text" title="{}">{}…</bdi>',
        visible(raw[:_TITLE]),
        visible(raw[:limit]),
    )


def whole_text(value: object, *, limit: int = LONG) -> SafeString:
    """One value for a page of its own: what is too long opens by a click or a key."""
    raw = "" if value is None else str(value)
    if len(raw) <= limit:
        return text(raw, limit=limit)
    return format_html(
        '<details class="realtime-more"><summary><bdi class="realtime-text">{}…</bdi></summary>'
        '<bdi class="realtime-text">{}</bdi></details>',
        visible(raw[:limit]),
        visible(raw),
    )


def nothing() -> SafeString:
    """In place of a value that there is not."""
    return format_html(
        '<span class="realtime-quiet" aria-hidden="true">–</span>'
        '<span class="realtime-hidden">{}</span>',
        _("none"),
    )


def method_words(method: str) -> str:
    """How somebody was authenticated; a site's own methods by their names."""
    known = METHODS.get(method)
    return visible(method) if known is None else str(known)


def transport_words(transport: str | None) -> str:
    """How a connection talks; others by their names."""
    return str(TRANSPORTS.get(transport or "", transport or ""))


# -- browsers --------------------------------------------------------------------------------------


def browser_words(user_agent: str) -> str:
    """``Firefox 128, Windows 10``, where the extra ``admin`` is installed; else as it came."""
    browser, system = _browser(user_agent[:_PARSED])
    if not browser:
        return user_agent
    if not system:
        return browser
    return _("%(browser)s, %(system)s") % {"browser": browser, "system": system}


@lru_cache(maxsize=4096)
def _browser(user_agent: str) -> tuple[str, str]:
    # A millisecond each without a compiled matcher, and a site's visitors have few different ones.
    if ua_parser is None or not user_agent:
        return "", ""
    browser = ua_parser.parse_user_agent(user_agent)
    system = ua_parser.parse_os(user_agent)
    return (
        " ".join(filter(None, (browser.family, browser.major))) if browser else "",
        " ".join(filter(None, (system.family, system.major))) if system else "",
    )


# -- moments ---------------------------------------------------------------------------------------


def from_epoch(seconds: float | None) -> datetime.datetime | None:
    """Seconds since the epoch as a moment; None where it is beyond all calendars."""
    if seconds is None:
        return None
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return None


def exact(moment: datetime.datetime) -> str:
    """The moment in the site's time zone, to the second."""
    local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    return f"{local:%Y-%m-%d %H:%M:%S %Z}".rstrip()


def when(moment: datetime.datetime | None) -> SafeString:
    """About how long ago, or how long until then; the exact moment as the title."""
    if moment is None:
        return nothing()
    now = datetime.datetime.now(datetime.UTC if timezone.is_aware(moment) else None)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(),
        exact(moment),
        _about((moment - now).total_seconds()),
    )


def _about(seconds: float) -> str:
    distance = abs(seconds)
    if distance < 1.0:
        return _("now")
    ahead = seconds > 0
    if distance < 60:
        words, unit = (_("in %d s") if ahead else _("%d s ago")), 1
    elif distance < 3_600:
        words, unit = (_("in %d min") if ahead else _("%d min ago")), 60
    elif distance < 86_400:
        words, unit = (_("in %d h") if ahead else _("%d h ago")), 3_600
    else:
        days = int(distance // 86_400)
        words = (
            ngettext("in %d day", "in %d days", days)
            if ahead
            else (ngettext("%d day ago", "%d days ago", days))
        )
        return words % days
    return words % (distance // unit)


# -- a plot ----------------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _MARGIN = 240.0, 40.0, 3.0


def round_trip_plot(round_trips: Sequence[float]) -> SafeString:
    """The last round trips, in seconds, as a line; its numbers as text beside it."""
    if not round_trips:
        return format_html('<span class="realtime-quiet">{}</span>', _("not measured yet"))
    most = max(*round_trips, 1e-6)
    step = _WIDTH / max(1, len(round_trips) - 1)
    points = [
        f"{number * step:.1f},{_HEIGHT - _MARGIN - value / most * (_HEIGHT - 2 * _MARGIN):.1f}"
        for number, value in enumerate(round_trips)
    ]
    if len(points) == 1:
        points.append(f"{_WIDTH:.1f},{points[0].split(',')[1]}")
    latest, least, most_text = (
        number_format(value * 1_000, 1)
        for value in (round_trips[-1], min(round_trips), max(round_trips))
    )
    words = _("%(latest)s ms; the last %(count)d from %(least)s to %(most)s ms") % {
        "latest": latest,
        "count": len(round_trips),
        "least": least,
        "most": most_text,
    }
    return format_html(
        '<svg class="realtime-line" viewBox="0 0 {} {}" preserveAspectRatio="none"'
        ' aria-hidden="true" focusable="false"><polyline points="{}"/></svg> <span>{}</span>',
        f"{_WIDTH:.0f}",
        f"{_HEIGHT:.0f}",
        " ".join(points),
        words,
    )
