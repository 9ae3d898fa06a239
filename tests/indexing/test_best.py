"""The best of some items: in order, ties by lower item, whatever is padding."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from twofold.indexing.best import best, nearest_of
from twofold.indexing.inner_products import products

# Few different scores, so that there are ties, with signed zeros and the ends of the range.
SCORES = st.sampled_from([-3.5, -1e-30, -0.0, 0.0, 1e-30, 2.0, 3.4e38, -np.inf])


@given(
    scores=hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=30), elements=SCORES
    ),
    k=st.integers(1, 40),
    data=st.data(),
)
def test_as_a_slow_version_has_it(scores: np.ndarray, k: int, data: st.DataObject) -> None:
    n, m = scores.shape
    numbers = st.permutations([*range(m), *[-1] * 3, 2**32 - 1])
    items = np.array([data.draw(numbers)[:m] for _ in range(n)], dtype=np.int64)
    found_scores, found = best(scores, items, k)
    assert found_scores.shape == found.shape == (n, k)
    for row in range(n):
        there = [(-scores[row, at], item) for at, item in enumerate(items[row]) if item >= 0]
        wanted = sorted(there)[:k]
        assert found[row].tolist() == [item for _, item in wanted] + [-1] * (k - len(wanted))
        told = [-score for score, _ in wanted] + [-np.inf] * (k - len(wanted))
        np.testing.assert_array_equal(found_scores[row], told)


@given(m=st.integers(0, 90), k=st.integers(1, 100), d=st.integers(1, 40), seed=st.integers(0, 9))
def test_proposals_are_scored_by_whole_vectors(m: int, k: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((60, d)).astype(np.float32)
    vectors[30:] = vectors[:30]  # each has a twin, which ties
    queries = rng.standard_normal((3, d)).astype(np.float32)
    proposed = np.stack([rng.permutation(np.r_[np.arange(60), [-1] * 30])[:m] for _ in queries])
    scores, items = nearest_of(queries, vectors, proposed, k)
    every = products(queries, vectors)
    for row, some in enumerate(proposed):
        some = np.sort(some[some >= 0])
        wanted = some[np.argsort(-every[row, some], kind="stable")][:k]
        assert items[row].tolist() == [*wanted, *[-1] * (k - len(wanted))]
        np.testing.assert_array_equal(scores[row, : len(wanted)], every[row, wanted])
        assert np.isneginf(scores[row, len(wanted) :]).all()


def test_nothing_proposed_is_padding() -> None:
    vectors = np.ones((3, 4), dtype=np.float32)
    scores, items = nearest_of(vectors[:2], vectors, np.zeros((2, 0), dtype=np.int64), 2)
    assert (items == -1).all()
    assert np.isneginf(scores).all()
    assert nearest_of(vectors[:0], vectors, np.zeros((0, 0), dtype=np.int64), 2)[0].shape == (0, 2)
