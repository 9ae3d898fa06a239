"""What stage two has to beat: rankings of the same candidates by the same features, without text.

:mod:`twofold.evaluation.logistic` and :mod:`twofold.evaluation.lambdarank` tune a reranker on
validation lists; popularity is here. They are meant to be strong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.evaluation.metrics import Truth, judge, ndcg
from twofold.indexing.errors import InputError
from twofold.retrieval.candidates import Candidates, rank

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FeatureLists:
    """Candidate lists with features and labels, one row a query.

    Parameters
    ----------
    features
        What is known of each candidate, finite, ``float32 (n, m, n_features)``.
    labels
        Whether the candidate is held out, ``bool (n, m)``.
    valid
        False at padding, ``bool (n, m)``.
    n_held_out
        Held-out items of each query, those that are no candidates included, ``int64 (n,)``.

    Raises
    ------
    InputError
        If shapes disagree, a feature is not finite, padding has a label, or `n_held_out` is below
        the number of labels.
    """

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.bool_]
    valid: npt.NDArray[np.bool_]
    n_held_out: Int64s

    def __post_init__(self) -> None:
        shape = self.labels.shape
        if self.features.ndim != 3 or not (self.features.shape[:2] == shape == self.valid.shape):
            raise InputError(
                f"FeatureLists: features {self.features.shape}, labels {shape} and valid "
                f"{self.valid.shape} must agree on (n_queries, m)"
            )
        if not bool(np.all(np.isfinite(self.features))):
            raise InputError("FeatureLists: features must be finite")
        if bool(np.any(self.labels & ~self.valid)):
            raise InputError("FeatureLists: padding must not have a label")
        if self.n_held_out.shape != shape[:1] or bool(
            np.any(self.n_held_out < self.labels.sum(axis=1))
        ):
            raise InputError("FeatureLists: n_held_out must be at least the labels of each query")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def n_features(self) -> int:
        """Number of features of a candidate."""
        return int(self.features.shape[2])

    def take(self, which: npt.NDArray[np.int64]) -> FeatureLists:
        """Return the lists at positions `which`, in that order."""
        return replace(
            self,
            features=self.features[which],
            labels=self.labels[which],
            valid=self.valid[which],
            n_held_out=self.n_held_out[which],
        )

    @classmethod
    def of_candidates(cls, candidates: Candidates, truth: Truth) -> FeatureLists:
        """Return the lists of stage one's candidates, labelled by the truth of the same queries.

        Raises
        ------
        InputError
            If the candidates carry no features.
        """
        return cls(
            features=candidates.needed_features(),
            labels=judge(candidates.items, truth).hits > 0,
            valid=candidates.items >= 0,
            n_held_out=truth.n_held_out(),
        )

    def ndcg(self, scores: npt.NDArray[np.floating], k: int) -> float:
        """Return the mean ndcg@k of the lists ordered by scores ``(n, m)``, ties counted half.

        Averages queries that hold something out; see :func:`twofold.evaluation.metrics.ndcg`.
        """
        columns = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
        columns = np.where(self.valid, columns, -1).astype(np.int64)
        ordered = rank(columns, scores.astype(np.float32), scores.shape[1])
        missing = self.n_held_out - self.labels.sum(axis=1)
        rows, items = np.nonzero(self.labels)
        unknown = np.repeat(np.arange(len(self)), missing)
        truth = Truth.from_pairs(
            np.concatenate([rows, unknown]).astype(np.int64),
            np.concatenate([items, np.full(len(unknown), -1)]).astype(np.int64),
            len(self),
        )
        values = ndcg(judge(ordered.items, truth, ordered.scores), k)
        if bool(np.all(np.isnan(values))):
            raise InputError("no list holds anything out, so a ranking of them has no quality")
        return float(np.nanmean(values))


@dataclass(frozen=True)
class Trial:
    """One setting of a grid and what it reached on the validation lists.

    Parameters
    ----------
    setting
        Names and values, plain types.
    ndcg
        Mean ndcg@k on the validation lists.
    """

    setting: dict[str, str | int | float]
    ndcg: float


class Opponent(Protocol):
    """A feature-only reranker, tuned."""

    @property
    def name(self) -> str:
        """What the row of the table is called."""
        ...

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every setting that was tried."""
        ...

    @property
    def chosen(self) -> dict[str, str | int | float]:
        """The setting that was best on the validation lists."""
        ...

    def score(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return a raw score of each candidate, higher is better, ``float32 (n, m)``."""
        ...

    def refit(self, lists: FeatureLists) -> Self:
        """Return the same setting fitted on other lists, with no choice left open."""
        ...


def rerank(opponent: Opponent, candidates: Candidates) -> Candidates:
    """Return the candidates in the opponent's order.

    Raises
    ------
    InputError
        If the candidates carry no features.
    """
    return rank(
        candidates.items,
        opponent.score(candidates.needed_features()),
        candidates.k,
        features=candidates.features,
        sources=candidates.sources,
    )


def popularity_ranking(
    popularity: npt.NDArray[np.number], excluded: sp.csr_matrix, k: int
) -> Candidates:
    """Return the most popular items of each query, without those it excludes.

    Parameters
    ----------
    popularity
        Training interactions of each item, ``(n_items,)``. Counts above 2²⁴ lose exactness as
        float32 scores.
    excluded
        Items that must not come back, ``(n_queries, n_items)``.
    k
        Length of the lists. Take more than the metrics' largest ``k``, so that items tied at its
        border are seen to be tied.
    """
    counts = np.asarray(popularity, dtype=np.float32)
    excluded = excluded.tocsr()
    best = np.lexsort((np.arange(len(counts)), -counts)).astype(np.int64)
    # Nobody needs more than k items beyond those that may be left out.
    best = best[: k + int(np.diff(excluded.indptr).max(initial=0))]
    rows = []
    for begin in range(0, excluded.shape[0], 1024):
        left_out = excluded[begin : begin + 1024][:, best].toarray().astype(bool)
        items = np.where(left_out, -1, best)
        rows.append(rank(items, np.broadcast_to(counts[best], items.shape), k))
    return Candidates(
        np.concatenate([one.items for one in rows]) if rows else np.empty((0, k), np.int64),
        np.concatenate([one.scores for one in rows]) if rows else np.empty((0, k), np.float32),
    )
