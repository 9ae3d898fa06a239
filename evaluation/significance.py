"""Whether a difference is more than chance: a paired test over users, and many tests at once.

References
----------
.. [1] R. Fisher, "The Design of Experiments", 1935, section 21.
.. [2] M. Smucker, J. Allan and B. Carterette, "A Comparison of Statistical Significance Tests for
   Information Retrieval Evaluation", CIKM 2007.
.. [3] S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
   Statistics 1979.
.. [4] B. Phipson and G. Smyth, "Permutation P-values Should Never Be Zero", Statistical
   Applications in Genetics and Molecular Biology 2010.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import InputError

Floats = npt.NDArray[np.float64]

EXACT = 12  # up to so many users all flips are looked at, 4,096 at most
_VALUES_A_TIME = 4_000_000


def permutation_test(differences: Floats, seed: int, n: int = 10_000) -> float:
    """Return the two-sided p of a paired permutation test of a mean difference, above 0, at most 1.

    If two systems were alike, each user's difference would as well have the other sign [1]_, [2]_.
    ``p`` is the share of flips, each user's sign turned or not, whose mean is at least as far from
    0 as the one measured. Up to 12 users with a difference that is not 0, all flips are looked at.
    Beyond, `n` are drawn, and ``p = (b + 1) / (n + 1)`` with ``b`` of them as far: the measured one
    counts, so that the test holds its level and ``p`` is never 0 [4]_.

    The same number of users with a difference, `seed` and `n` draw the same flips.

    Parameters
    ----------
    differences
        One system's metric minus the other's, one value a user, finite, ``float64 (n_users,)``. A
        user with NaN is left out.
    seed
        Which flips are drawn.
    n
        How many are drawn, at least 1.

    Raises
    ------
    InputError
        If no user has a difference, one is infinite, or `n` is below 1.
    """
    given = differences[~np.isnan(differences)]
    if differences.ndim != 1 or not len(given) or not bool(np.all(np.isfinite(given))) or n < 1:
        raise InputError(
            "permutation_test needs a finite difference of at least one user and a flip; got shape "
            f"{differences.shape}, {len(given)} numbers, n={n}"
        )
    moved = given[given != 0]  # the sign of 0 turns nothing
    exact = len(moved) <= EXACT
    total = moved.sum()
    # Sums that are equal on paper differ by rounding.
    border = abs(total) - 1e-12 * np.abs(moved).sum()
    flips = _all_flips(len(moved)) if exact else _drawn_flips(len(moved), seed, n)
    far = sum(
        int(np.count_nonzero(np.abs(total - 2 * (turned @ moved)) >= border)) for turned in flips
    )
    return far / 2 ** len(moved) if exact else (far + 1) / (n + 1)


def holm(p: Sequence[float] | Floats) -> Floats:
    """Return p-values adjusted for how many there are, in the order given, ``float64 (m,)``.

    ``max over j <= i of min(1, (m - j + 1) p_(j))`` for the `i`-th smallest of ``m`` [3]_. Who
    rejects what is at most ``a`` errs in any of them with a chance of at most ``a``, however they
    hang together.

    Parameters
    ----------
    p
        One p-value a comparison, between 0 and 1.

    Raises
    ------
    InputError
        If a number does not lie between 0 and 1.
    """
    given = np.asarray(p, dtype=np.float64)
    if given.ndim != 1 or not bool(np.all((given >= 0) & (given <= 1))):
        raise InputError(f"holm needs p-values between 0 and 1, got {given.tolist()}")
    order = np.argsort(given, kind="stable")
    steps = (len(given) - np.arange(len(given))) * given[order]
    out = np.empty(len(given))
    out[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return out


def _all_flips(n_users: int) -> Iterator[Floats]:
    """Yield every way to turn signs once, 1 where turned, ``float64 (2 ** n_users, n_users)``."""
    yield ((np.arange(2**n_users)[:, None] >> np.arange(n_users)) & 1).astype(np.float64)


def _drawn_flips(n_users: int, seed: int, n: int) -> Iterator[Floats]:
    """Yield `n` drawn ways to turn signs, ``float64 (b, n_users)``, whatever the chunks."""
    rng = np.random.default_rng(seed)
    words = -(-n_users // 64)
    step = max(1, _VALUES_A_TIME // n_users)
    for begin in range(0, n, step):
        drawn = rng.integers(0, 2**64, size=(min(step, n - begin), words), dtype=np.uint64)
        turned = np.unpackbits(drawn.view(np.uint8), axis=1, count=n_users)
        yield turned.astype(np.float64)
