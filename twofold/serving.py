"""Both stages behind the engine: batches of requests in, ranked lists out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from twofold.evaluation.hardware import usable_cores
from twofold.indexing.errors import InputError
from twofold.indexing.progress import Progress
from twofold.ranking.deadlines import Pace, rerank_until
from twofold.ranking.ranker import Ranker
from twofold.recommendation import Names, Recommendations
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import Queries, joined
from twofold.retrieval.retriever import Retriever

# What is left to do once candidates are reranked: naming them, in seconds.
NAMING = 1e-3


class Asked(NamedTuple):
    """One query, the length of its list, and when the answer should stand.

    `deadline` is in seconds of ``time.perf_counter``, ``inf`` for whenever.
    """

    query: Queries
    k: int
    deadline: float = math.inf


class Found(NamedTuple):
    """What one query was answered.

    Parameters
    ----------
    ranked
        The best `k` of the reranked candidates, one row.
    probabilities
        Theirs, ``float32 (k,)``; NaN where there are none.
    rest
        The best `k` of the others in stage one's order, one row.
    reranked, candidates
        How many were reranked, of how many.
    """

    ranked: Candidates
    probabilities: npt.NDArray[np.float32]
    rest: Candidates
    reranked: int
    candidates: int


@dataclass(frozen=True)
class Stages:
    """Stage one and, where there is one, the ranker.

    Parameters
    ----------
    retriever
        Stage one.
    ranker
        Stage two.
    rerank
        How many candidates are reranked at least.
    pace
        What is known of the time that reranking takes.
    """

    retriever: Retriever
    ranker: Ranker | None
    rerank: int
    pace: Pace = field(default_factory=Pace)

    def width(self, k: int) -> int:
        """Return how many candidates a list of `k` is made from."""
        return max(k, self.rerank)

    def find(self, asked: Sequence[Asked]) -> list[Found]:
        """Return the answers to requests of one width, computed together.

        Parameters
        ----------
        asked
            At least one request of a single query.
        """
        queries = joined([one.query for one in asked])
        longest = max(one.k for one in asked)
        found = self.retriever.retrieve(queries, self.width(longest))
        lengths = found.lengths()
        if self.ranker is None:
            nothing = found.top(0)
            parts = (nothing, nothing.scores, found.top(longest), np.zeros_like(lengths))
        else:
            deadlines = np.array([one.deadline for one in asked]) - NAMING * len(asked)
            partly = rerank_until(
                self.ranker, queries, found, longest, deadlines=deadlines, pace=self.pace
            )
            chances = self.ranker.probabilities(queries, partly.ranked.scores)
            parts = (partly.ranked, chances, partly.rest, partly.reranked)
        ranked, probabilities, rest, reranked = parts
        return [
            Found(
                _row(ranked, row, one.k),
                probabilities[row, : one.k],
                _row(rest, row, one.k),
                int(reranked[row]),
                int(lengths[row]),
            )
            for row, one in enumerate(asked)
        ]

    def find_all(
        self, queries: Queries, k: int, progress: Progress | None
    ) -> tuple[Candidates, npt.NDArray[np.float32]]:
        """Return the best `k` items of many queries, and their probabilities ``(n, k)``."""
        found = self.retriever.retrieve(queries, self.width(k), progress=progress)
        if self.ranker is None:
            top = found.top(k)
            return top, np.full(top.scores.shape, np.nan, dtype=np.float32)
        ranked = self.ranker.rerank(queries, found, k, progress=progress)
        return ranked, self.ranker.probabilities(queries, ranked.scores)


@dataclass(frozen=True)
class Answers:
    """Both stages and the names of what they find.

    Naming in each request's own thread would have them all take turns at the interpreter just when
    the next batch needs it.
    """

    stages: Stages
    names: Names

    def find(self, asked: Sequence[Asked]) -> list[Recommendations]:
        """Return the answers to requests of one width, computed together."""
        out = []
        for one, found in zip(asked, self.stages.find(asked), strict=True):
            named = self.names.told(one.query, found.ranked, found.probabilities)
            rest = found.rest.top(one.k - len(named))
            named += self.names.told(one.query, rest, first=len(named) + 1)
            answer = Recommendations(named, reranked=found.reranked, candidates=found.candidates)
            out.append(answer)
        return out


def _row(candidates: Candidates, row: int, k: int) -> Candidates:
    """Return the best `k` of one row."""
    if candidates.n_queries > 1:
        candidates = candidates.take(np.array([row]))
    return candidates if candidates.k <= k else candidates.top(k)


def usual_places() -> int:
    """Return how many batches this process's cores can compute at once."""
    import torch

    return max(1, usable_cores() // torch.get_num_threads())


def deadline_in(budget_ms: float | None) -> float:
    """Return when an answer should stand, the clock starting now: ``inf`` without a budget.

    Raises
    ------
    InputError
        If the budget is no positive number.
    """
    if budget_ms is None:
        return math.inf
    if not 0 < budget_ms < math.inf:
        raise InputError(f"budget_ms must be a positive number of milliseconds, not {budget_ms}")
    return time.perf_counter() + budget_ms / 1e3
