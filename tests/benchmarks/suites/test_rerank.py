"""The suite that times stage two: real engines, a real peer, and a floor that is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.data.datasets import DataSet
from benchmarks.stands.floor import matrix_rate, operations
from benchmarks.suites import rerank
from tests.benchmarks.measuring import rows_of
from twofold.ranking.layers import BackboneShape
from twofold.ranking.model import ModelShape


def shape(width: int, inner: int) -> ModelShape:
    backbone = BackboneShape("bert", width, 2, 2, inner, 10, 8, 2, 0, 1e-12, "gelu")
    return ModelShape(
        backbone, 1, 3, text_dim=5, factor_dim=7, n_relations=1, n_kinds=1, max_history=4
    )


def test_the_floor_counts_every_large_product() -> None:
    # One candidate and no event: output projection, up and down.
    assert operations(shape(4, 16), 1, 0) == 2 * (4 * 4 + 2 * 4 * 16)
    # An event: its soft token, its key and value; each candidate looks at it and takes from it.
    more = operations(shape(4, 16), 3, 1) - operations(shape(4, 16), 3, 0)
    assert more == 2 * (4 * (5 + 7) + 2 * 4 * 4 + 3 * 2 * 4)


@pytest.mark.parametrize("runtime", ["float32", "bfloat16", "int8"])
def test_a_matrix_rate_is_a_rate(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.stands.floor.SIZE", 256)
    assert 1e7 < matrix_rate(runtime) < 1e16


def test_all_runtimes_and_the_peer_are_timed_on_the_same_lists(
    tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(rerank, "HISTORY", 3)
    monkeypatch.setattr(rerank, "QUICK", replace(rerank.QUICK, candidates=10))
    monkeypatch.setattr("benchmarks.stands.floor.SIZE", 256)
    found = rows_of(rerank.RERANK, small_data, quick=True)
    peers, ours = found[:2], found[2:]
    assert [one["runtime"] for one in peers] == [
        "sentence-transformers float32",
        "sentence-transformers bfloat16",
    ]
    assert {(one["runtime"], one["history"]) for one in ours} == {
        (runtime, form)
        for runtime in ("float32", "bfloat16", "int8")
        for form in ("vectors", "text")
    }
    for one in found:
        assert 0 < one["p50_ms"] <= one["p95_ms"] <= one["p99_ms"]
        assert one["p50_ms_low"] < one["p50_ms"] < one["p50_ms_high"]
        assert one["candidates"] == 10
    assert {(one["n_lists"], one["rounds"]) for one in peers} == {(1, 2)}
    assert {(one["n_lists"], one["rounds"]) for one in ours} == {(10, 3)}
    single = next(o for o in ours if (o["runtime"], o["history"]) == ("float32", "vectors"))
    assert single["speedup_vs_float32"] == 1.0
    for one in ours:
        speedup = peers[0]["p50_ms"] / one["p50_ms"]
        assert one["speedup_vs_sentence_transformers"] == pytest.approx(speedup)
        if one["history"] == "vectors":
            assert one["times_floor"] == pytest.approx(one["p50_ms"] / one["floor_ms"])
    # The artefact is kept for the next run.
    (kept,) = (tmp_path / "twofold" / "benchmarks").glob("small-*")
    before = (kept / "CURRENT").stat().st_mtime_ns
    rows_of(rerank.RERANK, small_data, quick=True)
    assert (kept / "CURRENT").stat().st_mtime_ns == before
