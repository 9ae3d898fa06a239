"""The opponent where items are taken again and again: what the user took most, lately above all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.evaluation.held_out import truth_of, users_held_out
from twofold.evaluation.metrics import judge, ndcg
from twofold.evaluation.opponents import popularity_ranking
from twofold.indexing.errors import InputError
from twofold.indexing.interactions import Interactions
from twofold.indexing.neighbours import MS_PER_DAY
from twofold.retrieval.candidates import Candidates, rank

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
HALF_LIVES = (3.0, 7.0, 14.0, 30.0, 60.0, 120.0, 240.0, np.inf)
K = 10
CHUNK = 512  # users whose takings are written out together


@dataclass(frozen=True)
class BuyAgain:
    """The user's own takings of an item, each halved with its age; the rest by popularity.

    An item's score is the sum of ``2 ** (-age / half_life)`` over the user's takings of it. One
    user, item and moment is one taking; without times every event is one, and a step is a day.

    Parameters
    ----------
    half_life_days
        After so many days a taking counts half; infinite counts all alike.
    trials
        Mean ndcg@10 of every half-life that was tried.
    """

    half_life_days: float
    trials: dict[float, float]

    def ranking(
        self,
        known: Interactions,
        users: Int64s,
        excluded: sp.csr_matrix,
        popularity: npt.NDArray[np.number],
        k: int,
    ) -> Candidates:
        """Return each user's items, those never taken last.

        Parameters
        ----------
        known
            All that may be known.
        users
            Distinct users, ``int64 (n,)``.
        excluded
            What each must not be shown, such as what they dislike, ``bool (n, n_items)``.
        popularity
            Known labels of each item, ``(n_items,)``.
        k
            Length of the lists.
        """
        return _ranking(known, users, excluded, popularity, k, self.half_life_days)


def fit_buy_again(
    log: Interactions, known: Mask, held_out: Mask, half_lives: Sequence[float] = HALF_LIVES
) -> BuyAgain:
    """Return the opponent with the half-life that is best on a validation part, by ndcg@10.

    Parameters
    ----------
    log
        All interactions.
    known, held_out
        What lies before the validation, and its labels, ``bool (n,)``. Where nothing is held out
        all takings count alike.
    half_lives
        Days, tried in this order; of equals the first is taken.

    Raises
    ------
    InputError
        If there is no half-life, or one is not above 0.
    """
    if not half_lives or not min(half_lives) > 0:
        raise InputError("buy again needs half-lives above 0, at least one")
    if not held_out.any():
        return BuyAgain(np.inf, {})
    before, users = log.take(known), users_held_out(log, held_out)
    truth = truth_of(log, held_out, users)
    popularity = np.bincount(before.items[before.labels], minlength=log.n_items)
    disliked = before.disliked()[users]
    trials = {}
    for days in half_lives:
        found = _ranking(before, users, disliked, popularity, 10 * K, days)
        trials[days] = float(np.nanmean(ndcg(judge(found.items, truth, found.scores), K)))
    return BuyAgain(max(trials, key=lambda days: trials[days]), trials)


def _ranking(
    known: Interactions,
    users: Int64s,
    excluded: sp.csr_matrix,
    popularity: npt.NDArray[np.number],
    k: int,
    half_life_days: float,
) -> Candidates:
    """Return the lists under one half-life."""
    owners, items, logs = _pairs(known, half_life_days)
    starts = np.searchsorted(owners, np.arange(known.n_users + 1))
    # What is filled in stands below all that was taken.
    filling = np.asarray(popularity, dtype=np.float64)
    filling = filling / (filling.max(initial=0) + 1.0)
    parts = []
    for begin in range(0, len(users), CHUNK):
        some = users[begin : begin + CHUNK]
        lengths = np.diff(starts)[some]
        columns = np.arange(int(lengths.max(initial=0)))
        there = columns < lengths[:, None]
        at = np.where(there, starts[:-1][some][:, None] + columns, 0)
        left_out = excluded[begin : begin + CHUNK]
        own = np.where(there, items[at] if len(items) else 0, -1)
        levels = _levels(np.where(there, logs[at] if len(logs) else 0.0, -np.inf))
        rows = np.nonzero(there)[0]
        shape = (len(some), known.n_items)
        taken = sp.csr_matrix((np.ones(len(rows), dtype=bool), (rows, own[there])), shape=shape)
        barred = _held(rows, own[there], left_out)
        own[there] = np.where(barred, -1, own[there])
        rest = popularity_ranking(popularity, (taken + left_out).tocsr(), k)
        filled = np.where(rest.items < 0, -np.inf, filling[np.maximum(rest.items, 0)])
        both = np.concatenate([own, rest.items], axis=1)
        scores = np.concatenate([levels, filled], axis=1).astype(np.float32)
        parts.append(rank(both, scores, k))
    if not parts:
        return Candidates(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
    return Candidates(
        np.concatenate([part.padded(k).items for part in parts]),
        np.concatenate([part.padded(k).scores for part in parts]),
    )


def _held(rows: Int64s, items: Int64s, left_out: sp.csr_matrix) -> Mask:
    """Say which of the pairs a matrix ``(n, n_items)`` holds."""
    width = np.int64(left_out.shape[1])
    held_rows, held = left_out.nonzero()
    return np.isin(rows * width + items, held_rows * width + held)


def _pairs(known: Interactions, half_life_days: float) -> tuple[Int64s, Int64s, Floats]:
    """Return users and items of all pairs, sorted, and the binary logarithm of their sums.

    Ages are counted from each user's last taking, which leaves their order as it is, and sums are
    taken as logarithms, so that old takings do not all become 0.
    """
    rows = np.flatnonzero(known.labels)
    users, items = known.users[rows], known.items[rows]
    timed = bool(known.times[rows].any())
    moments = known.times[rows] if timed else known.steps[rows].astype(np.int64) * MS_PER_DAY
    order = np.lexsort((moments, items, users))
    users, items, moments = users[order], items[order], moments[order]
    fresh = np.ones(len(users), dtype=bool)
    pair = fresh.copy()
    pair[1:] = (users[1:] != users[:-1]) | (items[1:] != items[:-1])
    fresh[1:] = pair[1:] | (moments[1:] != moments[:-1]) | (not timed)
    users, items, moments, pair = users[fresh], items[fresh], moments[fresh], pair[fresh]
    first = np.flatnonzero(pair)
    if not len(first):
        return users, items, np.zeros(0)
    latest = np.full(known.n_users, np.iinfo(np.int64).min)
    np.maximum.at(latest, users, moments)
    lives = (latest[users] - moments) / MS_PER_DAY / half_life_days
    youngest = np.minimum.reduceat(lives, first)
    lengths = np.diff(np.append(first, len(users)))
    sums = np.add.reduceat(np.exp2(np.repeat(youngest, lengths) - lives), first)
    return users[first], items[first], np.log2(sums) - youngest


def _levels(logs: Floats) -> Floats:
    """Return the places of scores within their rows from the worst, 1, upwards; equals share one.

    ``-inf`` stays.
    """
    # Sums of the same takings in another order are equal; so are their places.
    rounded = np.round(logs, 9)
    order = np.argsort(rounded, axis=1, kind="stable")
    told = np.take_along_axis(rounded, order, axis=1)
    steps = np.ones(told.shape, dtype=np.int64)
    steps[:, 1:] = (told[:, 1:] != told[:, :-1]) & np.isfinite(told[:, 1:])
    steps[:, :1] = np.isfinite(told[:, :1])
    places = np.zeros(logs.shape)
    np.put_along_axis(places, order, np.cumsum(steps, axis=1).astype(np.float64), axis=1)
    return np.where(np.isfinite(logs), places, -np.inf)
