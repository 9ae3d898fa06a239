"""Results as a table and as JSON lines."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold.terminal import cell, say_json, say_rows, table

ROWS = [
    {"item": "50", "score": 0.25, "reasons": ["a", "b"], "n": 1},
    {"item": "1810", "score": float("nan"), "reasons": [], "n": 123456},
]


def test_a_table_is_aligned() -> None:
    assert table(ROWS, ["item", "score", "n"]).splitlines() == [
        "item   score        n",
        "50    0.2500        1",
        "1810       -  123,456",
    ]


def test_no_rows_say_so() -> None:
    assert table([]) == "(nothing)"


def test_json_has_all_keys_and_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    say_rows(ROWS, as_json=True, columns=["item"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ROWS[0]
    assert lines[1]["score"] is None


def test_json_takes_numpy_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"a": np.float32(0.5), "b": np.int64(3), "c": (np.float64("inf"),), 4: True})
    assert json.loads(capsys.readouterr().out) == {"a": 0.5, "b": 3, "c": [None], "4": True}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (99_999, "99999"),
        (100_000, "100,000"),
        (-0.5, "-0.5000"),
        (12345.6, "12,346"),
        ("text", "text"),
        (("a", 1), "a, 1"),
    ],
)
def test_cells(value: object, text: str) -> None:
    assert cell(value) == text


@given(st.lists(st.fixed_dictionaries({"a": st.integers(), "b": st.floats()}), min_size=1))
def test_every_row_has_a_line(rows: list[dict[str, float]]) -> None:
    assert len(table(rows).splitlines()) == len(rows) + 1
