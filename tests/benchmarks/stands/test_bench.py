"""A bench of some of the test's users asks each as the whole bench does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.data.datasets import DataSet
from benchmarks.harness.cells import Plan
from benchmarks.stands.bench import Bench
from twofold.indexing.progress import Silent


def test_some_users_are_asked_when_they_are_in_the_whole(
    tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plan = Plan(small_data)
    settings = plan.settings("windows=1", "ranker.rerank=20")
    whole, some = (
        Bench.of(small_data, settings, plan.dataset, Silent(), most=most) for most in (None, 7)
    )
    assert (len(whole.queries), len(some.queries)) == (80, 7)
    users = np.arange(80)
    which = np.sort(np.random.default_rng(settings.seed).permutation(users)[:7])
    assert whole.queries.asked_at is not None
    assert some.queries.asked_at is not None
    np.testing.assert_array_equal(some.queries.asked_at, whole.queries.asked_at[which])
    np.testing.assert_array_equal(some.ndcg(some.served), whole.ndcg(whole.served)[which])
