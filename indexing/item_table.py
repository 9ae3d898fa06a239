"""The items: ids, attributes, texts and perhaps vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from twofold.indexing.columns import map_columns
from twofold.indexing.data_settings import DataSettings
from twofold.indexing.errors import DataError
from twofold.indexing.identifiers import read_ids, refuse_empty
from twofold.indexing.problems import Problems
from twofold.indexing.tables import Table
from twofold.indexing.text_template import default_template, render
from twofold.indexing.times import EXPECTED, to_milliseconds

ITEM_ID = "item_id"


@dataclass(frozen=True)
class ItemTable:
    """Items in order of their ids.

    Parameters
    ----------
    frame
        Attributes, first column ``item_id``, sorted by it.
    texts
        The text of each item, ``""`` where it has none.
    notes
        What was mapped.
    windows
        Columns of `frame` with the first moment an item may be recommended and the first it may no
        longer, ``None`` where there is no such column.
    """

    frame: pl.DataFrame
    texts: pl.Series
    notes: tuple[str, ...]
    windows: tuple[str | None, str | None] = (None, None)


def read_items(table: Table, settings: DataSettings, problems: Problems) -> ItemTable:
    """Return the items of a table.

    Parameters
    ----------
    table
        The table.
    settings
        How to read it.
    problems
        Where to say what is wrong with it.

    Raises
    ------
    DataError
        If there is no column of ids, an id is empty or stands twice, a time of availability is
        none, or vectors cannot be used.
    """
    named = settings.items_column
    if named is None and settings.item_column in table.frame.columns:
        named = settings.item_column
    column = map_columns(table, ("item",), {"item": named})["item"]
    ids = read_ids(table, column, "item")
    rows = pl.DataFrame({"row": np.arange(len(ids)), "item": ids})
    rows = refuse_empty(rows, "item", column, table, problems)
    first = rows.unique("item", keep="first", maintain_order=True)
    again = rows.join(first.select("row"), on="row", how="anti", maintain_order="left")
    problems.refuse(
        table,
        "item ids are distinct",
        again["row"].to_numpy(),
        column=column,
        values=again["item"].head(5).to_list(),
        expected="each item once",
        remedy="leave out the second row of this id",
    )
    order = first.sort("item")
    windows, whole = _windows(table, settings, problems)
    attributes = whole.drop(column)
    if ITEM_ID in attributes.columns:
        attributes = attributes.rename({ITEM_ID: f"{ITEM_ID}_as_given"})
    attributes = attributes[order["row"].to_numpy()]
    if table.as_text:
        attributes = _typed(attributes)
    frame = attributes.insert_column(0, order["item"].alias(ITEM_ID))
    if settings.vector_column is not None:
        _check_vectors(frame, settings.vector_column, table)
    template = settings.text_template
    if template is None:
        template = default_template(attributes.drop(ITEM_ID, strict=False))
    notes = [f"items: column '{column}' is the item"] if column != ITEM_ID else []
    notes.append(f"items: their text is {template or 'empty, for no column holds strings'}")
    for name, what in zip(windows, ("from", "until"), strict=True):
        if name is not None:
            notes.append(f"items: column '{name}' says {what} when an item may be recommended")
    return ItemTable(frame, render(frame, template), tuple(notes), windows)


def _windows(
    table: Table, settings: DataSettings, problems: Problems
) -> tuple[tuple[str | None, str | None], pl.DataFrame]:
    """Return the columns that say when items may be recommended, and the table with their times."""
    named = {
        "available_from": settings.available_from_column,
        "available_until": settings.available_until_column,
    }
    frame, columns = table.frame, map_columns(table, tuple(named), named)
    for column in columns.values():
        values = frame[column]
        times, _ = to_milliseconds(values)
        wrong = np.flatnonzero((times.is_null() & values.is_not_null()).to_numpy())
        problems.refuse(
            table,
            "times of availability are times",
            wrong,
            column=column,
            values=values[wrong[:5]].to_list(),
            expected=EXPECTED,
            remedy="write it in one of these ways, or leave the cell empty for an open end",
        )
        frame = frame.with_columns(times.cast(pl.Datetime("ms", "UTC")).alias(column))
    return (columns.get("available_from"), columns.get("available_until")), frame


def _typed(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of a text file as numbers where all their values are written as such.

    Digits with leading zeros stay strings, for they are codes rather than numbers.
    """
    out = []
    for column in frame.iter_columns():
        if column.dtype != pl.String:
            out.append(column)
            continue
        whole = column.cast(pl.Int64, strict=False)
        number = column.cast(pl.Float64, strict=False)
        if column.null_count() == len(column):
            out.append(column)
        elif whole.null_count() == column.null_count():
            same = bool((whole.cast(pl.String) == column).all())
            out.append(whole if same else column)
        elif number.null_count() == column.null_count() and not column.str.contains(r"^0\d").any():
            out.append(number)
        else:
            out.append(column)
    return pl.DataFrame(out)


def _check_vectors(frame: pl.DataFrame, column: str, table: Table) -> None:
    if column not in frame.columns:
        raise DataError(
            f"the settings name this column for the vectors, but the table has "
            f"{', '.join(frame.columns)}; correct vector_column",
            file=table.name,
            column=column,
        )
    dtype = frame.schema[column]
    inner = dtype.inner if isinstance(dtype, pl.List | pl.Array) else None
    if inner is None or not inner.is_numeric():
        raise DataError(
            f"expected vectors as lists of numbers, came {dtype}; write them to a parquet file as "
            "lists of floats",
            file=table.name,
            column=column,
        )
    vectors = frame[column]
    listed = vectors.arr.to_list() if isinstance(dtype, pl.Array) else vectors
    lengths = listed.list.len()
    present = lengths.drop_nulls().to_numpy()
    dimension = int(np.bincount(present).argmax()) if len(present) else 0
    values = listed.list.eval(pl.element().cast(pl.Float64).is_finite().fill_null(value=False))
    good = ((lengths == dimension) & values.list.all()).fill_null(value=False)
    if dimension == 0 or not good.all():
        wrong = int((~good).arg_max() or 0)
        raise DataError(
            f"expected {dimension} finite numbers for every item, but item "
            f"'{frame[ITEM_ID][wrong]}' has another vector or none ({int((~good).sum()):,} such "
            "items); give every item a vector of one length",
            file=table.name,
            column=column,
        )
