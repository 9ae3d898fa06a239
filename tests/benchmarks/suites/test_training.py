"""The training suite on a small world: cells, and pairs with the default."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.data.datasets import DataSet
from benchmarks.suites.techniques import CELLS
from benchmarks.suites.training import TRAINING
from tests.benchmarks.measuring import rows_of, run_of
from twofold.settings import load_settings


def test_every_cell_names_settings_that_there_are() -> None:
    plain = load_settings(None, CELLS["default"])
    for name, overrides in CELLS.items():
        assert (load_settings(None, overrides) == plain) == (name == "default")


def test_cells_are_paired_with_the_default(
    tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = rows_of(TRAINING, small_data, quick=True, cells=("listwise",))
    assert [row["cell"] for row in rows] == ["default", "listwise"]
    default, listwise = rows
    assert default["relative_to_default"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert listwise["settings"]["ranker.training.objective"] == "listwise"
    assert listwise["init_from"] is None
    mean = default["ndcg10"]["mean"]
    gap = listwise["ndcg10"]["mean"] - mean
    assert listwise["differences"]["default"]["mean"] == pytest.approx(gap)
    assert listwise["relative_to_default"]["mean"] == pytest.approx(gap / mean)
    assert {"LambdaRank", "logistic regression", "text zeroed"} <= set(listwise["differences"])
    assert 0 < mean <= 1
    assert listwise["n_trained"] == default["n_trained"] > 0
    assert 0 < listwise["encoder_share"] < 1
    assert 0 < listwise["auc"]["mean"] < 1
    assert np.isfinite(listwise["stop_loss"])
    # The default's values are kept; its rows were not.
    assert run_of(TRAINING, small_data, quick=True).users.has(default["fingerprint"])
