from __future__ import annotations

from math import log2

import numpy as np
import pytest

from twofold.evaluation.exposure import coverage, gini, mean_popularity, novelty

LISTS = np.array([[0, 1, 2], [0, 1, -1], [-1, -1, -1]])


def test_coverage_counts_items_shown_to_anybody() -> None:
    assert coverage(LISTS, 1, 4) == 0.25
    assert coverage(LISTS, 3, 4) == 0.75
    assert coverage(LISTS[2:], 3, 4) == 0


def test_gini_of_equal_and_of_single_exposure() -> None:
    assert gini(np.array([[0, 1], [2, 3]]), 2, 4) == pytest.approx(0)
    assert gini(np.array([[0], [0]]), 1, 4) == pytest.approx(3 / 4)
    assert np.isnan(gini(LISTS[2:], 3, 4))


def test_gini_agrees_with_mean_absolute_difference() -> None:
    lists = np.random.default_rng(0).integers(0, 9, size=(30, 5))
    shown = np.bincount(lists.ravel(), minlength=12)
    slow = np.abs(shown[:, None] - shown[None, :]).sum() / (2 * 12 * shown.sum())
    assert gini(lists, 5, 12) == pytest.approx(slow)


def test_novelty_is_mean_surprise_and_finite_for_new_items() -> None:
    popularity = np.array([5, 1, 0])
    bits = [-log2(6 / 9), -log2(2 / 9), -log2(1 / 9)]
    values = novelty(LISTS, 3, popularity)
    assert values[0] == pytest.approx(np.mean(bits))
    assert values[1] == pytest.approx(np.mean(bits[:2]))
    assert np.isnan(values[2])
    assert novelty(LISTS, 1, popularity)[0] == pytest.approx(bits[0])


def test_mean_popularity() -> None:
    values = mean_popularity(LISTS, 2, np.array([5, 1, 0]))
    assert values[:2].tolist() == [3, 3]
    assert np.isnan(values[2])
