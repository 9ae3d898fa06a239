"""Rows in bytes say nearly what they were made of, and come back from a folder as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold.indexing.artefact import begin_generation
from twofold.indexing.errors import InputError
from twofold.ranking.stored import GROUP, ByteRows, Form, Rows, empty_rows, open_rows, spliced


@given(width=st.integers(1, 3 * GROUP + 1), seed=st.integers(0, 500))
def test_a_byte_is_half_a_step_of_its_group_away_at_most(width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = (rng.standard_normal((9, width)) * 10.0 ** rng.integers(-3, 3, (9, 1))).astype("f4")
    rows[3] = 0.0
    rows[5, 0] = 1000.0  # an outlier
    table = empty_rows(9, width, "int8")
    assert table.width == width
    order = rng.permutation(9)
    table.put(order, rows[order])
    found = table.of(np.arange(9)).numpy()
    for group in range(0, width, GROUP):
        part = slice(group, group + GROUP)
        largest = np.abs(rows[:, part]).max(axis=1, keepdims=True)
        # Half a step, and what half precision of the scale adds.
        assert (
            np.abs(found[:, part] - rows[:, part]) <= largest * (0.51 / 127 + 1e-3) + 1e-5
        ).all()
    assert not found[3].any()
    np.testing.assert_array_equal(table.of(np.array([[2, 5]])).numpy()[0], found[[2, 5]])


@pytest.mark.parametrize("form", ["single", "half", "int8"])
def test_rows_come_back_as_they_were_saved(form: Form, tmp_path: Path) -> None:
    table = empty_rows(4, 40, form)
    table.put(np.arange(4), np.random.default_rng(0).standard_normal((4, 40)).astype("f4"))
    with begin_generation(tmp_path) as writer:
        table.save(writer, "ranker/rows")
        generation = writer.commit({"settings": {}, "seed": 0, "counts": {}})
    opened = open_rows(generation, "ranker/rows", 40)
    assert opened is not None
    assert type(opened) is type(table)
    assert opened.row_bytes() == table.row_bytes()
    places = np.array([3, 0, 3])
    assert opened.of(places).equal(table.of(places))
    assert open_rows(generation, "ranker/others", 40) is None


def test_a_group_without_a_scale_is_refused() -> None:
    with pytest.raises(InputError, match="needs a scale"):
        ByteRows(np.zeros((2, 64), np.int8), np.zeros((2, 1), np.float16), 40)


def _made(rows: np.ndarray[tuple[int, int], np.dtype[np.float32]], form: Form) -> Rows:
    table = empty_rows(len(rows), rows.shape[1], form)
    table.put(np.arange(len(rows)), rows)
    return table


@pytest.mark.parametrize("form", ["single", "half", "int8"])
def test_rows_of_two_tables_stand_in_one_bit_by_bit(form: Form) -> None:
    rng = np.random.default_rng(0)
    old, fresh = (rng.standard_normal((n, 40)).astype("f4") for n in (4, 3))
    places = np.array([5, 0, 6, 3, 3, 4])
    found = spliced(_made(old, form), _made(fresh, form), places)
    whole = _made(np.concatenate([old, fresh]), form)
    assert type(found) is type(whole)
    assert found.width == 40
    assert found.of(np.arange(6)).equal(whole.of(places))


def test_bytes_and_floats_make_no_table() -> None:
    rows = np.zeros((2, 40), dtype=np.float32)
    with pytest.raises(InputError, match="a ByteRows and a FloatRows do not make one table"):
        spliced(_made(rows, "int8"), _made(rows, "half"), np.arange(2))
