"""Rows are appended whole, and pages take the latest of each cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness import records
from benchmarks.harness.records import Records, commands, latest, latest_cells
from twofold.indexing.errors import InputError


def told(run: str, value: int, cell: str | None = None, **more: Any) -> dict[str, Any]:
    row = {"dataset": "d", "max_item_tokens": 9, "run": run, "value": value, **more}
    return row if cell is None else {**row, "cell": cell}


def values(rows: list[dict[str, Any]]) -> list[int]:
    return [row["value"] for row in rows]


def test_a_line_that_is_no_row_is_refused_with_its_number(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    assert Records(file).rows() == []
    file.write_text('{"a": 1}\nnot json\n{"a": 2}\n')
    with pytest.raises(InputError, match="line 2"):
        Records(file).rows()


def test_half_a_last_line_is_none_and_goes(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"a": 1}\n{"a": 2}')
    assert Records(file).rows() == [{"a": 1}]
    Records(file).append([{"a": 3}, {"a": 4}])
    assert [row["a"] for row in Records(file).rows()] == [1, 3, 4]


def test_what_is_not_finite_is_refused_and_nothing_written(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    with pytest.raises(ValueError, match="not JSON compliant"):
        Records(file).append([{"a": 1.0}, {"a": float("inf")}])
    assert not file.exists()


def test_the_latest_whole_run_of_a_fingerprint_wins(tmp_path: Path) -> None:
    one = Records(tmp_path / "x.jsonl")
    one.append([told("1", 1, fingerprint="f", n_rows=2), told("1", 2, fingerprint="f", n_rows=2)])
    one.append([told("2", 3, fingerprint="f", n_rows=2), told("2", 4, fingerprint="f", n_rows=2)])
    one.append([told("3", 5, fingerprint="f", n_rows=2)])
    assert values(one.by_fingerprint()["f"]) == [3, 4]
    one.append([told("4", 6, fingerprint="g", n_rows=2)])
    assert one.finished() == {"f"}


def test_the_latest_run_of_each_cell_in_the_order_they_came() -> None:
    rows = [
        *(told("1", 1, "a"), told("1", 2, "a"), told("1", 3, "b")),
        *(told("2", 4, "b"), told("3", 5, "a")),
    ]
    assert values(latest_cells(rows)) == [5, 4]
    # One run's cells share it.
    assert values(latest_cells(rows[:3])) == [1, 2, 3]


def test_rows_from_before_there_were_cells_give_way() -> None:
    old = [told("1", 1, asked="one"), told("1", 2, asked="two"), told("2", 3, asked="one")]
    assert values(latest_cells(old)) == [3]
    assert values(latest_cells([*old, told("3", 4, "one")])) == [4]
    # Where something in them tells their parts apart, each gives way to its own.
    assert values(latest_cells(old, "asked")) == [3, 2]
    assert values(latest_cells([*old, told("3", 4, "one")], "asked")) == [4, 2]


def test_pages_show_no_quick_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    rows = [told("1", 1, "a", quick=False), told("2", 2, "a", quick=True), told("1", 3)]
    Records(tmp_path / "toy.jsonl").append([*rows, told("1", 4, "a", max_item_tokens=5)])
    assert {key: values(found) for key, found in latest("toy").items()} == {
        ("d", 9): [1],
        ("d", 5): [4],
    }


def test_commands_of_old_and_new_rows() -> None:
    new = told("1", 1, command="python -m benchmarks toy d --items 5")
    block = commands("toy", [told("1", 1, command="d --items 4"), new, new, told("1", 1)])
    assert block.splitlines() == [
        "```sh",
        "python -m benchmarks toy d --items 4 --record",
        "python -m benchmarks toy d --items 5 --record",
        "python -m benchmarks toy d --record",
        "```",
    ]
