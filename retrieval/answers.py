"""What a source says to a batch of queries: every item's exact score, and the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from twofold.indexing.vectors import VectorIndex
from twofold.retrieval.admission import Admission
from twofold.retrieval.queries import Queries

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
# Up to so many products are computed here, on one core. FAISS and BLAS would share them out among
# threads, which on a busy machine takes ten times as long as the work itself.
SCANNED = 1 << 24
NEARBY = 1 << 18  # numbers that stay near the processor
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


@dataclass(frozen=True)
class SparseAnswer:
    """Scores of the few items that the history is related to; all others score 0.

    Parameters
    ----------
    keys
        ``query * n_items + item`` of each score that is there, ascending, ``int64 (m,)``.
    values
        The scores, ``float32 (m,)``; only those above 0 are proposals.
    admission
        What may be proposed.
    """

    keys: Int64s
    values: Floats
    admission: Admission

    def top(self, k: int) -> tuple[Int64s, Floats]:
        """Return the best items that may be proposed."""
        n, n_items = self.admission.excluded.shape
        k = min(k, n_items)
        rows, items = np.divmod(self.keys, n_items)
        kept = np.flatnonzero((self.values > 0) & ~self.admission.bars(rows, items))
        rows, items, values = rows[kept], items[kept], self.values[kept]
        order = np.lexsort((items, -values, rows))
        counts = np.bincount(rows, minlength=n)
        place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        order, rows, place = order[place < k], rows[place < k], place[place < k]
        out_items = np.full((n, k), -1, dtype=np.int64)
        out_scores = np.full((n, k), -np.inf, dtype=np.float32)
        out_items[rows, place], out_scores[rows, place] = items[order], values[order]
        return out_items, out_scores

    def at(self, items: Int64s) -> Floats:
        """Return the scores of given items."""
        return self.read(*self.places(items))

    def places(self, items: Int64s) -> tuple[Int64s, npt.NDArray[np.bool_]]:
        """Return where the scores of given items ``(n, m)`` stand, and whether they do."""
        n_items = np.int64(self.admission.excluded.shape[1])
        asked = np.arange(len(items))[:, None] * n_items + np.maximum(items, 0)
        place = np.minimum(np.searchsorted(self.keys, asked), max(0, len(self.keys) - 1))
        there = self.keys[place] == asked if len(self.keys) else np.zeros(asked.shape, dtype=bool)
        return place, there

    def read(self, place: Int64s, there: npt.NDArray[np.bool_]) -> Floats:
        """Return the scores at places as of :meth:`places`, 0 where there is none."""
        if not len(self.values):
            return np.zeros(place.shape, dtype=np.float32)
        return np.where(there, self.values[place], np.float32(0))


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


def nearest(directions: Sequence[Floats], index: VectorIndex, admission: Admission) -> list[Answer]:
    """Return cosines with one vector a query, computed here or found through the index.

    Both give the same scores; a zero vector gets no proposals.

    Parameters
    ----------
    directions
        For each answer unit or zero vectors, ``float32 (n, d)``.
    index
        Vectors of all items.
    admission
        What may be proposed.
    """
    if index.proposer is not None or directions[0].size * len(index) > SCANNED:
        return [VectorAnswer(one, index, admission) for one in directions]
    every = products(np.concatenate(directions), index.vectors)
    told = every.reshape(len(directions), -1, len(index))
    return [
        DenseAnswer(scores, admission, -np.inf, np.asarray(~one.any(axis=1)))
        for one, scores in zip(directions, told, strict=True)
    ]


def products(queries: Floats, items: Floats) -> Floats:
    """Return the inner products of queries with items, ``float32 (n, n_items)``.

    Each is added up in the same order whatever stands beside it, which a matrix product does not
    promise, so that equal items tie and a query's scores do not depend on its company.
    """
    out = np.empty((len(queries), len(items)), dtype=np.float32)
    step = max(1, NEARBY // items.shape[1])
    for start in range(0, len(items), step):
        # A part of the items stays near the processor while all queries meet it.
        part = items[start : start + step]
        out[:, start : start + step] = np.vecdot(queries[:, None], part[None])
    return out


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
