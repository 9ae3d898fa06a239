"""Ids of users and items, as strings exactly as they are written."""

from __future__ import annotations

import numpy as np
import polars as pl

from twofold.indexing.errors import DataError
from twofold.indexing.problems import Problems
from twofold.indexing.tables import Table


def read_ids(table: Table, column: str, part: str) -> pl.Series:
    """Return a column of ids as strings.

    Strings stay exactly as they are, so that ``"007"`` and ``"7"`` differ; integers become their
    decimal digits.

    Raises
    ------
    DataError
        If the column holds anything else, fractions and dates included.
    """
    values = table.frame[column]
    dtype = values.dtype
    text = dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum)
    if text or dtype.is_integer():
        return values.cast(pl.String)
    if dtype == pl.Null:
        return values.cast(pl.String)
    row = int((values.is_not_null()).arg_max() or 0)
    file, number = table.place(row)
    raise DataError(
        f"expected {part} ids that are strings or whole numbers, came {dtype} ({values[row]}); "
        "convert the column to strings or integers, so that it is clear how ids are written",
        file=file,
        row=number,
        column=column,
    )


def refuse_empty(
    frame: pl.DataFrame, name: str, column: str, table: Table, problems: Problems
) -> pl.DataFrame:
    """Return the rows whose id is neither missing nor blank, and report the others."""
    good = (frame[name].str.strip_chars() != "").fill_null(value=False)
    bad = frame.filter(~good)
    problems.refuse(
        table,
        f"{name} id is given",
        bad["row"].to_numpy().astype(np.int64),
        column=column,
        values=bad[name].head(5).to_list(),
        expected=f"the id of {'an item' if name == 'item' else 'a user'}",
        remedy="fill it in or leave the row out",
    )
    return frame.filter(good) if bad.height else frame
