"""Labelled candidate lists: what the ranker is trained, stopped and calibrated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.evaluation.metrics import Truth, judge, ndcg
from twofold.indexing.errors import InputError
from twofold.indexing.interactions import Interactions
from twofold.retrieval.candidates import Candidates, rank
from twofold.retrieval.queries import Queries


@dataclass(frozen=True)
class Lists:
    """Stage one's candidates for queries whose next items are known.

    Parameters
    ----------
    queries
        Histories that end before the labels.
    candidates
        What stage one, fitted before the labels too, would have served, with features.
    labels
        Whether the candidate was a hit, ``bool (n, m)``.
    n_held_out
        Hits that there were to find, in the list or not, ``int64 (n,)``.
    """

    queries: Queries
    candidates: Candidates
    labels: npt.NDArray[np.bool_]
    n_held_out: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.labels.shape != self.candidates.items.shape:
            raise InputError("Lists: labels must have the shape of the candidates' items")
        if not len(self.queries) == len(self.n_held_out) == len(self.labels):
            raise InputError("Lists: queries, labels and n_held_out must be of one length")

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def features(self) -> npt.NDArray[np.float32]:
        """Stage one's features, ``float32 (n, m, n_features)``."""
        return self.candidates.needed_features()

    def mask(self) -> npt.NDArray[np.bool_]:
        """Return where there is a candidate, ``bool (n, m)``."""
        return self.candidates.items >= 0

    def hits(self) -> npt.NDArray[np.int64]:
        """Return the positions of lists that hold a hit, ``int64``."""
        return np.flatnonzero(self.labels.any(axis=1))

    def take(self, which: npt.NDArray[np.int64]) -> Lists:
        """Return the lists at positions `which`."""
        return Lists(
            self.queries.take(which),
            self.candidates.take(which),
            self.labels[which],
            self.n_held_out[which],
        )

    def truth(self) -> Truth:
        """Return the held-out items, those outside the lists as unknown ones."""
        rows, columns = np.nonzero(self.labels)
        missed = np.repeat(np.arange(len(self)), self.n_held_out - self.labels.sum(axis=1))
        items = self.candidates.items[rows, columns]
        return Truth.from_pairs(
            np.concatenate([rows, missed]).astype(np.int64),
            np.concatenate([items, np.full(len(missed), -1)]).astype(np.int64),
            len(self),
        )


@dataclass(frozen=True)
class Window:
    """What one label window teaches.

    Parameters
    ----------
    lists
        The labelled lists.
    factors
        The items' collaborative factors from the stage one that made the lists, ``float32
        (n_items, f)``.
    relations
        How that stage one relates items to items, ``float32 (n_items, n_items)`` each.
    taken
        What users had taken by then, nonzero where they did, ``(n_users, n_items)``.
    """

    lists: Lists
    factors: npt.NDArray[np.float32]
    relations: tuple[sp.csr_matrix, ...]
    taken: sp.csr_matrix


class Pooled(NamedTuple):
    """Lists of several windows as arrays, one below the other: all that features need."""

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.bool_]
    valid: npt.NDArray[np.bool_]
    n_held_out: npt.NDArray[np.int64]


def pooled(parts: Sequence[Lists]) -> Pooled:
    """Return the lists of all parts, shorter ones padded."""
    return Pooled(
        stacked([part.features for part in parts], 0),
        stacked([part.labels for part in parts], False),
        stacked([part.mask() for part in parts], False),
        np.concatenate([part.n_held_out for part in parts]),
    )


def share_of_hits(parts: Sequence[Lists]) -> float:
    """Return how many of the candidates of all parts were hits, in [0, 1]."""
    n_candidates = sum(int(part.mask().sum()) for part in parts)
    return sum(int(part.labels.sum()) for part in parts) / max(1, n_candidates)


def stacked(parts: Sequence[npt.NDArray[Any]], fill: float) -> npt.NDArray[Any]:
    """Return arrays ``(n_i, m_i, ...)`` one below the other, ``fill`` behind shorter rows."""
    width = max(part.shape[1] for part in parts)
    wide = []
    for part in parts:
        room = [(0, 0)] * part.ndim
        room[1] = (0, width - part.shape[1])
        wide.append(np.pad(part, room, constant_values=fill))
    return np.concatenate(wide)


def label_lists(queries: Queries, candidates: Candidates, labels: Interactions) -> Lists:
    """Return candidates beside what the queries' users did next.

    Parameters
    ----------
    queries
        Histories that end before the labels.
    candidates
        Their candidates.
    labels
        The label rows; of a user's repeats each item counts once. One that the query excludes, seen
        before, counts as held out, as in an evaluation, though no list can hold it.
    """
    wanted = sp.csr_matrix(
        (np.ones(len(labels), dtype=bool), (labels.users, labels.items)),
        shape=(labels.n_users, labels.n_items),
    )[queries.users]
    rows = np.repeat(np.arange(len(queries)), np.diff(wanted.indptr))
    keys = rows * np.int64(labels.n_items) + wanted.indices
    asked = np.arange(len(queries))[:, None] * np.int64(labels.n_items) + candidates.items
    found = np.isin(asked, keys) & (candidates.items >= 0)
    return Lists(queries, candidates, found, np.diff(wanted.indptr).astype(np.int64))


def mean_ndcg(
    parts: Sequence[Lists], scores: Sequence[npt.NDArray[np.float32]], k: int = 10
) -> float:
    """Return mean NDCG@k over the lists of all parts, each put in the order of its scores.

    Parameters
    ----------
    parts
        Lists; those that hold nothing out are passed over.
    scores
        Scores of each part's candidates, ``float32 (n, m)``.
    k
        Length that is judged.
    """
    values = []
    for lists, given in zip(parts, scores, strict=True):
        ranked = rank(lists.candidates.items, given, lists.labels.shape[1])
        values.append(ndcg(judge(ranked.items, lists.truth(), ranked.scores), k))
    return float(np.nanmean(np.concatenate(values)))
