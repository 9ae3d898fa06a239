"""Small interaction logs, written as events."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from twofold.indexing.interactions import Interactions

LIKE, DISLIKE, SKIP, IMPRESSION = "like", "dislike", "skip", "impression"
Event = tuple[int, int, int, str]  # user, item, step, what


def log_of(events: Sequence[Event], n_users: int, n_items: int) -> Interactions:
    """Return the log of events; a like weighs 1, a skip is seen, an impression is not."""
    rows = sorted(events, key=lambda event: (event[0], event[2]))
    users, items, steps = (np.array([row[at] for row in rows], dtype=np.int64) for at in range(3))
    what = np.array([row[3] for row in rows], dtype="U10")
    signs = np.select([what == LIKE, what == DISLIKE], [1, -1], 0).astype(np.int8)
    return Interactions(
        users=users,
        items=items,
        steps=steps.astype(np.int32),
        times=steps * 86_400_000,
        weights=(signs > 0).astype(np.float32),
        signs=signs,
        seen=what != IMPRESSION,
        labels=signs > 0,
        kinds=np.zeros(len(rows), dtype=np.int16),
        n_users=n_users,
        n_items=n_items,
    )


def events(
    n_users: int = 4,
    n_items: int = 7,
    kinds: Sequence[str] = (LIKE, DISLIKE, SKIP, IMPRESSION),
    max_size: int = 30,
) -> st.SearchStrategy[list[Event]]:
    """Return lists of events, with ties in time."""
    one = st.tuples(
        st.integers(0, n_users - 1),
        st.integers(0, n_items - 1),
        st.integers(0, 5),
        st.sampled_from(kinds),
    )
    return st.lists(one, max_size=max_size)
