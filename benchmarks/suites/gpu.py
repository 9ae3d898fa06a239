"""What a CUDA device is worth beside the CPU: the same work on both, in turns, on the same inputs.

Texts are embedded, vectors searched, lists reranked and a ranker fine-tuned as the engine does it.
Without a device the suite refuses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.data.catalogues import catalogue_of, held_out_queries
from benchmarks.data.datasets import BEAUTY, MOVIELENS
from benchmarks.harness.cells import Cell, Option, Place, Plan, Row, Suite
from benchmarks.harness.timing import ROUNDS, Floats, ratio, spread, take_turns, timed
from benchmarks.stands.floor import device_bandwidth
from benchmarks.suites.gpu_ranking import ranking_cells
from twofold.evaluation.hardware import cpu_model, usable_cores
from twofold.indexing.errors import InputError
from twofold.indexing.faiss_library import faiss_module, threads_for
from twofold.indexing.gpu import gpu_search, on_gpu
from twofold.indexing.text import TextEncoder, TextSettings
from twofold.indexing.vectors import VectorIndex
from twofold.settings import Settings

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
Find = Callable[[Float32s], Int64s]
Beside = Literal["cpu", "cuda"]
K, GROWN = 100, 1_000_000
CALLS = {1: 20, 64: 4, 1024: 1, 10_000: 1}  # in a round, by the number of queries at once
MOST_ON_CPU = 1_100_000_000  # products of a query and an item that a processor is asked for at once
CELLS_A_ROOT = 4  # cells of an inverted file, for each item in the square root
N_TEXTS, QUICK_TEXTS, QUICK_ROUNDS = 1024, 32, 2
SAMPLE = 50  # queries that recall is told on
TOLERANCE = 1e-6  # ten times what float32 loses on unit vectors
CHUNK = 50_000
SOURCES = (
    *("indexing", "benchmarks/suites/gpu.py", "benchmarks/harness/timing.py"),
    *("evaluation/latency.py", "twofold/embedding.py"),
)
SEARCHED = ("retrieval", "benchmarks/data/catalogues.py", "benchmarks/data/grown.py")


def cells(plan: Plan, beside: Beside = "cuda") -> list[Cell]:
    """Return the cells: texts, the catalogue as it is, and a grown one where all is asked.

    Parameters
    ----------
    plan
        The plan.
    beside
        What is measured beside the CPU. The CPU itself needs no device, and is worth nothing.
    """
    # All vectors are looked at: no other index has to be tuned first.
    settings, also = plan.settings("index.kind=exact"), {"beside": beside}
    sources = (*SOURCES, *SEARCHED)
    n_items = int(plan.options["items"])
    own, grown = (_Searched(plan, beside, n, settings) for n in (None, n_items))
    n_cells = round(CELLS_A_ROOT * math.sqrt(n_items))
    filed = plan.settings(f"index.kind=IVF{n_cells},SQ8")
    out = [
        Cell("embedding", _Embedded(plan, beside), plan.settings(), also, SOURCES),
        Cell("exact search", own, settings, also, sources),
    ]
    if not plan.quick:
        out.append(Cell("exact search, grown", grown, settings, also, sources))
        file = replace(grown, settings=filed)
        out.append(Cell("inverted file, grown", file, filed, also, sources))
    return [*out, *ranking_cells(plan, beside, require_cuda)]


def sees_cuda(library: str) -> bool:
    """Return whether ``torch`` or ``faiss`` sees a CUDA device."""
    if library == "torch":
        return torch.cuda.is_available()
    return on_gpu(faiss_module().IndexFlatIP(1), "auto") is not None


def require_cuda(library: str) -> None:
    """Refuse to measure where a library sees no CUDA device.

    Raises
    ------
    InputError
        If ``torch`` or ``faiss`` sees none.
    """
    if not sees_cuda(library):
        raise InputError(
            f"the suite gpu needs a CUDA device, but {library} sees none; run it on a machine that "
            f"has one, with a {library} built for CUDA; `twofold doctor` tells what is missing here"
        )


@dataclass(frozen=True)
class _Embedded:
    """Embeds texts of the data set, drawn by chance."""

    plan: Plan
    beside: Beside

    def __call__(self, place: Place) -> Iterator[Row]:
        if self.beside == "cuda":
            require_cuda("torch")
        plan = self.plan
        n, rounds = (QUICK_TEXTS, QUICK_ROUNDS) if plan.quick else (N_TEXTS, ROUNDS)
        texts = sorted({text for text in plan.dataset.texts if text.strip()})
        some = np.random.default_rng(plan.settings().seed).permutation(len(texts))[:n]
        yield from embeddings(
            [texts[one] for one in some], plan.settings().text, self.beside, rounds
        )


@dataclass(frozen=True)
class _Searched:
    """Searches a catalogue as it is, or one grown to so many items, as settings say."""

    plan: Plan
    beside: Beside
    n_items: int | None
    settings: Settings

    def __call__(self, place: Place) -> Iterator[Row]:
        if self.beside == "cuda":
            require_cuda("faiss")
        plan, settings = self.plan, self.settings
        catalogue = catalogue_of(plan.data, settings, self.n_items, plan.progress)
        threads = settings.threads or usable_cores()
        with _faiss_threads(threads):
            rounds = QUICK_ROUNDS if plan.quick else ROUNDS
            queries = held_out_queries(catalogue)
            rows = list(searches(catalogue.index, queries, self.beside, rounds))
        about = {
            "grown": self.n_items is not None,
            "search_threads": threads,
            "index": settings.index.kind,
        }
        for row in rows:
            yield {**about, **row}


def embeddings(
    texts: Sequence[str], settings: TextSettings, beside: Beside, rounds: int
) -> Iterator[Row]:
    """Yield texts a second of the text encoder, on the CPU first, and how far vectors agree.

    Beside the CPU it computes in the precision of the settings, and in float16.

    Parameters
    ----------
    texts
        What is embedded in every round, distinct and not empty.
    settings
        Of the encoder; its device is not read.
    beside
        The other device.
    rounds
        How often.
    """
    encoders = _encoders(settings, beside)
    vectors: dict[str, Float32s] = {}

    def embedding(name: str) -> Callable[[Sequence[str]], None]:
        def embed(asked: Sequence[str]) -> None:
            vectors[name] = encoders[name][1].encode_documents(asked)

        return embed

    calls = {name: embedding(name) for name in encoders}
    spent = take_turns(calls, [texts], rounds=rounds, warm_up=1)
    first = next(iter(encoders))
    for name, (device, encoder) in encoders.items():
        yield {
            **_device(device),
            "dtype": encoder.identity["dtype"],
            "n_texts": len(texts),
            "mean_characters": float(np.mean([len(text) for text in texts])),
            **_rate("texts_per_s", len(texts), spent[name]),
            **({} if name == first else _worth(spent[first], spent[name])),
            **({} if name == first else agreement(vectors[first], vectors[name])),
        }


def _encoders(settings: TextSettings, beside: Beside) -> dict[str, tuple[Beside, TextEncoder]]:
    """Return encoders with their devices: the CPU's, the other's, and the other's in float16."""
    plain = TextEncoder.load(replace(settings, device="cpu"))
    other = TextEncoder.load(replace(settings, device=beside))
    out: dict[str, tuple[Beside, TextEncoder]] = {"cpu": ("cpu", plain), "beside": (beside, other)}
    if other.identity["dtype"] != "float16":
        half = replace(settings, device=beside, dtype="float16")
        out["beside in float16"] = (beside, TextEncoder.load(half))
    return out


def agreement(reference: Float32s, others: Float32s) -> dict[str, float]:
    """Return how far vectors agree with others of the same texts.

    Parameters
    ----------
    reference, others
        ``float32 (n, d)``, no row all zero.

    Returns
    -------
    dict
        ``largest_difference`` of any two numbers, and ``mean_cosine`` and ``lowest_cosine`` of the
        rows, in -1..1.
    """
    a, b = reference.astype(np.float64), others.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = np.einsum("nd,nd->n", a, b) / lengths
    return {
        "largest_difference": float(np.abs(a - b).max()),
        "mean_cosine": float(cosines.mean()),
        "lowest_cosine": float(cosines.min()),
    }


def searches(index: VectorIndex, queries: Float32s, beside: Beside, rounds: int) -> Iterator[Row]:
    """Yield queries a second of twofold's search and of plain FAISS, on both devices.

    Batches of 1 to 10,000 queries; where there are fewer, they come again. Recall is told beside
    numpy in double precision. Where all vectors are looked at for one query, the bytes of all of
    them over the time are told as a share of the device's bandwidth.

    Parameters
    ----------
    index
        Unit vectors, searched exactly or through an inverted file.
    queries
        What is asked, ``float32 (n, d)``, at least one.
    beside
        The other device.
    rounds
        How often.
    """
    k = min(K, len(index))
    sample, vectors = queries[:SAMPLE], index.vectors
    least = kth_best(vectors, sample, k)
    finders = _finders(index, beside, k)
    bandwidth = device_bandwidth() if beside == "cuda" and index.proposer is None else None
    recalls = {
        name: recall_above(vectors, sample, find(sample), least)
        for name, (_, _, find) in finders.items()
    }
    for batch, n_calls in CALLS.items():
        asked = [
            queries.take(range(start, start + batch), axis=0, mode="wrap")
            for start in range(0, n_calls * batch, batch)
        ]
        few = beside == "cpu" or batch * len(index) <= MOST_ON_CPU
        calls = {
            name: find for name, (_, device, find) in finders.items() if few or device != "cpu"
        }
        spent = take_turns(calls, asked, rounds=rounds, warm_up=1)
        for name in calls:
            system, device, _ = finders[name]
            first = f"{system}, cpu"
            yield {
                "system": system,
                **_device(device),
                "n_items": len(index),
                "dim": index.dimension,
                "k": k,
                "batch": batch,
                **_rate("qps", batch, spent[name]),
                **timed(spent[name]).told(),
                **({} if name == first or not few else _worth(spent[first], spent[name])),
                **_moved(vectors.nbytes, bandwidth if batch == 1 else None, device, spent[name]),
                "recall": recalls[name],
                "recall_queries": len(sample),
            }


def _moved(
    n_bytes: int, bandwidth: float | None, device: Beside, spent: Floats
) -> dict[str, float]:
    """Return the bytes of all vectors over the median time, beside what the device can."""
    if bandwidth is None or device == "cpu":
        return {}
    rate = n_bytes / (float(np.median(spent)) / 1e3)
    return {"bandwidth_gb_s": bandwidth / 1e9, "share_of_bandwidth": rate / bandwidth}


def _finders(index: VectorIndex, beside: Beside, k: int) -> Mapping[str, tuple[str, Beside, Find]]:
    """Return what finds `k` items, with its system and device, by name; each CPU's first."""
    proposer = index.proposer
    out: dict[str, tuple[str, Beside, Find]] = {}
    sides: tuple[tuple[str, Beside], ...] = (("cpu", "cpu"), ("beside", beside))
    for side, device in sides:
        own = VectorIndex(index.flat, device, proposer)
        out[f"twofold, {side}"] = "twofold", device, _ours(own, k)
        theirs: Any = gpu_search(index.flat, proposer, device) or proposer or index.flat
        out[f"FAISS, {side}"] = "FAISS", device, _plain(theirs, k)
    return out


def _ours(index: VectorIndex, k: int) -> Find:
    return lambda queries: index.search(queries, k)[1]


def _plain(index: Any, k: int) -> Find:
    def find(queries: Float32s) -> Int64s:
        with threads_for(len(queries)):
            return np.asarray(index.search(queries, k)[1])

    return find


def kth_best(vectors: Float32s, queries: Float32s, k: int, *, chunk: int = CHUNK) -> Floats:
    """Return each query's `k`-th best inner product by looking at all, ``float64 (n,)``.

    Parameters
    ----------
    vectors
        ``float32 (n_items, d)``, at least `k`.
    queries
        ``float32 (n, d)``.
    k
        Which, from 1.
    chunk
        How many vectors are looked at together.
    """
    wide = queries.astype(np.float64)
    best = np.full((len(queries), k), -np.inf)
    for start in range(0, len(vectors), chunk):
        scores = wide @ vectors[start : start + chunk].astype(np.float64).T
        best = np.partition(np.concatenate([best, scores], axis=1), -k, axis=1)[:, -k:]
    return np.asarray(best.min(axis=1))


def recall_above(vectors: Float32s, queries: Float32s, found: Int64s, least: Floats) -> float:
    """Return the share of places that hold an item as good as the last of the true list, 0..1.

    So items with equal scores stand for each other, and one that comes twice counts once.

    Parameters
    ----------
    vectors
        ``float32 (n_items, d)``.
    queries
        ``float32 (n, d)``.
    found
        Item numbers, ``int64 (n, k)``; -1 at padding.
    least
        What :func:`kth_best` gives for the same k, ``float64 (n,)``.
    """
    good = 0
    for query, items, floor in zip(queries, found, least, strict=True):
        distinct = np.unique(items[items >= 0])
        scores = vectors[distinct].astype(np.float64) @ query.astype(np.float64)
        good += int((scores >= floor - TOLERANCE).sum())
    return good / found.size


def _rate(name: str, n: int, spent: Floats) -> dict[str, float]:
    """Return how many a second, of calls that do `n` each and took milliseconds."""
    each = 1e3 * n / spent.mean(axis=1)
    return spread(float(np.median(each)), each).told(name)


def _worth(cpu: Floats, beside: Floats) -> dict[str, float]:
    return ratio(cpu, beside).told("speedup_vs_cpu")


def _device(device: Beside) -> dict[str, str]:
    name = cpu_model() if device == "cpu" else torch.cuda.get_device_name(device)
    return {"device": device, "device_name": name}


@contextmanager
def _faiss_threads(n: int) -> Iterator[None]:
    """Let FAISS search batches on `n` cores inside a ``with`` block."""
    faiss = faiss_module()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(n)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


GPU = Suite(
    "gpu",
    "what a CUDA device is worth beside the CPU: texts embedded, vectors searched, lists reranked",
    cells,
    (MOVIELENS, BEAUTY),
    (Option("items", GROWN, "grow the larger catalogue to so many", int),),
)
