"""A long time under load: every answer is checked, and memory must stop growing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from benchmarks.data.datasets import MOVIELENS
from benchmarks.harness.cells import Cell, Option, Place, Plan, Row, Suite
from benchmarks.harness.memory import allocated_mb, resident_mb
from benchmarks.stands.engines import (
    ENGINE,
    longest_text,
    short_engine,
    short_overrides,
    short_settings,
)
from twofold.engine import Engine

CLIENTS, USERS, K = 16, 400, 10
QUICK_USERS, QUICK_MINUTES = 40, 0.1
# So small that histories push each other out all the time.
CACHE_MB = 2
CLOSE, STORED_CLOSE = 1e-3, 0.1
SAMPLED_EVERY = 2.0
SOURCES = (*ENGINE, "benchmarks/suites/soak.py")


def _cells(plan: Plan) -> list[Cell]:
    overrides = short_overrides(plan, f"ranker.history_cache_mb={CACHE_MB}")
    settings = short_settings(plan.data, overrides)
    return [Cell("soak", _Soaked(plan, overrides), settings, sources=SOURCES)]


@dataclass(frozen=True)
class Expected:
    """What one user must be answered: the scores of all candidates."""

    user: str
    scores: dict[str, float]

    def wrong(self, engine: Engine) -> bool:
        """Ask the engine, and say whether its answer is another than it must be."""
        found = engine.recommend(self.user, K)
        best = sorted(self.scores.values(), reverse=True)[:K]
        told = [one.score for one in found]
        if len(told) != len(best) or not np.allclose(told, best, atol=CLOSE):
            return True
        return any(abs(self.scores[one.item_id] - one.score) > CLOSE for one in found)


@dataclass(frozen=True)
class _Soaked:
    """Counts requests and wrong answers, and tells memory over time.

    The first fifth of the time is for the caches to fill.
    """

    plan: Plan
    overrides: tuple[str, ...]

    def __call__(self, place: Place) -> Iterator[Row]:
        plan = self.plan
        minutes = float(plan.options["minutes"])
        minutes = min(QUICK_MINUTES, minutes) if plan.quick else minutes
        with short_engine(plan.data, self.overrides, plan.progress, runtime="float32") as engine:
            with plan.progress.step("Reading what the answers must be"):
                expected = _expected(engine, QUICK_USERS if plan.quick else USERS)
            with plan.progress.step(f"{CLIENTS} clients for {minutes:g} minutes"):
                counts, memory = _under_load(engine, expected, minutes)
            yield {
                "max_item_tokens": longest_text(engine),
                "clients": CLIENTS,
                "minutes": minutes,
                "requests": int(counts[:, 0].sum()),
                "wrong": int(counts[:, 1].sum()),
                **_growth(memory),
            }


def _under_load(
    engine: Engine, expected: list[Expected], minutes: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return requests and wrong answers of each client, and samples of memory, MiB.

    Resident memory, and what of it is handed out by malloc: ``float64 (n, 2)``.
    """
    end = time.perf_counter() + 60 * minutes
    counts, memory = np.zeros((CLIENTS, 2), dtype=np.int64), []

    def ask(client: int) -> None:
        rng = np.random.default_rng(client)
        while time.perf_counter() < end:
            wrong = expected[rng.integers(len(expected))].wrong(engine)
            counts[client] += (1, wrong)

    with ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(ask, client) for client in range(CLIENTS)]
        while time.perf_counter() < end:
            memory.append((resident_mb(), allocated_mb()))
            time.sleep(SAMPLED_EVERY)
        for one in asking:
            one.result()
    return counts, np.array(memory)


def _expected(engine: Engine, n: int) -> list[Expected]:
    """Return the answers for some users: one at a time, in one thread, nothing kept."""
    stages, users = engine.stages, engine.histories
    if stages.ranker is None:
        raise RuntimeError("the suite builds with a ranker")
    slow = stages.ranker.forgetting()
    # Token by token: as far away as half precision of what is stored.
    slowest = replace(slow, digests=None)
    ids = engine.items["item_id"].to_list()
    out = []
    for user in np.random.default_rng(0).permutation(np.flatnonzero(users.lengths()))[:n]:
        asked = users.take(np.array([user]))
        served = stages.retriever.retrieve(asked, stages.rerank)
        logits, wanted = (one.logits(asked, served)[0] for one in (slow, slowest))
        there = served.items[0] >= 0
        if np.abs(logits[there] - wanted[there]).max() > STORED_CLOSE:
            raise RuntimeError(f"what is stored tells user {user} something else than its tokens")
        scores = zip(served.items[0][there], logits[there], strict=True)
        out.append(Expected(engine.user_ids[user], {ids[i]: float(s) for i, s in scores}))
    return out


def _growth(memory: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return memory once the caches are full, and how it grows from there: a line's slope."""
    settled = memory[len(memory) // 5 :]
    minutes = np.arange(len(settled)) * SAMPLED_EVERY / 60
    slopes = np.polyfit(minutes, settled, 1)[0] if len(settled) > 2 else np.full(2, np.nan)
    return {
        "rss_mb_first": float(settled[0, 0]),
        "rss_mb_last": float(settled[-1, 0]),
        "rss_mb_most": float(memory[:, 0].max()),
        "growth_mb_a_minute": float(slopes[0]),
        "allocated_mb_first": float(settled[0, 1]),
        "allocated_mb_last": float(settled[-1, 1]),
        "allocated_growth_mb_a_minute": float(slopes[1]),
    }


SOAK = Suite(
    "soak",
    "every answer of a long time under load checked, and memory watched",
    _cells,
    (MOVIELENS,),
    (Option("minutes", 10.0, "how long", float),),
)
