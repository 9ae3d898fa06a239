"""What a user takes again: how often they took it, and how lately."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from benchmarks.peers.best import best_lists
from benchmarks.peers.popularity import MS_PER_DAY, label_counts
from benchmarks.peers.task import Task
from twofold.evaluation.quality import Ranked
from twofold.indexing.errors import InputError
from twofold.indexing.interactions import Interactions

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
# Below every own item: base-2 logarithms of decayed counts stay far above it.
_FILLED = -1e6
# A share of the greatest popularity decides among own items that are worth the same.
_TIES = 1e-9


@dataclass(frozen=True)
class BuyAgain:
    """The user's own items by how often and how lately they took them, then what is popular.

    Parameters
    ----------
    has_times
        Whether tasks have times; without, only how often counts.
    """

    has_times: bool = True
    name: str = "buy again"

    @property
    def grid(self) -> tuple[Mapping[str, Any], ...]:
        """Half-lives from a day to a year, and none: how often alone."""
        days = (None, 1, 3, 7, 30, 90, 365) if self.has_times else (None,)
        return tuple({"half_life_days": one} for one in days)

    def lists(self, task: Task, settings: Mapping[str, Any]) -> Ranked:
        """Return own items, best first, then popular ones."""
        days = settings["half_life_days"]
        half_life = math.inf if days is None else days * MS_PER_DAY
        return buy_again(task.log, task.users, task.asked_at, task.excluded, half_life, task.k)


def buy_again(
    log: Interactions,
    users: Int64s,
    asked_at: Int64s | None,
    excluded: sp.csr_matrix,
    half_life: float,
    k: int,
) -> Ranked:
    """Return each user's own items by frequency and recency, then popular ones.

    An own item is worth the sum over its takings of ``2 ** (-age / half_life)``; equal ones stand
    in order of popularity, then of numbers.

    Parameters
    ----------
    log
        What may be known; its labels are the takings.
    users
        Whom to answer, ``int64 (n,)``.
    asked_at
        When each of them asks, milliseconds, ``int64 (n,)``; ``None`` without times.
    excluded
        What each must not be shown, ``bool (n, n_items)``, CSR.
    half_life
        Milliseconds after which a taking counts half; infinite counts all alike.
    k
        Length of the lists.

    Raises
    ------
    InputError
        If the half-life is not positive, or finite without times.
    """
    if not half_life > 0:
        raise InputError(f"a half-life must be above 0, came {half_life}")
    if asked_at is None and half_life != math.inf:
        raise InputError("a half-life needs a task with times; without, give an infinite one")
    labels = log.take(log.labels)
    popular = label_counts(log)
    share = popular / max(popular.max(initial=0), 1)

    def worth(some: slice) -> Floats:
        who = users[some]
        scores = np.tile(_FILLED + share, (len(who), 1))
        for row, user in enumerate(who.tolist()):
            own = slice(labels.indptr[user], labels.indptr[user + 1])
            items, halvings = labels.items[own], np.zeros(own.stop - own.start)
            if asked_at is not None:
                ages = np.maximum(asked_at[some][row] - labels.times[own], 0)
                halvings = ages / half_life
            which, place = np.unique(items, return_inverse=True)
            summed = np.full(len(which), -np.inf)
            # In logarithms: what is a thousand half-lives old still has its place.
            np.logaddexp2.at(summed, place, -halvings)
            scores[row, which] = summed + _TIES * share[which]
        return scores

    return best_lists(excluded, k, worth)
