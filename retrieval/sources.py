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
from twofold.retrieval.answers import Answer, DenseAnswer, Silence, SparseAnswer, nearest, products
from twofold.retrieval.queries import Queries

Floats = npt.NDArray[np.float32]


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
class Collaborative:
    """Inner products of folded-in user factors with item factors."""

    factors: Factors
    view: View
    name: str = "collaborative"

    def answer(self, queries: Queries) -> Answer:
        """Return all inner products; without history they are 0, and nothing is proposed."""
        users = self.factors.fold_in(self.view.matrix(queries))
        return DenseAnswer(products(users, self.factors.items), queries.excluded, 0.0)


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
        scores = (self.view.matrix(queries) @ self.related).tocsr()
        scores.sort_indices()
        return SparseAnswer(scores, queries.excluded)


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
        return nearest(unit(np.asarray(profiles, dtype=np.float32)), self.index, queries.excluded)


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
        return nearest(unit(self.encode(queries.texts)), self.index, queries.excluded)


def unit(vectors: Floats) -> Floats:
    """Return vectors of length 1, zeros where they were zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)
