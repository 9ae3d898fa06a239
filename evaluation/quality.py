"""Every system's lists against one truth: values a user, then rows with intervals.

Values a user are computed once, by :func:`measure_users`, and can be kept in a table: another
group of users, baseline or interval needs no new lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.evaluation.exposure import coverage, gini
from twofold.evaluation.intervals import (
    Interval,
    bootstrap_mean,
    bootstrap_means,
    bootstrap_ratios,
)
from twofold.evaluation.metrics import Truth, judge, metric_values, recall
from twofold.evaluation.report import Row
from twofold.evaluation.serendipity import serendipity
from twofold.evaluation.significance import holm, permutation_test
from twofold.evaluation.surroundings import Surroundings
from twofold.indexing.errors import InputError
from twofold.indexing.progress import Progress, Silent

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_USERS_A_TIME = 4096


class Ranked(NamedTuple):
    """A system's lists: items ``int64 (n, m)``, best first, -1 for padding, and their scores.

    Scores ``(n, m)`` tell which items are tied; ``None`` takes the order as it stands.
    """

    items: Int64s
    scores: npt.NDArray[np.floating] | None = None


@dataclass(frozen=True)
class UserValues:
    """One value a user for every system and metric.

    Parameters
    ----------
    systems, metrics
        Names along the first and the last axis of `values`.
    values
        ``float64 (n_systems, n_users, n_metrics)``; NaN where a user has none.
    n_held_out
        Held-out items of each user, ``int64 (n_users,)``.
    shown
        System -> the first ``max(ks)`` items of each user, for coverage, ``int64 (n_users, k)``.
    surroundings
        What the lists were measured against besides their truth.
    ks
        Lengths that were measured.
    """

    systems: tuple[str, ...]
    metrics: tuple[str, ...]
    values: Floats
    n_held_out: Int64s
    shown: Mapping[str, Int64s]
    surroundings: Surroundings
    ks: tuple[int, ...]

    def of(self, system: str, metric: str) -> Floats:
        """Return one value a user, ``float64 (n_users,)``.

        Raises
        ------
        InputError
            If the system or the metric was not measured.
        """
        if system not in self.systems or metric not in self.metrics:
            raise InputError(
                f"no {metric} of '{system}' was measured; there are {', '.join(self.metrics)} "
                f"of {', '.join(self.systems)}"
            )
        found: Floats = self.values[self.systems.index(system), :, self.metrics.index(metric)]
        return found

    def frame(self, user_ids: Sequence[str]) -> pl.DataFrame:
        """Return a table to keep: system, user_id, n_held_out and one column a metric."""
        n_systems, n_users, n_metrics = self.values.shape
        if len(user_ids) != n_users:
            raise InputError(f"{n_users} users were measured, got {len(user_ids)} ids")
        flat = self.values.reshape(-1, n_metrics)
        return pl.DataFrame(
            {
                "system": np.repeat(np.array(self.systems), n_users),
                "user_id": list(user_ids) * n_systems,
                "n_held_out": np.tile(self.n_held_out, n_systems),
                **{name: flat[:, m] for m, name in enumerate(self.metrics)},
            }
        )


def measure_users(
    systems: Mapping[str, Ranked],
    truth: Truth,
    surroundings: Surroundings,
    ks: Sequence[int] = (10,),
    *,
    progress: Progress | None = None,
) -> UserValues:
    """Return every metric of every system for every user.

    Parameters
    ----------
    systems
        Name -> lists of the same users, longer than the largest of `ks` so that items tied at the
        border are seen.
    truth
        Held-out items of these users. A user without any has values of the metrics that know no
        truth alone, such as novelty.
    surroundings
        What else is known of these users and of the items; what is missing in it leaves metrics
        out.
    ks
        Lengths of lists, each at least 1.

    Raises
    ------
    InputError
        If a system or the surroundings are of another number of users, or a `k` is below 1.
    """
    progress = Silent() if progress is None else progress
    if not systems or not ks or min(ks) < 1:
        raise InputError("measure_users needs at least one system and lengths k of at least 1")
    for name, lists in systems.items():
        if len(lists.items) != len(truth):
            raise InputError(f"'{name}' has {len(lists.items)} lists for {len(truth)} users")
    surroundings.check(len(truth))
    blocks = []
    names: list[str] = []
    with progress.step("Measure rankings", len(systems)) as task:
        for lists in systems.values():
            values = _values(lists, truth, surroundings, ks)
            names = list(values)
            blocks.append(np.stack(list(values.values()), axis=1))
            task.advance()
    return UserValues(
        systems=tuple(systems),
        metrics=tuple(names),
        values=np.stack(blocks),
        n_held_out=truth.n_held_out(),
        shown={name: lists.items[:, : max(ks)] for name, lists in systems.items()},
        surroundings=surroundings,
        ks=tuple(ks),
    )


def quality_rows(
    users: UserValues,
    *,
    groups: Mapping[str, Mask] | None = None,
    baseline: str | None = None,
    seed: int = 0,
    n: int = 2000,
) -> list[Row]:
    """Return one row a group and system, with intervals and paired differences.

    A row averages the users of its group that hold something out. Coverage and Gini are of all
    these users together and have no interval: a bootstrap repeats users, and so always covers less.
    Where histories are known there is ``delta_gap@k`` of the group besides: its mean popularity@k
    divided by the mean popularity of its histories, minus 1 (ΔGAP of Abdollahpouri et al. 2019; see
    :func:`twofold.evaluation.exposure.popularity_lift`), over the users who have both.

    Parameters
    ----------
    users
        What :func:`measure_users` returned.
    groups
        Name -> which users, ``bool (n_users,)``; by default one group, ``"all"``. A group in which
        nobody holds anything out gives no rows.
    baseline
        System that all others are compared with.
    seed, n
        Seed and number of draws; see :mod:`twofold.evaluation.intervals`.

    Raises
    ------
    InputError
        If the baseline was not measured.
    """
    if baseline is not None and baseline not in users.systems:
        raise InputError(f"baseline '{baseline}' is none of {', '.join(users.systems)}")
    chosen = {"all": np.ones(len(users.n_held_out), dtype=bool)} if groups is None else groups
    rows = []
    for group, mask in chosen.items():
        which = np.flatnonzero(mask & (users.n_held_out > 0))
        if len(which):
            rows += _group_rows(users, group, which, baseline, seed, n)
    return rows


def ceiling_row(
    items: Int64s,
    truth: Truth,
    *,
    name: str = "stage-one ceiling",
    group: str = "all",
    mask: Mask | None = None,
    seed: int = 0,
    n: int = 2000,
) -> Row:
    """Return what no reranker can exceed: recall of the whole candidate list, and its length.

    Metrics are ``recall@all``, ``hit_rate@all`` and ``n_candidates``.

    Parameters
    ----------
    items
        All candidates of each user, -1 for padding, ``int64 (n_users, m)``.
    truth
        Held-out items of these users.
    name, group, mask
        Name of the row, and of the group of users where `mask`, ``bool (n_users,)``, is true.
    seed, n
        As in :func:`quality_rows`.

    Raises
    ------
    InputError
        If nobody of the group holds anything out.
    """
    counted = truth.n_held_out() > 0
    which = np.flatnonzero(counted if mask is None else counted & mask)
    found = recall(judge(items, truth), max(items.shape[1], 1))[which]
    values = np.stack([found, found > 0, (items[which] >= 0).sum(axis=1)], axis=1)
    names = ("recall@all", "hit_rate@all", "n_candidates")
    intervals = bootstrap_means(values.astype(np.float64), seed, n)
    return Row(name, group, len(which), dict(zip(names, intervals, strict=True)))


def compare(
    users: UserValues,
    system: str,
    other: str,
    metric: str,
    *,
    mask: Mask | None = None,
    seed: int = 0,
    n: int = 2000,
) -> Interval:
    """Return `system`'s metric minus `other`'s, paired over users, with its interval.

    Users without a value, and those where `mask`, ``bool (n_users,)``, is false, are left out.
    """
    gap = users.of(system, metric) - users.of(other, metric)
    keep = users.n_held_out > 0 if mask is None else mask & (users.n_held_out > 0)
    return bootstrap_mean(gap[keep], seed, n)


def compare_with_all(
    users: UserValues, system: str, metric: str, *, seed: int = 0, n: int = 2000
) -> tuple[dict[str, Interval], dict[str, float]]:
    """Return `system`'s metric minus every other's, and how likely chance alone makes as much.

    Keys of both are ``"SYSTEM - OTHER: METRIC"``. The p-values are of
    :func:`twofold.evaluation.significance.permutation_test`, adjusted for their number by
    :func:`twofold.evaluation.significance.holm`.
    """
    names = {f"{system} - {one}: {metric}": one for one in users.systems if one != system}
    intervals = {
        name: compare(users, system, one, metric, seed=seed, n=n) for name, one in names.items()
    }
    ours = users.of(system, metric)
    found = [permutation_test(ours - users.of(one, metric), seed) for one in names.values()]
    return intervals, dict(zip(names, holm(found).tolist(), strict=True))


def _values(
    lists: Ranked, truth: Truth, surroundings: Surroundings, ks: Sequence[int]
) -> dict[str, Floats]:
    primitive = surroundings.primitive
    parts = []
    for begin in range(0, max(len(truth), 1), _USERS_A_TIME):
        rows = np.arange(begin, min(begin + _USERS_A_TIME, len(truth)))
        items, asked = lists.items[rows], truth.take(rows)
        scores = None if lists.scores is None else lists.scores[rows]
        part = metric_values(judge(items, asked, scores), ks)
        if primitive is not None:
            plain = primitive.take(rows)
            for k in ks:
                part[f"serendipity@{k}"] = serendipity(items, asked, plain, k, scores)
        parts.append(part)
    out = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return out | surroundings.exposures(lists.items, ks)


def _group_rows(
    users: UserValues, group: str, which: Int64s, baseline: str | None, seed: int, n: int
) -> list[Row]:
    values = users.values[:, which]
    n_systems, n_users, n_metrics = values.shape
    blocks = [values]
    if baseline is not None:
        blocks.append(values - values[users.systems.index(baseline)])
    # One bootstrap for all columns: every system and difference is drawn on the same users.
    columns = np.concatenate(blocks).transpose(1, 0, 2).reshape(n_users, -1)
    measured = ~np.all(np.isnan(columns), axis=0)
    found = iter(bootstrap_means(columns[:, measured], seed, n))
    nothing = Interval(np.nan, np.nan, np.nan, 0)
    intervals = [next(found) if one else nothing for one in measured]
    gaps = _delta_gaps(users, which, seed, n)

    def named(block: int) -> dict[str, Interval]:
        begin = block * n_metrics
        return dict(zip(users.metrics, intervals[begin : begin + n_metrics], strict=True))

    return [
        Row(
            name=system,
            group=group,
            n_users=n_users,
            metrics=named(s) | gaps.get(system, {}) | _catalogue(users, system, which),
            baseline=None if system == baseline else baseline,
            differences={} if baseline in (None, system) else named(n_systems + s),
        )
        for s, system in enumerate(users.systems)
    ]


def _delta_gaps(
    users: UserValues, which: Int64s, seed: int, n: int
) -> dict[str, dict[str, Interval]]:
    """Return ``delta_gap@k`` of every system; nothing where no history is known."""
    history = users.surroundings.history_popularity
    if history is None:
        return {}
    pairs = [(system, k) for system in users.systems for k in users.ks]
    listed = np.stack([users.of(one, f"popularity@{k}")[which] for one, k in pairs], axis=1)
    below = np.where(np.isnan(listed), np.nan, history[which][:, None])
    above = np.nan_to_num(np.where(below > 0, listed - below, 0.0))
    below = np.nan_to_num(below)
    out: dict[str, dict[str, Interval]] = {system: {} for system in users.systems}
    told = np.flatnonzero(below.any(axis=0))
    found = bootstrap_ratios(above[:, told], below[:, told], seed, n) if len(told) else []
    for place, interval in zip(told, found, strict=True):
        system, k = pairs[place]
        out[system][f"delta_gap@{k}"] = interval
    return out


def _catalogue(users: UserValues, system: str, which: Int64s) -> dict[str, Interval]:
    shown, n_items = users.shown[system][which], users.surroundings.n_items
    out = {}
    for k in users.ks:
        for name, metric in (("coverage", coverage), ("gini", gini)):
            value = metric(shown, k, n_items)
            out[f"{name}@{k}"] = Interval(value, np.nan, np.nan, len(which))
    return out
