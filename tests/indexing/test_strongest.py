"""The strongest entries of rows beside what the whole matrix has."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from twofold.indexing import strongest as module
from twofold.indexing.strongest import Walks, strongest, strongest_onward, strongest_shared

Doubles = npt.NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)


def _slow(dense: Doubles, k: int) -> Doubles:
    """Return the `k` largest of each row, the first of equal ones, 0 elsewhere."""
    order = np.argsort(-dense, axis=1, kind="stable")
    out = np.zeros_like(dense)
    for row, columns in enumerate(order[:, :k]):
        out[row, columns] = dense[row, columns]
    return out


@given(seed=SEEDS, k=st.integers(1, 12), density=st.floats(0, 1))
def test_of_equal_entries_those_with_the_lower_number_are_kept(
    seed: int, k: int, density: float
) -> None:
    rng = np.random.default_rng(seed)
    dense = np.round(rng.random((6, 11)), 1) * (rng.random((6, 11)) < density)
    found = strongest(sp.csr_matrix(dense), k).toarray()
    np.testing.assert_array_equal(found, _slow(dense, k).astype(np.float32))


def _product(seed: int, density: float) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Return two matrices of few different numbers, so that many sums are equal."""
    rng = np.random.default_rng(seed)
    left, right = (
        sp.csr_matrix(rng.integers(1, 4, shape) * (rng.random(shape) < density), dtype=np.float32)
        for shape in ((9, 5), (5, 9))
    )
    return left, right


@hypothesis_settings(deadline=None)
@given(
    seed=SEEDS,
    k=st.integers(1, 10),
    density=st.floats(0, 1),
    shrinkage=st.sampled_from([0.0, 2.0]),
    threads=st.integers(1, 3),
    block=st.integers(1, 10),
)
def test_rows_of_a_product_are_those_of_the_whole_product(
    seed: int, k: int, density: float, shrinkage: float, threads: int, block: int
) -> None:
    left, right = _product(seed, density)
    norms = np.random.default_rng(seed).integers(1, 3, (2, 9)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        found = strongest_shared(
            left, right, k, norms=(norms[0], norms[1]), shrinkage=shrinkage, threads=threads
        )
    whole = (left @ right).toarray()
    whole = whole / (np.sqrt(norms[0][:, None] * norms[1]) + np.float32(shrinkage))
    np.fill_diagonal(whole, 0)
    np.testing.assert_array_equal(found.toarray(), _slow(whole, k))
    assert found.has_sorted_indices
    assert found.dtype == np.float32


@hypothesis_settings(deadline=None)
@given(
    seed=SEEDS,
    k=st.integers(1, 8),
    n=st.integers(0, 40),
    reach=st.integers(1, 3),
    threads=st.integers(1, 3),
)
def test_what_followed_is_counted_pair_by_pair(
    seed: int, k: int, n: int, reach: int, threads: int
) -> None:
    rng = np.random.default_rng(seed)
    users = np.sort(rng.integers(0, 3, n))
    # Steps rise within a user, some events sharing one.
    steps = np.concatenate([np.sort(rng.integers(0, 6, (users == one).sum())) for one in range(3)])
    items, worth = rng.integers(0, 8, n), np.power(0.5, np.arange(reach), dtype=np.float64)
    walks = Walks(users, items, steps.astype(np.int64), worth)
    scale = rng.choice([0.25, 0.5, 1.0], 8)
    found = strongest_onward(walks, k, scale=scale, threads=threads).toarray()
    counted = np.zeros((8, 8))
    for first in range(n):
        for then in range(first + 1, n):
            span = steps[then] - steps[first]
            if users[first] == users[then] and 0 < span <= reach and items[first] != items[then]:
                counted[items[first], items[then]] += worth[span - 1]
    np.testing.assert_array_equal(found, _slow(scale[:, None] * counted * scale, k))


def test_no_rows_have_nothing() -> None:
    nothing = sp.csr_matrix((0, 0), dtype=np.float32)
    none = np.zeros(0, dtype=np.float32)
    assert strongest_shared(nothing, nothing, 3, norms=(none, none)).shape == (0, 0)
