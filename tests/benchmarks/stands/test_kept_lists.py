from __future__ import annotations

import numpy as np

from benchmarks.stands.kept_lists import arrays_of, lists_of
from twofold.evaluation.metrics import Truth
from twofold.evaluation.quality import Ranked


def test_lists_come_back_as_they_were_kept() -> None:
    truth = Truth.from_pairs(np.array([0, 1]), np.array([3, -1]), 2)
    items = np.array([[3, 1, -1], [2, 0, 1]])
    scores = np.array([[2.0, 1.0, -np.inf], [0.5, 0.5, 0.25]])
    lists = {"a/b": Ranked(items, scores), "plain": Ranked(items[:, :2])}
    found, again = lists_of(arrays_of(lists, truth, np.array([4, 9])))
    assert list(found) == ["a/b", "plain"]
    np.testing.assert_array_equal(found["a/b"].items, items)
    np.testing.assert_array_equal(found["a/b"].scores, scores)
    assert found["plain"].scores is None
    np.testing.assert_array_equal(again.indptr, truth.indptr)
    np.testing.assert_array_equal(again.items, truth.items)
