"""The gpu suite: it refuses without a device, and measures the same work on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import benchmarks.__main__ as face
from benchmarks.data.datasets import DataSet
from benchmarks.harness.cells import Plan
from benchmarks.harness.records import Records
from benchmarks.harness.running import Run
from benchmarks.harness.stale import standings
from benchmarks.harness.users import user_results
from benchmarks.suites import gpu, gpu_ranking
from tests.benchmarks.measuring import run_of
from twofold.indexing.text import TextEncoder, TextSettings
from twofold.indexing.vectors import VectorIndex, normalised

ON_CPU = replace(gpu.GPU, cells=partial(gpu.cells, beside="cpu"))
SEARCHED = ["exact search", "exact search, grown", "inverted file, grown"]
RANKED = ["reranking, 1 joint", "reranking, 2 joint", "fine-tuning"]
CELLS = ["embedding", *SEARCHED, *RANKED]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("nothing was to be asked or built")


@pytest.mark.parametrize(("cell", "library"), [(CELLS[0], "torch"), (CELLS[1], "faiss")])
def test_without_a_device_it_refuses_before_anything_is_built(
    small_data: DataSet,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cell: str,
    library: str,
) -> None:
    monkeypatch.setattr(gpu, "sees_cuda", lambda library: False)
    monkeypatch.setattr(face, "set_up_logging", lambda *_, **__: None)  # the whole process's
    monkeypatch.setattr(gpu, "catalogue_of", never)
    monkeypatch.setattr(gpu, "embeddings", never)
    folder = str(small_data.items.parent)
    assert face.main(["gpu", "--data", folder, "--cells", cell]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"needs a CUDA device, but {library} sees none" in said
    assert "`twofold doctor`" in said


def test_a_library_without_a_device_is_seen_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "on_gpu", lambda index, device: None)
    assert gpu.sees_cuda("torch")
    assert not gpu.sees_cuda("faiss")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu, "on_gpu", lambda index, device: index)
    assert not gpu.sees_cuda("torch")
    assert gpu.sees_cuda("faiss")


def test_cells_are_measured_on_both_sides_and_told_without_a_device(
    tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "CALLS", {1: 3, 64: 2})
    monkeypatch.setattr(gpu, "ROUNDS", 2)
    monkeypatch.setattr(gpu_ranking, "ROUNDS", 2)
    monkeypatch.setattr(gpu_ranking, "SHAPES", ((1, 20), (4, 30), (1, 61)))
    monkeypatch.setattr(gpu_ranking, "MOST_ON_CPU", 100)
    monkeypatch.setattr(gpu, "sees_cuda", never)
    assert run_of(gpu.GPU, small_data).missing() == CELLS
    assert run_of(gpu.GPU, small_data, quick=True).missing() == [*CELLS[:2], *RANKED]
    records = Records(tmp_path / "rows.jsonl")
    plan = Plan(small_data, options={"items": 300})
    rows = list(Run(ON_CPU, plan, user_results(), records).rows())
    assert list(dict.fromkeys(row["cell"] for row in rows)) == CELLS
    found = {one.cell: one.reasons for one in standings(ON_CPU, records, lambda _: small_data)}
    assert found == dict.fromkeys(CELLS, ())
    # Beside a device they are other cells.
    found = {one.cell: one.reasons for one in standings(gpu.GPU, records, lambda _: small_data)}
    assert list(found) == CELLS
    assert all(found.values())
    searched = [row for row in rows if row["cell"] in SEARCHED]
    assert {(row["index"], row["grown"], row["n_items"], row["k"]) for row in searched} == {
        *(("exact", False, 60, 60), ("exact", True, 300, 100), ("IVF69,SQ8", True, 300, 100))
    }
    own = [row for row in searched if not row["grown"]]
    assert [(row["system"], row["batch"]) for row in own] == [
        (system, batch) for batch in (1, 64) for system in ("twofold", "FAISS") * 2
    ]
    # The CPU comes first, and is not told beside itself.
    assert ["speedup_vs_cpu" in row for row in own] == [False, False, True, True] * 2
    for row in searched:
        assert (row["device"], row["search_threads"]) == ("cpu", 1)
        assert row["device_name"] == row["hardware"]["cpu"]
        if row["index"] == "exact":
            assert row["recall"] == 1.0
        else:
            assert 0.95 < row["recall"] <= 1.0  # tuned for .98
        assert row["rounds"] == 2
        assert row["calls"] == {1: 6, 64: 4}[row["batch"]]
        # As many queries a second as the calls of a batch say.
        assert 0.3 < row["qps"] * row["p50_ms"] / (1e3 * row["batch"]) < 3
    for name, joint in zip(RANKED, (1, 2), strict=False):
        ranked = [row for row in rows if row["cell"] == name]
        # No list is longer than the catalogue, and the processor is not asked for the longest.
        told = [(row["runtime"], row["users"], row["candidates"]) for row in ranked]
        assert told == [("bfloat16", 1, 20), ("near", 1, 20), ("near", 4, 30)]
        for row in ranked:
            assert row["joint_layers"] == joint
            pairs = row["users"] * row["candidates"]
            assert 0.3 < row["candidates_per_s"] * row["p50_ms"] / (1e3 * pairs) < 3
        for row in ranked[1:]:
            assert row["share_of_peak"] == pytest.approx(
                row["candidates_per_s"]
                * row["operations_a_candidate"]
                / row["matrix_tflops"]
                / 1e12
            )
            # The text model speaks, and in half precision says nearly the same.
            assert 0 < row["largest_error"] < 0.05
            assert row["same_top10"] >= 0.9
    cpu, beside = (row for row in rows if row["cell"] == "fine-tuning")
    assert cpu["speedup_vs_cpu"] == 1
    assert beside["speedup_vs_cpu"] == cpu["epoch_seconds"] / beside["epoch_seconds"]
    assert cpu["ndcg10"] == beside["ndcg10"] > 0


def test_embeddings_are_told_beside_the_cpu(
    tiny_sentence_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TextSettings(model=str(tiny_sentence_model), device="cuda")
    texts = ["a ship", "the sea at night", "a storm", "harbour"]
    asked: list[Sequence[str]] = []
    plain = TextEncoder.encode_documents

    def noted(encoder: TextEncoder, given: Sequence[str]) -> Any:
        asked.append(given)
        return plain(encoder, given)

    monkeypatch.setattr(TextEncoder, "encode_documents", noted)
    cpu, same, half = gpu.embeddings(texts, settings, "cpu", 2)
    assert asked == [texts] * 9  # three encoders, warmed up and then two rounds
    assert [one["dtype"] for one in (cpu, same, half)] == ["float32", "float32", "float16"]
    assert {one["n_texts"] for one in (cpu, same, half)} == {4}
    assert cpu["mean_characters"] == pytest.approx(np.mean([len(text) for text in texts]))
    assert "speedup_vs_cpu" not in cpu
    assert (same["largest_difference"], same["lowest_cosine"]) == (0, pytest.approx(1))
    assert 0 < half["largest_difference"] < 0.01
    assert 0.999 < half["lowest_cosine"] <= half["mean_cosine"] < 1
    # In float16 by the settings it is not measured twice.
    rows = list(gpu.embeddings(texts, replace(settings, dtype="float16"), "cpu", 1))
    assert [row["dtype"] for row in rows] == ["float16", "float16"]


def test_rates_are_of_whole_rounds() -> None:
    told = gpu._rate("qps", 10, np.array([[100.0, 300.0], [50.0, 50.0], [100.0, 100.0]]))
    assert told["qps"] == pytest.approx(100)  # 50, 200 and 100 a second
    assert gpu._worth(np.full((2, 3), 8.0), np.full((2, 3), 2.0))["speedup_vs_cpu"] == 4


def test_agreement_of_known_vectors() -> None:
    a = np.array([[1, 0], [0, 1]], dtype=np.float32)
    b = np.array([[0.5, np.sqrt(0.75)], [0, 2]], dtype=np.float32)
    told = gpu.agreement(a, b)
    assert told["largest_difference"] == pytest.approx(1)  # 2 for 1
    assert told["lowest_cosine"] == pytest.approx(0.5)
    assert told["mean_cosine"] == pytest.approx(0.75)


def test_recall_of_known_lists() -> None:
    alike = [0.8, 0.6]
    vectors = np.array([[1, 0], alike, alike, [0, 1], alike], dtype=np.float32)
    queries = np.array([[1, 0]], dtype=np.float32)
    least = gpu.kth_best(vectors, queries, 2)
    assert least == pytest.approx([0.8])

    def recall(*items: int) -> float:
        return gpu.recall_above(vectors, queries, np.array([items]), least)

    assert recall(0, 1) == recall(0, 2) == 1  # equal vectors stand for each other
    assert recall(0, 3) == 0.5
    assert recall(0, 0) == 0.5  # twice the same
    assert recall(0, -1) == 0.5  # padding is no item


def test_the_kth_best_is_found_piece_by_piece() -> None:
    rng = np.random.default_rng(0)
    vectors = normalised(rng.standard_normal((57, 8)))
    queries = normalised(rng.standard_normal((5, 8)))
    expected = np.sort(queries.astype(float) @ vectors.astype(float).T, axis=1)[:, -7]
    np.testing.assert_allclose(gpu.kth_best(vectors, queries, 7, chunk=5), expected, rtol=1e-12)


def test_a_search_that_misses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors = normalised(rng.standard_normal((200, 8)))
    index = VectorIndex.build(vectors, device="cpu")
    monkeypatch.setattr(gpu, "CALLS", {4: 1})
    worse = VectorIndex.build(normalised(rng.standard_normal((200, 8))), device="cpu").flat
    moved = iter([None, worse])
    monkeypatch.setattr(gpu, "gpu_search", lambda flat, proposer, device: next(moved))
    rows = list(gpu.searches(index, vectors[:3], "cpu", 1))
    told = [(row["system"], row["recall"] == 1) for row in rows]
    assert told == [("twofold", True), ("FAISS", True), ("twofold", True), ("FAISS", False)]
    assert {row["recall_queries"] for row in rows} == {3}
