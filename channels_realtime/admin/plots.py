"""Draws lines and bars as inline SVG, without scripts or inline styles. Pure.

In: series of numbers over equally long stretches of time. Out: safe markup, in the language, formats
and time zone of the request. Time runs from left to right in every language. Colours and dashes come
from the style sheet (``realtime-series-1`` …), to fit the theme. Each plot has a table of its numbers.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Callable, Iterator, Sequence

from django.utils import timezone
from django.utils.formats import date_format, number_format, time_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

_WIDTH, _HEIGHT = 720.0, 270.0
_TOP, _RIGHT, _BOTTOM = 30.0, 24.0, 58.0
_LEFT_LEAST, _LEFT_A_CHARACTER = 30.0, 11.0
"""Room for the numbers beside the plot, even where the style sheet makes them larger."""

_TICKS = 4
"""About the number of horizontal grid lines."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The time that one value of each series covers."""

    begin: datetime.datetime
    end: datetime.datetime
    words: str
    """The stretch in the language and time zone of the reader."""

    @classmethod
    def of(cls, begin: datetime.datetime, end: datetime.datetime) -> Stretch:
        """The stretch between two moments; plots and tables of a page can share it."""
        words = _("%(begin)s to %(end)s") % {
            "begin": date_format(_local(begin), "SHORT_DATETIME_FORMAT"),
            "end": time_format(_local(end), "TIME_FORMAT"),
        }
        return cls(begin=begin, end=end, words=words)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line: a value for each stretch; None or NaN where there is none."""

    label: str
    values: Sequence[float | None]


Form = Callable[[float], str]
"""A value in words, for readers."""


def number(value: float) -> str:
    """A number in the format of the language, with about three significant digits."""
    size = abs(value)
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2
    return _written(value, 0 if round(float(value), decimals).is_integer() else decimals)


def line_plot(
    *,
    key: str,
    title: str,
    unit: str,
    stretches: Sequence[Stretch],
    series: Sequence[Series],
    tick_minutes: int,
    whole: bool = False,
    logarithmic: bool = False,
    form: Form = number,
) -> SafeString:
    """Lines over time, as an ``<svg>`` that fits its container.

    Args:
        key: prefix of its ids, different for each plot of a page.
        title: what it shows, for screen readers.
        unit: of the values, on the vertical axis.
        stretches: in the order of time.
        series: as many values as there are stretches.
        tick_minutes: between two times on the axis; a part or a multiple of an hour.
        whole: the values count things, and the axis has no fractions.
        logarithmic: whether the vertical axis shows powers of ten.
        form: a value in words.
    """
    lines = [[_finite(value) for value in one.values] for one in series]
    known = [value for line in lines for value in line if value is not None]
    if logarithmic:
        ticks = logarithmic_ticks([value for value in known if value > 0])
    else:
        ticks = value_ticks(max(known, default=0.0), whole=whole)
    frame = _Frame.around(ticks, logarithmic=logarithmic)
    times = list(time_ticks(stretches, tick_minutes))
    return format_html(
        '<svg class="realtime-plot" viewBox="0 0 {} {}" direction="ltr" role="img"'
        ' aria-labelledby="{key}-title {key}-desc" focusable="false">'
        '<title id="{key}-title">{}</title><desc id="{key}-desc">{}</desc>{}{}{}{}</svg>',
        *(_coordinate(_WIDTH), _coordinate(_HEIGHT), title),
        describe(stretches, series, unit=unit, form=form),
        _value_axis(frame, ticks, _("%s (logarithmic)") % unit if logarithmic else unit),
        _time_axis(frame, stretches, times),
        format_html_join("", "{}", ((_line(frame, n, line),) for n, line in enumerate(lines, 1))),
        _hints(frame, stretches, series, form),
        key=key,
    )


def data_table(
    *, title: str, stretches: Sequence[Stretch], series: Sequence[Series], form: Form = number
) -> SafeString:
    """The numbers of a plot, the latest first."""
    heads = format_html_join(
        "", '<th scope="col" class="realtime-number">{}</th>', ((one.label,) for one in series)
    )
    rows = format_html_join(
        "",
        '<tr><th scope="row">{}</th>{}</tr>',
        (
            (
                stretch.words,
                format_html_join(
                    "",
                    '<td class="realtime-number">{}</td>',
                    ((_in_words(one.values[index], form),) for one in series),
                ),
            )
            for index, stretch in reversed(list(enumerate(stretches)))
        ),
    )
    return format_html(
        '<table class="realtime-table"><caption class="realtime-hidden">{}</caption>'
        '<thead><tr><th scope="col">{}</th>{}</tr></thead><tbody>{}</tbody></table>',
        title,
        _("Time"),
        heads,
        rows,
    )


def bar(share: float) -> SafeString:
    """A bar that fills this share, 0 to 1, of its cell."""
    finite = _finite(share) or 0.0
    return format_html(
        '<svg class="realtime-bar-plot" viewBox="0 0 100 8" preserveAspectRatio="none"'
        ' aria-hidden="true" focusable="false"><rect width="{}" height="8"/></svg>',
        _coordinate(100.0 * min(max(finite, 0.0), 1.0)),
    )


def swatch(position: int) -> SafeString:
    """A piece of the line of a series, for a legend; positions begin with 1."""
    return format_html(
        '<svg class="realtime-swatch" viewBox="0 0 28 8" aria-hidden="true" focusable="false">'
        '<path class="realtime-series realtime-series-{}" d="M0 4H28"/></svg>',
        f"{position:d}",
    )


def describe(
    stretches: Sequence[Stretch], series: Sequence[Series], *, unit: str, form: Form = number
) -> str:
    """What the plot shows, in a few sentences."""
    sentences = []
    if stretches:
        begin, end = _local(stretches[0].begin), _local(stretches[-1].end)
        sentences.append(
            _("From %(begin)s to %(end)s, in %(unit)s.")
            % {
                "unit": unit,
                "begin": date_format(begin, "DATETIME_FORMAT"),
                "end": date_format(end, "DATETIME_FORMAT"),
            }
        )
    for one in series:
        values = [value for value in map(_finite, one.values) if value is not None]
        if values:
            words = _("%(label)s: minimum %(least)s, maximum %(most)s, latest %(last)s.") % {
                "label": one.label,
                "least": form(min(values)),
                "most": form(max(values)),
                "last": form(values[-1]),
            }
        else:
            words = _("%(label)s: no data.") % {"label": one.label}
        sentences.append(words)
    return " ".join(sentences)


# -- axes ------------------------------------------------------------------------------------------


def value_ticks(most: float, *, whole: bool = False) -> list[tuple[float, str]]:
    """Round values from 0 to ``most`` or a little more, with their texts; at least 0 and 1."""
    if most <= 0:
        step = 1.0
    else:
        least = max(most / _TICKS, 1e-9)
        magnitude = 10.0 ** math.floor(math.log10(least))
        step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= least * (1 - 1e-9))
    if whole:
        step = max(1.0, step)
    decimals = _decimals(step)
    count = max(1, math.ceil(most / step - 1e-9))
    return [(n * step, _written(n * step, decimals)) for n in range(count + 1)]


def logarithmic_ticks(values: Sequence[float]) -> list[tuple[float, str]]:
    """Powers of ten around all values, which are above 0; within one power 1, 2, 5 and 10 of it."""
    first = math.floor(math.log10(min(values, default=1.0)) + 1e-9)
    last = max(first + 1, math.ceil(math.log10(max(values, default=1.0)) - 1e-9))
    if last == first + 1:
        ticks = [factor * 10.0**first for factor in (1, 2, 5, 10)]
    else:
        ticks = [10.0**power for power in range(first, last + 1)]
    return [(value, _written(value, _decimals(value))) for value in ticks]


def time_ticks(
    stretches: Sequence[Stretch], tick_minutes: int
) -> Iterator[tuple[datetime.datetime, str]]:
    """Round times of the current time zone, with their texts."""
    if not stretches:
        return
    # Every zone's offset is a multiple of a quarter of an hour, and a change of the clocks may lie
    # between two ticks: so look at each possible one.
    look_s = 60 * math.gcd(tick_minutes, 15)
    first = math.ceil(stretches[0].begin.timestamp() / look_s)
    last = math.floor(stretches[-1].end.timestamp() / look_s)
    for count in range(first, last + 1):
        moment = datetime.datetime.fromtimestamp(count * look_s, datetime.UTC)
        local = _local(moment)
        if (60 * local.hour + local.minute) % tick_minutes == 0:
            yield moment, time_format(local, "TIME_FORMAT")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """The area of the plot within the picture, in the units of the picture."""

    left: float
    right: float = _WIDTH - _RIGHT
    upper: float = _TOP
    lower: float = _HEIGHT - _BOTTOM
    bottom: float
    """The value at the lower edge."""
    top: float
    """The value at the upper edge."""
    logarithmic: bool

    @classmethod
    def around(cls, ticks: Sequence[tuple[float, str]], *, logarithmic: bool) -> _Frame:
        longest = max(len(text) for _value, text in ticks)
        return cls(
            left=max(_LEFT_LEAST, 12.0 + _LEFT_A_CHARACTER * longest),
            bottom=ticks[0][0],
            top=ticks[-1][0],
            logarithmic=logarithmic,
        )

    def x(self, share: float) -> float:
        return self.left + (self.right - self.left) * share

    def y(self, value: float) -> float:
        within = min(max(value, self.bottom), self.top)
        if self.logarithmic:
            share = math.log(within / self.bottom) / math.log(self.top / self.bottom)
        else:
            share = (within - self.bottom) / (self.top - self.bottom)
        return self.lower - (self.lower - self.upper) * share


def _value_axis(frame: _Frame, ticks: Sequence[tuple[float, str]], unit: str) -> SafeString:
    lines = format_html_join(
        "",
        '<path class="realtime-grid" d="M{left} {y}H{right}"/>'
        '<text x="{edge}" y="{y}" dy="0.32em" text-anchor="end">{text}</text>',
        (
            {
                "left": _coordinate(frame.left),
                "right": _coordinate(frame.right),
                "edge": _coordinate(frame.left - 8),
                "y": _coordinate(frame.y(value)),
                "text": text,
            }
            for value, text in ticks
        ),
    )
    return format_html('<text class="realtime-unit" x="0" y="14">{}</text>{}', unit, lines)


def _time_axis(
    frame: _Frame,
    stretches: Sequence[Stretch],
    times: Sequence[tuple[datetime.datetime, str]],
) -> SafeString:
    if not stretches:
        return SafeString("")
    start = stretches[0].begin.timestamp()
    span = stretches[-1].end.timestamp() - start
    ticks = format_html_join(
        "",
        '<path class="realtime-tick" d="M{x} {lower}v5"/>'
        '<text class="realtime-time{less}" x="{x}" y="{y}" text-anchor="middle">{text}</text>',
        (
            {
                "x": _coordinate(frame.x((moment.timestamp() - start) / span)),
                "lower": _coordinate(frame.lower),
                "y": _coordinate(frame.lower + 26),
                "less": " realtime-less" if count % 2 else "",  # left out where it is narrow
                "text": text,
            }
            for count, (moment, text) in enumerate(times)
        ),
    )
    return format_html(
        '{}<text class="realtime-unit" x="{}" y="{}" text-anchor="middle">{}</text>',
        ticks,
        _coordinate((frame.left + frame.right) / 2),
        _coordinate(frame.lower + 50),
        _("time (%s)") % timezone.get_current_timezone_name(),
    )


# -- lines -----------------------------------------------------------------------------------------


def _line(frame: _Frame, position: int, values: Sequence[float | None]) -> SafeString:
    """A line that breaks where there is no value; a value alone is a dot."""
    path: list[str] = []
    dots: list[tuple[str, str, str]] = []
    run: list[tuple[str, str]] = []
    for index, value in enumerate([*values, None]):
        if value is not None:
            x = frame.x((index + 0.5) / len(values))
            run.append((_coordinate(x), _coordinate(frame.y(value))))
            continue
        if len(run) == 1:
            dots.append((f"{position:d}", *run[0]))
        elif run:
            path.append("M" + "L".join(f"{x} {y}" for x, y in run))
        run = []
    return format_html(
        "{}{}",
        format_html(
            '<path class="realtime-series realtime-series-{}" d="{}"/>',
            f"{position:d}",
            "".join(path),
        )
        if path
        else "",
        format_html_join(
            "", '<circle class="realtime-dot realtime-series-{}" cx="{}" cy="{}" r="3"/>', dots
        ),
    )


def _hints(
    frame: _Frame, stretches: Sequence[Stretch], series: Sequence[Series], form: Form
) -> SafeString:
    """Tooltips of the stretches."""
    count = len(stretches)
    return format_html_join(
        "",
        '<rect class="realtime-hint" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
        (
            (
                _coordinate(frame.x(index / count)),
                _coordinate(frame.upper),
                _coordinate((frame.right - frame.left) / count),
                _coordinate(frame.lower - frame.upper),
                "\n".join(
                    (
                        stretch.words,
                        *(f"{one.label}: {_in_words(one.values[index], form)}" for one in series),
                    )
                ),
            )
            for index, stretch in enumerate(stretches)
        ),
    )


# -- words and numbers -----------------------------------------------------------------------------


def _in_words(value: float | None, form: Form) -> str:
    known = _finite(value)
    return "–" if known is None else form(known)


def _local(moment: datetime.datetime) -> datetime.datetime:
    return timezone.localtime(moment)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _decimals(value: float) -> int:
    """Decimals that show the first digit of a value above 0."""
    return max(0, -math.floor(math.log10(value) + 1e-9))


def _written(value: float, decimals: int) -> str:
    # Rounded first: Django cuts the rest off.
    rounded = round(float(value), decimals)
    return number_format(rounded, decimals, use_l10n=True, force_grouping=True)


def _coordinate(value: float) -> str:
    # Never in the language's own way: 1,5 would be two coordinates.
    return f"{value:.1f}".removesuffix(".0")
