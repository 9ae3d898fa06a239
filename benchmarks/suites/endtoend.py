"""A whole engine in one process: requests a second, where their time goes, and what memory holds.

The engine knows nothing of the test, so that the very answers that are timed are judged as well.
Its ranker had a short training: how long an answer takes does not depend on what was learned, how
good it is does.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.data.datasets import BEAUTY, MOVIELENS
from benchmarks.harness.cells import Cell, Place, Plan, Row, Suite
from benchmarks.stands.engines import SHORT, held_out_artefact
from benchmarks.stands.loops import Loop, closed_loop
from benchmarks.stands.own_process import told_by
from benchmarks.stands.waterfall import Part, Waterfall
from twofold.engine import Engine
from twofold.evaluation.held_out import truth_of, users_held_out
from twofold.evaluation.intervals import Interval, bootstrap_mean
from twofold.evaluation.metrics import judge, ndcg, recall
from twofold.indexing.artefact import open_artefact
from twofold.indexing.splits import Split, choose_split
from twofold.recommendation import Recommendations
from twofold.settings import Settings, load_settings

CLIENTS = (1, 8, 32)
K = 10
REQUESTS, WARM_UP = 2000, 20
QUICK_REQUESTS, QUICK_LOADS = 80, 1
LOADS = 3
SOURCES = (
    *("indexing", "retrieval", "ranking", "twofold"),
    *("benchmarks/suites/endtoend.py", "benchmarks/stands/engines.py"),
    *("benchmarks/stands/loops.py", "benchmarks/stands/waterfall.py"),
    *("benchmarks/stands/loaded.py", "benchmarks/harness/timing.py"),
)
# What in an artefact grows with users, and what is there however many items and users there are.
OF_USERS = ("data/users", "data/interactions/")
FIXED = ("ranker/model", "ranker/tokenizer", "collaborative/text-map", "manifest", "measurements")
STAGES = {
    "history": "before",
    "rules": "before",
    "stage two": "stage two",
    "naming": "answer",
    "answer together": "answer",
    "rest": "answer",
}


def _cells(plan: Plan) -> list[Cell]:
    """Return the cells: numbers of clients, parts, memory, and one number twice."""
    stand = _Stand(plan)
    measures: dict[str, Callable[[Place], Iterable[Row]]] = {
        **{_of_clients(n): _Clients(stand, n) for n in CLIENTS},
        "stages": stand.stages,
        "memory": stand.memory,
        "twice": stand.twice,
    }
    return [Cell(name, one, stand.settings, sources=SOURCES) for name, one in measures.items()]


def _of_clients(n: int) -> str:
    return "1 client" if n == 1 else f"{n} clients"


@dataclass(frozen=True)
class _Clients:
    """Measures a number of clients."""

    stand: _Stand
    clients: int

    def __call__(self, place: Place) -> Iterator[Row]:
        stand = self.stand
        with stand.engine() as engine:
            # Whoever is asked for again has a history that the ranker has read before.
            for histories in ("new", "kept"):
                loop = stand.asked(engine, self.clients)
                about = {"clients": self.clients, "histories": histories}
                yield {**stand.about(engine), **about, **figures(loop), **stand.judged(loop)}


@dataclass(frozen=True)
class _Stand:
    """The artefact and whom to ask for, made when the first cell asks for them."""

    plan: Plan

    @property
    def settings(self) -> Settings:
        return load_settings(None, (*self.plan.data.settings, *SHORT, *self.plan.overrides))

    @cached_property
    def split(self) -> Split:
        """What is held out."""
        data = self.plan.data
        return choose_split(self.plan.dataset, data.protocol, n=data.n_labels)

    @cached_property
    def users(self) -> npt.NDArray[np.int64]:
        """Users of the test by chance: some to warm up with, then each of whom is asked for."""
        found = users_held_out(self.plan.dataset.interactions, self.split.test)
        n = QUICK_REQUESTS if self.plan.quick else REQUESTS
        return np.random.default_rng(self.settings.seed).permutation(found)[: WARM_UP + n]

    @property
    def ids(self) -> list[str]:
        return self.plan.dataset.users.decode(self.users)

    @cached_property
    def artefact(self) -> Path:
        plan = self.plan
        return held_out_artefact(plan.data, plan.dataset, self.split, self.settings, plan.progress)

    def engine(self, tracer: Waterfall | None = None) -> Engine:
        """Return a fresh engine, so that it has kept nothing of any user's history.

        Parameters
        ----------
        tracer
            Told of every part of requests; ``None`` for nobody.
        """
        if tracer is None:
            engine = Engine.load(self.artefact)
        else:
            engine = Engine.load(self.artefact, tracer=tracer)
        for user in self.ids[:WARM_UP]:
            engine.recommend(user, K)
        return engine

    def asked(self, engine: Engine, clients: int) -> Loop[Recommendations]:
        """Return how clients fare who ask for each user once."""
        return closed_loop(lambda user: engine.recommend(user, K), self.ids[WARM_UP:], clients)

    def about(self, engine: Engine) -> Row:
        """Return what rows tell of the engine."""
        ranker = engine.stages.ranker
        return {
            "k": K,
            "n_users": len(engine.user_ids),
            "n_items": len(engine.items),
            "requests": len(self.users) - WARM_UP,
            "runtime": None if ranker is None else ranker.runtime.name,
            "candidates": engine.stages.rerank,
        }

    def judged(self, loop: Loop[Recommendations]) -> Row:
        """Return how good the answers are, each on the test of its user."""
        items = np.full((len(loop.answers), K), -1, dtype=np.int64)
        for row, answer in enumerate(loop.answers):
            found = self.plan.dataset.items.encode([one.item_id for one in answer])
            items[row, : len(found)] = found
        truth = truth_of(self.plan.dataset.interactions, self.split.test, self.users[WARM_UP:])
        judged = judge(items, truth)
        return {
            "ndcg10": _interval(bootstrap_mean(ndcg(judged, K), 0)),
            "recall10": _interval(bootstrap_mean(recall(judged, K), 0)),
        }

    def stages(self, place: Place) -> Iterator[Row]:
        """Yield a row a part of the requests of one client, and one on the whole.

        Each user is asked for twice, of an engine that is followed and of one that is not.
        """
        waterfall = Waterfall()
        with self.engine(waterfall) as followed, self.engine() as alone:
            spent, plain = list[dict[Part, float]](), list[float]()
            for number, user in enumerate(self.ids[WARM_UP:]):
                for turn in (number % 2, 1 - number % 2):
                    if turn:
                        spent.append(waterfall.followed(partial(followed.recommend, user, K)))
                    else:
                        loop = closed_loop(partial(alone.recommend, k=K), [user], 1)
                        plain.append(float(loop.ms[0]))
            about, names = self.about(alone), alone.stages.retriever.source_names
        parts = sorted({part for one in spent for part in one})
        table = np.array([[one.get(part, 0.0) for part in parts] for one in spent])
        whole, untold = table.sum(axis=1), np.array(plain)
        usual = _usual(whole)
        for column, part in enumerate(parts):
            yield {
                **about,
                "stage": STAGES.get(part.name, "stage one"),
                "part": part.name,
                "of": [names[source] for source in part.sources],
                "median_ms": float(np.median(table[:, column])),
                "mean_ms": float(table[:, column].mean()),
                "p95_ms": float(np.percentile(table[:, column], 95)),
                "usual_ms": float(table[usual, column].mean()),
                "share": float(table[:, column].mean() / whole.mean()),
            }
        medians = float(np.median(table, axis=0).sum())
        yield {
            **about,
            "stage": "whole",
            "part": "whole",
            "of": [],
            "median_ms": float(np.median(whole)),
            "mean_ms": float(whole.mean()),
            "p95_ms": float(np.percentile(whole, 95)),
            "usual_ms": float(whole[usual].mean()),
            "share": 1.0,
            "medians_sum_ms": medians,
            "medians_of_whole": medians / float(np.median(whole)),
            "untraced_median_ms": float(np.median(untold)),
            "tracing_ms": float(np.median(whole - untold)),
        }

    def memory(self, place: Place) -> Iterator[Row]:
        """Yield what the artefact takes on the disk, and the engine in a process of its own."""
        generation = open_artefact(self.artefact)
        files = generation.manifest["files"]
        sizes = {name: (generation.folder / name).stat().st_size for name in files}
        counts = generation.manifest["counts"]
        of_users = sum(size for name, size in sizes.items() if name.startswith(OF_USERS))
        fixed = sum(size for name, size in sizes.items() if name.startswith(FIXED))
        whole = sum(sizes.values())
        loads = [self._loaded() for _ in range(QUICK_LOADS if self.plan.quick else LOADS)]
        told = {
            name: {
                "median": float(np.median([one[name] for one in loads])),
                "low": min(one[name] for one in loads),
                "high": max(one[name] for one in loads),
            }
            for name in loads[0]
        }
        yield {
            "n_users": counts["users"],
            "n_items": counts["items"],
            "requests": len(self.users) - WARM_UP,
            "artefact_mb": whole / 2**20,
            "fixed_mb": fixed / 2**20,
            "bytes_an_item": (whole - of_users - fixed) / counts["items"],
            "bytes_a_user": of_users / counts["users"],
            "loads": len(loads),
            **told,
        }

    def _loaded(self) -> dict[str, float]:
        """Return what a process of its own tells of loading the engine and asking it."""
        with tempfile.TemporaryDirectory() as folder:
            users = Path(folder) / "users.json"
            users.write_text(json.dumps(self.ids[WARM_UP:]), encoding="utf-8")
            threads = str(self.settings.threads or 0)
            return told_by("benchmarks.stands.loaded", str(self.artefact), str(users), threads)

    def twice(self, place: Place) -> Iterator[Row]:
        """Yield one client measured two times, and whether both medians are the same."""
        loops = []
        for _ in range(2):
            with self.engine() as engine:
                loops.append(figures(self.asked(engine, 1)))
                about = self.about(engine)
        yield {**about, "clients": 1, "histories": "new", **agreement(*loops)}


def figures(loop: Loop[Any]) -> dict[str, float | int]:
    """Return requests a second and percentiles, each with the ends of its interval."""
    return {**loop.rate().told("requests_a_second"), **loop.times().told()}


def agreement(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, Any]:
    """Return two measurements of one thing, and whether they agree.

    They do where the medians are apart by less than the wider of the printed intervals.
    """
    widths = [one["p50_ms_high"] - one["p50_ms_low"] for one in (first, second)]
    apart = abs(first["p50_ms"] - second["p50_ms"])
    return {
        "first": dict(first),
        "second": dict(second),
        "apart_ms": apart,
        "interval_ms": max(widths),
        "agree": apart < max(widths),
    }


def _usual(whole: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the fifth of all requests that took about as long as the median.

    Over these the means of parts add up to the whole, however seldom and however much single ones
    are held up.
    """
    n = max(1, len(whole) // 5)
    first = (len(whole) - n) // 2
    return np.argsort(whole, kind="stable")[first : first + n]


def _interval(found: Interval) -> dict[str, float]:
    return {"mean": found.mean, "low": found.low, "high": found.high}


ENDTOEND = Suite(
    "endtoend",
    "a whole engine in one process: clients, where the time of a request goes, and memory",
    _cells,
    (MOVIELENS, BEAUTY),
)
