"""Sums over a history's relations are those of a matrix product."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.retrieval.admission import Admission
from twofold.retrieval.relating import (
    add_between,
    best_touched,
    read_touched,
    related,
    table_of,
)


@settings(deadline=None)
@given(st.integers(0, 9999), st.integers(1, 30))
def test_sums_are_those_of_a_matrix_product(seed: int, k: int) -> None:
    rng, n, n_items = np.random.default_rng(seed), 5, 40
    matrix = sp.random(n_items, n_items, 0.15, format="csr", dtype=np.float32, random_state=rng)
    table = table_of(matrix)
    lengths = rng.integers(0, 6, n)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = np.concatenate([rng.permutation(n_items)[:length] for length in lengths])
    counts = rng.integers(-1, 3, (2, len(items))).astype(np.float32)
    touched, values = related(table, starts, items.astype(np.int64), counts, n_items)
    every = np.tile(rng.permutation(n_items), (n, 1))
    every[:, -3:] = -1
    read = read_touched(touched, values, every, n_items)
    excluded = sp.csr_matrix(rng.random((n, n_items)) < 0.2)
    barred = Admission(excluded).barred
    chosen = best_touched(touched, values, k, barred, n_items)
    for view in range(2):
        spoken = sp.csr_matrix((counts[view], items, starts), shape=(n, n_items))
        wanted = (spoken.astype(np.float64) @ matrix.astype(np.float64)).toarray()
        there = every >= 0
        asked = np.take_along_axis(wanted, np.maximum(every, 0), axis=1)
        np.testing.assert_allclose(read[view][there], asked[there], rtol=1e-5, atol=1e-6)
        best = chosen[view]
        told = read_touched(touched, values[view : view + 1], np.tile(np.arange(40), (n, 1)), 40)[0]
        for row in range(n):

            def by_score(item: int, told: Any = told[row]) -> tuple[float, int]:
                return -float(told[item]), item

            open_ones = np.flatnonzero((told[row] > 0) & ~excluded.toarray()[row].astype(bool))
            order = sorted(open_ones.tolist(), key=by_score)
            assert sorted(best[row][best[row] >= 0].tolist()) == sorted(order[:k])


def test_events_that_count_nothing_touch_nothing() -> None:
    matrix = sp.csr_matrix(np.ones((3, 3), dtype=np.float32))
    table = table_of(matrix)
    starts, items = np.array([0, 2], dtype=np.int64), np.array([0, 1], dtype=np.int64)
    touched, values = related(table, starts, items, np.zeros((1, 2), dtype=np.float32), 3)
    assert not len(touched.items)
    assert values.shape == (1, 0)


@given(st.integers(0, 9999), st.integers(0, 6), st.integers(0, 9))
def test_what_stands_between_items_is_added(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = sp.random(40, 40, 0.3, format="csr", dtype=np.float32, random_state=rng)
    rows, columns = rng.integers(0, 40, n), rng.permutation(40)[:m]
    sums = rng.random((n, m), dtype=np.float32)
    wanted = sums + matrix.toarray()[np.ix_(rows, columns)]
    add_between(table_of(matrix), rows, columns, 40, sums)
    np.testing.assert_array_equal(sums, wanted)
