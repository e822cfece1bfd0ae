"""Shows values from clients, tokens and the database as harmless text.

Out: escaped HTML and plain words. Characters that hide, reorder or end text (NUL, control characters,
direction controls) are shown as their code points, and each value is isolated from the text around it.
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
except ImportError:  # the extra `admin` is not installed: user agents are shown as sent
    ua_parser = None  # type: ignore[assignment]

SHORT = 60
"""Characters of a value in a list; the title has more."""

LONG = 200
"""Characters of a value on a detail page; the rest opens by a click."""

_TITLE = 1_000
_PARSED = 512
"""Characters of a user agent that are parsed; those of browsers are shorter."""

_SHOWN_AS_CODE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"  # Persian and emoji are written with them

METHODS = {
    "session": gettext_lazy("login session"),
    "jwt": gettext_lazy("token"),
    "ticket": gettext_lazy("ticket"),
    "scope": gettext_lazy("site middleware"),
    "anonymous": gettext_lazy("not authenticated"),
}
"""How a connection was authenticated, in words."""

TRANSPORTS = {
    "websocket": gettext_lazy("WebSocket"),
    "sse": gettext_lazy("server-sent events"),
    "poll": gettext_lazy("long polling"),
}

HEALTH = {
    "slow": gettext_lazy("slow"),
    "throttled": gettext_lazy("throttled"),
}
"""What troubles a connection, in words; see ``Shell.troubled_by``."""


# -- text ------------------------------------------------------------------------------------------


def visible(text: object) -> str:
    """The text, with invisible characters shown as code points: ``⟨U+202E⟩``."""
    raw = str(text)
    if raw.isprintable():
        return raw
    return "".join(_visible(character) for character in raw)


def _visible(character: str) -> str:
    if unicodedata.category(character) in _SHOWN_AS_CODE and character not in _JOINERS:
        return f"⟨U+{ord(character):04X}⟩"
    return character


def text(value: object, *, limit: int = SHORT) -> SafeString:
    """A value for a table cell: isolated and cut, with the whole as its title."""
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
    """A value for a detail page; a long one opens by a click or a key."""
    raw = "" if value is None else str(value)
    if len(raw) <= limit:
        return text(raw, limit=limit)
    return format_html(
        '<details class="realtime-more"><summary><bdi class="realtime-text">{}…</bdi></summary>'
        '<bdi class="realtime-text">{}</bdi></details>',
        visible(raw[:limit]),
        visible(raw),
    )


def cell(label: str, value: object) -> SafeString:
    """A value with a label that only a narrow window shows, where a row is no row of a table."""
    return format_html('<span class="realtime-cell" data-label="{}">{}</span>', label, value)


def nothing() -> SafeString:
    """In place of a missing value."""
    return format_html(
        '<span class="realtime-quiet" aria-hidden="true">–</span>'
        '<span class="realtime-hidden">{}</span>',
        _("none"),
    )


def quiet(words: str) -> SafeString:
    """Words about a value, in a quieter colour."""
    return format_html('<span class="realtime-quiet">{}</span>', words)


def method_words(method: str) -> str:
    """How a connection was authenticated; a site's own methods by their names."""
    known = METHODS.get(method)
    return visible(method) if known is None else str(known)


def health(trouble: str, *, moving: bool = False) -> SafeString:
    """How a connection is: well, moving to another server, or in which trouble."""
    if trouble:
        words = str(HEALTH.get(trouble, visible(trouble)))
        return format_html('<strong class="realtime-trouble">{}</strong>', words)
    return quiet(_("moving")) if moving else quiet(_("good"))


def class_name(dotted: str) -> SafeString:
    """The name of a class, with its module as the title."""
    if not dotted:
        return nothing()
    return format_html(
        '<bdi class="realtime-text" title="{}">{}</bdi>',
        visible(dotted),
        visible(dotted.rpartition(".")[2]),
    )


# -- browsers --------------------------------------------------------------------------------------


def browser_words(user_agent: str) -> str:
    """``Firefox 128, Windows 10`` where the extra ``admin`` is installed, else the user agent."""
    browser, system = _browser(user_agent[:_PARSED])
    if not browser:
        return user_agent
    if not system:
        return browser
    return _("%(browser)s, %(system)s") % {"browser": browser, "system": system}


def browser(user_agent: str) -> SafeString:
    """The browser in words for a table cell, with the user agent as the title."""
    words = browser_words(user_agent)
    if words == user_agent:
        return text(words, limit=40)
    return format_html('<span title="{}">{}</span>', visible(user_agent), text(words, limit=40))


@lru_cache(maxsize=4096)
def _browser(user_agent: str) -> tuple[str, str]:
    # Parsing takes a millisecond without a compiled matcher; a site sees few different user agents.
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
    """Seconds since the epoch as a datetime; None where it is out of range."""
    if seconds is None:
        return None
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return None


def exact(moment: datetime.datetime) -> str:
    """The time in the current time zone, to the second."""
    local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    return f"{local:%Y-%m-%d %H:%M:%S %Z}".rstrip()


def clock_time() -> SafeString:
    """The present time of day, to the second, for "As of"; the whole moment as the title."""
    now = timezone.now()
    local = timezone.localtime(now) if timezone.is_aware(now) else now
    return _time(now, f"{local:%H:%M:%S}")


def when(moment: datetime.datetime | None) -> SafeString:
    """About how long ago, or in how long, with the exact time as the title."""
    if moment is None:
        return nothing()
    return _time(moment, _about(_seconds_until(moment)))


def expiry(moment: datetime.datetime) -> SafeString:
    """In how long something expires, or how long ago it did, with the exact time as the title."""
    seconds = _seconds_until(moment)
    words = _("expires %(when)s") if seconds > 0 else _("expired %(when)s")
    return _time(moment, words % {"when": _about(seconds)})


def about(length: datetime.timedelta) -> str:
    """A length of time in words, rounded down."""
    seconds = max(0, int(length.total_seconds()))
    if seconds < 60:
        return _("%d s") % seconds
    if seconds < 3_600:
        return _("%d min") % (seconds // 60)
    if seconds < 86_400:
        return _("%d h") % (seconds // 3_600)
    days = seconds // 86_400
    return ngettext("%(days)d day", "%(days)d days", days) % {"days": days}


def _time(moment: datetime.datetime, words: str) -> SafeString:
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', moment.isoformat(), exact(moment), words
    )


def _seconds_until(moment: datetime.datetime) -> float:
    now = datetime.datetime.now(datetime.UTC if timezone.is_aware(moment) else None)
    return (moment - now).total_seconds()


def _about(seconds: float) -> str:
    distance = abs(seconds)
    ahead = seconds > 0
    if distance < 1.0:
        return _("now")
    if distance < 60:
        return (_("in %d s") if ahead else _("%d s ago")) % distance
    if distance < 3_600:
        return (_("in %d min") if ahead else _("%d min ago")) % (distance // 60)
    if distance < 86_400:
        return (_("in %d h") if ahead else _("%d h ago")) % (distance // 3_600)
    days = int(distance // 86_400)
    words = (
        ngettext("in %(days)d day", "in %(days)d days", days)
        if ahead
        else ngettext("%(days)d day ago", "%(days)d days ago", days)
    )
    return words % {"days": days}


# -- a plot ----------------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _MARGIN = 240.0, 40.0, 3.0


def round_trip_plot(round_trips: Sequence[float]) -> SafeString:
    """The last round trips, in seconds, as a line with its numbers as text."""
    if not round_trips:
        return quiet(_("not measured yet"))
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
    words = _("%(latest)s ms; last %(count)d: %(least)s to %(most)s ms") % {
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
