"""Labelled pairs of a data set: some are known, some are learned from, some are asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from benchmarks.peers.cross_encoder import Pairs, Recipe
from twofold.evaluation.intervals import Interval, bootstrap_interval
from twofold.indexing.dataset import Dataset
from twofold.indexing.interactions import Interactions
from twofold.indexing.splits import Split
from twofold.labels_file import LabelPairs
from twofold.ranking.lists import Lists

Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
DRAWS = 500


@dataclass(frozen=True)
class Divided:
    """What may be known, and of it what is learned; and what is asked for.

    Parameters
    ----------
    known
        The data set without what is asked for and whatever else the test holds.
    learned
        Labelled pairs of `known`; histories to learn from are taken from what is left.
    asked
        Pairs of users that were drawn, hits of the test and as many refusals.
    """

    known: Dataset
    learned: LabelPairs
    asked: LabelPairs


def divided(dataset: Dataset, split: Split, *, n_users: int, share: float, seed: int) -> Divided:
    """Return the labelled pairs of a data set, divided by chance.

    A test holds out what users took. What they refused is drawn for it from what may be known, as
    many a user as the test has hits of this user where there are so many.

    Parameters
    ----------
    dataset, split
        The data, and what of it is held out.
    n_users
        How many of the test's users are asked for.
    share
        How much of the training part is learned from, in (0, 1); the rest is known.
    seed
        Of all draws.
    """
    rng, log = np.random.default_rng(seed), dataset.interactions
    users = rng.permutation(np.unique(log.users[split.test]))[:n_users]
    hits = split.test & np.isin(log.users, users)
    wanted = np.bincount(log.users[hits], minlength=log.n_users)
    refused = _drawn(log, split.train & (log.signs < 0), wanted, rng)
    known = split.known_at_test & ~refused
    told = split.train & known & (log.signs != 0)
    learned = told & (rng.random(len(log)) < share)
    return Divided(
        replace(dataset, interactions=log.take(known), split=None),
        _pairs(log, learned),
        _pairs(log, hits | refused),
    )


def steps_of(
    pairs: LabelPairs,
    profiles: tuple[str, ...],
    texts: tuple[str, ...],
    recipe: Recipe,
    seed: int,
) -> list[Pairs]:
    """Return what a plain cross-encoder learns from at each step, all pairs in turn by chance.

    Parameters
    ----------
    pairs
        The labels.
    profiles, texts
        The text of each user, and of each item.
    recipe
        How many steps, and of how many pairs: those of its lists and negatives.
    seed
        Of the order.
    """
    rng, size = np.random.default_rng(seed), recipe.lists * (1 + recipe.negatives)
    turns = -(-recipe.steps * size // len(pairs))
    order = np.concatenate([rng.permutation(len(pairs)) for _ in range(turns)])
    return [
        Pairs(
            [profiles[user] for user in pairs.users[some]],
            [texts[item] for item in pairs.items[some]],
            pairs.labels[some].astype(np.float32),
        )
        for some in order[: recipe.steps * size].reshape(recipe.steps, size)
    ]


def in_order(lists: Lists, logits: npt.NDArray[np.float32]) -> Floats:
    """Return the score of each pair in order of users and items, ``float64 (n,)``.

    Parameters
    ----------
    lists
        Of :func:`twofold.labels_file.lists_of_pairs`.
    logits
        Of the lists, ``float32 (n, m)``.
    """
    rows, columns = np.nonzero(lists.mask())
    users, items = lists.queries.users[rows], lists.candidates.items[rows, columns]
    order = np.lexsort((items, users))
    return logits[rows[order], columns[order]].astype(np.float64)


def auc_difference(
    ours: Floats, theirs: Floats, labels: Mask, users: Int64s, seed: int
) -> Interval:
    """Return how much oftener ours puts a hit above a refusal, over all pairs, by drawn users.

    Parameters
    ----------
    ours, theirs
        Scores of the same pairs, ``float64 (n,)``.
    labels
        Which are hits, ``bool (n,)``.
    users
        Numbers ``0..n_users-1``, ``int64 (n,)``.
    seed
        Of the draws.
    """
    from sklearn.metrics import roc_auc_score

    def gap(counts: Floats) -> Floats:
        out = [
            roc_auc_score(labels, ours, sample_weight=weights)
            - roc_auc_score(labels, theirs, sample_weight=weights)
            for weights in counts[:, users]
        ]
        return np.array(out)

    return bootstrap_interval(gap, int(users.max()) + 1, seed, DRAWS, width=len(users))


def _drawn(log: Interactions, which: Mask, wanted: Int64s, rng: np.random.Generator) -> Mask:
    """Return some of the rows, at most as many of each user as are wanted."""
    rows = rng.permutation(np.flatnonzero(which))
    rows = rows[np.argsort(log.users[rows], kind="stable")]
    users = log.users[rows]
    place = np.arange(len(rows)) - np.searchsorted(users, users)
    out = np.zeros(len(log), dtype=bool)
    out[rows[place < wanted[users]]] = True
    return out


def _pairs(log: Interactions, which: Mask) -> LabelPairs:
    users, items, labels = log.users[which], log.items[which], log.signs[which] > 0
    order = np.lexsort((items, users))
    return LabelPairs(users[order], items[order], labels[order], None, ())
