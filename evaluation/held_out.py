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


def history_popularity(
    known: Interactions, users: Int64s, popularity: npt.NDArray[np.number]
) -> npt.NDArray[np.float64]:
    """Return how popular the items of each user's history are on average, ``float64 (n_users,)``.

    The history is the user's known labels, each item once; NaN for a user without any. ``p`` of
    :func:`twofold.evaluation.exposure.popularity_lift`.

    Parameters
    ----------
    known
        What may be known at test.
    users
        Distinct users, ``int64 (n_users,)``.
    popularity
        Training interactions of each item, ``(n_items,)``.
    """
    labels = known.take(known.labels)
    taken = np.unique(labels.users * np.int64(labels.n_items) + labels.items)
    owners, items = np.divmod(taken, labels.n_items)
    worth = np.asarray(popularity, dtype=np.float64)[items]
    sums = np.bincount(owners, weights=worth, minlength=known.n_users)[users]
    counts = np.bincount(owners, minlength=known.n_users)[users]
    out = np.full(len(users), np.nan)
    np.divide(sums, counts, out=out, where=counts > 0)
    return out
