"""The training suite on a small world: cells, pairs with the default, and going on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.data.datasets import DataSet
from benchmarks.harness import records
from benchmarks.suites import training
from benchmarks.suites.techniques import CELLS
from benchmarks.suites.training import measure_training
from twofold.console import make_console, make_progress
from twofold.settings import load_settings

QUICK = (
    "windows=1",
    "ranker.rerank=20",
    "ranker.training.max_epochs=1",
    "ranker.training.negatives=7",
)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Records and kept values of this test alone."""
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    monkeypatch.setattr(training, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "training.jsonl"


def test_every_cell_names_settings_that_there_are() -> None:
    plain = load_settings(None, CELLS["default"])
    for name, overrides in CELLS.items():
        assert (load_settings(None, overrides) == plain) == (name == "default")


def test_cells_are_paired_with_the_default_and_run_once(small_data: DataSet, results: Path) -> None:
    progress = make_progress(make_console(), as_json=True)
    asked = {"cells": ["focal"], "progress": progress}
    rows = list(measure_training(small_data, QUICK, **asked))  # type: ignore[arg-type]
    assert [row["cell"] for row in rows] == ["default", "focal"]
    default, focal = rows
    assert default["relative_to_default"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert focal["settings"]["objective"] == "focal"
    mean = default["ndcg10"]["mean"]
    gap = focal["ndcg10"]["mean"] - mean
    assert focal["differences"]["default"]["mean"] == pytest.approx(gap)
    assert focal["relative_to_default"]["mean"] == pytest.approx(gap / mean)
    assert {"LambdaRank", "logistic regression", "text zeroed"} <= set(focal["differences"])
    assert 0 < mean <= 1
    assert focal["n_trained"] == default["n_trained"] > 0
    assert 0 < focal["encoder_share"] < 1
    assert 0 < focal["auc"]["mean"] < 1
    results.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(measure_training(small_data, QUICK, **asked)) == []  # type: ignore[arg-type]
    (again,) = measure_training(small_data, QUICK, cells=["listwise"], progress=progress)
    assert again["cell"] == "listwise"
    assert np.isfinite(again["stop_loss"])
