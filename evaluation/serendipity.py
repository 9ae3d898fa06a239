"""What a list finds that anybody could not have: held-out items that a primitive list lacks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twofold.evaluation.metrics import Truth, judge
from twofold.retrieval.candidates import Candidates

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]


def serendipity(
    items: Int64s,
    truth: Truth,
    primitive: Candidates,
    k: int,
    scores: npt.NDArray[np.floating] | None = None,
) -> Floats:
    """Return serendipity@k: the part of recall@k that a primitive recommender misses, ``(n,)``.

    ``|first k, and held out, and not expected| / n_held_out``. Expected are the first `k` of the
    primitive list and all that are tied with its `k`-th: it may show them. Between 0 and recall@k.
    Where the list's own scores are tied, the value is the mean over all orders of the tied items.
    NaN for a query without held-out items.

    M. Ge, C. Delgado-Battenfeld and D. Jannach, "Beyond Accuracy: Evaluating Recommender Systems by
    Coverage and Serendipity", RecSys 2010 (useful and not made by a primitive model); M. Kaminskas
    and D. Bridge, "Diversity, Serendipity, Novelty, and Coverage", TiiS 2016 (survey). There it is
    a share of the list; here one of what is held out, so that it stands beside recall.

    Parameters
    ----------
    items
        Item numbers, best first, -1 for padding, distinct within a row, ``int64 (n, m)``.
    truth
        Held-out items of the same queries.
    primitive
        The primitive recommender's lists of the same queries, longer than `k` so that items tied
        at its border are seen, such as
        :func:`twofold.evaluation.opponents.popularity_ranking` makes.
    k
        Length of both lists as shown, at least 1.
    scores
        As in :func:`twofold.evaluation.metrics.judge`.

    Raises
    ------
    ValueError
        If shapes disagree.
    """
    if not len(items) == len(truth) == primitive.n_queries:
        raise ValueError(
            f"serendipity: {len(items)} lists and {primitive.n_queries} primitive ones came with "
            f"the truth of {len(truth)} queries"
        )
    found = judge(items, _surprising(truth, expected(primitive, k)), scores).hits[:, :k].sum(axis=1)
    n_held_out = truth.n_held_out()
    out = np.full(len(found), np.nan)
    np.divide(found, n_held_out, out=out, where=n_held_out > 0)
    return out


def expected(primitive: Candidates, k: int) -> Int64s:
    """Return what that may stand in the first `k` of each list, ``int64 (n, m)``, others -1."""
    if primitive.k == 0:
        return primitive.items
    border = primitive.scores[:, min(k, primitive.k) - 1]
    return np.where(primitive.scores >= border[:, None], primitive.items, -1)


def _surprising(truth: Truth, shown: Int64s) -> Truth:
    """Return the held-out items that are not shown, in the same queries."""
    width = max(truth.items.max(initial=0), shown.max(initial=0)) + 1
    rows, columns = np.nonzero(shown >= 0)
    obvious = np.isin(truth.rows * width + truth.items, rows * width + shown[rows, columns])
    left = np.flatnonzero(~obvious | (truth.items < 0))
    return Truth.from_pairs(truth.rows[left], truth.items[left], len(truth))
