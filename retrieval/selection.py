"""The best of many scores, without putting all of them in order."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from twofold.indexing.compiled import compiled
from twofold.indexing.sorting import floor_of, n_groups, not_below, number_of

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]


class Barred(NamedTuple):
    """What may not be proposed, as plain arrays.

    Parameters
    ----------
    starts, items
        Excluded items of query ``q`` are ``items[starts[q]:starts[q + 1]]``, ascending; ``int64
        (n + 1,)`` and ``int32``.
    which
        Which of the filters each query has, -1 for none, ``int64 (n,)``.
    masks
        The items that each filter lets through, ``bool (n_filters, n_items)``.
    """

    starts: Int64s
    items: Int32s
    which: Int64s
    masks: Bools


@compiled
def marked(barred: Barred, query: int, marks: Int32s) -> None:
    """Write ``query + 1`` to the marks of a query's excluded items, ``int32 (n_items,)``."""
    for place in range(barred.starts[query], barred.starts[query + 1]):
        marks[barred.items[place]] = query + 1


@compiled
def taken(scores: Floats, items: Any, k: int, out: Int32s) -> None:
    """Write the `k` best of some items in no order, of a tie at the end the lower ones.

    Parameters
    ----------
    scores
        ``float32 (m,)``.
    items
        ``int32`` or ``int64 (m,)``, distinct.
    k
        How many.
    out
        Takes them, ``int32``, at least `k` long.
    """
    if len(scores) <= k:
        out[: len(items)] = items
        return
    cut, size = np.partition(scores, len(scores) - k)[len(scores) - k], 0
    tied = np.empty(len(items), dtype=np.int32)
    n_tied = 0
    for place in range(len(scores)):
        # Written whether it counts or not, which is quicker than to guess: fewer than `k` do.
        out[size] = tied[n_tied] = items[place]
        size += scores[place] > cut
        n_tied += scores[place] == cut
    lowest = np.sort(tied[:n_tied])
    out[size:k] = lowest[: k - size]


@compiled
def best_dense(scores: Floats, k: int, least: Floats, barred: Barred) -> Int32s:
    """Return the best `k` items of each query in no order, ties by lower item, -1 at the end.

    Parameters
    ----------
    scores
        ``float32 (n, n_items)``; those of what may not be proposed are set to ``-inf``.
    k
        How many, at most ``n_items``.
    least
        Only scores above it are taken, ``float32 (n,)``.
    barred
        What may not be proposed.
    """
    n, n_items = scores.shape
    out = np.full((n, k), -1, dtype=np.int32)
    kept, told = np.empty(n_items, dtype=np.int64), np.empty(n_items, dtype=np.float32)
    highest = np.empty(n_groups(n_items), dtype=np.int32)
    for query in range(n):
        row = scores[query]
        _strike(barred, query, row)
        bits = row.view(np.int32)
        lowest = max(floor_of(bits, highest, k), number_of(least[query]) + 1)
        size = not_below(bits, highest, lowest, kept)
        for place in range(size):
            told[place] = row[kept[place]]
        taken(told[:size], kept[:size], k, out[query])
    return out


@compiled
def strike(scores: Floats, barred: Barred) -> None:
    """Set the scores of what may not be proposed to ``-inf``, ``float32 (n, n_items)``."""
    for query in range(len(scores)):
        _strike(barred, query, scores[query])


@compiled
def _strike(barred: Barred, query: int, row: Floats) -> None:
    for place in range(barred.starts[query], barred.starts[query + 1]):
        row[barred.items[place]] = -np.inf
    if barred.which[query] >= 0:
        mask = barred.masks[barred.which[query]]
        for item in range(len(row)):
            if not mask[item]:
                row[item] = -np.inf


@compiled
def first_open(order: Int64s, k: int, barred: Barred, n_items: int) -> Int32s:
    """Return the first `k` items of an order that may be proposed to each query, -1 at the end.

    Parameters
    ----------
    order
        Items, the best first, ``int64 (m,)``.
    k
        How many.
    barred
        What may not be proposed.
    n_items
        Size of the item vocabulary.
    """
    n = len(barred.starts) - 1
    out = np.full((n, k), -1, dtype=np.int32)
    marks = np.zeros(n_items, dtype=np.int32)
    for query in range(n):
        marked(barred, query, marks)
        filtered, found = barred.which[query], 0
        for item in order:
            if found == k:
                break
            if marks[item] == query + 1 or (filtered >= 0 and not barred.masks[filtered, item]):
                continue
            out[query, found] = item
            found += 1
    return out
