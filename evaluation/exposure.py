"""What lists expose of the catalogue: coverage, concentration, novelty, popularity, diversity.

These metrics know no truth. They read the lists as shown: ties are not averaged over.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

_VALUES_A_TIME = 4_000_000


def coverage(items: Int64s, k: int, n_items: int) -> float:
    """Return coverage@k: the share of the catalogue that stands in somebody's first `k`.

    ``|union of the first k of all lists| / n_items``, between 0 and 1.

    M. Ge, C. Delgado-Battenfeld and D. Jannach, "Beyond Accuracy: Evaluating Recommender Systems by
    Coverage and Serendipity", RecSys 2010 (catalogue coverage).

    Parameters
    ----------
    items
        Ranked item numbers, -1 for padding, ``int64 (n, m)``.
    k
        Length of the lists as shown.
    n_items
        Size of the catalogue, at least 1.
    """
    return float(np.count_nonzero(_exposures(items, k, n_items)) / n_items)


def gini(items: Int64s, k: int, n_items: int) -> float:
    """Return gini@k of how often items are shown: 0 all alike, towards 1 all on one item.

    ``sum of (2 j - n_items - 1) e_j / (n_items * sum of e)`` over exposures ``e`` in rising order,
    ``j`` from 1; NaN where nothing is shown.

    D. Fleder and K. Hosanagar, "Blockbuster Culture's Next Rise or Fall", Management Science 2009.
    """
    shown = np.sort(_exposures(items, k, n_items))
    total = shown.sum()
    if total == 0:
        return float("nan")
    places = 2 * np.arange(1, n_items + 1) - n_items - 1
    return float(places @ shown / (n_items * total))


def novelty(items: Int64s, k: int, popularity: npt.NDArray[np.number]) -> Floats:
    """Return novelty@k: how many bits of surprise an item of the first `k` carries, ``(n,)``.

    The mean of ``-log2 p(item)`` over the items shown, ``p`` the item's share of all interactions
    with one added to each item, so that an item without any has a finite surprise. NaN where a list
    is empty.

    S. Vargas and P. Castells, "Rank and Relevance in Novelty and Diversity Metrics for Recommender
    Systems", RecSys 2011, without rank discount; T. Zhou et al., PNAS 2010 (self-information).

    Parameters
    ----------
    items
        Ranked item numbers, -1 for padding, ``int64 (n, m)``.
    k
        Length of the lists as shown.
    popularity
        Training interactions of each item, ``(n_items,)``, at least 0.
    """
    counts = np.asarray(popularity, dtype=np.float64) + 1
    return _mean_shown(items[:, :k], -np.log2(counts / counts.sum()))


def mean_popularity(items: Int64s, k: int, popularity: npt.NDArray[np.number]) -> Floats:
    """Return popularity@k: the mean training interactions of the items shown, ``(n,)``.

    ``sum of c(item) / number of items shown`` over the first `k`, ``c`` an item's interactions. NaN
    where a list is empty. H. Yin et al., "Challenging the Long Tail Recommendation", VLDB 2012.
    """
    return _mean_shown(items[:, :k], np.asarray(popularity, dtype=np.float64))


def popularity_lift(
    items: Int64s, k: int, popularity: npt.NDArray[np.number], history_popularity: Floats
) -> Floats:
    """Return popularity lift@k: how much more popular a list is than its user's history, ``(n,)``.

    ``(popularity@k - p) / p`` with ``p`` the mean popularity of the items of the user's history:
    0 where a list is as popular as what the user took, 1 where it is twice as popular, -1 at least.
    NaN where a list is empty or a history has no popularity above 0.

    H. Abdollahpouri, M. Mansoury, R. Burke and B. Mobasher, "The Unfairness of Popularity Bias in
    Recommendation", RMSE at RecSys 2019, for a group of one user. The paper's ΔGAP of a larger
    group is not the mean of these but the ratio of the group's means, which weighs users of popular
    taste more: :func:`twofold.evaluation.quality.quality_rows` tells it as ``delta_gap@k``.

    Parameters
    ----------
    items
        Ranked item numbers, -1 for padding, ``int64 (n, m)``.
    k
        Length of the lists as shown.
    popularity
        Training interactions of each item, ``(n_items,)``, at least 0.
    history_popularity
        Mean popularity of the items of each user's history, NaN without one, ``float64 (n,)``; see
        :func:`twofold.evaluation.held_out.history_popularity`.
    """
    shown = mean_popularity(items, k, popularity)
    out = np.full(len(shown), np.nan)
    np.divide(shown - history_popularity, history_popularity, out=out, where=history_popularity > 0)
    return out


def diversity(items: Int64s, k: int, vectors: npt.NDArray[np.float32]) -> Floats:
    """Return diversity@k: how unlike each other the items of the first `k` are, ``(n,)``.

    ``1 - mean of cos(v_i, v_j)`` over all pairs ``i < j`` of items shown: 0 where all point the
    same way, 1 where all are at right angles, 2 at most. NaN where fewer than two items have a
    vector.

    B. Smyth and P. McClave, "Similarity vs. Diversity", ICCBR 2001 (mean dissimilarity of pairs);
    C.-N. Ziegler et al., "Improving Recommendation Lists Through Topic Diversification", WWW 2005
    (intra-list similarity), here with the cosine and as a mean, so that long lists are comparable.

    Parameters
    ----------
    items
        Ranked item numbers, -1 for padding, ``int64 (n, m)``.
    k
        Length of the lists as shown.
    vectors
        One vector an item, of any length, ``float32 (n_items, d)``. A vector of zeros has no
        direction: such items are left out.
    """
    lengths = np.sqrt(np.einsum("id,id->i", vectors, vectors, dtype=np.float64))
    out = np.full(len(items), np.nan)
    step = max(1, _VALUES_A_TIME // max(1, min(k, items.shape[1]) * vectors.shape[1]))
    for begin in range(0, len(items), step):
        shown = items[begin : begin + step, :k]
        there = (shown >= 0) & (lengths[shown] > 0)
        shares = np.divide(1.0, lengths[shown], out=np.zeros(shown.shape), where=there)
        total = np.einsum("nk,nkd->nd", shares, vectors[shown])
        count = there.sum(axis=1)
        # The square of the sum of unit vectors holds every pair twice, and each item with itself.
        alike = np.einsum("nd,nd->n", total, total) - count
        pairs = count * (count - 1)
        out[begin : begin + step] = 1 - np.divide(
            alike, pairs, out=np.full(len(shown), np.nan), where=pairs > 0
        )
    return out


def _exposures(items: Int64s, k: int, n_items: int) -> Int64s:
    shown = items[:, :k]
    return np.bincount(shown[shown >= 0], minlength=n_items).astype(np.int64)


def _mean_shown(shown: Int64s, worth: Floats) -> Floats:
    listed = shown >= 0
    total = np.where(listed, worth[shown], 0.0).sum(axis=1)
    count = listed.sum(axis=1)
    out = np.full(len(shown), np.nan)
    np.divide(total, count, out=out, where=count > 0)
    return out
