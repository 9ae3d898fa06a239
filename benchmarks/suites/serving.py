"""How an engine serves: one client, many clients, whole batches, and within a time budget."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.data.datasets import DataSet
from benchmarks.stands.bare import bare_calls
from benchmarks.stands.engines import circumstances, short_engine
from twofold.engine import Engine
from twofold.evaluation.latency import Latency, measure
from twofold.indexing.progress import Progress

CLIENTS = 8
BATCHES = (1, 10, 100, 1000, 10_000)
BUDGET_MS, LOAD = 50.0, 0.7
K = 10
SOME = 200


def measure_serving(
    data: DataSet, overrides: tuple[str, ...], *, quick: bool, progress: Progress
) -> Iterator[dict[str, Any]]:
    """Yield one record a way of asking.

    Parameters
    ----------
    data
        The data set.
    overrides
        Settings beside its own.
    quick
        Whether to ask less.
    progress
        Told of every step.
    """
    n = 200 if quick else 1000
    with short_engine(data, overrides, progress) as engine:
        ranker = engine.stages.ranker
        about = {
            **circumstances("serving", data, engine),
            "runtime": None if ranker is None else ranker.runtime.name,
            "candidates": engine.stages.rerank,
            "k": K,
        }
        rng = np.random.default_rng(0)
        users = [engine.user_ids[i] for i in rng.integers(0, len(engine.user_ids), n)]
        with progress.step("One client"):
            alone = measure(lambda user: engine.recommend(user, K), users)
        yield {
            **about,
            "asked": "one client",
            "queries_a_second": 1e3 / alone.mean,
            **_ms(alone),
            **_parts(engine, users[:SOME]),
        }
        with progress.step(f"{CLIENTS} clients"):
            together, rate = _closed_loop(engine, users)
        yield {
            **about,
            "asked": f"{CLIENTS} clients",
            "queries_a_second": rate,
            "times_one_client": rate * alone.mean / 1e3,
            **_ms(together),
        }
        for size in BATCHES[: 4 if quick else None]:
            with progress.step(f"A batch of {size:,}"):
                yield {**about, "asked": f"batch of {size}", **_batch(engine, size)}
        with progress.step(f"Within {BUDGET_MS:.0f} ms at {LOAD:.0%} of capacity"):
            found = _open_loop(engine, users, LOAD * rate)
        yield {**about, "asked": "budget", "budget_ms": BUDGET_MS, "load": LOAD, **found}


def _parts(engine: Engine, users: Sequence[str]) -> dict[str, float]:
    """Return what a request could not do without, in milliseconds: medians over users.

    Reranking, and stage one's bare library calls: scipy's product of a history with a relation, a
    view at a time, FAISS's search for a text profile, and implicit's recommendation to a user that
    is folded in.
    """
    numbers = {user: number for number, user in enumerate(engine.user_ids)}
    stages, spent = engine.stages, []
    calls = bare_calls(stages.retriever.sources).values()
    for user in users:
        asked = engine.histories.take(np.array([numbers[user]]))
        served = stages.retriever.retrieve(asked, stages.rerank)
        begun = time.perf_counter()
        if stages.ranker is not None:
            stages.ranker.logits(asked, served)
        middle = time.perf_counter()
        bare = sum(call(asked, stages.retriever.per_source) for call in calls)
        spent.append((middle - begun, bare))
    reranking, bare = 1e3 * np.median(np.array(spent), axis=0)
    bound = float(reranking + 1.3 * bare + 2.0)
    return {"rerank_ms": float(reranking), "bare_calls_ms": float(bare), "bound_ms": bound}


def _closed_loop(engine: Engine, users: Sequence[str]) -> tuple[Latency, float]:
    """Return latency and answers a second of clients that ask again once they are answered."""

    def ask(user: str) -> float:
        begun = time.perf_counter()
        engine.recommend(user, K)
        return 1e3 * (time.perf_counter() - begun)

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask, users[: 4 * CLIENTS]))
        begun = time.perf_counter()
        spent = list(pool.map(ask, users))
        seconds = time.perf_counter() - begun
    return Latency.of(np.array(spent)), len(users) / seconds


def _batch(engine: Engine, size: int) -> dict[str, float]:
    """Return users a second of one call for many, users repeated where there are too few."""
    known = engine.user_ids
    users = [known[i % len(known)] for i in range(size)]
    engine.recommend_batch(users[:10], K)
    best = float("inf")
    for _ in range(3 if size <= 1000 else 1):
        begun = time.perf_counter()
        engine.recommend_batch(users, K)
        best = min(best, time.perf_counter() - begun)
    return {"queries_a_second": size / best, "seconds": best}


def _open_loop(engine: Engine, users: Sequence[str], rate: float) -> dict[str, float]:
    """Return how requests fare that come at random times, answered or not.

    Arrivals are a Poisson process; a request that finds no client thread free has its clock running
    all the same.
    """
    gaps = np.random.default_rng(1).exponential(1.0 / rate, len(users))
    arrivals = np.cumsum(gaps)
    start = time.perf_counter() + 0.05

    def ask(number: int) -> tuple[float, int, int]:
        due = start + arrivals[number]
        left = BUDGET_MS - 1e3 * (time.perf_counter() - due)
        found = engine.recommend(users[number], K, budget_ms=max(left, 1e-3))
        return 1e3 * (time.perf_counter() - due), found.reranked, found.candidates

    with ThreadPoolExecutor(CLIENTS) as pool:
        asked = []
        for number in range(len(users)):
            time.sleep(max(0.0, start + arrivals[number] - time.perf_counter()))
            asked.append(pool.submit(ask, number))
        spent, reranked, candidates = np.array([one.result() for one in asked]).T
    return {
        "arrivals_a_second": rate,
        **_ms(Latency.of(spent)),
        "reranked_share": float(reranked.sum() / candidates.sum()),
        "none_reranked_share": float((reranked == 0).mean()),
    }


def _ms(latency: Latency) -> dict[str, float]:
    return {f"{name}_ms": value for name, value in latency.percentiles().items()}
