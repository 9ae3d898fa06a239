"""A data set and what came since it was built, as one data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.indexing.dataset import Dataset, assemble
from twofold.indexing.event_values import kinds_of
from twofold.indexing.interaction_table import InteractionTable
from twofold.indexing.item_table import ItemTable
from twofold.indexing.live_log import LiveEvent
from twofold.indexing.ordering import steps_of

Int64s = npt.NDArray[np.int64]
MANY_STEPS = 1 << 40  # before all times
COLUMNS = ("user", "item", "time", "order", "split", "weight", "sign", "seen", "label", "kind")
# What tells the events of a data set apart, where it has times.
TOLD_BY = ("user", "item", "time", "kind")


@dataclass(frozen=True)
class Merged:
    """A data set that holds another one and what came since.

    Parameters
    ----------
    dataset
        All of it, numbered anew.
    users, items
        What number each user and item had in the other data set, -1 for those that came, ``int64
        (n,)``.
    active_users, active_items
        Those with events that came, numbered anew, ``int64``, ascending.
    n_events
        Events that came and were not there before.
    n_known
        Events that the data set held already.
    n_unknown
        Events left out, for their item is known neither to the data set nor to what came.
    """

    dataset: Dataset
    users: Int64s
    items: Int64s
    active_users: Int64s
    active_items: Int64s
    n_events: int
    n_known: int
    n_unknown: int


def merge(
    dataset: Dataset,
    events: Sequence[LiveEvent],
    catalogue: ItemTable,
    *,
    keep_duplicates: bool,
    seed: int,
) -> Merged:
    """Return a data set with the events and items that came since it was built.

    It is what tables that hold all of it would be read as, with these exceptions: an event of a
    kind that the data set lacks takes the one that stands for its sign, as in a request, because a
    trained ranker knows no other; events that came are in the part of the split to learn from; and
    where the data set has no times, or its order is not theirs, they follow all that it holds.

    Parameters
    ----------
    dataset
        What was built.
    events
        What came, in order.
    catalogue
        All items, those that came among them.
    keep_duplicates
        As of :class:`twofold.indexing.data_settings.DataSettings`; what the data set holds counts
        once in any case.
    seed
        Breaks ties, as it did in the build.
    """
    timed = _ordered_by_time(dataset)
    before = _rows(dataset, timed=timed)
    known = pl.DataFrame({"item": catalogue.frame["item_id"]})
    came = _read(events, dataset)
    there = came.join(known, on="item", how="semi", maintain_order="left")
    fresh = there
    if dataset.has_times:
        fresh = there.join(before, on=TOLD_BY, how="anti", maintain_order="left")
        if not keep_duplicates:
            fresh = fresh.unique(COLUMNS, keep="first", maintain_order=True)
    if not dataset.has_times:
        fresh = fresh.with_columns(pl.lit(0, dtype=pl.Int64).alias("time"))
    rows = pl.concat([before, fresh]).with_row_index("row")
    log = InteractionTable(
        rows,
        {},
        dataset.kinds,
        has_times=dataset.has_times,
        has_order=dataset.has_order,
        has_split=dataset.split is not None,
        notes=(),
    )
    whole = assemble(log, catalogue, seed=seed)
    active = fresh.select("user", "item").unique()
    return Merged(
        dataset=whole,
        users=dataset.users.encode(whole.users.ids, unknown="mark"),
        items=dataset.items.encode(whole.items.ids, unknown="mark"),
        active_users=np.unique(whole.users.encode(active["user"].to_list())),
        active_items=np.unique(whole.items.encode(active["item"].to_list())),
        n_events=fresh.height,
        n_known=there.height - fresh.height,
        n_unknown=came.height - there.height,
    )


def _ordered_by_time(dataset: Dataset) -> bool:
    """Say whether a data set's order is that of its times, and not of a column of positions."""
    if not dataset.has_times:
        return False
    rows = dataset.interactions
    within = rows.users[1:] == rows.users[:-1]
    if bool(np.any(within & (rows.times[1:] < rows.times[:-1]))):
        return False
    return bool(np.array_equal(steps_of(rows.users, rows.times), rows.steps))


def _rows(dataset: Dataset, *, timed: bool) -> pl.DataFrame:
    """Return the interactions of a data set as they were before they were numbered."""
    rows = dataset.interactions
    # The data set's own order stays, and what came is later than all of it.
    order = rows.times if timed else rows.steps.astype(np.int64) - MANY_STEPS
    split = np.zeros(len(rows), dtype=np.int8) if dataset.split is None else dataset.split
    values = {
        "user": pl.Series(dataset.users.ids, dtype=pl.String)[np.asarray(rows.users)],
        "item": pl.Series(dataset.items.ids, dtype=pl.String)[np.asarray(rows.items)],
        "time": rows.times,
        "order": order,
        "split": split,
        "weight": rows.weights,
        "sign": rows.signs,
        "seen": rows.seen,
        "label": rows.labels,
        "kind": rows.kinds,
    }
    return pl.DataFrame(values)


def _read(events: Sequence[LiveEvent], dataset: Dataset) -> pl.DataFrame:
    """Return events as rows of a data set that has its kinds."""
    signs = np.array([event.sign for event in events], dtype=np.int8)
    times = np.array([event.time for event in events], dtype=np.int64)
    values = {
        "user": pl.Series([event.user for event in events], dtype=pl.String),
        "item": pl.Series([event.item for event in events], dtype=pl.String),
        "time": times,
        "order": times,
        "split": np.zeros(len(events), dtype=np.int8),
        "weight": np.array([event.weight for event in events], dtype=np.float32),
        "sign": signs,
        "seen": np.array([event.seen for event in events], dtype=bool),
        "label": np.array([event.label for event in events], dtype=bool),
        "kind": kinds_of([event.kind for event in events], signs, dataset.kinds),
    }
    return pl.DataFrame(values)
