"""Alternating least squares alone, tuned on validation: the grid, and what the choice reaches.

Validation is the test's protocol one step earlier: each user's labels before the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from benchmarks.data.datasets import BEAUTY, MOVIELENS
from benchmarks.harness.cells import Cell, Place, Plan, Row, Suite
from twofold.evaluation.held_out import truth_of, users_held_out
from twofold.evaluation.intervals import bootstrap_mean
from twofold.evaluation.quality import Ranked, measure_users
from twofold.evaluation.surroundings import Surroundings
from twofold.indexing.collaborative import CollaborativeSettings, fit_factors
from twofold.indexing.splits import leave_last_n
from twofold.lessons import n_threads
from twofold.retrieval.queries import queries_of_users
from twofold.retrieval.sources import Collaborative, View
from twofold.settings import Settings

DEPTH = 100
FACTORS = (16, 32, 64, 128)
REGULARIZATION = (0.001, 0.01, 0.1, 1.0)
ALPHA = (0.1, 0.5, 1.0, 5.0, 20.0)
QUICK_FACTORS, QUICK_REGULARIZATION, QUICK_ALPHA = (16,), (0.1,), (0.5, 1.0)
TEST = "test"
SOURCES = (
    *("indexing", "retrieval", "evaluation", "twofold/settings.py", "twofold/lessons.py"),
    "benchmarks/suites/als.py",
)


def _cells(plan: Plan) -> list[Cell]:
    """Return one cell for factors and regularization, all alphas in it, and the test's."""
    grid = (QUICK_FACTORS, QUICK_REGULARIZATION) if plan.quick else (FACTORS, REGULARIZATION)
    alphas = QUICK_ALPHA if plan.quick else ALPHA
    cells = []
    for factors, regularization in product(*grid):
        own = f"factors={factors}", f"regularization={regularization}"
        settings = plan.settings(*(f"stage_one.collaborative.{one}" for one in own))
        name = f"{factors} factors, regularization {regularization:g}"
        measured = _Validated(plan, settings, alphas)
        cells.append(Cell(name, measured, settings, {"alphas": list(alphas)}, SOURCES))
    needs = tuple(cell.name for cell in cells)
    settings = plan.settings()
    return [*cells, Cell(TEST, _Tested(plan, settings, needs), settings, {}, SOURCES, needs)]


@dataclass(frozen=True)
class _Validated:
    """Measures settings of the grid that differ in alpha, on validation."""

    plan: Plan
    settings: Settings
    alphas: tuple[float, ...]

    def __call__(self, place: Place) -> Iterator[Row]:
        for alpha in self.alphas:
            model = replace(self.settings.stage_one.collaborative, alpha=alpha)
            values = _values(self.plan, model, self.settings, skip=self.plan.data.n_labels)
            yield _row("validation", model, values, self.settings)


@dataclass(frozen=True)
class _Tested:
    """Measures the first of the best of the grid, on the test."""

    plan: Plan
    settings: Settings
    grid: tuple[str, ...]

    def __call__(self, place: Place) -> Iterator[Row]:
        tried = [row for cell in self.grid for row in place.rows(cell)]
        best = max(tried, key=lambda row: row["ndcg@10"]["mean"])
        model = CollaborativeSettings(**best["model"])
        values = _values(self.plan, model, self.settings, skip=0)
        yield _row("test", model, values, self.settings)


def _values(
    plan: Plan, model: CollaborativeSettings, settings: Settings, *, skip: int
) -> npt.NDArray[np.float64]:
    """Return NDCG@10 of each user who has something held out."""
    log = plan.dataset.interactions
    split = leave_last_n(plan.dataset, plan.data.n_labels, skip=skip)
    known, users = log.take(split.known_at_test), users_held_out(log, split.test)
    fitted = fit_factors(known.matrix(), model, seed=settings.seed, threads=n_threads(settings))
    queries = queries_of_users(known, users, max_history=settings.stage_one.max_history)
    ranked = Ranked(*Collaborative(fitted, View()).answer(queries).top(DEPTH))
    popularity = np.bincount(known.items[known.labels], minlength=known.n_items)
    truth = truth_of(log, split.test, users)
    found = measure_users({"als": ranked}, truth, Surroundings(popularity), (10,))
    return np.asarray(found.values[0, :, found.metrics.index("ndcg@10")])


def _row(
    split: str, model: CollaborativeSettings, values: npt.NDArray[np.float64], settings: Settings
) -> Row:
    interval = bootstrap_mean(values, seed=settings.seed)
    return {"split": split, "model": asdict(model), "ndcg@10": asdict(interval)}


ALS = Suite(
    "als",
    "alternating least squares alone, tuned on validation",
    _cells,
    (MOVIELENS, BEAUTY),
)
