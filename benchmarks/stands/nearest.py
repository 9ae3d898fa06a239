"""Ways to find the nearest vectors: twofold's own, plain FAISS used expertly, hnswlib, usearch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.harness.timing import ROUNDS, spread, timed, turns
from twofold.indexing.efforts import recall_of
from twofold.indexing.errors import MissingDependencyError
from twofold.indexing.faiss_library import faiss_module
from twofold.indexing.vectors import VectorIndex

faiss = faiss_module()
Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
K = 100
BENCH = "pip install 'twofold[bench]'"
LOST_FROM = 128  # effort from which it must help
HNSW_LINKS, HNSW_CARE = 32, 100
Centres = dict[str, tuple[Floats, float]]


@dataclass(frozen=True)
class Finder:
    """Something that finds the nearest of one query.

    Parameters
    ----------
    name
        What it is, with its settings.
    find
        Takes one query ``float32 (1, d)`` and gives `K` items, -1 at padding.
    build_s
        Seconds that it took to build.
    bytes_an_item
        Memory, the vectors included where it keeps them.
    """

    name: str
    find: Callable[[Floats], Int64s]
    build_s: float
    bytes_an_item: float


def ours(index: VectorIndex, build_s: float) -> Finder:
    """Return twofold's index."""
    kind = "exact" if index.proposer is None else index.proposer.factory
    beside = 0.0 if index.proposer is None else index.proposer.bytes_an_item
    return Finder(
        f"twofold {kind}",
        lambda query: index.search(query, K)[1][0],
        build_s,
        index.dimension * 4 + beside,
    )


@dataclass(frozen=True)
class Tuned:
    """A built library index whose one knob is turned until the recall suffices.

    Parameters
    ----------
    name
        What it is.
    with_effort
        Gives what finds with an effort.
    build_s, bytes_an_item
        As of :class:`Finder`.
    """

    name: str
    with_effort: Callable[[int], Callable[[Floats], Int64s]]
    build_s: float
    bytes_an_item: float

    def reaching(self, recall: float, queries: Floats, truth: Int64s) -> tuple[Finder, float]:
        """Return it with the least effort, in steps of about a fifth, that reaches a recall.

        Where more effort finds no more, or the greatest is too little, that one, with the recall
        that it reaches.
        """
        effort, told = 1, 0.0
        while True:
            find, before = self.with_effort(effort), told
            told = recall_of(np.stack([find(query[None]) for query in queries]), truth)
            hopeless = effort > LOST_FROM and 8 * (told - before) < recall - told
            if told >= recall or effort > 4096 or hopeless:
                name = f"{self.name}, effort {effort}"
                return Finder(name, find, self.build_s, self.bytes_an_item), told
            effort = max(effort + 1, int(effort * (1.2 if told > recall - 0.02 else 1.5)))


def faiss_by_hand(
    vectors: Floats, factory: str, threads: int, centres: Centres | None = None
) -> Iterator[Tuned]:
    """Yield plain FAISS from a factory string, as its wiki tells to use it.

    Four-bit codes come twice, with four and with eight times as many proposals ranked again.

    Parameters
    ----------
    vectors
        What to find, ``float32 (n, d)``.
    factory
        The string.
    threads
        For building.
    centres
        Of inverted files built before, with the seconds that finding them took, by the first part
        of their strings; the same file is not found twice, but its seconds count.
    """
    faiss.omp_set_num_threads(threads)
    begun, extra = time.perf_counter(), 0.0
    index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    refined = "RFlat" in factory
    inner = faiss.downcast_index(index.base_index) if refined else index
    parts: tuple[Any, ...] = (inner, getattr(inner, "pq", None))
    for part in parts:
        if hasattr(part, "cp"):
            part.cp.min_points_per_centroid = 1  # no word of it on stderr
    centres, file = {} if centres is None else centres, factory.split(",")[0]
    if file.startswith("IVF"):
        if file in centres:
            extra = centres[file][1]
        else:
            finder = faiss.index_factory(
                vectors.shape[1], f"{file},Flat", faiss.METRIC_INNER_PRODUCT
            )
            finder.cp.min_points_per_centroid = 1
            finder.train(vectors)
            found = finder.quantizer.reconstruct_n(0, finder.nlist)
            centres[file] = (found, time.perf_counter() - begun)
        inner.quantizer.add(centres[file][0])
    index.train(vectors)
    index.add(vectors)
    seconds = time.perf_counter() - begun + extra
    # Single queries are asked from here on; threads that wait for each other only slow them down.
    faiss.omp_set_num_threads(1)
    graph = factory.startswith("HNSW")
    whole = 4 * vectors.shape[1]
    # A refining index keeps the vectors beside what it searches.
    size = whole + 8 * HNSW_LINKS if graph else inner.sa_code_size() + 8
    size += whole if refined else 0

    def asking(many: float) -> Callable[[int], Callable[[Floats], Int64s]]:
        def with_effort(effort: int) -> Callable[[Floats], Int64s]:
            if graph:
                asked: Any = faiss.SearchParametersHNSW(efSearch=max(K, effort))
            else:
                asked = faiss.SearchParametersIVF(nprobe=min(effort, inner.nlist))
            if refined:
                asked = faiss.IndexRefineSearchParameters(k_factor=many, base_index_params=asked)
            return lambda query: index.search(query, K, params=asked)[1][0]

        return with_effort

    if not refined or "PQ" not in factory:
        yield Tuned(f"FAISS {factory}", asking(1.2), seconds, size)
        return
    for many in (4.0, 8.0):
        yield Tuned(f"FAISS {factory} k_factor {many:g}", asking(many), seconds, size)


def hnswlib_by_hand(vectors: Floats, threads: int) -> Tuned:
    """Return hnswlib with as many links as twofold's graphs have."""
    try:
        import hnswlib
    except ImportError as error:
        raise MissingDependencyError(f"this cell needs hnswlib: {BENCH}") from error

    begun = time.perf_counter()
    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    index.init_index(len(vectors), M=HNSW_LINKS // 2, ef_construction=HNSW_CARE)
    index.add_items(vectors, num_threads=threads)
    seconds = time.perf_counter() - begun

    def with_effort(effort: int) -> Callable[[Floats], Int64s]:
        def find(query: Floats) -> Int64s:
            index.set_ef(max(K, effort))
            return np.asarray(index.knn_query(query, K, num_threads=1)[0][0], dtype=np.int64)

        return find

    size = 4 * vectors.shape[1] + 4 * HNSW_LINKS * 1.1
    return Tuned(f"hnswlib M={HNSW_LINKS // 2}", with_effort, seconds, size)


def usearch_by_hand(vectors: Floats, threads: int) -> Tuned:
    """Return usearch in half precision, which suits it best."""
    try:
        from usearch.index import Index
    except ImportError as error:
        raise MissingDependencyError(f"this cell needs usearch: {BENCH}") from error

    begun = time.perf_counter()
    index: Any = Index(
        ndim=vectors.shape[1],
        metric="ip",
        dtype="f16",
        connectivity=HNSW_LINKS // 2,
        expansion_add=HNSW_CARE,
    )
    index.add(np.arange(len(vectors)), vectors, threads=threads)
    seconds = time.perf_counter() - begun

    def with_effort(effort: int) -> Callable[[Floats], Int64s]:
        def find(query: Floats) -> Int64s:
            index.expansion_search = max(K, effort)
            out = np.full(K, -1, dtype=np.int64)
            keys = np.asarray(index.search(query[0], K, threads=1).keys, dtype=np.int64)
            out[: len(keys)] = keys
            return out

        return find

    size = index.memory_usage / len(vectors)
    return Tuned(f"usearch f16 M={HNSW_LINKS // 2}", with_effort, seconds, size)


def rates(finders: Sequence[Finder], queries: Floats, threads: int) -> Iterator[dict[str, Any]]:
    """Yield queries a second of each finder over rounds in which all take turns.

    Parameters
    ----------
    finders
        Who finds.
    queries
        What each is asked in every round, one at a time, ``float32 (n, d)``.
    threads
        How many ask at once; libraries have one thread a query.
    """
    faiss.omp_set_num_threads(1)
    found = {str(number): finder for number, finder in enumerate(finders)}
    took = {name: np.empty(ROUNDS) for name in found}
    single = {name: np.empty((ROUNDS, len(queries))) for name in found}
    with ThreadPoolExecutor(threads) as pool:
        for number, order in turns(list(found), ROUNDS):
            for name in order:

                def ask(query: Floats, finder: Finder = found[name]) -> float:
                    begun = time.perf_counter()
                    finder.find(query[None])
                    return time.perf_counter() - begun

                # The finder before has left the caches full of its own.
                list(pool.map(ask, queries[:20]))
                begun = time.perf_counter()
                single[name][number] = list(pool.map(ask, queries))
                took[name][number] = time.perf_counter() - begun
    for name, finder in found.items():
        each, calls = len(queries) / took[name], timed(1e3 * single[name]).told()
        yield {
            "index": finder.name,
            **spread(float(np.median(each)), each).told("qps"),
            **{key: calls[key] for key in calls if not key.startswith("p95")},
            "build_s": finder.build_s,
            "bytes_per_item": finder.bytes_an_item,
            "askers": threads,
        }
