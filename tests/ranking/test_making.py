"""How users are dealt over the windows of a ranker's training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.ranking.planted import planted_lists
from twofold.indexing.errors import InputError
from twofold.ranking.lists import Lists, pooled, stacked
from twofold.ranking.making import deal
from twofold.ranking.training_settings import TrainingSettings

SETTINGS = TrainingSettings(stop_share=0.2, calibration_share=0.3)


def _window(users: list[int], seed: int, m: int = 4) -> Lists:
    rng = np.random.default_rng(seed)
    items = np.stack([rng.permutation(6)[:m] for _ in users]).astype(np.int64)
    labels = np.arange(m)[None, :] == rng.integers(0, m, len(users))[:, None]
    lists = planted_lists(items, labels, np.zeros((len(users), m, 2), np.float32))
    return replace(lists, queries=replace(lists.queries, users=np.array(users, dtype=np.int64)))


def test_a_user_is_in_one_group_whatever_the_window() -> None:
    windows = [_window(list(range(60)), 0), _window(list(range(0, 60, 2)), 1)]
    groups = deal(windows, SETTINGS, seed=3)
    users = [{int(u) for part in group for u in part.queries.users} for group in groups]
    assert len(users[0] | users[1] | users[2]) == sum(len(group) for group in users) == 60
    assert len(groups.stop[0]) == 12
    assert len(groups.rest[0]) == 18
    for number, window in enumerate(windows):
        assert sum(len(group[number]) for group in groups) == len(window)


def test_too_few_hits_in_the_latest_window_are_refused() -> None:
    windows = [_window(list(range(15)), 0), _window(list(range(15)), 1)]
    with pytest.raises(InputError, match="at least 20 users"):
        deal(windows, SETTINGS, seed=3)


def test_lists_of_different_widths_are_pooled_with_padding() -> None:
    wide, short = _window([0, 1], 0, m=5), _window([2], 1, m=3)
    pool = pooled([wide, short])
    assert pool.labels.shape == (3, 5)
    assert pool.valid.tolist() == [[True] * 5, [True] * 5, [True] * 3 + [False] * 2]
    assert pool.labels[2, :3].tolist() == short.labels[0].tolist()
    scores = stacked([np.zeros((1, 2), np.float32), np.zeros((1, 1), np.float32)], -np.inf)
    assert np.isneginf(scores).tolist() == [[False, False], [False, True]]
