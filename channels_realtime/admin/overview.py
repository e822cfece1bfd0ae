"""The admin's overview: what all nodes did in the last hour or day, as plots and tables.

In: requests, and the samples of the nodes, by one query. Out: a page. ``series`` adds the samples up,
``plots`` draws them.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from django.db.models import TextField
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import operations
from ..models import SampleRecord
from ..nodes.metrics import LATENCY_BOUNDS_S, OTHER
from ..settings import get_config
from . import plots
from .answers import ask_nodes
from .base import Link, PageAdmin, page
from .display import clock_time, visible
from .refresh import OVERVIEW_INTERVAL_S, live_page
from .series import Point, Sample, Summary, horizon, summarise

ENDS = {
    "1000": _("closed normally"),
    "4400": _("too many invalid messages"),
    "4401": _("credentials missing, expired or revoked"),
    "4403": _("blocked, or disconnected by staff"),
    "4406": _("no common protocol version"),
    "4408": _("heartbeat timeout"),
    "4409": _("replaced: session resumed on another connection"),
    "4413": _("message too large"),
    "4429": _("limit exceeded"),
    "4430": _("client too slow"),
    "4500": _("internal error"),
    "4503": _("server shutting down or full"),
    "client": _("closed by the client"),
    "lost": _("connection lost"),
    OTHER: _("other reasons"),
}
"""How connections end, in words: the close codes of the server, and ends without one."""

DENIALS = {
    "origin": _("origin not allowed"),
    "credentials": _("credentials rejected"),
    "full": _("server full"),
    "draining": _("server shutting down"),
    "address": _("too many connections or failures from the address"),
    "blocked": _("blocked by staff"),
    OTHER: _("other reasons"),
}
"""Why handshakes and credentials are denied, in words."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A length of time to look back."""

    key: str
    label: Any
    seconds: float
    buckets: int
    tick_minutes: int


PERIODS = {
    period.key: period
    for period in (
        Period(key="hour", label=_("Last hour"), seconds=3_600, buckets=60, tick_minutes=10),
        Period(key="day", label=_("Last day"), seconds=86_400, buckets=144, tick_minutes=180),
    )
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One plot, with its numbers and tables.

    Args:
        legend: a piece of the line and the name of each series; empty for a single series.
        plot, table: the picture and its numbers; empty where there is nothing to draw.
        facts: numbers in words.
        reasons: a table of counts with bars.
        note: how to read the plot.
    """

    key: str
    title: str
    legend: list[tuple[SafeString, str]]
    plot: SafeString
    table: SafeString
    facts: list[str]
    reasons: Reasons | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """How often one thing happened.

    Args:
        words: what the code means.
        code: as it was counted; consumers of the site may use codes of their own.
    """

    words: str
    code: str
    count: str
    bar: SafeString


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reasons:
    """What happened how often, the most frequent first."""

    caption: str
    head: str
    rows: list[Reason]
    empty: str


class OverviewAdmin(PageAdmin):
    """The overview, in place of a list of samples."""

    @page("view_samplerecord")
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Connections, messages, latency, disconnects and denials of all nodes together."""
        period = PERIODS.get(request.GET.get("period", ""), PERIODS["hour"])
        summary = _summary(period)
        reports, answered = ask_nodes(request)
        context = {
            "title": gettext("Overview"),
            "crumbs": [Link(label=gettext("Overview"))],
            "live": live_page(OVERVIEW_INTERVAL_S),
            "as_of": clock_time(),
            "now": _now(reports),
            "period": period,
            "periods": list(PERIODS.values()),
            "when": _when(period, summary) if summary.samples else "",
            "blocks": list(_blocks(period, summary)) if summary.samples else [],
            **answered,
        }
        return self.render(request, "overview", context)


# -- now -------------------------------------------------------------------------------------------


def _now(reports: Sequence[operations.NodeReport]) -> list[tuple[str, str]]:
    """All nodes together; a node that does not answer counts with the connections of its record."""
    answers = [report.answer for report in reports if report.answer is not None]
    connections = sum(report.connections for report in reports)

    def rate(name: str) -> str:
        return plots.number(sum(answer[name] for answer in answers))

    numbers = [
        (gettext("Connections"), plots.number(connections)),
        (gettext("Nodes"), plots.number(len(reports))),
    ]
    if answers:
        lag_ms = 1_000 * max(answer["loop_lag"] for answer in answers)
        draining = sum(bool(answer["draining"]) for answer in answers)
        numbers += [
            (gettext("Messages received per second"), rate("messages_in_rate")),
            (gettext("Messages sent per second"), rate("messages_out_rate")),
            (gettext("Connects per second"), rate("connect_rate")),
            (gettext("Loop lag"), gettext("%s ms") % plots.number(lag_ms)),
        ]
        if draining:
            numbers.append((gettext("Draining"), plots.number(draining)))
        failing = sum(bool(answer.get("history_failing")) for answer in answers)
        if failing:
            numbers.append((gettext("History store not responding"), plots.number(failing)))
    return numbers


# -- samples ---------------------------------------------------------------------------------------


def _summary(period: Period) -> Summary:
    interval = get_config().sample_interval
    now = timezone.now()
    length = datetime.timedelta(seconds=period.seconds)
    since = now - length - datetime.timedelta(seconds=2 * interval)
    *plain, latencies, disconnects, denials = Sample._fields
    # JSON as text, parsed one sample at a time: a day of ten nodes has 43,200 of them.
    texts = [Cast(name, TextField()) for name in (latencies, disconnects, denials)]
    found = SampleRecord.objects.filter(at__gt=since).values_list(*plain, *texts)
    rows: list[Sample] = [Sample._make(row) for row in found]
    until = horizon(rows, now, interval)
    texts_from = len(plain)
    read = (
        Sample._make(
            (*row[:texts_from], *(msgspec.json.decode(str(text)) for text in row[texts_from:]))
        )
        for row in rows
    )
    return summarise(read, until - length, until, period.buckets)


# -- words -----------------------------------------------------------------------------------------


def _when(period: Period, summary: Summary) -> str:
    begin, end = summary.points[0].begin, summary.points[-1].end
    minutes = round(period.seconds / period.buckets / 60)
    return ngettext(
        "From %(begin)s to %(end)s; each point is the average of %(minutes)d minute.",
        "From %(begin)s to %(end)s; each point is the average of %(minutes)d minutes.",
        minutes,
    ) % {
        "begin": date_format(timezone.localtime(begin), "DATETIME_FORMAT"),
        "end": date_format(timezone.localtime(end), "DATETIME_FORMAT"),
        "minutes": minutes,
    }


def _milliseconds(value: float) -> str:
    last = 1_000 * LATENCY_BOUNDS_S[-1]
    words = plots.number(value)
    # The last bucket has no end.
    return gettext("%s or more") % words if value >= last else words


def _fact(label: str, words: str) -> str:
    return gettext("%(label)s: %(number)s") % {"label": label, "number": words}


# -- blocks ----------------------------------------------------------------------------------------


def _blocks(period: Period, summary: Summary) -> Iterator[Block]:
    points, totals = summary.points, summary.totals
    draw = _Drawing(period, points)

    def per_second(label: str, name: str) -> plots.Series:
        return plots.Series(label=label, values=[point.rates[name] for point in points])

    def per_minute(label: str, name: str) -> plots.Series:
        return plots.Series(label=label, values=[60 * point.rates[name] for point in points])

    def in_ms(label: str, seconds: Iterable[float | None]) -> plots.Series:
        return plots.Series(label=label, values=[None if s is None else 1_000 * s for s in seconds])

    def total(label: str, name: str) -> str:
        return _fact(label, plots.number(totals[name]))

    connections = [point.connections for point in points]
    yield draw.block(
        key="connections",
        title=gettext("Connections"),
        unit=gettext("connections"),
        series=[plots.Series(label=gettext("Connections"), values=connections)],
        whole=True,
        facts=[_fact(gettext("Peak"), plots.number(round(max(connections))))],
    )
    yield draw.block(
        key="messages",
        title=gettext("Messages"),
        unit=gettext("messages per second"),
        series=[
            per_second(gettext("from clients"), "messages_in"),
            per_second(gettext("to clients"), "messages_out"),
        ],
    )
    yield draw.block(
        key="disconnects",
        title=gettext("Connects and disconnects"),
        unit=gettext("connections per minute"),
        series=[
            per_minute(gettext("connected"), "connected"),
            per_minute(gettext("disconnected"), "disconnects"),
        ],
        facts=[total(gettext("Connected"), "connected")],
        reasons=Reasons(
            caption=gettext("Disconnects by reason"),
            head=gettext("Disconnected"),
            rows=_reasons(summary.disconnects, ENDS),
            empty=gettext("No disconnects"),
        ),
    )
    yield draw.block(
        key="denials",
        title=gettext("Denials and throttling"),
        unit=gettext("events per minute"),
        series=[
            per_minute(gettext("denied"), "denials"),
            per_minute(gettext("throttled"), "throttled"),
        ],
        facts=[total(gettext("Messages over the rate limit"), "throttled")],
        reasons=Reasons(
            caption=gettext("Denials by reason"),
            head=gettext("Denied"),
            rows=_reasons(summary.denials, DENIALS),
            empty=gettext("No denials"),
        ),
    )
    yield draw.block(
        key="recovery",
        title=gettext("Recovery"),
        unit=gettext("events per minute"),
        series=[
            per_minute(gettext("recovered"), "recovered"),
            per_minute(gettext("not recovered"), "unrecovered"),
            per_minute(gettext("healed gaps"), "healed_gaps"),
        ],
        facts=[
            total(gettext("Recovered"), "recovered"),
            total(gettext("Not recovered"), "unrecovered"),
            total(gettext("Healed gaps"), "healed_gaps"),
        ],
        note=gettext(
            "Recovered: a client came back with its position and got all that it had missed. Not"
            " recovered: the history no longer held it. Healed gaps: the channel layer lost messages,"
            " and the server read them from the history."
        ),
    )
    yield draw.block(
        key="latency",
        title=gettext("Publish-to-delivery latency"),
        unit=gettext("milliseconds"),
        series=[
            in_ms(gettext("median"), (point.latency_p50_s for point in points)),
            in_ms(gettext("99th percentile"), (point.latency_p99_s for point in points)),
        ],
        logarithmic=True,
        form=_milliseconds,
        note=gettext(
            "From the process that publishes to the process of the subscribers, by the clocks of"
            " both hosts. Estimated from counts of up to 1, 2, 5, 10 … milliseconds."
        ),
    )


def _reasons(counts: Mapping[str, int], words: Mapping[str, Any]) -> list[Reason]:
    most = max(counts.values(), default=0)
    return [
        Reason(
            words=capfirst(str(words.get(key, _("a site-specific reason")))),
            code=visible(key),
            count=plots.number(count),
            bar=plots.bar(count / most),
        )
        for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if count > 0
    ]


class _Drawing:
    """Draws the blocks of one period."""

    def __init__(self, period: Period, points: Sequence[Point]) -> None:
        self._period = period
        self._stretches = [plots.Stretch.of(point.begin, point.end) for point in points]

    def block(
        self,
        *,
        key: str,
        title: str,
        unit: str,
        series: list[plots.Series],
        whole: bool = False,
        logarithmic: bool = False,
        form: plots.Form = plots.number,
        facts: Sequence[str] = (),
        reasons: Reasons | None = None,
        note: str = "",
    ) -> Block:
        plot = table = SafeString("")
        if any(value is not None for one in series for value in one.values):
            plot = plots.line_plot(
                key=f"realtime-{key}",
                title=title,
                unit=unit,
                stretches=self._stretches,
                series=series,
                tick_minutes=self._period.tick_minutes,
                whole=whole,
                logarithmic=logarithmic,
                form=form,
            )
            table = plots.data_table(
                title=f"{title} ({unit})", stretches=self._stretches, series=series, form=form
            )
        legend = [(plots.swatch(n), one.label) for n, one in enumerate(series, 1)]
        return Block(
            key=key,
            title=title,
            legend=legend if len(series) > 1 else [],
            plot=plot,
            table=table,
            facts=list(facts),
            reasons=reasons,
            note=note,
        )
