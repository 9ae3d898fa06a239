"""Candidates keep their invariants, and `rank` orders rows as a slow sort does."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.indexing.errors import InputError
from twofold.retrieval.candidates import Candidates, rank

Rows = list[list[tuple[int, float]]]
ONE = st.tuples(st.integers(-1, 9), st.sampled_from([-np.inf, -1.5, 0.0, -0.0, 0.5, 0.5, 3.0]))
ROWS = st.integers(0, 6).flatmap(
    lambda m: st.lists(st.lists(ONE, min_size=m, max_size=m).map(_distinct), min_size=0, max_size=4)
)


def _distinct(row: list[tuple[int, float]]) -> list[tuple[int, float]]:
    taken: set[int] = set()
    out = []
    for item, score in row:
        out.append((-1 if item in taken else item, score))
        taken.add(item)
    return out


def _arrays(rows: Rows) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    width = len(rows[0]) if rows else 0
    shape = (len(rows), width)
    items = np.array([[item for item, _ in row] for row in rows], dtype=np.int64).reshape(shape)
    scores = np.array([[score for _, score in row] for row in rows], dtype="f4").reshape(shape)
    return items, scores


@settings(deadline=None)
@given(ROWS, st.integers(1, 9))
def test_rank_equals_a_slow_sort_and_carries_along(rows: Rows, k: int) -> None:
    items, scores = _arrays(rows)
    # What is carried along is made from the item, so that its place shows where it came from.
    features = np.stack([items * 2.0, items + 0.5], axis=-1).astype(np.float32)
    bits = (items + 5).astype(np.uint32)
    before = items.copy(), scores.copy(), features.copy(), bits.copy()
    found = rank(items, scores, k, features=features, sources=bits)
    assert found.items.shape == (len(rows), k)
    assert found.features is not None
    assert found.sources is not None
    for number, row in enumerate(rows):
        kept = [one for one in row if one[0] >= 0 and one[1] > -np.inf]
        best = sorted(kept, key=lambda one: (-one[1], one[0]))[:k]
        n = len(best)
        assert found.lengths()[number] == n
        assert found.items[number].tolist() == [item for item, _ in best] + [-1] * (k - n)
        assert found.scores[number].tolist() == [score for _, score in best] + [-np.inf] * (k - n)
        assert found.features[number, :n].tolist() == [[i * 2, i + 0.5] for i, _ in best]
        assert found.sources[number, :n].tolist() == [item + 5 for item, _ in best]
        assert not found.features[number, n:].any()
        assert not found.sources[number, n:].any()
    for old, new in zip(before, (items, scores, features, bits), strict=True):
        np.testing.assert_array_equal(old, new)


@settings(deadline=None)
@given(ROWS, st.integers(1, 6), st.integers(1, 6))
def test_the_top_of_a_ranking_is_the_shorter_ranking(rows: Rows, k: int, fewer: int) -> None:
    long, short = rank(*_arrays(rows), k).top(fewer), rank(*_arrays(rows), min(k, fewer))
    np.testing.assert_array_equal(long.items, short.items)
    np.testing.assert_array_equal(long.scores, short.scores)


@settings(deadline=None)
@given(ROWS, st.integers(0, 99))
def test_rank_does_not_depend_on_the_order_it_is_given(rows: Rows, seed: int) -> None:
    items, scores = _arrays(rows)
    order = np.random.default_rng(seed).permutation(items.shape[1])
    first, second = rank(items, scores, 5), rank(items[:, order], scores[:, order], 5)
    np.testing.assert_array_equal(first.items, second.items)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_take_gives_rows_in_the_asked_order() -> None:
    found = rank(np.array([[1, 2], [3, 4], [5, 6]]), np.zeros((3, 2), dtype=np.float32), 2)
    assert found.take(np.array([2, 0, 2])).items.tolist() == [[5, 6], [1, 2], [5, 6]]
    assert found.take(np.array([], dtype=np.int64)).n_queries == 0


INF = np.inf


@pytest.mark.parametrize(
    ("items", "scores", "match"),
    [
        ([[1, 2]], [[1.0]], "one shape"),
        ([[-1, 2]], [[-INF, 0.0]], "end of a row"),
        ([[1, -1]], [[1.0, 0.0]], "-inf"),
        ([[1, 2]], [[1.0, -INF]], "-inf"),
        ([[1, 2]], [[1.0, np.nan]], "finite"),
        ([[1, 2]], [[INF, 1.0]], "finite"),
        ([[1, -1]], [[1.0, INF]], "-inf"),
        ([[1, 2]], [[1.0, 2.0]], "sorted"),
        ([[2, 1]], [[1.0, 1.0]], "sorted"),
        ([[1, 2, 1]], [[3.0, 2.0, 1.0]], "only once"),
    ],
)
def test_broken_invariants_are_refused(
    items: list[list[int]], scores: list[list[float]], match: str
) -> None:
    with pytest.raises(InputError, match=match):
        Candidates(np.array(items), np.array(scores, dtype=np.float32))


def test_features_and_sources_must_follow_the_items() -> None:
    items, scores = np.array([[1, 2]]), np.array([[2.0, 1.0]], dtype=np.float32)
    with pytest.raises(InputError, match="follow the shape"):
        Candidates(items, scores, np.zeros((1, 3, 2), dtype=np.float32))
    with pytest.raises(InputError, match="follow the shape"):
        Candidates(items, scores, None, np.zeros((1, 1), dtype=np.uint32))
