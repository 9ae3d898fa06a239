"""ALS is tuned on validation, and the test sees the choice alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.data.datasets import DataSet
from benchmarks.suites import als
from tests.benchmarks.measuring import rows_of


def test_the_best_on_validation_is_tested(
    tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(als, "FACTORS", (2, 4))
    monkeypatch.setattr(als, "REGULARIZATION", (0.1,))
    monkeypatch.setattr(als, "ALPHA", (0.5, 40.0))
    *grid, test = rows_of(als.ALS, small_data)
    assert [(row["model"]["factors"], row["model"]["alpha"]) for row in grid] == [
        *((2, 0.5), (2, 40.0), (4, 0.5), (4, 40.0))
    ]
    assert {row["split"] for row in grid} == {"validation"}
    best = max(grid, key=lambda row: row["ndcg@10"]["mean"])
    assert len({row["ndcg@10"]["mean"] for row in grid}) > 1
    assert (test["split"], test["model"]) == ("test", best["model"])
    assert 0 < test["ndcg@10"]["low"] < test["ndcg@10"]["high"] < 1
    assert grid[0]["settings"]["stage_one.collaborative.factors"] == 2
    # Labels of the test are other labels.
    assert test["ndcg@10"]["mean"] != best["ndcg@10"]["mean"]
