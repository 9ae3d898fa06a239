"""The best items of each user, from scores of all items: what peers that score densely share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.evaluation.quality import Ranked
from twofold.indexing.errors import InputError

Int64s = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating]
_USERS_A_TIME = 512


def best_lists(excluded: sp.csr_matrix, k: int, scores_of: Callable[[slice], Scores]) -> Ranked:
    """Return the best `k` items of each user, ties in order of numbers.

    Parameters
    ----------
    excluded
        What each user must not be shown, ``bool (n, n_items)``, CSR.
    k
        Length of the lists; -1 pads what is shorter.
    scores_of
        Returns the scores of some users, new and floating, ``(n_some, n_items)``; ``-inf`` leaves
        an item out.
    """
    n = excluded.shape[0]
    parts = []
    for begin in range(0, n, _USERS_A_TIME):
        some = slice(begin, min(begin + _USERS_A_TIME, n))
        scores = scores_of(some)
        hidden = excluded[some]
        rows = np.repeat(np.arange(hidden.shape[0]), np.diff(hidden.indptr))
        scores[rows, hidden.indices] = -np.inf
        parts.append(best(scores, k))
    if not parts:
        return Ranked(np.empty((0, k), dtype=np.int64), np.empty((0, k), dtype=np.float32))
    return Ranked(
        np.concatenate([part.items for part in parts]),
        np.concatenate([part.scores for part in parts if part.scores is not None]),
    )


def best(scores: Scores, k: int) -> Ranked:
    """Return the best `k` of each row, ties in order of numbers.

    Parameters
    ----------
    scores
        Floating, ``(n, n_items)``; ``-inf`` leaves an item out.
    k
        Length of the lists; -1 and ``-inf`` pad what is shorter.
    """
    n, n_items = scores.shape
    items = np.full((n, k), -1, dtype=np.int64)
    out = np.full((n, k), -np.inf, dtype=scores.dtype)
    # All that ties with the k-th is looked at, so that numbers decide among equals.
    least = -np.inf if k >= n_items else np.partition(scores, n_items - k, axis=1)[:, n_items - k]
    near = (scores >= np.reshape(least, (-1, 1))) & (scores > -np.inf)
    for row in range(n):
        which = np.flatnonzero(near[row])
        which = which[np.argsort(-scores[row, which], kind="stable")][:k]
        items[row, : len(which)] = which
        out[row, : len(which)] = scores[row, which]
    return Ranked(items, out)


def without(excluded: sp.csr_matrix, k: int, items: Int64s, scores: Scores) -> Ranked:
    """Return lists that a library made, without what is excluded, `k` long.

    Parameters
    ----------
    excluded
        What each user must not be shown, ``bool (n, n_items)``, CSR.
    k
        Length of the lists.
    items
        Best first, -1 for none, each at most once a row, ``(n, m)``.
    scores
        Their scores, ``(n, m)``.
    """
    n, width = items.shape
    rows = np.repeat(np.arange(n), width)
    hidden = np.zeros(items.shape, dtype=bool)
    keys = np.repeat(np.arange(n, dtype=np.int64), np.diff(excluded.indptr)) * excluded.shape[1]
    asked = rows * np.int64(excluded.shape[1]) + np.maximum(items, 0).ravel()
    hidden = np.isin(asked, keys + excluded.indices).reshape(items.shape)
    kept = (items >= 0) & ~hidden
    # What is kept moves to the front in its order.
    order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
    there = np.take_along_axis(kept, order, axis=1)
    gap = ((0, 0), (0, k - order.shape[1]))
    shown = np.where(there, np.take_along_axis(items, order, axis=1), -1).astype(np.int64)
    told = np.where(there, np.take_along_axis(scores, order, axis=1), -np.inf)
    return Ranked(
        np.pad(shown, gap, constant_values=-1), np.pad(told, gap, constant_values=-np.inf)
    )


def sound(ranked: Ranked, excluded: sp.csr_matrix, k: int, name: str) -> Ranked:
    """Return lists that were made elsewhere, after a look at what every list must keep to.

    Raises
    ------
    InputError
        If their shape is wrong, padding is not at the end, an item is unknown, excluded or stands
        twice.
    """
    n, n_items = excluded.shape
    items = ranked.items
    if items.shape != (n, k):
        raise InputError(f"{name}: expected lists of shape {(n, k)}, came {items.shape}")
    if items.size and (items.min() < -1 or items.max() >= n_items):
        raise InputError(f"{name}: items must be numbers below {n_items}, or -1 for padding")
    there = items >= 0
    if bool((there[:, 1:] & ~there[:, :-1]).any()):
        raise InputError(f"{name}: padding stands before an item")
    ordered = np.sort(items, axis=1)
    if bool(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any()):
        raise InputError(f"{name}: an item stands twice in a list")
    shown = np.flatnonzero(there.ravel())
    flat = (shown // max(k, 1)) * np.int64(n_items) + items.ravel()[shown]
    rows = np.repeat(np.arange(n, dtype=np.int64), np.diff(excluded.indptr))
    if bool(np.isin(flat, rows * n_items + excluded.indices).any()):
        raise InputError(f"{name}: a list shows what is excluded")
    return ranked
