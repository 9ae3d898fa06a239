"""``python -m benchmarks SUITE DATASET``: twofold and its opponents on public data.

``quality`` measures both stages beside their opponents, ``als`` tunes alternating least squares
alone, ``rerank`` times stage two beside sentence-transformers' cross-encoder, ``serving`` a whole
engine under load, ``layers`` tells what joint layers and layers altogether are worth, ``soak``
checks every answer of a long time under load, ``live`` takes in events and items while readers
check every answer, and kills writers, ``retrieval`` times stage one and its indexes, on a
catalogue grown to ``--items`` if asked, ``training`` tells what each technique of the ranker's
training is worth. Data sets are read from the folder named by
``TWOFOLD_DATA`` (MovieLens-100k is fetched). With ``--record`` each finished row is appended to
``benchmarks/results/SUITE.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.data.datasets import BEAUTY, IFDB, MOVIELENS, data_set
from benchmarks.suites.als import tune_als
from benchmarks.suites.layers import measure_layers
from benchmarks.suites.live import measure_live
from benchmarks.suites.rerank import measure_reranking
from benchmarks.suites.retrieval import CELLS, measure_retrieval
from benchmarks.suites.serving import measure_serving
from benchmarks.suites.soak import soak
from benchmarks.suites.techniques import CELLS as TECHNIQUES
from benchmarks.suites.training import measure_training
from twofold.commands_measure import show
from twofold.console import make_console, make_progress
from twofold.evaluate import evaluate
from twofold.evaluation.hardware import library_versions
from twofold.evaluation.report import Row, json_line
from twofold.indexing.errors import TwofoldError
from twofold.settings import load_settings
from twofold.terminal import say

RESULTS = Path(__file__).with_name("results")


def quality(name: str, overrides: list[str], *, skip: int, record: bool) -> None:
    """Evaluate one data set, show the tables and keep the rows."""
    data = data_set(name)
    settings = load_settings(None, (*data.settings, *overrides))
    progress = make_progress(make_console(), as_json=False)
    found = evaluate(
        data.interactions,
        data.items,
        settings,
        protocol=data.protocol,
        n=data.n_labels,
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
    data = data_set(name)
    settings = load_settings(None, (*data.settings, *overrides))
    progress = make_progress(make_console(), as_json=False)
    lines = []
    found = tune_als(data.interactions, data.items, settings, n=data.n_labels, progress=progress)
    for line in found:
        lines.append(json.dumps({"dataset": name, "versions": library_versions(), **line}))
        say(json.dumps(line))
    if record:
        _append("als", lines)


def stepwise(
    measured: Iterator[dict[str, Any]], suite: str, command: list[str], *, record: bool
) -> None:
    """Print each row of a suite as it is finished, and keep it."""
    run = datetime.now(UTC).isoformat(timespec="seconds")
    for row in measured:
        line = json.dumps({**row, "run": run, "command": shlex.join(command)})
        say(line)
        if record:
            _append(suite, [line])


def _append(suite: str, lines: list[str]) -> None:
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{suite}.jsonl").open("a", encoding="utf-8") as out:
        out.writelines(line + "\n" for line in lines)


def main() -> int:
    """Run the suite that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "suite",
        choices=[
            "quality",
            "als",
            "rerank",
            "serving",
            "layers",
            "soak",
            "live",
            "retrieval",
            "training",
        ],
    )
    parser.add_argument("dataset", choices=[MOVIELENS, BEAUTY, IFDB])
    parser.add_argument("--skip", type=int, default=0, help="labels a user to leave out first")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--quick", action="store_true", help="ask less (rerank, serving, live)")
    parser.add_argument("--seeds", type=int, default=1, help="trainings a ranker (layers)")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (soak)")
    parser.add_argument("--items", type=int, help="grow the catalogue to so many (retrieval)")
    parser.add_argument(
        "--cells", help="which, with commas (retrieval) or semicolons (training) between; all"
    )
    parser.add_argument("--search", action="store_true", help="search the rate (layers)")
    parser.add_argument(
        "--record", action="store_true", help="append the rows to benchmarks/results"
    )
    given = parser.parse_args()
    try:
        if given.suite == "als":
            als(given.dataset, given.set, record=given.record)
        elif given.suite != "quality":
            progress = make_progress(make_console(), as_json=False)
            data, own = data_set(given.dataset), tuple(given.set)
            if given.suite == "layers":
                rows = measure_layers(
                    data, own, seeds=given.seeds, search=given.search, progress=progress
                )
            elif given.suite == "retrieval":
                cells = given.cells.split(",") if given.cells else CELLS
                rows = measure_retrieval(
                    data, own, n_items=given.items, cells=cells, progress=progress
                )
            elif given.suite == "training":
                cells = given.cells.split(";") if given.cells else list(TECHNIQUES)
                rows = measure_training(data, own, cells=cells, progress=progress)
            elif given.suite == "soak":
                rows = soak(data, own, minutes=given.minutes, progress=progress)
            else:
                measure = {
                    "rerank": measure_reranking,
                    "serving": measure_serving,
                    "live": measure_live,
                }[given.suite]
                rows = measure(data, own, quick=given.quick, progress=progress)
            command = [one for one in sys.argv[2:] if one != "--record"]
            stepwise(rows, given.suite, command, record=given.record)
        else:
            quality(given.dataset, given.set, skip=given.skip, record=given.record)
    except TwofoldError as error:
        sys.stderr.write(f"benchmarks: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
