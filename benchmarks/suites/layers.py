"""What layers are worth: rankers of more and fewer joint layers and of fewer layers altogether.

All are taught with the same windows and rerank the same lists of the test's users. Quality is told
beside the latency of a new history in every runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from benchmarks.data.datasets import BEAUTY, MOVIELENS
from benchmarks.harness.cells import Cell, Option, Place, Plan, Row, Suite
from benchmarks.stands.bench import Bench, Floats
from twofold.evaluation.intervals import bootstrap_mean
from twofold.ranking.choosing import measure_runtimes
from twofold.ranking.distilling import distil
from twofold.ranking.members import Workplace
from twofold.ranking.ranker import Ranker
from twofold.settings import Settings

Joint = int | Literal["all"]
JOINT: tuple[Joint, ...] = ("all", 1, 2, 3)
FEWER = (4, 3, 2)
RATES = (5e-5, 1e-4, 2e-4)
TIMED, MOST_USERS = 60, 5000
FUSED, COMPARED, BYTES = "fused stage one", "compared", "item states int8"
VALUES = "ndcg@10"
TAUGHT, TRIED = "taught", "tried"
# What the row of a ranker tells.
TOLD = (
    *("n_users", "candidates", "windows", "ranker", "ndcg10", "ndcg10_low", "ndcg10_high"),
    *("layers", "joint_layers", "bytes_an_item", "learning_rate", "best_epoch", "stop_loss"),
    "runtimes",
)
# A short training over short lists, and few of the rankers.
QUICK = (
    *("windows=1", "ranker.rerank=10", "ranker.training.max_epochs=1"),
    *("ranker.training.negatives=3", "ranker.training.max_lists=24"),
)
QUICK_JOINT: tuple[Joint, ...] = ("all", 1)
QUICK_FEWER, QUICK_TIMED, QUICK_USERS = (3,), 12, 50
SOURCES = (
    *("indexing", "retrieval", "ranking", "evaluation", "twofold/lessons.py"),
    *("benchmarks/suites/layers.py", "benchmarks/stands/bench.py"),
)


def _cells(plan: Plan) -> list[Cell]:
    """Return one cell a ranker, and the differences from all layers joint."""
    stand = _Stand(plan)
    base, default = stand.settings(), _name(1, 0)

    def cell(
        name: str, measure: Callable[[Place], Iterator[Row]], settings: Settings, *needs: str
    ) -> Cell:
        return Cell(name, measure, settings, {}, SOURCES, needs, keeps=name != COMPARED)

    joint_layers = QUICK_JOINT if plan.quick else JOINT
    seeds = {
        joint: range(plan.options["seeds"] if joint in ("all", 1) else 1) for joint in joint_layers
    }
    cells = [cell(FUSED, stand.fused, base)]
    for joint, some in seeds.items():
        own, first = f"ranker.joint_layers={joint}", _name(joint, 0)
        if plan.options["search"]:
            tried = {_tried(joint, rate): rate for rate in RATES}
            for name, rate in tried.items():
                settings = stand.settings(own, f"ranker.training.learning_rate={rate}")
                cells.append(cell(name, _Taught(stand, joint, rate, ranker=TRIED), settings))
            cells.append(cell(first, _Chosen(tuple(tried)), stand.settings(own), *tried))
        else:
            cells.append(cell(first, _Taught(stand, joint, stand.rate), stand.settings(own)))
        for seed in some[1:]:
            settings = stand.settings(own, f"seed={seed}")
            cells.append(cell(_name(joint, seed), _Again(stand, joint, seed), settings, first))
    cells.append(cell(BYTES, stand.in_bytes, base, default))
    for layers in QUICK_FEWER if plan.quick else FEWER:
        cells.append(cell(f"{layers} layers", _Compressed(stand, layers), base, default))
    taught = {joint: [_name(joint, seed) for seed in some] for joint, some in seeds.items()}
    needs = tuple(name for names in taught.values() for name in names)
    return [*cells, cell(COMPARED, _Compared(taught), base, FUSED, *needs)]


def _name(joint: Joint, seed: int) -> str:
    return f"{joint} joint, seed {seed}" if seed else f"{joint} joint"


def _tried(joint: Joint, rate: float) -> str:
    return f"{_name(joint, 0)}, rate {rate:g}"


@dataclass(frozen=True)
class _Stand:
    """The lessons and the test's lists, made when they are asked for."""

    plan: Plan
    # Of one joint layer and the first seed, by their rates: others are made of one of them.
    defaults: dict[float, Ranker] = field(default_factory=dict)

    def settings(self, *more: str) -> Settings:
        return self.plan.settings(*(QUICK if self.plan.quick else ()), *more)

    @cached_property
    def bench(self) -> Bench:
        plan = self.plan
        most = QUICK_USERS if plan.quick else MOST_USERS
        return Bench.of(plan.data, self.settings(), plan.dataset, plan.progress, most=most)

    @property
    def rate(self) -> float:
        """The rate of the default's training."""
        return self.settings().ranker.training.learning_rate

    def taught(
        self, joint: Joint, rate: float, seed: int, place: Place
    ) -> tuple[Ranker, dict[str, Any]]:
        """Return a ranker, and of its training what rows tell; one cut off goes on."""
        own = self.bench.settings.ranker
        training = replace(own.training, learning_rate=rate)
        settings = replace(own, joint_layers=joint, training=training)
        work = Workplace(place.folder, place.fingerprint)
        ranker, about = self.bench.lessons.taught(self.bench.final, settings, seed, work)
        if (joint, seed) == (1, 0):
            self.defaults[rate] = ranker
        return ranker, {
            "learning_rate": rate,
            "best_epoch": about["best_epoch"],
            "stop_loss": float(about["epochs"][about["best_epoch"]]["stop_loss"]),
        }

    def default(self, place: Place) -> Ranker:
        """Return the ranker of one joint layer; one that was taught in this run is taken."""
        rate = float(place.rows(_name(1, 0))[0]["learning_rate"])
        if rate not in self.defaults:
            self.taught(1, rate, 0, place)
        return self.defaults[rate]

    def row(self, name: str, values: Floats) -> Row:
        """Return what every row of a ranker tells."""
        return {
            "n_users": len(self.bench.queries),
            "candidates": self.bench.settings.ranker.rerank,
            "windows": len(self.bench.lessons.windows),
            "ranker": name,
            **_quality(values),
        }

    def values(self, ranker: Ranker) -> Floats:
        """Return NDCG@10 of every user of the test under a ranker."""
        logits = ranker.logits(self.bench.queries, self.bench.served, progress=self.plan.progress)
        return self.bench.ndcg(self.bench.reranked(ranker, logits))

    def times(self, ranker: Ranker) -> dict[str, Any]:
        """Return each runtime's median milliseconds a list and how it agrees with float32."""
        n = QUICK_TIMED if self.plan.quick else TIMED
        n = n if ranker.model.shape.joint_layers == 1 else n // 6
        which = np.random.default_rng(1).permutation(len(self.bench.queries))[:n]
        measured = measure_runtimes(
            ranker, self.bench.queries.take(which), self.bench.served.take(which), rounds=1
        )
        return {"runtimes": [one.to_dict() for one in measured]}

    def fused(self, place: Place) -> Iterator[Row]:
        """Yield how stage one does alone."""
        values = self.bench.ndcg(self.bench.served)
        place.keep({VALUES: values})
        yield self.row("none: fused stage one", values)

    def in_bytes(self, place: Place) -> Iterator[Row]:
        """Yield how the default does whose item states are bytes."""
        ranker = self.default(place)
        settings = replace(ranker.settings, item_states="int8")
        small = replace(ranker, settings=settings).with_tables(ranker.tables)
        yield self.beside(place, small, "taught, item states int8")

    def beside(self, place: Place, ranker: Ranker, name: str) -> Row:
        """Return the row of a ranker that is told beside the default."""
        values = self.values(ranker)
        place.keep({VALUES: values})
        whole = place.kept(_name(1, 0))[VALUES]
        return {
            **self.row(name, values),
            **_shape(ranker),
            **self.times(ranker),
            **_relative(values, whole),
        }


@dataclass(frozen=True)
class _Taught:
    """Trains a ranker of so many joint layers."""

    stand: _Stand
    joint: Joint
    rate: float
    seed: int = 0
    ranker: str = TAUGHT

    def __call__(self, place: Place) -> Iterator[Row]:
        ranker, about = self.stand.taught(self.joint, self.rate, self.seed, place)
        values = self.stand.values(ranker)
        place.keep({VALUES: values})
        row = self.stand.row(self.ranker, values)
        yield {**row, **_shape(ranker), **about, **self.stand.times(ranker)}


@dataclass(frozen=True)
class _Chosen:
    """Takes, of rankers that differ in their rate, that of the lowest loss when it was stopped."""

    tried: tuple[str, ...]

    def __call__(self, place: Place) -> Iterator[Row]:
        rows = {name: place.rows(name)[0] for name in self.tried}
        best = min(rows, key=lambda name: float(rows[name]["stop_loss"]))
        place.keep({VALUES: place.kept(best)[VALUES]})
        yield {**{name: rows[best][name] for name in TOLD}, "ranker": TAUGHT}


@dataclass(frozen=True)
class _Again:
    """Trains with another seed, at the rate of the first."""

    stand: _Stand
    joint: Joint
    seed: int

    def __call__(self, place: Place) -> Iterator[Row]:
        rate = float(place.rows(_name(self.joint, 0))[0]["learning_rate"])
        return _Taught(self.stand, self.joint, rate, self.seed)(place)


@dataclass(frozen=True)
class _Compressed:
    """Distils the default into fewer layers."""

    stand: _Stand
    layers: int

    def __call__(self, place: Place) -> Iterator[Row]:
        # Lists of the window, so that nothing of the test's is learned from, unlabelled or not.
        lists, ranker = self.stand.bench.lessons.lists[0], self.stand.default(place)
        found = distil(ranker, lists.queries, lists.candidates, layers=self.layers, joint_layers=1)
        yield self.stand.beside(place, found.ranker, "compressed")


@dataclass(frozen=True)
class _Compared:
    """Tells every number of joint layers beside all, means over seeds."""

    taught: dict[Joint, list[str]]

    def __call__(self, place: Place) -> Iterator[Row]:
        values = {
            joint: np.array([place.kept(name)[VALUES] for name in names])
            for joint, names in self.taught.items()
        }
        fused, full = place.kept(FUSED)[VALUES], values.pop("all").mean(axis=0)
        for joint, each in values.items():
            mean = each.mean(axis=0)
            yield {
                "comparison": f"{joint} - all",
                "seeds": len(each),
                "ndcg10": float(mean.mean()),
                "ndcg10_full": float(full.mean()),
                "full_minus_fused": _interval(full - fused),
                **_relative(mean, full),
            }


def _relative(values: Floats, whole: Floats) -> dict[str, float]:
    """Return the paired difference of values from others, as a share of the others' mean."""
    found = _interval((values - whole) / whole.mean())
    return {f"relative_{name}": value for name, value in found.items()}


def _shape(ranker: Ranker) -> dict[str, Any]:
    shape = ranker.model.shape
    return {
        "layers": shape.backbone.layers,
        "joint_layers": shape.joint_layers,
        "bytes_an_item": ranker.bytes_an_item(),
    }


def _quality(values: Floats) -> dict[str, Any]:
    mean = bootstrap_mean(values, seed=0)
    return {"ndcg10": mean.mean, "ndcg10_low": mean.low, "ndcg10_high": mean.high}


def _interval(values: Floats) -> dict[str, float]:
    mean = bootstrap_mean(values, seed=0)
    return {"difference": mean.mean, "low": mean.low, "high": mean.high}


LAYERS = Suite(
    "layers",
    "what layers, joint layers and their number are worth, beside the time they take",
    _cells,
    (MOVIELENS, BEAUTY),
    (
        Option("seeds", 1, "trainings of one joint layer and of all", int),
        Option("search", False, "search each ranker's rate by the loss on early-stopping users"),
    ),
)
