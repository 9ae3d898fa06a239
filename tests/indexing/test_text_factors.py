"""Factors guessed from texts: the regression is the one it says, and held-out items choose well."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp

from twofold.indexing.artefact import begin_generation, open_artefact
from twofold.indexing.collaborative import CollaborativeSettings, Factors, fit_factors
from twofold.indexing.errors import InputError
from twofold.indexing.text_factors import (
    PENALTIES,
    TextToFactors,
    _Regression,
    fit_text_factors,
)
from twofold.indexing.vectors import normalised

Floats = npt.NDArray[np.float32]
N_ITEMS, N_USERS, WIDTH = 300, 200, 12
SETTINGS = CollaborativeSettings(factors=6, iterations=5)


def _texts(seed: int = 0, n: int = N_ITEMS) -> Floats:
    made = normalised(np.random.default_rng(seed).standard_normal((n, WIDTH)))
    made[::40] = 0  # without a text
    return made


def _world(vectors: Floats, *, curved: bool, seed: int = 1) -> tuple[Factors, sp.csr_matrix]:
    """Return factors that texts determine, along a line or by what they are near to, and a log."""
    rng = np.random.default_rng(seed)
    read = vectors @ rng.standard_normal((WIDTH, 6))
    if curved:
        # Nothing of it is linear: a text and its opposite get the same factor.
        read = np.square(vectors @ rng.standard_normal((WIDTH, 6))) - 1
    items = (0.3 * read + 0.01 * rng.standard_normal(read.shape)).astype(np.float32)
    likes = rng.standard_normal((N_USERS, 6)) @ items.T
    taken = likes > np.quantile(likes, 0.9, axis=1, keepdims=True)
    return Factors(items, SETTINGS), sp.csr_matrix(taken.astype(np.float32))


@pytest.mark.parametrize("n_anchors", [0, 20])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_closed_form_is_the_least_squares(penalty: float, n_anchors: int) -> None:
    rng = np.random.default_rng(5)
    vectors = normalised(rng.standard_normal((80, WIDTH)))
    targets = rng.standard_normal((80, 3)).astype(np.float32)
    sure, items = rng.random(80), rng.permutation(80)[:60]
    regression = _Regression.of(vectors, targets, sure, items, vectors[:n_anchors])
    weights, offset = regression.solved(penalty)
    share = sure[items] / sure[items].sum()
    read = regression.features.of(vectors[items])
    read = read - share @ read
    wanted = targets[items] - share @ targets[items].astype(np.float64)
    # A ridge is a least squares with one more row a feature.
    ridge = penalty * np.mean(share @ np.square(read))
    root = np.sqrt(share)[:, None]
    left = np.vstack([root * read, np.sqrt(ridge) * np.eye(read.shape[1])])
    right = np.vstack([root * wanted, np.zeros((read.shape[1], 3))])
    expected = np.linalg.lstsq(left, right)[0]
    np.testing.assert_allclose(weights, expected, rtol=1e-6, atol=1e-8)
    # Guesses are right on the weighted average.
    told = regression.features.of(vectors[items]) @ weights + offset
    np.testing.assert_allclose(share @ told, share @ targets[items], atol=1e-6)


@pytest.mark.parametrize("curved", [False, True])
def test_held_out_items_choose_the_map_that_was_planted(curved: bool) -> None:
    vectors = _texts()
    factors, matrix = _world(vectors, curved=curved)
    found = fit_text_factors(vectors, factors, matrix)
    assert found is not None
    assert (len(found.anchors) > 0) == curved
    new = _texts(seed=9)
    told, wanted = found.predict(new), _world(new, curved=curved)[0].items
    there = new.any(axis=1)
    told, wanted = told[there], wanted[there]
    cosines = np.vecdot(told, wanted) / (
        np.linalg.norm(told, axis=1) * np.linalg.norm(wanted, axis=1)
    )
    assert cosines.mean() > (0.8 if curved else 0.99)  # seen: .87 and .998
    ratio = np.linalg.norm(told, axis=1).mean() / np.linalg.norm(wanted, axis=1).mean()
    assert ratio == pytest.approx(1, abs=0.2 if curved else 0.05)


def test_guesses_are_shorter_the_less_texts_tell() -> None:
    vectors = _texts()
    factors, matrix = _world(vectors, curved=False)
    rng = np.random.default_rng(3)
    noise = rng.standard_normal(factors.items.shape).astype(np.float32)
    blurred = replace(factors, items=0.3 * factors.items + noise * np.std(factors.items))
    found = fit_text_factors(vectors, blurred, matrix)
    assert found is not None
    told = np.linalg.norm(found.predict(vectors[1:40]), axis=1).mean()
    assert told < 0.6 * np.linalg.norm(blurred.items[1:40], axis=1).mean()  # seen: .36


def test_a_text_is_read_alone_and_no_text_says_nothing() -> None:
    vectors = _texts()
    found = fit_text_factors(vectors, *_world(vectors, curved=True))
    assert found is not None
    whole = found.predict(vectors)
    assert whole.dtype == np.float32
    assert not whole[::40].any()
    assert whole[vectors.any(axis=1)].any(axis=1).all()
    for some in (np.arange(7), np.array([41]), np.arange(0)):
        np.testing.assert_array_equal(found.predict(vectors[some]), whole[some])
    with pytest.raises(InputError, match="dimension 12"):
        found.predict(vectors[:, :5])


def test_one_seed_gives_the_same_bits() -> None:
    vectors = _texts()
    world = _world(vectors, curved=True)
    first, again, other = (fit_text_factors(vectors, *world, seed=seed) for seed in (3, 3, 4))
    assert first is not None
    assert again is not None
    assert other is not None
    np.testing.assert_array_equal(first.weights, again.weights)
    assert not np.array_equal(first.weights, other.weights)


def test_where_nothing_can_be_learned_there_is_no_map() -> None:
    vectors = _texts()
    factors, matrix = _world(vectors, curved=False)
    assert fit_text_factors(np.zeros_like(vectors), factors, matrix) is None
    few = vectors.copy()
    few[30:] = 0
    assert fit_text_factors(few, factors, matrix) is None
    assert fit_text_factors(vectors, factors, matrix[:0]) is None
    # Nobody who took one item took another, so nobody can be asked for a held-out one.
    lone = sp.csr_matrix(np.eye(N_USERS, N_ITEMS, dtype=np.float32))
    assert fit_text_factors(vectors, factors, lone) is None


def test_a_map_is_kept_as_it_is(tmp_path: Path) -> None:
    vectors = _texts()
    found = fit_text_factors(vectors, *_world(vectors, curved=True))
    assert found is not None
    with begin_generation(tmp_path) as writer:
        found.save(writer)
        writer.commit({})
    opened = TextToFactors.open(open_artefact(tmp_path))
    assert opened is not None
    np.testing.assert_array_equal(opened.predict(vectors), found.predict(vectors))
    assert dict(opened.about) == dict(found.about)
    assert opened.about["chosen"]["recall"] == max(one["recall"] for one in opened.about["trials"])
    with begin_generation(tmp_path) as writer:
        writer.commit({})
    assert TextToFactors.open(open_artefact(tmp_path)) is None


def test_guesses_change_no_user() -> None:
    vectors = _texts()
    matrix = _world(vectors, curved=False)[1].tolil()
    matrix[:, 50:80] = 0
    known = sp.csr_matrix(matrix, dtype=np.float32)
    known.eliminate_zeros()
    factors = fit_factors(known, SETTINGS)
    cold = np.arange(50, 80)
    guessed = factors.with_guesses(cold, np.full((30, 6), 0.2, dtype=np.float32))
    np.testing.assert_array_equal(guessed.fold_in(known), factors.fold_in(known))
    np.testing.assert_array_equal(
        np.delete(guessed.items, cold, 0), np.delete(factors.items, cold, 0)
    )
    assert not factors.items[cold].any()
    assert guessed.items[cold].all()
