"""Items folded into factors that are there: what their users say of them, without a refit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.indexing.collaborative import Factors
from twofold.indexing.interactions import Interactions

Floats = npt.NDArray[np.float32]
USERS = 1 << 14  # folded in at a time


def fold_in_items(
    factors: Factors,
    log: Interactions,
    items: npt.NDArray[np.int64],
    *,
    gram: npt.NDArray[np.float64] | None = None,
) -> Floats:
    """Return factors of items from their users, ``float32 (n, f)``; zeros where nobody has one.

    The users are folded in from the item factors that there are, and then each item's least squares
    are solved given the users: equation 5 of Hu, Koren and Volinsky (2008), the half step that a
    fit would take next (`partial_fit_items` of `implicit`). BPR, which has no such solution, takes
    the weighted mean of the item's users, and no bias.

    Parameters
    ----------
    factors
        Item factors, zero for items that are new.
    log
        What users did, the items' own events among it.
    items
        Numbers of items, ``int64 (n,)``.
    gram
        As of :func:`gram_of_users` over all users, where it is at hand: then only users of `items`
        are folded in, and `log` need hold no others.
    """
    histories = log.matrix()
    if gram is None and factors.settings.model == "als":
        gram = gram_of_users(factors, histories)
    of_items = histories.tocsc()[:, items].T.tocsr()
    of_items.sort_indices()
    users, columns = np.unique(of_items.indices, return_inverse=True)
    taken = sp.csr_matrix(
        (of_items.data, columns, of_items.indptr), shape=(len(items), max(1, len(users)))
    )
    known = _folded(factors, histories[users])
    out = Factors(known, factors.settings, gram=gram).fold_in(taken)
    if factors.settings.model == "bpr":
        out[:, -1] = 0  # of a user that is 1, for it meets the items' bias
    return out


def gram_of_users(factors: Factors, histories: sp.csr_matrix) -> npt.NDArray[np.float64]:
    """Return what all items' least squares have in common, ``X'X + regularization * I``.

    Parameters
    ----------
    factors
        The item factors that users are folded in from.
    histories
        Weights of all users' items, ``float32 (n_users, n_items)``.

    Returns
    -------
    numpy.ndarray
        ``float64 (f, f)``.
    """
    out = factors.settings.regularization * np.eye(factors.items.shape[1])
    for start in range(0, histories.shape[0], USERS):
        users = _folded(factors, histories[start : start + USERS]).astype(np.float64)
        out += users.T @ users
    return np.asarray(out)


def _folded(factors: Factors, histories: sp.csr_matrix) -> Floats:
    """Return user factors; one row of zeros where there is no user."""
    if not histories.shape[0]:
        return np.zeros((1, factors.items.shape[1]), dtype=np.float32)
    return factors.fold_in(histories)
