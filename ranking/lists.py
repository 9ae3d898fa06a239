"""Labelled candidate lists: what the ranker is trained, stopped and calibrated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.evaluation.metrics import Truth, judge, ndcg
from twofold.indexing.errors import InputError
from twofold.indexing.interactions import Interactions
from twofold.retrieval.candidates import Candidates, rank
from twofold.retrieval.queries import Queries

NEVER = np.iinfo(np.int64).max


class Border(NamedTuple):
    """Where the labels of each list begin: nothing after it may be known.

    Parameters
    ----------
    times
        Milliseconds of the first label, ``int64 (n,)``; the greatest number where there is none.
    steps
        Its step in the user's sequence, ``int64 (n,)``, likewise; -1 where only the time is known.
    """

    times: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]


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
    strengths
        What each hit counts for in the loss, in (0, 1], the strongest statement 1, and 0 elsewhere,
        ``float32 (n, m)``; ``None`` where every hit counts 1.
    refused
        Misses that are certain: the user met the item while the labels came and did not take it,
        ``bool (n, m)``; ``None`` where nothing is known of that.
    border
        Where the labels begin; ``None`` where that is not known.
    held_out
        All hits that there were to find, ``bool (n, n_items)``; ``None`` where they all stand in
        the lists.
    popularity
        How many users had taken each item before the labels, ``float32 (n_items,)``; ``None`` where
        no misses are to be drawn by it.
    """

    queries: Queries
    candidates: Candidates
    labels: npt.NDArray[np.bool_]
    n_held_out: npt.NDArray[np.int64]
    strengths: npt.NDArray[np.float32] | None = None
    refused: npt.NDArray[np.bool_] | None = None
    border: Border | None = None
    held_out: sp.csr_matrix | None = None
    popularity: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        for name in ("labels", "strengths", "refused"):
            value = getattr(self, name)
            if value is not None and value.shape != self.candidates.items.shape:
                raise InputError(f"Lists: {name} must have the shape of the candidates' items")
        if not len(self.queries) == len(self.n_held_out) == len(self.labels):
            raise InputError("Lists: queries, labels and n_held_out must be of one length")
        if self.refused is not None and bool((self.refused & self.labels).any()):
            raise InputError("Lists: a candidate must not be a hit and refused")

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

    def counted(self) -> npt.NDArray[np.float32]:
        """Return what each candidate counts for in the loss over whole lists, ``float32 (n, m)``.

        A hit counts for its strength, a miss for 1, padding for nothing.
        """
        told = self.labels if self.strengths is None else self.strengths
        return np.where(self.labels, told, self.mask()).astype(np.float32)

    def take(self, which: npt.NDArray[np.int64]) -> Lists:
        """Return the lists at positions `which`."""
        return replace(
            self,
            queries=self.queries.take(which),
            candidates=self.candidates.take(which),
            labels=self.labels[which],
            n_held_out=self.n_held_out[which],
            strengths=None if self.strengths is None else self.strengths[which],
            refused=None if self.refused is None else self.refused[which],
            border=None if self.border is None else Border(*(one[which] for one in self.border)),
            held_out=None if self.held_out is None else self.held_out[which],
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


def label_lists(
    queries: Queries,
    candidates: Candidates,
    labels: Interactions,
    *,
    refusals: Interactions | None = None,
    popularity: npt.NDArray[np.float32] | None = None,
) -> Lists:
    """Return candidates beside what the queries' users did next.

    Parameters
    ----------
    queries
        Histories that end before the labels.
    candidates
        Their candidates.
    labels
        The label rows; of a user's repeats each item counts once, with the strongest weight. One
        that the query excludes, seen before, counts as held out, as in an evaluation, though no
        list can hold it.
    refusals
        What the users met meanwhile and did not take, as of
        :func:`twofold.indexing.splits.refusals_in`.
    popularity
        As of :class:`Lists`.
    """
    wanted = sp.csr_matrix(
        (np.ones(len(labels), dtype=bool), (labels.users, labels.items)),
        shape=(labels.n_users, labels.n_items),
    )[queries.users]
    asked = queries.users[:, None] * np.int64(labels.n_items) + candidates.items
    keys, weights = _strongest(labels)
    place = np.minimum(np.searchsorted(keys, asked), max(0, len(keys) - 1))
    found = np.isin(asked, keys) & (candidates.items >= 0)
    strengths = np.where(found, weights[place], 0) if len(keys) else np.zeros(found.shape)
    refused = None
    if refusals is not None:
        met = refusals.users * np.int64(labels.n_items) + refusals.items
        refused = np.isin(asked, met) & (candidates.items >= 0) & ~found
    return Lists(
        queries,
        candidates,
        found,
        np.diff(wanted.indptr).astype(np.int64),
        strengths.astype(np.float32),
        refused,
        _border(queries, labels),
        wanted,
        popularity,
    )


def popularity_of(known: Interactions) -> npt.NDArray[np.float32]:
    """Return how many users have taken each item, ``float32 (n_items,)``."""
    return np.asarray(known.matrix().getnnz(axis=0), dtype=np.float32)


def _strongest(
    labels: Interactions,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return the pairs of users and items, ascending, and the strongest label of each, in (0, 1].

    Quantities say how often, not how surely: beyond a purchase nothing is stronger. Where nobody
    says anything as strong as a purchase, the strongest that is said counts 1: what all hits have
    in common must not make them few beside the misses.
    """
    keys, which = np.unique(
        labels.users * np.int64(labels.n_items) + labels.items, return_inverse=True
    )
    out = np.zeros(len(keys), dtype=np.float32)
    np.maximum.at(out, which, np.minimum(labels.weights, 1))
    return keys, out / (out.max(initial=0) or np.float32(1))


def _border(queries: Queries, labels: Interactions) -> Border:
    """Return time and step of each query's first label: rows are sorted by user and step."""
    first = np.searchsorted(labels.users, queries.users)
    there = np.append(labels.users, -1)[first] == queries.users
    there &= first < len(labels)
    times, steps = np.full((2, len(queries)), NEVER, dtype=np.int64)
    times[there] = labels.times[first[there]]
    steps[there] = labels.steps[first[there]]
    return Border(times, steps)


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
