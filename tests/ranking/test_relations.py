"""Strengths between histories and candidates equal a slow look into the matrices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ranking.worlds import N_ITEMS, make_relations, parts_of
from twofold.indexing.errors import InputError
from twofold.ranking.relations import RIDGE, LowRank, Relations, regression

RELATIONS = make_relations()
NOTHING = sp.csr_matrix((N_ITEMS, N_ITEMS), dtype=np.float32)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4), st.integers(0, 5), st.integers(0, 6))
def test_strengths_equal_the_matrices_entries(seed: int, n: int, h: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    history, there = rng.integers(0, N_ITEMS, (n, h)), rng.random((n, h)) < 0.7
    candidates = np.stack([rng.permutation(N_ITEMS)[:m] for _ in range(n)] or [np.zeros(m, int)])
    candidates = np.where(rng.random((n, m)) < 0.8, candidates[:n], -1)
    found = RELATIONS.between(history, there, candidates)
    assert found.shape == (n, h, m, 5)
    assert found.dtype == np.float32
    for row, place, column in np.ndindex(n, h, m):
        wanted = np.zeros(5)
        if there[row, place] and candidates[row, column] >= 0:
            past, item = history[row, place], candidates[row, column]
            *smoothed, regressed = parts_of(RELATIONS.low_rank)
            for number, one in enumerate(smoothed):
                counted = RELATIONS.counted[number][past, item] / RELATIONS.scales[number]
                smooth = one.left[past].astype(float) @ one.right[item].astype(float)
                wanted[2 * number : 2 * number + 2] = counted, smooth
            sides = regressed.left[past], regressed.right[item]
            wanted[4] = sides[0].astype(float) @ sides[1].astype(float)
        np.testing.assert_allclose(found[row, place, column], wanted, atol=1e-5)


def test_smoothing_at_full_rank_keeps_the_relation_and_less_fills_it() -> None:
    matrix = RELATIONS.counted[0]
    everything = np.arange(N_ITEMS)[None]
    for rank, error in ((N_ITEMS, 1e-2), (3, 1.0)):
        one = Relations.of([matrix], NOTHING, seed=0, rank=rank)
        found = one.between(everything, np.ones((1, N_ITEMS), bool), everything)[0]
        np.testing.assert_allclose(found[..., 0].std() / found[..., 1].std(), 1.0, atol=0.4)
        assert np.abs(found[..., 0] - found[..., 1]).mean() < error
    assert np.count_nonzero(found[..., 1]) > 2 * np.count_nonzero(found[..., 0])


def test_strengths_do_not_depend_on_the_scale_of_the_counts() -> None:
    doubled = Relations.of([4 * one for one in RELATIONS.counted], NOTHING, seed=0, rank=3)
    asked = np.array([[1, 5, 9]]), np.ones((1, 3), bool), np.array([[2, 3, 4, 8]])
    found, wanted = doubled.between(*asked), RELATIONS.between(*asked)
    np.testing.assert_allclose(found[..., :4], wanted[..., :4], atol=1e-2)


def test_threads_are_for_speed_alone() -> None:
    matrices, taken = RELATIONS.counted, sp.random(30, N_ITEMS, 0.3, format="csr", random_state=0)
    one, four = (Relations.of(matrices, taken, seed=3, threads=n) for n in (1, 4))
    assert one.scales == four.scales
    np.testing.assert_array_equal(one.low_rank.left, four.low_rank.left)
    np.testing.assert_array_equal(one.low_rank.right, four.low_rank.right)


def test_no_relations_at_all_are_zeros() -> None:
    empty = sp.csr_matrix((6, 6), dtype=np.float32)
    nothing = Relations.of([empty], empty, seed=0)
    found = nothing.between(np.array([[1, 2]]), np.ones((1, 2), bool), np.array([[3]]))
    assert found.shape == (1, 2, 1, 3)
    assert not found.any()


def test_forms_of_different_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="one smoothed form"):
        Relations(RELATIONS.counted, RELATIONS.scales[:1], RELATIONS.low_rank)


def dense(one: LowRank) -> npt.NDArray[np.float64]:
    return one.left.astype(np.float64) @ one.right.astype(np.float64).T


def test_a_regression_at_full_rank_is_ease_itself() -> None:
    n_items = 9
    taken = sp.random(60, n_items, 0.3, "csr", np.float32, np.random.default_rng(0))
    x = (taken.toarray() != 0).astype(np.float64)
    ridge = RIDGE * x.sum() / n_items
    inverse = np.linalg.inv(x.T @ x + ridge * np.eye(n_items))
    wanted = -inverse / np.diag(inverse)
    others = ~np.eye(n_items, dtype=bool)
    wanted /= np.sqrt(np.square(wanted[others]).mean())
    found = dense(regression(taken, n_items, seed=0))
    np.testing.assert_allclose(found[others], wanted[others], atol=5e-3)
    assert np.abs(found - found.T).max() > 0.01


@pytest.mark.parametrize("rank", [1, 3, 200])
def test_a_regression_of_low_rank_is_small_and_scaled(rank: int) -> None:
    taken = sp.random(50, 20, 0.2, "csr", np.float32, np.random.default_rng(1))
    found = regression(taken, rank, seed=0)
    assert found.left.shape == found.right.shape == (20, min(rank, 20))
    others = dense(found)[~np.eye(20, dtype=bool)]
    assert np.sqrt(np.square(others).mean()) == pytest.approx(1.0, rel=0.01)


def test_a_regression_reads_whether_not_how_much() -> None:
    taken = sp.random(50, 20, 0.2, "csr", np.float32, np.random.default_rng(1))
    np.testing.assert_array_equal(
        dense(regression(taken, 5, seed=0)), dense(regression(7 * taken, 5, seed=0))
    )
    assert not dense(regression(sp.csr_matrix((5, 4)), 3, seed=0)).any()


def test_sides_that_do_not_fit_are_refused() -> None:
    sides = np.zeros((4, 3), dtype=np.float16)
    with pytest.raises(InputError, match="one column a rank"):
        LowRank(sides, sides, (2,))
    with pytest.raises(InputError, match="one column a rank"):
        LowRank(sides, sides[:, :2], (3,))


def test_parts_put_together_are_the_whole() -> None:
    whole = RELATIONS.low_rank
    again = LowRank.joined(parts_of(whole))
    np.testing.assert_array_equal(again.left, whole.left)
    np.testing.assert_array_equal(again.right, whole.right)
    assert again.ranks == whole.ranks == (3, 3, 3)
