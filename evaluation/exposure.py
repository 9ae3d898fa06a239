"""What lists expose of the catalogue: coverage, concentration, novelty, popularity.

These metrics know no truth. They read the lists as shown: ties are not averaged over.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]


def coverage(items: Int64s, k: int, n_items: int) -> float:
    """Return coverage@k: the share of the catalogue that stands in somebody's first `k`.

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

    NaN where a list is empty. H. Yin et al., "Challenging the Long Tail Recommendation", VLDB 2012.
    """
    return _mean_shown(items[:, :k], np.asarray(popularity, dtype=np.float64))


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
