"""How long calls take where the machine is not quiet: turns, and intervals that hold again.

Systems that are compared take turns call by call, so that whatever else the machine does meets all
of them alike, and their order is turned round from round to round, so that none always stands
behind the same neighbour.

An interval says where an identical run's number would fall in 95 of 100 cases. It is made of the
differences between rounds, not between calls: calls of one moment share the machine's mood, so
that their number says little of how sure the result is [1]_. The rounds' values are taken as
logarithms, neighbours among them as correlated [2]_.

References
----------
.. [1] T. Kalibera and R. Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013, section 5.
.. [2] G. Box, G. Jenkins and G. Reinsel, "Time Series Analysis", 3rd edition, 1994, section 2.1.5:
   the variance of the mean of a first-order process is (1 + r) / (1 - r) times that of independent
   values. r is 1 - d / (2 v), where d is the mean square of neighbours' differences and v the
   variance; we hold it between a third and 0.8, since a few rounds tell it badly.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from twofold.evaluation.latency import Latency
from twofold.indexing.errors import InputError

Floats = npt.NDArray[np.float64]
ROUNDS, WARM_UP = 5, 10
LEVEL = 0.95
CORRELATED = (1 / 3, 0.8)  # neighbouring rounds are taken to be, at least and at most


@dataclass(frozen=True)
class Spread:
    """A number above 0, and where an identical run's would fall in 95 of 100 cases.

    Parameters
    ----------
    value
        The number.
    low, high
        Ends of the interval; infinitely wide where there was one round.
    """

    value: float
    low: float
    high: float

    def told(self, name: str) -> dict[str, float]:
        """Return JSON values: ``name``, ``name_low`` and ``name_high``."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


@dataclass(frozen=True)
class Timed:
    """How long one system's calls took, milliseconds.

    Parameters
    ----------
    p50, p95, p99
        Percentiles of all calls.
    mean
        Mean of all calls.
    calls, rounds
        How many there were.
    """

    p50: Spread
    p95: Spread
    p99: Spread
    mean: Spread
    calls: int
    rounds: int

    def told(self) -> dict[str, float | int]:
        """Return JSON values: percentiles as ``p50_ms``, ``p50_ms_low``, ..., and the numbers."""
        parts = {"p50_ms": self.p50, "p95_ms": self.p95, "p99_ms": self.p99}
        spreads = {
            key: number for name, one in parts.items() for key, number in one.told(name).items()
        }
        return {**spreads, "calls": self.calls, "rounds": self.rounds}


def turns(names: Sequence[str], rounds: int) -> Iterator[tuple[int, list[str]]]:
    """Yield each round's number and the order of turns in it: forward, backward, forward, ..."""
    for number in range(rounds):
        yield number, list(names if number % 2 == 0 else reversed(names))


def take_turns(
    systems: Mapping[str, Callable[[Any], object]],
    queries: Sequence[Any],
    *,
    rounds: int = ROUNDS,
    warm_up: int = WARM_UP,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Floats]:
    """Return each system's milliseconds for each query in each round, ``float64 (rounds, n)``.

    Parameters
    ----------
    systems
        Name -> what takes a query; what it returns is thrown away.
    queries
        What all of them are asked, one at a time, in this order in every round.
    rounds
        How often.
    warm_up
        That many first queries are asked once more before, unmeasured.
    clock
        Tells seconds.

    Raises
    ------
    InputError
        If there is no system, no query or no round.
    """
    if not systems or not len(queries) or rounds < 1:
        raise InputError("timing needs at least one system, one query and one round")
    for query in queries[:warm_up]:
        for call in systems.values():
            call(query)
    seconds = {name: np.empty((rounds, len(queries))) for name in systems}
    for number, order in turns(list(systems), rounds):
        turn = [(systems[name], seconds[name][number]) for name in order]
        for place, query in enumerate(queries):
            for call, out in turn:
                begun = clock()
                call(query)
                out[place] = clock() - begun
    return {name: 1e3 * each for name, each in seconds.items()}


def timed(milliseconds: Floats) -> Timed:
    """Return percentiles and the mean of all calls with their intervals.

    Parameters
    ----------
    milliseconds
        One row a round, ``float64 (rounds, n)``, above 0.
    """
    whole = Latency.of(milliseconds.ravel())
    each = [Latency.of(row) for row in milliseconds]
    p50, p95, p99, mean = (
        spread(getattr(whole, name), [getattr(one, name) for one in each])
        for name in ("p50", "p95", "p99", "mean")
    )
    return Timed(p50, p95, p99, mean, milliseconds.size, len(milliseconds))


def ratio(over: Floats, under: Floats) -> Spread:
    """Return how many times as long the median call of one system takes as that of another.

    Both took turns, and what slowed a round down slowed both: the interval is that of the rounds'
    own ratios, and narrower than those of the two medians would make it.

    Parameters
    ----------
    over, under
        Their milliseconds, ``float64 (rounds, n)``.
    """
    whole = float(np.median(over) / np.median(under))
    return spread(whole, np.median(over, axis=1) / np.median(under, axis=1))


def in_rounds(values: Floats, rounds: int = ROUNDS) -> Floats:
    """Return calls in the order they were made as rounds, ``float64 (rounds, n)``.

    For calls that are not made again, such as where an answer is kept. What does not fill a round
    is left out at the end; fewer calls than rounds are a round each.
    """
    rounds = min(rounds, len(values))
    length = len(values) // rounds
    return values[: rounds * length].reshape(rounds, length)


def spread(value: float, rounds: Sequence[float] | Floats) -> Spread:
    """Return a number with the interval that its values in single rounds tell.

    Parameters
    ----------
    value
        The number, of all rounds together, above 0.
    rounds
        The same of each round, in order, above 0.
    """
    logs = np.log(np.asarray(rounds, dtype=np.float64))
    n = len(logs)
    if n < 2:
        return Spread(value, 0.0, math.inf)
    variance = float(logs.var(ddof=1))
    told = 1 - float(np.square(np.diff(logs)).mean()) / (2 * variance) if variance > 0 else 0.0
    alike = min(max(told, CORRELATED[0]), CORRELATED[1])
    # Twice the variance of a mean: that of the difference between this run's and another's.
    error = math.sqrt(2 * variance / n * (1 + alike) / (1 - alike))
    half = float(student.ppf((1 + LEVEL) / 2, n - 1)) * error
    return Spread(value, value * math.exp(-half), value * math.exp(half))
