"""Sources that propose what a user takes again and again: often, lately, and when it is due."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from twofold.indexing.compiled import compiled
from twofold.indexing.interactions import Interactions
from twofold.indexing.neighbours import MS_PER_DAY
from twofold.retrieval.answers import Answer, Silence, SparseAnswer
from twofold.retrieval.habits import JUST_NOW, Habits, habits_of_log
from twofold.retrieval.queries import Queries, raising_in
from twofold.retrieval.relating import Touched

if TYPE_CHECKING:
    from twofold.indexing.artefact import Generation, GenerationWriter

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Doubles = npt.NDArray[np.float64]
CHANCES, FACTORS, CLOCK = "habits/chances", "habits/factors", "habits/clock"
# Cells of the table of chances: takings so far, occasions since the last, and the share of the
# occasions since the first at which the item was taken; two cells for every doubling.
CELLS = (10, 15, 13)
# Occasions of a user that chances are counted at, the latest ones.
LATEST = 100
# After so many days an occasion counts half for the items' factors: assortments change.
FADE_DAYS = 60.0
# Trials that a cell has of its neighbours' mean, and takings that an item has of the usual rate.
CELL_PRIOR, ITEM_PRIOR = 20.0, 5.0


@dataclass(frozen=True)
class Returns:
    """What a log tells of how items are taken again.

    Parameters
    ----------
    chances
        How often an item is taken at the user's next occasion, by how often it was taken, how many
        occasions ago the last time, and at which share of the occasions since the first: ``float32
        (10, 15, 13)``, in (0, 1).
    factors
        How much oftener each item comes again than others of the same cells, ``float32
        (n_items,)``; 1 where nothing is known.
    end
        The latest moment of the log, in milliseconds since 1970. Ages are counted from it where a
        query does not say when it is asked.
    has_times
        Whether the log's times are real. Otherwise an occasion is taken for a day.
    """

    chances: Floats
    factors: Floats
    end: int
    has_times: bool

    @classmethod
    def of(cls, log: Interactions, *, has_times: bool) -> Returns:
        """Return what `log` tells.

        Every user's latest hundred occasions are gone through, and every item that was taken before
        one is a trial of the cell that it is in by then. A cell's chance is its share of takings,
        as if it had 20 trials more at the share of all cells alike but for the number of takings,
        and those 20 more at the share of all; an item's factor is its number of takings
        over what the cells of its trials let expect, as if it had 5 more of both, with an occasion
        counting half after 60 days.

        Parameters
        ----------
        log
            All that may be known.
        has_times
            Whether its times are real.
        """
        habits = habits_of_log(log, raising_in(log))
        order = np.lexsort((habits.items, habits.occasions, habits.rows()))
        end = int(log.times.max(initial=0))
        ages = (end - habits.times[order]) / MS_PER_DAY if has_times else np.zeros(len(order))
        faded = np.exp2(-ages / FADE_DAYS)
        taken = (habits.indptr, habits.items[order], habits.occasions[order], faded)
        trials, hits = np.zeros((2, *CELLS), dtype=np.float64)
        told = np.zeros((2, log.n_items), dtype=np.float64)
        _count(*taken, np.zeros(CELLS, dtype=np.float64), trials, hits, told)
        usual = (hits.sum() + 1.0) / (trials.sum() + 2.0)
        # However often it was taken: what was taken oftener than anything before is no other case.
        told_less = (hits.sum(axis=0) + CELL_PRIOR * usual) / (trials.sum(axis=0) + CELL_PRIOR)
        chances = (hits + CELL_PRIOR * told_less) / (trials + CELL_PRIOR)
        told[:] = 0
        _count(*taken, chances, trials, hits, told)
        factors = (told[0] + ITEM_PRIOR) / (told[1] + ITEM_PRIOR)
        return cls(chances.astype(np.float32), factors.astype(np.float32), end, has_times)

    def ages(self, queries: Queries, habits: Habits) -> Doubles:
        """Return how many days ago each taking was when its query is asked, at least 0.

        Nobody asks before what they did last. Without times an occasion is a day.
        """
        lengths = np.diff(habits.indptr)
        rows, filled = np.repeat(np.arange(len(lengths)), lengths), np.flatnonzero(lengths)
        if not self.has_times:
            now = np.zeros(len(lengths), dtype=np.int64)
            if len(filled):
                now[filled] = np.maximum.reduceat(habits.occasions, habits.indptr[:-1][filled]) + 1
            return np.asarray(now[rows] - habits.occasions, dtype=np.float64)
        if queries.asked_at is not None:
            now = queries.asked_at
        else:
            now = np.full(len(lengths), self.end)
            if len(filled):
                # Takings since the log's end are told apart by their own times.
                times = np.where(habits.times == JUST_NOW, self.end, habits.times)
                latest = np.maximum.reduceat(times, habits.indptr[:-1][filled])
                now[filled] = np.maximum(latest, self.end)
        return np.asarray(np.maximum(now[rows] - habits.times, 0) / MS_PER_DAY, dtype=np.float64)

    def save(self, writer: GenerationWriter) -> None:
        """Write what was learned."""
        writer.put_array(CHANCES, self.chances)
        writer.put_array(FACTORS, self.factors)
        writer.put_array(CLOCK, np.array([self.end, self.has_times], dtype=np.int64))

    @classmethod
    def open(cls, generation: Generation) -> Returns:
        """Return what a generation holds."""
        end, has_times = generation.array(CLOCK)
        chances = np.asarray(generation.array(CHANCES))
        factors = np.asarray(generation.array(FACTORS))
        return cls(chances, factors, int(end), bool(has_times))


@dataclass(frozen=True)
class Habitual:
    """Items that the user has taken, by how often, each taking halved with age.

    The sum over the takings of an item of their weights times ``2 ** (-age / half_life)``.

    Parameters
    ----------
    name
        Name of the source.
    returns
        From when ages are counted.
    half_life_days
        After so many days a taking counts half; infinite counts all alike.
    by_item
        Whether the sum is multiplied by the item's factor.
    """

    name: str
    returns: Returns
    half_life_days: float
    by_item: bool = False

    def answer(self, queries: Queries) -> Answer:
        """Return the sums; items never taken score 0 and are not proposed."""
        habits = queries.habits
        if habits is None:
            return Silence(queries)
        counts = habits.weights.astype(np.float64)
        if np.isfinite(self.half_life_days):
            lives = self.returns.ages(queries, habits) / self.half_life_days
            # What is older than a thousand half-lives would count nothing at all.
            counts = counts * np.exp2(-np.minimum(lives, 100.0))
        touched, sums = _summed(habits.indptr, habits.items, counts)
        if self.by_item:
            sums = sums * self.returns.factors[touched.items]
        return SparseAnswer(touched, sums[None], 0, queries.admission)


@dataclass(frozen=True)
class Due:
    """Items that the user has taken, by the chance that they take them at their next occasion.

    Parameters
    ----------
    returns
        What the chances are.
    """

    returns: Returns
    name: str = "due"

    def answer(self, queries: Queries) -> Answer:
        """Return the chances; items never taken score 0 and are not proposed."""
        habits = queries.habits
        if habits is None:
            return Silence(queries)
        touched, chances = _due(
            habits.indptr,
            habits.items,
            habits.occasions,
            np.asarray(self.returns.chances),
            np.asarray(self.returns.factors),
        )
        return SparseAnswer(touched, chances[None], 0, queries.admission)


def habit_sources(returns: Returns, *, long: float, short: float) -> tuple[Habitual | Due, ...]:
    """Return the sources of habits in their lasting order.

    Parameters
    ----------
    returns
        How items are taken again.
    long, short
        Half-lives in days.
    """
    return (
        Habitual("taken_often", returns, np.inf),
        Habitual("taken_lately", returns, short),
        Habitual("taken_long", returns, long),
        Habitual("returning", returns, long, by_item=True),
        Due(returns),
    )


@compiled
def _logs(most: int) -> Doubles:
    """Return twice the binary logarithm of the numbers up to `most`."""
    return 2 * np.log2(np.maximum(np.arange(most + 1), 1))


@compiled
def _cell(logs: Doubles, n: int, since: int, known: int) -> tuple[int, int, int]:
    """Return the cell of an item taken `n` times, the last `since` and the first `known` ago."""
    often, late = min(int(logs[n]), CELLS[0] - 1), min(int(logs[since]), CELLS[1] - 1)
    return often, late, min(int(max(logs[known] - logs[n], 0.0)), CELLS[2] - 1)


@compiled
def _count(
    starts: Int64s,
    items: Int64s,
    occasions: Int32s,
    counts: Doubles,
    chances: Doubles,
    trials: Doubles,
    hits: Doubles,
    told: Doubles,
) -> None:
    """Count what was taken again at each occasion, and what was not, by cell and by item.

    `told` is written how often each item was taken again, and how often `chances` let expect it,
    ``(2, n_items)``. Takings come in order of occasions.
    """
    n_items = told.shape[1]
    taken = np.zeros(n_items, dtype=np.int32)
    first, last = np.zeros(n_items, dtype=np.int32), np.zeros(n_items, dtype=np.int32)
    known = np.empty(n_items, dtype=np.int64)
    logs = _logs(occasions.max() + 1 if len(occasions) else 0)
    for user in range(len(starts) - 1):
        begin, stop, size = starts[user], starts[user + 1], 0
        while begin < stop:
            now, end, count = occasions[begin], begin, counts[begin]
            while end < stop and occasions[end] == now:
                end += 1
            if now > occasions[stop - 1] - LATEST:
                for at in range(size):
                    item = known[at]
                    cell = _cell(logs, taken[item], now - last[item], now - first[item])
                    trials[cell] += 1
                    told[1, item] += count * chances[cell]
                for at in range(begin, end):
                    item = items[at]
                    if taken[item]:
                        cell = _cell(logs, taken[item], now - last[item], now - first[item])
                        hits[cell] += 1
                        told[0, item] += count
            for at in range(begin, end):
                item = items[at]
                if not taken[item]:
                    known[size], first[item] = item, now
                    size += 1
                taken[item] += 1
                last[item] = now
            begin = end
        for at in range(size):
            taken[known[at]] = 0


@compiled
def _summed(starts: Int64s, items: Int64s, counts: Doubles) -> tuple[Touched, Floats]:
    """Return each query's items and the sums of their takings' counts."""
    n = len(starts) - 1
    found, sums = np.empty(len(items), dtype=np.int32), np.empty(len(items), dtype=np.float32)
    ends = np.zeros(n + 1, dtype=np.int64)
    total = 0
    for query in range(n):
        begin = starts[query]
        while begin < starts[query + 1]:
            end, added = begin, 0.0
            while end < starts[query + 1] and items[end] == items[begin]:
                added += counts[end]
                end += 1
            found[total], sums[total] = items[begin], added
            total += 1
            begin = end
        ends[query + 1] = total
    return Touched(ends, found[:total].copy()), sums[:total].copy()


@compiled
def _due(
    starts: Int64s, items: Int64s, occasions: Int32s, chances: Floats, factors: Floats
) -> tuple[Touched, Floats]:
    """Return each query's items and the chances that they are taken at the next occasion."""
    n = len(starts) - 1
    found, told = np.empty(len(items), dtype=np.int32), np.empty(len(items), dtype=np.float32)
    ends = np.zeros(n + 1, dtype=np.int64)
    total = 0
    logs = _logs(occasions.max() + 1 if len(occasions) else 0)
    for query in range(n):
        now = 0
        for at in range(starts[query], starts[query + 1]):
            now = max(now, occasions[at] + 1)
        begin = starts[query]
        while begin < starts[query + 1]:
            end = begin
            while end < starts[query + 1] and items[end] == items[begin]:
                end += 1
            cell = _cell(logs, end - begin, now - occasions[end - 1], now - occasions[begin])
            found[total], told[total] = items[begin], chances[cell] * factors[items[begin]]
            total += 1
            begin = end
        ends[query + 1] = total
    return Touched(ends, found[:total].copy()), told[:total].copy()
