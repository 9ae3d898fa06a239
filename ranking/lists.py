"""Labelled candidate lists: what the ranker is trained, stopped and calibrated on."""

from __future__ import annotations

from dataclasses import dataclass

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
        if self.candidates.features is None:
            raise InputError("Lists: candidates with features were expected")
        return self.candidates.features

    def mask(self) -> npt.NDArray[np.bool_]:
        """Return where there is a candidate, ``bool (n, m)``."""
        return self.candidates.items >= 0

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


def mean_ndcg(lists: Lists, logits: npt.NDArray[np.float32], k: int = 10) -> float:
    """Return mean NDCG@k of lists put in the order of `logits`, ``float32 (n, m)``."""
    ranked = rank(lists.candidates.items, logits, lists.labels.shape[1])
    return float(np.nanmean(ndcg(judge(ranked.items, lists.truth(), ranked.scores), k)))
