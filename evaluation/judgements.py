"""Probabilities beside what happened: each candidate of a served list, and whether it was taken."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import InputError

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

# A probability of exactly 0 or 1 has an infinite log-loss when it is wrong.
CLIP = 1e-7


@dataclass(frozen=True)
class Judgements:
    """Probabilities beside what happened, one row a candidate that was shown.

    Parameters
    ----------
    probabilities
        Between 0 and 1, ``float64 (n,)``.
    labels
        Whether the user took the item, ``bool (n,)``.
    users
        Numbers ``0..n_users-1`` of whose list the row stands in, ``int64 (n,)``.

    Raises
    ------
    InputError
        If shapes disagree, there is no row, or a probability is not between 0 and 1.
    """

    probabilities: Floats
    labels: npt.NDArray[np.bool_]
    users: Int64s

    def __post_init__(self) -> None:
        shapes = {getattr(self, field.name).shape for field in fields(self)}
        if len(shapes) != 1 or self.probabilities.ndim != 1 or not len(self.probabilities):
            raise InputError("Judgements: give as many probabilities, labels and users, at least 1")
        if not bool(np.all((self.probabilities >= 0) & (self.probabilities <= 1))):
            raise InputError("Judgements: probabilities must lie between 0 and 1; calibrate scores")

    @property
    def n_users(self) -> int:
        """Number of users, those without rows included."""
        return int(self.users.max()) + 1

    def per_user(self, values: npt.NDArray[np.generic]) -> Floats:
        """Return the sum of a value a row over each user's rows, ``float64 (n_users,)``."""
        weights = np.asarray(values, dtype=np.float64)
        sums = np.bincount(self.users, weights=weights, minlength=self.n_users)
        return sums.astype(np.float64)

    @classmethod
    def of_lists(
        cls,
        probabilities: npt.NDArray[np.floating],
        labels: npt.NDArray[np.bool_],
        valid: npt.NDArray[np.bool_],
    ) -> Judgements:
        """Return the judgements of lists ``(n_users, m)``, without the rows that are not `valid`.

        A user is a row; users without candidates are left out.
        """
        _, users = np.unique(np.nonzero(valid)[0], return_inverse=True)
        return cls(probabilities[valid].astype(np.float64), labels[valid], users.astype(np.int64))


def log_losses(judged: Judgements) -> Floats:
    """Return ``-log p`` of what happened for each row, probabilities held off 0 and 1 by 1e-7.

    I. Good, "Rational Decisions", Journal of the Royal Statistical Society B, 1952 (log score).
    """
    clipped = np.clip(judged.probabilities, CLIP, 1 - CLIP)
    return -np.log(np.where(judged.labels, clipped, 1 - clipped))


def brier_losses(judged: Judgements) -> Floats:
    """Return ``(p - label)²`` for each row.

    G. Brier, "Verification of Forecasts Expressed in Terms of Probability", 1950.
    """
    losses: Floats = (judged.probabilities - judged.labels) ** 2
    return losses
