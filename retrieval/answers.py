"""What a source says to a batch of queries: every item's exact score, and the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.indexing.vectors import VectorIndex
from twofold.retrieval.admission import Admission
from twofold.retrieval.queries import Queries

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
# Up to so many products are computed here, on one core. FAISS and BLAS would share them out among
# threads, which on a busy machine takes ten times as long as the work itself.
SCANNED = 1 << 24
GATHERED = 1 << 20  # numbers gathered at a time, so that they stay near the processor


class Answer(Protocol):
    """What a source says to a batch of queries."""

    def top(self, k: int) -> tuple[Int64s, Floats]:
        """Return the best `k` items a query that may be proposed, and their scores.

        Both ``(n, at most k)``; -1 and ``-inf`` where the source has nothing to say.
        """
        ...

    def at(self, items: Int64s) -> Floats:
        """Return the scores of given items ``(n, m)``; anything at -1."""
        ...


@dataclass(frozen=True)
class DenseAnswer:
    """Scores of all items, written out.

    Parameters
    ----------
    scores
        ``float32 (n, n_items)``.
    admission
        What may be proposed.
    least
        Only scores above this are proposals.
    silent
        Queries to which nothing is proposed, ``bool (n,)``; ``None`` where there are none.
    """

    scores: Floats
    admission: Admission
    least: float
    silent: npt.NDArray[np.bool_] | None = None

    def top(self, k: int) -> tuple[Int64s, Floats]:
        """Return the best items that may be proposed."""
        open_scores = self.scores.copy()
        self.admission.strike(open_scores)
        if self.silent is not None:
            open_scores[self.silent] = -np.inf
        return best(open_scores, k, self.least)

    def at(self, items: Int64s) -> Floats:
        """Return the scores of given items."""
        return np.take_along_axis(self.scores, np.maximum(items, 0), axis=1)


class Board:
    """Dense answers to the same queries side by side, looked through in one go.

    Parameters
    ----------
    answers
        At least one, all under one admission.
    """

    def __init__(self, answers: Sequence[DenseAnswer]) -> None:
        # What may not be proposed is struck out for good: none of it will be asked for.
        self._scores = np.stack([one.scores for one in answers])
        answers[0].admission.strike(self._scores)
        n_answers, n, _ = self._scores.shape
        self._least = np.empty((n_answers, n, 1), dtype=np.float32)
        for number, one in enumerate(answers):
            self._least[number] = one.least
            if one.silent is not None:
                self._least[number, one.silent] = np.inf

    def proposals(self, k: int) -> tuple[Int64s, Int64s, Int64s]:
        """Return what :meth:`DenseAnswer.top` proposes, in no order: answer, query and item."""
        scores, n_items = self._scores, self._scores.shape[2]
        k = min(k, n_items)
        chosen = scores > self._least
        if k < n_items and scores.size:
            cut = np.partition(scores, n_items - k, axis=2)[:, :, n_items - k, None]
            chosen &= scores >= cut
            # Of those tied at the cut, the last by number are too many.
            for answer, query in np.argwhere(np.count_nonzero(chosen, axis=2) > k):
                row = chosen[answer, query]
                tied = np.flatnonzero(row & (scores[answer, query] == cut[answer, query]))
                row[tied[k - np.count_nonzero(row) :]] = False
        place = np.flatnonzero(chosen)
        rows, items = np.divmod(place, n_items)
        return (*np.divmod(rows, max(1, scores.shape[1])), items)

    def at(self, items: Int64s) -> Floats:
        """Return scores of proposed items ``(n, m)``, ``(n_answers, n, m)``; anything at -1."""
        n_answers, n, n_items = self._scores.shape
        place = np.arange(n)[:, None] * n_items + np.maximum(items, 0)
        return self._scores.reshape(n_answers, n * n_items)[:, place]


@dataclass(frozen=True)
class SparseAnswer:
    """Scores of the few items that the history is related to; all others score 0.

    Parameters
    ----------
    scores
        ``float32 (n, n_items)``, CSR with sorted indices; only scores above 0 are proposals.
    admission
        What may be proposed.
    """

    scores: sp.csr_matrix
    admission: Admission

    def top(self, k: int) -> tuple[Int64s, Floats]:
        """Return the best items that may be proposed."""
        n, n_items = self.scores.shape
        k = min(k, n_items)
        keys = _keys(self.scores)
        barred = self.admission.bars(keys // n_items, keys % n_items)
        kept = np.flatnonzero((self.scores.data > 0) & ~barred)
        rows, scores = keys[kept] // n_items, self.scores.data[kept]
        # A stable sort leaves ties in the order of their items.
        order = kept[np.lexsort((-scores, rows))]
        counts = np.bincount(rows, minlength=n)
        place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        order, rows, place = order[place < k], rows[place < k], place[place < k]
        out_items = np.full((n, k), -1, dtype=np.int64)
        out_scores = np.full((n, k), -np.inf, dtype=np.float32)
        out_items[rows, place] = self.scores.indices[order]
        out_scores[rows, place] = self.scores.data[order]
        return out_items, out_scores

    def at(self, items: Int64s) -> Floats:
        """Return the scores of given items."""
        n, n_items = self.scores.shape
        asked = np.arange(n)[:, None] * np.int64(n_items) + np.maximum(items, 0)
        place, there = _found(_keys(self.scores), asked)
        if not self.scores.nnz:
            return np.zeros(items.shape, dtype=np.float32)
        return np.where(there, self.scores.data[place], np.float32(0))


@dataclass(frozen=True)
class VectorAnswer:
    """Inner products with a vector a query, found through the index.

    Parameters
    ----------
    vectors
        One a query, ``float32 (n, d)``; nothing is proposed to zeros.
    index
        Vectors of all items.
    admission
        What may be proposed.
    least
        Only scores above this are proposals.
    """

    vectors: Floats
    index: VectorIndex
    admission: Admission
    least: float = -np.inf

    def top(self, k: int) -> tuple[Int64s, Floats]:
        """Return the nearest items that may be proposed."""
        n, k = len(self.vectors), min(k, len(self.index))
        items = np.full((n, k), -1, dtype=np.int64)
        scores = np.full((n, k), -np.inf, dtype=np.float32)
        # As many more are asked for as may turn out to be excluded.
        deep = min(k + self.admission.most_excluded(), len(self.index))
        spoken = np.asarray(self.vectors.any(axis=1))
        for eligible, rows in self.admission.groups():
            rows = rows[spoken[rows]]
            told, found = self.index.search(self.vectors[rows], deep, among=eligible)
            asked = np.broadcast_to(rows[:, None], found.shape)
            barred = self.admission.bars(asked, found) | (told <= self.least)
            order = np.argsort(barred, axis=1, kind="stable")[:, :k]
            gone = np.take_along_axis(barred, order, axis=1)
            items[rows, : order.shape[1]] = np.where(gone, -1, np.take_along_axis(found, order, 1))
            kept = np.take_along_axis(told, order, axis=1)
            scores[rows, : order.shape[1]] = np.where(gone, -np.inf, kept)
        return items, scores

    def at(self, items: Int64s) -> Floats:
        """Return the cosines of given items."""
        out = np.empty(items.shape, dtype=np.float32)
        step = max(1, GATHERED // max(1, items.shape[1] * self.vectors.shape[1]))
        for start in range(0, len(items), step):
            rows = slice(start, start + step)
            found = self.index.vectors[np.maximum(items[rows], 0)]
            out[rows] = np.vecdot(self.vectors[rows, None], found)
        return out


@dataclass(frozen=True)
class SameAnswer:
    """The same scores for every query.

    Parameters
    ----------
    scores
        ``float32 (n_items,)``.
    order
        The items that are proposals, the best first, ``int64 (m,)``.
    admission
        What may be proposed.
    """

    scores: Floats
    order: Int64s
    admission: Admission

    def top(self, k: int) -> tuple[Int64s, Floats]:
        """Return the best items that may be proposed."""
        n, n_items = self.admission.excluded.shape
        k = min(k, n_items)
        items = np.full((n, k), -1, dtype=np.int64)
        # As many more are looked at as may turn out to be excluded.
        deep = k + self.admission.most_excluded()
        for eligible, rows in self.admission.groups():
            order = self.order if eligible is None else self.order[eligible.mask[self.order]]
            asked = np.broadcast_to(order[:deep], (len(rows), len(order[:deep])))
            barred = self.admission.bars(np.broadcast_to(rows[:, None], asked.shape), asked)
            kept = np.argsort(barred, axis=1, kind="stable")[:, :k]
            gone = np.take_along_axis(barred, kept, axis=1)
            found = np.where(gone, -1, np.take_along_axis(asked, kept, axis=1))
            items[rows, : found.shape[1]] = found
        return items, np.where(items < 0, np.float32(-np.inf), self.at(items))

    def at(self, items: Int64s) -> Floats:
        """Return the scores of given items."""
        return np.asarray(self.scores[np.maximum(items, 0)])


@dataclass(frozen=True)
class Silence:
    """No proposals, and a score of 0 for every item."""

    queries: Queries

    def top(self, k: int) -> tuple[Int64s, Floats]:
        """Return empty rows."""
        shape = (len(self.queries), min(k, self.queries.n_items))
        return np.full(shape, -1, dtype=np.int64), np.full(shape, -np.inf, dtype=np.float32)

    def at(self, items: Int64s) -> Floats:
        """Return zeros."""
        return np.zeros(items.shape, dtype=np.float32)


def nearest(vectors: Floats, index: VectorIndex, admission: Admission) -> Answer:
    """Return cosines with one vector a query, computed here or found through the index.

    Both give the same scores; a zero vector gets no proposals.

    Parameters
    ----------
    vectors
        Unit or zero vectors, ``float32 (n, d)``.
    index
        Vectors of all items.
    admission
        What may be proposed.
    """
    if vectors.size * len(index) > SCANNED:
        return VectorAnswer(vectors, index, admission)
    scores = products(vectors, index.vectors)
    spoken = np.asarray(vectors.any(axis=1))
    return DenseAnswer(scores, admission, -np.inf, ~spoken)


def products(queries: Floats, items: Floats) -> Floats:
    """Return the inner products of queries with items, ``float32 (n, n_items)``.

    Each is added up in the same order whatever stands beside it, which a matrix product does not
    promise, so that equal items tie and a query's scores do not depend on its company.
    """
    return np.asarray(np.vecdot(queries[:, None], items[None]), dtype=np.float32)


def best(scores: Floats, k: int, least: float) -> tuple[Int64s, Floats]:
    """Return the `k` highest scores above `least` of each row, ties by lower item.

    Parameters
    ----------
    scores
        ``float32 (n, n_items)``.
    k
        Length of the rows returned, at most ``n_items``.
    least
        Lower scores come back as -1 and ``-inf``.
    """
    n_items = scores.shape[1]
    k = min(k, n_items)
    cut = np.partition(scores, n_items - k, axis=1)[:, n_items - k, None]
    # All ties at the cut stay in the running, so that the choice among them is by item number.
    rows, items = np.nonzero((scores >= cut) & (scores > least))
    order = np.lexsort((items, -scores[rows, items], rows))
    rows, items = rows[order], items[order]
    counts = np.bincount(rows, minlength=len(scores))
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = place < k
    out_items = np.full((len(scores), k), -1, dtype=np.int64)
    out_scores = np.full((len(scores), k), -np.inf, dtype=np.float32)
    out_items[rows[kept], place[kept]] = items[kept]
    out_scores[rows[kept], place[kept]] = scores[rows[kept], items[kept]]
    return out_items, out_scores


def _keys(matrix: sp.csr_matrix) -> Int64s:
    """Return ``row * n_columns + column`` of each entry, ascending where indices are sorted."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return np.asarray(rows * np.int64(matrix.shape[1]) + matrix.indices)


def _found(keys: Int64s, asked: Int64s) -> tuple[Int64s, npt.NDArray[np.bool_]]:
    """Return where `asked` stand in ascending `keys`, and whether they do."""
    if not len(keys):
        return np.zeros(asked.shape, dtype=np.int64), np.zeros(asked.shape, dtype=bool)
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return place, keys[place] == asked
