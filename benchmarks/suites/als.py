"""Alternating least squares alone, tuned on validation: the grid, and what the choice reaches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from twofold.evaluation.held_out import truth_of, users_held_out
from twofold.evaluation.intervals import bootstrap_mean
from twofold.evaluation.quality import Ranked, UserValues, measure_users
from twofold.evaluation.surroundings import Surroundings
from twofold.indexing.collaborative import CollaborativeSettings, fit_factors
from twofold.indexing.dataset import Dataset, load_dataset
from twofold.indexing.progress import Progress
from twofold.indexing.splits import leave_last_n
from twofold.lessons import n_threads
from twofold.retrieval.queries import queries_of_users
from twofold.retrieval.sources import Collaborative, View
from twofold.settings import Settings

DEPTH = 100
FACTORS = (16, 32, 64, 128)
REGULARIZATION = (0.001, 0.01, 0.1, 1.0)
ALPHA = (0.1, 0.5, 1.0, 5.0, 20.0)


def tune_als(
    interactions: Path, items: Path, settings: Settings, *, n: int, progress: Progress
) -> Iterator[dict[str, Any]]:
    """Yield one line a setting of the grid, on validation, and last the choice's on test.

    Validation is the test's protocol one step earlier: each user's `n` labels before the last `n`.

    Parameters
    ----------
    interactions, items
        Paths of the tables.
    settings
        All settings; the grid replaces those of the factor model.
    n
        Labels a user to hold out.
    progress
        Told of every setting.
    """
    dataset = load_dataset(interactions, items, settings.data, seed=settings.seed)
    usual = settings.stage_one.collaborative
    grid = [
        replace(usual, factors=f, regularization=r, alpha=a)
        for f, r, a in product(FACTORS, REGULARIZATION, ALPHA)
    ]
    reached = []
    with progress.step("ALS on validation", total=len(grid)) as task:
        for one in grid:
            values = _values(dataset, one, settings, n=n, skip=n)
            reached.append(float(np.nanmean(values)))
            task.advance()
            yield _line("validation", one, values, settings)
    best = grid[int(np.argmax(reached))]
    yield _line("test", best, _values(dataset, best, settings, n=n, skip=0), settings)


def _values(
    dataset: Dataset, factors: CollaborativeSettings, settings: Settings, *, n: int, skip: int
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return NDCG@10 of each user who has something held out."""
    log, split = dataset.interactions, leave_last_n(dataset, n, skip=skip)
    known, users = log.take(split.known_at_test), users_held_out(log, split.test)
    fitted = fit_factors(known.matrix(), factors, seed=settings.seed, threads=n_threads(settings))
    queries = queries_of_users(known, users, max_history=settings.stage_one.max_history)
    ranked = Ranked(*Collaborative(fitted, View()).answer(queries).top(DEPTH))
    popularity = np.bincount(known.items[known.labels], minlength=known.n_items)
    truth = truth_of(log, split.test, users)
    found: UserValues = measure_users({"als": ranked}, truth, Surroundings(popularity), (10,))
    return np.asarray(found.values[0, :, found.metrics.index("ndcg@10")])


def _line(
    split: str,
    factors: CollaborativeSettings,
    values: np.ndarray[Any, np.dtype[np.float64]],
    settings: Settings,
) -> dict[str, Any]:
    interval = bootstrap_mean(values, seed=settings.seed)
    return {"split": split, "settings": asdict(factors), "ndcg@10": asdict(interval)}
