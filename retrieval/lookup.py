"""Entries of sparse matrices for a few rows and the columns of candidates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

Floats = npt.NDArray[np.float32]


class Places:
    """Where each query's candidates stand in its list."""

    def __init__(self, candidates: npt.NDArray[np.int64]) -> None:
        self.width = int(candidates.max(initial=0)) + 1
        rows, columns = np.nonzero(candidates >= 0)
        keys = rows * self.width + candidates[rows, columns]
        order = np.argsort(keys, kind="stable")
        self.keys, self.columns = keys[order], columns[order]

    def of(
        self, rows: npt.NDArray[np.int64], items: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return which of the asked pairs are candidates, and their columns."""
        if not len(self.keys):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        small = np.flatnonzero(items < self.width)
        asked = rows[small] * self.width + items[small]
        place = np.minimum(np.searchsorted(self.keys, asked), len(self.keys) - 1)
        hit = self.keys[place] == asked
        return small[hit], self.columns[place[hit]]


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
