"""The soak suite finds wrong answers, and says what memory did."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.data.datasets import DataSet
from benchmarks.suites import soak as suite
from tests.benchmarks.measuring import rows_of
from twofold.asking import Asking


@pytest.mark.parametrize("mixed_up", [False, True])
def test_wrong_answers_are_counted(
    tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch, mixed_up: bool
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(suite, "SAMPLED_EVERY", 0.1)
    if mixed_up:
        of_user = Asking.user
        monkeypatch.setattr(Asking, "user", lambda asking, _: of_user(asking, "u1"))
    (found,) = rows_of(suite.SOAK, small_data, minutes=0.03)
    assert found["minutes"] == 0.03
    assert found["requests"] > 20
    assert (found["wrong"] > 0) == mixed_up
    assert found["rss_mb_most"] >= found["rss_mb_last"] > 100
    assert 10 < found["allocated_mb_last"] < found["rss_mb_last"]
