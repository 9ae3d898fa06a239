"""Fusions equal slow readings of their definitions."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from twofold.indexing.errors import InputError
from twofold.retrieval.features import standardise
from twofold.retrieval.fusion import Fusion, Unit

Floats = npt.NDArray[np.float32]


def _features(rows: list[list[float]]) -> tuple[list[Floats], Floats]:
    random = np.random.default_rng(len(rows))
    first = np.array(rows, dtype=np.float32)
    scores = [first, random.integers(0, 4, first.shape).astype(np.float32)]
    shape = first.shape
    lengths = np.full(shape[0], shape[1])
    return scores, standardise(np.stack(scores), np.zeros(shape, np.uint32), lengths)


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
    features = standardise(scores[None], np.zeros((1, 3), np.uint32), np.array([3]))
    found = Fusion("reciprocal", ()).score(features)
    np.testing.assert_allclose(found, [[1 / 63, 1 / 62, 1 / 61]], rtol=1e-5)


def test_reciprocal_ranks_hold_far_down() -> None:
    scores = -np.arange(900, dtype=np.float32)[None]
    features = standardise(scores[None], np.zeros((1, 900), np.uint32), np.array([900]))
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


def _layered(width: int = 6) -> Fusion:
    random = np.random.default_rng(5)
    units = tuple(
        Unit(tuple(random.normal(size=width)), float(random.normal()), float(random.normal()))
        for _ in range(5)
    )
    return Fusion("learned", tuple(random.normal(size=width)), units)


def test_a_hidden_layer_is_added_to_the_linear_sum() -> None:
    _, features = _features([[1, 2, 3, 3, 0, 5], [0, 0, 1, 0, 2, 2]])
    fusion = _layered()
    wanted = features @ np.array(fusion.weights)
    for weights, bias, outward in fusion.units:
        wanted = wanted + outward * np.maximum(features @ np.array(weights) + bias, 0)
    np.testing.assert_allclose(fusion.score(features), wanted, rtol=1e-4, atol=1e-5)


@settings(deadline=None)
@given(st.integers(1, 150), st.integers(1, 4), st.integers(0, 200), st.booleans())
def test_a_score_does_not_depend_on_other_rows_or_on_padding(
    m: int, n: int, more: int, layered: bool
) -> None:
    fusion = _layered(30)
    if not layered:
        fusion = Fusion("learned", fusion.weights)
    features = np.random.default_rng(m).normal(size=(n, m, 30)).astype(np.float32)
    found = fusion.score(features)
    padded = np.pad(features, ((0, 0), (0, more), (0, 0)), constant_values=7)
    np.testing.assert_array_equal(fusion.score(padded)[:, :m], found)
    np.testing.assert_array_equal(fusion.score(features[-1:]), found[-1:])


def test_nothing_is_scored_as_nothing() -> None:
    for shape in ((0, 5), (3, 0)):
        assert _layered().score(np.zeros((*shape, 6), dtype=np.float32)).shape == shape


def test_a_unit_of_another_width_is_refused() -> None:
    with pytest.raises(InputError, match="3 weights, one a feature"):
        Fusion("learned", (1.0,) * 3, (Unit((1.0,) * 4, 0.0, 1.0),))


@pytest.mark.parametrize("method", ["zscore", "learned"])
def test_weights_of_another_number_of_sources_are_refused(method: str) -> None:
    _, features = _features([[1, 2, 3, 3, 0, 5]])
    with pytest.raises(InputError, match="made for 5 weights"):
        Fusion(method, (1.0,) * 5).score(features)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fusion",
    [
        Fusion("learned", (0.1, -1 / 3)),
        _layered(),
        Fusion("zscore", (1.0,)),
        Fusion("reciprocal", ()),
    ],
)
def test_a_fusion_comes_back_from_json(fusion: Fusion) -> None:
    assert Fusion.from_dict(json.loads(json.dumps(fusion.to_dict()))) == fusion
