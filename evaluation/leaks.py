"""Whether what is learned from knows the test: refused where it does.

Every system of an evaluation, ours and others', is given the interactions that
:func:`checked_known` let through, and nothing else of the log.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import LeakError
from twofold.indexing.interactions import Interactions
from twofold.indexing.splits import Split

Int64s = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Border:
    """Where what is known ends and the test begins, as it was found; nothing of it leaks.

    Parameters
    ----------
    n_known, n_tested
        Interactions on both sides.
    n_again
        Tested interactions with an item that their user has had before: no leak, for people look
        at a thing and buy it later. Where items may not come back nobody can hit them.
    latest_known, earliest_tested
        Milliseconds since 1970; ``None`` without times.
    """

    n_known: int
    n_tested: int
    n_again: int
    latest_known: int | None
    earliest_tested: int | None


def checked_known(
    log: Interactions, known: Mask, tested: Mask, *, has_times: bool, by_time: bool
) -> tuple[Interactions, Border]:
    """Return what may be known, and where it ends, once nothing of it is found to know the test.

    Parameters
    ----------
    log
        All interactions, each user's in order of steps.
    known, tested
        Which rows are learned from, and which are to be predicted, ``bool (n,)``.
    has_times
        Whether times are real.
    by_time
        Whether the test begins at one moment for all users.

    Raises
    ------
    LeakError
        If a row is on both sides; if a user's known rows are later than the first tested one (those
        of its very step have no order); or if, `by_time`, a known row of anybody is as late as the
        first tested.
    """
    _refuse(np.flatnonzero(known & tested), "interactions are both known and tested")
    first = np.full(log.n_users, np.iinfo(np.int64).max)
    np.minimum.at(first, log.users[tested], log.steps[tested].astype(np.int64))
    later = known & (log.steps > first[log.users])
    _refuse(np.flatnonzero(later), "known interactions are later than their user's first test")
    if by_time and has_times and tested.any():
        begin = log.times[tested].min()
        _refuse(
            np.flatnonzero(known & (log.times >= begin)),
            "known interactions are not before the moment at which the test begins",
        )
    pairs = log.users * np.int64(log.n_items) + log.items
    again = np.isin(pairs[tested], pairs[known & log.seen])
    rows = log.take(known)
    return rows, Border(
        int(known.sum()),
        int(tested.sum()),
        int(again.sum()),
        int(rows.times.max()) if has_times and len(rows) else None,
        int(log.times[tested].min()) if has_times and tested.any() else None,
    )


def known_of_split(
    log: Interactions, split: Split, *, has_times: bool
) -> tuple[Interactions, Border]:
    """Return what may be known when a split's test is predicted; see :func:`checked_known`."""
    return checked_known(
        log,
        split.known_at_test,
        split.test,
        has_times=has_times,
        by_time=split.name == "global-time",
    )


def _refuse(rows: Int64s, what: str) -> None:
    if len(rows):
        shown = ", ".join(str(row) for row in rows[:3])
        raise LeakError(
            f"{len(rows):,} {what} (rows {shown}, ... of the log); what is learned from must end "
            "where the test begins"
        )
