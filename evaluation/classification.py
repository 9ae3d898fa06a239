"""How good probabilities are over served lists.

All intervals are over users: a user's candidates are drawn together. The lists are those that are
served, so the numbers say what the probabilities are worth where they are used.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from twofold.evaluation.intervals import (
    Interval,
    bootstrap_interval,
    bootstrap_ratio,
    bootstrap_ratios,
)
from twofold.evaluation.judgements import Judgements, brier_losses, log_losses
from twofold.evaluation.reliability import ece

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]


def classify(
    judged: Judgements, seed: int, *, threshold: float = 0.5, n: int = 2000, n_ranked: int = 500
) -> dict[str, Interval]:
    """Return every measure of the probabilities with its interval over users.

    ``log_loss``, ``brier``, ``accuracy`` (share of rows told rightly), ``majority_accuracy`` (of
    always saying the more frequent label), ``balanced_accuracy`` (mean of the shares of hits and of
    misses that are told rightly; K. Brodersen et al., ICPR 2010), ``base_rate`` (share of hits),
    ``mean_probability``, ``ece``, ``auc``, ``gauc`` and ``pr_auc``. Those that need both labels are
    NaN where only one occurs.

    Parameters
    ----------
    judged
        Rows of the served lists.
    seed
        Which users are drawn.
    threshold
        From this probability on a candidate is told to be a hit.
    n
        Number of draws.
    n_ranked
        Number of draws for ``auc`` and ``pr_auc``, which walk all rows at each draw.
    """
    told = judged.probabilities >= threshold
    columns = {
        "log_loss": log_losses(judged),
        "brier": brier_losses(judged),
        "accuracy": told == judged.labels,
        "majority_accuracy": judged.labels == (judged.labels.mean() >= 0.5),
        "base_rate": judged.labels,
        "mean_probability": judged.probabilities,
    }
    above = np.stack([judged.per_user(values) for values in columns.values()], axis=1)
    rows = judged.per_user(np.ones(len(judged.labels)))
    below = np.repeat(rows[:, None], len(columns), axis=1)
    out = dict(zip(columns, bootstrap_ratios(above, below, seed, n), strict=True))
    out["balanced_accuracy"] = _balanced_accuracy(judged, told, seed, n)
    out["ece"] = ece(judged, seed, n)
    out["auc"] = auc(judged, seed, n_ranked)
    out["gauc"] = gauc(judged, seed, n)
    out["pr_auc"] = pr_auc(judged, seed, n_ranked)
    return out


def loss_differences(
    judged: Judgements, others: Mapping[str, Floats], seed: int, n: int = 2000
) -> dict[str, Interval]:
    """Return how much lower other probabilities' losses are, paired over the same rows.

    Below 0 where `judged` is the better one. Keys are ``"log_loss - NAME"`` and ``"brier - NAME"``.

    Parameters
    ----------
    judged
        The probabilities to be shown better.
    others
        Name -> probabilities of the same rows, such as a base rate known before the lists were
        served, ``float64 (n,)``.
    seed, n
        As in :func:`classify`.
    """
    rows = judged.per_user(np.ones(len(judged.labels)))
    out = {}
    for name, probabilities in others.items():
        other = Judgements(probabilities, judged.labels, judged.users)
        for measure, losses in (("log_loss", log_losses), ("brier", brier_losses)):
            gap = judged.per_user(losses(judged) - losses(other))
            out[f"{measure} - {name}"] = bootstrap_ratio(gap, rows, seed, n)
    return out


def auc(judged: Judgements, seed: int, n: int = 500) -> Interval:
    """Return the area under the ROC curve over all rows: how often a hit stands above a miss.

    ``P(p_hit > p_miss) + P(p_hit = p_miss) / 2``. NaN where only one label occurs.

    J. Hanley and B. McNeil, "The Meaning and Use of the Area under a ROC Curve", Radiology 1982.
    """
    order, starts = _groups(judged.probabilities)
    labels, users = judged.labels[order], judged.users[order]

    def statistic(counts: Floats) -> Floats:
        weights = counts[:, users]
        hits = np.add.reduceat(weights * labels, starts, axis=1)
        misses = np.add.reduceat(weights * ~labels, starts, axis=1)
        below = np.cumsum(misses, axis=1) - misses / 2
        pairs = hits.sum(axis=1) * misses.sum(axis=1)
        return _divide((hits * below).sum(axis=1), pairs)

    return bootstrap_interval(statistic, judged.n_users, seed, n, width=len(order))


def gauc(judged: Judgements, seed: int, n: int = 2000) -> Interval:
    """Return group AUC: the AUC within each user's list, weighted by how many rows the list has.

    ``sum of rows_u * auc_u / sum of rows_u`` over the users with both labels. The AUC over all rows
    also rewards telling keen users from others; this one only the order within lists. NaN where no
    user has both labels. ``n_users`` of the interval counts those who have.

    G. Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018 (a user's
    impressions are the rows of the list).
    """
    values = user_aucs(judged)
    both = ~np.isnan(values)
    if not both.any():
        return Interval(np.nan, np.nan, np.nan, 0)
    rows = np.where(both, judged.per_user(np.ones(len(judged.labels))), 0.0)
    return bootstrap_ratio(rows * np.nan_to_num(values), rows, seed, n)


def user_aucs(judged: Judgements) -> Floats:
    """Return the AUC of each user's own rows, ``float64 (n_users,)``; NaN without both labels.

    ``(sum of the hits' ranks - h (h + 1) / 2) / (h m)`` with ``h`` hits and ``m`` misses, ranks
    from 1 in rising order of probability, tied rows sharing their mean rank: the Mann-Whitney
    statistic, in which ties count half.
    """
    order = np.lexsort((judged.probabilities, judged.users))
    shown, users = judged.probabilities[order], judged.users[order]
    first = np.append(True, (users[1:] != users[:-1]) | (shown[1:] != shown[:-1]))
    starts = np.flatnonzero(first)
    group = np.cumsum(first) - 1
    size = np.diff(np.append(starts, len(order)))
    # Mean rank of a tied group among all rows, then from the first row of the user on.
    rank = (starts + (size + 1) / 2)[group] - np.searchsorted(users, users)
    ranks = np.empty(len(order))
    ranks[order] = rank
    hits, misses = judged.per_user(judged.labels), judged.per_user(~judged.labels)
    above = judged.per_user(ranks * judged.labels) - hits * (hits + 1) / 2
    return _divide(above, hits * misses)


def pr_auc(judged: Judgements, seed: int, n: int = 500) -> Interval:
    """Return average precision over all rows, the step-wise area under the precision-recall curve.

    ``sum of (recall_t - recall_{t-1}) * precision_t`` over the distinct probabilities ``t``, from
    the highest, as in scikit-learn. NaN where there is no hit; about the base rate for random
    probabilities.

    J. Davis and M. Goadrich, "The Relationship Between Precision-Recall and ROC Curves", ICML 2006
    (why the area is not interpolated).
    """
    order, starts = _groups(-judged.probabilities)
    labels, users = judged.labels[order], judged.users[order]

    def statistic(counts: Floats) -> Floats:
        weights = counts[:, users]
        hits = np.add.reduceat(weights * labels, starts, axis=1)
        shown = np.cumsum(np.add.reduceat(weights, starts, axis=1), axis=1)
        precision = np.cumsum(hits, axis=1) / np.maximum(shown, 1)
        return _divide((hits * precision).sum(axis=1), hits.sum(axis=1))

    return bootstrap_interval(statistic, judged.n_users, seed, n, width=len(order))


def _balanced_accuracy(
    judged: Judgements, told: npt.NDArray[np.bool_], seed: int, n: int
) -> Interval:
    columns = (told & judged.labels, judged.labels, ~told & ~judged.labels, ~judged.labels)
    sums = np.stack([judged.per_user(values) for values in columns], axis=1)

    def statistic(counts: Floats) -> Floats:
        told_hits, hits, told_misses, misses = (counts @ sums).T
        return (_divide(told_hits, hits) + _divide(told_misses, misses)) / 2

    return bootstrap_interval(statistic, judged.n_users, seed, n)


def _divide(above: Floats, below: Floats) -> Floats:
    out = np.full(len(above), np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out


def _groups(keys: Floats) -> tuple[Int64s, Int64s]:
    """Return the order of rising keys, and where in it each distinct key begins."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    return order, np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
