"""Two cells of one suite over the same users, from the value that each kept of every user."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.harness.records import RESULTS, Records
from benchmarks.harness.users import UserResults
from benchmarks.report.compare import Compared, Test
from twofold.evaluation.significance import permutation_test
from twofold.indexing.errors import InputError

Floats = npt.NDArray[np.float64]
SUITES = ("training", "layers")
"""Suites whose cells keep a value a user."""

AND = "+"  # between cells that differ by their seed, of which the mean is taken


def is_cell(name: str) -> bool:
    """Return whether a name is ``SUITE/DATASET/CELL`` and no file."""
    return name.partition("/")[0] in SUITES and name.count("/") > 1 and not Path(name).is_file()


def compare_cells(
    a: str,
    b: str,
    metric: str,
    *,
    users: UserResults,
    results: Path = RESULTS,
    seed: int = 0,
    test: Test = permutation_test,
) -> Compared:
    """Return how two cells differ.

    Parameters
    ----------
    a, b
        ``SUITE/DATASET/CELL``, both of one suite and data set; several cells with ``+`` between
        them stand for each user's mean.
    metric
        What the cells kept: ``ndcg@10``.
    users
        Where values are kept.
    results
        Folder of the recorded rows.
    seed
        Of the interval and the test.
    test
        Makes the p value from the users' differences.

    Raises
    ------
    InputError
        If a name is none of a cell, or its values are not on this machine.
    """
    (where, first), (there, second) = (_parts(name) for name in (a, b))
    if where != there:
        raise InputError(f"cells of one suite and data set were expected, came {where} and {there}")
    one, two = (_mean(where, cells, metric, users, results) for cells in (first, second))
    if one.shape != two.shape:
        raise InputError(
            f"{a} and {b} were not measured on the same users ({len(one):,} and {len(two):,}); "
            "measure both again"
        )
    return Compared.of((a, one), (b, two), metric, seed, test)


def _parts(name: str) -> tuple[tuple[str, str], list[str]]:
    if not is_cell(name):
        raise InputError(
            f"'{name}' is no SUITE/DATASET/CELL such as training/movielens-100k/LoRA; suites are "
            f"{', '.join(SUITES)}"
        )
    suite, dataset, cells = name.split("/", 2)
    return (suite, dataset), [one.strip() for one in cells.split(AND)]


def _mean(
    where: tuple[str, str], cells: list[str], metric: str, users: UserResults, results: Path
) -> Floats:
    """Return each user's mean over some cells, ``float64 (n,)``."""
    suite, dataset = where
    rows = Records(results / f"{suite}.jsonl").rows()
    plain = [one for one in rows if one["dataset"] == dataset and not one.get("quick")]
    latest = {one["cell"]: one for one in plain if not one.get("overrides")}
    again = f"python -m benchmarks {suite} {dataset} --record --again"
    values = []
    for cell in cells:
        if cell not in latest:
            raise InputError(
                f"no cell '{cell}' is recorded; there are {', '.join(latest) or 'none'}; to "
                f"measure: {again}"
            )
        found = latest[cell]["fingerprint"]
        kept = users.load(found) if users.has(found) else {}
        if metric not in kept:
            raise InputError(
                f"users' {metric} of '{cell}' is not on this machine; run: {again} --cells '{cell}'"
            )
        values.append(kept[metric])
    return np.asarray(np.mean(values, axis=0), dtype=np.float64)
