"""Popularity, buying again and EASE against answers worked out otherwise."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from benchmarks.peers.best import best, without
from benchmarks.peers.buy_again import BuyAgain
from benchmarks.peers.ease import ease_weights
from benchmarks.peers.popularity import Popularity
from tests.benchmarks.peers.tasks import DAY, log_of, task_of
from twofold.indexing.errors import InputError


def test_the_best_of_ties_are_those_of_lowest_number() -> None:
    scores = np.array([[1.0, 2, 2, 0, 2], [-np.inf, 3, -np.inf, -np.inf, 4]])
    items, told = best(scores, 2)
    assert items.tolist() == [[1, 2], [4, 1]]
    assert told is not None
    assert told.tolist() == [[2, 2], [4, 3]]
    assert best(scores, 7).items.tolist() == [[1, 2, 4, 0, 3, -1, -1], [4, 1, -1, -1, -1, -1, -1]]


def test_what_is_excluded_is_taken_out_of_a_list() -> None:
    excluded = sp.csr_matrix(np.array([[0, 1, 0, 1], [0, 0, 0, 0]], dtype=bool))
    items = np.array([[1, 2, 3, 0], [3, 1, -1, -1]])
    shown, told = without(excluded, 3, items, -items.astype(float))
    assert shown.tolist() == [[2, 0, -1], [3, 1, -1]]
    assert told is not None
    assert told.tolist() == [[-2, 0, -np.inf], [-3, -1, -np.inf]]


def test_popularity_counts_labels_and_decays_until_the_asking() -> None:
    # Item 0: three old takings; item 1: two of day 90; item 2: four, after the asking.
    events = [(u, 0, 0) for u in range(3)] + [(u, 1, 90) for u in range(2)]
    events += [(u, 2, 200) for u in range(4)] + [(0, 3, 90)]
    log = log_of(events, 6, 4, dislikes=frozenset({len(events) - 1}))
    task = task_of(log, [5, 4], k=4, asked=100)
    peer = Popularity()
    for_all = peer.lists(task, {"half_life_days": None})
    assert for_all.items[0].tolist() == [2, 0, 1, 3]
    decayed = peer.lists(task, {"half_life_days": 10})
    assert decayed.items[0].tolist() == [1, 0, 2, 3]
    assert decayed.scores is not None
    np.testing.assert_allclose(decayed.scores[0], [2 * 0.5, 3 * 2.0**-10, 0, 0])
    # Each user at their own moment, whatever the order of users.
    later = replace(task, asked_at=np.array([210, 100]) * DAY)
    moved = peer.lists(later, {"half_life_days": 10})
    assert moved.scores is not None
    assert moved.items[:, 0].tolist() == [2, 1]
    np.testing.assert_allclose(moved.scores[:, 0], [4 * 0.5, 2 * 0.5])
    with pytest.raises(InputError, match="times"):
        peer.lists(replace(task, asked_at=None), {"half_life_days": 10})


def test_buying_again_by_hand() -> None:
    # User 0: item 4 three times long ago, item 5 once lately, item 6 once long ago.
    events = [(0, 4, 0), (0, 4, 10), (0, 4, 20), (0, 5, 95), (0, 6, 20)]
    # Others make item 1 popular, then item 6, then items 0 and 2 alike.
    events += [(u, 1, 50) for u in range(1, 6)] + [(u, 6, 50) for u in range(1, 4)]
    events += [(1, 0, 50), (2, 2, 50)]
    log = log_of(events, 7, 8)
    task = task_of(log, [0], k=8, repeat=True, asked=100)

    def answer(days: float | None) -> list[int]:
        ranked = BuyAgain().lists(task, {"half_life_days": days})
        return [int(item) for item in ranked.items[0]]

    # Items 5 and 6 tie by how often. Then what others take.
    assert answer(None) == [4, 5, 6, 1, 0, 2, 3, 7]
    # Worth at a half-life of 10 days: 4: 2^-10 + 2^-9 + 2^-8, 5: 2^-0.5, 6: 2^-8.
    assert answer(10) == [5, 4, 6, 1, 0, 2, 3, 7]


def test_only_labels_are_takings() -> None:
    log = log_of([(0, 3, 1), (0, 2, 1), (0, 3, 2)], 1, 4)
    viewed = replace(log, labels=log.items == 2)
    task = task_of(viewed, [0], k=4, repeat=True)
    assert BuyAgain().lists(task, {"half_life_days": None}).items[0].tolist() == [2, 0, 1, 3]


def test_buying_again_leaves_out_what_is_excluded() -> None:
    log = log_of([(0, 1, 0), (0, 2, 0), (0, 1, 5)], 2, 4, dislikes=frozenset({2}))
    task = task_of(log, [0], k=4, repeat=True)
    assert BuyAgain().lists(task, {"half_life_days": 7}).items[0].tolist() == [2, 0, 3, -1]
    with pytest.raises(InputError, match="above 0"):
        BuyAgain().lists(task, {"half_life_days": math.nan})


def test_ease_is_a_ridge_regression_for_each_item(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    taken = (rng.random((40, 11)) < 0.3).astype(np.float32)
    slow = np.zeros((11, 11))
    for item in range(11):
        others = np.arange(11) != item
        rest = taken[:, others].astype(np.float64)
        inner = rest.T @ rest + 3.0 * np.eye(10)
        slow[others, item] = np.linalg.solve(inner, rest.T @ taken[:, item])
    # Several blocks of columns, the last one shorter.
    monkeypatch.setattr("benchmarks.peers.ease._COLUMNS_A_TIME", 4)
    found = ease_weights(sp.csr_matrix(taken), 3.0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, slow, atol=1e-5)


def test_ease_refuses_what_it_cannot_invert() -> None:
    with pytest.raises(InputError, match="at most 20000"):
        ease_weights(sp.csr_matrix((2, 20_001), dtype=np.float32), 1.0)
    with pytest.raises(InputError, match="above 0"):
        ease_weights(sp.csr_matrix((2, 3), dtype=np.float32), 0.0)
    # Two items that everybody takes together, in float32 with next to no penalty.
    same = sp.csr_matrix(np.ones((100, 2), dtype=np.float32))
    with pytest.raises(InputError, match="singular"):
        ease_weights(same, 1e-9)
