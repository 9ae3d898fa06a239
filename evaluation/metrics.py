"""How good ranked lists are: one number a query, exact where scores are tied.

Lists become a :class:`Judged` once, with :func:`judge`; every metric reads it for any ``k``::

    judged = judge(items, truth, scores)
    ndcg(judged, 10).mean()

Where scores are tied, a metric is its expected value over all orders of the tied items, so that a
system gains nothing from the order in which it happens to list them [1]_. Without scores the lists
are taken in the order given.

A query without held-out items has no value: NaN. This module imports no other room.

References
----------
.. [1] F. McSherry and M. Najork, "Computing Information Retrieval Performance Measures Efficiently
   in the Presence of Tied Scores", ECIR 2008.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """The held-out items of each query, ragged, side by side.

    Parameters
    ----------
    indptr
        Held-out items of query ``q`` are rows ``indptr[q]:indptr[q + 1]``, ``int64 (n + 1,)``.
    items
        Item numbers, distinct within a query, ``int64 (n_held_out,)``; -1 is an item that the index
        does not know: no list can hold it, but it counts as held out.
    gains
        What each item is worth, finite and above 0, ``float64 (n_held_out,)``; ``None`` for 1 each.
        Only :func:`ndcg` reads it.

    Raises
    ------
    ValueError
        If shapes disagree, an item stands twice in a query, or a gain is not above 0.
    """

    indptr: Int64s
    items: Int64s
    gains: Floats | None = None

    def __post_init__(self) -> None:
        if self.indptr[0] != 0 or self.indptr[-1] != len(self.items):
            raise ValueError("Truth: indptr must begin with 0 and end with the number of items")
        if bool(np.any(np.diff(self.indptr) < 0)):
            raise ValueError("Truth: indptr must not decrease")
        if self.gains is not None and (
            self.gains.shape != self.items.shape
            or not bool(np.all(np.isfinite(self.gains) & (self.gains > 0)))
        ):
            raise ValueError("Truth: gains must be finite, above 0 and as many as items")
        order = np.lexsort((self.items, self.rows))
        items, rows = self.items[order], self.rows[order]
        if bool(np.any((items[1:] == items[:-1]) & (rows[1:] == rows[:-1]) & (items[1:] >= 0))):
            raise ValueError("Truth: an item may be held out only once a query; aggregate repeats")

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @cached_property
    def rows(self) -> Int64s:
        """The query of each held-out item, ``int64 (n_held_out,)``."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.indptr))

    def n_held_out(self) -> Int64s:
        """Return the number of held-out items of each query, unknown ones included, ``(n,)``."""
        return np.diff(self.indptr)

    def take(self, which: npt.NDArray[np.int64]) -> Truth:
        """Return the queries at positions `which`, in that order."""
        lengths = np.diff(self.indptr)[which]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.repeat(self.indptr[which] - indptr[:-1], lengths) + np.arange(indptr[-1])
        return Truth(indptr, self.items[rows], None if self.gains is None else self.gains[rows])

    @classmethod
    def from_pairs(
        cls, rows: Int64s, items: Int64s, n_queries: int, gains: Floats | None = None
    ) -> Truth:
        """Return the truth of (query, item) pairs in any order; of a repeated pair the best gain.

        Unknown items, -1, are all kept: whoever encodes ids removes their repeats.
        """
        worth = np.ones(len(rows)) if gains is None else gains
        order = np.lexsort((-worth, items, rows))
        rows, items, worth = rows[order], items[order], worth[order]
        keep = np.ones(len(rows), dtype=bool)
        keep[1:] = (rows[1:] != rows[:-1]) | (items[1:] != items[:-1]) | (items[1:] < 0)
        counts = np.bincount(rows[keep], minlength=n_queries)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(indptr, items[keep], None if gains is None else worth[keep])

    @classmethod
    def from_matrix(cls, matrix: sp.csr_matrix, n_held_out: Int64s | None = None) -> Truth:
        """Return the truth of a matrix ``(n_queries, n_items)``: its nonzero places, gain 1 each.

        Parameters
        ----------
        matrix
            What is held out.
        n_held_out
            How many items each query really holds out, ``int64 (n,)``, where that is more than the
            matrix can show; the rest are unknown items.
        """
        rows, items = matrix.nonzero()
        known = np.bincount(rows, minlength=matrix.shape[0])
        missing = np.zeros_like(known) if n_held_out is None else n_held_out - known
        if bool(np.any(missing < 0)):
            raise ValueError("Truth: n_held_out is below the number of items in the matrix")
        unknown = np.repeat(np.arange(matrix.shape[0]), missing)
        return cls.from_pairs(
            np.concatenate([rows, unknown]).astype(np.int64),
            np.concatenate([items, np.full(len(unknown), -1)]).astype(np.int64),
            matrix.shape[0],
        )


@dataclass(frozen=True)
class Judged:
    """Ranked lists beside their truth: all that a metric needs, for any ``k``.

    Column ``j`` is rank ``j + 1``. All arrays are ``float64 (n, m)``.

    Parameters
    ----------
    hits
        Chance that the rank holds a held-out item: 0 or 1 where nothing is tied.
    gains
        Expected gain at the rank.
    missed
        Chance that no rank up to and including this one holds a held-out item.
    precisions
        Expected value of (precision at the rank, where the rank holds a held-out item, else 0).
    truth
        The truth the lists were judged by.
    """

    hits: Floats
    gains: Floats
    missed: Floats
    precisions: Floats
    truth: Truth


def judge(
    items: Int64s,
    truth: Truth,
    scores: npt.NDArray[np.floating] | None = None,
) -> Judged:
    """Return ranked lists judged by their truth.

    Of ``s`` tied items at ranks ``a + 1 .. a + s`` with ``r`` held-out ones among them and ``R``
    before them, rank ``a + 1 + i`` holds a held-out item with chance ``r / s``; given that none of
    the first ``i`` was one, the next is not one with chance ``(s - r - i) / (s - i)``; and given
    that it is one, ``R + i (r - 1) / (s - 1)`` are expected before it (McSherry and Najork 2008,
    section 3). Groups cut by ``k`` need no rule of their own. Only tied items that stand in the
    lists are known: give lists longer than the largest ``k``.

    Parameters
    ----------
    items
        Item numbers, best first, -1 for padding, distinct within a row, ``int64 (n, m)``.
    truth
        Held-out items of the same queries.
    scores
        Scores that do not rise along a row, ``(n, m)``; equal ones are tied. ``None`` takes the
        order as it stands. Padding is never tied with an item.

    Raises
    ------
    ValueError
        If shapes disagree, or a score is NaN or higher than the one before it.
    """
    n, m = items.shape
    if n != len(truth):
        raise ValueError(f"judge: {n} lists came with the truth of {len(truth)} queries")
    gains, hit = _gains(items, truth)
    starts = _starts(items, scores).ravel()
    first = np.flatnonzero(starts)
    group = np.cumsum(starts) - 1
    size = np.diff(np.append(first, n * m))[group].reshape(n, m)
    within = (np.arange(n * m) - first[group]).reshape(n, m)
    r = np.add.reduceat(hit.ravel(), first)[group].reshape(n, m)
    worth = np.add.reduceat(gains.ravel(), first)
    before = (np.cumsum(hit, axis=1) - hit).ravel()[first][group].reshape(n, m)

    hits = r / size
    beside = within * (r - 1) / np.maximum(size - 1, 1)
    precisions = hits * (before + beside + 1) / np.arange(1, m + 1)
    # Once all misses of a group are used up the factor is 0, and stays so by the running product.
    missed = np.cumprod(np.maximum(size - r - within, 0) / (size - within), axis=1)
    expected = worth[group].reshape(n, m) / size
    return Judged(hits, expected, missed, precisions, truth)


def recall(judged: Judged, k: int) -> Floats:
    """Return recall@k: held-out items among the first `k`, divided by all held out, ``(n,)``.

    C. Cleverdon, J. Mills and M. Keen, "Factors Determining the Performance of Indexing Systems",
    1966.
    """
    return _ratio(judged.hits[:, :k].sum(axis=1), judged.truth.n_held_out())


def hit_rate(judged: Judged, k: int) -> Floats:
    """Return hit rate@k: 1 where at least one of the first `k` is held out, else 0, ``(n,)``.

    With ties the chance of it: ``1 - C(s - r, k - a) / C(s, k - a)`` for the group cut at `k`.

    M. Deshpande and G. Karypis, "Item-Based Top-N Recommendation Algorithms", TOIS 2004, where one
    item is held out.
    """
    if judged.missed.shape[1] == 0:
        return _ratio(np.zeros(len(judged.truth)), judged.truth.n_held_out() > 0)
    last = min(k, judged.missed.shape[1]) - 1
    return _ratio(1 - judged.missed[:, last], judged.truth.n_held_out() > 0)


def ndcg(judged: Judged, k: int) -> Floats:
    """Return ndcg@k with linear gains and the discount ``1 / log2(rank + 1)``, ``(n,)``.

    ``DCG@k = sum of gain(rank) / log2(rank + 1)`` over the first `k` ranks, divided by the same sum
    for the best order of *all* held-out items: over ``min(k, n_held_out)`` ranks, items unknown to
    the index included. For exponential gains give ``2 ** grade - 1`` as the truth's gains.

    K. Järvelin and J. Kekäläinen, "Cumulated Gain-Based Evaluation of IR Techniques", TOIS 2002, in
    the discount of C. Burges et al., "Learning to Rank using Gradient Descent", ICML 2005.
    """
    gains = judged.gains[:, :k]
    dcg = _weighted(gains, 1 / np.log2(np.arange(2, gains.shape[1] + 2)))
    truth = judged.truth
    worth = np.ones(len(truth.items)) if truth.gains is None else truth.gains
    worth = worth[np.lexsort((-worth, truth.rows))]
    place = np.arange(len(worth)) - truth.indptr[truth.rows]
    ideal = np.where(place < k, worth / np.log2(place + 2), 0.0)
    return _ratio(dcg, np.bincount(truth.rows, weights=ideal, minlength=len(truth)))


def mrr(judged: Judged, k: int) -> Floats:
    """Return mrr@k: 1 / rank of the first held-out item among the first `k`, else 0, ``(n,)``.

    E. Voorhees, "The TREC-8 Question Answering Track Report", 1999.
    """
    missed = judged.missed[:, :k]
    earlier = np.concatenate([np.ones((len(missed), 1)), missed[:, :-1]], axis=1)
    found = earlier[:, : missed.shape[1]] - missed
    found = _weighted(found, 1 / np.arange(1, missed.shape[1] + 1))
    return _ratio(found, judged.truth.n_held_out() > 0)


def average_precision(judged: Judged, k: int) -> Floats:
    """Return map@k before the mean: average precision over the first `k`, ``(n,)``.

    Precision at the rank of each held-out item among the first `k`, summed and divided by
    ``min(k, n_held_out)``, so that a perfect list has 1 at every `k`.

    C. Buckley and E. Voorhees, "Evaluating Evaluation Measure Stability", SIGIR 2000, cut at `k`.
    """
    best = np.minimum(k, judged.truth.n_held_out())
    return _ratio(judged.precisions[:, :k].sum(axis=1), best)


METRICS: dict[str, Callable[[Judged, int], Floats]] = {
    "recall": recall,
    "ndcg": ndcg,
    "hit_rate": hit_rate,
    "mrr": mrr,
    "map": average_precision,
}


def metric_values(judged: Judged, ks: Sequence[int]) -> dict[str, Floats]:
    """Return every metric at every `k`, ``{"recall@10": float64 (n,), ...}``."""
    return {f"{name}@{k}": metric(judged, k) for k in ks for name, metric in METRICS.items()}


def _gains(items: Int64s, truth: Truth) -> tuple[Floats, Int64s]:
    """Return the gain of each listed item, and 1 where it is held out, both ``(n, m)``."""
    known = truth.items >= 0
    width = max(items.max(initial=0), truth.items.max(initial=0)) + 1
    keys = truth.rows[known] * width + truth.items[known]
    order = np.argsort(keys)
    keys = keys[order]
    asked = np.arange(len(items))[:, None] * width + items
    place = np.searchsorted(keys, asked)
    found = np.zeros(items.shape, dtype=bool)
    inside = (place < len(keys)) & (items >= 0)
    found[inside] = keys[place[inside]] == asked[inside]
    worth = np.ones(len(keys)) if truth.gains is None else truth.gains[known][order]
    gains = np.zeros(items.shape)
    gains[found] = worth[place[found]]
    return gains, found.astype(np.int64)


def _starts(items: Int64s, scores: npt.NDArray[np.floating] | None) -> npt.NDArray[np.bool_]:
    """Return where a group of tied items begins, ``bool (n, m)``."""
    starts = np.ones(items.shape, dtype=bool)
    if scores is None:
        return starts
    if scores.shape != items.shape:
        raise ValueError(f"judge: scores of shape {scores.shape} came with items {items.shape}")
    later, earlier = scores[:, 1:], scores[:, :-1]
    listed = items[:, 1:] >= 0
    # Written so that NaN, for which every comparison is false, is refused as well.
    if not bool(np.all((later <= earlier) | ~listed)) or bool(np.any(np.isnan(scores))):
        raise ValueError("judge: scores must be numbers that do not rise along a row")
    starts[:, 1:] = (later != earlier) | ~listed
    return starts


def _weighted(values: Floats, weights: Floats) -> Floats:
    # Not a matrix product: its last digits would depend on the number of rows.
    summed: Floats = (values * weights).sum(axis=1)
    return summed


def _ratio(above: Floats, below: npt.NDArray[np.float64 | np.int64 | np.bool_]) -> Floats:
    out = np.full(len(above), np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out
