"""Which items go with which, by users, sessions and order in time; and what trends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.indexing.errors import SettingsError
from twofold.indexing.interactions import Interactions
from twofold.indexing.ranges import require
from twofold.indexing.strongest import Walks, strongest, strongest_onward, strongest_shared

Floats = npt.NDArray[np.float32]
# First item, later item, what each pair counts.
Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]
MS_PER_DAY = 86_400_000
# Pairs that count less than this are hours apart where sessions last minutes: no visit of both.
LEAST_VISIT = 1e-3
# Strongest transitions an item that are followed on: the weaker ones multiply the work alone.
STEPPED = 50
# Pairs that are held at a time, of 24 bytes each.
HELD_PAIRS = 1 << 24


@dataclass(frozen=True)
class NeighbourSettings:
    """How items are related to items.

    Parameters
    ----------
    per_item
        At most this many neighbours an item, the strongest ones.
    shrinkage
        Added to the denominator of the cosine, so that one shared user does not make twins.
    reach
        How many steps a transition may span.
    fade
        A transition over ``s`` steps counts ``fade ** (s - 1)``.
    session_seconds
        Two events of a user that are ``t`` seconds apart count ``exp(-t / session_seconds)`` as a
        visit of both.
    session_reach
        How many places in a user's log two events of a session may be apart.
    half_life_days
        After so many days an interaction counts half for trending; where the data has no times all
        count the same.
    """

    per_item: int = 200
    shrinkage: float = 0.0
    reach: int = 3
    fade: float = 0.5
    session_seconds: float = 900.0
    session_reach: int = 10
    half_life_days: float = 30.0

    def __post_init__(self) -> None:
        require(
            self,
            "neighbours",
            at_least_one=("per_item", "reach", "session_reach"),
            positive=("session_seconds", "half_life_days"),
        )
        if self.shrinkage < 0 or not 0 < self.fade <= 1:
            raise SettingsError(
                "neighbours needs shrinkage >= 0 and 0 < fade <= 1, not "
                f"{self.shrinkage} and {self.fade}"
            )


def cosine_neighbours(
    matrix: sp.csr_matrix, settings: NeighbourSettings, *, threads: int = 1
) -> sp.csr_matrix:
    """Return how alike items are by their users, ``float32 (n_items, n_items)``, zero diagonal.

    ``shared / (sqrt(users of i * users of j) + shrinkage)``, each item's strongest kept (Sarwar et
    al. 2001 on binary data).

    Parameters
    ----------
    matrix
        Users' weights of items; only whether there is one counts.
    settings
        Neighbours an item and shrinkage.
    threads
        For speed alone: the bits do not depend on it.
    """
    binary = matrix.copy()
    binary.data = np.ones_like(binary.data, dtype=np.float32)
    users = np.asarray(binary.sum(axis=0), dtype=np.float32).ravel()
    return strongest_shared(
        binary.T.tocsr(),
        binary,
        settings.per_item,
        norms=(users, users),
        shrinkage=settings.shrinkage,
        threads=threads,
    )


def transitions(
    log: Interactions, settings: NeighbourSettings, *, threads: int = 1
) -> sp.csr_matrix:
    """Return what followed what, ``float32 (n_items, n_items)``: row first, column later.

    Counts of pairs within `reach` steps of one user, faded by distance and divided by the square
    root of both items' events. Events of one step have no order among them and make no pair.

    Parameters
    ----------
    log
        Interactions; only those that raise an item count.
    settings
        Reach and fade.
    threads
        For speed alone: the bits do not depend on it.
    """
    events = log.take(log.weights > 0)
    steps = _dense_steps(events.users, events.steps.astype(np.int64))
    worth = settings.fade ** np.arange(settings.reach, dtype=np.float64)
    walks = Walks(events.users, events.items, steps, worth)
    return strongest_onward(
        walks, settings.per_item, scale=_scale(events.items, log.n_items), threads=threads
    )


def onward(
    followers: sp.csr_matrix, settings: NeighbourSettings, *, threads: int = 1
) -> sp.csr_matrix:
    """Return what follows what followed, ``float32 (n_items, n_items)``, zero diagonal.

    ``P T``, with ``T`` the transitions and ``P`` the same with rows that add up to 1: the first of
    two steps is one of a random walk. Items that share no user are related where others lead from
    the one to the other.

    Parameters
    ----------
    followers
        The transitions, ``float32 (n_items, n_items)``.
    settings
        How many an item are kept.
    threads
        For speed alone: the bits do not depend on it.
    """
    first = strongest(followers.copy(), STEPPED)
    total = np.maximum(np.asarray(first.sum(axis=1)).ravel(), np.finfo(np.float32).tiny)
    leads = (sp.diags(1 / total) @ first).tocsr()
    alike = np.ones(first.shape[0], dtype=np.float32)
    return strongest_shared(leads, first, settings.per_item, norms=(alike, alike), threads=threads)


def covisits(log: Interactions, settings: NeighbourSettings, *, has_times: bool) -> sp.csr_matrix:
    """Return what was taken in one session, ``float32 (n_items, n_items)``, zero diagonal.

    Counts of pairs of one user's events, faded by the time between them and divided by the square
    root of both items' events (co-visitation, Davidson et al. 2010). A pair has no direction before
    each item's strongest are kept.

    Parameters
    ----------
    log
        Interactions; only those that raise an item count.
    settings
        Length of a session and reach.
    has_times
        Whether times are real; otherwise a pair over ``s`` steps counts ``fade ** (s - 1)``, and
        events of one step count 1.
    """
    events = log.take(log.weights > 0)
    users, items = events.users, events.items
    steps = _dense_steps(users, events.steps.astype(np.int64))

    def pairs() -> Iterator[Pairs]:
        for offset in range(1, min(settings.session_reach + 1, len(items))):
            same = users[offset:] == users[:-offset]
            if not same.any():
                return
            if has_times:
                apart = (events.times[offset:] - events.times[:-offset])[same] / 1000.0
                counted = np.exp(-apart / settings.session_seconds)
            else:
                span = (steps[offset:] - steps[:-offset])[same]
                counted = settings.fade ** np.maximum(span - 1.0, 0.0)
            kept = counted >= LEAST_VISIT
            yield items[:-offset][same][kept], items[offset:][same][kept], counted[kept]

    one_way = _counts(pairs(), log.n_items)
    scale = sp.diags(_scale(items, log.n_items))
    return strongest((scale @ (one_way + one_way.T) @ scale).tocsr(), settings.per_item)


def trending(log: Interactions, settings: NeighbourSettings, *, has_times: bool) -> Floats:
    """Return time-decayed popularity, ``float32 (n_items,)``, at least 0.

    ``sum of weight * 2 ** (-age / half-life)``, age counted from the latest event.

    Parameters
    ----------
    log
        Interactions; those that raise no item count nothing.
    settings
        The half-life.
    has_times
        Whether times are real; otherwise all count alike.
    """
    weights = log.weights.astype(np.float64)
    if has_times and len(log):
        age = (log.times.max() - log.times) / MS_PER_DAY
        weights = weights * np.exp2(-age / settings.half_life_days)
    return np.bincount(log.items, weights=weights, minlength=log.n_items).astype(np.float32)


def _counts(pairs: Iterable[Pairs], n_items: int) -> sp.csr_matrix:
    """Return the summed counts of pairs of different items.

    Pairs are added up whenever more than `HELD_PAIRS` are held: a log of baskets has a hundred
    times as many of them as events.
    """
    total = sp.csr_matrix((n_items, n_items), dtype=np.float64)
    held: list[Pairs] = []
    for one in pairs:
        moved = one[0] != one[1]
        held.append((one[0][moved], one[1][moved], one[2][moved]))
        if sum(len(part[0]) for part in held) > HELD_PAIRS:
            total, held = total + _added_up(held, n_items), []
    return total + _added_up(held, n_items)


def _added_up(pairs: Sequence[Pairs], n_items: int) -> sp.csr_matrix:
    first, then, counted = (
        np.concatenate([pair[at] for pair in pairs] or [np.zeros(0, np.int64)]) for at in range(3)
    )
    return sp.coo_matrix((counted, (first, then)), shape=(n_items, n_items)).tocsr()


def _scale(items: npt.NDArray[np.int64], n_items: int) -> npt.NDArray[np.float64]:
    """Return one over the square root of each item's events, 1 where there is none."""
    return np.asarray(1 / np.sqrt(np.maximum(np.bincount(items, minlength=n_items), 1)))


def _dense_steps(
    users: npt.NDArray[np.int64], steps: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return steps numbered without gaps within each user, so that a span counts real steps."""
    if not len(users):
        return steps
    new_user = np.concatenate([[True], users[1:] != users[:-1]])
    new_step = np.concatenate([[True], steps[1:] != steps[:-1]]) | new_user
    running = np.cumsum(new_step)
    return np.asarray(running - running[new_user][np.cumsum(new_user) - 1], dtype=np.int64)
