"""Catalogues larger than any real one at hand, grown from real vectors by a stated recipe.

Vectors: a real vector, moved a random part of the way towards one of its eight nearest, plus normal
noise of length 0.4, scaled to length 1. Interactions: users of 200 tastes, each with 25 events at
random times; four of five events are in the taste's share of the catalogue, its better-liked items
oftener (a cubic law), the others anywhere by the same law.

Tables of a real log: it is copied as often as it takes, users and items of their own each time;
then each pair of a user and an item keeps the copy of its item in four of five cases, and takes
another by chance in the others, all copies of the pair turned by as much. Of whole copies every
history is as long as it was, every repeat is a repeat, and every copy of an item has as many events
as the item had; the copies are no worlds apart, for a pair in five may lead from one to another.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.indexing.errors import InputError
from twofold.indexing.interactions import Interactions
from twofold.indexing.vectors import VectorIndex, normalised

Floats = npt.NDArray[np.float32]
NEAR, NOISE, CHUNK = 8, 0.4, 100_000
TASTES, EVENTS, OWN = 200, 25, 0.8
MARK = " ~copy "
START_MS, SPAN_MS = 1_600_000_000_000, 10**10


def grown_vectors(real: Floats, n: int, *, seed: int) -> Floats:
    """Return `n` vectors around real ones, ``float32 (n, d)``, of length 1.

    Parameters
    ----------
    real
        Vectors of length 1, or 0 (which are left out).
    n
        How many.
    seed
        Where chance begins.
    """
    rng = np.random.default_rng(seed)
    real = np.unique(real[real.any(axis=1)], axis=0)
    near = VectorIndex.build(real, device="cpu").search(real, NEAR + 1)[1]
    out = np.empty((n, real.shape[1]), dtype=np.float32)
    for start in range(0, n, CHUNK):
        size = min(CHUNK, n - start)
        one = rng.integers(0, len(real), size)
        other = near[one, rng.integers(1, near.shape[1], size)]
        way = rng.random((size, 1), dtype=np.float32)
        noise = rng.standard_normal((size, real.shape[1]), dtype=np.float32)
        moved = real[one] + way * (real[other] - real[one])
        out[start : start + size] = normalised(moved + NOISE / np.sqrt(real.shape[1]) * noise)
    return out


def grown_log(n_users: int, n_items: int, *, seed: int) -> Interactions:
    """Return interactions of users of a few tastes with many items.

    Parameters
    ----------
    n_users, n_items
        How many.
    seed
        Where chance begins.
    """
    rng = np.random.default_rng(seed)
    n = n_users * EVENTS
    users = np.repeat(np.arange(n_users), EVENTS)
    share = max(1, n_items // TASTES)
    tastes = rng.integers(0, TASTES, n_users)[users]
    own = (tastes * share + (share * rng.random(n) ** 3).astype(np.int64)) % n_items
    anywhere = (n_items * rng.random(n) ** 3).astype(np.int64)
    items = np.where(rng.random(n) < OWN, own, np.minimum(anywhere, n_items - 1))
    times = START_MS + rng.integers(0, SPAN_MS, n)
    order = np.lexsort((times, users))
    return Interactions(
        users=users,
        items=items[order],
        steps=np.tile(np.arange(EVENTS, dtype=np.int32), n_users),
        times=times[order],
        weights=np.ones(n, dtype=np.float32),
        signs=np.ones(n, dtype=np.int8),
        seen=np.ones(n, dtype=bool),
        labels=np.ones(n, dtype=bool),
        kinds=np.zeros(n, dtype=np.int16),
        n_users=n_users,
        n_items=n_items,
    )


def earliest(log: pl.DataFrame, columns: Mapping[str, str], n: int) -> pl.DataFrame:
    """Return the earliest `n` rows of a log, in their order; the first where it has no times.

    Parameters
    ----------
    log
        The interactions.
    columns
        Which column is the ``user``, the ``item`` and the ``time``.
    n
        How many.
    """
    if "time" in columns:
        log = log.sort(columns["time"], maintain_order=True)
    return log.head(n)


def grown_interactions(
    log: pl.DataFrame, columns: Mapping[str, str], n: int, *, seed: int
) -> pl.DataFrame:
    """Return the earliest `n` interactions of a log that was copied as often as that takes.

    See the module for the recipe and what it preserves: of whole copies, the lengths of histories,
    the share of repeats and the popularity of items exactly. The first copy keeps its ids, others
    have the number of their copy behind them.

    Parameters
    ----------
    log
        Real interactions, at least one.
    columns
        Which column is the ``user``, the ``item`` and the ``time``.
    n
        How many, more or fewer than there are.
    seed
        Where chance begins.

    Raises
    ------
    InputError
        If the log is empty.
    """
    if not len(log):
        raise InputError("a log without interactions cannot be grown; give one that has some")
    names = {part: columns[part] for part in ("user", "item")}
    log = log.with_columns(pl.col(name).cast(pl.String) for name in names.values())
    copies = -(-n // len(log))
    if copies == 1:
        return earliest(log, columns, n)
    users, items = (log[name].rank("dense").to_numpy().astype(np.int64) for name in names.values())
    _, pairs = np.unique(users * (items.max() + 1) + items, return_inverse=True)
    n_pairs = int(pairs.max()) + 1
    rng = np.random.default_rng(seed)
    turned = rng.integers(0, copies, n_pairs)
    turned[rng.random(n_pairs) < OWN] = 0
    turns = turned[pairs]
    parts = [
        log.with_columns(
            _copied(names["user"], np.full(len(log), copy)),
            _copied(names["item"], (copy + turns) % copies),
        )
        for copy in range(copies)
    ]
    return earliest(pl.concat(parts), columns, n)


def _copied(name: str, copies: npt.NDArray[np.int64]) -> pl.Expr:
    """Return ids with the numbers of their copies."""
    number = pl.Series(copies)
    return (
        pl.when(pl.lit(number) == 0)
        .then(pl.col(name))
        .otherwise(pl.col(name) + MARK + pl.lit(number).cast(pl.String))
        .alias(name)
    )


def grown_items(items: pl.DataFrame, item: str, text: str, taken: pl.Series) -> pl.DataFrame:
    """Return the rows of the items that a grown log has, each copy under a text of its own.

    Parameters
    ----------
    items
        The real items.
    item
        The column of their ids.
    text
        A column of text; that of a copy has the copy's number behind it, an empty one stays empty.
    taken
        Ids of the grown log.
    """
    ids = taken.unique().sort()
    parts = ids.str.split_exact(MARK, 1).struct.unnest()
    wanted = pl.DataFrame({"": ids, item: parts.to_series(0), "copy": parts.to_series(1)})
    found = wanted.join(items.with_columns(pl.col(item).cast(pl.String)), on=item, how="inner")
    marked = pl.col(text) + MARK + pl.col("copy")
    told = pl.when(pl.col("copy").is_null() | (pl.col(text) == "")).then(pl.col(text))
    return found.with_columns(told.otherwise(marked).alias(text), pl.col("").alias(item)).drop(
        "", "copy"
    )
