"""Two files of recorded rows beside each other, or two systems over the same users."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.data.datasets import DATA_SETS
from benchmarks.harness.records import RESULTS, Records
from benchmarks.harness.users import UserResults
from benchmarks.report.quality_rows import TWOFOLD, old_kind
from benchmarks.stands.kept_lists import lists_of
from twofold.evaluation.intervals import Interval, paired_difference
from twofold.evaluation.metrics import METRICS, Truth, judge
from twofold.evaluation.quality import Ranked
from twofold.evaluation.significance import permutation_test
from twofold.indexing.errors import InputError

Row = Mapping[str, Any]
Floats = npt.NDArray[np.float64]
Key = tuple[str, ...]
Test = Callable[[Floats, int], float]
"""Takes differences of users and a seed, and returns a p value."""

NAMED = ("suite", "dataset", "cell", "system", "other", "group", "kind", "metric", "split", "part")
"""What tells rows of a suite apart, where they have it."""

SHAPES = ("asked", "runtime", "history", "index", "threads", "share", "slice", "n_items", "depth")
TOLD = ("cell_seconds", "cell_peak_mb", "n_rows", "seed", "format", "quick", "p", "p_holm")
_LISTS = ("users", "truth_indptr", "truth_items")


@dataclass(frozen=True)
class Side:
    """One number in two files.

    Parameters
    ----------
    row
        Suite, data set, cell, system and group, whatever the row has.
    number
        Which of its numbers.
    a, b
        The number of each, with its ends; NaN where it has none; ``None`` where it is missing.
    """

    row: str
    number: str
    a: Interval | None
    b: Interval | None

    @property
    def beyond(self) -> bool | None:
        """Whether the intervals do not overlap; ``None`` where a side or its interval is missing.

        Overlapping intervals may still differ; those apart do.
        """
        if self.a is None or self.b is None or math.isnan(self.a.low) or math.isnan(self.b.low):
            return None
        return self.a.high < self.b.low or self.b.high < self.a.low


def compare_files(a: Path, b: Path) -> list[Side]:
    """Return every number of both files, matched by what rows are of; the latest row counts.

    Raises
    ------
    InputError
        If a file is missing, or a line of it is no row.
    """
    left, right = _numbers(a), _numbers(b)
    keys = dict.fromkeys([*left, *right])
    return [Side(*key, left.get(key), right.get(key)) for key in keys]


def _numbers(file: Path) -> dict[tuple[str, str], Interval]:
    """Return each number of a file's rows."""
    if not file.is_file():
        raise InputError(f"a file of rows was expected at {file}; give one that --json wrote")
    found: dict[tuple[str, str], Interval] = {}
    for number, told in enumerate(Records(file).rows(), 1):
        row = _flat(told)
        if not isinstance(row, dict) or "dataset" not in row:
            raise InputError(f"{file}, line {number}: a recorded row was expected")
        name = _name(row)
        for key, value in _values(row):
            found[(name, key)] = value
    return found


def _flat(told: Any) -> Any:
    """Return a row of quality's old form as the new one."""
    if not isinstance(told, dict) or "circumstances" not in told:
        return told
    row, about = told["row"], told["circumstances"]
    known = {"suite": "quality", "dataset": about["dataset"], "split": about["split"]}
    skipped = about["settings"].get("skip_labels", 0)
    overrides = [f"skip_labels={skipped}"] if skipped else []
    both = {name: row[name] for name in ("group", "metrics", "latency_ms")}
    kind = old_kind(row["name"], row["group"], timed=bool(row["latency_ms"]))
    both |= {"cell": TWOFOLD, "kind": kind}
    return {**known, **both, "system": row["name"], "overrides": overrides}


def _name(row: Row) -> str:
    words = [str(row[name]) for name in (*NAMED, *SHAPES) if row.get(name) not in (None, "")]
    words += ["quick"] if row.get("quick") else []
    # Rows of searches differ by what was set; others tell of all their settings, which may change.
    tried = row.get("trial") or ({} if "suite" in row else row.get("settings", {}))
    words += [f"{name}={value}" for name, value in tried.items()]
    return " · ".join([*words, *map(str, row.get("overrides") or ())])


def _values(row: Row) -> Iterator[tuple[str, Interval]]:
    """Yield the numbers of a row: those with ends first, then plain ones."""
    for name, value in [*row.items(), *(row.get("metrics") or {}).items()]:
        if isinstance(value, Mapping) and "mean" in value and value["mean"] is not None:
            yield name, _interval(value["mean"], value.get("low"), value.get("high"))
    if "mean" in row and row["mean"] is not None:
        yield "difference", _interval(row["mean"], row.get("low"), row.get("high"))
    for name, value in (row.get("latency_ms") or {}).items():
        yield f"{name} ms", _interval(value, None, None)
    ends = ("mean", "low", "high", *NAMED, *SHAPES, *TOLD)
    for name, value in row.items():
        plain = isinstance(value, (int, float)) and not isinstance(value, bool)
        if plain and name not in ends and not name.endswith(("_low", "_high")):
            yield name, _interval(value, row.get(f"{name}_low"), row.get(f"{name}_high"))


def _interval(mean: float, low: float | None, high: float | None) -> Interval:
    begin, end = (math.nan if one is None else float(one) for one in (low, high))
    return Interval(float(mean), begin, end, 0)


@dataclass(frozen=True)
class Compared:
    """Two systems over the same users.

    Parameters
    ----------
    metric
        Of what.
    a, b
        Names of the systems.
    mean_a, mean_b
        The number of each.
    gap
        The first minus the second, with its paired interval.
    p
        Of the permutation test.
    """

    metric: str
    a: str
    b: str
    mean_a: float
    mean_b: float
    gap: Interval
    p: float

    @classmethod
    def of(
        cls, a: tuple[str, Floats], b: tuple[str, Floats], metric: str, seed: int, test: Test
    ) -> Compared:
        """Return how two differ, each a name and a value a user; NaN is left out."""
        (first, one), (second, two) = a, b
        gap, known = paired_difference(one, two, seed), (one - two)[~np.isnan(one - two)]
        means = float(np.nanmean(one)), float(np.nanmean(two))
        return cls(metric, first, second, *means, gap, test(known, seed))

    def told(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "beyond": self.gap.excludes_zero}


def compare_systems(
    a: str,
    b: str,
    metric: str,
    *,
    users: UserResults,
    results: Path = RESULTS,
    seed: int = 0,
    test: Test = permutation_test,
) -> Compared:
    """Return how two systems of the suite ``quality`` differ, from every user's kept lists.

    Parameters
    ----------
    a, b
        ``DATASET/SYSTEM``, both of one data set.
    metric
        ``ndcg@10`` and the like.
    users
        Where lists are kept.
    results
        Folder of the recorded rows.
    seed
        Of the interval and the test.
    test
        Makes the p value, from differences of users who hold something out.

    Raises
    ------
    InputError
        If a name is none of a system, lists are not on this machine, or users are not the same.
    """
    (where, first), (there, second) = _named(a), _named(b)
    if where != there:
        raise InputError(f"systems of one data set were expected, came {where} and {there}")
    left, right = (_Lists.of(where, name, users, results) for name in (first, second))
    _, at, other = np.intersect1d(left.users, right.users, return_indices=True)
    if len(at) != len(left.users) or len(at) != len(right.users):
        raise InputError(
            f"{first} and {second} were not measured on the same users ({len(left.users):,} and "
            f"{len(right.users):,}, {len(at):,} in both); measure both again: {_again(where)}"
        )
    mine, theirs = left.truth.take(at), right.truth.take(other)
    same = np.array_equal(mine.indptr, theirs.indptr) and np.array_equal(mine.items, theirs.items)
    if not same:
        raise InputError(
            f"{first} and {second} were measured on other held-out items; measure both again: "
            f"{_again(where)}"
        )
    one, two = left.values(metric)[at], right.values(metric)[other]
    return Compared.of((a, one), (b, two), metric, seed, test)


def is_system(name: str) -> bool:
    """Return whether a name is ``DATASET/SYSTEM`` and no file."""
    return name.partition("/")[0] in DATA_SETS and not Path(name).is_file()


def _named(name: str) -> tuple[str, str]:
    dataset, _, system = name.partition("/")
    if dataset not in DATA_SETS or not system:
        raise InputError(
            f"'{name}' is no DATASET/SYSTEM such as movielens-100k/reranked; data sets are "
            f"{', '.join(DATA_SETS)}"
        )
    return dataset, system


def _again(dataset: str) -> str:
    return f"python -m benchmarks quality {dataset} --record --again"


@dataclass(frozen=True)
class _Lists:
    users: npt.NDArray[np.int64]
    ranked: Ranked
    truth: Truth

    @classmethod
    def of(cls, dataset: str, system: str, users: UserResults, results: Path) -> _Lists:
        """Return the lists of a system's latest recorded cell."""
        rows = Records(results / "quality.jsonl").rows()
        rows = [
            row
            for row in rows
            if row.get("dataset") == dataset
            and row.get("system") == system
            and row.get("kind") == "quality"
            and not row.get("quick")
            and not row.get("overrides")
        ]
        if not rows:
            there = _systems(dataset, results)
            raise InputError(
                f"no lists of '{system}' on {dataset} are recorded; there are "
                f"{', '.join(there) or 'none'}; to measure: {_again(dataset)}"
            )
        found = rows[-1]["fingerprint"]
        if not users.has(found):
            raise InputError(
                f"the lists of '{system}' on {dataset} are not on this machine; run: "
                f"{_again(dataset)} --cells '{rows[-1]['cell']}'"
            )
        kept = users.load(found)
        missing = [name for name in (*_LISTS, f"items/{system}") if name not in kept]
        if missing:
            raise InputError(
                f"the lists of '{system}' on {dataset} were kept without {', '.join(missing)}; "
                f"run: {_again(dataset)} --cells '{rows[-1]['cell']}'"
            )
        lists, truth = lists_of(kept)
        return cls(kept["users"], lists[system], truth)

    def values(self, metric: str) -> Floats:
        """Return each user's value."""
        name, _, k = metric.partition("@")
        if name not in METRICS or not k.isdigit() or int(k) < 1:
            raise InputError(f"'{metric}' is no metric; there are {', '.join(METRICS)}, with @k")
        depth = self.ranked.items.shape[1]
        if int(k) > depth:
            raise InputError(f"{metric} looks beyond the {depth} ranks that are kept")
        return METRICS[name](judge(self.ranked.items, self.truth, self.ranked.scores), int(k))


def _systems(dataset: str, results: Path) -> Sequence[str]:
    rows = Records(results / "quality.jsonl").rows()
    mine = (row for row in rows if row.get("dataset") == dataset and row.get("kind") == "quality")
    return list(dict.fromkeys(row["system"] for row in mine))
