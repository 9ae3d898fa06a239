"""The retrieval suite: what it grows, what it measures, and who it measures beside."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from benchmarks.data.datasets import DataSet
from benchmarks.data.grown import EVENTS, grown_log, grown_vectors
from benchmarks.stands import nearest
from benchmarks.suites import retrieval
from tests.benchmarks.measuring import rows_of
from twofold.indexing.vectors import VectorIndex, normalised


def test_grown_vectors_lie_around_the_real_ones() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((12, 32))
    real = normalised(centres[rng.integers(0, 12, 300)] + 0.4 * rng.standard_normal((300, 32)))
    real[5] = 0
    grown = grown_vectors(real, 2000, seed=1)
    assert grown.shape == (2000, 32)
    np.testing.assert_allclose(np.linalg.norm(grown, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(grown, grown_vectors(real, 2000, seed=1))
    assert not np.array_equal(grown, grown_vectors(real, 2000, seed=2))
    nearest_real = VectorIndex.build(real, device="cpu").search(grown, 1)[0][:, 0]
    assert nearest_real.mean() > 0.85  # of random directions it would be about .5
    assert nearest_real.max() < 0.9999


def test_a_grown_log_is_a_log() -> None:
    log = grown_log(50, 1000, seed=0)
    assert len(log) == 50 * EVENTS
    assert log.n_items == 1000
    assert (np.bincount(log.users) == EVENTS).all()
    assert log.items.min() >= 0
    assert log.items.max() < 1000
    for user in range(50):
        assert (np.diff(log.times[log.users == user]) >= 0).all()
    np.testing.assert_array_equal(log.items, grown_log(50, 1000, seed=0).items)


def test_cells_of_a_catalogue_as_it_is(small_data: DataSet) -> None:
    asked = ("index", "stage-one", "filters", "batch", "recall")
    rows = rows_of(retrieval.RETRIEVAL, small_data, cells=asked)
    cells = {row["cell"] for row in rows}
    assert cells == {"index", "stage-one", "filters", "batch", "recall"}
    assert rows[0]["index"] == "exact"
    whole = next(row for row in rows if row["cell"] == "stage-one")
    assert whole["raw_ms"] == pytest.approx(sum(whole["raw_parts_ms"].values()))
    assert whole["ratio_vs_raw"] == pytest.approx(whole["p50_ms"] / whole["raw_ms"])
    assert {"collaborative", "neighbours", "text"} <= set(whole["raw_parts_ms"])
    assert whole["p50_ms_low"] < whole["p50_ms"] < whole["p50_ms_high"]
    filtered = [row for row in rows if row["cell"] == "filters" and row["share"] < 1]
    assert [row["share"] for row in filtered] == list(retrieval.SHARES)
    assert all(row["all_k_came"] for row in filtered)
    batches = [row for row in rows if row["cell"] == "batch"]
    assert [row.get("system") for row in batches] == [None, "engine"]
    for batch in batches:
        assert batch["users"] > 0
        assert batch["times_single"] == pytest.approx(batch["qps"] / batch["single_qps"], rel=1e-6)
    recall = {(row["system"], row["depth"]): row for row in rows if row["cell"] == "recall"}
    # There are 60 items, and all that were not seen come.
    assert recall["fused", 100]["recall"] == recall["fused", 200]["recall"] == 1.0
    own = [row for (name, _), row in recall.items() if name != "fused"]
    assert all(0 <= row["only_it"] <= row["recall"] <= 1 for row in own)
    assert sum(row["only_it"] for row in own) < 1


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.parametrize("peer", ["faiss", "hnswlib", "usearch"])
def test_peers_reach_the_recall_on_a_grown_catalogue(
    small_data: DataSet, monkeypatch: pytest.MonkeyPatch, peer: str
) -> None:
    if find_spec(peer) is None:
        pytest.skip(f"{peer} is not installed")
    monkeypatch.setattr(nearest, "ROUNDS", 2)
    monkeypatch.setattr(retrieval, "N_QUERIES", 100)
    own = ("index.kind=IVF64,SQ8", "index.recall_target=0.9")
    rows = rows_of(retrieval.RETRIEVAL, small_data, *own, items=4000, cells=("index", peer))
    chosen = rows[0]
    assert chosen["chosen"]
    assert chosen["index"] == "IVF64,SQ8"
    beside = rows[1:]
    assert {row["askers"] for row in beside} == {1, 2}
    assert [row["peer"] for row in beside].count(False) == 2
    for row in beside:
        # Four-bit codes of so few numbers do not reach it with any effort, and say so.
        assert row["recall"] >= (0.9 if row["peer"] else 0.85) or "PQ" in row["index"]
        assert 0 < row["qps_low"] < row["qps"] < row["qps_high"]
        assert row["rounds"] == 2
        assert row["n_items"] == 4000
    ours = next(row for row in beside if not row["peer"])
    assert ours["ours_over_this"] == 1.0
    other = next(row for row in beside if row["peer"] and row["askers"] == ours["askers"])
    assert other["ours_over_this"] == pytest.approx(ours["qps"] / other["qps"])
