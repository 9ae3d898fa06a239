"""How far factors that were folded in are from factors that were fitted again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from twofold.indexing.collaborative import Factors
from twofold.indexing.folding import fold_in_items
from twofold.indexing.interactions import Interactions
from twofold.ranking.alignment import turn_onto

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
SAMPLE = 1000  # users whose lists are compared, and others as a yardstick
LIST = 10
QUANTILES = (0.05, 0.25, 0.5)


@dataclass(frozen=True)
class Moved:
    """Cosines of vectors before and after a refit, 1 where nothing turned.

    Parameters
    ----------
    n
        How many vectors.
    mean
        Mean cosine; 0 where there is none.
    quantiles
        Cosines that 5 %, 25 % and half of the vectors stay below.
    """

    n: int
    mean: float
    quantiles: tuple[float, ...]

    @classmethod
    def of(cls, folded: Floats, fitted: Floats) -> Moved:
        """Return how far rows moved; those that are zero on either side say nothing."""
        lengths = np.linalg.norm(folded, axis=1) * np.linalg.norm(fitted, axis=1)
        there = lengths > 0
        cosines = np.vecdot(folded[there], fitted[there]).astype(np.float64) / lengths[there]
        if not len(cosines):
            return cls(0, 0.0, (0.0,) * len(QUANTILES))
        found = np.quantile(cosines, QUANTILES)
        return cls(len(cosines), float(cosines.mean()), tuple(float(one) for one in found))


@dataclass(frozen=True)
class Drift:
    """What a refit changed of what folding in had said. All in the space of the refit.

    Parameters
    ----------
    users, items
        Of those with events that came.
    overlap
        Mean share of the ten best by folded-in factors that the refit has among its ten best too,
        over `n_lists` of these users; ``None`` where there is none.
    n_lists
        How many users that is, at most `SAMPLE`.
    usual_overlap
        The same for users without a new event: what a mere refit changes. ``None`` likewise.
    """

    users: Moved
    items: Moved
    overlap: float | None
    n_lists: int
    usual_overlap: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def told(drift: Mapping[str, Any]) -> list[str]:
    """Return what :meth:`Drift.to_dict` gave, as lines for a person."""
    lines = []
    for what in ("users", "items"):
        moved = drift[what]
        if moved["n"]:
            low, quarter, half = moved["quantiles"]
            lines.append(
                f"drift of {moved['n']:,} {what}: mean cosine {moved['mean']:.3f} of folded-in and "
                f"refitted factors, 5 % below {low:.3f}, 25 % below {quarter:.3f}, half below "
                f"{half:.3f}"
            )
    if drift["overlap"] is not None:
        usual = drift["usual_overlap"]
        lines.append(
            f"the ten best of {drift['n_lists']:,} of these users: {drift['overlap']:.1%} the same"
            + ("" if usual is None else f"; of users without new events {usual:.1%}")
        )
    return lines


def drift_of(
    before: Factors,
    after: Factors,
    log: Interactions,
    active_users: Int64s,
    active_items: Int64s,
    *,
    seed: int,
) -> Drift:
    """Return how far folded-in factors of users and items are from refitted ones.

    Both spaces are brought together by the orthogonal map between the items of both; scores do not
    change under it.

    Parameters
    ----------
    before
        Item factors of before, numbered as in `log`, zero for items that came.
    after
        Item factors fitted on `log`.
    log
        All that users did.
    active_users, active_items
        Those with events that `before` was not fitted on, ``int64``.
    seed
        Draws the users whose lists are compared.
    """
    folded = before.items.copy()
    folded[active_items] = fold_in_items(before, log, active_items)
    old = Factors(folded, before.settings)
    turn = turn_onto(before.items, after.items)
    matrix = log.matrix()
    rng = np.random.default_rng(seed)
    others = np.setdiff1d(np.unique(log.users), active_users)
    some, usual = (
        np.sort(rng.permutation(users)[:SAMPLE]) for users in (np.asarray(active_users), others)
    )
    users_of = matrix[active_users]
    return Drift(
        users=Moved.of(old.fold_in(users_of) @ turn, after.fold_in(users_of)),
        items=Moved.of(folded[active_items] @ turn, after.items[active_items]),
        overlap=_overlap(old, after, log, some),
        n_lists=len(some),
        usual_overlap=_overlap(old, after, log, usual),
    )


def _overlap(one: Factors, other: Factors, log: Interactions, users: Int64s) -> float | None:
    """Return the mean share of users' ten best by one that are among the ten best by the other."""
    if not len(users):
        return None
    histories, excluded = log.matrix()[users], log.excluded()[users]
    shares = []
    sides = [(side.fold_in(histories), side.items) for side in (one, other)]
    for row in range(len(users)):
        seen = excluded.indices[excluded.indptr[row] : excluded.indptr[row + 1]]
        first, second = (_best(items @ user[row], seen) for user, items in sides)
        if len(first):
            shares.append(len(np.intersect1d(first, second)) / len(first))
    return float(np.mean(shares)) if shares else None


def _best(scores: Floats, seen: npt.NDArray[np.int32]) -> Int64s:
    """Return the best items of those that are not seen."""
    scores[seen] = -np.inf
    n = min(LIST, len(scores) - len(seen))
    return np.argpartition(-scores, max(0, n - 1))[:n]
