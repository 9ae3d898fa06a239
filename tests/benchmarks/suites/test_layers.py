"""The suite of layers: every ranker has quality and latency, and is told beside all joint."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
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
    told = [(one["cell"], one.get("joint_layers"), one.get("seed")) for one in found]
    assert told == [
        ("fused stage one", None, 0),
        ("all joint, rate 1e-05", 3, 0),
        ("all joint, rate 0.0001", 3, 0),
        ("all joint", 3, 0),
        ("all joint, seed 1", 3, 1),
        ("1 joint, rate 1e-05", 1, 0),
        ("1 joint, rate 0.0001", 1, 0),
        ("1 joint", 1, 0),
        ("1 joint, seed 1", 1, 1),
        ("item states int8", 1, 0),
        ("2 layers", 1, 0),
        ("compared", None, 0),
    ]
    by_cell = {one["cell"]: one for one in found}
    for one in found[:-1]:
        assert 0 <= one["ndcg10_low"] <= one["ndcg10"] <= one["ndcg10_high"] <= 1
    for one in found[1:-1]:
        assert [each["runtime"] for each in one["runtimes"]] == list(RUNTIMES)
    # All layers joint have nothing to store; bytes take little more than half of half precision.
    whole, default = by_cell["all joint"], by_cell["1 joint"]
    assert whole["bytes_an_item"] == 0
    assert by_cell["item states int8"]["bytes_an_item"] < 0.6 * default["bytes_an_item"]
    assert by_cell["2 layers"]["layers"] == 2
    for name, first in (("all joint", whole), ("1 joint", default)):
        tried = [by_cell[f"{name}, rate {rate}"] for rate in ("1e-05", "0.0001")]
        best = min(tried, key=lambda one: float(one["stop_loss"]))
        assert {one["ranker"] for one in tried} == {"tried"}
        taken = {key: best[key] for key in layers.TOLD} | {"ranker": "taught"}
        assert {key: first[key] for key in layers.TOLD} == taken
        # Further seeds are taught at the rate that was found with the first.
        second = by_cell[f"{name}, seed 1"]
        assert first["learning_rate"] == second["learning_rate"]
        assert first["ndcg10"] != second["ndcg10"] or first["stop_loss"] != second["stop_loss"]
    last = found[-1]
    assert (last["comparison"], last["seeds"]) == ("1 - all", 2)
    mean = (whole["ndcg10"] + by_cell["all joint, seed 1"]["ndcg10"]) / 2
    assert last["ndcg10_full"] == pytest.approx(mean)
    assert last["relative_low"] <= last["relative_difference"] <= last["relative_high"]


def test_of_several_rates_that_of_the_lowest_loss_is_taken() -> None:
    losses = {"low": 2.5, "middle": 2.25, "high": 2.75}
    rows = {
        name: {**dict.fromkeys(layers.TOLD, name), "stop_loss": loss, "fingerprint": "its own"}
        for name, loss in losses.items()
    }
    values = {name: {layers.VALUES: np.array([loss])} for name, loss in losses.items()}
    kept: list[Any] = []
    place: Any = SimpleNamespace(
        rows=lambda name: [rows[name]], kept=lambda name: values[name], keep=kept.append
    )
    (found,) = layers._Chosen(tuple(losses))(place)
    middle = dict.fromkeys(layers.TOLD, "middle")
    assert found == {**middle, "ranker": "taught", "stop_loss": 2.25}
    assert kept == [values["middle"]]
