"""``python -m benchmarks SUITE DATASET``: twofold and its opponents on public data.

``quality`` measures both stages beside their opponents, ``als`` tunes alternating least squares
alone. Data sets are read from the folder named by ``TWOFOLD_DATA`` (MovieLens-100k is fetched).
With ``--record`` a finished run appends its rows to ``benchmarks/results/SUITE.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from benchmarks.als import tune_als
from twofold.commands_measure import show
from twofold.console import make_console, make_progress
from twofold.evaluate import evaluate
from twofold.evaluation.hardware import library_versions
from twofold.evaluation.report import Row, json_line
from twofold.indexing.errors import InputError, TwofoldError
from twofold.indexing.splits import Protocol
from twofold.movielens import fetch_movielens
from twofold.settings import load_settings
from twofold.terminal import say

RESULTS = Path(__file__).with_name("results")
BEAUTY = "amazon-beauty-2014-5core"


def tables(name: str) -> tuple[Path, Path, Protocol, int, tuple[str, ...]]:
    """Return interactions, items, protocol, labels a user and settings of a data set."""
    if name == "movielens-100k":
        fetched = fetch_movielens()
        settings = ("window_labels=5", "ranker.max_epochs=2")
        return fetched.interactions, fetched.items, "leave-last-n", 5, settings
    folder = Path(os.environ.get("TWOFOLD_DATA", "data")) / name
    if not folder.is_dir():
        raise InputError(f"no folder {folder}; set TWOFOLD_DATA to the folder of the data sets")
    settings = ("window_labels=1", 'data.text_template="{title}"')
    return (
        folder / "interactions.parquet",
        folder / "items.parquet",
        "leave-one-out",
        1,
        settings,
    )


def quality(name: str, overrides: list[str], *, skip: int, record: bool) -> None:
    """Evaluate one data set, show the tables and keep the rows."""
    interactions, items, protocol, n, usual = tables(name)
    settings = load_settings(None, (*usual, *overrides))
    progress = make_progress(make_console(), as_json=False)
    found = evaluate(
        interactions,
        items,
        settings,
        protocol=protocol,
        n=n,
        skip=skip,
        name=name,
        progress=progress,
    )
    show(found, as_json=False)
    if record:
        n_users = max(row.n_users for row in found.rows)
        probabilities = Row("probabilities", "all", n_users, found.probabilities)
        rows = (*found.rows, probabilities)
        _append("quality", [json_line(row, found.circumstances) for row in rows])


def als(name: str, overrides: list[str], *, record: bool) -> None:
    """Tune the factor model alone on one data set, print the grid and the choice, and keep them."""
    interactions, items, _, n, usual = tables(name)
    settings = load_settings(None, (*usual, *overrides))
    progress = make_progress(make_console(), as_json=False)
    lines = []
    for line in tune_als(interactions, items, settings, n=n, progress=progress):
        lines.append(json.dumps({"dataset": name, "versions": library_versions(), **line}))
        say(json.dumps(line))
    if record:
        _append("als", lines)


def _append(suite: str, lines: list[str]) -> None:
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{suite}.jsonl").open("a", encoding="utf-8") as out:
        out.writelines(line + "\n" for line in lines)


def main() -> int:
    """Run the suite that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suite", choices=["quality", "als"])
    parser.add_argument("dataset", choices=["movielens-100k", BEAUTY])
    parser.add_argument("--skip", type=int, default=0, help="labels a user to leave out first")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--record", action="store_true", help="append the rows to benchmarks/results"
    )
    given = parser.parse_args()
    try:
        if given.suite == "als":
            als(given.dataset, given.set, record=given.record)
        else:
            quality(given.dataset, given.set, skip=given.skip, record=given.record)
    except TwofoldError as error:
        sys.stderr.write(f"benchmarks: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
