"""Quality by how long users' histories are, and by how old and how popular held-out items are.

Users' slices average users, as every other row does. Items' slices count *labels*, each held-out
item of each user once: a slice holds the labels whose item falls into it, and its numbers are sums
over these labels divided by how many there are. Sums of all slices are therefore the sums of the
whole. Over labels ``recall@k`` and ``hit_rate@k`` are the share of labels within the first ``k``
of their user's list, and ``ndcg@k`` is the mean of ``1 / log2(rank + 1)``, 0 beyond ``k``: what a
user's NDCG would be if the label were the only one. Lists are the same whole ones; labels of other
slices are in the way as everything else is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from twofold.evaluation.intervals import Interval, bootstrap_means, bootstrap_ratios
from twofold.evaluation.metrics import Judged, Truth, hit_rate, judge, ndcg, recall
from twofold.evaluation.quality import Ranked
from twofold.evaluation.report import Row
from twofold.indexing.interactions import Interactions

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

COUNTS = (0, 2, 5, 20, 100)  # the most of each slice; more are the last
DAYS = (7, 30, 90)
DAY_MS = 86_400_000
K = 10


def history_slices(known: Interactions, users: Int64s) -> dict[str, Mask]:
    """Return which users have how long a history, ``bool (n_users,)`` each.

    Parameters
    ----------
    known
        What may be known at test; events that raise an item are counted.
    users
        Users in the order of the lists, ``int64 (n_users,)``.
    """
    lengths = np.bincount(known.users[known.weights > 0], minlength=known.n_users)[users]
    places = np.searchsorted(COUNTS, lengths)
    return {f"history {name}": places == place for place, name in enumerate(_count_names())}


def item_slices(
    known: Interactions, held_out: Interactions, users: Int64s, *, has_times: bool
) -> dict[str, Truth]:
    """Return the held-out labels by the age of their item: each slice the truth of all users.

    An item's age is the time from its first known event, of any kind and user, to the label; 0
    where that comes after the label. Where there are no times, items are sliced by how many known
    events they have. ``items new`` holds the labels whose item has no known event, with times and
    without.

    Parameters
    ----------
    known
        What may be known at test.
    held_out
        The labels.
    users
        Users in the order of the lists, ``int64 (n_users,)``; others' labels are left out.
    has_times
        Whether times are real.
    """
    rows, items, times = _labels(held_out, users)
    counts = np.bincount(known.items, minlength=known.n_items)[items]
    if has_times:
        begun = np.full(known.n_items, np.iinfo(np.int64).max)
        np.minimum.at(begun, known.items, known.times)
        ages = np.maximum(times - np.where(counts > 0, begun[items], times), 0)
        slices = 1 + np.searchsorted(np.array(DAYS) * DAY_MS, ages, side="right")
        slices = np.where(counts > 0, slices, 0)
        names = ["items new", *(f"items under {days} days" for days in DAYS), "items older"]
    else:
        slices = np.searchsorted(COUNTS, counts)
        names = ["items new", *(f"items with {name} events" for name in _count_names()[1:])]
    return _parted(rows, items, slices, names, len(users))


def popularity_slices(
    known: Interactions, held_out: Interactions, users: Int64s
) -> dict[str, Truth]:
    """Return the held-out labels by how popular their item is: each slice the truth of all users.

    Of an item, look at the share of all known events, of any kind and user, that more popular items
    hold: ``items head`` below 1/3, ``items middle`` from there to below 2/3, ``items tail`` from
    there on, ``items new`` without any known event, as in :func:`item_slices`. So the head is the
    fewest of the most popular items that hold a third of the events together, items of one count
    never parted: they stand in the slice where the first of them stands.

    P. Cremonesi, Y. Koren and R. Turrin, "Performance of Recommender Algorithms on Top-N
    Recommendation Tasks", RecSys 2010 (a third of the events as the short head).

    Parameters
    ----------
    known
        What may be known at test.
    held_out
        The labels.
    users
        Users in the order of the lists, ``int64 (n_users,)``; others' labels are left out.
    """
    rows, items, _ = _labels(held_out, users)
    counts = np.bincount(known.items, minlength=known.n_items)
    rising = np.sort(counts)
    held = np.concatenate([[0], np.cumsum(rising)])
    # Whole numbers, so that a third is exactly one.
    above = held[-1] - held[np.searchsorted(rising, counts, side="right")]
    places = 1 + (3 * above >= held[-1]).astype(np.int64) + (3 * above >= 2 * held[-1])
    slices = np.where(counts > 0, places, 0)[items]
    names = ["items new", "items head", "items middle", "items tail"]
    return _parted(rows, items, slices, names, len(users))


def slice_rows(
    systems: Mapping[str, Ranked],
    truth: Truth,
    by_history: Mapping[str, Mask],
    by_item: Mapping[str, Truth],
    *,
    depth: int = 100,
    seed: int = 0,
    n: int = 2000,
) -> list[Row]:
    """Return one row a slice and system: ``ndcg@10``, ``hit_rate@10`` and ``recall@depth``.

    Rows of items' slices have ``n_labels`` too, and count the users who hold such a label. A slice
    without a label has no rows.

    Parameters
    ----------
    systems
        Name -> lists of the same users, longer than `depth` where they can be.
    truth
        All held-out items of these users.
    by_history
        From :func:`history_slices`.
    by_item
        From :func:`item_slices`, :func:`popularity_slices`, or both.
    depth
        Length of the lists whose recall is told.
    seed, n
        Seed and number of draws; see :mod:`twofold.evaluation.intervals`.
    """
    names = (f"ndcg@{K}", f"hit_rate@{K}", f"recall@{depth}")
    rows = []
    judged = {name: judge(one.items, truth, one.scores) for name, one in systems.items()}
    for group, mask in by_history.items():
        which = np.flatnonzero(mask & (truth.n_held_out() > 0))
        for name in systems if len(which) else ():
            values = (ndcg(judged[name], K), hit_rate(judged[name], K), recall(judged[name], depth))
            found = bootstrap_means(np.stack(values, axis=1)[which], seed, n)
            rows.append(Row(name, group, len(which), dict(zip(names, found, strict=True))))
    for group, labels in by_item.items():
        n_labels = labels.n_held_out()
        for name, lists in systems.items() if n_labels.any() else ():
            sums = label_sums(judge(lists.items, labels, lists.scores), depth)
            found = bootstrap_ratios(sums, np.repeat(n_labels[:, None], 3, axis=1), seed, n)
            metrics = dict(zip(names, found, strict=True))
            counted = int(np.count_nonzero(n_labels))
            metrics["n_labels"] = Interval(float(n_labels.sum()), np.nan, np.nan, counted)
            rows.append(Row(name, group, counted, metrics))
    return rows


def label_sums(judged: Judged, depth: int) -> Floats:
    """Return each user's sums over labels, ``float64 (n_users, 3)``.

    They are the discounted gain within the first 10, the hits there, and those within `depth`.
    """
    n_labels = judged.truth.n_held_out()
    discounts = 1 / np.log2(np.arange(2, K + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(n_labels, K)]
    sums = (ndcg(judged, K) * ideal, recall(judged, K) * n_labels, recall(judged, depth) * n_labels)
    return np.where(n_labels[:, None] > 0, np.stack(sums, axis=1), 0.0)


def _labels(held_out: Interactions, users: Int64s) -> tuple[Int64s, Int64s, Int64s]:
    """Return each held-out item of each user once: row, item and the time of its first label."""
    place = np.full(held_out.n_users, -1, dtype=np.int64)
    place[users] = np.arange(len(users))
    asked = np.flatnonzero(place[held_out.users] >= 0)
    rows, items = place[held_out.users[asked]], held_out.items[asked]
    times = held_out.times[asked]
    order = np.lexsort((times, items, rows))
    rows, items, times = rows[order], items[order], times[order]
    first = np.ones(len(rows), dtype=bool)
    first[1:] = (rows[1:] != rows[:-1]) | (items[1:] != items[:-1])
    return rows[first], items[first], times[first]


def _parted(
    rows: Int64s, items: Int64s, slices: Int64s, names: Sequence[str], n_users: int
) -> dict[str, Truth]:
    """Return the labels of each slice by its name."""
    return {
        name: Truth.from_pairs(rows[slices == number], items[slices == number], n_users)
        for number, name in enumerate(names)
    }


def _count_names() -> list[str]:
    """Return the names of the slices by counts: ``0``, ``1-2`` and so on."""
    between = [f"{low + 1}-{high}" for low, high in pairwise(COUNTS)]
    return ["0", *between, f"over {COUNTS[-1]}"]
