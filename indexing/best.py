"""The best of each query's items, in order: of equal scores the lower item is before the higher."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twofold.indexing.compiled import compiled
from twofold.indexing.inner_products import write_products_at
from twofold.indexing.sorting import (
    bits_in,
    column_of,
    floor_of,
    key_of,
    n_groups,
    not_below,
    number_of,
)

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]


def best(scores: Float32s, items: Int64s, k: int) -> tuple[Float32s, Int64s]:
    """Return the `k` best items of each query.

    Parameters
    ----------
    scores
        ``float32 (n, m)``, not NaN.
    items
        Their numbers, distinct within a row, below 2 ** 32, -1 for none; ``int64 (n, m)``.
    k
        How many.

    Returns
    -------
    scores
        Highest first, ``-inf`` at padding, ``float32 (n, k)``.
    items
        Ties in ascending order, -1 at padding, ``int64 (n, k)``.
    """
    best_scores, best_items = _room(len(scores), k)
    _best(np.ascontiguousarray(scores), np.ascontiguousarray(items), best_scores, best_items)
    return best_scores, best_items


def nearest_of(
    queries: Float32s, vectors: Float32s, proposed: Int64s, k: int
) -> tuple[Float32s, Int64s]:
    """Return the `k` of each query's proposals with the highest inner products.

    Parameters
    ----------
    queries
        ``float32 (n, d)``.
    vectors
        Of all items, ``float32 (n_items, d)``.
    proposed
        Items, distinct within a row, -1 for none, ``int64 (n, m)``.
    k
        How many.

    Returns
    -------
    scores, items
        As of :func:`best`; the products are those of
        :func:`~twofold.indexing.inner_products.products_at`.
    """
    scores, items = _room(len(queries), k)
    _nearest_of(
        np.ascontiguousarray(queries),
        np.ascontiguousarray(vectors),
        np.ascontiguousarray(proposed),
        scores,
        items,
    )
    return scores, items


def certain(
    queries: Float32s, vectors: Float32s, near: Float32s, slack: Float32s, k: int
) -> tuple[Float32s, Int64s]:
    """Return the `k` items of each query with the highest inner products, told of all nearly.

    Parameters
    ----------
    queries
        ``float32 (n, d)``.
    vectors
        Of all items, ``float32 (n_items, d)``.
    near
        Inner products, ``-inf`` where an item is none of them, ``float32 (n, n_items)``.
    slack
        How far what stands in a row of `near` may be off, ``float32 (n,)``.
    k
        How many.

    Returns
    -------
    scores, items
        As of :func:`nearest_of`.
    """
    scores, items = _room(len(queries), k)
    vectors = np.ascontiguousarray(vectors)
    _certain(np.ascontiguousarray(queries), vectors, near, slack, scores, items)
    return scores, items


def _room(n: int, k: int) -> tuple[Float32s, Int64s]:
    return np.full((n, k), -np.inf, dtype=np.float32), np.full((n, k), -1, dtype=np.int64)


@compiled
def _best(scores: Float32s, items: Int64s, best_scores: Float32s, best_items: Int64s) -> None:
    keys = np.empty(scores.shape[1], dtype=np.uint64)
    for row in range(len(scores)):
        _write_best(scores[row], items[row], keys, best_scores[row], best_items[row])


@compiled
def _nearest_of(
    queries: Float32s, vectors: Float32s, proposed: Int64s, scores: Float32s, items: Int64s
) -> None:
    m = proposed.shape[1]
    keys, told = np.empty(m, dtype=np.uint64), np.empty((1, m), dtype=np.float32)
    for row in range(len(queries)):
        one = proposed[row : row + 1]
        write_products_at(queries[row : row + 1], vectors, one, told)
        _write_best(told[0], one[0], keys, scores[row], items[row])


@compiled
def _certain(
    queries: Float32s,
    vectors: Float32s,
    near: Float32s,
    slack: Float32s,
    scores: Float32s,
    items: Int64s,
) -> None:
    n_items, k = near.shape[1], scores.shape[1]
    highest = np.empty(n_groups(n_items), dtype=np.int32)
    kept, told = np.empty((1, n_items), dtype=np.int64), np.empty((1, n_items), dtype=np.float32)
    keys, nothing = np.empty(n_items, dtype=np.uint64), number_of(-np.inf)
    for row in range(len(queries)):
        one = near[row]
        bits = one.view(np.int32)
        size = not_below(bits, highest, max(floor_of(bits, highest, k), nothing + 1), kept[0])
        if size >= k:
            for place in range(size):
                told[0, place] = one[kept[0, place]]
            # What is further below than twice the slack cannot be among the best.
            cut = np.partition(told[0, :size], size - k)[size - k] - 2 * slack[row]
            size = not_below(bits, highest, number_of(cut), kept[0])
        write_products_at(queries[row : row + 1], vectors, kept[:, :size], told[:, :size])
        _write_best(told[0, :size], kept[0, :size], keys, scores[row], items[row])


@compiled
def _write_best(
    scores: Float32s, items: Int64s, keys: UInt64s, best_scores: Float32s, best_items: Int64s
) -> None:
    """Write the best of one row to the head of another, leaving its padding."""
    bits, size, k = scores.view(np.int32), 0, len(best_scores)
    for place in range(len(items)):
        if items[place] >= 0:
            keys[size] = key_of(bits[place], items[place])
            size += 1
    found = keys[:size]
    if size > k:
        found = np.partition(found, k - 1)[:k]
    found, written = np.sort(found), best_scores.view(np.int32)
    for place in range(len(found)):
        written[place] = bits_in(found[place])
        best_items[place] = column_of(found[place])
