from __future__ import annotations

import numpy as np
import pytest

from twofold.evaluation.held_out import (
    history_groups,
    history_popularity,
    truth_of,
    users_held_out,
)
from twofold.indexing.interactions import Interactions

USERS = np.array([0, 0, 0, 1, 2, 2, 2, 3])
ITEMS = np.array([5, 6, 7, 5, 8, 4, 4, 5])
TEST = np.array([False, True, True, False, False, True, True, True])


def interactions() -> Interactions:
    n = len(USERS)
    return Interactions(
        users=USERS,
        items=ITEMS,
        steps=np.array([0, 1, 2, 0, 0, 1, 2, 0], dtype=np.int32),
        times=np.zeros(n, dtype=np.int64),
        weights=np.array([1, 1, 1, 1, 0, 1, 1, 1], dtype=np.float32),
        signs=np.array([1, 1, 1, 1, -1, 1, 1, 1], dtype=np.int8),
        seen=np.ones(n, dtype=bool),
        labels=np.array([1, 1, 1, 1, 0, 1, 1, 1], dtype=bool),
        kinds=np.zeros(n, dtype=np.int16),
        n_users=4,
        n_items=9,
    )


def test_users_and_their_truth() -> None:
    users = users_held_out(interactions(), TEST)
    assert users.tolist() == [0, 2, 3]
    truth = truth_of(interactions(), TEST, users)
    assert truth.n_held_out().tolist() == [2, 1, 1]
    assert truth.items.tolist() == [6, 7, 4, 5]
    other = truth_of(interactions(), TEST, np.array([3, 1, 0]))
    assert other.n_held_out().tolist() == [1, 0, 2]
    assert other.items.tolist() == [5, 6, 7]


def test_a_user_known_by_dislikes_alone_is_new() -> None:
    groups = history_groups(interactions(), ~TEST, np.array([3, 2, 0]))
    assert groups["all"].tolist() == [True, True, True]
    assert groups["warm"].tolist() == [False, False, True]
    assert groups["new"].tolist() == [True, True, False]


def test_a_history_is_as_popular_as_its_items_each_once() -> None:
    # User 2 disliked item 8 and took 4 twice; user 3 has no known event.
    log = interactions()
    known = log.take(USERS < 3)
    popularity = np.array([0, 0, 0, 0, 7, 2, 4, 9, 100])
    found = history_popularity(known, np.array([3, 2, 0]), popularity)
    assert found == pytest.approx([np.nan, 7, 5], nan_ok=True)
    twice = log.take(np.array([0, 0, 1]))
    assert history_popularity(twice, np.array([0]), popularity) == pytest.approx([3])
