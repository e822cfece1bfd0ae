"""Lines and bars as inline SVG."""

from __future__ import annotations

import datetime
import re
import xml.etree.ElementTree as ET
import zoneinfo

import pytest
from django.utils import timezone, translation
from django.utils.safestring import SafeString

from channels_realtime.admin import plots
from channels_realtime.admin.plots import Series, Stretch

SVG = "{http://www.w3.org/2000/svg}"
NOON = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)


@pytest.fixture(autouse=True)
def _place():
    with timezone.override(datetime.UTC), translation.override("en"):
        yield


def stretches(count, *, minutes=1.0, begin=NOON):
    step = datetime.timedelta(minutes=minutes)
    return [Stretch.of(begin + n * step, begin + (n + 1) * step) for n in range(count)]


def draw(*values, key="plot", title="Connections", unit="connections", labels=None, **options):
    """The picture of one or more lists of values."""
    length = len(values[0]) if values else 0
    options.setdefault("stretches", stretches(length))
    options.setdefault("tick_minutes", 10)
    names = labels or [f"line {n}" for n in range(1, len(values) + 1)]
    series = [Series(label=name, values=line) for name, line in zip(names, values, strict=True)]
    return plots.line_plot(key=key, title=title, unit=unit, series=series, **options)


def parse(markup):
    # Inline in HTML, browsers know the namespace.
    return ET.fromstring(str(markup).replace("<svg ", f'<svg xmlns="{SVG[1:-1]}" ', 1))


def lines(markup) -> list[list[list[tuple[float, float]]]]:
    """The pieces of each series, as lists of points."""
    found = []
    for path in parse(markup).iter(f"{SVG}path"):
        if path.get("class", "").startswith("realtime-series "):
            pieces = path.get("d").split("M")[1:]
            found.append(
                [[tuple(map(float, p.split())) for p in piece.split("L")] for piece in pieces]
            )
    return found


def dots(markup) -> list[tuple[str, float, float]]:
    return [
        (dot.get("class"), float(dot.get("cx")), float(dot.get("cy")))
        for dot in parse(markup).iter(f"{SVG}circle")
    ]


def texts(markup, part="text", within="") -> list[str]:
    return [
        element.text
        for element in parse(markup).iter(f"{SVG}{part}")
        if within in element.get("class", "")
    ]


# -- lines -----------------------------------------------------------------------------------------


def test_line_runs_from_left_to_right_and_higher_values_are_higher():
    [[points]] = lines(draw([0.0, 5.0, 10.0]))
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x0 < x1 < x2
    assert y0 > y1 > y2
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)


def test_line_breaks_where_there_is_no_value():
    [pieces] = lines(draw([1.0, 2.0, None, None, 3.0, 4.0, 5.0, None]))
    assert [len(piece) for piece in pieces] == [2, 3]


def test_value_alone_is_a_dot():
    markup = draw([None, 2.0, None, 1.0, 1.0, None, 2.0])
    [pieces] = lines(markup)
    assert [len(piece) for piece in pieces] == [2]
    [(first, x1, y1), (_second, x2, y2)] = dots(markup)
    assert first == "realtime-dot realtime-series-1"
    assert x1 < x2
    assert y1 == y2


def test_single_point_is_a_dot_in_the_middle():
    markup = draw([7.0])
    assert lines(markup) == []
    [(_class, x, _y)] = dots(markup)
    grid = parse(markup).find(f"{SVG}path[@class='realtime-grid']").get("d")
    left, right = map(float, re.fullmatch(r"M([\d.]+) [\d.]+H([\d.]+)", grid).groups())
    assert x == pytest.approx((left + right) / 2, abs=0.2)


def test_zeros_are_a_line_at_the_foot():
    markup = draw([0.0] * 5)
    [[points]] = lines(markup)
    [foot, *_] = [p.get("d") for p in parse(markup).iter(f"{SVG}path") if "grid" in p.get("class")]
    assert {f"{y:g}" for _x, y in points} == {foot.split()[1].split("H")[0]}
    assert texts(markup)[1:3] == ["0", "1"]


def test_plot_without_values_has_axes_alone():
    for markup in (draw([None, None]), draw(), draw([])):
        assert (lines(markup), dots(markup)) == ([], [])
        assert texts(markup)[:3] == ["connections", "0", "1"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_breaks_the_line(value):
    markup = draw([1.0, 2.0, value, 3.0, 4.0])
    [pieces] = lines(markup)
    assert [len(piece) for piece in pieces] == [2, 2]
    assert "nan" not in markup
    assert "inf" not in markup


def test_each_series_has_a_class_of_its_own():
    classes = [
        path.get("class")
        for path in parse(draw([1.0, 2.0], [2.0, 1.0])).iter(f"{SVG}path")
        if "series" in path.get("class")
    ]
    assert classes == [f"realtime-series realtime-series-{n}" for n in (1, 2)]


# -- for readers -----------------------------------------------------------------------------------


def test_plot_has_a_title_and_a_description():
    markup = draw([3.0, None, 1_500.0, 12.0], key="live")
    svg = parse(markup)
    assert isinstance(markup, SafeString)
    assert (svg.get("role"), svg.get("aria-labelledby")) == ("img", "live-title live-desc")
    assert svg.find(f"{SVG}title").attrib == {"id": "live-title"}
    assert svg.find(f"{SVG}title").text == "Connections"
    assert svg.find(f"{SVG}desc").text == (
        "From March 1, 2026, noon to March 1, 2026, 12:04 p.m., in connections."
        " line 1: minimum 3, maximum 1,500, latest 12."
    )


def test_description_says_where_there_is_nothing():
    assert plots.describe([], [Series(label="to clients", values=[None])], unit="messages") == (
        "to clients: no data."
    )


def test_stretch_has_its_values_as_tooltip():
    markup = draw([0.5, None], [20.25, 3.0], labels=["in", "out"])
    hints = [rect.find(f"{SVG}title").text for rect in parse(markup).iter(f"{SVG}rect")]
    assert hints == [
        "03/01/2026 noon to 12:01 p.m.\nin: 0.50\nout: 20.2",
        "03/01/2026 12:01 p.m. to 12:02 p.m.\nin: –\nout: 3",
    ]


def test_table_has_the_numbers_latest_first():
    markup = plots.data_table(
        title="Messages (a second)",
        stretches=stretches(2),
        series=[Series(label="in", values=[1.0, None]), Series(label="out", values=[2_000.5, 0.0])],
    )
    table = ET.fromstring(markup)
    assert table.find("caption").text == "Messages (a second)"
    assert [cell.text for cell in table.findall("thead/tr/th")] == ["Time", "in", "out"]
    assert [[cell.text for cell in row] for row in table.findall("tbody/tr")] == [
        ["03/01/2026 12:01 p.m. to 12:02 p.m.", "–", "0"],
        ["03/01/2026 noon to 12:01 p.m.", "1", "2,000"],
    ]
    assert {cell.get("scope") for cell in table.iter("th")} == {"col", "row"}


def test_values_are_shown_in_the_given_form():
    markup = draw([5_000.0], form=lambda value: f"{value:.0f} or more")
    assert "maximum 5000 or more" in parse(markup).find(f"{SVG}desc").text


# -- escaping --------------------------------------------------------------------------------------

HOSTILE = "</title><script>alert(1)</script>\"'&"


def test_texts_are_escaped():
    markup = draw([1.0, 2.0], title=HOSTILE, unit=HOSTILE, labels=[HOSTILE])
    assert "<script" not in markup
    svg = parse(markup)
    assert svg.find(f"{SVG}title").text == HOSTILE
    assert texts(markup, within="realtime-unit")[0] == HOSTILE
    table = plots.data_table(
        title=HOSTILE, stretches=stretches(1), series=[Series(label=HOSTILE, values=[1.0])]
    )
    assert "<script" not in table
    assert ET.fromstring(table).find("thead/tr")[1].text == HOSTILE


def test_markup_has_no_script_no_style_and_nothing_foreign():
    whole = draw([1.0, None, 2.0]) + plots.bar(0.5) + plots.swatch(1)
    assert not re.search(r"script|style|href|url\(|http|\son\w+=", whole)


# -- axes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("most", "whole", "expected"),
    [
        (0.0, False, ["0", "1"]),
        (-3.0, False, ["0", "1"]),
        (1.0, True, ["0", "1"]),
        (3.0, True, ["0", "1", "2", "3"]),
        (0.9, False, ["0.0", "0.5", "1.0"]),
        (0.8, False, ["0.0", "0.2", "0.4", "0.6", "0.8"]),
        (7.0, False, ["0", "2", "4", "6", "8"]),
        (10_000.0, False, ["0", "5,000", "10,000"]),
        (0.0004, False, ["0.0000", "0.0001", "0.0002", "0.0003", "0.0004"]),
        (123_456_789.0, True, ["0", "50,000,000", "100,000,000", "150,000,000"]),
    ],
)
def test_values_of_the_axis_are_round(most, whole, expected):
    assert [text for _value, text in plots.value_ticks(most, whole=whole)] == expected


@pytest.mark.parametrize("exponent", range(-8, 16))
@pytest.mark.parametrize("digit", [1.0, 1.01, 1.99, 2.0, 4.0, 4.01, 8.0, 9.99])
def test_axis_reaches_the_greatest_value_with_few_lines(exponent, digit):
    most = digit * 10.0**exponent
    ticks = plots.value_ticks(most)
    assert 2 <= len(ticks) <= 6
    assert ticks[0][0] == 0.0
    assert most * (1 - 1e-6) <= ticks[-1][0] <= most * 2.6
    assert len({text for _value, text in ticks}) == len(ticks)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ["1", "2", "5", "10"]),
        ([3.0], ["1", "2", "5", "10"]),
        ([1.0, 10.0], ["1", "2", "5", "10"]),
        ([0.5, 0.7], ["0.1", "0.2", "0.5", "1"]),
        ([0.5, 40.0], ["0.1", "1", "10", "100"]),
        ([7.0, 5_000.0], ["1", "10", "100", "1,000", "10,000"]),
    ],
)
def test_values_of_a_logarithmic_axis_are_powers_of_ten(values, expected):
    assert [text for _value, text in plots.logarithmic_ticks(values)] == expected


def test_logarithmic_axis_has_as_much_room_for_each_power_of_ten():
    markup = draw([1.0, 10.0, 100.0, 0.0], unit="ms", logarithmic=True)
    [[[(_x, one), (_x, ten), (_x, hundred), (_x, nothing)]]] = lines(markup)
    assert one - ten == pytest.approx(ten - hundred, abs=0.2)
    assert nothing == one  # the foot
    assert texts(markup)[:4] == ["ms (logarithmic)", "1", "10", "100"]


def test_long_numbers_have_room_beside_the_plot():
    def left(markup):
        return float(
            parse(markup).find(f"{SVG}path[@class='realtime-grid']").get("d")[1:].split()[0]
        )

    assert left(draw([5.0])) < left(draw([100_000.0])) < left(draw([100_000_000.0]))


def at_times(begin, hours, tick_minutes, zone):
    with timezone.override(zoneinfo.ZoneInfo(zone)):
        spans = stretches(round(hours * 6), minutes=10, begin=begin)
        return [text for _moment, text in plots.time_ticks(spans, tick_minutes)]


def test_times_of_the_axis_are_round():
    begin = NOON + datetime.timedelta(minutes=3.5)
    assert at_times(begin, 1, 10, "UTC") == [
        *("12:10 p.m.", "12:20 p.m.", "12:30 p.m.", "12:40 p.m.", "12:50 p.m.", "1 p.m.")
    ]


@pytest.mark.parametrize(
    ("zone", "first"),
    [("UTC", "3 p.m."), ("Asia/Kathmandu", "6 p.m."), ("America/St_Johns", "9 a.m.")],
)
def test_times_of_the_axis_are_round_in_the_time_zone(zone, first):
    found = at_times(NOON + datetime.timedelta(minutes=1), 24, 180, zone)
    assert found[0] == first
    assert len(found) == 8


def test_times_of_the_axis_are_round_on_the_day_that_the_clocks_change():
    begin = datetime.datetime(2026, 3, 28, 23, 0, tzinfo=datetime.UTC)  # midnight in Berlin
    assert at_times(begin, 23, 180, "Europe/Berlin") == [
        *("midnight", "3 a.m.", "6 a.m.", "9 a.m.", "noon", "3 p.m.", "6 p.m.", "9 p.m."),
        "midnight",
    ]


def test_every_other_time_may_be_left_out():
    found = parse(draw([1.0] * 60)).iter(f"{SVG}text")
    classes = [text.get("class") for text in found if "realtime-time" in text.get("class", "")]
    assert classes == ["realtime-time", "realtime-time realtime-less"] * 3 + ["realtime-time"]


def test_axis_names_the_unit_and_the_time_zone():
    with timezone.override(zoneinfo.ZoneInfo("Europe/Berlin")):
        assert texts(draw([1.0] * 3, unit="a minute"), within="realtime-unit") == [
            "a minute",
            "time (Europe/Berlin)",
        ]


# -- languages -------------------------------------------------------------------------------------


def test_numbers_are_localised_and_coordinates_are_not():
    with translation.override("de"):
        markup = draw([0.25, 1_500.5], labels=["Verbindungen"])
    assert "1.500" in parse(markup).find(f"{SVG}desc").text
    assert "0,25" in parse(markup).find(f"{SVG}desc").text
    geometry = re.findall(r' (?:d|x|y|cx|cy|width|height|viewBox)="([^"]*)"', markup)
    assert geometry
    assert all(re.fullmatch(r"[MHLv\d. -]+", value) for value in geometry)


def test_time_runs_from_left_to_right_in_right_to_left_languages():
    with translation.override("ar"):
        markup = draw([1.0, 2.0, 3.0])
    assert parse(markup).get("direction") == "ltr"
    [[points]] = lines(markup)
    assert [x for x, _y in points] == sorted(x for x, _y in points)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[(0.0, "0"), (0.123, "0.12"), (3.0, "3"), (9.999, "10"), (12.34, "12.3")],
        *[(2.9999999, "3"), (99.96, "100"), (123.4, "123"), (1_234_567.8, "1,234,568"), (12, "12")],
    ],
)
def test_number_has_its_significant_digits(value, text):
    assert plots.number(value) == text


# -- bars ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "width"),
    [(0.0, "0"), (0.5, "50"), (1.0, "100"), (1.5, "100"), (-1.0, "0"), (float("nan"), "0")],
)
def test_bar_is_as_wide_as_its_share(share, width):
    svg = parse(plots.bar(share))
    assert svg.get("aria-hidden") == "true"
    assert svg.find(f"{SVG}rect").get("width") == width
