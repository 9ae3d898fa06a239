"""What a CUDA device is worth to stage two: lists reranked, and a ranker fine-tuned, on both."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.harness.cells import Cell, Place, Plan, Row
from benchmarks.harness.timing import Floats, ratio, spread, take_turns, timed
from benchmarks.stands.bench import Bench
from benchmarks.stands.floor import device_rate, operations
from twofold.ranking.choosing import same_top
from twofold.ranking.members import Workplace
from twofold.ranking.observing import Nobody
from twofold.ranking.ranker import Ranker
from twofold.ranking.runtime import OnDevice, Runtime, runtime_of
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import Queries

HISTORY = 10
JOINT = (1, 2)
# Users at once, and candidates of each.
SHAPES = ((1, 100), (1, 1000), (1, 10_000), (64, 100), (1024, 100), (1024, 1000))
QUICK_SHAPES = ((1, 20), (8, 20))
ROUNDS, QUICK_ROUNDS = 5, 2
# More than this a processor is not asked: it would take minutes.
MOST_ON_CPU = 1_000
# So many calls a round, but no more than so many candidates.
CALLS, CANDIDATES_A_ROUND = 20, 200_000
SHORT = ("windows=1", "ranker.training.max_epochs=1", "ranker.training.patience=1")
QUICK = ("ranker.rerank=20", "ranker.training.max_lists=64")
MOST_USERS, QUICK_USERS = 1000, 60
SPEAKS = 0.05  # of each number of a reader's state, so that logits spread by about one
SOURCES = (
    *("indexing", "retrieval", "ranking", "evaluation", "twofold/lessons.py"),
    *("benchmarks/suites/gpu_ranking.py", "benchmarks/stands/bench.py"),
    *("benchmarks/stands/floor.py", "benchmarks/harness/timing.py"),
)


def ranking_cells(plan: Plan, beside: str, check: Callable[[str], None]) -> list[Cell]:
    """Return a cell for each number of joint layers, and one for fine-tuning.

    Parameters
    ----------
    plan
        The plan.
    beside
        Name of the device that is measured beside the CPU.
    check
        Refuses to go on where a library, ``torch``, sees no such device.
    """
    stand = _Stand(plan, beside, check)
    also = {"beside": beside}
    joint = [
        Cell(f"reranking, {n} joint", _Reranked(stand, n), stand.settings(n), also, SOURCES)
        for n in JOINT
    ]
    return [*joint, Cell("fine-tuning", _Tuned(stand), stand.settings(1), also, SOURCES)]


@dataclass(frozen=True)
class _Stand:
    """The lessons and lists of a data set, made once for all cells."""

    plan: Plan
    beside: str
    check: Callable[[str], None]

    def settings(self, joint: int) -> Any:
        own = (*SHORT, *(QUICK if self.plan.quick else ()), f"ranker.joint_layers={joint}")
        return self.plan.settings(*own)

    @cached_property
    def bench(self) -> Bench:
        plan = self.plan
        most = QUICK_USERS if plan.quick else MOST_USERS
        return Bench.of(plan.data, self.settings(1), plan.dataset, plan.progress, most=most)

    def taught(self, joint: int, device: str, work: Workplace | None = None) -> Ranker:
        """Return a ranker trained on a device."""
        own = self.settings(joint).ranker
        settings = replace(own, training=replace(own.training, device=device))
        bench = self.bench
        return bench.lessons.taught(bench.final, settings, bench.settings.seed, work)[0]

    @property
    def runtime(self) -> Runtime:
        """The runtime of the device; the CPU stands for one in the harness's own tests."""
        return runtime_of("cuda") if self.beside == "cuda" else OnDevice("near", "cpu")


class _Lists(NamedTuple):
    """Lists of one shape."""

    queries: Queries
    candidates: Candidates

    @classmethod
    def of(cls, bench: Bench, users: int, width: int, seed: int) -> _Lists:
        """Return lists of items drawn by chance, with features as retrieval gives them."""
        rng = np.random.default_rng(seed)
        enough = np.flatnonzero(bench.queries.lengths() >= HISTORY)
        queries = bench.queries.take(rng.choice(enough, users)).last(HISTORY)
        n_items = len(bench.index)
        items = np.stack([rng.permutation(n_items)[:width] for _ in range(users)])
        served = bench.served
        features = served.needed_features()[served.items >= 0]
        drawn = features[rng.integers(0, len(features), size=(users, width))]
        scores = np.tile(-np.arange(width, dtype=np.float32), (users, 1))
        return cls(queries, Candidates(items, scores, drawn))


@dataclass(frozen=True)
class _Reranked:
    """Scores lists of many shapes on the CPU, in its fastest precision, and on the device."""

    stand: _Stand
    joint: int

    def __call__(self, place: Place) -> Iterator[Row]:
        stand = self.stand
        if stand.beside == "cuda":
            stand.check("torch")
        bench = stand.bench
        ranker = _speaking(stand.taught(self.joint, "auto").forgetting())
        rankers = {
            "cpu": ranker.with_runtime("bfloat16"),
            "beside": replace(ranker, runtime=stand.runtime),
        }
        peak = device_rate(stand.beside, torch.float16)
        shape = ranker.model.shape
        tokens = float(ranker.tables.tokens.lengths().mean()) + 1
        about = {
            "joint_layers": self.joint,
            "history_events": HISTORY,
            "mean_block_tokens": tokens,
            "bytes_an_item": ranker.bytes_an_item(),
            "matrix_tflops": peak / 1e12,
        }
        n_items = len(bench.index)
        shapes = QUICK_SHAPES if stand.plan.quick else SHAPES
        for users, width in [one for one in shapes if one[1] <= n_items]:
            lists = _Lists.of(bench, users, width, seed=0)
            each = operations(shape, width, HISTORY, tokens) / width
            yield from self._shape(rankers, lists, {**about, "operations_a_candidate": each}, peak)

    def _shape(
        self, rankers: Mapping[str, Ranker], lists: _Lists, about: Row, peak: float
    ) -> Iterator[Row]:
        """Yield a row a side for lists of one shape."""
        users, width = lists.candidates.items.shape
        pairs = users * width
        sides = {
            name: one for name, one in rankers.items() if name != "cpu" or pairs <= MOST_ON_CPU
        }
        calls = {name: _scoring(one) for name, one in sides.items()}
        n_calls = max(1, min(CALLS, CANDIDATES_A_ROUND // pairs))
        rounds = QUICK_ROUNDS if self.stand.plan.quick else ROUNDS
        spent = take_turns(calls, [lists] * n_calls, rounds=rounds, warm_up=min(3, n_calls))
        for name in sides:
            rate = 1e3 * pairs / spent[name].mean(axis=1)
            told = spread(float(np.median(rate)), rate)
            row: Row = {
                "device": "cpu" if name == "cpu" else self.stand.beside,
                "runtime": sides[name].runtime.name,
                "users": users,
                "candidates": width,
                **about,
                **timed(spent[name]).told(),
                **told.told("candidates_per_s"),
            }
            if name != "cpu":
                row["share_of_peak"] = told.value * about["operations_a_candidate"] / peak
                row |= _busy(sides[name], lists, self.stand.beside)
                if "cpu" in spent:
                    row |= ratio(spent["cpu"], spent[name]).told("speedup_vs_cpu")
                row |= _agreement(rankers["cpu"].with_runtime("float32"), sides[name], lists)
            yield row


def _speaking(ranker: Ranker) -> Ranker:
    """Return a ranker whose text model says something, as after a short training it may not.

    Else nobody could tell by the logits how well what the device computes agrees.
    """
    model = copy.deepcopy(ranker.model)
    weight = model.head.weight
    drawn = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        weight.copy_(SPEAKS * drawn)
    return replace(ranker, model=model)


def _scoring(ranker: Ranker) -> Callable[[_Lists], npt.NDArray[np.float32]]:
    return lambda lists: ranker.logits(lists.queries, lists.candidates)


def _busy(ranker: Ranker, lists: _Lists, device: str) -> dict[str, float]:
    """Return for how long the device computed in one call, as its own profiler says."""
    if device != "cuda":
        return {}
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as found:
        ranker.logits(lists.queries, lists.candidates)
        torch.cuda.synchronize()
    busy = sum(one.self_device_time_total for one in found.key_averages())
    return {"device_busy_ms": busy / 1e3}


def _agreement(exact: Ranker, ranker: Ranker, lists: _Lists) -> dict[str, float]:
    """Return how far logits are from those in single precision on the CPU, for the first user."""
    one = np.array([0])
    first = lists.queries.take(one), lists.candidates.take(one)
    wanted, found = (each.logits(*first)[0] for each in (exact, ranker))
    return {
        "largest_error": float(np.abs(found - wanted).max()),
        "same_top10": same_top(found, wanted),
    }


@dataclass
class _Epochs(Nobody):
    """Takes note of how long each epoch took."""

    seconds: list[float] = field(default_factory=list)

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        """Take note of an epoch; 0 is the state before the first step."""
        if number:
            self.seconds.append(values["epoch_seconds"])


@dataclass(frozen=True)
class _Tuned:
    """Fine-tunes the same ranker on the CPU and on the device."""

    stand: _Stand

    def __call__(self, place: Place) -> Iterator[Row]:
        stand = self.stand
        if stand.beside == "cuda":
            stand.check("torch")
        bench, cpu = stand.bench, 0.0
        for name in ("cpu", stand.beside):
            noted = _Epochs()
            ranker = stand.taught(1, name, Workplace(observer=noted))
            logits = ranker.logits(bench.queries, bench.served)
            seconds = noted.seconds[0]
            cpu = cpu or seconds
            ndcg: Floats = bench.ndcg(bench.reranked(ranker, logits))
            yield {
                "device": name,
                "n_users": len(bench.queries),
                "epoch_seconds": seconds,
                "speedup_vs_cpu": cpu / seconds,
                "ndcg10": float(ndcg.mean()),
            }
