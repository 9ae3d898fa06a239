"""What stage two is told of each candidate: the sources' scores, standardised within the row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from twofold.indexing.compiled import compiled
from twofold.indexing.sorting import column_of, descending, score_of

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
VIEWS = ("z", "rank", "proposed")
TOGETHER = 8  # numbers that are added up side by side
STEP = 256  # between the lengths that ranks are told for


def feature_names(sources: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the features of sources, ``collaborative.z`` and so on."""
    return tuple(f"{source}.{view}" for source in sources for view in VIEWS)


def standardise(scores: Floats, proposed: npt.NDArray[np.uint32], lengths: Int64s) -> Floats:
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
    lengths
        How many candidates each row begins with, ``int64 (n,)``; the features behind are 0.
    """
    n, m = proposed.shape
    out = np.empty((n, m, 3 * len(scores)), dtype=np.float32)
    if out.size:
        scores = np.ascontiguousarray(scores, dtype=np.float32)
        keys = descending(scores, np.arange(m) < lengths[:, None])
        _written(scores, proposed, lengths, keys, _ranks(-(-m // STEP) * STEP), out)
    return out


@lru_cache(maxsize=16)
def _ranks(n: int) -> Floats:
    """Return the rank at each place, which is a whole number or, among ties, a half."""
    return np.asarray(0.5 - np.log1p(np.arange(2 * n) / 2) / np.log1p(100.0), dtype=np.float32)


@compiled
def _written(
    scores: Floats,
    proposed: npt.NDArray[np.uint32],
    lengths: Int64s,
    keys: npt.NDArray[np.uint64],
    ranks: Floats,
    out: Floats,
) -> None:
    """Write all features, given each row's keys in order."""
    n_sources, n, m = scores.shape
    told, placed = np.empty((2, n_sources, m), dtype=np.float32)
    for query in range(n):
        length = lengths[query]
        for source in range(n_sources):
            row = scores[source, query, :length]
            if _told(row, told[source]):
                _placed(keys[source, query, :length], ranks, placed[source])
            else:
                told[source, :length], placed[source, :length] = 0, 0
        for column in range(length):
            bits = proposed[query, column]
            for source in range(n_sources):
                out[query, column, 3 * source] = told[source, column]
                out[query, column, 3 * source + 1] = placed[source, column]
                out[query, column, 3 * source + 2] = (bits >> np.uint32(source)) & np.uint32(1)
        out[query, length:] = 0


@compiled
def _told(row: Floats, out: Floats) -> bool:
    """Write how many standard deviations scores are from their mean; not so where all are equal."""
    length = len(row)
    if not length:
        return False
    mean = _total(row, 0.0, False) / length
    deviation = np.sqrt(_total(row, mean, True) / length)
    if deviation <= 1e-6 * max(1.0, abs(mean)):
        return False
    for column in range(length):
        out[column] = min(max((row[column] - mean) / deviation, -10.0), 10.0)
    return True


@compiled
def _total(row: Floats, mean: float, squared: bool) -> float:
    """Return the sum of distances from a mean, or of their squares, in double precision."""
    sums, whole = np.zeros(TOGETHER), len(row) // TOGETHER * TOGETHER
    for start in range(0, whole, TOGETHER):
        # Sums that do not wait for each other.
        for lane in range(TOGETHER):
            away = row[start + lane] - mean
            sums[lane] += away * away if squared else away
    for column in range(whole, len(row)):
        away = row[column] - mean
        sums[column - whole] += away * away if squared else away
    return np.sum(sums)


@compiled
def _placed(order: npt.NDArray[np.uint64], ranks: Floats, out: Floats) -> None:
    """Write each score's rank, given their keys in order."""
    first = 0
    while first < len(order):
        end, score = first + 1, score_of(order[first])
        while end < len(order) and score_of(order[end]) == score:
            end += 1
        for place in range(first, end):
            out[column_of(order[place])] = ranks[first + end - 1]
        first = end
