"""Entries of sparse matrices for a few rows and the columns of candidates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

Floats = npt.NDArray[np.float32]
TABULATED = 1 << 18


class Places:
    """Where each query's candidates stand in its list.

    Parameters
    ----------
    candidates
        Items of each query, each at most once, -1 at padding, ``int64 (n, m)``.
    """

    def __init__(self, candidates: npt.NDArray[np.int64]) -> None:
        self._width = int(candidates.max(initial=0)) + 1
        rows, columns = np.nonzero(candidates >= 0)
        keys = rows * self._width + candidates[rows, columns]
        self._table: npt.NDArray[np.int32] | None = None
        if len(candidates) * self._width <= TABULATED:
            # One look instead of a search: a few hundred candidates are asked for thousands of
            # entries, most of which are none of them.
            self._table = np.full(len(candidates) * self._width, -1, dtype=np.int32)
            self._table[keys] = columns
        else:
            order = np.argsort(keys)
            self._keys, self._columns = keys[order], columns[order]

    def of(
        self, rows: npt.NDArray[np.int64], items: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return which of the asked pairs are candidates, and their columns."""
        small = np.flatnonzero(items < self._width)
        asked = rows[small] * self._width + items[small]
        if self._table is not None:
            found = self._table[asked]
            hit = np.flatnonzero(found >= 0)
            return small[hit], found[hit].astype(np.int64)
        if not len(self._keys):
            return small[:0], self._columns
        place = np.minimum(np.searchsorted(self._keys, asked), len(self._keys) - 1)
        hit = np.flatnonzero(self._keys[place] == asked)
        return small[hit], self._columns[place[hit]]


class Entries(NamedTuple):
    """Entries of some rows of a matrix: which of the rows, column and value of each."""

    which: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int32]
    values: Floats


def entries_of(matrix: sp.csr_matrix, rows: npt.NDArray[np.int64]) -> Entries:
    """Return the entries of rows of a matrix, row after row."""
    starts = matrix.indptr[rows].astype(np.int64)
    lengths = matrix.indptr[rows + 1] - starts
    which = np.repeat(np.arange(len(rows)), lengths)
    ends = np.cumsum(lengths)
    within = np.arange(len(which)) + np.repeat(starts - (ends - lengths), lengths)
    return Entries(which, matrix.indices[within], matrix.data[within])
