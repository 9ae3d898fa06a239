"""A hidden layer's scores are those of the formula, and of nobody beside them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.retrieval.hidden_layer import Layer


@settings(deadline=None)
@given(
    n=st.integers(0, 40),
    n_features=st.integers(1, 50),
    n_units=st.integers(0, 40),
    seed=st.integers(0, 99),
)
def test_scores_are_those_of_the_formula(n: int, n_features: int, n_units: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    weights = random.normal(size=(n_units, n_features)).astype(np.float32)
    bias, outward = random.normal(size=(2, n_units)).astype(np.float32)
    linear = random.normal(size=n_features).astype(np.float32)
    features = random.normal(size=(n, n_features)).astype(np.float32)
    layer = Layer(weights, bias, outward, linear)
    told = layer.scores(features)
    wide = features.astype(np.float64)
    hidden = np.maximum(wide @ weights.T + bias, 0)
    np.testing.assert_allclose(told, wide @ linear + hidden @ outward, rtol=1e-4, atol=1e-4)
    # To the bit, whatever stands beside a row, before it or behind.
    for row in range(0, n, 3):
        assert layer.scores(features[row : row + 1])[0] == told[row]
    np.testing.assert_array_equal(layer.scores(features[n // 3 :]), told[n // 3 :])


@pytest.mark.parametrize("score", [-3.0, 0.0, 2.5])
def test_without_units_only_the_linear_sum_counts_also_below_zero(score: float) -> None:
    nothing = np.zeros(0, dtype=np.float32)
    layer = Layer(nothing.reshape(0, 2), nothing, nothing, np.array([score, 0], dtype=np.float32))
    assert layer.scores(np.array([[1, 7]], dtype=np.float32)).tolist() == [score]
