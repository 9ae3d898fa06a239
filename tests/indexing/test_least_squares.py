"""Least squares of each row are those of the normal equations."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from twofold.indexing.least_squares import solved


@pytest.mark.parametrize("f", [1, 5, 64])
def test_rows_solve_their_normal_equations(f: int) -> None:
    rng = np.random.default_rng(f)
    factors = rng.standard_normal((40, f)).astype(np.float32)
    gram = factors.T.astype(np.float64) @ factors + 0.1 * np.eye(f)
    lengths = np.array([3, 0, 1, 20, 0])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    items = np.concatenate([rng.permutation(40)[:n] for n in lengths]).astype(np.int64)
    # Below 1 an interaction counts less than a missing one.
    confidence = rng.uniform(0.1, 9, len(items)).astype(np.float32)
    found = solved(factors, gram, starts, items, confidence)
    for row, (start, end) in enumerate(pairwise(starts)):
        known = factors[items[start:end]].astype(np.float64)
        weights = confidence[start:end].astype(np.float64)
        left = gram + (known * (weights - 1)[:, None]).T @ known
        wanted = np.linalg.solve(left, known.T @ weights) if end > start else np.zeros(f)
        np.testing.assert_allclose(found[row], wanted, rtol=1e-4, atol=1e-6)
        alone = solved(factors, gram, np.array([start, end]), items, confidence)
        np.testing.assert_array_equal(found[row], alone[0])
