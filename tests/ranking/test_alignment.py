from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from twofold.indexing.errors import InputError
from twofold.ranking.alignment import align_factors, scale_factors


@settings(deadline=None)
@given(seed=st.integers(0, 1000), size=st.floats(0.01, 100), cold=st.integers(0, 5))
def test_a_rotation_and_a_new_size_are_undone(seed: int, size: float, cold: int) -> None:
    rng = np.random.default_rng(seed)
    basis = rng.normal(size=(40, 6)).astype(np.float32)
    basis[:cold] = 0
    turn = ortho_group.rvs(6, random_state=seed)
    refit = (size * basis @ turn).astype(np.float32)
    np.testing.assert_allclose(align_factors(refit, basis), scale_factors(basis), atol=1e-4)


def test_alignment_only_turns() -> None:
    rng = np.random.default_rng(0)
    refit, basis = (rng.normal(size=(30, 4)).astype(np.float32) for _ in range(2))
    found = align_factors(refit, basis)
    scaled = scale_factors(refit)
    np.testing.assert_allclose(found @ found.T, scaled @ scaled.T, atol=1e-4)
    # No other rotation may come closer.
    gap = np.linalg.norm(found - scale_factors(basis))
    for seed in range(20):
        other = scaled @ ortho_group.rvs(4, random_state=seed)
        assert gap <= np.linalg.norm(other - scale_factors(basis))


def test_scaled_factors_have_root_mean_square_length_one_and_cold_items_stay_zero() -> None:
    factors = np.array([[3, 4], [0, 0], [0, 1]], dtype=np.float32)
    scaled = scale_factors(factors)
    assert not scaled[1].any()
    assert np.square(scaled).sum() / 2 == pytest.approx(1.0, rel=1e-6)
    assert not scale_factors(np.zeros((2, 3), dtype=np.float32)).any()


def test_factors_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(3, 2\).*\(3, 4\)"):
        align_factors(np.ones((3, 4), np.float32), np.ones((3, 2), np.float32))
