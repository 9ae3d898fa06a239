"""Growing arrays: every state stays what it was, whatever is written after it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.indexing.growing import ROOM, Growing

STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(0, 40), max_size=4, unique=True)),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.lists(st.booleans(), min_size=40, max_size=40), st.integers(0, 3))
def test_states_stay_as_they_were(
    steps: list[tuple[int, list[int]]], kept: list[bool], n_base: int
) -> None:
    base = np.arange(2 * n_base, dtype=np.float32).reshape(n_base, 2)
    growing, model, held, written = Growing(base), base.copy(), [], 100.0
    for (more, changed), keep in zip(steps, kept, strict=False):
        old = sorted(number for number in changed if number < len(model))
        numbers = np.array([*old, *range(len(model), len(model) + more)], dtype=np.int64)
        rows = written + np.arange(2 * len(numbers), dtype=np.float32).reshape(-1, 2)
        written += 2 * len(numbers)
        model = np.concatenate([model, np.zeros((more, 2), dtype=np.float32)])
        model[numbers] = rows
        now = growing.put(numbers, rows)
        np.testing.assert_array_equal(now, model)
        assert now.flags.c_contiguous
        if keep:
            held.append((now[len(now) // 2 :], model[len(now) // 2 :].copy()))
    for part, wanted in held:
        np.testing.assert_array_equal(part, wanted)


def test_nothing_is_copied_before_the_first_change_and_little_after() -> None:
    base = np.zeros((10, 2), dtype=np.float16)
    growing = Growing(base)
    assert growing.now is base
    first = growing.append(np.ones((1, 2), dtype=np.float16))
    second = growing.append(np.ones((2, 2), dtype=np.float16))
    assert np.shares_memory(first, second)
    assert len(second) == 13
    assert second.dtype == np.float16
    with pytest.raises(ValueError, match="read-only"):
        second[0] = 1


def test_two_copies_take_turns_once_nobody_reads_them() -> None:
    growing = Growing(np.zeros(4, dtype=np.int64))
    places = set()
    for value in range(20):
        now = growing.put(np.array([value % 4]), np.array([value]))
        places.add(now.ctypes.data)
        assert now.tolist()[value % 4] == value
    assert len(places) == 2


def test_it_grows_far_beyond_its_room() -> None:
    growing = Growing(np.zeros(0, dtype=np.int64))
    for start in range(0, 3 * ROOM, 100):
        now = growing.append(np.arange(start, start + 100))
    np.testing.assert_array_equal(now, np.arange(len(now)))
