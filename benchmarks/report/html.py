"""One page that shows what was recorded: no network, no script, light and dark, and on paper."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.report.making_sections import making_sections
from benchmarks.report.markup import Markup, Part, joined, tag
from benchmarks.report.parts import Section
from benchmarks.report.quality_sections import quality_sections
from benchmarks.report.recorded import Recorded
from benchmarks.report.speed_sections import speed_sections
from benchmarks.report.style import PAGE_STYLE
from benchmarks.report.verdicts import all_verdicts
from twofold.indexing.errors import InputError

TITLE = "twofold, measured"


def page(recorded: Recorded) -> str:
    """Return the whole page.

    Raises
    ------
    InputError
        If a recorded row lacks something.
    """
    try:
        first = _first(recorded)
        sections = [*quality_sections(recorded), *speed_sections(recorded)]
        sections += making_sections(recorded)
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"a row in {recorded.folder} lacks what its suite records, or is of another kind "
            f"({error!r}); take it out, or measure again"
        ) from error
    told = (
        "Made by ",
        tag("code", "python -m benchmarks report"),
        " from the rows in ",
        tag("code", "benchmarks/results/"),
        ". Brackets and bars are 95 % intervals, over users where nothing else is said. Quick runs "
        "are left out. ",
        _checked(recorded),
    )
    body = [tag("h1", TITLE), first, tag("p", told, class_="made"), _contents(sections)]
    body += [one.html() for one in sections]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", TITLE),
        tag("style", Markup(PAGE_STYLE)),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', tag('main', body)), lang='en')}\n"


def _first(recorded: Recorded) -> Markup:
    """Return the first lines: where twofold is not first, before where it is."""
    told = all_verdicts(recorded)
    if not told:
        return tag("p", "No quality is recorded yet, so nothing is said of who is first.")
    worst = told[0][0]
    head = {
        "behind": "Where twofold is not first",
        "tied": "Where twofold is only tied for first",
        "ahead": "twofold is first in all that was compared",
    }[worst]
    lines = [tag("li", tag("span", word, class_="word"), text, class_=word) for word, text in told]
    return tag("div", tag("h3", head), tag("ul", lines), class_=f"first {worst}")


def _checked(recorded: Recorded) -> Part:
    if recorded.standings is None:
        return (
            "Whether rows still hold was not looked at; ",
            tag("code", "--stale"),
            " does, and marks those that do not.",
        )
    n = sum(bool(one.reasons) for one in recorded.standings)
    return f"{n} of {len(recorded.standings)} recorded cells that can be told are out of date."


def _contents(sections: Iterable[Section]) -> Markup:
    links = [tag("li", tag("a", one.title, href=f"#{one.name}")) for one in sections]
    return tag("nav", tag("strong", "Contents"), tag("ol", joined(links)), aria_label="Contents")
