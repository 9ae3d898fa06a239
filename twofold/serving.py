"""Both stages behind the engine: batches of requests in, ranked lists out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from twofold.evaluation.hardware import usable_cores
from twofold.indexing.errors import InputError
from twofold.indexing.item_set import ItemSet
from twofold.indexing.progress import Progress
from twofold.indexing.tracing import UNTRACED, Tracer
from twofold.ranking.deadlines import Pace, rerank_until
from twofold.ranking.ranker import Ranker
from twofold.ranking.shaping import Picks, Shape
from twofold.recommendation import Listed, ManyListed, Names, Recommendations, joined_lists
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import Queries, joined
from twofold.retrieval.retriever import Retriever

# What is left to do once candidates are reranked: naming them, in seconds.
NAMING = 1e-3


class Asked(NamedTuple):
    """One query, the length of its list, when it should stand, and what it must look like.

    `deadline` is in seconds of ``time.perf_counter``, ``inf`` for whenever; without a `shape`
    anything goes.
    """

    query: Queries
    k: int
    deadline: float = math.inf
    shape: Shape | None = None


class Found(NamedTuple):
    """What one query was answered: its list, and how many of the candidates were reranked."""

    listed: Listed
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
    tracer
        Told of every part of requests that are found together.
    """

    retriever: Retriever
    ranker: Ranker | None
    rerank: int
    pace: Pace = field(default_factory=Pace)
    tracer: Tracer = UNTRACED

    def width(self, k: int) -> int:
        """Return how many candidates a list of `k` is made from."""
        return max(k, self.rerank)

    def find(self, asked: Sequence[Asked]) -> list[Found]:
        """Return the answers to requests, computed together.

        Parameters
        ----------
        asked
            At least one request of a single query, all for lists of one length.
        """
        k = asked[0].k
        queries = joined([one.query for one in asked])
        deadlines = np.array([one.deadline for one in asked]) - NAMING * len(asked)
        depth = k if all(one.shape is None for one in asked) else self.width(k)
        ordered = self._ordered(queries, k, depth, deadlines)
        out = []
        for row, one in enumerate(asked):
            read, rest = ordered.row(row)
            if one.shape is None:
                listed = joined_lists((read, rest)).part(slice(k))
            else:
                listed = self._shaped(one.query, one.shape, k, (read, rest), deadlines[row])
            out.append(Found(listed, int(ordered.reranked[row]), int(ordered.candidates[row])))
        return out

    def find_all(
        self, queries: Queries, k: int, shape: Shape | None, progress: Progress
    ) -> ManyListed:
        """Return the lists of many queries."""
        depth = k if shape is None else self.width(k)
        found = self.retriever.retrieve(
            queries,
            self.width(k),
            least=k,
            features=self.ranker is not None,
            threads=usable_cores(),
            progress=progress,
        )
        if self.ranker is None:
            ranked, chances = found.top(depth), None
        else:
            ranked = self.ranker.rerank(queries, found, depth, progress=progress)
            chances = self.ranker.probabilities(queries, ranked.scores)
        whole = _listed(ranked, chances, slice(None))
        if shape is None:
            return ManyListed(ranked.lengths(), whole)
        out = [whole.part(slice(0))]
        with progress.step("shape", total=len(queries)) as task:
            for number in range(len(queries)):
                asked, row = queries.take(np.array([number])), _listed(ranked, chances, number)
                out.append(self._shaped(asked, shape, k, (row,), math.inf))
                task.advance(1)
        lengths = np.array([len(one.items) for one in out[1:]], dtype=np.int64)
        return ManyListed(lengths, joined_lists(out))

    def _ordered(
        self, queries: Queries, k: int, depth: int, deadlines: npt.NDArray[np.float64]
    ) -> _Ordered:
        """Return the best `depth` of each query's candidates, reranked as far as time allows."""
        with self.tracer.span("stage one"):
            found = self.retriever.retrieve(queries, self.width(k), least=k, tracer=self.tracer)
        lengths = found.lengths()
        if self.ranker is None:
            return _Ordered(found.top(0), None, found.top(depth), np.zeros_like(lengths), lengths)
        with self.tracer.span("stage two"):
            partly = rerank_until(
                self.ranker, queries, found, depth, deadlines=deadlines, pace=self.pace
            )
            chances = self.ranker.probabilities(queries, partly.ranked.scores)
        return _Ordered(partly.ranked, chances, partly.rest, partly.reranked, lengths)

    def _shaped(
        self, query: Queries, shape: Shape, k: int, parts: Sequence[Listed], deadline: float
    ) -> Listed:
        """Return a list of a certain shape from one query's candidates, the better parts first."""
        picks, chosen = Picks(shape, k), []
        while True:
            chosen += [part.part(picks.take(part.items, part.scores)) for part in parts]
            if not picks.wanting:
                break
            # Of what was offered nothing more fits: ask for what does, if there is any.
            left = np.setdiff1d(query.admission.open(0), picks.closed(), assume_unique=True)
            if not len(left):
                break
            mask = np.zeros(query.n_items, dtype=bool)
            mask[left] = True
            fitting = replace(query, eligible=(ItemSet(mask),))
            width = self.width(picks.wanting)
            ordered = self._ordered(fitting, picks.wanting, width, np.array([deadline]))
            parts = ordered.row(0)
        return joined_lists(chosen)


class _Ordered(NamedTuple):
    """Candidates of a batch, the reranked ones and the others, as of :class:`Partly`."""

    ranked: Candidates
    probabilities: npt.NDArray[np.float32] | None
    rest: Candidates
    reranked: npt.NDArray[np.int64]
    candidates: npt.NDArray[np.int64]

    def row(self, row: int) -> tuple[Listed, Listed]:
        """Return those of one query, the reranked ones and the others."""
        return _listed(self.ranked, self.probabilities, row), _listed(self.rest, None, row)


def _listed(
    candidates: Candidates, probabilities: npt.NDArray[np.float32] | None, row: int | slice
) -> Listed:
    """Return one row of candidates, or several one after another, without their padding."""
    there = candidates.items[row] >= 0
    items = candidates.items[row][there]
    return Listed(
        items,
        candidates.scores[row][there],
        np.full(len(items), np.nan, dtype=np.float32)
        if probabilities is None
        else probabilities[row][there],
        np.zeros(len(items), dtype=np.uint32)
        if candidates.sources is None
        else candidates.sources[row][there],
    )


@dataclass(frozen=True)
class Answers:
    """Both stages and the names of what they find.

    Naming in each request's own thread would have them all take turns at the interpreter just when
    the next batch needs it.
    """

    stages: Stages
    names: Names

    def find(self, asked: Sequence[Asked]) -> list[Recommendations]:
        """Return the answers to requests for lists of one length, computed together."""
        out = []
        for one, found in zip(asked, self.stages.find(asked), strict=True):
            with self.stages.tracer.span("naming"):
                named = self.names.told(one.query, found.listed)
                answer = Recommendations(
                    named, reranked=found.reranked, candidates=found.candidates
                )
            out.append(answer)
        return out


def usual_places() -> int:
    """Return how many batches this process's cores can compute at once."""
    import torch

    return max(1, usable_cores() // torch.get_num_threads())


def at_least_one(k: int) -> None:
    """Refuse to make a list of no items."""
    if k < 1:
        raise InputError(f"k must be at least 1, not {k}")


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
