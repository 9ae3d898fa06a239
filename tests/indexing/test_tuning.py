"""An index is chosen by trying: recall is reached, memory kept, small catalogues are exact."""

from __future__ import annotations

import numpy as np
import pytest

from tests.indexing.test_proposers import clustered
from twofold.indexing import tuning
from twofold.indexing.errors import SettingsError
from twofold.indexing.progress import Silent
from twofold.indexing.tuning import (
    EXACT,
    IndexSettings,
    Trial,
    _Tuner,
    kinds,
    recall_of,
    with_proposer,
)
from twofold.indexing.vectors import VectorIndex

VECTORS, QUERIES = clustered(6000), clustered(60, seed=1)
FRESH = clustered(60, seed=2)
PLAIN = VectorIndex.build(VECTORS, device="cpu")


@pytest.fixture
def _small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "WORTHWHILE", 1000)
    monkeypatch.setattr(tuning, "LEAST_SAMPLE", 2000)
    monkeypatch.setattr(tuning, "TIMED", 20)


def _chosen(settings: IndexSettings) -> VectorIndex:
    return with_proposer(PLAIN, QUERIES, settings, progress=Silent())


def test_small_catalogues_are_looked_at_whole() -> None:
    assert _chosen(IndexSettings()) is PLAIN


@pytest.mark.usefixtures("_small_is_large")
def test_exact_is_exact_and_nothing_to_ask_is_exact() -> None:
    assert _chosen(IndexSettings(kind=EXACT)) is PLAIN
    assert with_proposer(PLAIN, QUERIES[:0], IndexSettings(), progress=Silent()) is PLAIN


@pytest.mark.usefixtures("_small_is_large")
@pytest.mark.parametrize("target", [0.8, 0.95, 0.999])
@pytest.mark.parametrize("kind", ["IVF64,SQ8", "IVF64,PQ12x4fs", "HNSW16,Flat"])
def test_a_kind_gets_the_least_effort_that_reaches_the_recall(kind: str, target: float) -> None:
    found = _chosen(IndexSettings(kind=kind, recall_target=target))
    proposer = found.proposer
    assert proposer is not None
    truth = PLAIN.search(QUERIES, 100)[1]
    assert recall_of(found.search(QUERIES, 100)[1], truth) >= target
    told = proposer.about["chosen"]
    assert told["recall"] == pytest.approx(recall_of(found.search(QUERIES, 100)[1], truth))
    assert told["kind"] == kind
    assert (told["effort"], told["over"]) == (proposer.effort, proposer.over)
    assert told["n_items"] == 6000
    assert told["ms"] > 0
    assert told["build_s"] > 0
    # It is as good on queries that it was not tried with.
    fresh = recall_of(found.search(FRESH, 100)[1], PLAIN.search(FRESH, 100)[1])
    assert fresh > target - 0.05
    lower = proposer.effort * 3 // 4
    if lower >= proposer.efforts()[0] and not proposer.is_graph:
        weaker = PLAIN.through(proposer.with_effort(lower, proposer.over))
        assert recall_of(weaker.search(QUERIES, 100)[1], truth) < target


@pytest.mark.usefixtures("_small_is_large")
def test_auto_tries_all_kinds_on_a_sample() -> None:
    found = _chosen(IndexSettings(recall_target=0.9))
    if found.proposer is None:
        return  # looking at all was quickest, as it may be for so few
    trials = found.proposer.about["trials"]
    assert [one["kind"] for one in trials] == [EXACT, *kinds(2000, 24)]
    assert all(one["recall"] >= 0.9 and one["n_items"] == 2000 for one in trials)
    assert found.proposer.about["chosen"]["recall"] >= 0.9


def _trial(kind: str, ms: float, size: float) -> Trial:
    return Trial(kind, 8, 1, 0.98, ms, size, 10_000, 1.0)


TRIALS = [
    _trial(EXACT, 1.0, 0),
    _trial("IVF400,SQ8", 0.5, 400),
    _trial("IVF400,PQ192x4fs", 0.3, 100),
    _trial("HNSW32,Flat", 0.2, 270),
]


@pytest.mark.parametrize(
    ("memory_mb", "n_items", "kind"),
    [
        (None, 1_000_000, "HNSW32,Flat"),
        (200, 1_000_000, "IVF4000,PQ192x4fs"),
        (90, 1_000_000, EXACT),
        (None, 1_000, EXACT),
    ],
)
def test_the_fastest_that_fits_is_taken(memory_mb: int | None, n_items: int, kind: str) -> None:
    tuner = _Tuner(QUERIES, IndexSettings(memory_mb=memory_mb), 0, 1)
    assert tuner.chosen(TRIALS, n_items) == kind


@pytest.mark.usefixtures("_small_is_large")
def test_a_recall_that_no_effort_reaches_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "OVERS", (1,))
    hopeless = IndexSettings(kind="IVF64,PQ2x4fs", recall_target=1.0)
    with pytest.raises(
        SettingsError, match=r"does not find 100\.0% of the nearest with any effort"
    ):
        _chosen(hopeless)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(SettingsError, match="recall_target must be in"):
        IndexSettings(recall_target=0)
    with pytest.raises(SettingsError, match="memory_mb must be at least 1"):
        IndexSettings(memory_mb=0)


def test_recall_counts_items_not_padding() -> None:
    truth = np.array([[1, 2, 3], [4, -1, -1]])
    assert recall_of(np.array([[3, 2, 9], [-1, -1, -1]]), truth) == 0.5
    assert recall_of(truth, truth) == 1.0
