"""From a split to what is measured: which users, their truth, and their groups."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twofold.evaluation.metrics import Truth
from twofold.indexing.interactions import Interactions

Int64s = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def users_held_out(interactions: Interactions, held_out: Mask) -> Int64s:
    """Return the users with at least one held-out row, in rising order, ``int64 (n_users,)``."""
    return np.unique(interactions.users[held_out])


def truth_of(interactions: Interactions, held_out: Mask, users: Int64s) -> Truth:
    """Return the held-out items of `users`, each once, gain 1 each.

    Parameters
    ----------
    interactions
        All rows.
    held_out
        Which of them are to be predicted, ``bool (n,)``; labels only.
    users
        Distinct users, ``int64 (n_users,)``; query ``q`` of the result is ``users[q]``.
    """
    place = np.full(interactions.n_users, -1, dtype=np.int64)
    place[users] = np.arange(len(users))
    rows = place[interactions.users[held_out]]
    wanted = rows >= 0
    return Truth.from_pairs(rows[wanted], interactions.items[held_out][wanted], len(users))


def history_groups(interactions: Interactions, known: Mask, users: Int64s) -> dict[str, Mask]:
    """Return which users are ``"all"``, ``"warm"`` and ``"new"``, ``bool (n_users,)`` each.

    A user is warm with at least one known event that raises an item, and new without.

    Parameters
    ----------
    interactions
        All rows.
    known
        Which of them may be known at test, ``bool (n,)``.
    users
        Users in the order of the lists, ``int64 (n_users,)``.
    """
    raising = known & (interactions.weights > 0)
    n_events = np.bincount(interactions.users[raising], minlength=interactions.n_users)
    warm = n_events[users] > 0
    return {"all": np.ones(len(users), dtype=bool), "warm": warm, "new": ~warm}
