"""What a source says to a batch of queries: every item's exact score, and the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from twofold.indexing.best import certain
from twofold.indexing.inner_products import products, products_at
from twofold.indexing.vectors import VectorIndex
from twofold.retrieval.admission import Admission
from twofold.retrieval.queries import Queries
from twofold.retrieval.relating import Touched, best_touched, read_touched
from twofold.retrieval.selection import best_dense, first_open, strike

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
# Vectors up to which their products wait for memory, and those with rounded vectors are quicker.
FEW = 4


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
        return in_order(self.scores, self.chosen(self.scores.copy(), k))

    def chosen(self, scores: Floats, k: int) -> npt.NDArray[np.int32]:
        """Return the best items that may be proposed, in no order.

        Parameters
        ----------
        scores
            This answer's, or a copy of them; those of what may not be proposed become ``-inf``.
        k
            How many.
        """
        least = np.full(len(scores), self.least, dtype=np.float32)
        if self.silent is not None:
            least[self.silent] = np.inf
        return best_dense(scores, min(k, scores.shape[1]), least, self.admission.barred)

    def at(self, items: Int64s) -> Floats:
        """Return the scores of given items."""
        return np.take_along_axis(self.scores, np.maximum(items, 0), axis=1)


@dataclass(frozen=True)
class NearAnswer:
    """Inner products with a vector a query, known nearly of all items.

    Parameters
    ----------
    queries
        One a query, ``float32 (n, d)``.
    vectors
        Of all items, ``float32 (n_items, d)``.
    near, slack
        As of :meth:`~twofold.indexing.vectors.VectorIndex.near`.
    admission
        What may be proposed.
    silent
        Queries to which nothing is proposed, ``bool (n,)``.
    least
        Only scores above this are proposals.
    """

    queries: Floats
    vectors: Floats
    near: Floats
    slack: Floats
    admission: Admission
    silent: npt.NDArray[np.bool_]
    least: float = -np.inf

    def top(self, k: int) -> tuple[Int64s, Floats]:
        """Return the nearest items that may be proposed."""
        return self.chosen(self.near.copy(), k)

    def chosen(self, near: Floats, k: int) -> tuple[Int64s, Floats]:
        """Return the nearest items that may be proposed.

        Parameters
        ----------
        near
            This answer's, or a copy; those of what may not be proposed become ``-inf``.
        k
            How many.
        """
        near[self.silent] = -np.inf
        strike(near, self.admission.barred)
        scores, items = certain(self.queries, self.vectors, near, self.slack, min(k, near.shape[1]))
        gone = scores <= self.least
        items[gone], scores[gone] = -1, -np.inf
        return items, scores

    def at(self, items: Int64s) -> Floats:
        """Return the inner products with given items."""
        return products_at(self.queries, self.vectors, items)


@dataclass(frozen=True)
class SparseAnswer:
    """Scores of the few items that the history is related to; all others score 0.

    Parameters
    ----------
    touched
        The items.
    values
        Their scores under all views of one table, ``float32 (n_views, m)``; only those above 0 are
        proposals.
    view
        Which of the views this is.
    admission
        What may be proposed.
    """

    touched: Touched
    values: Floats
    view: int
    admission: Admission

    def top(self, k: int) -> tuple[Int64s, Floats]:
        """Return the best items that may be proposed."""
        n_items = self.admission.excluded.shape[1]
        barred, own = self.admission.barred, self._own
        chosen = best_touched(self.touched, own, min(k, n_items), barred, n_items)[0]
        return in_order(self.at(chosen.astype(np.int64)), chosen, written_out=False)

    def at(self, items: Int64s) -> Floats:
        """Return the scores of given items."""
        n_items = self.admission.excluded.shape[1]
        return np.asarray(read_touched(self.touched, self._own, items, n_items)[0])

    @property
    def _own(self) -> Floats:
        return self.values[self.view : self.view + 1]


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
        return products_at(self.vectors, self.index.vectors, items)


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
        n_items = self.admission.excluded.shape[1]
        items = first_open(self.order, min(k, n_items), self.admission.barred, n_items)
        found = items.astype(np.int64)
        return found, np.where(found < 0, np.float32(-np.inf), self.at(found))

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


def nearest(
    directions: Sequence[Floats],
    index: VectorIndex,
    admission: Admission,
    least: float = -np.inf,
) -> list[Answer]:
    """Return inner products with one vector a query, computed here or found through the index.

    Both give the same scores; a zero vector gets no proposals.

    Parameters
    ----------
    directions
        For each answer, ``float32 (n, d)``.
    index
        Vectors of all items.
    admission
        What may be proposed.
    least
        Only scores above this are proposals.
    """
    if not index.scanned:
        return [VectorAnswer(one, index, admission, least) for one in directions]
    asked = np.concatenate(directions)
    silent = [np.asarray(~one.any(axis=1)) for one in directions]
    n = len(directions[0])
    if index.rounds and len(asked) <= FEW:
        near, slack = index.near(asked)
        rows = [slice(n * number, n * (number + 1)) for number in range(len(directions))]
        return [
            NearAnswer(one, index.vectors, near[row], slack[row], admission, quiet, least)
            for one, row, quiet in zip(directions, rows, silent, strict=True)
        ]
    # Histories that end alike ask for the same. Rows are compared as bytes, which is quick.
    told = asked.view(np.dtype((np.void, asked.shape[1] * asked.itemsize)))[:, 0]
    _, first, which = np.unique(told, return_index=True, return_inverse=True)
    every = products(asked[first], index.vectors)
    scores = every[which].reshape(len(directions), n, len(index))
    return [
        DenseAnswer(one, admission, least, quiet) for one, quiet in zip(scores, silent, strict=True)
    ]


def in_order(
    scores: Floats, chosen: npt.NDArray[np.int32], *, written_out: bool = True
) -> tuple[Int64s, Floats]:
    """Return chosen items and their scores, the best first, ties by lower item.

    Parameters
    ----------
    scores
        Of all items, ``float32 (n, n_items)``, or of the chosen ones, ``float32 (n, k)``.
    chosen
        Items, -1 where there is none, ``int32 (n, k)``.
    written_out
        Whether the scores are of all items.
    """
    items = chosen.astype(np.int64)
    if written_out:
        scores = np.take_along_axis(scores, np.maximum(items, 0), axis=1)
    told = np.where(items < 0, np.float32(-np.inf), scores)
    order = np.lexsort((items, -told), axis=1)
    return np.take_along_axis(items, order, axis=1), np.take_along_axis(told, order, axis=1)
