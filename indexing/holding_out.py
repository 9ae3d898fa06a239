"""Interactions cut in two: what lies before a cut, and the labels after it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import InputError
from twofold.indexing.interactions import Interactions
from twofold.indexing.ordering import begins_step

Mask = npt.NDArray[np.bool_]


class OneTimeError(InputError):
    """Labels that cannot be cut by time, for they all have the same one."""


class HoldOut(NamedTuple):
    """Interactions cut in two, as masks over their rows, ``bool (n,)``.

    Parameters
    ----------
    fit
        What lies before the cut.
    labels
        The label rows after it. Rows in neither lie after the cut and are no labels, or were
        skipped.
    """

    fit: Mask
    labels: Mask


def hold_out_last(
    interactions: Interactions, n: int, *, skip: int = 0, keep: int = 1, whole: bool = False
) -> HoldOut:
    """Return each user's last `n` labels, and what lies before them.

    Parameters
    ----------
    interactions
        Sorted rows; ties in time are cut where their seeded order puts them.
    n
        Number of labels to hold out for a user, at least 1.
    skip
        Each user's last `skip` labels, and every row after the first of them, are left out of both
        parts beforehand.
    keep
        A user takes part if at least this many labels remain before those held out; the rows of
        others (all but the skipped) stay in ``fit``.
    whole
        Whether all numbers count steps with labels instead, so that what was taken together, as
        with one basket, is held out together: no tie is cut.

    Raises
    ------
    InputError
        If `n` is below 1, or `skip` or `keep` below 0.
    """
    if n < 1 or skip < 0 or keep < 0:
        raise InputError(f"hold_out_last needs n >= 1, skip >= 0, keep >= 0; came {n, skip, keep}")
    labels = interactions.labels
    counted = labels.copy()
    if whole:
        counted[labels] = begins_step(interactions.users[labels], interactions.steps[labels])
    taking_part = (_n_counted(interactions, counted) - skip >= n + keep)[interactions.users]
    unskipped = _before(interactions, skip, counted)
    before = _before(interactions, skip + n, counted)
    return HoldOut(
        fit=np.where(taking_part, before, unskipped),
        labels=labels & taking_part & unskipped & ~before,
    )


def refusals_in(interactions: Interactions, held: HoldOut) -> Interactions:
    """Return what users met while their held-out labels came, and did not take.

    These are the rows of sign 0 or -1, dislikes, skips and impressions, from the step of the user's
    first held-out label on, for what is shown and what is taken of it often share a time, up to the
    user's next label that is not held out: what the protocol hides stays hidden.

    Parameters
    ----------
    interactions
        Sorted rows.
    held
        How they were cut.
    """
    users = interactions.users
    first = np.full(interactions.n_users, np.iinfo(np.int64).max)
    np.minimum.at(first, users[held.labels], interactions.steps[held.labels])
    hidden = interactions.labels & ~held.labels & ~held.fit
    counted = np.cumsum(hidden)
    at_start = np.append(0, counted)[interactions.indptr[:-1]][users]
    during = (interactions.steps >= first[users]) & (counted == at_start)
    return interactions.take(during & (interactions.signs <= 0))


def hold_out_time(interactions: Interactions, fraction: float) -> HoldOut:
    """Return the latest labels of all users together, and what lies before them.

    The cut is a moment: labels from it on are held out, whole milliseconds at a time, so that a
    little more than `fraction` may be. ``fit`` is every row before it.

    Parameters
    ----------
    interactions
        Rows with real times.
    fraction
        Share of the labels to hold out, between 0 and 1.

    Raises
    ------
    InputError
        If `fraction` is not between 0 and 1, or (`OneTimeError`) all labels have one time.
    """
    if not 0 < fraction < 1:
        raise InputError(f"hold_out_time needs a fraction between 0 and 1, came {fraction}")
    times = np.sort(interactions.times[interactions.labels])
    if len(times) == 0 or times[0] == times[-1]:
        raise OneTimeError(
            "cannot hold out by time: all labels have one time; use leave-last-n or give times"
        )
    cut = times[min(int(np.floor(len(times) * (1 - fraction))), len(times) - 1)]
    if cut == times[0]:
        cut = times[np.searchsorted(times, cut, side="right")]
    before = interactions.times < cut
    return HoldOut(fit=before, labels=interactions.labels & ~before)


def _n_counted(rows: Interactions, counted: Mask) -> npt.NDArray[np.int64]:
    return np.bincount(rows.users[counted], minlength=rows.n_users)


def _before(rows: Interactions, n: int, counted: Mask) -> Mask:
    """Return the rows before their user's n-th last counted row (the first, if there are fewer)."""
    n_counted = _n_counted(rows, counted)
    so_far = np.cumsum(counted)
    at_end = np.cumsum(n_counted)[rows.users]
    from_here_on = at_end - so_far + counted
    limit = np.minimum(n, n_counted)[rows.users]
    before: Mask = (from_here_on > limit) | ((from_here_on == limit) & ~counted)
    return before
