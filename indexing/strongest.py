"""The strongest entries of each row, of a matrix and of products that are never held whole."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.indexing.compiled import compiled

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
BLOCK = 1024  # rows that one thread makes at a time


class Kept(NamedTuple):
    """Room for the entries that rows keep: columns and values ``(n, k)``, and how many each."""

    columns: Int32s
    values: Floats
    counts: Int64s


Fill = Callable[[int, int, Kept], None]


def strongest(matrix: sp.csr_matrix, k: int) -> sp.csr_matrix:
    """Return the `k` largest entries of each row, indices sorted, ties by lower column."""
    matrix.sort_indices()
    kept = _largest(matrix.indptr, matrix.data, k)
    ends = np.concatenate([[0], np.cumsum(kept)])
    data = matrix.data[kept].astype(np.float32)
    indptr = ends[matrix.indptr]
    return sp.csr_matrix((data, matrix.indices[kept], indptr), shape=matrix.shape)


def strongest_shared(
    left: sp.csr_matrix,
    right: sp.csr_matrix,
    k: int,
    *,
    norms: tuple[Floats, Floats],
    shrinkage: float = 0.0,
    threads: int = 1,
) -> sp.csr_matrix:
    """Return the `k` largest of each row of ``left @ right``, divided by norms, zero diagonal.

    ``(left @ right) / (sqrt(row's norm * column's norm) + shrinkage)``, a row at a time (Gustavson
    1978): the product itself has many times the entries that are kept.

    Parameters
    ----------
    left, right
        ``float32 (n, m)`` and ``(m, n)``.
    k
        Entries a row; of equal ones those of lower columns.
    norms
        Of rows and of columns, ``float32 (n,)`` each.
    shrinkage
        See above.
    threads
        For speed alone: the bits do not depend on it.
    """
    fixed = (left.indptr, left.indices, left.data, right.indptr, right.indices, right.data)
    how = (*norms, np.float32(shrinkage))

    def fill(start: int, end: int, kept: Kept) -> None:
        _shared(start, end, *fixed, *how, kept.columns, kept.values, kept.counts)

    return _by_blocks(left.shape[0], k, fill, threads)


class Walks(NamedTuple):
    """Events in order of user and time, ``int64 (n,)`` each, and what a pair of them counts.

    Parameters
    ----------
    users, items
        Of each event.
    steps
        Places in the user's sequence, those of one moment the same.
    worth
        What a pair one step apart counts, two steps, and so on, ``float64 (reach,)``.
    """

    users: Int64s
    items: Int64s
    steps: Int64s
    worth: Doubles


def strongest_onward(walks: Walks, k: int, *, scale: Doubles, threads: int = 1) -> sp.csr_matrix:
    """Return the `k` strongest of what followed each item, row first and column later.

    The worth of all pairs of two items, times the scale of both. Pairs are counted item by item, so
    that memory does not grow with how many there are.

    Parameters
    ----------
    walks
        The events.
    k
        Entries a row; of equal ones those of lower columns.
    scale
        Of each item, ``float64 (n_items,)``.
    threads
        For speed alone: the bits do not depend on it.
    """
    order = np.argsort(walks.items, kind="stable")
    starts = np.searchsorted(walks.items[order], np.arange(len(scale) + 1))

    def fill(start: int, end: int, kept: Kept) -> None:
        _followed(start, end, order, starts, *walks, scale, *kept)

    return _by_blocks(len(scale), k, fill, threads)


def _by_blocks(n: int, k: int, fill: Fill, threads: int) -> sp.csr_matrix:
    """Return rows that `fill` makes, some at a time."""
    width = min(k, n)

    def block(start: int) -> tuple[Int64s, Int32s, Floats]:
        rows = min(BLOCK, n - start)
        room = Kept(
            np.empty((rows, width), np.int32),
            np.empty((rows, width), np.float32),
            np.zeros(rows, np.int64),
        )
        fill(start, start + rows, room)
        there = np.arange(width) < room.counts[:, None]
        return room.counts, room.columns[there], room.values[there]

    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(block, range(0, n, BLOCK)))
    if not parts:
        return sp.csr_matrix((0, 0), dtype=np.float32)
    counts, columns, values = (np.concatenate(each) for each in zip(*parts, strict=True))
    return sp.csr_matrix((values, columns, np.append(0, np.cumsum(counts))), shape=(n, n))


@compiled
def _shared(
    start: int,
    end: int,
    left_starts: Int32s,
    left_columns: Int32s,
    left_data: Floats,
    right_starts: Int32s,
    right_columns: Int32s,
    right_data: Floats,
    row_norms: Floats,
    column_norms: Floats,
    shrinkage: np.float32,
    columns: Int32s,
    values: Floats,
    counts: Int64s,
) -> None:
    """Write the strongest of some rows of a product."""
    sums = np.zeros(len(column_norms), dtype=np.float32)
    touched_by = np.full(len(column_norms), -1, dtype=np.int64)
    touched = np.empty(len(column_norms), dtype=np.int32)
    for row in range(start, end):
        n = 0
        for at in range(left_starts[row], left_starts[row + 1]):
            inner, weight = left_columns[at], left_data[at]
            for place in range(right_starts[inner], right_starts[inner + 1]):
                column = right_columns[place]
                if touched_by[column] != row:
                    touched_by[column] = row
                    sums[column] = 0
                    touched[n] = column
                    n += 1
                sums[column] += weight * right_data[place]
        others = 0
        for place in range(n):
            column = touched[place]
            if column != row:
                norm = np.sqrt(row_norms[row] * column_norms[column]) + shrinkage
                sums[column] = sums[column] / norm
                touched[others] = column
                others += 1
        counts[row - start] = _cut(
            touched[:others], sums, columns[row - start], values[row - start]
        )


@compiled
def _followed(
    start: int,
    end: int,
    order: Int64s,
    starts: Int64s,
    users: Int64s,
    items: Int64s,
    steps: Int64s,
    worth: Doubles,
    scale: Doubles,
    columns: Int32s,
    values: Floats,
    counts: Int64s,
) -> None:
    """Write the strongest of what followed some items."""
    sums = np.zeros(len(scale), dtype=np.float64)
    touched_by = np.full(len(scale), -1, dtype=np.int64)
    touched = np.empty(len(scale), dtype=np.int32)
    for row in range(start, end):
        n = 0
        for at in range(starts[row], starts[row + 1]):
            event = order[at]
            for later in range(event + 1, len(items)):
                span = steps[later] - steps[event]
                if users[later] != users[event] or span > len(worth):
                    break
                column = items[later]
                if span == 0 or column == row:
                    continue
                if touched_by[column] != row:
                    touched_by[column] = row
                    sums[column] = 0
                    touched[n] = column
                    n += 1
                sums[column] += worth[span - 1]
        for place in range(n):
            column = touched[place]
            sums[column] = scale[row] * sums[column] * scale[column]
        counts[row - start] = _cut(touched[:n], sums, columns[row - start], values[row - start])


@compiled
def _cut(touched: Int32s, sums: npt.NDArray[np.floating], columns: Int32s, values: Floats) -> int:
    """Write the largest sums of some columns, as many as there is room for, columns rising."""
    k, n = len(columns), len(touched)
    if n > k:
        told = sums[touched]
        # Rows of busy catalogues are long: they are cut in two, not sorted.
        border = np.partition(told, n - k)[n - k]
        room, n = k, 0
        for column in touched:
            if sums[column] >= border:
                room -= sums[column] > border
                touched[n] = column
                n += 1
    else:
        border, room = -np.inf, 0
    rising, kept = np.sort(touched[:n]), 0
    for column in rising:
        if sums[column] == border:
            if room <= 0:
                continue
            room -= 1
        columns[kept] = column
        values[kept] = sums[column]
        kept += 1
    return kept


@compiled
def _largest(starts: Int32s, values: Doubles, k: int) -> npt.NDArray[np.bool_]:
    """Return which entries are among the `k` largest of their row, the first of equal ones."""
    kept = np.ones(len(values), dtype=np.bool_)
    for row in range(len(starts) - 1):
        start, stop = starts[row], starts[row + 1]
        if stop - start <= k:
            continue
        border = np.partition(values[start:stop], stop - start - k)[stop - start - k]
        room = k
        for at in range(start, stop):
            room -= values[at] > border
        for at in range(start, stop):
            if values[at] == border and room > 0:
                room -= 1
            elif values[at] <= border:
                kept[at] = False
    return kept
