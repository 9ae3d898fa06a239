"""The end-to-end suite on a small world: figures, a waterfall that adds up, and memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pytest

from benchmarks.data.datasets import DataSet
from benchmarks.harness.cells import Cell, Plan, Row
from benchmarks.suites import endtoend
from benchmarks.suites.endtoend import ENDTOEND, agreement

FEW = ("ranker.rerank=20", "windows=1")


class Nowhere:
    """A place of cells that need no other and keep nothing."""

    fingerprint = "0" * 16
    folder = Path("/nowhere")

    def rows(self, cell: str) -> list[Row]:
        raise AssertionError(cell)

    def kept(self, cell: str) -> Mapping[str, npt.NDArray[Any]]:
        raise AssertionError(cell)

    def keep(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        raise AssertionError(arrays)


@pytest.fixture
def cells(
    small_data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, Cell]:
    """The suite's cells on the small world, with a cache of their own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(endtoend, "WARM_UP", 2)
    return ENDTOEND.named(Plan(small_data, FEW, quick=True))


def test_clients_parts_and_a_pair_are_measured_on_one_artefact(cells: Mapping[str, Cell]) -> None:
    assert list(cells) == ["1 client", "8 clients", "32 clients", "stages", "memory", "twice"]
    new, kept = cells["8 clients"].measure(Nowhere())
    assert (new["histories"], kept["histories"]) == ("new", "kept")
    for row in (new, kept):
        assert row["clients"] == 8
        assert row["requests"] == 78
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        for name in ("p50_ms", "p95_ms", "p99_ms", "requests_a_second"):
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
        assert 0 < row["ndcg10"]["mean"] <= 1
        assert row["recall10"] == new["recall10"]

    *parts, whole = cells["stages"].measure(Nowhere())
    assert whole["part"] == "whole"
    assert sum(row["share"] for row in parts) == pytest.approx(1)
    assert sum(row["mean_ms"] for row in parts) == pytest.approx(whole["mean_ms"])
    assert whole["medians_sum_ms"] == pytest.approx(sum(row["median_ms"] for row in parts))
    assert sum(row["usual_ms"] for row in parts) == pytest.approx(whole["usual_ms"])
    assert whole["usual_ms"] == pytest.approx(whole["median_ms"], rel=0.5)
    told = {row["part"] for row in parts}
    assert {"history", "answer", "propose", "fusion", "stage two", "naming", "rest"} <= told
    assert {row["stage"] for row in parts} == {"before", "stage one", "stage two", "answer"}
    by_source = [row["of"] for row in parts if row["part"] == "answer"]
    assert ["neighbours", "neighbours_last", "neighbours_last_3"] in by_source
    assert ["collaborative"] in by_source

    (pair,) = cells["twice"].measure(Nowhere())
    apart = abs(pair["first"]["p50_ms"] - pair["second"]["p50_ms"])
    assert pair["agree"] == (apart < pair["interval_ms"])


def test_memory_is_told_by_a_process_of_its_own(cells: Mapping[str, Cell]) -> None:
    (row,) = cells["memory"].measure(Nowhere())
    assert row["rss_bare_mb"]["median"] < row["rss_libraries_mb"]["median"]
    assert row["rss_loaded_mb"]["median"] <= row["rss_peak_mb"]["median"]
    assert row["own_served_mb"]["median"] < row["rss_served_mb"]["median"]
    assert row["load_s"]["median"] > 0
    assert row["first_answer_ms"]["median"] > 0
    whole = 60 * row["bytes_an_item"] + 80 * row["bytes_a_user"]
    assert whole / 2**20 + row["fixed_mb"] == pytest.approx(row["artefact_mb"])
    assert row["bytes_a_user"] > 0
    assert row["bytes_an_item"] > 4 * 32  # its text vector at least


def test_two_medians_agree_within_the_wider_interval() -> None:
    first = {"p50_ms": 10.0, "p50_ms_low": 9.5, "p50_ms_high": 10.5}
    near = {"p50_ms": 10.9, "p50_ms_low": 10.8, "p50_ms_high": 11.0}
    far = {"p50_ms": 11.1, "p50_ms_low": 11.0, "p50_ms_high": 11.2}
    assert agreement(first, near)["agree"] is True
    assert agreement(first, far)["agree"] is False
    assert agreement(first, far)["apart_ms"] == pytest.approx(1.1)
