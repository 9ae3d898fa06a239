"""A data set and what came since it was built, as one data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.indexing.data_settings import DataSettings
from twofold.indexing.dataset import Dataset, assemble
from twofold.indexing.event_values import kinds_of
from twofold.indexing.interaction_table import InteractionTable
from twofold.indexing.item_table import ITEM_ID, ItemTable
from twofold.indexing.live_items import read_written
from twofold.indexing.live_log import ItemChange, LiveEvent
from twofold.indexing.ordering import steps_of

Int64s = npt.NDArray[np.int64]
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
    changed
        Which items came or have another text, ``bool (n_items,)``.
    vectors
        Vectors that came, by the number of the item, ``float32 (d,)`` each, as they were given.
    active_users, active_items
        Those with events that came, numbered anew, ``int64``, ascending.
    n_events
        Events that came and were not there before.
    n_known
        Events that were there: the data set holds them, or they came twice.
    n_unknown
        Events left out, for neither the data set nor what came has their item.
    """

    dataset: Dataset
    users: Int64s
    items: Int64s
    changed: npt.NDArray[np.bool_]
    vectors: dict[int, npt.NDArray[np.float32]]
    active_users: Int64s
    active_items: Int64s
    n_events: int
    n_known: int
    n_unknown: int

    def counts(self) -> dict[str, int]:
        """Return what came, in numbers by name."""
        return {
            "events": self.n_events,
            "known_events": self.n_known,
            "unknown_events": self.n_unknown,
            "users": int((self.users < 0).sum()),
            "items": int((self.items < 0).sum()),
            "changed_texts": int((self.changed & (self.items >= 0)).sum()),
        }


def merge(
    dataset: Dataset,
    events: Sequence[LiveEvent],
    changes: Sequence[ItemChange],
    settings: DataSettings,
    *,
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
    events, changes
        What came, in order. An item that went stays known.
    settings
        How the data set was read; what it holds counts once in any case.
    seed
        Breaks ties, as it did in the build.
    """
    catalogue = _catalogue(dataset, changes)
    came = _read(events, dataset)
    there = came.join(
        catalogue.table.frame.select(pl.col(ITEM_ID).alias("item")),
        on="item",
        how="semi",
        maintain_order="left",
    )
    before = _rows(dataset, timed=_ordered_by_time(dataset))
    fresh = there
    if dataset.has_times:
        fresh = there.join(before, on=TOLD_BY, how="anti", maintain_order="left")
        if not settings.keep_duplicates:
            fresh = fresh.unique(fresh.columns, keep="first", maintain_order=True)
    else:
        fresh = fresh.with_columns(pl.lit(0, dtype=pl.Int64).alias("time"))
    log = InteractionTable(
        pl.concat([before, fresh]).with_row_index("row"),
        {},
        dataset.kinds,
        has_times=dataset.has_times,
        has_order=dataset.has_order,
        has_split=dataset.split is not None,
        notes=(),
    )
    whole = replace(assemble(log, catalogue.table, seed=seed), removed=catalogue.removed)
    items = dataset.items.encode(whole.items.ids, unknown="mark")
    return Merged(
        dataset=whole,
        users=dataset.users.encode(whole.users.ids, unknown="mark"),
        items=items,
        changed=np.array(
            [
                old < 0 or dataset.texts[old] != text
                for old, text in zip(items.tolist(), whole.texts, strict=True)
            ],
            dtype=bool,
        ),
        vectors={whole.items.number(one): vector for one, vector in catalogue.vectors.items()},
        active_users=np.unique(whole.users.encode(fresh["user"].unique().to_list())),
        active_items=np.unique(whole.items.encode(fresh["item"].unique().to_list())),
        n_events=fresh.height,
        n_known=there.height - fresh.height,
        n_unknown=came.height - there.height,
    )


class _Catalogue(NamedTuple):
    """All items, ids of those that were removed, and vectors that came by the item's id."""

    table: ItemTable
    removed: tuple[str, ...]
    vectors: dict[str, npt.NDArray[np.float32]]


def _catalogue(dataset: Dataset, changes: Sequence[ItemChange]) -> _Catalogue:
    """Return the items of a data set as changes left them."""
    puts: dict[str, ItemChange] = {}
    removed = set(dataset.removed)
    for change in changes:
        if change.change == "put":
            puts[change.item] = change
            removed.discard(change.item)
        else:
            removed.add(change.item)
    schema = dataset.table.schema
    fresh = read_written([one.attributes or "{}" for one in puts.values()], schema)
    kept = ~dataset.table[ITEM_ID].is_in(list(puts))
    frame = pl.concat([dataset.table.filter(kept), fresh])
    texts = pl.concat(
        [
            pl.Series("text", dataset.texts, dtype=pl.String).filter(kept),
            pl.Series("text", [one.text or "" for one in puts.values()], dtype=pl.String),
        ]
    )
    order = frame[ITEM_ID].arg_sort()
    table = ItemTable(frame[order], texts[order], dataset.notes, dataset.windows)
    vectors = {one.item: one.vector for one in puts.values() if one.vector is not None}
    known = removed.intersection(frame[ITEM_ID].to_list())
    return _Catalogue(table, tuple(sorted(known)), vectors)


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
    # Without times its own order stays: steps are less than any time in milliseconds since 1970, so
    # that what came is later than all of it.
    order = rows.times if timed else rows.steps.astype(np.int64)
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
