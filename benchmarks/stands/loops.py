"""Clients that ask again once they are answered, and how sure their times are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
BLOCKS, DRAWS = 20, 1000
PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Loop(Generic[Answer]):
    """Requests of several clients, all of one number of clients at once.

    Parameters
    ----------
    answers
        In the order of the requests.
    ms
        What each took, ``float64 (n,)``.
    ended
        When each was answered, in seconds from the first one's beginning, ``float64 (n,)``.
    """

    answers: Sequence[Answer]
    ms: Floats
    ended: Floats

    def figures(self, seed: int = 0) -> dict[str, float]:
        """Return requests a second and percentiles, each with the ends of its 95 % interval.

        The interval is a percentile bootstrap over stretches of the run, a twentieth each, in the
        order in which requests were answered: what holds a machine up for a moment holds up many
        requests one after another, so that single requests say less than as many coins would.

        Parameters
        ----------
        seed
            Draws the stretches.
        """
        order = np.argsort(self.ended, kind="stable")
        parts = [part for part in np.array_split(order, BLOCKS) if len(part)]
        ends = np.array([self.ended[part[-1]] for part in parts])
        seconds, sizes = np.diff(ends, prepend=0.0), np.array([len(part) for part in parts])
        rng = np.random.default_rng(seed)
        rates, drawn = np.empty(DRAWS), np.empty((DRAWS, len(PERCENTILES)))
        for row in range(DRAWS):
            which = rng.integers(0, len(parts), len(parts))
            rates[row] = sizes[which].sum() / seconds[which].sum()
            some = np.concatenate([parts[one] for one in which])
            drawn[row] = np.percentile(self.ms[some], PERCENTILES)
        out = _with_ends("requests_a_second", len(self.ms) / float(ends[-1]), rates)
        for column, percent in enumerate(PERCENTILES):
            told = float(np.percentile(self.ms, percent))
            out |= _with_ends(f"p{percent}_ms", told, drawn[:, column])
        return out


def _with_ends(name: str, value: float, drawn: Floats) -> dict[str, float]:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {name: value, f"{name}_low": float(low), f"{name}_high": float(high)}


def closed_loop(
    ask: Callable[[Asked], Answer], requests: Sequence[Asked], clients: int
) -> Loop[Answer]:
    """Return how so many clients fare that share requests, each asking once it is answered.

    Parameters
    ----------
    ask
        Answers one request.
    requests
        The requests, in the order they are taken up.
    clients
        How many ask at once.
    """
    start = time.perf_counter()

    def timed(request: Asked) -> tuple[Answer, float, float]:
        begun = time.perf_counter()
        answer = ask(request)
        ended = time.perf_counter()
        return answer, 1e3 * (ended - begun), ended - start

    if clients == 1:
        told = [timed(request) for request in requests]
    else:
        with ThreadPoolExecutor(clients) as pool:
            told = list(pool.map(timed, requests))
    answers, ms, ended = zip(*told, strict=True)
    return Loop(answers, np.array(ms), np.array(ended))
