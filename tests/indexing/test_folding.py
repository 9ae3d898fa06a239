"""Items folded in are what the next half step of the fit would make of them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares

from tests.indexing.logs import log_of
from twofold.indexing.collaborative import CollaborativeSettings, Factors, fit_factors
from twofold.indexing.folding import fold_in_items, gram_of_users

SETTINGS = CollaborativeSettings(factors=8, iterations=5, alpha=3.0)


def _world(seed: int = 0) -> list[tuple[int, int, int, str]]:
    rng = np.random.default_rng(seed)
    pairs = np.argwhere(rng.random((60, 40)) < 0.2)
    return [(int(u), int(i), int(rng.integers(9)), "like") for u, i in pairs]


def test_items_are_folded_in_as_implicit_does() -> None:
    log = log_of(_world(), 60, 40)
    factors = fit_factors(log.matrix(), SETTINGS)
    items = np.array([3, 17, 20, 39])
    model = AlternatingLeastSquares(
        factors=8, alpha=3.0, regularization=SETTINGS.regularization, num_threads=1
    )
    model.item_factors = factors.items.copy()
    model.user_factors = factors.fold_in(log.matrix())
    of_items = sp.csr_matrix(log.matrix().T[items])
    model.partial_fit_items(items, of_items)
    np.testing.assert_allclose(
        fold_in_items(factors, log, items), model.item_factors[items], atol=1e-4
    )


def test_an_item_solves_its_own_least_squares() -> None:
    log = log_of(_world(1), 60, 40)
    factors = fit_factors(log.matrix(), SETTINGS)
    users = factors.fold_in(log.matrix()).astype(np.float64)
    found = fold_in_items(factors, log, np.array([5]))[0]
    weights = log.matrix().toarray()[:, 5].astype(np.float64)
    confidence = np.where(weights > 0, SETTINGS.alpha * weights, 1.0)
    left = (users.T * confidence) @ users + SETTINGS.regularization * np.eye(8)
    right = users.T @ (confidence * (weights > 0))
    np.testing.assert_allclose(found, np.linalg.solve(left, right), atol=1e-4)


def test_a_new_item_comes_to_stand_with_those_of_its_users() -> None:
    # Even users take even items, odd users odd ones; the last item is new, and even.
    taken = [(u, i, i, "like") for u in range(30) for i in range(20) if (u + i) % 2 == 0]
    rng = np.random.default_rng(0)
    known = [one for one in taken if rng.random() < 0.6]
    factors = fit_factors(log_of(known, 30, 21).matrix(), SETTINGS)
    assert not factors.items[20].any()
    both = log_of(known + [(u, 20, 50, "like") for u in range(0, 30, 2)], 30, 21)
    (new,) = fold_in_items(factors, both, np.array([20]))
    scores = factors.fold_in(both.matrix()) @ new
    assert scores[::2].min() > scores[1::2].max() + 0.5


@pytest.mark.parametrize("model", ["als", "bpr"])
def test_a_known_gram_changes_nothing_and_nobody_gives_zeros(model: str) -> None:
    log = log_of(_world(2), 60, 41)
    settings = CollaborativeSettings(model=model, factors=8, iterations=5)  # type: ignore[arg-type]
    factors = fit_factors(log.matrix(), settings)
    items = np.array([40, 0, 7])
    found = fold_in_items(factors, log, items)
    assert not found[0].any()
    assert found[1:].any(axis=1).all()
    gram = gram_of_users(factors, log.matrix())
    np.testing.assert_array_equal(found, fold_in_items(factors, log, items, gram=gram))
    assert fold_in_items(factors, log, items[:1], gram=gram).shape == found[:1].shape
    assert not fold_in_items(factors, log, items[:0]).size
    if model == "bpr":
        assert not found[:, -1].any()


def test_a_gram_that_is_given_counts() -> None:
    log = log_of(_world(3), 60, 40)
    factors = fit_factors(log.matrix(), SETTINGS)
    gram = factors._gram
    given = Factors(factors.items[:5], SETTINGS, gram=gram)
    history = log.matrix()[:3, :5]
    whole = sp.csr_matrix((history.data, history.indices, history.indptr), shape=(3, 40))
    np.testing.assert_array_equal(given.fold_in(history), factors.fold_in(whole))
