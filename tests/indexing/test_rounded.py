"""Rounded vectors: products no further off than is said, and the best found for certain."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.indexing import vectors as module
from twofold.indexing.best import best, certain
from twofold.indexing.inner_products import products
from twofold.indexing.item_set import ItemSet
from twofold.indexing.rounded import Rounded
from twofold.indexing.vectors import VectorIndex, normalised

Floats = npt.NDArray[np.float32]


def _vectors(n: int, d: int, seed: int, *, spread: float = 0.0) -> Floats:
    """Vectors whose lengths differ the more, the larger the spread; every tenth is zero."""
    rng = np.random.default_rng(seed)
    made = rng.standard_normal((n, d)) * np.exp(spread * rng.standard_normal((n, 1)))
    made[::10] = 0
    return made.astype(np.float32)


@settings(deadline=None)
@given(
    n=st.integers(1, 150),
    d=st.integers(1, 100),
    n_queries=st.integers(1, 11),
    spread=st.sampled_from([0.0, 2.0]),
    seed=st.integers(0, 99),
)
def test_products_are_no_further_off_than_is_said(
    n: int, d: int, n_queries: int, spread: float, seed: int
) -> None:
    vectors, queries = _vectors(n, d, seed, spread=spread), _vectors(n_queries, d, seed + 1)
    near, slack = Rounded.of(vectors).near(queries, len(vectors))
    assert near.shape == (n_queries, n)
    off = np.abs(near.astype(np.float64) - products(queries, vectors))
    assert (off <= slack[:, None]).all()
    lengths = np.linalg.norm(queries, axis=1) * np.linalg.norm(vectors, axis=1).max()
    # Of products that may be as long as this a byte tells some hundredths.
    assert (slack <= 0.004 * np.sqrt(d + 1) * lengths + 1e-6).all()


@pytest.mark.parametrize("d", [516, 517, 1024, 5000])
def test_sums_of_long_vectors_fit(d: int) -> None:
    """All products of the longest codes have one sign: as large as sums can be."""
    vectors = np.array([np.full(d, 0.5), np.full(d, -0.5), np.linspace(0.1, 1, d)], dtype="f4")
    near, slack = Rounded.of(vectors).near(vectors, 3)
    exact = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    assert (np.abs(near - exact) <= slack[:, None]).all()
    assert (slack < 0.01 * exact.diagonal()).all()


def test_codes_are_whole_numbers_times_scales() -> None:
    vectors = np.array([[1.0, -0.5, 0.25, 0.0], [0, 0, 0, 0], [-127.0, 3.4, 126.6, 1]], dtype="f4")
    rounded = Rounded.of(vectors)
    assert rounded.codes.dtype == np.int8
    assert rounded.codes[:, :4].tolist() == [[127, -64, 32, 0], [0, 0, 0, 0], [-127, 3, 127, 1]]
    assert not rounded.codes[:, 4:].any()
    np.testing.assert_allclose(rounded.scales, [1 / 127, 0, 1])
    assert rounded.longest == pytest.approx(np.sqrt(127**2 + 3.4**2 + 126.6**2 + 1))
    assert rounded.error == pytest.approx(np.sqrt(0.4**2 + 0.4**2), rel=1e-4)


@settings(deadline=None)
@given(
    n=st.integers(1, 400),
    k=st.integers(1, 60),
    copies=st.booleans(),
    share=st.sampled_from([1.0, 0.5, 0.02, 0.0]),
    seed=st.integers(0, 99),
)
def test_the_best_are_found_for_certain(
    n: int, k: int, copies: bool, share: float, seed: int
) -> None:
    vectors = _vectors(n, 24, seed)
    if copies:
        vectors = vectors[np.random.default_rng(seed).integers(0, max(1, n // 8), n)]
    queries = _vectors(5, 24, seed + 1)
    barred = np.random.default_rng(seed).random((5, n)) >= share
    near, slack = Rounded.of(vectors).near(queries, len(vectors))
    near[barred] = -np.inf
    every = np.where(barred, -1, np.arange(n))
    wanted = best(products(queries, vectors), every, k)
    for one, other in zip(certain(queries, vectors, near, slack, k), wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_scores_between_the_best_and_twice_the_slack_below_are_looked_at() -> None:
    """Two items whose order rounding turns round: with no slack the wrong one would come."""
    vectors = normalised(_vectors(600, 24, 3))
    queries = normalised(_vectors(40, 24, 4))
    rounded = Rounded.of(vectors)
    near, slack = rounded.near(queries, len(vectors))
    wanted = best(products(queries, vectors), np.tile(np.arange(600), (40, 1)), 5)[1]
    np.testing.assert_array_equal(certain(queries, vectors, near, slack, 5)[1], wanted)
    careless = certain(queries, vectors, near, np.zeros_like(slack), 5)[1]
    assert (careless != wanted).any()


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_an_index_answers_as_faiss_does(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = normalised(_vectors(3000, 40, 0)), normalised(_vectors(50, 40, 1))
    index = VectorIndex.build(vectors, device="cpu")
    among = None if share == 1 else ItemSet(np.random.default_rng(0).random(3000) < share)
    assert index.rounds
    monkeypatch.setattr(module, "NEAR_AT_ONCE", 3000 * 7)
    scores, items = index.search(queries, 30, among=among)
    monkeypatch.setattr(module, "MOST_ROUNDED", 0)
    plain = VectorIndex.build(vectors, device="cpu")
    assert not plain.rounds
    for one, other in zip(plain.search(queries, 30, among=among), (scores, items), strict=True):
        np.testing.assert_array_equal(one, other)


def test_vectors_are_rounded_for_whoever_asks_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, made = normalised(_vectors(300, 40, 0)), []
    of = Rounded.of

    def noted(given: npt.NDArray[np.float32]) -> Rounded:
        made.append(len(given))
        return of(given)

    monkeypatch.setattr(Rounded, "of", noted)
    index = VectorIndex.build(vectors, device="cpu")
    grown = index.with_vectors(np.concatenate([vectors, vectors[:2]]), np.array([300, 301]))
    assert not made
    near = grown.near(vectors[:3])[0]
    np.testing.assert_array_equal(near[:, :300], index.near(vectors[:3])[0])
    assert made == [300]


def test_rows_that_came_or_changed_are_known_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = normalised(_vectors(300, 40, 0)), normalised(_vectors(9, 40, 1))
    index = VectorIndex.build(vectors, device="cpu")
    more = np.concatenate([vectors, normalised(_vectors(20, 40, 2))])
    more[[3, 250]] = more[[311, 312]]
    changed = np.array([3, 250, *range(300, 320)])
    now = index.with_vectors(more, changed)
    near, slack = now.near(queries)
    every = products(queries, more)
    np.testing.assert_array_equal(near[:, changed], every[:, changed])
    assert (np.abs(near - every) <= slack[:, None]).all()
    monkeypatch.setattr(module, "MOST_ROUNDED", 0)
    plain = VectorIndex.build(vectors, device="cpu").with_vectors(more, changed)
    for one, other in zip(now.search(queries, 30), plain.search(queries, 30), strict=True):
        np.testing.assert_array_equal(one, other)
