"""Commands beside the suites: what there is, what is out of date, and what was measured, shown."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.data.datasets import DATA_SETS, data_set
from benchmarks.harness.cells import Plan
from benchmarks.harness.records import RESULTS, Records, records_of
from benchmarks.harness.running import Run
from benchmarks.harness.stale import Standing, standings
from benchmarks.harness.users import user_results
from benchmarks.report.compare import (
    Compared,
    Side,
    compare_files,
    compare_systems,
    is_system,
)
from benchmarks.report.compare_cells import compare_cells, is_cell
from benchmarks.report.html import page
from benchmarks.report.quality_rows import MAIN
from benchmarks.report.recorded import Recorded
from benchmarks.report.verdicts import spelt
from benchmarks.suites import SUITES
from twofold.indexing.errors import InputError
from twofold.terminal import say

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

STALE = 1  # exit code where rows no longer hold


def add_commands(commands: Commands) -> None:
    """Add the commands to a parser's."""
    listing = commands.add_parser("list", help="the suites, and the cells of one")
    listing.add_argument("suite", nargs="?", choices=list(SUITES))
    listing.add_argument("dataset", nargs="?", choices=list(DATA_SETS))
    listing.set_defaults(do=_list)
    stale = commands.add_parser("stale", help="recorded rows that no longer hold, and why")
    stale.add_argument("suite", nargs="*", choices=[*SUITES, []])
    stale.set_defaults(do=_stale)
    report = commands.add_parser("report", help="one page of HTML that shows what was recorded")
    add = report.add_argument
    add("--out", type=Path, default=Path("report.html"), metavar="FILE", help="report.html")
    add("--results", type=Path, default=RESULTS, metavar="DIR", help="folder of other rows")
    add("--stale", action="store_true", help="mark rows that no longer hold; reads the data sets")
    report.set_defaults(do=_report)
    comparing = commands.add_parser(
        "compare",
        help="two files of rows, or two systems over the same users",
        description="A and B are files of rows, DATASET/SYSTEM of the suite quality, or "
        "SUITE/DATASET/CELL of training or layers, the mean of several with + between.",
    )
    add = comparing.add_argument
    add("a", metavar="A")
    add("b", metavar="B")
    add("--metric", metavar="NAME", help=f"of systems, {MAIN}; of files, only this number")
    add("--json", action="store_true", help="one line of JSON each")
    comparing.set_defaults(do=_compare)


def _list(given: argparse.Namespace) -> int:
    """Print the suites; or the cells of one on a data set, and which stand recorded."""
    if given.suite is None:
        for suite in SUITES.values():
            say(f"{suite.name}: {suite.about}")
            say(f"    {', '.join(suite.datasets)}")
        return 0
    suite = SUITES[given.suite]
    for name in [given.dataset] if given.dataset else suite.datasets:
        options = {option.name: option.default for option in suite.options}
        plan = Plan(data_set(name), options=options)
        run = Run(suite, plan, user_results(), records_of(suite.name))
        missing = set(run.missing())
        for cell in suite.named(plan):
            state = "to run" if cell in missing else "recorded"
            say(f"{name}: {cell}: {run.fingerprint(cell)}: {state}")
    return 0


def _stale(given: argparse.Namespace) -> int:
    """Print each recorded cell that no longer holds, and why; 1 where there is one."""
    found = 0
    for name in given.suite or SUITES:
        for one in standings(SUITES[name], records_of(name), data_set):
            if one.reasons:
                found += 1
                say(f"{one.suite}: {one.dataset}: {one.cell}: {'; '.join(one.reasons)}")
    sys.stderr.write(f"{found} recorded cells no longer hold\n" if found else "all cells hold\n")
    return STALE if found else 0


def _report(given: argparse.Namespace) -> int:
    """Write the page."""
    if not given.results.is_dir():
        raise InputError(f"a folder of rows was expected at {given.results}")
    found = tuple(_standings(given.results)) if given.stale else None
    text = page(Recorded(given.results, found))
    try:
        given.out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {given.out} ({error}); give a file in a folder") from error
    sys.stderr.write(f"wrote {given.out}\n")
    return 0


def _standings(folder: Path) -> Iterator[Standing]:
    for suite in SUITES.values():
        yield from standings(suite, Records(folder / f"{suite.name}.jsonl"), data_set)


def _compare(given: argparse.Namespace) -> int:
    """Print two files' numbers, or two systems' difference."""
    for named, compare in ((is_system, compare_systems), (is_cell, compare_cells)):
        if named(given.a) or named(given.b):
            metric = given.metric or MAIN
            _differing(given, compare(given.a, given.b, metric, users=user_results()))
            return 0
    sides = compare_files(Path(given.a), Path(given.b))
    if given.metric is not None:
        sides = [one for one in sides if one.number == given.metric]
    if not sides:
        raise InputError("there is no number to compare; leave --metric out, or give other files")
    for line in (_json(one) for one in sides) if given.json else _table(sides):
        say(line)
    return 0


def _differing(given: argparse.Namespace, found: Compared) -> None:
    """Print how two systems or cells differ over the same users."""
    if given.json:
        say(json.dumps(found.told()))
        return
    say(f"{found.metric} of {found.gap.n_users:,} users")
    say(f"{given.a}: {found.mean_a:.4f}")
    say(f"{given.b}: {found.mean_b:.4f}")
    word = "told apart" if found.gap.excludes_zero else "not told apart"
    say(f"difference {spelt(found.gap, '+')}, p {found.p:.4f}: {word}")
    if found.mean_b:
        share = [end / found.mean_b for end in (found.gap.mean, found.gap.low, found.gap.high)]
        say("of the second's {:+.1%} [{:+.1%}, {:+.1%}]".format(*share))


def _json(one: Side) -> str:
    def ends(number: Any) -> dict[str, float | None] | None:
        if number is None:
            return None
        told = {"mean": number.mean, "low": number.low, "high": number.high}
        return {name: None if value != value else value for name, value in told.items()}

    sides = {"a": ends(one.a), "b": ends(one.b), "beyond": one.beyond}
    return json.dumps({"row": one.row, "number": one.number, **sides})


def _table(sides: list[Side]) -> Iterator[str]:
    """Yield a table with both numbers and what their intervals say, and what is in one only."""
    words = {True: "apart", False: "overlap", None: "no interval"}
    row = ""
    both = [one for one in sides if one.a is not None and one.b is not None]
    width = max((len(one.number) for one in both), default=0)
    for one in both:
        if one.a is None or one.b is None:
            continue
        if one.row != row:
            row = one.row
            yield row
        told = f"{spelt(one.a):<30} {spelt(one.b):<30} {one.b.mean - one.a.mean:+.4f}"
        yield f"  {one.number:<{width}}  {told}  {words[one.beyond]}"
    for name, missing in (("A", "b"), ("B", "a")):
        rows = dict.fromkeys(one.row for one in sides if getattr(one, missing) is None)
        for only in rows:
            numbers = [s.number for s in sides if s.row == only and getattr(s, missing) is None]
            yield f"only in {name}: {only}: {', '.join(numbers)}"
