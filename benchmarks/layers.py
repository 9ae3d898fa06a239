"""What layers are worth: rankers of more and fewer joint layers and of fewer layers altogether.

All are taught with the same windows and rerank the same lists of the test's users. Quality is told
beside the latency of a new history in every runtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.datasets import DataSet
from twofold.embedding import embedded
from twofold.evaluation.hardware import describe_hardware, library_versions, source_commit
from twofold.evaluation.held_out import truth_of, users_held_out
from twofold.evaluation.intervals import bootstrap_mean
from twofold.evaluation.metrics import Truth
from twofold.evaluation.quality import Ranked, measure_users
from twofold.indexing.dataset import load_dataset
from twofold.indexing.progress import Progress
from twofold.indexing.splits import choose_split
from twofold.lessons import Lessons, lessons_of
from twofold.ranking.choosing import measure_runtimes
from twofold.ranking.distilling import distil
from twofold.ranking.ranker import Ranker
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import Queries, queries_of_users
from twofold.retrieval.stage_one import StageOne
from twofold.settings import load_settings
from twofold.threads import torch_threads

Floats = npt.NDArray[np.float64]
Joint = int | Literal["all"]
JOINT: tuple[Joint, ...] = ("all", 1, 2, 3)
FEWER = (4, 3, 2)
RATES = (5e-5, 1e-4, 2e-4)
TIMED, MOST_USERS = 60, 5000
NDCG = "ndcg@10"


@dataclass(frozen=True)
class Test:
    """Whom the rankers are tested on, and what stage one served them."""

    queries: Queries
    served: Candidates
    truth: Truth

    def ndcg(self, logits: npt.NDArray[np.float32] | None) -> Floats:
        """Return NDCG@10 a user of the order by logits, or of stage one's without."""
        scores = self.served.scores if logits is None else logits
        order = np.argsort(-scores, axis=1, kind="stable")
        ranked = Ranked(np.take_along_axis(self.served.items, order, axis=1))
        values = measure_users({"one": ranked}, self.truth, np.ones(self.queries.n_items), (10,))
        return values.of("one", NDCG)


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
    split = choose_split(dataset, data.protocol, n=data.n_labels)
    log = dataset.interactions
    known = log.take(split.known_at_test)
    with torch_threads(settings.threads):
        index, _ = embedded(dataset, settings, None, progress)
        lessons = lessons_of(dataset, known, index, settings, progress)
        final = lessons.final()
        users = users_held_out(log, split.test)
        some = np.random.default_rng(settings.seed).permutation(users)[:MOST_USERS]
        users = np.sort(some)
        queries = queries_of_users(known, users, max_history=settings.stage_one.max_history)
        served = final.retriever(lessons.fusion).retrieve(
            queries, settings.ranker.rerank, progress=progress
        )
        test = Test(queries, served, truth_of(log, split.test, users))
        about = {
            "suite": "layers",
            "dataset": data.name,
            "candidates": settings.ranker.rerank,
            "n_users": len(users),
            "windows": len(lessons.windows),
            "hardware": describe_hardware(threads=torch.get_num_threads()),
            "versions": library_versions(),
            "commit": source_commit(),
        }
        teaching = _Teaching(lessons, final, test, search)
        for record in teaching.records(seeds):
            yield {**about, **record}


@dataclass(frozen=True)
class _Teaching:
    lessons: Lessons
    final: StageOne
    test: Test
    search: bool

    def records(self, seeds: int) -> Iterator[dict[str, Any]]:
        fused = self.test.ndcg(None)
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
        lists = self.lessons.lists[0]
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
        own = self.lessons.learner.settings.ranker.training.learning_rate
        tried = {rate: self._taught(joint, rate, 0) for rate in (RATES if self.search else (own,))}
        best = min(tried, key=lambda rate: _stop_loss(tried[rate][1]))
        return best, tried[best]

    def _taught(self, joint: Joint, rate: float, seed: int) -> tuple[Ranker, dict[str, Any]]:
        own = self.lessons.learner.settings.ranker
        training = replace(own.training, learning_rate=rate)
        settings = replace(own, joint_layers=joint, training=training)
        return self.lessons.taught(self.final, settings, seed)

    def _values(self, ranker: Ranker) -> Floats:
        progress = self.lessons.learner.progress
        return self.test.ndcg(ranker.logits(self.test.queries, self.test.served, progress=progress))

    def _times(self, ranker: Ranker) -> dict[str, Any]:
        """Return each runtime's median milliseconds a list and how it agrees with float32."""
        n = TIMED if ranker.model.shape.joint_layers == 1 else TIMED // 6
        which = np.random.default_rng(1).permutation(len(self.test.queries))[:n]
        measured = measure_runtimes(
            ranker, self.test.queries.take(which), self.test.served.take(which), rounds=1
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
