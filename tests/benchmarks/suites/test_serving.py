"""The suite that loads an engine: every way of asking is timed, and a budget is kept or told."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.data.datasets import DataSet
from benchmarks.suites import serving
from tests.benchmarks.measuring import rows_of


@pytest.mark.parametrize(("budget", "reranked"), [(60_000.0, 1.0), (1e-3, 0.0)])
def test_every_way_of_asking_is_timed(
    tmp_path: Path,
    small_data: DataSet,
    monkeypatch: pytest.MonkeyPatch,
    budget: float,
    reranked: float,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(serving, "BATCHES", (1, 100))
    monkeypatch.setattr(serving, "BUDGET_MS", budget)
    found = rows_of(serving.SERVING, small_data, quick=True)
    asked = ["one client", "8 clients", "batch of 1", "batch of 100", "budget"]
    assert [one["asked"] for one in found] == asked
    assert [one["cell"] for one in found] == asked
    for one in (*found[:2], found[-1]):
        assert 0 < one["p50_ms_low"] < one["p50_ms"] < one["p50_ms_high"]
        assert (one["calls"], one["rounds"]) == (100, 5)
        assert 0 < one["p50_ms"] <= one["p95_ms"] <= one["p99_ms"]
    assert all(one["queries_a_second"] > 0 for one in found[:-1])
    for one in found[:-1]:
        low, high = one["queries_a_second_low"], one["queries_a_second_high"]
        assert 0 < low < one["queries_a_second"] < high
    assert found[-1]["arrivals_a_second"] == 0.7 * found[1]["queries_a_second"]
    times = found[1]["queries_a_second"] / found[0]["queries_a_second"]
    assert found[1]["times_one_client"] == pytest.approx(times)
    assert found[0]["bound_ms"] > found[0]["rerank_ms"] + 2 > 2
    assert found[0]["bare_calls_ms"] > 0
    assert found[-1]["reranked_share"] == reranked
    assert found[-1]["none_reranked_share"] == 1.0 - reranked
