"""How long single queries take, stage by stage: p50, p95 and p99 after warm-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import InputError


@dataclass(frozen=True)
class Latency:
    """Milliseconds a query, one query at a time.

    Parameters
    ----------
    p50, p95, p99
        Percentiles, linear between measurements.
    mean
        Mean.
    n
        Number of measurements; p99 says little below some hundred.
    """

    p50: float
    p95: float
    p99: float
    mean: float
    n: int

    @classmethod
    def of(cls, milliseconds: npt.NDArray[np.float64]) -> Latency:
        """Return the summary of measurements, ``float64 (n,)``, at least one."""
        p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99])
        return cls(
            float(p50), float(p95), float(p99), float(milliseconds.mean()), len(milliseconds)
        )

    def percentiles(self) -> dict[str, float]:
        """Return ``p50``, ``p95`` and ``p99`` by name, as a report's row takes them."""
        return {"p50": self.p50, "p95": self.p95, "p99": self.p99}


def measure(
    call: Callable[[Any], object], queries: Sequence[Any], *, warm_up: int = 10, repeats: int = 1
) -> Latency:
    """Return how long `call` takes for one query after another.

    Parameters
    ----------
    call
        Takes a query; what it returns is thrown away.
    queries
        Single queries, in the order they are asked.
    warm_up
        That many first queries are asked once more before, unmeasured.
    repeats
        How often the whole list is asked.

    Raises
    ------
    InputError
        If there is no query, or `repeats` is below 1.
    """
    return measure_stages({"call": call}, queries, warm_up=warm_up, repeats=repeats)["call"]


def measure_stages(
    stages: Mapping[str, Callable[[Any], Any]],
    queries: Sequence[Any],
    *,
    warm_up: int = 10,
    repeats: int = 1,
) -> dict[str, Latency]:
    """Return the latency of each stage and, as ``"total"``, of all where there are several.

    Parameters
    ----------
    stages
        Name -> what takes the stage before's result (the first takes the query), in order. A stage
        that also needs the query has it handed on in the stage before's result.
    queries, warm_up, repeats
        As in :func:`measure`.

    Raises
    ------
    InputError
        If there is no query or stage, a stage is called ``"total"``, or `repeats` is below 1.
    """
    if not len(queries) or not stages or repeats < 1:
        raise InputError("latency needs at least one query, one stage and one repeat")
    if "total" in stages:
        raise InputError("'total' is the sum of all stages; give the stage another name")
    for query in queries[:warm_up]:
        _run(stages, query)
    times = np.array([_run(stages, query) for _ in range(repeats) for query in queries]) / 1e6
    out = {name: Latency.of(times[:, s]) for s, name in enumerate(stages)}
    return out | {"total": Latency.of(times.sum(axis=1))} if len(stages) > 1 else out


def _run(stages: Mapping[str, Callable[[Any], Any]], query: Any) -> list[int]:
    """Return the nanoseconds of each stage for one query."""
    spent = []
    value = query
    for stage in stages.values():
        begin = perf_counter_ns()
        value = stage(value)
        spent.append(perf_counter_ns() - begin)
    return spent
