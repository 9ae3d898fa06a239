"""What everybody takes: the same list for all, but for what each must not be shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers.best import best_lists
from benchmarks.peers.task import Task
from twofold.evaluation.quality import Ranked
from twofold.indexing.errors import InputError
from twofold.indexing.interactions import Interactions

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
MS_PER_DAY = 86_400_000


@dataclass(frozen=True)
class Popularity:
    """Items by how often they were taken.

    ``half_life_days`` counts a taking half when it is so old at the moment of asking, and what is
    taken later not at all; ``None`` counts all that the log holds alike.

    Parameters
    ----------
    has_times
        Whether tasks have times; without, nothing decays.
    """

    has_times: bool = True
    name: str = "popularity"

    @property
    def grid(self) -> tuple[Mapping[str, Any], ...]:
        """Half-lives from a week to a year."""
        days = (None, 7, 30, 90, 365) if self.has_times else (None,)
        return tuple({"half_life_days": one} for one in days)

    def lists(self, task: Task, settings: Mapping[str, Any]) -> Ranked:
        """Return the most popular items that each user may be shown."""
        half_life = settings["half_life_days"]
        if half_life is None:
            counts = label_counts(task.log)

            def alike(some: slice) -> Floats:
                return np.tile(counts, (some.stop - some.start, 1))

            return best_lists(task.excluded, task.k, alike)
        if task.asked_at is None:
            raise InputError("popularity with a half-life needs a task with times; set it to None")
        return _decayed(task, task.asked_at, half_life * MS_PER_DAY)


def label_counts(log: Interactions) -> Floats:
    """Return how often each item was taken, ``float64 (n_items,)``."""
    return np.bincount(log.items[log.labels], minlength=log.n_items).astype(np.float64)


def _decayed(task: Task, asked_at: Int64s, half_life: float) -> Ranked:
    """Return lists by counts that decay; one sweep through time serves all users."""
    labels = task.log.take(task.log.labels)
    by_time = np.argsort(labels.times, kind="stable")
    times, items = labels.times[by_time], labels.items[by_time]
    order = np.argsort(asked_at, kind="stable")
    counts, now, done = np.zeros(task.log.n_items), 0, 0

    def at_each(some: slice) -> Floats:
        nonlocal counts, now, done
        rows = []
        for moment in asked_at[order[some]].tolist():
            until = int(np.searchsorted(times, moment, side="right"))
            fresh = slice(done, until)
            counts = counts * 2.0 ** (-(moment - now) / half_life)
            worth = 2.0 ** (-(moment - times[fresh]) / half_life)
            counts += np.bincount(items[fresh], worth, minlength=len(counts))
            now, done = moment, until
            rows.append(counts)
        return np.stack(rows)

    ranked = best_lists(task.excluded[order], task.k, at_each)
    back = np.argsort(order, kind="stable")
    return Ranked(ranked.items[back], None if ranked.scores is None else ranked.scores[back])
