from __future__ import annotations

from math import log2

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from twofold.evaluation import exposure
from twofold.evaluation.exposure import (
    coverage,
    diversity,
    gini,
    mean_popularity,
    novelty,
    popularity_lift,
)

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


def test_lift_is_relative_to_the_own_history() -> None:
    popularity = np.array([6, 2, 1])
    lists = np.array([[0, 1], [0, 1], [2, -1], [0, 1], [-1, -1]])
    history = np.array([4.0, 2.0, 4.0, np.nan, 3.0])
    values = popularity_lift(lists, 2, popularity, history)
    assert values == pytest.approx([0, 1, -0.75, np.nan, np.nan], nan_ok=True)
    assert popularity_lift(lists, 1, popularity, history)[0] == pytest.approx(0.5)
    nothing = popularity_lift(lists, 2, popularity, np.zeros(5))
    assert np.isnan(nothing).all()


def test_diversity_of_lists_that_can_be_reckoned_by_hand() -> None:
    vectors = np.array([[2, 0], [5, 0], [0, 1], [-1, 0], [0, 0]], dtype=np.float32)
    lists = np.array([[0, 1, 3], [0, 2, 1], [0, 3, 2], [4, 0, -1], [0, 4, 2], [-1, -1, -1]])
    assert diversity(lists, 2, vectors) == pytest.approx(
        [0, 1, 2, np.nan, np.nan, np.nan], nan_ok=True
    )
    expected = [1 - (1 - 1 - 1) / 3, 1 - 1 / 3, 1 + 1 / 3, np.nan, 1, np.nan]
    assert diversity(lists, 3, vectors) == pytest.approx(expected, nan_ok=True)
    assert diversity(lists, 9, vectors) == pytest.approx(expected, nan_ok=True)
    assert np.isnan(diversity(lists, 1, vectors)).all()


def test_diversity_agrees_with_sklearn_in_any_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    drawn = rng.normal(0.3, 1, (50, 7)) * rng.uniform(0.1, 9, (50, 1))
    vectors = drawn.astype(np.float32)
    vectors[:5] = 0
    lists = np.stack([rng.permutation(50)[:10] for _ in range(30)])
    lists[np.arange(10) >= rng.integers(0, 11, (30, 1))] = -1
    slow = []
    for items in lists[:, :8]:
        shown = vectors[items[items >= 5]]
        pairs = cosine_similarity(shown)[np.triu_indices(len(shown), 1)] if len(shown) else []
        slow.append(1 - np.mean(pairs) if len(pairs) else np.nan)
    whole = diversity(lists, 8, vectors)
    assert whole == pytest.approx(slow, abs=1e-6, nan_ok=True)
    monkeypatch.setattr(exposure, "_VALUES_A_TIME", 8 * 7 * 4)
    assert diversity(lists, 8, vectors) == pytest.approx(whole, abs=1e-12, nan_ok=True)
