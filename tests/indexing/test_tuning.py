"""An index is chosen by trying: recall is reached, memory kept, small catalogues are exact."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.indexing.test_proposers import clustered
from twofold.indexing import efforts, tuning
from twofold.indexing.efforts import recall_of
from twofold.indexing.errors import SettingsError
from twofold.indexing.progress import Silent
from twofold.indexing.tuning import EXACT, IndexSettings, Trial, _Tuner, kinds, with_proposer
from twofold.indexing.vectors import VectorIndex

VECTORS, QUERIES = clustered(6000), clustered(400, seed=1)
FRESH = clustered(400, seed=2)
PLAIN = VectorIndex.build(VECTORS, device="cpu")
TRUTH = PLAIN.search(FRESH, 100)[1]


@pytest.fixture
def _small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "WORTHWHILE", 1000)
    monkeypatch.setattr(tuning, "SAMPLE", 2000)
    monkeypatch.setattr(tuning, "SAMPLE_ASKED", 100)
    monkeypatch.setattr(efforts, "RACE_TIMED", 20)


def _chosen(settings: IndexSettings) -> VectorIndex:
    return with_proposer(PLAIN, QUERIES, settings, progress=Silent())


def test_small_catalogues_are_looked_at_whole() -> None:
    assert _chosen(IndexSettings()) is PLAIN


@pytest.mark.usefixtures("_small_is_large")
def test_exact_is_exact_and_nothing_to_ask_is_exact() -> None:
    assert _chosen(IndexSettings(kind=EXACT)) is PLAIN
    assert with_proposer(PLAIN, QUERIES[:0], IndexSettings(), progress=Silent()) is PLAIN


@pytest.mark.usefixtures("_small_is_large")
@pytest.mark.parametrize("target", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("kind", ["IVF64,SQ8", "IVF64,PQ12x4fsr", "HNSW16,Flat"])
def test_a_kind_gets_the_effort_that_reaches_the_recall_on_other_queries(
    kind: str, target: float
) -> None:
    found = _chosen(IndexSettings(kind=kind, recall_target=target))
    proposer = found.proposer
    assert proposer is not None
    assert recall_of(found.search(FRESH, 100)[1], TRUTH) >= target
    told = proposer.about["chosen"]
    assert told["recall"] >= target
    assert told["lowest"] <= told["recall"]
    assert told["kind"] == kind
    assert (told["effort"], told["over"]) == (proposer.effort, proposer.over)
    assert told["n_items"] == 6000
    assert told["ms"] > 0
    assert told["build_s"] > 0
    assert proposer.about["building_s"] >= told["build_s"]


@pytest.mark.usefixtures("_small_is_large")
@pytest.mark.parametrize("sample", [2000, 6000])
def test_auto_tries_all_kinds_on_a_sample_or_on_all(
    monkeypatch: pytest.MonkeyPatch, sample: int
) -> None:
    monkeypatch.setattr(tuning, "SAMPLE", sample)
    monkeypatch.setattr(tuning, "median_ms", lambda *_: 1e9)  # looking at all is never chosen
    built = _watched(monkeypatch)
    found = _chosen(IndexSettings(recall_target=0.9))
    assert found.proposer is not None
    about = found.proposer.about
    tried, chosen = about["trials"], about["chosen"]
    assert chosen["n_items"] == 6000
    assert recall_of(found.search(FRESH, 100)[1], TRUTH) >= 0.9
    on_sample = [one["kind"] for one in tried if one["n_items"] == sample]
    if sample == 2000:
        assert on_sample == [EXACT, *kinds(2000, 24)]
        # Its own cells and the other code over them were built over all items.
        (other,) = (one for one in tried if one["n_items"] == 6000)
        assert {other["kind"], chosen["kind"]} in (
            {"IVF309,SQ8", "IVF309,PQ12x4fsr"},
            {"IVF619,SQ8", "IVF619,PQ12x4fsr"},
        )
    else:
        assert {*on_sample, chosen["kind"]} == {EXACT, *kinds(6000, 24)}
        assert built == list(kinds(6000, 24))  # each once


def _watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    built: list[str] = []
    make = _Tuner._built

    def watched(tuner: _Tuner, index: VectorIndex, name: str, cells: dict[str, object]) -> object:
        built.append(name)
        return make(tuner, index, name, cells)  # type: ignore[arg-type]

    monkeypatch.setattr(_Tuner, "_built", watched)
    return built


@pytest.mark.usefixtures("_small_is_large")
@pytest.mark.parametrize("quickest", ["IVF309,SQ8", "IVF309,PQ12x4fsr"])
def test_of_those_built_over_all_items_the_faster_is_taken(
    monkeypatch: pytest.MonkeyPatch, quickest: str
) -> None:
    def planted(indexes: Sequence[VectorIndex], _: object) -> list[float]:
        names = [one.proposer.factory for one in indexes if one.proposer is not None]
        # On the sample a code over few cells is the quickest; over all items it may be another.
        return [
            {quickest: 1.0, "IVF178,SQ8": 2.0, "HNSW32,Flat": 3.0}.get(name, 4.0) for name in names
        ]

    monkeypatch.setattr(tuning, "raced", planted)
    monkeypatch.setattr(tuning, "median_ms", lambda *_: 1e9)
    found = _chosen(IndexSettings(recall_target=0.9))
    assert found.proposer is not None
    assert found.proposer.factory == quickest
    assert found.proposer.about["chosen"]["ms"] == 1.0


def _trial(kind: str, ms: float, size: float) -> Trial:
    return Trial(kind, 8, 1, 0.98, 0.98, ms, size, 10_000, 1.0)


TRIALS = [
    _trial(EXACT, 1.0, 0),
    _trial("IVF400,SQ8", 0.5, 400),
    _trial("IVF400,PQ192x4fsr", 0.3, 100),
    _trial("IVF800,PQ192x4fsr", 0.4, 100),
    _trial("HNSW32,Flat", 0.2, 270),
]


@pytest.mark.parametrize(
    ("memory_mb", "n_items", "names"),
    [
        (None, 1_000_000, ["HNSW32,Flat"]),
        (500, 1_000_000, ["HNSW32,Flat"]),
        (200, 1_000_000, ["IVF4000,PQ192x4fsr"]),
        (90, 1_000_000, [EXACT]),
        (None, 1_000, [EXACT]),
    ],
)
def test_the_fastest_that_fits_is_taken(
    memory_mb: int | None, n_items: int, names: list[str]
) -> None:
    tuner = _Tuner(IndexSettings(memory_mb=memory_mb), 0, 1)
    assert tuner.finalists(TRIALS, n_items) == names


def test_the_other_code_over_the_same_cells_is_built_too() -> None:
    tuner = _Tuner(IndexSettings(), 0, 1)
    assert tuner.finalists(TRIALS[:4], 1_000_000) == ["IVF4000,PQ192x4fsr", "IVF4000,SQ8"]
    assert tuner.finalists(TRIALS[:4], 10_000) == ["IVF400,PQ192x4fsr"]
    faster = [*TRIALS[:3], _trial("IVF800,SQ8", 0.1, 400)]
    assert tuner.finalists(faster, 1_000_000) == ["IVF8000,SQ8"]


@pytest.mark.usefixtures("_small_is_large")
def test_a_recall_that_no_effort_reaches_is_refused() -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(efforts, "OVERS", (1,))
        hopeless = IndexSettings(kind="IVF64,PQ2x4fs", recall_target=1.0)
        with pytest.raises(
            SettingsError, match=r"does not surely find 100\.0% of the nearest with any effort"
        ):
            _chosen(hopeless)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(SettingsError, match="recall_target must be in"):
        IndexSettings(recall_target=0)
    with pytest.raises(SettingsError, match="memory_mb must be at least 1"):
        IndexSettings(memory_mb=0)
