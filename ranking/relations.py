"""How strongly any item of a history goes with any candidate, counted and smoothed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.utils.extmath import randomized_svd

from twofold.indexing.errors import InputError

if TYPE_CHECKING:
    from twofold.indexing.artefact import Generation, GenerationWriter

Floats = npt.NDArray[np.float32]
RANK = 64


@dataclass(frozen=True)
class Smoothed:
    """A relation of low rank, in which items are related that were never seen together.

    Parameters
    ----------
    left, right
        The strength from item ``i`` to item ``j`` is ``left[i] . right[j]``, ``float16 (n_items,
        r)``.
    """

    left: npt.NDArray[np.float16]
    right: npt.NDArray[np.float16]


@dataclass(frozen=True)
class Relations:
    """Relations from items of a history to candidates, each in two forms.

    Parameters
    ----------
    counted
        The relations as stage one counted them, ``float32 (n_items, n_items)``, indices sorted.
    scales
        What the entries of each are divided by, so that a refit means the same.
    smoothed
        Each of them at low rank, already divided.
    """

    counted: tuple[sp.csr_matrix, ...]
    scales: tuple[float, ...]
    smoothed: tuple[Smoothed, ...]

    def __post_init__(self) -> None:
        if not len(self.counted) == len(self.scales) == len(self.smoothed):
            raise InputError("Relations: one scale and one smoothed form a relation were expected")

    @classmethod
    def of(cls, matrices: Sequence[sp.csr_matrix], *, seed: int, rank: int = RANK) -> Relations:
        """Return the relations of counted matrices.

        The scale of each is the root mean square of its entries; the smoothed form is its truncated
        singular value decomposition (randomised, Halko et al. 2011).

        Parameters
        ----------
        matrices
            ``float32 (n_items, n_items)``, from the history's item to the candidate.
        seed
            Seeds the decomposition.
        rank
            Rank of the smoothed form, less where there are fewer items.
        """
        scales, smoothed = [], []
        for matrix in matrices:
            scale = float(np.sqrt(np.mean(np.square(matrix.data)))) if matrix.nnz else 1.0
            scales.append(scale)
            r = min(rank, matrix.shape[0])
            if not matrix.nnz:
                nothing = np.zeros((matrix.shape[0], r), dtype=np.float16)
                smoothed.append(Smoothed(nothing, nothing))
                continue
            u, s, v = randomized_svd(matrix, r, n_iter=4, random_state=seed)
            root = np.sqrt(s / scale)
            smoothed.append(Smoothed((u * root).astype("f2"), (v.T * root).astype("f2")))
        return cls(tuple(matrices), tuple(scales), tuple(smoothed))

    @property
    def width(self) -> int:
        """How many strengths there are a pair: two a relation."""
        return 2 * len(self.counted)

    def between(
        self,
        history: npt.NDArray[np.int64],
        there: npt.NDArray[np.bool_],
        candidates: npt.NDArray[np.int64],
    ) -> Floats:
        """Return the strengths from history items to candidates, ``float32 (B, H, m, width)``.

        Parameters
        ----------
        history
            Items of ``B`` histories, ``int64 (B, H)``.
        there
            True at events, ``bool (B, H)``; other places get 0.
        candidates
            Candidates of each, ``int64 (B, m)``; those below 0 get 0.
        """
        n, h = history.shape
        m = candidates.shape[1]
        out = np.zeros((n, h, m, self.width), dtype=np.float32)
        if not out.size:
            return out
        rows, places = np.nonzero(there)
        items = history[rows, places]
        where = _Places(candidates)
        for number, (matrix, scale) in enumerate(zip(self.counted, self.scales, strict=True)):
            events, columns, values = _entries(matrix, items)
            asked, found = where.of(rows[events], columns)
            kept = events[asked]
            out[rows[kept], places[kept], found, 2 * number] = values[asked] / scale
        known = np.maximum(candidates, 0)
        for number, one in enumerate(self.smoothed):
            left = one.left[history].astype(np.float32) * there[..., None]
            right = one.right[known].astype(np.float32) * (candidates >= 0)[..., None]
            out[..., 2 * number + 1] = left @ right.transpose(0, 2, 1)
        return out

    def save(self, writer: GenerationWriter) -> None:
        """Write scales and smoothed forms under ``ranker/relations``; stage one has the counts."""
        writer.put_json("ranker/relations/scales", list(self.scales))
        for number, one in enumerate(self.smoothed):
            writer.put_array(f"ranker/relations/{number}/left", one.left)
            writer.put_array(f"ranker/relations/{number}/right", one.right)

    @classmethod
    def open(cls, generation: Generation, counted: Sequence[sp.csr_matrix]) -> Relations:
        """Return what :meth:`save` wrote; its arrays are memory-mapped."""
        scales = tuple(float(one) for one in generation.json("ranker/relations/scales"))
        smoothed = tuple(
            Smoothed(
                generation.array(f"ranker/relations/{number}/left"),
                generation.array(f"ranker/relations/{number}/right"),
            )
            for number in range(len(scales))
        )
        return cls(tuple(counted), scales, smoothed)


class _Places:
    """Where each query's candidates stand in its list."""

    def __init__(self, candidates: npt.NDArray[np.int64]) -> None:
        self.width = int(candidates.max(initial=0)) + 1
        rows, columns = np.nonzero(candidates >= 0)
        keys = rows * self.width + candidates[rows, columns]
        order = np.argsort(keys, kind="stable")
        self.keys, self.columns = keys[order], columns[order]

    def of(
        self, rows: npt.NDArray[np.int64], items: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return which of the asked pairs are candidates, and their columns."""
        if not len(self.keys):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        small = np.flatnonzero(items < self.width)
        asked = rows[small] * self.width + items[small]
        place = np.minimum(np.searchsorted(self.keys, asked), len(self.keys) - 1)
        hit = self.keys[place] == asked
        return small[hit], self.columns[place[hit]]


def _entries(
    matrix: sp.csr_matrix, rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """Return the entries of rows: which of `rows`, column and value of each."""
    starts = matrix.indptr[rows].astype(np.int64)
    lengths = matrix.indptr[rows + 1] - starts
    which = np.repeat(np.arange(len(rows)), lengths)
    ends = np.cumsum(lengths)
    within = np.arange(len(which)) + np.repeat(starts - (ends - lengths), lengths)
    return which, matrix.indices[within].astype(np.int64), matrix.data[within]
