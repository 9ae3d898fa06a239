"""Fusions find planted weights and equal slow readings of their definitions."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad
from scipy.stats import rankdata

from twofold.indexing.errors import InputError
from twofold.retrieval.features import standardise
from twofold.retrieval.fusion import Fusion, _loss, _Packed, learn_weights

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
PLANTED = np.array([1.5, 0.0, -1.0, 0.5])


def _world(n: int = 1500, m: int = 20, seed: int = 0) -> tuple[Floats, Bools, Bools]:
    """One hit a row, drawn with the softmax of the planted weights among the candidates."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(n, m, len(PLANTED))).astype(np.float32)
    mask = np.arange(m) < random.integers(m // 2, m + 1, size=(n, 1))
    utility = features @ PLANTED + random.gumbel(size=(n, m))
    labels = np.arange(m) == np.where(mask, utility, -np.inf).argmax(axis=1)[:, None]
    return features, labels, mask


def test_learning_finds_planted_weights() -> None:
    fusion = learn_weights(*_world())
    assert fusion.method == "learned"
    np.testing.assert_allclose(fusion.weights, PLANTED, atol=0.15)


def test_what_stands_at_padding_and_in_rows_without_hits_says_nothing() -> None:
    features, labels, mask = _world(n=100)
    first = learn_weights(features, labels, mask)
    spoiled = np.where(mask[..., None], features, np.float32(50))
    idle = spoiled[:30][:, ::-1]
    second = learn_weights(
        np.concatenate([spoiled, idle]),
        np.concatenate([labels | ~mask, np.zeros((30, 20), dtype=bool)]),
        np.concatenate([mask, np.ones((30, 20), dtype=bool)]),
    )
    np.testing.assert_allclose(first.weights, second.weights, rtol=1e-3, atol=1e-4)


def test_learning_repeats_under_one_seed() -> None:
    world = _world(n=60)
    assert learn_weights(*world, seed=3) == learn_weights(*world, seed=3)


def test_weights_shrink_where_there_is_nothing_to_learn() -> None:
    features, labels, mask = _world(n=300)
    noise = np.random.default_rng(9).normal(size=features.shape).astype(np.float32)
    assert np.abs(learn_weights(noise, labels, mask).weights).max() < 0.2


def test_the_gradient_is_that_of_the_loss() -> None:
    features, labels, mask = _world(n=15)
    labels[:, 0] = True
    packed = _Packed.of(features, labels, mask, np.arange(15))

    def value(weights: npt.NDArray[np.float64]) -> float:
        return _loss(weights, packed, 0.7)[0]

    def slope(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return _loss(weights, packed, 0.7)[1]

    # Scores are float32, hence the wide step.
    assert check_grad(value, slope, PLANTED, epsilon=1e-2) < 3e-2


@pytest.mark.parametrize("n_hits", [0, 1])
def test_too_few_hits_are_refused(n_hits: int) -> None:
    features, labels, mask = _world(n=10)
    labels[n_hits:] = False
    with pytest.raises(InputError, match="two rows with a hit"):
        learn_weights(features, labels, mask)


def _features(rows: list[list[float]]) -> tuple[list[Floats], Floats]:
    random = np.random.default_rng(len(rows))
    first = np.array(rows, dtype=np.float32)
    scores = [first, random.integers(0, 4, first.shape).astype(np.float32)]
    shape = first.shape
    return scores, standardise(
        np.stack(scores), np.zeros(shape, np.uint32), np.ones(shape, dtype=bool)
    )


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 5).map(float), min_size=6, max_size=6), min_size=1, max_size=4)
)
def test_reciprocal_ranks_equal_the_definition(rows: list[list[float]]) -> None:
    scores, features = _features(rows)
    wanted = np.zeros(scores[0].shape)
    for one in scores:
        for number, row in enumerate(one):
            if len(set(row)) > 1:
                wanted[number] += 1 / (60 + rankdata(-row, method="average"))
    np.testing.assert_allclose(Fusion("reciprocal", ()).score(features), wanted, rtol=1e-5)


def test_a_score_at_the_mean_of_its_row_has_a_reciprocal_rank_too() -> None:
    scores = np.array([[1.0, 2.0, 3.0]], dtype=np.float32)
    features = standardise(scores[None], np.zeros((1, 3), np.uint32), np.ones((1, 3), dtype=bool))
    found = Fusion("reciprocal", ()).score(features)
    np.testing.assert_allclose(found, [[1 / 63, 1 / 62, 1 / 61]], rtol=1e-5)


def test_reciprocal_ranks_hold_far_down() -> None:
    scores = -np.arange(900, dtype=np.float32)[None]
    features = standardise(
        scores[None], np.zeros((1, 900), np.uint32), np.ones((1, 900), dtype=bool)
    )
    found = Fusion("reciprocal", ()).score(features)[0]
    np.testing.assert_allclose(found, 1 / (61.0 + np.arange(900)), rtol=1e-4)


def test_zscore_adds_up_weighted_standard_scores() -> None:
    _, features = _features([[1, 2, 3, 3, 0, 5]])
    found = Fusion("zscore", (2.0, -1.0)).score(features)
    np.testing.assert_allclose(found, 2 * features[..., 0] - features[..., 3], rtol=1e-5)


def test_learned_is_linear_in_all_features() -> None:
    _, features = _features([[1, 2, 3, 3, 0, 5]])
    weights = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    found = Fusion("learned", weights).score(features)
    np.testing.assert_allclose(found, features @ np.array(weights), rtol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize("method", ["zscore", "learned"])
def test_weights_of_another_number_of_sources_are_refused(method: str) -> None:
    _, features = _features([[1, 2, 3, 3, 0, 5]])
    with pytest.raises(InputError, match="made for 5 weights"):
        Fusion(method, (1.0,) * 5).score(features)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fusion",
    [Fusion("learned", (0.1, -1 / 3)), Fusion("zscore", (1.0,)), Fusion("reciprocal", ())],
)
def test_a_fusion_comes_back_from_json(fusion: Fusion) -> None:
    assert Fusion.from_dict(json.loads(json.dumps(fusion.to_dict()))) == fusion
