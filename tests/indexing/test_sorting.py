"""Keys of scores come in the order of a slow sort."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.indexing.sorting import bits_of, column_of, descending, ordered, score_of

SCORES = st.lists(
    st.one_of(st.sampled_from([0.0, -0.0, 1.0, -1.0]), st.floats(width=32, allow_nan=False)),
    min_size=1,
    max_size=12,
)


@settings(deadline=None)
@given(SCORES, st.integers(0, 99))
def test_rows_come_in_the_order_of_a_slow_sort(row: list[float], seed: int) -> None:
    scores = np.array([row, row[::-1]], dtype=np.float32)
    mask = np.random.default_rng(seed).random(scores.shape) < 0.7
    keys = descending(scores[None], mask)[0]
    for told, there, found in zip(scores, mask, keys, strict=True):
        columns = np.flatnonzero(there)
        wanted = [column for _, column in sorted((-told[column], column) for column in columns)]
        order = [column_of(key) for key in found[: len(columns)]]
        assert order == wanted
        for one, other in pairwise(order):
            same = score_of(found[order.index(one)]) == score_of(found[order.index(other)])
            assert same == (told[one] == told[other])


@pytest.mark.parametrize("score", [0.0, 1.5, -1.5, np.inf, -np.inf, 1e-40, -1e-40])
def test_whole_numbers_stand_for_scores(score: float) -> None:
    bits = np.array([score], dtype=np.float32).view(np.int32)[0]
    told = np.array([bits_of(ordered(bits))], dtype=np.int32).view(np.float32)
    assert told[0] == np.float32(score)


def test_nothing_is_sorted_to_nothing() -> None:
    assert descending(np.zeros((2, 3, 0), np.float32), np.zeros((3, 0), bool)).shape == (2, 3, 0)
