"""What layers are worth: rankers of more and fewer joint layers and of fewer layers altogether.

All are taught with the same windows and rerank the same lists of the test's users. Quality is told
beside the latency of a new history in every runtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from benchmarks.data.datasets import DataSet
from benchmarks.stands.bench import Bench, Floats
from twofold.evaluation.intervals import bootstrap_mean
from twofold.indexing.dataset import load_dataset
from twofold.indexing.progress import Progress
from twofold.ranking.choosing import measure_runtimes
from twofold.ranking.distilling import distil
from twofold.ranking.ranker import Ranker
from twofold.settings import load_settings
from twofold.threads import torch_threads

Joint = int | Literal["all"]
JOINT: tuple[Joint, ...] = ("all", 1, 2, 3)
FEWER = (4, 3, 2)
RATES = (5e-5, 1e-4, 2e-4)
TIMED, MOST_USERS = 60, 5000


def measure_layers(
    data: DataSet, overrides: tuple[str, ...], *, seeds: int, search: bool, progress: Progress
) -> Iterator[dict[str, Any]]:
    """Yield one record a ranker and runtime, and the differences from all layers joint.

    Parameters
    ----------
    data
        The data set.
    overrides
        Settings beside its own.
    seeds
        How many trainings each of one joint layer and of all; others are trained once.
    search
        Whether the rate of each is the best of three by the loss on its early-stopping users.
    progress
        Told of every step.
    """
    settings = load_settings(None, (*data.settings, *overrides))
    dataset = load_dataset(
        data.interactions, data.items, settings.data, seed=settings.seed, progress=progress
    )
    with torch_threads(settings.threads):
        bench = Bench.of(data, settings, dataset, progress, most=MOST_USERS)
        about = {
            "suite": "layers",
            **bench.about(),
            "candidates": settings.ranker.rerank,
            "windows": len(bench.lessons.windows),
        }
        for record in _Teaching(bench, search).records(seeds):
            yield {**about, **record}


@dataclass(frozen=True)
class _Teaching:
    bench: Bench
    search: bool

    def records(self, seeds: int) -> Iterator[dict[str, Any]]:
        fused = self.bench.ndcg(self.bench.served)
        yield {"ranker": "none: fused stage one", **_quality(fused)}
        told: dict[Joint, list[Floats]] = {}
        default: Ranker | None = None
        for joint in JOINT:
            rate, first = self._best(joint)
            told[joint] = []
            for seed in range(seeds if joint in ("all", 1) else 1):
                ranker, about = self._taught(joint, rate, seed) if seed else first
                default = ranker if joint == 1 and not seed else default
                told[joint].append(self._values(ranker))
                yield {
                    "ranker": "taught",
                    **_shape(ranker),
                    "seed": seed,
                    "learning_rate": rate,
                    "best_epoch": about["best_epoch"],
                    "stop_loss": _stop_loss(about),
                    **self._times(ranker),
                    **_quality(told[joint][-1]),
                }
        if default is not None:
            yield from self._smaller(default, told[1][0])
        full = np.mean(told.pop("all"), axis=0)
        for joint, values in told.items():
            mean = np.mean(values, axis=0)
            yield {
                "comparison": f"{joint} - all",
                "seeds": len(values),
                "ndcg10": float(mean.mean()),
                "ndcg10_full": float(full.mean()),
                "full_minus_fused": _interval(full - fused),
                **_relative(mean, full),
            }

    def _smaller(self, ranker: Ranker, whole: Floats) -> Iterator[dict[str, Any]]:
        """Yield the default in bytes, and with fewer layers."""
        settings = replace(ranker.settings, item_states="int8")
        small = replace(ranker, settings=settings).with_tables(ranker.tables)
        yield self._beside(small, whole, "taught, item states int8")
        # Lists of the window, so that nothing of the test's is learned from, unlabelled or not.
        lists = self.bench.lessons.lists[0]
        for layers in FEWER:
            found = distil(ranker, lists.queries, lists.candidates, layers=layers, joint_layers=1)
            yield self._beside(found.ranker, whole, "compressed")

    def _beside(self, ranker: Ranker, whole: Floats, name: str) -> dict[str, Any]:
        values = self._values(ranker)
        return {
            "ranker": name,
            **_shape(ranker),
            **self._times(ranker),
            **_quality(values),
            **_relative(values, whole),
        }

    def _best(self, joint: Joint) -> tuple[float, tuple[Ranker, dict[str, Any]]]:
        """Return the rate of the lowest loss on early-stopping users, and what it taught."""
        own = self.bench.lessons.learner.settings.ranker.training.learning_rate
        tried = {rate: self._taught(joint, rate, 0) for rate in (RATES if self.search else (own,))}
        best = min(tried, key=lambda rate: _stop_loss(tried[rate][1]))
        return best, tried[best]

    def _taught(self, joint: Joint, rate: float, seed: int) -> tuple[Ranker, dict[str, Any]]:
        own = self.bench.lessons.learner.settings.ranker
        training = replace(own.training, learning_rate=rate)
        settings = replace(own, joint_layers=joint, training=training)
        return self.bench.lessons.taught(self.bench.final, settings, seed)

    def _values(self, ranker: Ranker) -> Floats:
        progress = self.bench.lessons.learner.progress
        logits = ranker.logits(self.bench.queries, self.bench.served, progress=progress)
        return self.bench.ndcg(self.bench.reranked(ranker, logits))

    def _times(self, ranker: Ranker) -> dict[str, Any]:
        """Return each runtime's median milliseconds a list and how it agrees with float32."""
        n = TIMED if ranker.model.shape.joint_layers == 1 else TIMED // 6
        which = np.random.default_rng(1).permutation(len(self.bench.queries))[:n]
        measured = measure_runtimes(
            ranker, self.bench.queries.take(which), self.bench.served.take(which), rounds=1
        )
        return {"runtimes": [one.to_dict() for one in measured]}


def _stop_loss(about: dict[str, Any]) -> float:
    return float(about["epochs"][about["best_epoch"]]["stop_loss"])


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
