"""Merging is what reading tables that hold all of it comes to, whatever the tables are like."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.indexing.data_settings import DataSettings
from twofold.indexing.dataset import Dataset, load_dataset
from twofold.indexing.events import EventSettings
from twofold.indexing.interactions import COLUMNS
from twofold.indexing.item_table import ITEM_ID
from twofold.indexing.live_events import read_live_events
from twofold.indexing.live_items import ItemForm, read_live_items, written
from twofold.indexing.live_log import ItemChange
from twofold.indexing.merging import Merged, merge

ITEMS = pl.DataFrame(
    {
        "item_id": [f"i{number}" for number in range(6)],
        "title": [f"title {number}" for number in range(6)],
        "tags": [["a", "b"][: number % 3] for number in range(6)],
        "price": [None if number == 2 else number / 7 for number in range(6)],
        "available_from": [datetime(2020, 1, 1 + number, tzinfo=UTC) for number in range(6)],
    }
)
LATE = 1_700_000_000
KINDS = ("view", "cart", "purchase", "dislike", "impression")


def _events(rows: Sequence[tuple[int, int, int, int]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": [f"u{row[0]}" for row in rows],
            "item_id": [f"i{row[1]}" for row in rows],
            "timestamp": [1_600_000_000 + row[2] for row in rows],
            "event": [KINDS[row[3]] for row in rows],
        }
    )


def _puts(dataset: Dataset, items: pl.DataFrame, how: DataSettings) -> list[ItemChange]:
    rows = read_live_items(
        items,
        ItemForm.of(dataset.table, how),
        lambda ids: dataset.table.filter(pl.col(ITEM_ID).is_in(ids)),
    )
    if rows is None:
        return []
    told = zip(rows.ids, written(rows.frame), rows.texts, strict=True)
    return [ItemChange(one, "put", about, text) for one, about, text in told]


def _merged(
    first: pl.DataFrame,
    later: pl.DataFrame,
    how: DataSettings,
    items: pl.DataFrame | None = ITEMS,
    new: pl.DataFrame | None = None,
    seed: int = 0,
) -> Merged:
    dataset = load_dataset(first, items, how, seed=seed)
    changes = [] if new is None else _puts(dataset, new, how)
    known = {*dataset.items.ids, *(one.item for one in changes)}
    # In several tables, for one table holds each row once already.
    parts = [read_live_events(part, how, known) for part in later.iter_slices(4) if part.height]
    events = [event for part in parts for event in part]
    return merge(dataset, events, changes, how, seed=seed)


def _same(one: Dataset, other: Dataset) -> None:
    assert one.users.ids == other.users.ids
    assert one.items.ids == other.items.ids
    for name in COLUMNS:
        ours, theirs = getattr(one.interactions, name), getattr(other.interactions, name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    assert one.table.equals(other.table)
    assert one.table.schema == other.table.schema
    assert one.texts == other.texts
    for about in ("kinds", "has_times", "has_order", "windows"):
        assert getattr(one, about) == getattr(other, about)
    if one.has_times:
        assert one.fingerprint == other.fingerprint


# Every kind of event is in the first part, for others would be read as the nearest.
EVERY = [(9, kind, 0, kind) for kind in range(len(KINDS))]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(*(st.integers(0, most) for most in (4, 5, 3, 4))), min_size=1, max_size=30
    ),
    cut=st.integers(0, 30),
    seed=st.integers(0, 3),
)
def test_events_of_any_order_with_ties_and_repeats(
    rows: list[tuple[int, int, int, int]], cut: int, seed: int
) -> None:
    first, later = _events([*EVERY, *rows[:cut]]), _events(rows[cut:])
    how = DataSettings()
    found = _merged(first, later, how, seed=seed)
    _same(found.dataset, load_dataset(pl.concat([first, later]), ITEMS, how, seed=seed))
    assert found.n_unknown == 0
    new = {(u, i, t, k) for u, i, t, k in rows[cut:]} - {*EVERY, *rows[:cut]}
    assert found.n_events == len(new)
    ids = found.dataset.users.decode(found.active_users)
    assert set(ids) == {f"u{one[0]}" for one in new}
    assert set(found.dataset.items.decode(found.active_items)) == {f"i{one[1]}" for one in new}


def test_items_that_came_and_were_changed() -> None:
    how = DataSettings(text_template="{title} ({tags})")
    first = _events([(0, 0, 0, 0), (1, 1, 1, 2), (0, 2, 3, 3)])
    later = _events([(1, 5, 5, 0), (2, 0, 6, 2)])
    changed = ITEMS[1:2].with_columns(pl.lit("another").alias("title"))
    repriced = ITEMS[0:1].with_columns(pl.lit(9.5).alias("price"))
    held = ITEMS[:4]
    new = pl.concat([ITEMS[4:], changed, repriced])
    wanted = pl.concat([ITEMS[2:4], new])
    found = _merged(first, later, how, held, new)
    # Kinds are those of the first part: three of them in both.
    _same(found.dataset, load_dataset(pl.concat([first, later]), wanted, how))
    assert found.items.tolist() == [0, 1, 2, 3, -1, -1]
    assert found.users.tolist() == [0, 1, -1]
    assert found.changed.tolist() == [False, True, False, False, True, True]
    assert found.counts()["changed_texts"] == 1


def test_ratings_and_windows_and_repeats_that_are_kept() -> None:
    how = DataSettings(
        keep_duplicates=True, events=EventSettings(like_at_least=4.0, dislike_at_most=2.0)
    )
    table = pl.DataFrame(
        {
            "user_id": ["a", "a", "b", "b", "c", "c", "c"],
            "item_id": ["i1", "i2", "i1", "i3", "i2", "i2", "i1"],
            "timestamp": [LATE + at for at in (1, 2, 3, 3, 4, 4, 9)],
            "rating": [1.0, 3.0, 5.0, 4.5, 5.0, 5.0, 1.0],
        }
    )
    found = _merged(table[:4], table[4:], how)
    _same(found.dataset, load_dataset(table, ITEMS, how))
    assert found.n_events == 3


@pytest.mark.parametrize("column", ["position", None])
def test_without_times_what_came_follows_in_order(column: str | None) -> None:
    rows = {"user_id": ["a", "a", "b"], "item_id": ["i3", "i1", "i1"]}
    first = pl.DataFrame({**rows, **({column: [5, 7, 1]} if column else {})})
    later = pl.DataFrame(
        {
            "user_id": ["a", "a", "c"],
            "item_id": ["i0", "i5", "i5"],
            "timestamp": [LATE + at for at in (2, 1, 0)],
        }
    )
    dataset = load_dataset(first, ITEMS)
    # The live log has times, whatever the build's tables had.
    events = read_live_events(later, DataSettings(), dataset.items)
    found = merge(dataset, events, [], DataSettings(), seed=0).dataset
    assert found.has_times is False
    assert found.has_order is (column is not None)
    log = found.interactions
    assert not log.times.any()
    of_a = slice(int(log.indptr[0]), int(log.indptr[1]))
    in_order = found.items.decode(log.items[of_a])
    assert in_order[2:] == ["i5", "i0"]
    if column:
        assert in_order[:2] == ["i3", "i1"]
        assert log.steps[of_a].tolist() == [0, 1, 2, 3]
    else:
        assert log.steps[of_a].tolist() == [0, 0, 1, 2]


def test_an_order_by_positions_stays_where_there_are_times_too() -> None:
    first = pl.DataFrame(
        {
            "user_id": ["a", "a", "a"],
            "item_id": ["i3", "i1", "i2"],
            "timestamp": [LATE + at for at in (300, 200, 100)],
            "position": [0, 1, 2],
        }
    )
    dataset = load_dataset(first, ITEMS)
    later = first[:1].with_columns(
        pl.lit("i0").alias("item_id"), pl.lit(LATE + 50).alias("timestamp")
    )
    events = read_live_events(later, DataSettings(), dataset.items)
    found = merge(dataset, events, [], DataSettings(), seed=0).dataset
    assert found.items.decode(found.interactions.items) == ["i3", "i1", "i2", "i0"]


def test_new_events_are_to_learn_from_where_a_file_gave_a_split() -> None:
    first = _events([(0, 0, 0, 0), (0, 1, 1, 0)]).with_columns(
        pl.Series("split", ["train", "test"])
    )
    dataset = load_dataset(first, ITEMS)
    events = read_live_events(_events([(0, 2, 2, 0)]), DataSettings(), dataset.items)
    found = merge(dataset, events, [], DataSettings(), seed=0).dataset
    assert found.split is not None
    assert found.split.tolist() == [0, 2, 0]


def test_removed_items_are_listed_until_they_come_again() -> None:
    dataset = load_dataset(_events([(0, 0, 0, 0), (0, 1, 1, 0)]), ITEMS)
    how = DataSettings()
    gone: list[Any] = [ItemChange("i1", "remove"), ItemChange("i4", "remove")]
    found = merge(dataset, [], gone, how, seed=0).dataset
    assert found.removed == ("i1", "i4")
    assert found.items.ids == dataset.items.ids
    again = merge(found, [], _puts(found, ITEMS[4:5], how), how, seed=0).dataset
    assert again.removed == ("i1",)
    once_more = [*_puts(found, ITEMS[1:2], how), ItemChange("i1", "remove")]
    assert merge(again, [], once_more, how, seed=0).dataset.removed == ("i1",)
