"""Sparse entries of a few rows, and where they stand among candidates."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from twofold.retrieval import lookup
from twofold.retrieval.lookup import Places, entries_of

N_ITEMS = 30


@pytest.mark.parametrize("tabulated", [0, 1 << 18])
@given(seed=st.integers(0, 500), n=st.integers(0, 4), m=st.integers(0, 9))
def test_places_equal_a_slow_search(tabulated: int, seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    candidates = np.array([rng.permutation(N_ITEMS)[:m] for _ in range(n)], dtype=np.int64).reshape(
        n, m
    )
    candidates[rng.random(candidates.shape) < 0.2] = -1
    asked = (rng.integers(0, n, 40), rng.integers(0, N_ITEMS, 40).astype(np.int32)) if n else None
    rows, items = asked or (np.zeros(0, np.int64), np.zeros(0, np.int32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lookup, "TABULATED", tabulated)
        which, columns = Places(candidates).of(rows, items)
    wanted = [
        (number, int(np.flatnonzero(candidates[row] == item)[0]))
        for number, (row, item) in enumerate(zip(rows, items, strict=True))
        if item in candidates[row]
    ]
    assert list(zip(which.tolist(), columns.tolist(), strict=True)) == wanted


@given(seed=st.integers(0, 500), n=st.integers(0, 6))
def test_entries_are_those_of_the_rows_in_their_order(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = sp.random(8, N_ITEMS, 0.2, "csr", np.float32, rng)
    rows = rng.integers(0, 8, n)
    found = entries_of(matrix, rows)
    wanted = [
        (number, int(column), float(value))
        for number, row in enumerate(rows)
        for column, value in zip(matrix[row].indices, matrix[row].data, strict=True)
    ]
    told = zip(found.which.tolist(), found.columns.tolist(), found.values.tolist(), strict=True)
    assert list(told) == wanted
