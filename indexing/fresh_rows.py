"""The rows of a vector index that its structures do not know, looked at one by one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

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
        width, n_changed = min(k, len(self)), len(self._changed)
        best_scores = np.full((len(queries), width), -np.inf, dtype=np.float32)
        best_items = np.full((len(queries), width), -1, dtype=np.int64)
        scores = np.empty(len(self), dtype=np.float32)
        barred = None if among is None else ~among.mask[self.numbers]
        for row, query in enumerate(queries if width else queries[:0]):
            np.vecdot(query, self._changed_vectors, out=scores[:n_changed])
            np.vecdot(query, self.vectors[self.n_built :], out=scores[n_changed:])
            if barred is not None:
                scores[barred] = -np.inf
            cut = np.partition(scores, len(scores) - width)[len(scores) - width]
            # All ties at the cut are in the running: which of them stay is by number.
            kept = np.flatnonzero((scores >= cut) & (scores > -np.inf))
            told, items = ordered(scores[kept], self.numbers[kept], width)
            fill(best_scores[row], best_items[row], told, items)
        return best_scores, best_items


def ordered(scores: Float32s, items: Int64s, k: int) -> tuple[Float32s, Int64s]:
    """Return the `k` highest scores of each row and their items, ties by lower item."""
    order = np.lexsort((items, -scores), axis=-1)[..., :k]
    return np.take_along_axis(scores, order, axis=-1), np.take_along_axis(items, order, axis=-1)


def fill(scores: Float32s, items: Int64s, best_scores: Float32s, best_items: Int64s) -> None:
    """Write what was found to the head of rows, leaving their padding."""
    n = best_items.shape[-1]
    scores[..., :n], items[..., :n] = best_scores, best_items


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
