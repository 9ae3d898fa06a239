"""Tables of items that came or changed after a build, read as the build read its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.indexing.columns import map_columns
from twofold.indexing.data_settings import DataSettings
from twofold.indexing.errors import DataError
from twofold.indexing.identifiers import read_ids, refuse_empty
from twofold.indexing.item_table import ITEM_ID, read_items
from twofold.indexing.problems import Problems
from twofold.indexing.tables import Source, Table, read_table
from twofold.indexing.text_template import default_template, render

Given = Source | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class ItemForm:
    """How a build read its items, so that later ones are read alike.

    Parameters
    ----------
    settings
        How the build's tables were read.
    schema
        Columns of the build's items, the first ``item_id``.
    template
        What the text of an item is made of.
    """

    settings: DataSettings
    schema: pl.Schema
    template: str

    @classmethod
    def of(cls, table: pl.DataFrame, settings: DataSettings) -> ItemForm:
        """Return how a build read its items.

        Parameters
        ----------
        table
            The build's items.
        settings
            How its tables were read.
        """
        template = settings.text_template
        if template is None:
            template = default_template(table.drop(ITEM_ID))
        return cls(settings, table.schema, template)


@dataclass(frozen=True)
class ItemRows:
    """Items as the build would hold them.

    Parameters
    ----------
    frame
        Their attributes, in the build's columns and types, sorted by id.
    texts
        Their texts.
    vectors
        Vectors that were brought, not of length 1, ``float32 (n, d)``; ``None`` where the texts are
        to be encoded.
    """

    frame: pl.DataFrame
    texts: list[str]
    vectors: npt.NDArray[np.float32] | None

    @property
    def ids(self) -> list[str]:
        """Ids of the items."""
        return self.frame[ITEM_ID].to_list()


def read_live_items(
    items: Given, form: ItemForm, current: Callable[[list[str]], pl.DataFrame]
) -> ItemRows | None:
    """Return the items of a table, ``None`` where it is a list without rows.

    Parameters
    ----------
    items
        Path, list of paths, or pandas, polars or Arrow table, or rows as dictionaries, with columns
        that the build's items have.
    form
        How the build read its items.
    current
        Gives the rows of those of some items that are known, from which columns that the table
        lacks are taken; of others they are empty.

    Raises
    ------
    DataError
        If the table cannot be used, has a column that the build's items lack, or a value of another
        type.
    """
    table = _table(items)
    if table is None:
        return None
    column = form.settings.vector_column
    # The text is made below, of what was left out too.
    settings = replace(form.settings, text_template="")
    if column is not None and column not in table.frame.columns:
        settings = replace(settings, vector_column=None)
    read = read_items(table, _found_in(settings, table), Problems(strict=True)).frame
    extra = [name for name in read.columns if name not in form.schema]
    if extra:
        raise DataError(
            f"the build's items have no such column, but {', '.join(form.schema)}; leave it out, "
            "or build again with it",
            file=table.name,
            column=extra[0],
        )
    known = current(read[ITEM_ID].to_list())
    columns = [read[ITEM_ID]]
    for name, dtype in form.schema.items():
        if name in read.columns:
            if name != ITEM_ID:
                columns.append(_as(read[name], dtype, table))
            continue
        held = read.select(ITEM_ID).join(known, on=ITEM_ID, how="left", maintain_order="left")
        columns.append(held[name])
    frame = pl.DataFrame(columns).select(form.schema.names())
    texts = render(frame, form.template).to_list()
    return ItemRows(frame, texts, None if column is None else _brought(frame[column], table))


def read_item_ids(items: Given | Sequence[str], settings: DataSettings) -> list[str]:
    """Return the ids of a table with a column of ids, or of a list of ids, each once.

    Raises
    ------
    DataError
        If there is no column of ids, or one is empty.
    """
    if isinstance(items, list | tuple) and all(isinstance(one, str) for one in items):
        return list(dict.fromkeys(items))
    table = _table(items)
    if table is None:
        return []
    named = settings.items_column or settings.item_column
    named = named if named in table.frame.columns else None
    column = map_columns(table, ("item",), {"item": named})["item"]
    ids = read_ids(table, column, "item")
    rows = pl.DataFrame({"row": np.arange(len(ids)), "item": ids})
    rows = refuse_empty(rows, "item", column, table, Problems(strict=True))
    return rows["item"].unique(maintain_order=True).to_list()


def written(frame: pl.DataFrame) -> list[str]:
    """Return rows as JSON objects, one a row, that :func:`read_written` reads again.

    Times are whole numbers in the column's own unit, and bytes are hexadecimal digits. Numbers that
    are none are written as Python does, ``NaN`` and ``Infinity``.
    """
    plain = [
        column.bin.encode("hex") if column.dtype == pl.Binary else column.cast(_plain(column.dtype))
        for column in frame.iter_columns()
    ]
    return [json.dumps(row, ensure_ascii=False) for row in pl.DataFrame(plain).to_dicts()]


def read_written(rows: Sequence[str], schema: pl.Schema) -> pl.DataFrame:
    """Return the table of rows that :func:`written` wrote.

    Parameters
    ----------
    rows
        JSON objects.
    schema
        The table's columns; what a row lacks is null, what it has beyond them is left out.
    """
    plain = pl.Schema({name: _plain(dtype) for name, dtype in schema.items()})
    frame = pl.DataFrame([json.loads(row) for row in rows], schema=plain, orient="row")
    return pl.DataFrame(
        [
            frame[name].str.decode("hex") if dtype == pl.Binary else frame[name].cast(dtype)
            for name, dtype in schema.items()
        ]
    )


def _plain(dtype: Any) -> Any:
    """Return the type in which JSON holds values of a type."""
    if dtype.is_temporal():
        return pl.Int64()
    if dtype.is_decimal() or isinstance(dtype, pl.Categorical | pl.Enum) or dtype == pl.Binary:
        return pl.String()
    if isinstance(dtype, pl.List):
        return pl.List(_plain(dtype.inner))
    if isinstance(dtype, pl.Array):
        return pl.Array(_plain(dtype.inner), dtype.shape)
    if isinstance(dtype, pl.Struct):
        return pl.Struct([pl.Field(one.name, _plain(one.dtype)) for one in dtype.fields])
    return dtype


def _table(items: Given) -> Table | None:
    """Return a table of items, ``None`` where it is a list without rows."""
    if isinstance(items, list | tuple) and all(isinstance(one, Mapping) for one in items):
        if not items:
            return None
        try:
            items = pl.DataFrame(list(items), infer_schema_length=None)
        except (pl.exceptions.PolarsError, TypeError) as error:
            raise DataError(
                f"cannot be made a table ({error}); give values of one type a column",
                file="items table",
            ) from error
    return read_table(items, "items")


def _found_in(settings: DataSettings, table: Table) -> DataSettings:
    """Return settings that name no column of availability that a table leaves out."""
    start, end = settings.available_from_column, settings.available_until_column
    columns = table.frame.columns
    return replace(
        settings,
        available_from_column="" if start and start not in columns else start,
        available_until_column="" if end and end not in columns else end,
    )


def _as(values: pl.Series, dtype: Any, table: Table) -> pl.Series:
    """Return a column in the build's type."""
    try:
        return values.cast(dtype)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"expected values of the build's type, {dtype}, came {values.dtype}: "
            f"{str(error).splitlines()[0]}; write them as the build's table did",
            file=table.name,
            column=values.name,
        ) from error


def _brought(values: pl.Series, table: Table) -> npt.NDArray[np.float32]:
    """Return vectors that were brought, of one length, ``float32 (n, d)``."""
    vectors = values.cast(pl.List(pl.Float32)).to_list()
    lengths = {0 if one is None else len(one) for one in vectors}
    if 0 in lengths or len(lengths) > 1:
        raise DataError(
            "expected a vector for every item, and all of one length; give them, for the build's "
            "own vectors were brought",
            file=table.name,
            column=values.name,
        )
    return np.array(vectors, dtype=np.float32)
