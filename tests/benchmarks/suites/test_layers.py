"""The suite of layers: every ranker has quality and latency, and is told beside all joint."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.data.datasets import DataSet
from benchmarks.suites import layers
from tests.benchmarks.measuring import rows_of
from twofold.ranking.runtime import RUNTIMES


def test_every_ranker_has_quality_and_latency(
    tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(layers, "JOINT", ("all", 1))
    monkeypatch.setattr(layers, "FEWER", (2,))
    monkeypatch.setattr(layers, "RATES", (1e-5, 1e-4))
    own = ("windows=1", "ranker.training.max_epochs=1")
    found = rows_of(layers.LAYERS, small_data, *own, seeds=2, search=True)
    told = [(one.get("ranker"), one.get("joint_layers"), one.get("seed")) for one in found[:-1]]
    assert told == [
        ("none: fused stage one", None, 0),
        ("taught", 3, 0),
        ("taught", 3, 1),
        ("taught", 1, 0),
        ("taught", 1, 1),
        ("taught, item states int8", 1, 0),
        ("compressed", 1, 0),
    ]
    for one in found[:-1]:
        assert 0 <= one["ndcg10_low"] <= one["ndcg10"] <= one["ndcg10_high"] <= 1
    for one in found[1:-1]:
        assert [each["runtime"] for each in one["runtimes"]] == list(RUNTIMES)
    assert found[1]["learning_rate"] in (1e-5, 1e-4)
    # All layers joint have nothing to store; bytes take little more than half of half precision.
    assert found[1]["bytes_an_item"] == 0
    assert found[5]["bytes_an_item"] < 0.6 * found[3]["bytes_an_item"]
    assert found[6]["layers"] == 2
    # Further seeds are taught at the rate that was found with the first.
    for first, second in (found[1:3], found[3:5]):
        assert first["learning_rate"] == second["learning_rate"]
        assert first["ndcg10"] != second["ndcg10"] or first["stop_loss"] != second["stop_loss"]
    last = found[-1]
    assert (last["comparison"], last["seeds"]) == ("1 - all", 2)
    mean = (found[1]["ndcg10"] + found[2]["ndcg10"]) / 2
    assert last["ndcg10_full"] == pytest.approx(mean)
    assert last["relative_low"] <= last["relative_difference"] <= last["relative_high"]
