"""Where candidates come from: each source scores every item exactly and proposes its best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.indexing.collaborative import Factors
from twofold.indexing.tracing import UNTRACED, Tracer
from twofold.indexing.vectors import VectorIndex
from twofold.retrieval.answers import (
    Answer,
    SameAnswer,
    Silence,
    SparseAnswer,
    nearest,
)
from twofold.retrieval.queries import Queries
from twofold.retrieval.relating import Table, related, table_of

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]


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

    def counts(self, queries: Queries) -> Floats:
        """Return what each event of the histories counts, ``float32 (n_events,)``."""
        ages = queries.ages()
        counted = np.power(self.decay, ages)
        if self.weighted:
            counted = counted * queries.weights
        if self.last is not None:
            counted = np.where(ages < self.last, counted, 0.0)
        return np.asarray(counted, dtype=np.float32)

    def matrix(self, queries: Queries) -> sp.csr_matrix:
        """Return what each item of the histories counts, ``float32 (n, n_items)``."""
        shape = (len(queries), queries.n_items)
        out = sp.csr_matrix((self.counts(queries), queries.items, queries.indptr), shape=shape)
        out.eliminate_zeros()
        return out


@dataclass(frozen=True)
class Collaborative:
    """Inner products of folded-in user factors with item factors."""

    factors: Factors
    view: View
    name: str = "collaborative"

    def answer(self, queries: Queries) -> Answer:
        """Return inner products; without history they are 0, and nothing is proposed."""
        counts = self.view.counts(queries)
        users = self.factors.fold_in_events(queries.indptr, queries.items, counts)
        return nearest([users], self.factors.index, queries.admission, 0.0)[0]


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
        return self.answers([self.view], queries)[0]

    @property
    def table(self) -> object:
        """What the source reads."""
        return self.related

    def answers(self, views: Sequence[View], queries: Queries) -> list[Answer]:
        """Return the answer under each of several views."""
        counts = np.empty((len(views), len(queries.items)), dtype=np.float32)
        for number, view in enumerate(views):
            counts[number] = view.counts(queries)
        touched, values = related(
            self._table, queries.indptr, queries.items, counts, queries.n_items
        )
        return [
            SparseAnswer(touched, values, number, queries.admission) for number in range(len(views))
        ]

    @cached_property
    def _table(self) -> Table:
        return table_of(self.related)


@dataclass(frozen=True)
class Trending:
    """The same scores for everybody."""

    popularity: Floats
    name: str = "trending"
    _scores: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_scores", np.log1p(self.popularity))

    @cached_property
    def _order(self) -> Int64s:
        """The items that trend at all, the best first."""
        order = np.lexsort((np.arange(len(self._scores)), -self._scores))
        return np.asarray(order[: np.count_nonzero(self._scores > 0)])

    def answer(self, queries: Queries) -> Answer:
        """Return the logarithm of popularity."""
        return SameAnswer(self._scores, self._order, queries.admission)


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
        return self.answers([self.view], queries)[0]

    @property
    def table(self) -> object:
        """What the source reads."""
        return self.index

    def answers(self, views: Sequence[View], queries: Queries) -> list[Answer]:
        """Return the answer under each of several views."""
        told = profiles(self.index.vectors, views, queries)
        return nearest(told, self.index, queries.admission)


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
        told = [unit(self.encode(queries.texts))]
        return nearest(told, self.index, queries.admission)[0]


# Sources that read a table under a view, as others may read the same table under theirs.
Viewing = Related | TextProfile


def answers_of(
    sources: Sequence[Source], queries: Queries, tracer: Tracer = UNTRACED
) -> list[Answer]:
    """Return what each source says; those that view the same table read it together."""
    out: dict[int, Answer] = {}
    kin: dict[int, list[int]] = {}
    for number, one in enumerate(sources):
        if isinstance(one, Viewing):
            kin.setdefault(id(one.table), []).append(number)
        else:
            with tracer.span("answer", (number,)):
                out[number] = one.answer(queries)
    for numbers in kin.values():
        same = [one for one in (sources[n] for n in numbers) if isinstance(one, Viewing)]
        with tracer.span("answer", numbers):
            told = same[0].answers([one.view for one in same], queries)
        out |= dict(zip(numbers, told, strict=True))
    return [out[number] for number in range(len(sources))]


def profiles(vectors: Floats, views: Sequence[View], queries: Queries) -> list[Floats]:
    """Return the direction of each query's history under several views.

    Parameters
    ----------
    vectors
        One an item, ``float32 (n_items, d)``.
    views
        Which events speak.
    queries
        ``n`` queries.

    Returns
    -------
    list
        For each view vectors of length 1, 0 without history, ``float32 (n, d)``.
    """
    read = vectors[queries.items]
    out = [np.zeros((len(queries), read.shape[1]), dtype=np.float32) for _ in views]
    filled = np.flatnonzero(queries.lengths())
    for profile, view in zip(out, views, strict=True):
        if len(filled):
            weighed = view.counts(queries)[:, None] * read
            profile[filled] = np.add.reduceat(weighed, queries.indptr[:-1][filled])
    return [unit(profile) for profile in out]


def unit(vectors: Floats) -> Floats:
    """Return vectors of length 1, zeros where they were zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)
