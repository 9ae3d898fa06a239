"""Stage one at scale: its indexes beside other libraries, whole queries, filters and batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from benchmarks.data.catalogues import SEEDS, Catalogue, catalogue_of, held_out_queries
from benchmarks.data.datasets import DataSet
from benchmarks.stands.bare import bare_calls
from benchmarks.stands.engines import short_artefact
from benchmarks.stands.nearest import (
    Centres,
    Finder,
    K,
    Tuned,
    faiss_by_hand,
    hnswlib_by_hand,
    ours,
    rates,
    usearch_by_hand,
)
from benchmarks.suites import retrieval_slices as slices
from twofold.engine import Engine
from twofold.evaluation.hardware import (
    describe_hardware,
    library_versions,
    source_commit,
    usable_cores,
)
from twofold.evaluation.latency import Latency, measure
from twofold.indexing.efforts import recall_of
from twofold.indexing.item_set import ItemSet
from twofold.indexing.progress import Progress
from twofold.learning import learn
from twofold.retrieval.fusion import Fusion
from twofold.retrieval.queries import Queries, queries_of_users
from twofold.retrieval.retriever import Retriever
from twofold.retrieval.stage_one import fit_stage_one
from twofold.settings import load_settings

CELLS = (
    *("index", "faiss", "hnswlib", "usearch", "stage-one", "filters", "batch", "recall"),
    *slices.CELLS,
)
DEPTHS = (100, 200)
N_QUERIES, N_USERS = 500, 300  # of the first, the index's recall is told on as many as there are
SMALL = 200_000  # items up to which the whole grid is built
SHARES = (0.001, 0.01, 0.1, 0.5)


def measure_retrieval(
    data: DataSet,
    overrides: tuple[str, ...],
    *,
    n_items: int | None,
    cells: Sequence[str],
    progress: Progress,
) -> Iterator[dict[str, Any]]:
    """Yield one record a finished measurement.

    Parameters
    ----------
    data
        The data set.
    overrides
        Settings beside its own.
    n_items
        Grow the catalogue to so many items; ``None`` takes it as it is.
    cells
        Which of `CELLS`.
    progress
        Told of every step.
    """
    settings = load_settings(None, (*data.settings, *overrides))
    catalogue = catalogue_of(data, settings, n_items, progress)
    about = {
        "suite": "retrieval",
        "dataset": data.name,
        "grown": n_items is not None,
        "n_items": len(catalogue.exact),
        "dim": catalogue.exact.dimension,
        "device": catalogue.index.device,
        "k": K,
        "hardware": describe_hardware(threads=usable_cores()),
        "versions": library_versions(),
        "commit": source_commit(),
    }
    queries = held_out_queries(catalogue)
    served = cache(lambda: _served(catalogue, progress))

    def built() -> Path:
        return short_artefact(data, (*overrides, "ranker.train=false"), progress)

    measured: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "index": lambda: _index(catalogue),
        "stage-one": lambda: _stage_one(catalogue, *served()),
        "filters": lambda: _filters(*served()),
        "batch": lambda: _batch(catalogue, *served(), built if n_items is None else None),
        "recall": lambda: _recall(catalogue, progress),
        "slices": lambda: slices.slices(catalogue, progress),
        "diversity": lambda: slices.diversity(catalogue, progress),
        "cold-items": lambda: slices.cold_items(catalogue, progress),
    }
    for cell in cells:
        rows = measured[cell]() if cell in measured else _beside(catalogue, cell, queries, progress)
        for row in rows:
            yield {**about, "cell": cell, **row}


def _index(catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    """Yield what was tried on the sample, and what was chosen."""
    proposer = catalogue.index.proposer
    if proposer is None:
        yield {"index": "exact"}
        return
    about = proposer.about
    spent = {name: about[name] for name in ("choosing_s", "building_s")}
    spent["tuned_s"] = sum(spent.values())
    for trial in (*about["trials"], about["chosen"]):
        chosen = trial is about["chosen"]
        yield {
            "index": trial["kind"],
            "effort": trial["effort"],
            "over": trial["over"],
            "recall": trial["recall"],
            "lowest": trial["lowest"],
            "p50_ms": trial["ms"],
            "bytes_per_item": trial["bytes_an_item"] + 4 * catalogue.exact.dimension,
            "tried_on": trial["n_items"],
            "chosen": chosen,
            "build_s": trial["build_s"],
            "curve": trial["curve"],
            **(spent if chosen else {}),
        }


def _beside(
    catalogue: Catalogue, peer: str, queries: npt.NDArray[np.float32], progress: Progress
) -> Iterator[dict[str, Any]]:
    """Yield twofold's index and a peer's in turns, at the same recall.

    Ours was tuned on other queries, and its recall is told on all of these. Peers are tuned on the
    very ones that they are timed with, until they find as much as ours does on them.
    """
    # Mapped from a FAISS file they stand at odd addresses, which not every library takes.
    vectors, threads = np.require(catalogue.exact.vectors, requirements=["C", "A"]), usable_cores()
    truth = catalogue.exact.search(queries, K)[1]
    proposer = catalogue.index.proposer
    own = ours(catalogue.index, 0.0 if proposer is None else proposer.about["building_s"])
    found = catalogue.index.search(queries, K)[1]
    told = {own.name: recall_of(found, truth)}
    asked, truth = queries[:N_QUERIES], truth[:N_QUERIES]
    target = max(catalogue.settings.index.recall_target, recall_of(found[:N_QUERIES], truth))
    finders: list[Finder] = [own]
    with progress.step(f"Building {peer}"):
        for one in _peers(peer, vectors, threads):
            finder, recall = one.reaching(target, asked, truth)
            finders.append(finder)
            told[finder.name] = recall
    for n_threads in (1, 2):
        rows = list(rates(finders, asked, n_threads))
        for row in rows:
            yield {
                **row,
                "peer": row["index"] != own.name,
                "recall": told[row["index"]],
                "held_out": len(queries) if row["index"] == own.name else len(asked),
                "reached": told[row["index"]] >= target,
                "ours_over_this": rows[0]["qps"] / row["qps"],
            }


def _peers(peer: str, vectors: npt.NDArray[np.float32], threads: int) -> Iterator[Tuned]:
    if peer == "hnswlib":
        yield hnswlib_by_hand(vectors, threads)
    elif peer == "usearch":
        yield usearch_by_hand(vectors, threads)
    else:
        centres: Centres = {}
        for kind in _grid(*vectors.shape):
            yield from faiss_by_hand(vectors, kind, threads, centres)


def _grid(n_items: int, dimension: int) -> Iterator[str]:
    """Yield what somebody who knows FAISS would try, less of it where a build takes minutes."""
    codes = f"PQ{dimension // 2}x4fs"
    small = n_items <= SMALL
    for cells in (4, 8) if small else (4,):
        for kind in ("SQ8", codes):
            yield f"IVF{int(cells * n_items**0.5)},{kind},RFlat"
    if small:
        yield f"IVF{int(4 * n_items**0.5)},Flat"
        yield "HNSW32,Flat"


def _served(catalogue: Catalogue, progress: Progress) -> tuple[Retriever, Queries]:
    """Return stage one over the catalogue, and users to ask for."""
    settings = catalogue.settings
    fitted = fit_stage_one(
        catalogue.log,
        catalogue.index,
        settings.stage_one,
        has_times=True,
        search=settings.index,
        seed=settings.seed,
        threads=usable_cores(),
        progress=progress,
    )
    served = fitted.retriever(Fusion("zscore", (1.0,) * len(fitted.sources())))
    known = np.unique(catalogue.log.users)
    users = np.random.default_rng(SEEDS["queries"]).permutation(known)[:N_USERS]
    asked = queries_of_users(catalogue.log, users, max_history=settings.stage_one.max_history)
    return served, asked


def _alone(queries: Queries) -> list[Queries]:
    return [queries.take(np.array([number])) for number in range(len(queries))]


def _stage_one(
    catalogue: Catalogue, served: Retriever, queries: Queries
) -> Iterator[dict[str, Any]]:
    """Yield the time of whole queries beside the library calls that they rest on."""
    asked = _alone(queries)
    calls = bare_calls(served.sources)
    whole = measure(lambda one: served.retrieve(one, K), asked)
    # One thread each, which suits single queries best.
    with threadpool_limits(1):
        bare = np.median([[call(one, K) for call in calls.values()] for one in asked], axis=0)
    parts = dict(zip(calls, (1e3 * bare).tolist(), strict=True))
    factors = _factor_index(served)
    yield {
        **_ms(whole),
        "raw_ms": sum(parts.values()),
        "raw_parts_ms": parts,
        "ratio_vs_raw": whole.p50 / sum(parts.values()),
        "index": "exact" if catalogue.index.proposer is None else catalogue.index.proposer.factory,
        "factors": "exact" if factors is None else factors,
    }


def _factor_index(served: Retriever) -> str | None:
    for source in served.sources:
        factors = getattr(source, "factors", None)
        if factors is not None and factors.index.proposer is not None:
            return str(factors.index.proposer.factory)
    return None


def _filters(served: Retriever, queries: Queries) -> Iterator[dict[str, Any]]:
    """Yield the time of queries limited to a random share of the items."""
    free = measure(lambda one: served.retrieve(one, K, least=K), _alone(queries))
    yield {"share": 1.0, **_ms(free)}
    rng = np.random.default_rng(SEEDS["filters"])
    for share in SHARES:
        some = ItemSet(rng.random(queries.n_items) < share)
        limited = replace(queries, eligible=(some,) * len(queries))
        found = served.retrieve(limited, K, least=K)
        there = [min(K, len(limited.admission.open(row))) for row in range(len(limited))]
        took = measure(lambda one: served.retrieve(one, K, least=K), _alone(limited))
        yield {
            "share": share,
            "n_eligible": len(some),
            "all_k_came": bool((found.lengths() == there).all()),
            **_ms(took),
            "p99_ratio": took.p99 / free.p99,
        }


def _batch(
    catalogue: Catalogue,
    served: Retriever,
    queries: Queries,
    artefact: Callable[[], Path] | None,
) -> Iterator[dict[str, Any]]:
    """Yield users a second, one by one and all at once: of stage one, and of an engine's calls."""
    single = measure(lambda one: served.retrieve(one, K), _alone(queries))
    known = np.unique(catalogue.log.users)[:25_000]
    history = catalogue.settings.stage_one.max_history
    everyone = queries_of_users(catalogue.log, known, max_history=history)
    served.retrieve(everyone.take(np.arange(min(300, len(known)))), K)
    begun = time.perf_counter()
    served.retrieve(everyone, K, threads=usable_cores())
    seconds = time.perf_counter() - begun
    yield {
        "users": len(known),
        "qps": len(known) / seconds,
        "single_qps": 1e3 / single.mean,
        "times_single": len(known) / seconds * single.mean / 1e3,
    }
    if artefact is None:
        return
    with Engine.load(artefact(), runtime="float32") as engine:
        rng = np.random.default_rng(SEEDS["queries"])
        some = [engine.user_ids[user] for user in rng.permutation(len(engine.user_ids))[:N_USERS]]
        calls = measure(lambda user: engine.retrieve(user, K), some)
        engine.retrieve_batch(some, K)
        begun = time.perf_counter()
        told = engine.retrieve_batch(None, K)
        seconds = time.perf_counter() - begun
        yield {
            "system": "engine",
            "users": told["user_id"].n_unique(),
            "qps": len(engine.user_ids) / seconds,
            "single_qps": 1e3 / calls.mean,
            "times_single": len(engine.user_ids) / seconds * calls.mean / 1e3,
        }


def _recall(catalogue: Catalogue, progress: Progress) -> Iterator[dict[str, Any]]:
    """Yield the share of held-out labels among the candidates, and what each source adds.

    The fusion is learned on labels before those. Nothing is held out of a grown catalogue.
    """
    if catalogue.held is None:
        return
    settings = catalogue.settings
    plain = replace(settings, ranker=replace(settings.ranker, train=False))
    learned = learn(catalogue.dataset, catalogue.log, catalogue.index, plain, progress)
    served = learned.stage_one.retriever(learned.fusion)
    users, history = np.unique(catalogue.held.users), settings.stage_one.max_history
    queries = queries_of_users(catalogue.log, users, max_history=history)
    wanted = sp.csr_matrix(
        (np.ones(len(catalogue.held), dtype=bool), (catalogue.held.users, catalogue.held.items)),
        shape=(catalogue.log.n_users, catalogue.log.n_items),
    )[users]
    found = served.retrieve(queries, max(DEPTHS), progress=progress)
    rows = np.arange(len(users))[:, None]
    hits = np.asarray(wanted[rows, np.maximum(found.items, 0)].todense()) & (found.items >= 0)
    for depth in DEPTHS:
        yield {
            "system": "fused",
            "method": learned.fusion.method,
            "depth": depth,
            "recall": float(hits[:, :depth].sum() / wanted.nnz),
        }
    if found.sources is None:
        return
    for bit, name in enumerate(source.name for source in served.sources):
        own = hits & (found.sources >> np.uint32(bit) & 1 > 0)
        alone = hits & (found.sources == np.uint32(1 << bit))
        yield {
            "system": name,
            "depth": max(DEPTHS),
            "recall": float(own.sum() / wanted.nnz),
            "only_it": float(alone.sum() / wanted.nnz),
        }


def _ms(latency: Latency) -> dict[str, float]:
    return {f"{name}_ms": value for name, value in latency.percentiles().items()}
