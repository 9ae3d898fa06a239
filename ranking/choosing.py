"""Which runtime serves a classifier best on this machine, found out by trying."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from twofold.ranking.ranker import Ranker
from twofold.ranking.runtime import runnable
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import Queries

REFERENCE = "float32"
# A faster runtime is taken only where it says nearly the same: of the ten best of a list at least
# 95 % must be the same, and no logit may move by more than this.
SAME_TOP, TOP = 0.95, 10
LARGEST_ERROR = 0.25
WARM_UP, ROUNDS = 3, 5


@dataclass(frozen=True)
class Measured:
    """How one runtime did on lists of candidates.

    Parameters
    ----------
    runtime
        Its name.
    milliseconds
        Median time to score one list.
    error
        Largest distance of a logit from single precision's.
    same_top
        Mean share of each list's ten best that single precision has among its ten best, in [0, 1].
    """

    runtime: str
    milliseconds: float
    error: float
    same_top: float

    def to_dict(self) -> dict[str, Any]:
        """Return the measurement as JSON values."""
        return asdict(self)

    @property
    def sound(self) -> bool:
        """Whether its scores may stand for single precision's."""
        return self.error <= LARGEST_ERROR and self.same_top >= SAME_TOP


def measure_runtimes(
    ranker: Ranker,
    queries: Queries,
    candidates: Candidates,
    *,
    runtimes: Sequence[str] | None = None,
    rounds: int = ROUNDS,
) -> tuple[Measured, ...]:
    """Return how each runtime scores lists, one list at a time, the runtimes taking turns.

    Parameters
    ----------
    ranker
        The ranker, its weights in single precision.
    queries, candidates
        Lists as they are served, at least one.
    runtimes
        Names of the runtimes; ``None`` for all that this machine can compute in.
    rounds
        How often each list is scored.
    """
    runtimes = runnable() if runtimes is None else runtimes
    # Each list is scored several times over: as if nothing were known of its history.
    ranker = ranker.forgetting()
    with_each = {name: ranker.with_runtime(name) for name in dict.fromkeys((REFERENCE, *runtimes))}
    lists = [(queries.take(one), candidates.take(one)) for one in np.arange(len(queries))[:, None]]
    for each in with_each.values():
        for asked, served in lists[:WARM_UP]:
            each.logits(asked, served)
    spent: dict[str, list[int]] = {name: [] for name in with_each}
    told: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in with_each}
    for _ in range(rounds):
        told = {name: [] for name in with_each}
        for asked, served in lists:
            for name, each in with_each.items():
                begun = time.perf_counter_ns()
                logits = each.logits(asked, served)
                spent[name].append(time.perf_counter_ns() - begun)
                told[name].append(logits[0, served.items[0] >= 0])
    out = []
    for name in runtimes:
        pairs = list(zip(told[name], told[REFERENCE], strict=True))
        error = max(float(np.abs(a - b).max(initial=0)) for a, b in pairs)
        same = float(np.mean([same_top(a, b) for a, b in pairs]))
        out.append(Measured(name, float(np.median(spent[name]) / 1e6), error, same))
    return tuple(out)


@dataclass(frozen=True)
class Compared:
    """Two rankers on the same lists.

    Parameters
    ----------
    times
        Each one's median milliseconds a list, of a history and of a free text.
    same_top
        Mean share of each list's ten best by the first that the second has among its ten best.
    error
        Root mean squared distance of their logits.
    """

    times: tuple[tuple[float, float], ...]
    same_top: float
    error: float


def compare(
    rankers: Sequence[Ranker], queries: Queries, candidates: Candidates, texts: Sequence[str]
) -> Compared:
    """Return how two rankers do on lists, one list at a time, taking turns.

    Parameters
    ----------
    rankers
        Two rankers over the same items.
    queries, candidates
        Lists of histories, at least one; each is scored once more as the answer to a text.
    texts
        Free texts to ask for, used in turn.
    """
    new = [one.forgetting() for one in rankers]
    spent: list[tuple[list[float], list[float]]] = [([], []) for _ in new]
    told: list[list[npt.NDArray[np.float32]]] = [[] for _ in new]
    for number in range(len(queries)):
        which = np.array([number])
        asked, served = queries.take(which), candidates.take(which)
        spoken = replace(asked.last(0), texts=(texts[number % len(texts)],))
        for ranker, (histories, words), logits in zip(new, spent, told, strict=True):
            begun = time.perf_counter_ns()
            logits.append(ranker.logits(asked, served)[0, served.items[0] >= 0])
            middle = time.perf_counter_ns()
            ranker.logits(spoken, served)
            histories.append((middle - begun) / 1e6)
            words.append((time.perf_counter_ns() - middle) / 1e6)
    pairs = list(zip(told[1], told[0], strict=True))
    squares = np.concatenate([np.square(a - b) for a, b in pairs])
    return Compared(
        tuple((float(np.median(a)), float(np.median(b))) for a, b in spent),
        float(np.mean([same_top(a, b) for a, b in pairs])),
        float(np.sqrt(squares.mean())),
    )


def fastest(measured: Sequence[Measured]) -> str:
    """Return the name of the fastest runtime whose scores are sound; single precision's are."""
    sound = [one for one in measured if one.sound]
    return min(sound, key=lambda one: one.milliseconds).runtime if sound else REFERENCE


def same_top(scores: npt.NDArray[np.float32], exact: npt.NDArray[np.float32]) -> float:
    """Return the share of the best by `scores` that are among the best by `exact`."""
    k = min(TOP, len(exact))
    if k == 0:
        return 1.0
    best, wanted = (set(np.argsort(-one, kind="stable")[:k].tolist()) for one in (scores, exact))
    return len(best & wanted) / k
