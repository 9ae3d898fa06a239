"""The order of interactions: by user, then time, then a seeded hash, never by file or id."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.indexing.vocabulary import Vocabulary

UInt64s = npt.NDArray[np.uint64]


def in_order(rows: pl.DataFrame, users: Vocabulary, items: Vocabulary, seed: int) -> pl.DataFrame:
    """Return interactions sorted by user, order and tie hash, the same for any order of the file.

    Parameters
    ----------
    rows
        Columns ``user`` and ``item`` (numbers), ``order``, and whatever else tells rows apart.
    users, items
        The ids behind the numbers.
    seed
        Breaks ties.
    """
    ties = tie_hash(
        users.hashes[rows["user"].to_numpy()], items.hashes[rows["item"].to_numpy()], seed
    )
    # After the hash only rows of one user, one time and one item are tied; sorting by all that is
    # left makes the order independent of the file's.
    rest = [name for name in rows.columns if name not in ("user", "order")]
    return rows.with_columns(pl.Series("tie", ties)).sort("user", "order", "tie", *rest)


def steps_of(users: npt.NDArray[np.int64], order: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Return the step of sorted rows, ``int32 (n,)``: from 0 for each user, +1 where order grows.

    Parameters
    ----------
    users
        Numbers of the users, ascending, ``int64 (n,)``.
    order
        What sorts the rows of a user, ascending within one, ``int64 (n,)``.
    """
    if len(users) == 0:
        return np.zeros(0, dtype=np.int32)
    new_user = np.concatenate([[True], users[1:] != users[:-1]])
    later = np.concatenate([[False], order[1:] != order[:-1]])
    counted = np.cumsum(later)
    starts = np.flatnonzero(new_user)
    lengths = np.diff(np.concatenate([starts, [len(users)]]))
    steps: npt.NDArray[np.int32] = (counted - np.repeat(counted[starts], lengths)).astype(np.int32)
    return steps


def begins_step(
    users: npt.NDArray[np.int64], steps: npt.NDArray[np.int32]
) -> npt.NDArray[np.bool_]:
    """Return which of some sorted rows are the first of their user's step, ``bool (n,)``.

    Parameters
    ----------
    users, steps
        Numbers of the users, ascending, and the steps, ascending within one, ``(n,)``.
    """
    out = np.ones(len(users), dtype=bool)
    out[1:] = (users[1:] != users[:-1]) | (steps[1:] != steps[:-1])
    return out


def tie_hash(
    users: UInt64s,
    items: UInt64s,
    seed: int,
) -> UInt64s:
    """Return what breaks ties: a hash of user, item and seed, ``uint64 (n,)``.

    The finaliser of SplitMix64 (Steele, Lea and Flood, 2014) is applied after each part is mixed
    in, so that neither file order nor the order of ids shows through.

    Parameters
    ----------
    users, items
        Hashes of the ids, ``uint64 (n,)``.
    seed
        Any integer.
    """
    with np.errstate(over="ignore"):
        mixed = _mix(users + np.uint64(seed & 0xFFFFFFFFFFFFFFFF))
        return _mix(mixed ^ items)


def _mix(z: UInt64s) -> UInt64s:
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
