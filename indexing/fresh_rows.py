"""The rows of a vector index that its structures do not know, looked at one by one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from twofold.indexing.best import best
from twofold.indexing.inner_products import products
from twofold.indexing.item_set import ItemSet

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FreshRows:
    """Vectors that came, or were changed, after a structure over the others was built.

    Parameters
    ----------
    numbers
        Their numbers, ascending, all from `n_built` on among them, ``int64 (n,)``.
    vectors
        All vectors, ``float32 (n_items, d)``.
    n_built
        How many vectors the structure holds, changed ones as they were.
    """

    numbers: Int64s
    vectors: Float32s
    n_built: int

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def _changed(self) -> Int64s:
        return self.numbers[: np.searchsorted(self.numbers, self.n_built)]

    @cached_property
    def _changed_vectors(self) -> Float32s:
        return self.vectors[self._changed]

    @cached_property
    def _as_built(self) -> ItemSet | None:
        """What the structure holds as it is, ``None`` for all of it."""
        if not len(self._changed):
            return None
        return ItemSet(np.ones(self.n_built, dtype=bool)).without(self._changed)

    def others(self, among: ItemSet | None) -> tuple[ItemSet | None, int]:
        """Return what of some items the structure may find, ``None`` for all, and how many.

        Parameters
        ----------
        among
            The items, ``None`` for all.
        """
        own = self._as_built
        if among is not None:
            mask = among.mask[: self.n_built]
            own = ItemSet(mask if own is None else mask & own.mask)
        return own, self.n_built if own is None else int(np.count_nonzero(own.mask))

    def best(self, queries: Float32s, k: int, among: ItemSet | None) -> tuple[Float32s, Int64s]:
        """Return the best `k` of these rows, at most all, for each query.

        Parameters
        ----------
        queries
            ``float32 (n, d)``.
        k
            How many.
        among
            Only rows of this set; ``None`` for all.

        Returns
        -------
        scores
            Inner products, the highest first, ``-inf`` at padding, ``float32 (n, at most k)``.
        items
            Numbers, ties in ascending order, -1 at padding, ``int64 (n, at most k)``.
        """
        width = min(k, len(self))
        best_scores = np.empty((len(queries), width), dtype=np.float32)
        best_items = np.empty((len(queries), width), dtype=np.int64)
        numbers = self.numbers[None]
        if among is not None:
            numbers = np.where(among.mask[numbers], numbers, -1)
        for row, query in enumerate(queries[:, None]):
            found = best(self.products(query), numbers, width)
            best_scores[row], best_items[row] = (part[0] for part in found)
        return best_scores, best_items

    def products(self, queries: Float32s) -> Float32s:
        """Return the inner products of queries ``(n, d)`` with these rows, ``float32 (n, m)``."""
        parts = (self._changed_vectors, self.vectors[self.n_built :])
        return np.concatenate([products(queries, part) for part in parts], axis=1)


def by_numpy(
    queries: Float32s, vectors: Float32s, width: int, among: ItemSet | None
) -> tuple[Float32s, Int64s]:
    """Return the best `width` items of each query, highest first, as FAISS does."""
    scores = np.empty((len(queries), width), dtype=np.float32)
    items = np.empty((len(queries), width), dtype=np.int64)
    for row, query in enumerate(queries):
        everyone = vectors @ query
        if among is not None:
            everyone = np.where(among.mask, everyone, -np.inf)
        best = np.argpartition(-everyone, width - 1)[:width]
        items[row] = best[np.argsort(-everyone[best], kind="stable")]
        scores[row] = everyone[items[row]]
    return scores, items
