"""How an engine serves: one client, many clients, whole batches, and within a time budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from benchmarks.data.datasets import BEAUTY, MOVIELENS
from benchmarks.harness.cells import Cell, Place, Plan, Row, Suite
from benchmarks.harness.timing import Spread, in_rounds, spread, take_turns, timed
from benchmarks.stands.bare import bare_calls
from benchmarks.stands.engines import (
    ENGINE,
    longest_text,
    short_engine,
    short_overrides,
    short_settings,
)
from benchmarks.stands.loops import closed_loop
from twofold.engine import Engine

CLIENTS = 8
WARM = 4 * CLIENTS  # requests that go before
BATCHES = (1, 10, 100, 1000, 10_000)
BUDGET_MS, LOAD = 50.0, 0.7
K = 10
ASKED, PARTED = 1000, 5  # users, and which share of them is asked part by part
QUICK_ASKED, QUICK_BATCHES = 100, 3
ONE, MANY, BUDGET = "one client", f"{CLIENTS} clients", "budget"
SOURCES = (
    *ENGINE,
    "benchmarks/suites/serving.py",
    "benchmarks/stands/bare.py",
    "benchmarks/stands/loops.py",
)
Asking = Callable[[Engine, Sequence[str], Place], Row]


def _cells(plan: Plan) -> list[Cell]:
    """Return one cell a way of asking."""
    settings = short_settings(plan.data, short_overrides(plan))

    def cell(name: str, ask: Asking, *needs: str) -> Cell:
        also = {"budget_ms": BUDGET_MS, "load": LOAD} if name == BUDGET else {}
        return Cell(name, _Asked(plan, name, ask), settings, also, SOURCES, needs)

    batches = [
        cell(f"batch of {size}", _Batch(size))
        for size in BATCHES[: QUICK_BATCHES if plan.quick else None]
    ]
    return [
        cell(ONE, _one_client),
        cell(MANY, _many_clients, ONE),
        *batches,
        cell(BUDGET, _within_budget, MANY),
    ]


@dataclass(frozen=True)
class _Asked:
    """Loads an engine and asks it in one way."""

    plan: Plan
    name: str
    ask: Asking

    def __call__(self, place: Place) -> Iterator[Row]:
        plan = self.plan
        with short_engine(plan.data, short_overrides(plan), plan.progress) as engine:
            rng, known = np.random.default_rng(0), engine.user_ids
            n = QUICK_ASKED if plan.quick else ASKED
            users = [known[i] for i in rng.integers(0, len(known), n)]
            ranker = engine.stages.ranker
            yield {
                "max_item_tokens": longest_text(engine),
                "runtime": None if ranker is None else ranker.runtime.name,
                "candidates": engine.stages.rerank,
                "k": K,
                "asked": self.name,
                **self.ask(engine, users, place),
            }


def _one_client(engine: Engine, users: Sequence[str], place: Place) -> Row:
    """Return how long single requests take. None is made again: what it was made of is kept."""
    calls = {"recommend": lambda user: engine.recommend(user, K)}
    alone = timed(in_rounds(take_turns(calls, users, rounds=1)["recommend"][0]))
    rate = Spread(1e3 / alone.mean.value, 1e3 / alone.mean.high, 1e3 / alone.mean.low)
    parts = _parts(engine, users[: len(users) // PARTED])
    return {**rate.told("queries_a_second"), **alone.told(), **parts}


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


def _many_clients(engine: Engine, users: Sequence[str], place: Place) -> Row:
    """Return latency and answers a second of clients that ask again once they are answered."""

    def ask(user: str) -> object:
        return engine.recommend(user, K)

    closed_loop(ask, users[:WARM], CLIENTS)
    loop = closed_loop(ask, users, CLIENTS)
    rate, alone = loop.rate(), place.rows(ONE)[0]["queries_a_second"]
    return {
        **rate.told("queries_a_second"),
        "times_one_client": rate.value / alone,
        **loop.times().told(),
    }


@dataclass(frozen=True)
class _Batch:
    """Asks for many in one call, users repeated where there are too few."""

    size: int

    def __call__(self, engine: Engine, users: Sequence[str], place: Place) -> Row:
        known = engine.user_ids
        some = [known[i % len(known)] for i in range(self.size)]
        engine.recommend_batch(some[:10], K)
        calls = {"batch": lambda many: engine.recommend_batch(many, K)}
        rounds = 3 if self.size <= 1000 else 1
        spent = take_turns(calls, [some], rounds=rounds, warm_up=0)["batch"][:, 0] / 1e3
        best = float(spent.min())
        rate = spread(self.size / best, self.size / spent)
        return {**rate.told("queries_a_second"), "seconds": best, "rounds": rounds}


def _within_budget(engine: Engine, users: Sequence[str], place: Place) -> Row:
    """Return how requests fare that come at random times, answered or not.

    Arrivals are a Poisson process at a share of what many clients were answered; a request that
    finds no client thread free has its clock running all the same.
    """
    # The engine learns from its own calls what it has time for.
    closed_loop(lambda user: engine.recommend(user, K, budget_ms=BUDGET_MS), users[:WARM], CLIENTS)
    rate = LOAD * place.rows(MANY)[0]["queries_a_second"]
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
        "budget_ms": BUDGET_MS,
        "load": LOAD,
        "arrivals_a_second": rate,
        **timed(in_rounds(spent)).told(),
        "reranked_share": float(reranked.sum() / candidates.sum()),
        "none_reranked_share": float((reranked == 0).mean()),
    }


SERVING = Suite(
    "serving",
    "how an engine serves: one client, many, batches, and within a time budget",
    _cells,
    (MOVIELENS, BEAUTY),
)
