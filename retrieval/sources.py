"""Where candidates come from: each source scores every item exactly and proposes its best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.indexing.collaborative import Factors
from twofold.indexing.vectors import VectorIndex
from twofold.retrieval.queries import Queries

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]


class Answer(Protocol):
    """What a source says to a batch of queries."""

    def top(self, k: int) -> tuple[Int64s, Floats]:
        """Return the best `k` items a query that are not excluded, and their scores.

        Both ``(n, at most k)``; -1 and ``-inf`` where the source has nothing to say.
        """
        ...

    def at(self, items: Int64s) -> Floats:
        """Return the scores of given items ``(n, m)``; anything at -1."""
        ...


class Source(Protocol):
    """Something that proposes items."""

    @property
    def name(self) -> str:
        """Name of the source, as users see it."""
        ...

    def answer(self, queries: Queries) -> Answer:
        """Return what the source says to `queries`."""
        ...


@dataclass(frozen=True)
class View:
    """Which events of a history a source reads, and how much each counts.

    Parameters
    ----------
    decay
        An event with ``a`` later ones counts ``decay ** a``.
    last
        Only so many latest events count; ``None`` takes all.
    weighted
        Whether the event's own weight counts too.
    """

    decay: float = 1.0
    last: int | None = None
    weighted: bool = True

    def matrix(self, queries: Queries) -> sp.csr_matrix:
        """Return what each item of the histories counts, ``float32 (n, n_items)``."""
        ages = queries.ages()
        counted = np.power(self.decay, ages)
        if self.weighted:
            counted = counted * queries.weights
        if self.last is not None:
            counted = np.where(ages < self.last, counted, 0.0)
        shape = (len(queries), queries.n_items)
        out = sp.csr_matrix(
            (counted.astype(np.float32), queries.items, queries.indptr), shape=shape
        )
        out.eliminate_zeros()
        return out


@dataclass(frozen=True)
class DenseAnswer:
    """Scores of all items, written out.

    Parameters
    ----------
    scores
        ``float32 (n, n_items)``.
    excluded
        Items that must not be proposed, ``bool (n, n_items)``.
    least
        Only scores above this are proposals.
    """

    scores: Floats
    excluded: sp.csr_matrix
    least: float

    def top(self, k: int) -> tuple[Int64s, Floats]:
        """Return the best items that are not excluded."""
        open_scores = self.scores.copy()
        rows = np.repeat(np.arange(len(open_scores)), np.diff(self.excluded.indptr))
        open_scores[rows, self.excluded.indices] = -np.inf
        return best(open_scores, k, self.least)

    def at(self, items: Int64s) -> Floats:
        """Return the scores of given items."""
        return np.take_along_axis(self.scores, np.maximum(items, 0), axis=1)


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
    k = min(k, scores.shape[1])
    cut = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
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


@dataclass(frozen=True)
class Collaborative:
    """Inner products of folded-in user factors with item factors."""

    factors: Factors
    view: View
    name: str = "collaborative"

    def answer(self, queries: Queries) -> Answer:
        """Return all inner products; without history they are 0, and nothing is proposed."""
        users = self.factors.fold_in(self.view.matrix(queries))
        scores = np.asarray(users @ self.factors.items.T, dtype=np.float32)
        return DenseAnswer(scores, queries.excluded, 0.0)


@dataclass(frozen=True)
class Related:
    """Items related to those of the history: neighbours, transitions, or the items themselves.

    Parameters
    ----------
    name
        Name of the source.
    related
        ``float32 (n_items, n_items)``, from the history's item to the candidate.
    view
        Which events speak.
    """

    name: str
    related: sp.csr_matrix
    view: View

    def answer(self, queries: Queries) -> Answer:
        """Return the weighted sums over the history; items related to nothing are not proposed."""
        scores = (self.view.matrix(queries) @ self.related).toarray().astype(np.float32)
        return DenseAnswer(scores, queries.excluded, 0.0)


@dataclass(frozen=True)
class Trending:
    """The same scores for everybody."""

    popularity: Floats
    name: str = "trending"

    def answer(self, queries: Queries) -> Answer:
        """Return the logarithm of popularity."""
        scores = np.log1p(np.broadcast_to(self.popularity, (len(queries), len(self.popularity))))
        return DenseAnswer(np.ascontiguousarray(scores), queries.excluded, 0.0)


@dataclass(frozen=True)
class TextProfile:
    """Items whose texts are like those of the history.

    Parameters
    ----------
    name
        Name of the source.
    index
        Vectors of all items.
    view
        Which events make the profile, a weighted mean of their items' vectors.
    """

    name: str
    index: VectorIndex
    view: View

    def answer(self, queries: Queries) -> Answer:
        """Return cosines with the profile; queries without history get no proposals."""
        profiles = self.view.matrix(queries) @ self.index.vectors
        return VectorAnswer(
            unit(np.asarray(profiles, dtype=np.float32)), self.index, queries.excluded
        )


@dataclass(frozen=True)
class TextQuery:
    """Items whose texts answer a free text query.

    Parameters
    ----------
    index
        Vectors of all items.
    encode
        Turns texts into vectors of the index, ``float32 (n, d)``.
    """

    index: VectorIndex
    encode: Callable[[tuple[str, ...]], Floats]
    name: str = "text_query"

    def answer(self, queries: Queries) -> Answer:
        """Return cosines with the query texts; silent where no query has a text."""
        if queries.texts is None:
            return Silence(queries)
        return VectorAnswer(unit(self.encode(queries.texts)), self.index, queries.excluded)


@dataclass(frozen=True)
class VectorAnswer:
    """Cosines with a vector a query, found through the index.

    Parameters
    ----------
    vectors
        Unit or zero vectors, ``float32 (n, d)``.
    index
        Vectors of all items.
    excluded
        Items that must not be proposed.
    """

    vectors: Floats
    index: VectorIndex
    excluded: sp.csr_matrix

    def top(self, k: int) -> tuple[Int64s, Floats]:
        """Return the nearest items that are not excluded."""
        # As many more are asked for as may turn out to be excluded.
        banned = int(np.diff(self.excluded.indptr).max()) if self.excluded.shape[0] else 0
        scores, items = self.index.search(self.vectors, min(k + banned, len(self.index)))
        keys = np.repeat(np.arange(len(items)), np.diff(self.excluded.indptr)).astype(np.int64)
        keys = keys * len(self.index) + self.excluded.indices
        asked = np.arange(len(items))[:, None] * len(self.index) + items
        silent = np.square(self.vectors).sum(axis=1) == 0
        out = np.isin(asked, keys) | silent[:, None] | (items < 0)
        order = np.argsort(out, axis=1, kind="stable")[:, :k]
        gone = np.take_along_axis(out, order, axis=1)
        items = np.take_along_axis(items, order, axis=1)
        scores = np.take_along_axis(scores, order, axis=1)
        return np.where(gone, -1, items), np.where(gone, -np.inf, scores).astype(np.float32)

    def at(self, items: Int64s) -> Floats:
        """Return the cosines of given items."""
        found = np.einsum("nd,nmd->nm", self.vectors, self.index.vectors[np.maximum(items, 0)])
        return np.asarray(found, dtype=np.float32)


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


def unit(vectors: Floats) -> Floats:
    """Return vectors of length 1, zeros where they were zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)
