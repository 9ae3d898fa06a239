"""The vector index: exact search, whatever the batch, the ties and the length of lists."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.indexing.artefact import begin_generation, open_artefact
from twofold.indexing.errors import ArtefactError, InputError, MissingDependencyError
from twofold.indexing.faiss_library import faiss_module, threads_for
from twofold.indexing.inner_products import products
from twofold.indexing.item_set import ItemSet
from twofold.indexing.proposers import Proposer
from twofold.indexing.vectors import FILE, VectorIndex, normalised

Float32s = npt.NDArray[np.float32]


@pytest.fixture(scope="module", autouse=True, params=["by bytes first", "by FAISS"])
def looked_at(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test runs twice: few vectors are looked at by their bytes first, more by FAISS."""
    with pytest.MonkeyPatch.context() as patched:
        if request.param == "by FAISS":
            patched.setattr("twofold.indexing.vectors.MOST_ROUNDED", -1)
        yield


def unit(n: int, d: int = 16, seed: int = 0) -> Float32s:
    return normalised(np.random.default_rng(seed).normal(size=(n, d)))


def textbook(vectors: Float32s, queries: Float32s, k: int) -> tuple[Any, Any]:
    exact = np.einsum("qd,nd->qn", queries.astype(np.float64), vectors.astype(np.float64))
    order = np.lexsort((np.broadcast_to(np.arange(len(vectors)), exact.shape), -exact))[:, :k]
    return np.take_along_axis(exact, order, axis=1), order


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 200), st.integers(0, 40), st.integers(1, 60), st.integers(0, 10_000))
def test_agrees_with_numpy(n_items: int, n: int, k: int, seed: int) -> None:
    vectors, queries = unit(n_items, seed=seed), unit(n, seed=seed + 1)
    scores, items = VectorIndex.build(vectors, device="cpu").search(queries, k)
    expected, _ = textbook(vectors, queries, k)
    shown = min(k, n_items)
    assert scores.shape == items.shape == (n, k)
    assert scores.dtype == np.float32
    assert items.dtype == np.int64
    # Float32 cannot tell scores apart that differ by less; what it chose must score as high.
    exact = np.einsum("qkd,qd->qk", vectors[items[:, :shown]], queries)
    np.testing.assert_allclose(exact, expected, atol=1e-6)
    assert all(len(set(row)) == shown for row in items[:, :shown].tolist())
    np.testing.assert_allclose(scores[:, :shown], expected, atol=1e-6)
    assert (items[:, shown:] == -1).all()
    assert np.isneginf(scores[:, shown:]).all()


@pytest.mark.parametrize("k", [7, 45, 300])
def test_ties_stand_in_order_of_item_numbers(k: int) -> None:
    # Two hundred copies of five vectors: far more ties than any margin holds.
    index = VectorIndex.build(np.tile(unit(5), (200, 1)), device="cpu")
    _, items = index.search(unit(5)[:1], k)
    np.testing.assert_array_equal(items[0, : min(k, 200)], np.arange(0, 1000, 5)[:k])


def test_a_query_without_words_ties_with_everything() -> None:
    scores, items = VectorIndex.build(unit(100), device="cpu").search(np.zeros((1, 16), "f4"), 5)
    np.testing.assert_array_equal(items, [[0, 1, 2, 3, 4]])
    np.testing.assert_array_equal(scores, 0)


def test_a_result_does_not_depend_on_the_batch() -> None:
    index, queries = VectorIndex.build(unit(500, d=17), device="cpu"), unit(64, d=17, seed=1)
    scores, items = index.search(queries, 10)
    for row in range(64):
        alone, alone_items = index.search(queries[row : row + 1], 10)
        np.testing.assert_array_equal(alone[0], scores[row])
        np.testing.assert_array_equal(alone_items[0], items[row])


def test_threads_may_share_it() -> None:
    index, queries = VectorIndex.build(unit(300), device="cpu"), unit(32, seed=1)
    expected = index.search(queries, 10)[1]
    with ThreadPoolExecutor(16) as pool:
        found = pool.map(lambda row: index.search(queries[row : row + 1], 10)[1][0], range(32))
        np.testing.assert_array_equal(np.array(list(found)), expected)


FORKED = """
import os, sys
import numpy as np
from tests.indexing.test_vectors import unit
from twofold.indexing.vectors import VectorIndex
index, queries = VectorIndex.build(np.tile(unit(400), (2, 1)), device="cpu"), unit(50, seed=1)
expected = index.search(queries, 10)
child = os.fork()
if child == 0:
    found = index.search(queries, 10)
    os._exit(0 if all((a == b).all() for a, b in zip(found, expected)) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_threads_of_faiss_stay_as_they_were() -> None:
    faiss = faiss_module()
    before, seen = faiss.omp_get_max_threads(), []
    for n in (1, 2):
        with threads_for(n):
            seen.append(faiss.omp_get_max_threads())
    assert seen == [1, before]
    with pytest.raises(RuntimeError), threads_for(1):
        raise RuntimeError
    assert faiss.omp_get_max_threads() == before


def test_a_forked_process_finds_the_same() -> None:
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=60, cwd=root)


def test_saved_and_opened_it_answers_the_same(tmp_path: Path) -> None:
    built = VectorIndex.build(unit(50), device="cpu")
    with begin_generation(tmp_path) as writer:
        built.save(writer)
        writer.commit({})
    opened = VectorIndex.open(open_artefact(tmp_path), device="cpu")
    assert len(opened) == 50
    assert opened.dimension == 16
    assert opened.device == "cpu"
    for one, other in zip(opened.search(unit(3), 9), built.search(unit(3), 9), strict=True):
        np.testing.assert_array_equal(one, other)
    vectors = opened.vectors
    assert FILE in Path("/proc/self/maps").read_text()
    del opened
    gc.collect()
    np.testing.assert_array_equal(vectors, unit(50))  # the view keeps its index alive
    with pytest.raises(ValueError, match="read-only"):
        vectors[0] = 0


@given(
    share=st.sampled_from([0.0, 0.02, 0.08, 0.2, 0.7, 1.0]),
    k=st.sampled_from([1, 10, 60]),
    seed=st.integers(0, 200),
)
def test_among_some_items_it_agrees_with_numpy(share: float, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = normalised(rng.standard_normal((300, 16)))
    vectors[::5] = vectors[3]  # ties
    index = VectorIndex.build(vectors, device="cpu")
    among, queries = ItemSet(rng.random(300) < share), unit(4)
    scores, items = index.search(queries, k, among=among)
    exact = np.where(among.mask, products(queries, vectors), -np.inf)
    order = np.argsort(-exact, axis=1, kind="stable")[:, :k]
    wanted = np.take_along_axis(exact, order, axis=1)
    np.testing.assert_array_equal(scores, wanted)
    np.testing.assert_array_equal(items, np.where(np.isneginf(wanted), -1, order))


def test_among_some_items_a_forked_process_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    index = VectorIndex.build(unit(200), device="cpu")
    among = ItemSet(np.arange(200) % 3 > 0)
    here = index.search(unit(5), 20, among=among)
    monkeypatch.setattr(index, "_process", -1)
    for one, other in zip(here, index.search(unit(5), 20, among=among), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_set_of_items_in_all_its_forms() -> None:
    mask = np.random.default_rng(1).random(61) < 0.4
    some = ItemSet(mask)
    assert len(some) == mask.sum()
    np.testing.assert_array_equal(some.items, np.flatnonzero(mask))
    np.testing.assert_array_equal(np.unpackbits(some.bits, bitorder="little")[:61], mask)
    fewer = some.without(some.items[:2])
    np.testing.assert_array_equal(fewer.items, some.items[2:])
    assert len(some) == mask.sum()
    with pytest.raises(InputError, match="bool"):
        ItemSet(np.arange(3))  # type: ignore[arg-type]


def test_no_items() -> None:
    scores, items = VectorIndex.build(np.zeros((0, 4), "f4")).search(np.zeros((2, 4), "f4"), 3)
    assert (items == -1).all()
    assert np.isneginf(scores).all()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    with begin_generation(tmp_path) as writer:
        writer.path(FILE).write_bytes(b"not an index")
        generation = writer.commit({})
    with pytest.raises(ArtefactError, match="not a whole FAISS index"):
        VectorIndex.open(generation)


def test_an_index_of_another_kind_is_refused(tmp_path: Path) -> None:
    import faiss

    with begin_generation(tmp_path) as writer:
        faiss.write_index(faiss.IndexFlatL2(4), str(writer.path(FILE)))
        generation = writer.commit({})
    with pytest.raises(ArtefactError, match="not a flat inner-product index"):
        VectorIndex.open(generation)


@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [
        (np.zeros((1, 3), "f4"), 1, "built with dimension 16"),
        (np.zeros(16, "f4"), 1, "built with dimension 16"),
        (np.full((1, 16), np.nan, "f4"), 1, "finite"),
        (np.zeros((1, 16), "f4"), 0, "at least 1"),
    ],
)
def test_queries_that_cannot_be_answered(queries: Float32s, k: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        VectorIndex.build(unit(5)).search(queries, k)


@pytest.mark.parametrize("vectors", [unit(3) * 2, np.full((2, 4), np.nan, "f4"), unit(3)[0]])
def test_vectors_that_cannot_be_indexed(vectors: Float32s) -> None:
    with pytest.raises(InputError):
        VectorIndex.build(vectors)


def test_a_gpu_that_is_not_there() -> None:
    import faiss

    if "GPU" in faiss.get_compile_options().split() and faiss.get_num_gpus():
        assert VectorIndex.build(unit(5), device="cuda").device == "cuda"
    else:
        with pytest.raises(MissingDependencyError, match="sees no GPU"):
            VectorIndex.build(unit(5), device="cuda")


def test_normalised_keeps_zeros_and_refuses_nan() -> None:
    expected = np.array([[0.6, 0.8], [0.0, 0.0]])
    np.testing.assert_allclose(normalised(np.array([[3.0, 4.0], [0, 0]])), expected, atol=1e-7)
    with pytest.raises(InputError, match="finite"):
        normalised(np.array([[np.nan, 1.0]]))


def _changed(rng: np.random.Generator, n: int, more: int, changed: int) -> tuple[Any, Any, Any]:
    """Return vectors, the same with some changed and more behind, and which those are."""
    before = unit(n, seed=int(rng.integers(1000)))
    after = np.concatenate([before, unit(more, seed=int(rng.integers(1000)))])
    which = rng.choice(n, changed, replace=False)
    after[which] = unit(changed, seed=int(rng.integers(1000)))
    return before, after, np.concatenate([which, np.arange(n, n + more)])


@pytest.mark.parametrize("kind", ["exact", "IVF8,Flat", "HNSW8,Flat"])
@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize(("n", "more", "changed"), [(600, 40, 0), (600, 0, 50), (600, 300, 200)])
def test_changed_vectors_are_found_as_if_it_had_been_built_of_them(
    kind: str, filtered: bool, n: int, more: int, changed: int
) -> None:
    rng = np.random.default_rng(0)
    before, after, which = _changed(rng, n, more, changed)
    index = VectorIndex.build(before, device="cpu")
    if kind != "exact":
        made = Proposer.build(before, kind, flat=index.flat)
        # So much effort that the structure misses nothing either.
        index = index.through(made.with_effort(n, 4))
    live = index.with_vectors(after, which[: len(which) // 2])
    live = live.with_vectors(after, which[len(which) // 2 :])
    whole = VectorIndex.build(after, device="cpu")
    queries = np.concatenate([unit(20, seed=5), after[-3:], after[which[:3]]])
    among = ItemSet(rng.random(len(after)) < 0.6) if filtered else None
    for k in (1, 10, n):
        scores, items = live.search(queries, k, among=among)
        wanted_scores, wanted = whole.search(queries, k, among=among)
        np.testing.assert_array_equal(items, wanted)
        np.testing.assert_array_equal(scores, wanted_scores)
    # What was there before is searched as before.
    np.testing.assert_array_equal(index.vectors, before)
    np.testing.assert_array_equal(
        index.search(queries, 5)[1], VectorIndex.build(before, device="cpu").search(queries, 5)[1]
    )


def test_ties_across_what_was_built_and_what_came_are_by_number() -> None:
    base = np.tile(unit(5), (20, 1))
    after = np.concatenate([base, base])
    live = VectorIndex.build(base, device="cpu").with_vectors(after, np.arange(100, 200))
    after = after.copy()
    after[50] = after[3]
    live = live.with_vectors(after, np.array([50]))
    for k in (4, 30, 60):
        _, items = live.search(unit(5)[3:4], k)
        wanted = np.flatnonzero((after == unit(5)[3]).all(axis=1))
        np.testing.assert_array_equal(items[0, : min(k, len(wanted))], wanted[:k])


def test_an_index_may_begin_empty_and_one_with_changes_is_not_saved(tmp_path: Path) -> None:
    vectors = unit(30)
    live = VectorIndex.build(vectors[:0], device="cpu").with_vectors(vectors, np.arange(30))
    _, wanted = VectorIndex.build(vectors, device="cpu").search(vectors, 3)
    np.testing.assert_array_equal(live.search(vectors, 3)[1], wanted)
    assert len(live) == 30
    with begin_generation(tmp_path / "a") as writer:
        with pytest.raises(InputError, match="build one of them"):
            live.save(writer)
        VectorIndex.build(vectors).save(writer)
        writer.commit({})


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let a copy in main memory stand for one on a GPU; return what was copied."""
    from twofold.indexing import gpu

    told: list[Any] = []

    def on_gpu(index: Any, device: str) -> Any:
        if device == "cpu":
            return None
        told.append(index)
        return faiss_module().clone_index(index)

    monkeypatch.setattr(gpu, "on_gpu", on_gpu)
    return told


@pytest.mark.parametrize(
    ("kind", "there"),
    [("IVF16,Flat", True), ("IVF16,SQ8", True), ("IVF16,PQ8x4fs", False), ("HNSW8,Flat", False)],
)
def test_inverted_files_are_searched_on_a_gpu_and_all_is_looked_at_for_others(
    kind: str, there: bool, copied: list[Any]
) -> None:
    vectors = unit(800)
    if not there:
        # More alike than are proposed: only who looks at all can tell which come first.
        vectors[::9] = vectors[0]
    plain = VectorIndex.build(vectors, device="cpu")
    made = Proposer.build(vectors, kind, flat=plain.flat).with_effort(5, 4)
    index = VectorIndex(plain.flat, "cuda", made)
    assert [type(one) for one in copied] == [type(made.index if there else plain.flat)]
    assert index.device == "cuda"
    queries = unit(40, seed=7)
    found_scores, found = index.search(queries, 10)
    _, exact = plain.search(queries, 10)
    if not there:
        # What it is not sure of it looks at itself.
        np.testing.assert_array_equal(found, exact)
        alike = index.search(vectors[:1], 10)[1][0]
        np.testing.assert_array_equal(alike, np.arange(0, 90, 9))
        return
    # As many cells are visited, and as many ranked again, as in main memory.
    scores, wanted = plain.through(made).search(queries, 10)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(found_scores, scores)
    assert 0 < (found != exact).mean() < 0.6
    more = VectorIndex(plain.flat, "cuda", made.with_effort(16, 8))
    np.testing.assert_array_equal(more.search(queries, 10)[1], exact)
    # Back to looking at all, there or in main memory.
    assert [index.through(None).device, index.on_cpu().device] == ["cuda", "cpu"]
    np.testing.assert_array_equal(index.through(None).search(queries, 10)[1], exact)
