"""What each technique of the ranker's training is worth: one on, all else as by default.

Every cell trains one ranker on the same label windows and reranks the same lists of the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from benchmarks.data.datasets import BEAUTY, IFDB, MOVIELENS
from benchmarks.harness.cells import Cell, Place, Plan, Row, Suite
from benchmarks.harness.exercised import told_settings
from benchmarks.stands.bench import Bench
from benchmarks.suites.techniques import CELLS
from twofold.evaluation.classification import classify
from twofold.evaluation.intervals import Interval, bootstrap_mean
from twofold.evaluation.judgements import Judgements
from twofold.evaluation.metrics import judge
from twofold.ranking.ranker import Ranker
from twofold.settings import Settings

DEFAULT = "default"
SOURCES = (
    *("indexing", "retrieval", "ranking", "evaluation", "twofold/lessons.py"),
    *("benchmarks/suites/training.py", "benchmarks/stands/bench.py"),
)
# A short training over short lists, and few of the techniques.
QUICK = (
    *("windows=1", "ranker.rerank=20", "ranker.training.max_epochs=1"),
    *("ranker.training.negatives=7", "ranker.training.max_lists=64"),
)
QUICK_CELLS = (DEFAULT, "listwise", "LoRA")


def _cells(plan: Plan) -> list[Cell]:
    """Return one cell a technique, the default first: the others are paired with it."""
    stand = _Stand(plan)
    return [
        Cell(
            name,
            _Measured(stand, name, settings := stand.settings(name)),
            settings,
            sources=SOURCES,
            needs=() if name == DEFAULT else (DEFAULT,),
            keeps=True,
        )
        for name in (QUICK_CELLS if plan.quick else CELLS)
    ]


@dataclass(frozen=True)
class _Stand:
    """The lessons and the test's lists, made when the first cell asks for them."""

    plan: Plan

    def settings(self, name: str) -> Settings:
        return self.plan.settings(*CELLS[name], *(QUICK if self.plan.quick else ()))

    @cached_property
    def bench(self) -> Bench:
        plan = self.plan
        most = 200 if plan.quick else None
        return Bench.of(plan.data, self.settings(DEFAULT), plan.dataset, plan.progress, most=most)


@dataclass(frozen=True)
class _Measured:
    """Trains one ranker and measures it."""

    stand: _Stand
    name: str
    settings: Settings

    def __call__(self, place: Place) -> Iterator[Row]:
        bench = self.stand.bench
        ranker, about = bench.taught(self.settings)
        logits = ranker.logits(bench.queries, bench.served)
        values = bench.ndcg(bench.reranked(ranker, logits))
        silent = bench.reranked(ranker, ranker.without_text(bench.queries, bench.served))
        place.keep({"ndcg@10": values})
        default = values if self.name == DEFAULT else place.kept(DEFAULT)["ndcg@10"]
        pairs = {
            DEFAULT: default,
            "text zeroed": bench.ndcg(silent),
            "fused stage one": bench.ndcg(bench.served),
            **bench.opponents,
        }
        kept = min(about["epochs"], key=lambda one: one["stop_loss"])
        yield {
            "n_users": len(bench.queries),
            "technique": list(CELLS[self.name]),
            "ndcg10": _interval(bootstrap_mean(values, 0)),
            "differences": {
                other: _interval(bootstrap_mean(values - theirs, 0))
                for other, theirs in pairs.items()
            },
            "relative_to_default": _interval(
                bootstrap_mean((values - default) / default.mean(), 0)
            ),
            **_probabilities(bench, ranker, logits),
            "stop_loss": kept["stop_loss"],
            "stop_ndcg10": kept["stop_ndcg"],
            "best_epoch": about["best_epoch"],
            "n_epochs": about["epochs"][-1]["number"],
            "n_trained": about["n_trained"],
            "encoder_share": about["encoder_share"],
            "init_from": told_settings(self.settings)["ranker"]["training"]["init_from"],
        }


def _probabilities(
    bench: Bench, ranker: Ranker, logits: npt.NDArray[np.float32]
) -> dict[str, dict[str, float]]:
    """Return how good the probabilities are on the served lists of the test."""
    read = np.flatnonzero(ranker.reads(bench.queries))
    served, truth = bench.served.take(read), bench.truth.take(read)
    told = ranker.calibration.probabilities(logits[read])
    judged = Judgements.of_lists(told, judge(served.items, truth).hits > 0, served.items >= 0)
    found = classify(judged, 0, n=200, n_ranked=50)
    names = ("auc", "pr_auc", "log_loss", "ece", "base_rate")
    return {name: _interval(found[name]) for name in names}


def _interval(found: Interval) -> dict[str, float]:
    return {"mean": found.mean, "low": found.low, "high": found.high}


TRAINING = Suite(
    "training",
    "what each technique of the ranker's training is worth",
    _cells,
    (MOVIELENS, BEAUTY, IFDB),
)
