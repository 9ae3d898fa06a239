"""Charts as SVG, of a few kinds: made of numbers alone, the same ones always to the same bytes.

Colours are classes of the page's style, so that they follow a light or a dark screen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.report.markup import Markup, cut, joined, tag
from benchmarks.report.scales import Scale, scale, short

WIDTH = 860.0
LINE = 25.0
TOP, BOTTOM, RIGHT = 12.0, 48.0, 150.0
LEAST, MOST = 18, 42  # letters of labels at the left
LETTER = 7.1  # about how wide a letter of 13 pixels is
SERIES = 6  # how many series have a colour and a shape of their own

Format = Callable[[float], str]


def four(value: float) -> str:
    """Return a number as metrics are written."""
    return f"{value:.4f}"


@dataclass(frozen=True)
class Chart:
    """A drawing, to stand alone or in another.

    Parameters
    ----------
    alt
        What it shows, for those who do not see it.
    height
        Of its place; all are as wide.
    marks
        What is drawn.
    """

    alt: str
    height: float
    marks: Markup

    def svg(self, style: str = "") -> Markup:
        """Return it as an element; with its own style where it is to be a file of its own."""
        return tag(
            "svg",
            tag("style", Markup(style)) if style else None,
            tag("title", self.alt),
            self.marks,
            xmlns="http://www.w3.org/2000/svg" if style else None,
            viewBox=f"0 0 {WIDTH:g} {self.height:g}",
            role="img",
            aria_label=self.alt,
            class_="chart",
        )


def panels(alt: str, charts: Sequence[tuple[str, Chart]]) -> Chart:
    """Return charts one below another, each under its title."""
    marks, y = [], 0.0
    for title, chart in charts:
        marks.append(_text(20, y + 22, title, "start", "panel"))
        marks.append(tag("g", chart.marks, transform=f"translate(0 {y + 26:g})"))
        y += chart.height + 34
    return Chart(alt, y, joined(marks))


@dataclass(frozen=True)
class Dot:
    """A number with its interval, on a line of its own.

    Parameters
    ----------
    label
        What stands to its left.
    mean, low, high
        The number; ends NaN where there is no interval.
    look
        ``ours``, ``good``, ``bad`` or empty.
    note
        What stands after the number, such as a p value.
    """

    label: str
    mean: float
    low: float = math.nan
    high: float = math.nan
    look: str = ""
    note: str = ""


def dots(
    alt: str,
    rows: Sequence[Dot],
    axis: str,
    *,
    form: Format = four,
    ticks: Format = short,
    zero: bool = False,
    ours: bool = False,
    log: bool = False,
) -> Chart:
    """Return a dot plot with intervals, one line a row, the numbers written to the right.

    Parameters
    ----------
    alt
        What it shows, for those who do not see it.
    rows
        From the top.
    axis
        Name of the numbers.
    form
        How they are written to the right.
    ticks
        How they are written along the axis.
    zero
        Whether a line marks 0, as differences want it.
    ours
        Whether a line marks the row that looks ``ours``.
    log
        Whether the axis is logarithmic.
    """
    bottom = TOP + LINE * len(rows)
    told = [_told(one, form) for one in rows]
    left = _left(one.label for one in rows)
    right = WIDTH - 24 - LETTER * max((len(text) for text in told), default=0)
    across = scale(_ends(rows), left, right, zero=zero, log=log)
    marks = [_axis_below(across, bottom, TOP, axis, ticks)]
    if zero:
        marks.append(_line(across(0), TOP, across(0), bottom, "zero"))
    for one in rows if ours else ():
        if one.look == "ours":
            marks.append(_line(across(one.mean), TOP, across(one.mean), bottom, "mark"))
    for number, one in enumerate(rows):
        marks.append(_dot(one, told[number], TOP + LINE * (number + 0.5), across))
    return Chart(alt, bottom + BOTTOM, joined(marks))


def _ends(rows: Sequence[Dot]) -> list[float]:
    return [end for one in rows for end in (one.mean, one.low, one.high)]


def _left(labels: Iterable[str]) -> float:
    """Return how wide the labels at the left are, at most so many letters."""
    longest = max((len(label) for label in labels), default=0)
    return 20 + LETTER * min(max(longest, LEAST), MOST)


def _told(one: Dot, form: Format) -> str:
    """Return a number as text, with its interval and its note."""
    told = form(one.mean)
    if math.isfinite(one.low):
        told += f" [{form(one.low)}, {form(one.high)}]"
    return f"{told}  {one.note}".strip()


def _dot(one: Dot, told: str, y: float, across: Scale) -> Markup:
    x = across(one.mean)
    known = math.isfinite(one.low)
    return tag(
        "g",
        tag("title", f"{one.label}: {told}"),
        _text(across.begin - 12, y + 4, cut(one.label, MOST), "end", "label"),
        _line(across(one.low), y, across(one.high), y, "whisker") if known else None,
        tag("circle", cx=x, cy=y, r=5, class_="dot"),
        _text(across.end + 14, y + 4, told, "start", "told"),
        class_=f"row {one.look}".strip(),
    )


@dataclass(frozen=True)
class Point:
    """A place in a plot of two numbers.

    Parameters
    ----------
    x, y
        Where.
    label
        Written beside it; empty for none. It is told on hovering in any case.
    low, high
        Ends of the interval of `y`; NaN where there is none.
    told
        What is told on hovering.
    """

    x: float
    y: float
    label: str = ""
    low: float = math.nan
    high: float = math.nan
    told: str = ""


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    Parameters
    ----------
    name
        As the legend tells it.
    points
        From left to right.
    line
        Whether they are joined.
    ours
        Whether it is twofold's.
    """

    name: str
    points: tuple[Point, ...]
    line: bool = False
    ours: bool = False


def scatter(
    alt: str,
    series: Sequence[Series],
    x_axis: str,
    y_axis: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    zero_y: bool = False,
    height: float = 380.0,
) -> Chart:
    """Return a plot of two numbers, with a legend where there are several series.

    Labels that would stand on another are moved down or up until they do not.
    """
    points = [point for one in series for point in one.points]
    legend = LINE * 0.9 * (math.ceil(len(series) / 2)) if len(series) > 1 else 0.0
    top, bottom = TOP + legend + 8, TOP + legend + height
    right = WIDTH - 30
    across = scale((p.x for p in points), 78, right - 130, log=log_x)
    ys = [y for p in points for y in (p.y, p.low, p.high)]
    up = scale(ys, bottom, top, log=log_y, zero=zero_y)
    marks = [_axis_below(across, bottom, top, x_axis, short), _axis_left(up, across, y_axis)]
    for number, one in enumerate(series):
        marks.append(_series(one, number, across, up))
        if legend:
            marks.append(_legend(one, number))
    marks.append(_labels(points, across, up))
    return Chart(alt, bottom + BOTTOM, joined(marks))


def _series(one: Series, number: int, across: Scale, up: Scale) -> Markup:
    look = _look(one, number)
    path = " ".join(
        f"{'L' if i else 'M'}{across(p.x):.1f} {up(p.y):.1f}" for i, p in enumerate(one.points)
    )
    inside = [tag("path", d=path, class_="curve")] if one.line and len(one.points) > 1 else []
    for p in one.points:
        x, y = across(p.x), up(p.y)
        inside.append(
            tag(
                "g",
                tag("title", p.told or p.label or one.name),
                _line(x, up(p.low), x, up(p.high), "whisker") if math.isfinite(p.low) else None,
                _shape(number, x, y),
            )
        )
    return tag("g", inside, class_=look)


def _look(one: Series, number: int) -> str:
    return "series ours" if one.ours else f"series s{number % SERIES}"


def _shape(number: int, x: float, y: float) -> Markup:
    """Return a mark; shapes tell series apart where colours do not."""
    if number % 3 == 1:
        return tag("rect", x=x - 4.5, y=y - 4.5, width=9, height=9, class_="dot")
    if number % 3 == 2:
        place = f"M{x:.1f} {y - 6:.1f}l6 10.5h-12z"
        return tag("path", d=place, class_="dot")
    return tag("circle", cx=x, cy=y, r=5, class_="dot")


def _legend(one: Series, number: int) -> Markup:
    x, y = 92 + (number % 2) * (WIDTH / 2 - 40), TOP + 8 + LINE * 0.9 * (number // 2)
    return tag(
        "g",
        _shape(number, x, y),
        _text(x + 14, y + 4.5, cut(one.name, 48), "start"),
        class_=_look(one, number),
    )


def _labels(points: Sequence[Point], across: Scale, up: Scale) -> Markup:
    """Return the labels of points, each to the right of its point where nothing is."""
    taken = [(across(p.x) - 6, across(p.x) + 6, up(p.y)) for p in points]
    made = []
    for p in sorted((p for p in points if p.label), key=lambda p: up(p.y)):
        begin, text = across(p.x) + 10, cut(p.label, 34)
        width = len(text) * LETTER
        if begin + width > WIDTH:
            begin = across(p.x) - 10 - width
        y = _free(begin, begin + width, up(p.y), taken)
        taken.append((begin, begin + width, y))
        if abs(y - up(p.y)) > 8:
            made.append(_line(across(p.x), up(p.y), begin - 2, y, "leader"))
        made.append(_text(begin, y + 4, text, "start"))
    return tag("g", made)


def _free(begin: float, end: float, y: float, taken: Sequence[tuple[float, float, float]]) -> float:
    """Return the height nearest to `y` where nothing else stands between two places."""
    for move in sorted((s * step * 7.0 for step in range(30) for s in (1, -1)), key=abs):
        if all(
            right < begin or left > end or abs(other - y - move) > 14
            for left, right, other in taken
        ):
            return y + move
    return y


def waterfall(alt: str, parts: Sequence[tuple[str, float]], unit: str) -> Chart:
    """Return parts one below another, each beginning where the last ended, and their sum."""
    whole = sum(value for _, value in parts)
    bottom = TOP + LINE * (len(parts) + 1)
    left = _left(name for name, _ in parts)
    across = scale([whole], left, WIDTH - RIGHT, zero=True)
    marks, done = [_axis_below(across, bottom, TOP, unit, short)], 0.0
    for number, (name, value) in enumerate([*parts, ("all together", whole)]):
        begin = 0.0 if number == len(parts) else done
        done = begin + value
        y = TOP + LINE * number
        told = f"{value:,.2f} {unit} ({value / whole:.0%})" if whole else f"0 {unit}"
        marks.append(
            tag(
                "g",
                tag("title", f"{name}: {told}"),
                _text(left - 12, y + 16.5, cut(name, MOST), "end", "label"),
                tag(
                    "rect",
                    x=across(begin),
                    y=y + 4,
                    width=max(across(done) - across(begin), 1.0),
                    height=LINE - 8,
                    class_="dot",
                ),
                _text(WIDTH - RIGHT + 14, y + 16.5, told, "start"),
                class_="row ours" if number == len(parts) else "series s0",
            )
        )
    return Chart(alt, bottom + BOTTOM, joined(marks))


def _axis_below(across: Scale, bottom: float, top: float, name: str, form: Format) -> Markup:
    inside = [_line(across.begin, bottom, across.end, bottom, "axis")]
    room = -math.inf
    for value in across.ticks():
        x, text = across(value), form(value)
        inside.append(_line(x, top, x, bottom, "grid"))
        if x - len(text) * LETTER / 2 > room:
            inside.append(_text(x, bottom + 18, text, "middle", "tick"))
            room = x + len(text) * LETTER / 2 + 4
    middle = (across.begin + across.end) / 2
    inside.append(_text(middle, bottom + 38, name, "middle", "name"))
    return tag("g", inside)


def _axis_left(up: Scale, across: Scale, name: str) -> Markup:
    inside = [_line(across.begin, up.begin, across.begin, up.end, "axis")]
    for value in up.ticks():
        y = up(value)
        inside.append(_line(across.begin, y, across.end, y, "grid"))
        inside.append(_text(across.begin - 8, y + 4, short(value), "end", "tick"))
    x, y = 16.0, (up.begin + up.end) / 2
    turned = tag(
        "text",
        name,
        x=x,
        y=y,
        text_anchor="middle",
        class_="name",
        transform=f"rotate(-90 {x:g} {y:g})",
    )
    return tag("g", inside, turned)


def _line(x1: float, y1: float, x2: float, y2: float, look: str) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=look)


def _text(x: float, y: float, text: str, anchor: str, look: str = "") -> Markup:
    return tag("text", text, x=x, y=y, text_anchor=anchor, class_=look or None)
