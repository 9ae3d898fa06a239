"""Slices hold whom they should, and add up to the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold.evaluation.metrics import Truth, judge, ndcg, recall
from twofold.evaluation.quality import Ranked
from twofold.evaluation.slices import (
    DAY_MS,
    history_slices,
    item_slices,
    label_sums,
    popularity_slices,
    slice_rows,
)
from twofold.indexing.interactions import Interactions

NOW = 1000 * DAY_MS


def _log(rows: list[tuple[int, int, int]], n_users: int = 3, n_items: int = 8) -> Interactions:
    """Return likes ``(user, item, day)``, users in rising order."""
    users, items, days = np.array(rows or [(0, 0, 0)]).T[:, : len(rows)]
    n = len(rows)
    return Interactions(
        users=users,
        items=items,
        steps=np.arange(n, dtype=np.int32),
        times=NOW + days * DAY_MS,
        weights=np.ones(n, dtype=np.float32),
        signs=np.ones(n, dtype=np.int8),
        seen=np.ones(n, dtype=bool),
        labels=np.ones(n, dtype=bool),
        kinds=np.zeros(n, dtype=np.int16),
        n_users=n_users,
        n_items=n_items,
    )


def test_users_are_sliced_by_what_raised_an_item() -> None:
    rows = [(user, item % 8, item) for user, n in enumerate((0, 1, 2, 3, 20, 21, 101)) for item in
            range(n)]  # fmt: skip
    log = _log(rows, n_users=7)
    found = history_slices(log, np.array([6, 5, 4, 3, 2, 1, 0]))
    told = {name: np.flatnonzero(mask).tolist() for name, mask in found.items()}
    assert told == {
        "history 0": [6],
        "history 1-2": [4, 5],
        "history 3-5": [3],
        "history 6-20": [2],
        "history 21-100": [1],
        "history over 100": [0],
    }
    skipped = replace(log, weights=np.where(log.users == 1, 0, log.weights).astype(np.float32))
    assert history_slices(skipped, np.array([1]))["history 0"].all()


def test_labels_are_sliced_by_their_items_age_at_the_label() -> None:
    # Item 0 is 6 days old at the label, 1 a week, 2 30 days, 3 90; 4 begins after; 5 is unknown.
    known = _log([(0, 0, -6), (0, 1, -7), (1, 2, -30), (1, 3, -90), (1, 3, -1), (2, 4, 5)])
    held = _log([*((0, item, 0) for item in (3, 1, 0)), (1, 5, 0), (1, 4, 0), (2, 2, 0)])
    found = item_slices(known, held, np.array([2, 0, 1]), has_times=True)
    told = {name: (one.rows.tolist(), one.items.tolist()) for name, one in found.items()}
    assert told == {
        "items new": ([2], [5]),
        "items under 7 days": ([1, 2], [0, 4]),
        "items under 30 days": ([1], [1]),
        "items under 90 days": ([0], [2]),
        "items older": ([1], [3]),
    }
    # An item taken again counts once, by the first label; without times events are counted.
    twice = _log([(0, 3, 0), (0, 3, 500)])
    assert item_slices(known, twice, np.array([0]), has_times=True)[
        "items older"
    ].items.tolist() == [3]
    early = _log([(0, 0, 0), (0, 0, 500)])
    again = item_slices(known, early, np.array([0]), has_times=True)
    assert again["items under 7 days"].items.tolist() == [0]
    assert len(again["items older"].items) == 0
    counted = item_slices(known, held, np.array([0, 1]), has_times=False)
    assert {name: one.items.tolist() for name, one in counted.items() if len(one.items)} == {
        "items new": [5],
        "items with 1-2 events": [0, 1, 3, 4],
    }


def test_slices_say_what_can_be_reckoned_by_hand() -> None:
    known = _log([(0, 0, -6), (0, 1, -50), (1, 2, -6), (1, 3, -50)])
    held = _log([(0, 2, 0), (0, 3, 0), (1, 0, 0), (1, 1, 0), (1, 7, 0)])
    users = np.array([0, 1])
    ages = item_slices(known, held, users, has_times=True)
    truth = Truth.from_pairs(held.users, held.items, 2)
    lists = Ranked(np.array([[2, 5, 3, 6], [1, 4, 5, 6]]))
    rows = slice_rows({"one": lists}, truth, history_slices(known, users), ages, depth=4)
    by = {row.group: row for row in rows}
    assert list(by) == ["history 1-2", "items new", "items under 7 days", "items under 90 days"]
    history = by["history 1-2"]
    assert history.n_users == 2
    assert history.metrics["recall@4"].mean == pytest.approx((1 + 1 / 3) / 2)
    assert history.metrics["hit_rate@10"].mean == 1
    young, old, new = (by[f"items {name}"] for name in ("under 7 days", "under 90 days", "new"))
    # Items 2 and 0 are young, 3 and 1 not, 7 is new.
    assert young.metrics["n_labels"].mean == old.metrics["n_labels"].mean == 2
    assert young.metrics["recall@4"].mean == 0.5
    assert young.metrics["ndcg@10"].mean == 0.5
    assert old.metrics["ndcg@10"].mean == pytest.approx((1 / np.log2(4) + 1) / 2)
    assert (new.n_users, new.metrics["recall@4"].mean) == (1, 0)


@given(st.data())
def test_slices_add_up_to_the_whole(data: st.DataObject) -> None:
    pair = st.tuples(st.integers(0, 4), st.integers(0, 11), st.integers(-200, 0))
    known = _log(sorted(data.draw(st.lists(pair, max_size=20))), 5, 12)
    held = _log(sorted(data.draw(st.lists(pair, min_size=1, max_size=20))), 5, 12)
    users = np.arange(5)
    truth = Truth.from_pairs(held.users, held.items, 5)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    items = np.stack([rng.permutation(12) for _ in users])
    scores = -np.sort(rng.integers(0, 6, items.shape), axis=1).astype(np.float32)  # many ties
    whole = label_sums(judge(items, truth, scores), 5)
    ages = [item_slices(known, held, users, has_times=one) for one in (True, False)]
    popular = popularity_slices(known, held, users)
    for parts in (*ages, popular):
        assert parts["items new"].items.tolist() == popular["items new"].items.tolist()
        counted = np.sum([one.n_held_out() for one in parts.values()], axis=0)
        np.testing.assert_array_equal(counted, truth.n_held_out())
        sums = sum(label_sums(judge(items, one, scores), 5) for one in parts.values())
        np.testing.assert_allclose(sums, whole, atol=1e-12)
    masks = history_slices(known, users)
    np.testing.assert_array_equal(sum(mask.astype(int) for mask in masks.values()), 1)
    judged = judge(items, truth, scores)
    told = recall(judged, 5)
    weighed = sum(np.nansum(told[mask]) for mask in masks.values())
    assert weighed == pytest.approx(np.nansum(told))
    # Of one label a user the sums are the user's own metrics.
    lone = Truth.from_pairs(users, np.arange(5), 5)
    one = label_sums(judge(items, lone, scores), 5)
    np.testing.assert_allclose(one[:, 0], ndcg(judge(items, lone, scores), 10), atol=1e-12)


def _by_popularity(counts: list[int]) -> dict[str, list[int]]:
    """Return the items of each slice where one user took every item and items have these events."""
    n = len(counts)
    known = _log([(0, item, 0) for item, count in enumerate(counts) for _ in range(count)], 2, n)
    held = _log([(1, item, 0) for item in range(n)], 2, n)
    found = popularity_slices(known, held, np.array([1]))
    assert list(found) == ["items new", "items head", "items middle", "items tail"]
    assert all(len(one) == 1 for one in found.values())
    return {name.removeprefix("items "): one.items.tolist() for name, one in found.items()}


def test_labels_are_sliced_by_how_popular_their_item_is() -> None:
    # Of 13 events item 2 has 4, not a third, so item 0 is needed; with it 7 are held, not two.
    told = _by_popularity([3, 0, 4, 2, 2, 2])
    assert told == {"new": [1], "head": [0, 2], "middle": [3, 4, 5], "tail": []}
    # Exactly a third is enough: item 2 has 4 of 12, and 0, 4 and 5 stand behind it.
    told = _by_popularity([3, 0, 4, 1, 2, 2])
    assert told == {"new": [1], "head": [2], "middle": [0, 4, 5], "tail": [3]}
    # What one item holds beyond its third is not another's; items of one count are never parted.
    assert _by_popularity([8, 2, 1, 1]) == {"new": [], "head": [0], "middle": [], "tail": [1, 2, 3]}
    assert _by_popularity([2, 2, 2, 2])["head"] == [0, 1, 2, 3]
    assert _by_popularity([0, 0])["new"] == [0, 1]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_the_head_is_the_fewest_items_with_a_third_of_the_events(counts: list[int]) -> None:
    told = _by_popularity(counts)
    assert sorted(item for one in told.values() for item in one) == list(range(len(counts)))
    total, before = sum(counts), 0
    for name, share in (("head", 1), ("middle", 2), ("tail", 3)):
        mine = sorted({counts[item] for item in told[name]}, reverse=True)
        assert not mine or before * 3 < total * share
        for count in mine:
            assert before * 3 < total * share
            assert name == "head" or before * 3 >= total * (share - 1)
            before += sum(one for one in counts if one == count)
    assert before == total


def test_a_label_is_sliced_once_and_other_users_are_left_out() -> None:
    known = _log([(0, 1, 0)])
    held = _log([(0, 1, 1), (0, 1, 2), (1, 1, 1), (2, 1, 1), (2, 3, 1)])
    found = popularity_slices(known, held, np.array([2, 0]))
    assert found["items head"].rows.tolist() == [0, 1]
    assert found["items new"].items.tolist() == [3]
