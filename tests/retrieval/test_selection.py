"""The best of many scores are those of a slow sort, whatever blocks they stand in."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.indexing.item_set import ItemSet
from twofold.indexing.sorting import GROUP
from twofold.retrieval.admission import Admission
from twofold.retrieval.selection import best_dense, first_open


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 9999),
    n_items=st.integers(1, 20 * GROUP),
    k=st.integers(1, 40),
    levels=st.sampled_from([2, 5, 0]),
    least=st.sampled_from([-np.inf, 0.0]),
    filtered=st.booleans(),
)
def test_the_best_are_those_of_a_slow_sort(
    seed: int, n_items: int, k: int, levels: int, least: float, filtered: bool
) -> None:
    rng, n = np.random.default_rng(seed), 3
    k = min(k, n_items)
    scores = rng.standard_normal((n, n_items)).astype(np.float32)
    if levels:
        scores = rng.integers(-levels, levels, (n, n_items)).astype(np.float32)  # ties
    excluded = sp.csr_matrix(rng.random((n, n_items)) < 0.2)
    eligible = None
    if filtered:
        eligible = (ItemSet(rng.random(n_items) < 0.3), None, ItemSet(rng.random(n_items) < 0.01))
    admission = Admission(excluded, eligible)
    barred = admission.barred
    found = best_dense(scores.copy(), k, np.full(n, least, dtype=np.float32), barred)
    order = np.lexsort((np.arange(n_items), -scores[0]))
    walked = first_open(order, k, barred, n_items)
    for row in range(n):
        allowed = admission.open(row)

        def by_score(item: int, row: int = row) -> tuple[float, int]:
            return -float(scores[row, item]), item

        kept = allowed[scores[row, allowed] > least]
        wanted = sorted(kept.tolist(), key=by_score)[:k]
        gap = [-1] * (k - len(wanted))
        assert sorted(found[row, : len(wanted)].tolist()) == sorted(wanted)
        assert found[row, len(wanted) :].tolist() == gap
        first = [item for item in order.tolist() if item in set(allowed.tolist())][:k]
        assert walked[row].tolist() == first + [-1] * (k - len(first))
