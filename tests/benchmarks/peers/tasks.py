"""Small tasks for peers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from benchmarks.peers.task import Task
from twofold.indexing.interactions import Interactions

DAY = 86_400_000
Event = tuple[int, int, int]  # user, item, day


def log_of(
    events: Sequence[Event], n_users: int, n_items: int, dislikes: frozenset[int] = frozenset()
) -> Interactions:
    """Return takings, those at places `dislikes` dislikes instead."""
    places = sorted(range(len(events)), key=lambda at: (events[at][0], events[at][2], at))
    users, items, days = (np.array([events[at][c] for at in places]) for c in range(3))
    bad = np.array([at in dislikes for at in places], dtype=bool)
    n = len(events)
    first = np.searchsorted(users, users)
    return Interactions(
        users=users.astype(np.int64),
        items=items.astype(np.int64),
        steps=(np.arange(n) - first).astype(np.int32),
        times=(days * DAY).astype(np.int64),
        weights=np.where(bad, 0, 1).astype(np.float32),
        signs=np.where(bad, -1, 1).astype(np.int8),
        seen=np.ones(n, dtype=bool),
        labels=~bad,
        kinds=np.zeros(n, dtype=np.int16),
        n_users=n_users,
        n_items=n_items,
    )


def task_of(
    log: Interactions,
    users: Sequence[int],
    *,
    k: int = 4,
    repeat: bool = False,
    asked: int | None = 100,
    hidden: Sequence[tuple[int, int]] = (),
) -> Task:
    """Return a task of some users who all ask on one day; `hidden` pairs are excluded besides."""
    excluded = (log.disliked() if repeat else log.excluded()).tolil()
    for user, item in hidden:
        excluded[user, item] = True
    rows = sp.csr_matrix(excluded)[list(users)]
    rows.sort_indices()
    return Task(
        log=log,
        texts=tuple(f"item {number}" for number in range(log.n_items)),
        users=np.array(users, dtype=np.int64),
        excluded=rows,
        asked_at=None if asked is None else np.full(len(users), asked * DAY, dtype=np.int64),
        repeat=repeat,
        k=k,
        seed=0,
        threads=1,
    )


def checkerboard(n_users: int = 24, n_items: int = 12) -> Interactions:
    """Return users who take all items of their own parity but one, the one to recommend.

    The last user has taken nothing.
    """
    events = []
    for user in range(n_users - 1):
        missing = missing_of(user, n_items)
        own = [item for item in range(user % 2, n_items, 2) if item != missing]
        events += [(user, item, day) for day, item in enumerate(own)]
    return log_of(events, n_users, n_items)


def missing_of(user: int, n_items: int = 12) -> int:
    """Return the item of their parity that a user of the checkerboard has not taken."""
    return (user // 2 % (n_items // 2)) * 2 + user % 2
