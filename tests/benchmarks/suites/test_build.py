"""The build suite on a small world: steps, library calls, and a log that grows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from benchmarks.data.datasets import DataSet
from benchmarks.harness.cells import Cell, Plan
from benchmarks.suites.build import BUILD, EMBEDDED, number_of, some_users
from tests.benchmarks.suites.test_endtoend import Nowhere
from twofold.indexing.errors import InputError


def cells(data: DataSet, sizes: str = "") -> Mapping[str, Cell]:
    """Return the suite's cells, short ones."""
    return BUILD.named(Plan(data, options={"sizes": sizes}, quick=True))


def test_a_build_is_measured_beside_the_library_calls_in_it(
    small_data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ((name, cell),) = cells(small_data).items()
    assert name == "libraries"
    rows = list(cell.measure(Nowhere()))
    *_, whole = rows
    assert whole["kind"] == "whole"
    assert whole["n_interactions"] == 960
    steps = {row["step"]: row for row in rows if row["kind"] == "step"}
    assert {"Reading interactions", "embed texts", "ALS", "fine-tune", "item states"} <= set(steps)
    assert steps["ALS"]["times"] == 2  # before the label window, and at the end
    assert sum(row["seconds"] for row in steps.values()) == pytest.approx(whole["seconds"])
    assert max(row["peak_mb"] or 0 for row in steps.values()) <= whole["peak_mb"]
    told = {row["library"]: row for row in rows if row["kind"] == "library"}
    assert set(told) == {
        *("implicit", "sentence-transformers", "faiss"),
        *("torch, with gradients", "torch, without gradients"),
    }
    assert told["implicit"]["times"] == 2
    assert told["implicit"]["made_again"]
    assert not told["torch, with gradients"]["made_again"]
    assert all(row["bare_seconds"] > 0 for row in told.values())
    assert 0 < whole["inside_seconds"] < whole["seconds"]
    assert whole["ratio_inside"] == pytest.approx(whole["seconds"] / whole["inside_seconds"])
    assert whole["ratio"] == pytest.approx(whole["seconds"] / whole["libraries_seconds"])


def test_a_log_grows_and_its_texts_are_not_embedded_in_the_build(
    small_data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    titles = replace(small_data, settings=(*small_data.settings, 'data.text_template="{title}"'))
    ((name, cell),) = cells(titles, "2k").items()
    assert name == "2k"
    *steps, whole = cell.measure(Nowhere())
    told = {row["step"]: row for row in steps}
    assert told["ALS"]["seconds"] > 0
    assert "fine-tune" not in told
    assert told["embed texts"]["seconds"] < 1
    assert whole["n_interactions"] == 2000
    assert whole["made"].startswith("2,000 interactions grown from 960")
    assert whole["n_users"] > 2 * 80
    assert whole["n_items"] > 60
    assert whole["artefact_mb"] > 0
    assert whole["peak_mb"] >= whole["start_mb"] > 0
    assert whole["texts"] == EMBEDDED
    assert list((tmp_path / "twofold" / "benchmarks").glob("build-*")) == []


def test_users_are_drawn_with_all_they_did() -> None:
    log = pl.DataFrame({"u": [1, 1, 2, 2, 3, 3, 4, 4], "i": range(8)})
    some = some_users(log, "u", 3)
    assert len(some) == 4
    assert some.group_by("u").len()["len"].to_list() == [2, 2]
    assert some_users(log, "u", 100).equals(log)


def test_sizes_are_read() -> None:
    assert [number_of(one) for one in ("7", "10k", "10M")] == [7, 10_000, 10_000_000]
    with pytest.raises(InputError, match="came 'ten'"):
        number_of("ten")
