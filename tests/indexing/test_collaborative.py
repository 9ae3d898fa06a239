"""Factors recover a structure that is known, fold users in as the fit does, and repeat."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp

from twofold.indexing.collaborative import CollaborativeSettings, Factors, fit_factors
from twofold.indexing.errors import SettingsError

SMALL = CollaborativeSettings(factors=8, iterations=10)
BPR = CollaborativeSettings(model="bpr", factors=8, iterations=200)


def _checkerboard(n_users: int = 24, n_items: int = 16) -> sp.csr_matrix:
    """Even users take even items and odd users odd ones, all but one a user."""
    users, items = np.indices((n_users, n_items))
    taken = (users + items) % 2 == 0
    taken[np.arange(n_users), _missing(n_users, n_items)] = False
    return sp.csr_matrix(taken.astype(np.float32))


def _missing(n_users: int, n_items: int) -> npt.NDArray[np.int64]:
    users = np.arange(n_users)
    return (users * 3) % n_items + ((users * 3) % n_items + users) % 2


def _random(seed: int = 0) -> sp.csr_matrix:
    matrix = sp.random(40, 25, 0.2, "csr", np.float32, np.random.default_rng(seed))
    matrix.data += 0.5
    return matrix


def test_als_completes_a_checkerboard() -> None:
    matrix = _checkerboard()
    factors = fit_factors(matrix, CollaborativeSettings(factors=2))
    scores = factors.fold_in(matrix) @ factors.items.T
    unseen = np.where(matrix.toarray() > 0, -np.inf, scores)
    np.testing.assert_array_equal(unseen.argmax(axis=1), _missing(*scores.shape))


def test_bpr_finds_the_sides_of_a_checkerboard() -> None:
    matrix = _checkerboard()
    factors = fit_factors(matrix, BPR)
    scores = factors.fold_in(matrix) @ factors.items.T
    unseen = np.where(matrix.toarray() > 0, -np.inf, scores)
    assert np.mean(unseen.argmax(axis=1) == _missing(*scores.shape)) > 0.9


def test_folding_in_solves_the_least_squares_of_the_fit() -> None:
    matrix = _random()
    factors = fit_factors(matrix, SMALL)
    found = factors.fold_in(matrix)
    items = factors.items.astype(np.float64)
    for user in range(matrix.shape[0]):
        row = matrix[user].toarray().ravel() * SMALL.alpha
        # Hu, Koren and Volinsky (2008), equation 4. An observed item's confidence is alpha times
        # its weight, as in implicit, not 1 more than that.
        confidence = np.where(row > 0, row, 1.0)
        left = items.T @ (confidence[:, None] * items) + SMALL.regularization * np.eye(8)
        right = items.T @ np.where(row > 0, row, 0.0)
        np.testing.assert_allclose(found[user], np.linalg.solve(left, right), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weight", [0.1, 1.0, 3.0])
def test_folding_in_equals_recalculating_a_user(weight: float) -> None:
    from implicit.cpu.als import AlternatingLeastSquares

    matrix = _random() * weight
    factors = fit_factors(_random(), SMALL)
    model = AlternatingLeastSquares(
        factors=8, regularization=SMALL.regularization, alpha=SMALL.alpha, num_threads=1
    )
    model.item_factors = factors.items
    expected = model.recalculate_user(np.arange(40), matrix)
    np.testing.assert_allclose(factors.fold_in(matrix), expected, rtol=1e-4, atol=1e-5)


def test_folding_in_needs_no_implicit() -> None:
    script = (
        "import numpy as np, scipy.sparse as sp, sys;"
        "from twofold.indexing.collaborative import CollaborativeSettings, Factors;"
        "eye = np.eye(3, dtype=np.float32);"
        "assert Factors(eye, CollaborativeSettings()).fold_in(sp.csr_matrix(eye)).any();"
        "assert 'implicit' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_folding_in_comes_close_to_the_fitted_user_factors() -> None:
    from implicit.cpu.als import AlternatingLeastSquares

    matrix = _random()
    settings = CollaborativeSettings(factors=8, iterations=60)
    model = AlternatingLeastSquares(
        factors=8,
        regularization=settings.regularization,
        alpha=settings.alpha,
        iterations=60,
        random_state=0,
        num_threads=1,
    )
    model.fit(matrix, show_progress=False)
    factors = fit_factors(matrix, settings)
    np.testing.assert_allclose(factors.items, model.item_factors, rtol=1e-4, atol=1e-5)
    folded = factors.fold_in(matrix)
    cosines = np.sum(folded * model.user_factors, axis=1) / (
        np.linalg.norm(folded, axis=1) * np.linalg.norm(model.user_factors, axis=1)
    )
    assert cosines.min() > 0.99


@pytest.mark.parametrize("settings", [SMALL, BPR], ids=["als", "bpr"])
def test_one_seed_gives_the_same_bits_and_another_does_not(
    settings: CollaborativeSettings,
) -> None:
    first, again, other = (fit_factors(_random(), settings, seed=seed).items for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("settings", [SMALL, BPR], ids=["als", "bpr"])
def test_nothing_known_gives_zeros(settings: CollaborativeSettings) -> None:
    matrix = _random().tolil()
    matrix[:, 7] = 0
    matrix[3] = 0
    matrix = matrix.tocsr()
    factors = fit_factors(matrix, settings)
    assert factors.items.dtype == np.float32
    assert not factors.items[7].any()
    assert factors.items[np.arange(25) != 7].any(axis=1).all()
    folded = factors.fold_in(matrix)
    assert not folded[3].any()
    assert folded[np.arange(40) != 3].any(axis=1).all()
    assert factors.fold_in(matrix[:0]).shape == (0, factors.items.shape[1])


def test_making_a_model_says_nothing() -> None:
    script = (
        "import numpy as np, scipy.sparse as sp, warnings; warnings.simplefilter('error');"
        "from twofold.indexing.collaborative import fit_factors;"
        "fit_factors(sp.csr_matrix(np.eye(3, dtype=np.float32)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_bpr_folds_in_the_weighted_mean() -> None:
    # The last factor of an item is its bias, which is no taste.
    items = np.array([[1, 0, 5], [0, 1, 5], [1, 1, 5]], dtype=np.float32)
    history = sp.csr_matrix(np.array([[1, 3, 0]], dtype=np.float32))
    folded = Factors(items, BPR).fold_in(history)
    np.testing.assert_allclose(folded[:, :-1], [[0.25, 0.75]])
    assert folded[0, -1] == 1


@pytest.mark.parametrize("fitted", [CollaborativeSettings(), BPR])
def test_what_weighs_nothing_is_none_of_a_history(fitted: CollaborativeSettings) -> None:
    items = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    starts, chosen = np.array([0, 3, 4]), np.array([0, 2, 4, 1])
    weights = np.array([1, 0, 2, 0], dtype=np.float32)
    folded = Factors(items, fitted).fold_in_events(starts, chosen, weights)
    without = np.array([[1, 0, 0, 0, 2], [0, 0, 0, 0, 0]], dtype=np.float32)
    np.testing.assert_array_equal(folded, Factors(items, fitted).fold_in(sp.csr_matrix(without)))
    assert folded[0].any()
    assert not folded[1].any()


def test_folding_in_does_not_depend_on_the_batch() -> None:
    matrix = _random()
    factors = fit_factors(matrix, SMALL)
    together = factors.fold_in(matrix)
    alone = np.concatenate([factors.fold_in(matrix[user]) for user in range(40)])
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize(
    "wrong", [{"factors": 0}, {"iterations": 0}, {"alpha": 0.0}, {"regularization": float("nan")}]
)
def test_senseless_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        CollaborativeSettings(**wrong)  # type: ignore[arg-type]
