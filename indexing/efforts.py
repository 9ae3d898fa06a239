"""The least effort at which a structure finds enough, learned and tested on other queries."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twofold.indexing.proposers import TRIED_FOR, Proposer
from twofold.indexing.vectors import VectorIndex

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
OVERS = (1, 2, 4, 8, 12, 16)
REFINED = 4  # times the step between efforts is halved
SURE = 1.645  # standard errors: one in twenty means lies that far above its expectation
# Products of the same vectors, added up in another order, differ by so much of themselves.
ROUNDING = 1e-5
# Fewer queries than this are not divided: all of them both teach and test.
DIVIDED = 40
POINT_TIMED, RACE_TIMED, ROUNDS = 30, 100, 5


@dataclass(frozen=True)
class Point:
    """What one effort gives.

    Parameters
    ----------
    effort, over
        As of :class:`~twofold.indexing.proposers.Proposer`.
    recall
        Share of the hundred nearest that were found, a mean over the queries that teach.
    ms
        Milliseconds a query, one at a time: the median of a few.
    """

    effort: int
    over: int
    recall: float
    ms: float


@dataclass(frozen=True)
class Reached:
    """The least effort that suffices, and how it was come by.

    Parameters
    ----------
    proposer
        The structure with that effort.
    recall
        Mean share of the nearest that it finds for queries that nothing was learned from.
    lowest
        What that mean would hardly be below on other queries: `SURE` standard errors less.
    curve
        All that was tried, in the order of trying.
    """

    proposer: Proposer
    recall: float
    lowest: float
    curve: tuple[Point, ...]


@dataclass(frozen=True)
class Exam:
    """Queries with their true answers: one half teaches how much effort is needed, one tests it.

    Parameters
    ----------
    plain
        The index, searched exactly on the CPU.
    teaching, testing
        Queries, ``float32 (n, d)``.
    taught, tested
        What the hundredth nearest of each scores, ``float32 (n,)``: whatever is as near is right,
        for of items with one text any is as good as another.
    """

    plain: VectorIndex
    teaching: Float32s
    taught: Float32s
    testing: Float32s
    tested: Float32s

    @classmethod
    def of(
        cls, index: VectorIndex, queries: Float32s, *, seed: int = 0, divide: bool = True
    ) -> Exam:
        """Return the exam of an index.

        Parameters
        ----------
        index
            All vectors.
        queries
            At least one, ``float32 (n, d)``, divided by chance; fewer than `DIVIDED` are not.
        seed
            Where chance begins.
        divide
            Whether to divide them; to tell structures apart it is no matter.
        """
        plain = index.on_cpu().through(None)
        queries = queries[np.random.default_rng(seed).permutation(len(queries))]
        bars = plain.search(queries, _depth(plain))[0][:, -1]
        half = len(queries) // 2
        if not divide or len(queries) < DIVIDED:
            return cls(plain, queries, bars, queries, bars)
        return cls(plain, queries[:half], bars[:half], queries[half:], bars[half:])

    def passed(self, proposer: Proposer, wanted: float, *, patient: bool = False) -> Reached | None:
        """Return a structure with the least effort that suffices; ``None`` if none does.

        The effort is the least whose mean recall is surely (see `SURE`) at least what is wanted on
        the queries that teach. Where the others' mean is lower than wanted all the same, it grows
        by sixteenths until it is not. More proposals are ranked again for each item wanted as long
        as that is quicker.

        Parameters
        ----------
        proposer
            The structure.
        wanted
            Share of the nearest, in (0, 1].
        patient
            Whether to go on with more effort where the last doubling gained too little for hope.
        """
        curve: list[Point] = []
        best: Point | None = None
        for over in OVERS[:1] if proposer.exact_vectors else OVERS:
            # The more is taken over, the less effort is needed: no more than before.
            most = None if best is None else best.effort
            if most is not None and not self._saves(proposer.with_effort(most, over), wanted):
                break
            point = self._least(proposer, over, wanted, most, curve, patient=patient)
            if point is not None and best is not None and point.ms >= best.ms:
                break
            best = point or best
        return None if best is None else self._tested(proposer, best, wanted, tuple(curve))

    def recalls(self, proposer: Proposer, *, test: bool = False) -> Float64s:
        """Return the share of each query's nearest that it finds, ``float64 (n,)``.

        Parameters
        ----------
        proposer
            The structure with its effort.
        test
            Whether to ask the queries that test, not those that teach.
        """
        queries, bars = (self.testing, self.tested) if test else (self.teaching, self.taught)
        scores, _ = self.plain.through(proposer).search(queries, _depth(self.plain))
        return np.asarray((scores >= (bars - ROUNDING * np.abs(bars))[:, None]).mean(axis=1))

    def _saves(self, proposer: Proposer, wanted: float) -> bool:
        """Return whether an eighth less effort suffices: ranking more again costs about that."""
        less = proposer.with_effort(proposer.effort * 7 // 8, proposer.over)
        return surely(self.recalls(less)) >= wanted

    def _least(
        self,
        proposer: Proposer,
        over: int,
        wanted: float,
        most: int | None,
        curve: list[Point],
        *,
        patient: bool,
    ) -> Point | None:
        """Return the least effort, up to `most`, that surely reaches the recall, if any does."""

        def tried(effort: int) -> tuple[Point, bool]:
            now = proposer.with_effort(effort, over)
            told = self.recalls(now)
            ms = median_ms(self.plain.through(now), self.teaching[:POINT_TIMED])
            point = Point(effort, over, float(told.mean()), ms)
            curve.append(point)
            return point, surely(told) >= wanted

        efforts = [one for one in proposer.efforts() if most is None or one < most]
        efforts += [] if most is None else [most]
        last, reached, before = efforts[0] // 2, None, None
        for effort in efforts:
            point, enough = tried(effort)
            if enough:
                reached = point
                break
            gained = 1.0 if before is None else point.recall - before.recall
            # Doublings gain less and less; from here, all that follow would not gain enough.
            if not patient and 4 * gained < wanted - point.recall:
                return None
            last, before = effort, point
        if reached is None:
            return None
        for _ in range(REFINED):
            between = (last + reached.effort) // 2
            if between in (last, reached.effort):
                break
            point, enough = tried(between)
            last, reached = (last, point) if enough else (between, reached)
        return reached

    def _tested(
        self, proposer: Proposer, least: Point, wanted: float, curve: tuple[Point, ...]
    ) -> Reached | None:
        """Return the least effort that holds on the queries that test, from what was learned on."""
        effort, most = least.effort, proposer.efforts()[-1]
        while True:
            now = proposer.with_effort(effort, least.over)
            told = self.recalls(now, test=True)
            if told.mean() >= wanted:
                return Reached(now, float(told.mean()), surely(told), curve)
            if effort >= most:
                return None
            effort = min(most, effort + max(1, effort // 16))


def _depth(index: VectorIndex) -> int:
    return min(TRIED_FOR, len(index))


def surely(recalls: Float64s) -> float:
    """Return what the mean over other such queries would hardly be below."""
    return float(recalls.mean() - SURE * recalls.std() / np.sqrt(len(recalls)))


def recall_of(found: Int64s, truth: Int64s) -> float:
    """Return the share of all rows' true items that were found; padding (-1) is no item."""
    hits = sum(
        len(np.intersect1d(one[one >= 0], other[other >= 0]))
        for one, other in zip(found, truth, strict=True)
    )
    return hits / max(1, int((truth >= 0).sum()))


def raced(indexes: Sequence[VectorIndex], queries: Float32s) -> list[float]:
    """Return milliseconds a query of each index, one at a time: all take turns in some rounds.

    What slows the machine for a while slows all of them. Each round's median counts, and of the
    rounds the median.

    Parameters
    ----------
    indexes
        Who searches.
    queries
        What they are asked, the first of them, ``float32 (n, d)``.
    """
    asked = queries[:RACE_TIMED]
    rounds = [[median_ms(index, asked) for index in indexes] for _ in range(ROUNDS)]
    return [float(one) for one in np.median(rounds, axis=0)]


def median_ms(index: VectorIndex, queries: Float32s) -> float:
    """Return the median time of a query, one at a time, in milliseconds."""
    return 1e3 * float(np.median(list(_seconds(index, queries))))


def _seconds(index: VectorIndex, queries: Float32s) -> Iterator[float]:
    for query in queries:
        begun = time.perf_counter()
        index.search(query[None], TRIED_FOR)
        yield time.perf_counter() - begun
