"""How sure a measured number is: percentile bootstrap intervals over users.

A user's rows always come together: users are drawn with replacement, never rows. The same number
of users, `seed` and `n` draw the same users whatever is measured, so that intervals of many metrics
and systems are comparable, and differences are paired.

References
----------
.. [1] B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import InputError

Floats = npt.NDArray[np.float64]

LEVEL = 0.95
_CHUNK_VALUES = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A measured number and the 95 % interval around it.

    Parameters
    ----------
    mean
        The number itself: a mean over users, or another statistic of all of them.
    low, high
        Ends of the interval; NaN where the bootstrap says nothing about the number.
    n_users
        How many users it is measured on.
    """

    mean: float
    low: float
    high: float
    n_users: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


def bootstrap_mean(values: Floats, seed: int, n: int = 2000) -> Interval:
    """Return the mean over users with its interval; users whose value is NaN are left out.

    Parameters
    ----------
    values
        One value a user, ``float64 (n_users,)``.
    seed
        Which users are drawn.
    n
        Number of draws.

    Raises
    ------
    InputError
        If no user has a value.
    """
    return bootstrap_means(values[:, None], seed, n)[0]


def bootstrap_means(values: Floats, seed: int, n: int = 2000) -> list[Interval]:
    """Return the mean of each column with its interval, from the same drawn users.

    Parameters
    ----------
    values
        One row a user, one column a quantity, ``float64 (n_users, n_columns)``. NaN is left out of
        its column's mean.
    seed, n
        As in :func:`bootstrap_mean`.

    Raises
    ------
    InputError
        If a column has no value.
    """
    return bootstrap_ratios(np.nan_to_num(values), (~np.isnan(values)).astype(np.float64), seed, n)


def paired_difference(a: Floats, b: Floats, seed: int, n: int = 2000) -> Interval:
    """Return mean(`a` - `b`) over the same users with its interval; above 0 where `a` is higher.

    Parameters
    ----------
    a, b
        One value a user in the same order, ``float64 (n_users,)``; a user with NaN in either is
        left out.
    seed, n
        As in :func:`bootstrap_mean`.

    Raises
    ------
    InputError
        If `a` and `b` differ in length, or no user has both values.
    """
    if a.shape != b.shape:
        raise InputError(f"paired_difference needs the same users, got {len(a)} and {len(b)}")
    return bootstrap_mean(a - b, seed, n)


def bootstrap_ratio(above: Floats, below: Floats, seed: int, n: int = 2000) -> Interval:
    """Return sum(`above`) / sum(`below`) over users with its interval.

    For a mean over rows, such as a log-loss, give each user's summed loss and number of rows. For
    the paired difference of two such means over the same rows, give the difference of the losses.

    Parameters
    ----------
    above, below
        One sum a user, ``float64 (n_users,)``.
    seed, n
        As in :func:`bootstrap_mean`.
    """
    return bootstrap_ratios(above[:, None], below[:, None], seed, n)[0]


def bootstrap_ratios(above: Floats, below: Floats, seed: int, n: int = 2000) -> list[Interval]:
    """Return :func:`bootstrap_ratio` of each column, ``float64 (n_users, n_columns)`` both.

    ``n_users`` of an interval counts users whose `below` is not 0.

    Raises
    ------
    InputError
        If shapes differ, or a column's `below` is 0 for every user.
    """
    if above.shape != below.shape or above.ndim != 2:
        raise InputError(f"two tables of one shape were expected, got {above.shape}, {below.shape}")
    counted = np.count_nonzero(below, axis=0)
    if bool(np.any(counted == 0)):
        raise InputError("no user has a value to average; measure at least one user")
    draws = bootstrap_statistic(
        lambda counts: _divide(counts @ above, counts @ below), len(above), seed, n
    )
    means = above.sum(axis=0) / below.sum(axis=0)
    low, high = _ends(draws)
    return [
        Interval(float(means[c]), float(low[c]), float(high[c]), int(counted[c]))
        for c in range(above.shape[1])
    ]


def bootstrap_interval(
    statistic: Callable[[Floats], Floats], n_users: int, seed: int, n: int = 2000, *, width: int = 0
) -> Interval:
    """Return any statistic of weighted users with its interval.

    Parameters
    ----------
    statistic
        Takes how often each user counts, ``float64 (b, n_users)``, and returns one number a row,
        ``float64 (b,)``; NaN where it is not defined for those users.
    n_users
        Number of users.
    seed, n
        As in :func:`bootstrap_mean`.
    width
        How many values `statistic` makes for a draw, where that is more than `n_users`; bounds the
        memory.
    """
    value = float(statistic(np.ones((1, n_users)))[0])
    low, high = _ends(bootstrap_statistic(statistic, n_users, seed, n, width)[:, None])
    return Interval(value, float(low[0]), float(high[0]), n_users)


def bootstrap_statistic(
    statistic: Callable[[Floats], Floats], n_users: int, seed: int, n: int, width: int = 0
) -> Floats:
    """Return the statistic of each of `n` draws of users, ``float64 (n, ...)``."""
    return np.concatenate([statistic(counts) for counts in draw_users(n_users, seed, n, width)])


def draw_users(n_users: int, seed: int, n: int, width: int = 0) -> Iterator[Floats]:
    """Yield how often each user is drawn, ``float64 (b, n_users)``, `n` rows in bounded chunks.

    The draws do not depend on how they are cut into chunks.

    Raises
    ------
    InputError
        If there are no users or no draws.
    """
    if n_users < 1 or n < 1:
        raise InputError(f"a bootstrap needs users and draws, got {n_users} users, {n} draws")
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_VALUES // max(n_users, width))
    for begin in range(0, n, chunk):
        rows = min(chunk, n - begin)
        drawn = rng.integers(0, n_users, size=(rows, n_users))
        drawn += np.arange(rows)[:, None] * n_users
        counts = np.bincount(drawn.ravel(), minlength=rows * n_users)
        yield counts.reshape(rows, n_users).astype(np.float64)


def _divide(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below != 0)


def _ends(draws: Floats) -> Floats:
    """Return both ends of the interval of each column, ``float64 (2, n_columns)``."""
    outside = (1 - LEVEL) / 2
    ends = np.full((2, draws.shape[1]), np.nan)
    # A draw may miss every user that has a value; such draws say nothing.
    said = ~np.all(np.isnan(draws), axis=0)
    ends[:, said] = np.nanquantile(draws[:, said], [outside, 1 - outside], axis=0)
    return ends
