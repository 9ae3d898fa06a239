"""Clients that ask again once they are answered, and how sure their times are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from benchmarks.harness.timing import Spread, Timed, in_rounds, spread, timed

Floats = npt.NDArray[np.float64]
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


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

    def rate(self) -> Spread:
        """Return answers a second."""
        ended = np.sort(self.ended)
        gaps = in_rounds(np.diff(ended, prepend=0.0))
        return spread(len(ended) / float(ended[-1]), 1 / gaps.mean(axis=1))

    def times(self) -> Timed:
        """Return how long requests took, in rounds as they were answered."""
        return timed(in_rounds(self.ms[np.argsort(self.ended, kind="stable")]))


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

    def asked(request: Asked) -> tuple[Answer, float, float]:
        begun = time.perf_counter()
        answer = ask(request)
        ended = time.perf_counter()
        return answer, 1e3 * (ended - begun), ended - start

    if clients == 1:
        told = [asked(request) for request in requests]
    else:
        with ThreadPoolExecutor(clients) as pool:
            told = list(pool.map(asked, requests))
    answers, ms, ended = zip(*told, strict=True)
    return Loop(answers, np.array(ms), np.array(ended))
