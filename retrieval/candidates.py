"""Candidates: ranked items for a batch of queries, as arrays whose invariants always hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from twofold.indexing.compiled import compiled
from twofold.indexing.errors import InputError
from twofold.indexing.sorting import column_of, descending, score_of

WRONG = (
    "padding may stand only at the end of a row",
    "scores must be finite, and -inf exactly at padding",
    "rows must be sorted by score, ties by item number",
    "an item may stand only once in a row",
)


@dataclass(frozen=True)
class Candidates:
    """Ranked items for each query of a batch.

    Rows are sorted by score, highest first, ties by ascending item number; padding (item -1, score
    ``-inf``) stands only at the end; other scores are finite; no item stands twice in a row.

    Parameters
    ----------
    items
        Item numbers, ``int64 (n_queries, k)``.
    scores
        Scores, higher is better, ``float32 (n_queries, k)``.
    features
        What stage one knows of each candidate, standardised within its row, ``float32
        (n_queries, k, n_features)``, zero at padding; ``None`` where there are none.
    sources
        Bit ``s`` is set where source ``s`` proposed the item, ``uint32 (n_queries, k)``; ``None``
        where only one source spoke.

    Raises
    ------
    InputError
        If shapes disagree or an invariant does not hold.
    """

    items: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32] | None = None
    sources: npt.NDArray[np.uint32] | None = None

    def __post_init__(self) -> None:
        if self.items.ndim != 2 or self.items.shape != self.scores.shape:
            raise InputError("Candidates: items and scores must have one shape (n_queries, k)")
        for extra in (self.features, self.sources):
            if extra is not None and extra.shape[:2] != self.items.shape:
                raise InputError("Candidates: features and sources must follow the shape of items")
        wrong = _wrong(self.items, self.scores)
        if wrong:
            raise InputError(f"Candidates: {WRONG[wrong - 1]}")

    @property
    def n_queries(self) -> int:
        """Number of queries."""
        return int(self.items.shape[0])

    @property
    def k(self) -> int:
        """Length of the rows, padding included."""
        return int(self.items.shape[1])

    def needed_features(self) -> npt.NDArray[np.float32]:
        """Return the features, for what cannot do without them.

        Raises
        ------
        InputError
            If there are none.
        """
        if self.features is None:
            raise InputError("candidates with features were expected, as the retriever gives them")
        return self.features

    def lengths(self) -> npt.NDArray[np.int64]:
        """Return the number of candidates of each query, ``int64 (n_queries,)``."""
        lengths: npt.NDArray[np.int64] = (self.items >= 0).sum(axis=1, dtype=np.int64)
        return lengths

    def top(self, k: int) -> Candidates:
        """Return the best `k` of each row (fewer columns where the rows are shorter)."""
        return self.columns(slice(k))

    def columns(self, which: slice) -> Candidates:
        """Return some columns of all rows, in their order."""
        return self._part((slice(None), which))

    def take(self, which: npt.NDArray[np.int64]) -> Candidates:
        """Return the rows at positions `which`, in that order."""
        return self._part((which,))

    def _part(self, which: tuple[Any, ...]) -> Candidates:
        """Return rows or columns, which are sound where the whole is: nothing is checked again."""
        out = object.__new__(Candidates)
        for name in ("items", "scores", "features", "sources"):
            whole = getattr(self, name)
            object.__setattr__(out, name, None if whole is None else whole[which])
        return out

    def padded(self, k: int) -> Candidates:
        """Return the same rows, `k` long; `k` is at least their length."""
        gap = (0, k - self.k)
        return Candidates(
            np.pad(self.items, ((0, 0), gap), constant_values=-1),
            np.pad(self.scores, ((0, 0), gap), constant_values=-np.inf),
            None if self.features is None else np.pad(self.features, ((0, 0), gap, (0, 0))),
            None if self.sources is None else np.pad(self.sources, ((0, 0), gap)),
        )


def rank(
    items: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
    k: int,
    *,
    features: npt.NDArray[np.float32] | None = None,
    sources: npt.NDArray[np.uint32] | None = None,
) -> Candidates:
    """Return the best `k` of unsorted rows as `Candidates`.

    Parameters
    ----------
    items
        Item numbers, -1 where there is none, ``int64 (n_queries, m)``; distinct within a row.
    scores
        Scores, ``float32 (n_queries, m)``; ``-inf`` leaves the item out.
    k
        Length of the result's rows; shorter rows are padded.
    features, sources
        Carried along, shaped like `items`.
    """
    scores = np.asarray(scores, dtype=np.float32)
    there = (items >= 0) & (scores != -np.inf)
    keys = descending(np.where(there, scores, 0), there)
    order = _places(keys, items, np.count_nonzero(there, axis=1), min(k, items.shape[1]))
    taken = order >= 0
    places = np.maximum(order, 0)
    out_items = np.where(taken, np.take_along_axis(items, places, axis=1), -1)
    out_scores = np.where(taken, np.take_along_axis(scores, places, axis=1), np.float32(-np.inf))
    out_features = None if features is None else _gathered(features, order)
    out_sources = None
    if sources is not None:
        out_sources = np.where(taken, np.take_along_axis(sources, places, axis=1), np.uint32(0))
    found = Candidates(out_items, out_scores, out_features, out_sources)
    return found if items.shape[1] >= k else found.padded(k)


@compiled
def _wrong(items: npt.NDArray[np.int64], scores: npt.NDArray[np.float32]) -> int:
    """Return the number of the first invariant that does not hold, from 1; 0 where all do."""
    n, k = items.shape
    for row in range(n):
        length = 0
        while length < k and items[row, length] >= 0:
            length += 1
        for place in range(length, k):
            if items[row, place] >= 0:
                return 1
            if scores[row, place] != -np.inf:
                return 2
        for place in range(length):
            if not np.isfinite(scores[row, place]):
                return 2
        for place in range(1, length):
            earlier, later = scores[row, place - 1], scores[row, place]
            if later > earlier or (later == earlier and items[row, place] < items[row, place - 1]):
                return 3
        ascending = np.sort(items[row, :length])
        for place in range(1, length):
            if ascending[place] == ascending[place - 1]:
                return 4
    return 0


@compiled
def _places(
    keys: npt.NDArray[np.uint64],
    items: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    k: int,
) -> npt.NDArray[np.int64]:
    """Return the columns of each row's best, of ties the lower item first; -1 at the end."""
    n = len(keys)
    out = np.full((n, k), -1, dtype=np.int64)
    for row in range(n):
        first = 0
        while first < min(k, lengths[row]):
            end = first + 1
            while end < lengths[row] and score_of(keys[row, end]) == score_of(keys[row, first]):
                end += 1
            if end == first + 1:
                out[row, first] = column_of(keys[row, first])
            else:
                tied = np.empty(end - first, dtype=np.uint64)
                for place in range(first, end):
                    column = column_of(keys[row, place])
                    tied[place - first] = (np.uint64(items[row, column]) << np.uint64(32)) | (
                        np.uint64(column)
                    )
                tied.sort()
                for place in range(first, min(end, k)):
                    out[row, place] = column_of(tied[place - first])
            first = end
    return out


@compiled
def _gathered(
    features: npt.NDArray[np.float32], order: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return the features of columns, 0 at -1."""
    n, k = order.shape
    out = np.zeros((n, k, features.shape[2]), dtype=np.float32)
    for row in range(n):
        for place in range(k):
            if order[row, place] >= 0:
                out[row, place] = features[row, order[row, place]]
    return out
