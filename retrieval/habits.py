"""What users take again: every taking of a history, not only the latest of each item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import InputError
from twofold.indexing.interactions import Interactions

Int64s = npt.NDArray[np.int64]
# Stands for the time of events that are told at the call, without one: they have just happened.
JUST_NOW = int(np.iinfo(np.int64).max)


@dataclass(frozen=True)
class Habits:
    """What a batch of users took, ragged lists side by side.

    A taking is an item at an occasion, however many events tell of it: what was bought with one
    basket, or watched at one moment. Items that were disliked since are in none. No list is cut.

    Parameters
    ----------
    indptr
        Takings of query ``q`` are rows ``indptr[q]:indptr[q + 1]``, ``int64 (n + 1,)``.
    items
        What was taken, ascending within a query, ``int64 (n_takings,)``.
    occasions
        When, as the number of the user's occasion, from 0 for the first, ascending within an item,
        ``int32``; events of one moment are one occasion, and without times each event is one.
    times
        When, in milliseconds since 1970, ``int64``; all zero where there are no times, and
        `JUST_NOW` where the event was told at the call.
    weights
        How much the taking counts, above 0 and at most 1, ``float32``: the strongest of its events.
        Quantities say how much was taken, not how often.

    Raises
    ------
    InputError
        If lengths disagree, or the takings of a query are not in order.
    """

    indptr: Int64s
    items: Int64s
    occasions: npt.NDArray[np.int32]
    times: Int64s
    weights: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        shape = (int(self.indptr[-1]),) if len(self.indptr) else None
        columns = (self.items, self.occasions, self.times, self.weights)
        if any(column.shape != shape for column in columns):
            raise InputError("Habits: indptr must end at the takings, and all columns be as long")
        lengths = np.diff(self.indptr)
        if len(lengths) and lengths.min() < 0:
            raise InputError("Habits: indptr must not fall")
        rows = np.repeat(np.arange(len(lengths)), lengths)
        same = rows[1:] == rows[:-1]
        again = same & (self.items[1:] == self.items[:-1])
        falls = same & (self.items[1:] < self.items[:-1])
        if falls.any() or (again & (self.occasions[1:] <= self.occasions[:-1])).any():
            raise InputError(
                "Habits: the takings of a query must be in order of items and then of occasions, "
                "each once"
            )

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def rows(self) -> Int64s:
        """Return the query of each taking, ``int64 (n_takings,)``."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.indptr))

    def take(self, which: Int64s) -> Habits:
        """Return the lists at positions `which`, in that order."""
        indptr, rows = ragged_rows(self.indptr, which)
        return Habits(
            indptr, self.items[rows], self.occasions[rows], self.times[rows], self.weights[rows]
        )


def ragged_rows(indptr: Int64s, which: Int64s) -> tuple[Int64s, Int64s]:
    """Return where lists begin once those at `which` stand side by side, and their rows.

    Parameters
    ----------
    indptr
        List ``q`` is rows ``indptr[q]:indptr[q + 1]``, ``int64 (n + 1,)``.
    which
        Positions of lists, ``int64 (m,)``.
    """
    lengths = np.diff(indptr)[which]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    within = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
    return starts, np.repeat(indptr[:-1][which], lengths) + within


def joined_habits(parts: Sequence[Habits | None]) -> Habits | None:
    """Return the lists of several batches as one, in order.

    Parameters
    ----------
    parts
        At least one batch; all or none of them know habits.

    Raises
    ------
    InputError
        If some do, and others do not.
    """
    known = [part for part in parts if part is not None]
    if not known:
        return None
    if len(known) < len(parts):
        raise InputError("Queries: all batches must know their users' habits, or none")
    lengths = np.concatenate([np.diff(part.indptr) for part in known])
    return Habits(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([part.items for part in known]),
        np.concatenate([part.occasions for part in known]),
        np.concatenate([part.times for part in known]),
        np.concatenate([part.weights for part in known]),
    )


def habits_of_log(log: Interactions, raising: npt.NDArray[np.bool_]) -> Habits:
    """Return the habits of all users of a log.

    Parameters
    ----------
    log
        All that may be known.
    raising
        Which of its rows raise an item that is not disliked since, ``bool (n,)``.
    """
    rows = np.flatnonzero(raising & (log.weights > 0))
    return _gathered(
        log.users[rows],
        log.items[rows],
        log.steps[rows],
        log.times[rows],
        log.weights[rows],
        log.n_users,
    )


def habits_of_events(items: Int64s, weights: npt.NDArray[np.float32]) -> Habits:
    """Return the habits of somebody known by a few events alone, each an occasion just now.

    Parameters
    ----------
    items
        Items of the events that raise one not disliked since, oldest first, ``int64 (n,)``.
    weights
        How much each raises it, ``float32 (n,)``; 0 tells of no taking.
    """
    rows = np.flatnonzero(weights > 0)
    times = np.full(len(rows), JUST_NOW, dtype=np.int64)
    nobody = np.zeros(len(rows), dtype=np.int64)
    return _gathered(nobody, items[rows], rows.astype(np.int32), times, weights[rows], 1)


def _gathered(
    users: Int64s,
    items: Int64s,
    steps: npt.NDArray[np.int32],
    times: Int64s,
    weights: npt.NDArray[np.float32],
    n_users: int,
) -> Habits:
    """Return the habits of events, sorted by user and step."""
    order = np.lexsort((steps, items, users))
    fresh = _differs(users[order], items[order], steps[order])
    first = np.flatnonzero(fresh)
    # Steps count occasions of all kinds; here only those at which something was taken do.
    begun, later = _differs(users), _differs(users, steps)
    counted = np.cumsum(later) - 1
    starts = counted[begun][np.cumsum(begun) - 1] if len(users) else counted
    occasions = (counted - starts).astype(np.int32)[order]
    strongest = np.maximum.reduceat(weights[order], first) if len(first) else weights[:0]
    lengths = np.bincount(users[order][first], minlength=n_users)
    return Habits(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items[order][first],
        occasions[first],
        times[order][first],
        np.minimum(strongest, np.float32(1)),
    )


def _differs(*columns: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Return where a row differs from the one before it; the first always does."""
    out = np.ones(len(columns[0]), dtype=bool)
    if len(out):
        out[1:] = False
        for column in columns:
            out[1:] |= column[1:] != column[:-1]
    return out
