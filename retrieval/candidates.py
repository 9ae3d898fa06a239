"""Candidates: ranked items for a batch of queries, as arrays whose invariants always hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import InputError


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
        padded = self.items < 0
        if bool(np.any(padded[:, :-1] & ~padded[:, 1:])):
            raise InputError("Candidates: padding may stand only at the end of a row")
        if bool(np.any(np.isfinite(self.scores) == padded)) or bool(
            np.any(self.scores[padded] != -np.inf)
        ):
            raise InputError("Candidates: scores must be finite, and -inf exactly at padding")
        later, earlier = self.scores[:, 1:], self.scores[:, :-1]
        tied = (later == earlier) & ~padded[:, 1:]
        if bool(np.any(later > earlier)) or bool(
            np.any(tied & (self.items[:, 1:] < self.items[:, :-1]))
        ):
            raise InputError("Candidates: rows must be sorted by score, ties by item number")
        ordered = np.sort(self.items, axis=1)
        if bool(np.any((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0))):
            raise InputError("Candidates: an item may stand only once in a row")

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
    m = items.shape[1]
    scores = np.where(items < 0, -np.inf, scores).astype(np.float32)
    # lexsort sorts by the last key first: score descending, then item number ascending.
    order = np.lexsort((items, -scores), axis=1)[:, :k]
    out_scores = np.take_along_axis(scores, order, axis=1)
    out_items = np.where(np.isneginf(out_scores), -1, np.take_along_axis(items, order, axis=1))
    out_features, out_sources = None, None
    if features is not None:
        out_features = np.take_along_axis(features, order[:, :, None], axis=1)
        out_features[out_items < 0] = 0
    if sources is not None:
        out_sources = np.take_along_axis(sources, order, axis=1)
        out_sources[out_items < 0] = 0
    found = Candidates(out_items, out_scores, out_features, out_sources)
    return found if m >= k else found.padded(k)
