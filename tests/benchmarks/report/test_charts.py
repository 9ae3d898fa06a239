from __future__ import annotations

import itertools
import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.report.charts import Dot, Point, Series, dots, panels, scatter, waterfall
from benchmarks.report.markup import Markup, tag
from benchmarks.report.scales import scale
from benchmarks.report.style import CHART_STYLE

SVG = "{http://www.w3.org/2000/svg}"
Number = st.floats(1e-3, 1e6)


def test_markup_closes_and_escapes() -> None:
    made = tag("p", "1 < 2 & ", tag("b", "x"), None, ["y", 2.50], class_="a", data_x='"')
    assert made == '<p class="a" data-x="&quot;">1 &lt; 2 &amp; <b>x</b>y2.5</p>'
    assert tag("p", Markup("<i>"), id=None) == "<p><i></p>"
    assert tag("br") == "<br>"


def circles(svg: str) -> list[tuple[float, float]]:
    found = ElementTree.fromstring(svg).iter(f"{SVG}circle")
    return [(float(one.attrib["cx"]), float(one.attrib["cy"])) for one in found]


def test_dots_stand_in_order_of_their_numbers_and_say_them() -> None:
    rows = [Dot("one", 0.1), Dot("two", 0.3, 0.2, 0.4, "ours", "p 0.5"), Dot("three", 0.2)]
    svg = dots("what it shows", rows, "axis", ours=True).svg(CHART_STYLE)
    (one, first), (two, second), (three, third) = circles(svg)
    assert one < three < two
    assert first < second < third
    assert "0.3000 [0.2000, 0.4000]  p 0.5" in svg
    assert 'aria-label="what it shows"' in svg
    assert svg.count('class="mark"') == 1


def test_texts_of_dots_stay_inside_the_drawing() -> None:
    rows = [Dot("a name that is longer than any other name", 0.1, -0.2, 0.4, note="p < 0.001")]
    svg = dots("what", rows, "axis", zero=True).svg(CHART_STYLE)
    for one in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        width, x = 7 * len(one.text or ""), float(one.attrib["x"])
        begin = {"start": x, "middle": x - width / 2, "end": x - width}[one.attrib["text-anchor"]]
        assert begin > 0
        assert begin + width < 860


def test_labels_of_a_scatter_do_not_stand_on_each_other() -> None:
    near = [Point(1.0 + n / 100, 2.0, f"label {n}") for n in range(8)]
    svg = scatter("what", [Series("one", (*near, Point(9.0, 3.0, "label far")))], "x", "y").svg(
        CHART_STYLE
    )
    texts = ElementTree.fromstring(svg).iter(f"{SVG}text")
    labels = [one for one in texts if (one.text or "").startswith("label")]
    assert len(labels) == 9
    for one, two in itertools.combinations(labels, 2):
        (x, y), (right, down) = (
            (float(of.attrib["x"]), float(of.attrib["y"])) for of in (one, two)
        )
        assert abs(x - right) > 50 or abs(y - down) >= 13


def test_a_scatter_has_a_legend_where_there_are_several_series() -> None:
    two = [
        Series(name, (Point(1.0, 2.0), Point(3.0, 4.0)), line=True) for name in ("ours", "other")
    ]
    assert ">other</text>" in scatter("what", two, "x", "y").svg()
    svg = scatter("what", two[:1], "x", "y").svg()
    assert ">ours</text>" not in svg
    assert len(re.findall(r'class="curve"', svg)) == 1


def test_a_waterfall_begins_each_part_where_the_last_ended() -> None:
    svg = waterfall("what", [("a", 2.0), ("b", 6.0)], "ms").svg(CHART_STYLE)
    rects = [one.attrib for one in ElementTree.fromstring(svg).iter(f"{SVG}rect")]
    (a, b, whole) = [(float(one["x"]), float(one["width"])) for one in rects]
    assert a[0] + a[1] == pytest.approx(b[0], abs=0.02)
    assert b[1] == pytest.approx(3 * a[1], abs=0.05)
    assert whole[1] == pytest.approx(a[1] + b[1], abs=0.02)
    assert "6.00 ms (75%)" in svg


def test_panels_stand_one_below_another() -> None:
    one = dots("one", [Dot("a", 1.0)], "axis")
    both = panels("both", [("first", one), ("second", one)])
    assert both.height > 2 * one.height
    assert both.svg().index("first") < both.svg().index("second")
    assert both.svg() == panels("both", [("first", one), ("second", one)]).svg()


@given(st.lists(Number, min_size=1, max_size=8), st.booleans(), st.booleans())
def test_scales_keep_order_and_hold_everything(values: list[float], log: bool, zero: bool) -> None:
    across = scale([*values, math.nan], 10.0, 500.0, log=log, zero=zero and not log)
    places = [across(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(10 <= place <= 500 for place in places)
    ticks = across.ticks()
    assert ticks == sorted(set(ticks))
    assert all(
        across.low <= tick * (1 + 1e-9) and tick <= across.high * (1 + 1e-9) for tick in ticks
    )
    assert len(ticks) <= 16
    if max(values) > 1.5 * min(values):
        assert len(ticks) >= 2
