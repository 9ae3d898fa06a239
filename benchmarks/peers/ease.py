"""EASE: a linear autoencoder of items, solved in closed form (Steck, WWW 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.linalg import lapack
from threadpoolctl import threadpool_limits

from benchmarks.peers.best import best_lists
from benchmarks.peers.task import Task
from twofold.evaluation.quality import Ranked
from twofold.indexing.errors import InputError

Floats = npt.NDArray[np.float32]
MOST_ITEMS = 20_000
_COLUMNS_A_TIME = 1024


@dataclass(frozen=True)
class Ease:
    """Items by a linear model from all other items; ``l2`` is the weight of its penalty."""

    name: str = "EASE"

    @property
    def grid(self) -> tuple[Mapping[str, Any], ...]:
        """Weights around those of the paper (200 to 1000), and less for small data."""
        return tuple({"l2": one} for one in (500.0, 20.0, 50.0, 100.0, 200.0, 1000.0))

    def lists(self, task: Task, settings: Mapping[str, Any]) -> Ranked:
        """Return the best items by the model: takings count 1, whatever their weight."""
        taken = (task.log.matrix() > 0).astype(np.float32)
        with threadpool_limits(task.threads):
            weights = ease_weights(taken, settings["l2"])
            asked = taken[task.users]

            def scores(some: slice) -> Floats:
                return np.ascontiguousarray(asked[some] @ weights)

            return best_lists(task.excluded, task.k, scores)


def ease_weights(taken: sp.csr_matrix, l2: float) -> Floats:
    """Return the weights from item to item, zero on the diagonal, ``float32 (n_items, n_items)``.

    With ``P = (X'X + l2 I)^-1`` they are ``-P_ij / P_jj`` (equation 8 of the paper). They are
    computed in place: one dense matrix, ``4 n_items^2`` bytes (0.6 GB for 12,000 items, 1.6 GB for
    20,000), and about ``n_items^3`` multiplications and additions.

    Parameters
    ----------
    taken
        Who took what, ``X``, ``float32 (n_users, n_items)``, CSR.
    l2
        Weight of the penalty, above 0.

    Raises
    ------
    InputError
        If there are more than 20,000 items, the penalty is not above 0, or so small that float32
        finds the matrix singular.
    """
    n_items = taken.shape[1]
    if n_items > MOST_ITEMS:
        raise InputError(
            f"EASE inverts a dense matrix of items by items, {4e-9 * n_items**2:.1f} GB and "
            f"{2e-12 * n_items**3:.0f} TFLOP for {n_items} items; it is for at most {MOST_ITEMS}"
        )
    if not l2 > 0:
        raise InputError(f"EASE needs l2 above 0, came {l2}")
    inner = np.empty((n_items, n_items), dtype=np.float32, order="F")
    columns = taken.tocsc()
    for begin in range(0, n_items, _COLUMNS_A_TIME):
        some = slice(begin, begin + _COLUMNS_A_TIME)
        inner[:, some] = (taken.T @ columns[:, some]).toarray()
    inner[np.diag_indices(n_items)] += np.float32(l2)
    inverse, failed = lapack.spotrf(inner, lower=1, overwrite_a=1)
    if not failed:
        inverse, failed = lapack.spotri(inverse, lower=1, overwrite_c=1)
    if failed:
        raise InputError(f"EASE: the matrix is singular in float32 at l2 {l2}; give more")
    return _weights(inverse)


def _weights(inverse: Floats) -> Floats:
    """Turn the lower half of ``P`` into the weights, in place."""
    n_items = len(inverse)
    diagonal = np.diagonal(inverse).copy()
    for begin in range(0, n_items, _COLUMNS_A_TIME):
        some, later = slice(begin, begin + _COLUMNS_A_TIME), slice(begin + _COLUMNS_A_TIME, None)
        block = np.tril(inverse[some, some])
        inverse[some, some] = block + np.tril(block, -1).T
        inverse[some, later] = inverse[later, some].T
    # LAPACK leaves it in order of columns; its transpose, the same matrix, is in order of rows.
    out = inverse.T
    out /= -diagonal
    out[np.diag_indices(n_items)] = 0
    return out
