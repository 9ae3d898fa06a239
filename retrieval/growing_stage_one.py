"""Stage one while items come and change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.indexing.growing import Growing
from twofold.retrieval.freshness import UNDATED, Arrivals
from twofold.retrieval.habit_sources import Returns
from twofold.retrieval.stage_one import RELATIONS, StageOne

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]


class GrowingStageOne:
    """Stage one, each state of which stays what it was; changed by one thread at a time.

    An item that came is related to nothing and no one took it: it is found by its text, and by its
    factor where a map tells factors from texts. An item that was changed keeps what users told of
    it.

    Parameters
    ----------
    base
        What a build learned.
    """

    def __init__(self, base: StageOne) -> None:
        self.now = base
        self._n_built = len(base.popularity)
        self._vectors = Growing(base.index.vectors)
        self._factors = Growing(base.factors.items)
        self._popularity = Growing(base.popularity)
        arrivals = base.arrivals
        self._moments = None if arrivals is None else Growing(arrivals.moments)
        returns = base.returns
        self._returning = None if returns is None else Growing(returns.factors)
        self._starts = [Growing(getattr(base, name).indptr) for name in RELATIONS]

    def put(self, numbers: Int64s, vectors: Floats, dates: Int64s | None = None) -> StageOne:
        """Return stage one with some items changed, or more of them.

        Parameters
        ----------
        numbers
            Distinct item numbers; those that follow the last one are new.
        vectors
            Their text vectors, of length 1 or 0, ``float32 (n, d)``.
        dates
            When they came, as of :func:`twofold.retrieval.freshness.dates_of`. Where that is not
            said, new items came at the build's end, and others when they came before.
        """
        before = self.now
        came = numbers[numbers >= len(before.popularity)]
        index = before.index.with_vectors(self._vectors.put(numbers, vectors), numbers)
        # Factors that were learned from users stay; the others follow the text.
        untaken = numbers >= self._n_built
        factors = self._factors.put(numbers[untaken], self._factors_of(vectors[untaken]))
        nothing = np.zeros(len(came), dtype=np.float32)
        relations = [
            _longer(getattr(before, name), starts, len(came))
            for name, starts in zip(RELATIONS, self._starts, strict=True)
        ]
        self.now = replace(
            before,
            **dict(zip(RELATIONS, relations, strict=True)),
            factors=before.factors.with_items(factors, numbers[untaken]),
            popularity=self._popularity.put(came, nothing),
            index=index,
            arrivals=self._arrived(numbers, dates),
            returns=self._returned(came),
        )
        return self.now

    def _returned(self, came: Int64s) -> Returns | None:
        """Return how items are taken again; of those that came nothing is known yet."""
        before = self.now.returns
        if before is None or self._returning is None:
            return None
        usual = np.ones(len(came), dtype=np.float32)
        return replace(before, factors=self._returning.put(came, usual))

    def _arrived(self, numbers: Int64s, dates: Int64s | None) -> Arrivals | None:
        """Return when all items came."""
        before = self.now.arrivals
        if before is None or self._moments is None:
            return None
        moments = np.full(len(numbers), before.end)
        there = numbers < len(before.moments)
        moments[there] = before.moments[numbers[there]]
        if dates is not None:
            moments = np.where(dates == UNDATED, moments, dates)
        return replace(before, moments=self._moments.put(numbers, moments))

    def _factors_of(self, vectors: Floats) -> Floats:
        """Return the factors of items by their texts alone; zeros where no map was learned."""
        if self.now.text_map is None:
            return np.zeros((len(vectors), self._factors.now.shape[1]), dtype=np.float32)
        return self.now.text_map.predict(vectors)


def _longer(matrix: sp.csr_matrix, starts: Growing, more: int) -> sp.csr_matrix:
    """Return a relation with empty rows and columns for so many more items."""
    indptr = starts.append(np.full(more, matrix.indptr[-1], dtype=matrix.indptr.dtype))
    n_items = len(indptr) - 1
    parts = (matrix.data, matrix.indices, indptr)
    return sp.csr_matrix(parts, shape=(n_items, n_items), copy=False)
