"""What we retrieve for: a batch of users' histories, what to leave out, and perhaps a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.indexing.errors import InputError
from twofold.indexing.interactions import Interactions
from twofold.indexing.item_set import ItemSet
from twofold.retrieval.admission import Admission, joined_filters
from twofold.retrieval.habits import (
    Habits,
    habits_of_events,
    habits_of_log,
    joined_habits,
    ragged_rows,
)


@dataclass(frozen=True)
class Queries:
    """A batch of queries, ragged histories side by side.

    Parameters
    ----------
    users
        Number of the user in the build, or -1 for one it never saw, ``int64 (n,)``.
    indptr
        History of query ``q`` is rows ``indptr[q]:indptr[q + 1]``, ``int64 (n + 1,)``.
    items, kinds, weights, times
        The events that raise items (sign +1 and not disliked since), oldest first, each item once
        at its latest event: ``int64``, ``int16``, ``float32``, ``int64`` milliseconds.
    steps
        Place in the sequence; events of one step have no order among them, ``int32``.
    excluded
        Items that must not come back, ``bool (n, n_items)``, CSR with sorted indices.
    texts
        A free text a query, or ``None`` where no query has one.
    eligible
        The items that each query is limited to, or ``None`` where it is not; ``None`` for all
        where no query is.
    asked_at
        When each query is asked, where that is not after all that the build knows, in milliseconds
        since 1970, ``int64 (n,)``; ``None`` where all are.
    habits
        All that the users took, as often as they did, where items may come back; ``None`` where
        they may not. What shortens histories leaves it as it is.
    """

    users: npt.NDArray[np.int64]
    indptr: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int16]
    weights: npt.NDArray[np.float32]
    times: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int32]
    excluded: sp.csr_matrix
    texts: tuple[str, ...] | None = None
    eligible: tuple[ItemSet | None, ...] | None = None
    asked_at: npt.NDArray[np.int64] | None = None
    habits: Habits | None = None

    def __post_init__(self) -> None:
        if len(self.indptr) != len(self.users) + 1 or self.indptr[-1] != len(self.items):
            raise InputError(
                "Queries: indptr must have one entry more than users and end at the events"
            )
        if self.excluded.shape[0] != len(self.users):
            raise InputError("Queries: excluded must have one row a query")
        if self.texts is not None and len(self.texts) != len(self.users):
            raise InputError("Queries: texts must have one text a query")
        if self.eligible is not None and len(self.eligible) != len(self.users):
            raise InputError("Queries: eligible must have one entry a query")
        if self.asked_at is not None and len(self.asked_at) != len(self.users):
            raise InputError("Queries: asked_at must have one moment a query")
        if self.habits is not None and len(self.habits) != len(self.users):
            raise InputError("Queries: habits must have one list of takings a query")

    def __len__(self) -> int:
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Size of the item vocabulary."""
        return int(self.excluded.shape[1])

    @cached_property
    def admission(self) -> Admission:
        """What may be proposed."""
        return Admission(self.excluded, self.eligible)

    def lengths(self) -> npt.NDArray[np.int64]:
        """Return the number of history events a query, ``int64 (n,)``."""
        return np.diff(self.indptr)

    def rows(self) -> npt.NDArray[np.int64]:
        """Return the query of each history event, ``int64 (n_events,)``."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths())

    def ages(self) -> npt.NDArray[np.int64]:
        """Return how many of the query's events are later, ``int64 (n_events,)``."""
        return self._ages

    @cached_property
    def _ages(self) -> npt.NDArray[np.int64]:
        return np.repeat(self.indptr[1:], self.lengths()) - 1 - np.arange(len(self.items))

    def latest(self) -> npt.NDArray[np.int64]:
        """Return the latest item of each history, -1 where there is none, ``int64 (n,)``."""
        out = np.full(len(self), -1, dtype=np.int64)
        filled = np.flatnonzero(self.lengths())
        out[filled] = self.items[self.indptr[filled + 1] - 1]
        return out

    def gaps(self) -> npt.NDArray[np.int64]:
        """Return milliseconds from each event to the query's latest, at least 0, ``int64``."""
        latest = np.zeros(len(self), dtype=np.int64)
        filled = np.flatnonzero(self.lengths())
        if len(filled):
            latest[filled] = np.maximum.reduceat(self.times, self.indptr[:-1][filled])
        return np.asarray(latest[self.rows()] - self.times, dtype=np.int64)

    def take(self, which: npt.NDArray[np.int64]) -> Queries:
        """Return the queries at positions `which`, in that order."""
        indptr, rows = ragged_rows(self.indptr, which)
        return Queries(
            users=self.users[which],
            indptr=indptr,
            items=self.items[rows],
            kinds=self.kinds[rows],
            weights=self.weights[rows],
            times=self.times[rows],
            steps=self.steps[rows],
            excluded=self.excluded[which],
            texts=None if self.texts is None else tuple(self.texts[i] for i in which),
            eligible=None if self.eligible is None else tuple(self.eligible[i] for i in which),
            asked_at=None if self.asked_at is None else self.asked_at[which],
            habits=None if self.habits is None else self.habits.take(which),
        )

    def last(self, n: int) -> Queries:
        """Return the same queries with only the latest `n` events of each history."""
        if self.lengths().max(initial=0) <= n:
            return self
        return self.keeping(self.ages() < n)

    def keeping(self, keep: npt.NDArray[np.bool_]) -> Queries:
        """Return the same queries with only the events where `keep`, ``bool (n_events,)``."""
        return replace(
            self,
            indptr=np.concatenate([[0], np.cumsum(keep)])[self.indptr].astype(np.int64),
            items=self.items[keep],
            kinds=self.kinds[keep],
            weights=self.weights[keep],
            times=self.times[keep],
            steps=self.steps[keep],
        )


def widened(queries: Queries, n_items: int) -> Queries:
    """Return the same queries over a vocabulary with more items behind the others."""
    if queries.n_items == n_items:
        return queries
    excluded = queries.excluded
    parts = (excluded.data, excluded.indices, excluded.indptr)
    shape = (len(queries), n_items)
    return replace(queries, excluded=sp.csr_matrix(parts, shape=shape, copy=False))


def joined(parts: Sequence[Queries]) -> Queries:
    """Return the queries of several batches as one, in order.

    Parameters
    ----------
    parts
        At least one batch; all over the same items, and all or none with moments of asking, and
        with habits.

    Raises
    ------
    InputError
        If some batches say when they are asked, or what their users took, and others do not.
    """
    if len(parts) == 1:
        return parts[0]
    lengths = np.concatenate([part.lengths() for part in parts])
    moments = [part.asked_at for part in parts if part.asked_at is not None]
    if moments and len(moments) < len(parts):
        raise InputError("Queries: all batches must say when they are asked, or none")
    spoken = any(part.texts is not None for part in parts)
    texts = tuple(text for part in parts for text in part.texts or ("",) * len(part))
    return Queries(
        users=np.concatenate([part.users for part in parts]),
        indptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items=np.concatenate([part.items for part in parts]),
        kinds=np.concatenate([part.kinds for part in parts]),
        weights=np.concatenate([part.weights for part in parts]),
        times=np.concatenate([part.times for part in parts]),
        steps=np.concatenate([part.steps for part in parts]),
        excluded=sp.vstack([part.excluded for part in parts], format="csr"),
        texts=texts if spoken else None,
        eligible=joined_filters([(part.eligible, len(part)) for part in parts]),
        asked_at=np.concatenate(moments) if moments else None,
        habits=joined_habits([part.habits for part in parts]),
    )


def queries_of_users(
    log: Interactions, users: npt.NDArray[np.int64], *, max_history: int, repeat: bool = False
) -> Queries:
    """Return the queries of known users from what `log` holds of them.

    Parameters
    ----------
    log
        All that may be known: in an evaluation, only what lies before the test events.
    users
        Numbers of the users, ``int64 (n,)``.
    max_history
        At most this many latest items a history.
    repeat
        Whether seen items may come back; disliked items never do. Habits are then told.
    """
    raising = raising_in(log)
    flat = log.users * np.int64(log.n_items) + log.items
    rows = np.flatnonzero(raising)
    # Each item once, at its latest event: the first occurrence in reversed order.
    _, latest = np.unique(flat[rows][::-1], return_index=True)
    rows = np.sort(rows[::-1][latest])
    kept = log.take(_mask(len(log), rows))
    everyone = Queries(
        users=np.arange(log.n_users, dtype=np.int64),
        indptr=kept.indptr,
        items=kept.items,
        kinds=kept.kinds,
        weights=kept.weights,
        times=kept.times,
        steps=kept.steps,
        excluded=log.disliked() if repeat else log.excluded(),
        habits=habits_of_log(log, raising) if repeat else None,
    )
    return everyone.take(np.asarray(users, dtype=np.int64)).last(max_history)


def raising_in(log: Interactions) -> npt.NDArray[np.bool_]:
    """Return which rows of a log raise an item that is not disliked since, ``bool (n,)``."""
    raises = log.matrix()
    flat = log.users * np.int64(log.n_items) + log.items
    keys = np.repeat(np.arange(log.n_users, dtype=np.int64), np.diff(raises.indptr))
    return np.isin(flat, keys * log.n_items + raises.indices) & (log.signs > 0)


def query_of_events(
    items: npt.NDArray[np.int64],
    kinds: npt.NDArray[np.int16],
    weights: npt.NDArray[np.float32],
    signs: npt.NDArray[np.int8],
    *,
    n_items: int,
    max_history: int,
    repeat: bool = False,
) -> Queries:
    """Return the one query of somebody known by a few events alone.

    Parameters
    ----------
    items, kinds, weights, signs
        The events, oldest first, ``(n,)``; an item may stand there more than once.
    n_items
        Size of the item vocabulary.
    max_history
        At most this many latest items are kept.
    repeat
        Whether seen items may come back; disliked items never do. Habits are then told.
    """
    # Each item once, at its latest event; a dislike takes it out and keeps it excluded.
    _, from_end = np.unique(items[::-1], return_index=True)
    latest = np.sort(len(items) - 1 - from_end)
    kept = latest[signs[latest] > 0][-max_history:]
    banned = latest[signs[latest] < 0] if repeat else latest
    row = np.zeros(len(banned), dtype=np.int64)
    taken = (signs > 0) & np.isin(items, items[latest[signs[latest] > 0]])
    return Queries(
        users=np.array([-1]),
        indptr=np.array([0, len(kept)]),
        items=items[kept],
        kinds=kinds[kept],
        weights=weights[kept],
        times=np.zeros(len(kept), dtype=np.int64),
        steps=np.arange(len(kept), dtype=np.int32),
        excluded=sp.csr_matrix(
            (np.ones(len(banned), dtype=bool), (row, items[banned])), shape=(1, n_items)
        ),
        habits=habits_of_events(items[taken], weights[taken]) if repeat else None,
    )


def _mask(n: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(n, dtype=bool)
    mask[rows] = True
    return mask
