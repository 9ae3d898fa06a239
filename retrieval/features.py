"""What stage two is told of each candidate: the sources' scores, standardised within the row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from twofold.indexing.compiled import compiled
from twofold.indexing.sorting import column_of, descending

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
VIEWS = ("z", "rank", "proposed")


def feature_names(sources: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the features of sources, ``collaborative.z`` and so on."""
    return tuple(f"{source}.{view}" for source in sources for view in VIEWS)


def standardise(
    scores: Floats, proposed: npt.NDArray[np.uint32], mask: npt.NDArray[np.bool_]
) -> Floats:
    """Return the features of merged candidates, ``float32 (n, m, 3 * n_sources)``.

    For each source: the score's distance from the row's mean in standard deviations (0 where all
    are equal); a logarithmic rank from +0.5 for the best downwards, tied scores sharing their mean
    place (0 where all are tied); and whether the source proposed the item. All are free of the
    scores' scale, so that they survive a refit of stage one, and none depends on other rows.

    Parameters
    ----------
    scores
        What each source says, ``float32 (n_sources, n, m)``.
    proposed
        Bit ``s`` is set where source ``s`` proposed the item, ``uint32 (n, m)``.
    mask
        True at candidates, ``bool (n, m)``.
    """
    n, m = mask.shape
    out = np.zeros((n, m, 3 * len(scores)), dtype=np.float32)
    if out.size:
        scores = np.ascontiguousarray(scores, dtype=np.float32)
        # Places are whole numbers or, among ties, halves: each logarithm is taken once.
        ranks = 0.5 - np.log1p(np.arange(2 * m) / 2) / np.log1p(100.0)
        _written(scores, proposed, mask, descending(scores, mask), ranks, out)
    return out


@compiled
def _written(
    scores: Floats,
    proposed: npt.NDArray[np.uint32],
    mask: npt.NDArray[np.bool_],
    keys: npt.NDArray[np.uint64],
    ranks: npt.NDArray[np.float64],
    out: Floats,
) -> None:
    """Write all features, given each row's keys in order."""
    n_sources, n, _ = scores.shape
    for query in range(n):
        there = np.flatnonzero(mask[query])
        for source in range(n_sources):
            told, order = scores[source, query], keys[source, query, : len(there)]
            z, rank, own = 3 * source, 3 * source + 1, 3 * source + 2
            for column in there:
                bit = (proposed[query, column] >> np.uint32(source)) & np.uint32(1)
                out[query, column, own] = bit
            mean, deviation = _spread(told, there)
            if deviation <= 1e-6 * max(1.0, abs(mean)):
                continue
            for column in there:
                out[query, column, z] = min(max((told[column] - mean) / deviation, -10.0), 10.0)
            first = 0
            while first < len(order):
                end = first + 1
                while (
                    end < len(order)
                    and told[column_of(order[end])] == told[column_of(order[first])]
                ):
                    end += 1
                for place in range(first, end):
                    out[query, column_of(order[place]), rank] = ranks[first + end - 1]
                first = end


@compiled
def _spread(told: Floats, there: Int64s) -> tuple[float, float]:
    """Return mean and standard deviation of a row's candidates, 0 where there is none."""
    if not len(there):
        return 0.0, 0.0
    mean = 0.0
    for column in there:
        mean += told[column]
    mean /= len(there)
    squares = 0.0
    for column in there:
        squares += (told[column] - mean) ** 2
    return mean, np.sqrt(squares / len(there))
