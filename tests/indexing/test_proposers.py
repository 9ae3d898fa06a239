"""Structures that propose: what they find is scored exactly, saved whole, and never too little."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.indexing import structures
from twofold.indexing import vectors as module
from twofold.indexing.artefact import begin_generation, open_artefact
from twofold.indexing.efforts import recall_of
from twofold.indexing.errors import ArtefactError, SettingsError
from twofold.indexing.faiss_library import faiss_module
from twofold.indexing.inner_products import products
from twofold.indexing.item_set import ItemSet
from twofold.indexing.proposers import Proposer
from twofold.indexing.vectors import MARGIN, VectorIndex, normalised

Floats = npt.NDArray[np.float32]
KINDS = (
    "IVF32,Flat",
    "IVF32,SQ8",
    "IVF32,PQ12x4fs",
    "IVF32,PQ12x4fsr",
    "HNSW16,Flat",
    "HNSW16,SQ8",
)
# Seen: .93, .93, .90, .93, 1.0, 1.0.
FLOORS = {
    "IVF32,Flat": 0.88,
    "IVF32,SQ8": 0.88,
    "IVF32,PQ12x4fs": 0.85,
    "IVF32,PQ12x4fsr": 0.88,
}


def clustered(n: int, seed: int = 0, d: int = 24) -> Floats:
    """Vectors around a few dozen centres, as texts have them."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((40, d))
    near = centres[rng.integers(0, 40, n)] + 0.6 * rng.standard_normal((n, d))
    return normalised(near)


VECTORS, QUERIES = clustered(4000), clustered(50, seed=1)
PLAIN = VectorIndex.build(VECTORS, device="cpu")


def _through(kind: str, effort: int = 8, over: int = 4) -> VectorIndex:
    made = Proposer.build(VECTORS, kind, flat=PLAIN.flat).with_effort(effort, over)
    return PLAIN.through(made)


BUILT = {kind: _through(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_most_of_the_nearest_are_found_and_scored_exactly(kind: str) -> None:
    scores, items = BUILT[kind].search(QUERIES, 20)
    truth = PLAIN.search(QUERIES, 20)[1]
    assert recall_of(items, truth) >= FLOORS.get(kind, 0.97)
    rows = np.arange(len(QUERIES))[:, None]
    np.testing.assert_array_equal(scores, products(QUERIES, VECTORS)[rows, items])
    assert (np.diff(scores, axis=1) <= 0).all()
    for row in items:
        assert len(set(row)) == 20


@pytest.mark.parametrize("kind", KINDS)
def test_of_more_proposals_the_best_by_whole_vectors_are_given(kind: str) -> None:
    proposer = BUILT[kind].proposer
    assert proposer is not None
    wide = proposer.with_effort(8, 1).search(QUERIES, 80 + MARGIN)[1]
    scores, items = PLAIN.through(proposer.with_effort(8, 4)).search(QUERIES, 20)
    for query, some, best, told in zip(QUERIES, wide, items, scores, strict=True):
        some = np.sort(some[some >= 0])
        exact = products(query[None], VECTORS[some])[0]
        order = np.argsort(-exact, kind="stable")[:20]
        np.testing.assert_array_equal(best, some[order])
        np.testing.assert_array_equal(told, exact[order])


@pytest.mark.parametrize("kind", KINDS)
def test_proposals_are_of_the_set_that_is_asked_for(kind: str) -> None:
    proposer, few = BUILT[kind].proposer, ItemSet(np.arange(len(VECTORS)) < 30)
    assert proposer is not None
    found = proposer.with_effort(32, 4).search(QUERIES, 40, few)[1]
    assert set(found.ravel()) <= {-1, *range(30)}
    assert (found >= 0).any()


@pytest.mark.parametrize("kind", KINDS)
def test_more_effort_finds_more(kind: str) -> None:
    truth = PLAIN.search(QUERIES, 50)[1]
    proposer = BUILT[kind].proposer
    assert proposer is not None
    told = [
        recall_of(PLAIN.through(proposer.with_effort(effort, 4)).search(QUERIES, 50)[1], truth)
        for effort in (1, 4, 32)
    ]
    assert told == sorted(told)
    assert told[-1] > 0.97
    assert proposer.efforts() == sorted(set(proposer.efforts()))


@settings(deadline=None, max_examples=25)
@given(
    kind=st.sampled_from(KINDS),
    share=st.sampled_from([0.0, 0.001, 0.01, 0.1, 0.6]),
    k=st.sampled_from([1, 30, 400]),
    seed=st.integers(0, 50),
)
def test_among_some_items_k_come_where_k_are(kind: str, share: float, k: int, seed: int) -> None:
    among = ItemSet(np.random.default_rng(seed).random(len(VECTORS)) < share)
    for scanned in (0, 10_000):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(module, "SCANNED_SET", scanned)
            scores, items = BUILT[kind].search(QUERIES[:5], k, among=among)
        found = (items >= 0).sum(axis=1)
        assert (found == min(k, len(among))).all()
        assert among.mask[items[items >= 0]].all()
        assert np.isneginf(scores[items < 0]).all()
        if scanned:
            truth = PLAIN.search(QUERIES[:5], k, among=among)
            np.testing.assert_array_equal(items, truth[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_is_searched_with_more_effort(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCANNED_SET", 0)
    among = ItemSet(np.random.default_rng(3).random(len(VECTORS)) < 0.05)
    truth = PLAIN.search(QUERIES, 20, among=among)[1]
    assert recall_of(BUILT[kind].search(QUERIES, 20, among=among)[1], truth) >= FLOORS.get(
        kind, 0.97
    )


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_opened_it_finds_the_same(kind: str, tmp_path: Path) -> None:
    built = BUILT[kind]
    with begin_generation(tmp_path) as writer:
        built.save(writer)
        writer.commit({})
    opened = VectorIndex.open(open_artefact(tmp_path), device="cpu")
    for one, other in zip(opened.search(QUERIES, 9), built.search(QUERIES, 9), strict=True):
        np.testing.assert_array_equal(one, other)
    assert opened.proposer is not None
    assert built.proposer is not None
    assert opened.proposer.factory == kind
    assert opened.proposer.bytes_an_item == built.proposer.bytes_an_item
    # A graph over whole vectors is written without them.
    on_disk = sum(one.stat().st_size for one in tmp_path.rglob("*proposer.faiss"))
    assert 0.95 < on_disk / (opened.proposer.bytes_an_item * len(VECTORS)) < 1.3


def test_many_cells_are_found_by_codes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = BUILT["IVF32,PQ12x4fsr"]
    monkeypatch.setattr(structures, "MANY_CENTRES", 32 * 24)
    quick = _through("IVF32,PQ12x4fsr")
    assert plain.proposer is not None
    assert quick.proposer is not None
    faiss = faiss_module()
    files = (plain.proposer.index, quick.proposer.index)
    kinds = [type(faiss.downcast_index(one.quantizer)) for one in files]
    assert kinds == [faiss.IndexFlat, faiss.IndexRefine]
    # Whole centres decide among four times the cells that are visited: here among all.
    for one, other in zip(quick.search(QUERIES, 20), plain.search(QUERIES, 20), strict=True):
        np.testing.assert_array_equal(one, other)
    assert quick.proposer.bytes_an_item == plain.proposer.bytes_an_item
    with begin_generation(tmp_path) as writer:
        quick.save(writer)
        writer.commit({})
    del quick
    gc.collect()
    opened = VectorIndex.open(open_artefact(tmp_path), device="cpu")
    for one, other in zip(opened.search(QUERIES, 20), plain.search(QUERIES, 20), strict=True):
        np.testing.assert_array_equal(one, other)
    assert opened.proposer is not None
    cells = opened.proposer.cells()
    assert cells is not None
    np.testing.assert_array_equal(cells, plain.proposer.cells())


def test_a_graph_over_whole_vectors_outlives_its_maker() -> None:
    vectors = clustered(500)
    index = VectorIndex.build(vectors, device="cpu")
    through = index.through(Proposer.build(vectors, "HNSW8,Flat", flat=index.flat))
    before = through.search(QUERIES, 5)
    proposer = through.proposer
    del index, through
    gc.collect()
    assert proposer is not None
    again = VectorIndex.build(vectors, device="cpu").through(proposer)
    for one, other in zip(before, again.search(QUERIES, 5), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_interpreter_ends_in_silence() -> None:
    program = """
import numpy as np
from twofold.indexing.proposers import Proposer
from twofold.indexing.vectors import MARGIN, VectorIndex, normalised
vectors = normalised(np.random.default_rng(0).standard_normal((2000, 24)))
index = VectorIndex.build(vectors, device="cpu")
kept = [Proposer.build(vectors, kind, flat=index.flat)
        for kind in ("IVF8,PQ12x4fs", "HNSW8,Flat", "HNSW8,SQ8", "IVF8,SQ8")]
for one in kept:
    index.through(one.with_effort(2, 3)).search(vectors[:2], 5)
again = [one.with_effort(2, 3) for one in kept]
index.through(again[0]).search(vectors[:2], 5)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not ended.stderr


def test_a_forked_process_looks_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    index = _through("IVF32,SQ8", effort=1, over=1)
    monkeypatch.setattr(index, "_process", -1)
    for one, other in zip(index.search(QUERIES, 9), PLAIN.search(QUERIES, 9), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("fast", "must be auto, exact, or a FAISS factory string .* such as IVF1024,SQ8"),
        ("PQ8", "must be auto, exact"),
        ("IVF16,Nothing", "index.kind 'IVF16,Nothing': "),
        ("IVF16,PQ7x4fs", "index.kind 'IVF16,PQ7x4fs': "),
        ("IVF9000,SQ8", "index.kind 'IVF9000,SQ8': "),
    ],
)
def test_kinds_that_cannot_be_are_refused(kind: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Proposer.build(VECTORS, kind, flat=PLAIN.flat)


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    for name, spoil in (("cut", True), ("foreign", False)):
        with begin_generation(tmp_path / name) as writer:
            BUILT["IVF32,SQ8"].save(writer)
            path = writer.path("faiss-proposer.faiss")
            if spoil:
                path.write_bytes(path.read_bytes()[:500])
            else:
                other = VectorIndex.build(clustered(300), device="cpu")
                other.save(writer)
            generation = writer.commit({})
        with pytest.raises(ArtefactError, match="not a whole FAISS" if spoil else "other vectors"):
            VectorIndex.open(generation, device="cpu")
