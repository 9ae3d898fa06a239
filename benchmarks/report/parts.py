"""What the sections of a report are put together from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.harness.stale import Standing
from benchmarks.report.charts import Chart
from benchmarks.report.markup import Markup, Part, joined, tag


@dataclass(frozen=True)
class Section:
    """A part of the page with a title of its own.

    Parameters
    ----------
    name
        Where links point.
    title
        For people.
    body
        What it holds.
    """

    name: str
    title: str
    body: Markup

    def html(self) -> Markup:
        """Return it as an element."""
        return tag("section", tag("h2", self.title, id=self.name), self.body)


def figure(chart: Chart, see: str, command: str) -> Markup:
    """Return a chart over a caption that says what to see in it, and what made its numbers."""
    made = ("Measured by ", tag("code", command), ".")
    return tag(
        "figure",
        tag("div", chart.svg(), class_="draw", tabindex="0"),
        tag("figcaption", tag("b", see), " ", made),
    )


def folded(title: str, *inside: Part) -> Markup:
    """Return what is shown once its title is clicked, and on paper."""
    return tag("details", tag("summary", title), *inside)


def made(lines: Iterable[str]) -> Markup:
    """Return the circumstances of numbers as a small line."""
    return tag("p", f"Measured at {'; '.join(lines)}.", class_="made")


def nothing_yet(what: str, command: str) -> Markup:
    """Return a paragraph that says how missing rows would be measured."""
    return tag("p", f"No rows of {what} are recorded yet; ", tag("code", command), " makes them.")


def outdated(stale: Sequence[Standing]) -> Markup:
    """Return a warning of the cells that no longer hold; nothing where all do."""
    if not stale:
        return Markup("")
    told = [
        tag("li", f"{one.dataset}, {one.cell or 'all'}: {'; '.join(one.reasons)}") for one in stale
    ]
    head = tag("summary", f"{len(stale)} recorded cells of this section are out of date.")
    return tag("details", head, tag("ul", joined(told)), class_="stale")
