"""Sums of what a history is related to: of the few items that it is related to at all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.indexing.compiled import compiled
from twofold.retrieval.selection import Barred, marked, taken

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]


class Table(NamedTuple):
    """A relation of items to items as plain arrays, row after row.

    Parameters
    ----------
    starts
        Row ``i`` is ``starts[i]:starts[i + 1]``, ``int64 (n_items + 1,)``.
    items
        Related items, ``int32``.
    values
        How much they are related, ``float32``.
    """

    starts: Int64s
    items: Int32s
    values: Floats


def table_of(matrix: sp.csr_matrix) -> Table:
    """Return a relation as plain arrays; items and values stay where they were mapped as such."""
    starts, items = np.asarray(matrix.indptr), np.asarray(matrix.indices)
    return Table(
        starts.astype(np.int64),
        items.astype(np.int32, copy=False),
        np.asarray(matrix.data, dtype=np.float32),
    )


class Touched(NamedTuple):
    """The items that each query's history is related to.

    Parameters
    ----------
    starts
        Those of query ``q`` are ``starts[q]:starts[q + 1]``, ``int64 (n + 1,)``.
    items
        Each once, as they were met, ``int32 (m,)``.
    """

    starts: Int64s
    items: Int32s


@compiled
def related(
    table: Table, starts: Int64s, items: Int64s, counts: Floats, n_items: int
) -> tuple[Touched, Floats]:
    """Return what histories are related to under several views, and how much.

    Parameters
    ----------
    table
        The relation.
    starts, items
        History of query ``q`` is ``items[starts[q]:starts[q + 1]]``, ``int64``.
    counts
        What each event counts under each view, ``float32 (n_views, n_events)``.
    n_items
        Size of the item vocabulary.

    Returns
    -------
    tuple
        The items, and their sums under each view, ``float32 (n_views, m)``; added up in double
        precision, in the order of the history.
    """
    n, n_views = len(starts) - 1, len(counts)
    most = 0
    for item in items:
        most += table.starts[item + 1] - table.starts[item]
    found = np.empty(most, dtype=np.int32)
    values = np.empty((n_views, most), dtype=np.float32)
    ends = np.zeros(n + 1, dtype=np.int64)
    place = np.full(n_items, -1, dtype=np.int32)
    sums = np.empty((n_items, n_views), dtype=np.float64)
    total = 0
    for query in range(n):
        begun = total
        for event in range(starts[query], starts[query + 1]):
            spoken = False
            for view in range(n_views):
                spoken |= counts[view, event] != 0
            if not spoken:
                continue
            item = items[event]
            for entry in range(table.starts[item], table.starts[item + 1]):
                other, value = table.items[entry], np.float64(table.values[entry])
                if place[other] < 0:
                    place[other] = 1
                    found[total] = other
                    total += 1
                    for view in range(n_views):
                        sums[other, view] = counts[view, event] * value
                else:
                    for view in range(n_views):
                        sums[other, view] += counts[view, event] * value
        for at in range(begun, total):
            other = found[at]
            place[other] = -1
            for view in range(n_views):
                values[view, at] = sums[other, view]
        ends[query + 1] = total
    return Touched(ends, found[:total].copy()), values[:, :total].copy()


@compiled
def add_between(table: Table, rows: Int64s, columns: Int64s, n_items: int, sums: Floats) -> None:
    """Add how much some items are related to others.

    Parameters
    ----------
    table
        The relation.
    rows
        Whose rows are read, ``int64 (n,)``.
    columns
        Items that may stand in them, distinct, ``int64 (m,)``.
    n_items
        Size of the item vocabulary.
    sums
        What is added to, ``float32 (n, m)``.
    """
    places = np.zeros(n_items, dtype=np.int32)
    for column in range(len(columns)):
        places[columns[column]] = column + 1
    for row in range(len(rows)):
        for entry in range(table.starts[rows[row]], table.starts[rows[row] + 1]):
            column = places[table.items[entry]] - 1
            if column >= 0:
                sums[row, column] += table.values[entry]


@compiled
def best_touched(touched: Touched, values: Floats, k: int, barred: Barred, n_items: int) -> Int32s:
    """Return the best `k` items of each query in no order, ties by lower item, -1 at the end.

    Under each view, ``int32 (n_views, n, k)``.

    Parameters
    ----------
    touched
        Items.
    values
        Their scores, ``float32 (n_views, m)``; only those above 0 are taken.
    k
        How many.
    barred
        What may not be proposed.
    n_items
        Size of the item vocabulary.
    """
    n, n_views = len(touched.starts) - 1, len(values)
    out = np.full((n_views, n, k), -1, dtype=np.int32)
    marks = np.zeros(n_items, dtype=np.int32)
    most = 0
    for query in range(n):
        most = max(most, touched.starts[query + 1] - touched.starts[query])
    kept, kept_items = np.empty(most, dtype=np.float32), np.empty(most, dtype=np.int32)
    free = np.empty(most, dtype=np.bool_)
    for query in range(n):
        marked(barred, query, marks)
        filtered = barred.which[query]
        start, end = touched.starts[query], touched.starts[query + 1]
        items = touched.items[start:end]
        for place in range(len(items)):
            item = items[place]
            free[place] = marks[item] != query + 1
            if filtered >= 0 and not barred.masks[filtered, item]:
                free[place] = False
        for view in range(n_views):
            size, told = 0, values[view, start:end]
            for place in range(len(items)):
                # Written whether it counts or not, which is quicker than to guess.
                kept[size], kept_items[size] = told[place], items[place]
                size += free[place] and told[place] > 0
            taken(kept[:size], kept_items[:size], k, out[view, query])
    return out


@compiled
def read_touched(touched: Touched, values: Floats, items: Int64s, n_items: int) -> Floats:
    """Return the scores of given items under several views, 0 where there is none.

    Parameters
    ----------
    touched
        Items.
    values
        Their scores, ``float32 (n_views, m)``.
    items
        Of each query, each at most once, -1 at padding, ``int64 (n, m)``.
    n_items
        Size of the item vocabulary.

    Returns
    -------
    numpy.ndarray
        ``float32 (n_views, n, m)``.
    """
    n, m = items.shape
    out = np.zeros((len(values), n, m), dtype=np.float32)
    places = np.zeros(n_items, dtype=np.int32)
    for query in range(n):
        for column in range(m):
            if items[query, column] >= 0:
                places[items[query, column]] = column + 1
        for at in range(touched.starts[query], touched.starts[query + 1]):
            column = places[touched.items[at]] - 1
            if column >= 0:
                for view in range(len(values)):
                    out[view, query, column] = values[view, at]
        for column in range(m):
            if items[query, column] >= 0:
                places[items[query, column]] = 0
    return out
