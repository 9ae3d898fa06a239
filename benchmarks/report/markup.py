"""HTML and SVG as nested calls: every element is closed, and every text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

VOID = ("br", "hr", "img", "meta")


class Markup(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


Part = str | float | None | Iterable["Part"]


def tag(name: str, /, *inside: Part, **attributes: str | float | None) -> Markup:
    """Return an element.

    Parameters
    ----------
    name
        Of the element.
    inside
        Text, which is escaped; markup, which is not; sequences of these; ``None`` is nothing.
    attributes
        A trailing underscore is dropped and others become hyphens: ``class_``, ``text_anchor``.
        ``None`` leaves one out; numbers are written with two decimals at most.
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{told}>")
    return Markup(f"<{name}{told}>{joined(inside)}</{name}>")


def joined(parts: Part) -> Markup:
    """Return parts as one piece of markup."""
    if parts is None:
        return Markup("")
    if isinstance(parts, Markup):
        return parts
    if isinstance(parts, str):
        return Markup(escape(parts, quote=False))
    if isinstance(parts, (int, float)):
        return Markup(_text(parts))
    return Markup("".join(joined(part) for part in parts))


def table(head: Sequence[str], lines: Iterable[Sequence[Part]]) -> Markup:
    """Return a table that scrolls sideways by itself where it is wider than the page."""
    rows = [tag("tr", [tag("td", cell) for cell in line]) for line in lines]
    made = tag(
        "table",
        tag("thead", tag("tr", [tag("th", name, scope="col") for name in head])),
        tag("tbody", rows),
    )
    return tag("div", made, class_="wide", tabindex="0")


def _text(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def cut(text: str, most: int) -> str:
    """Return a text that is no longer than `most` letters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
