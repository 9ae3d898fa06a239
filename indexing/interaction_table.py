"""The interactions: who, what, when, and what it counts for, checked row by row."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from twofold.indexing import times
from twofold.indexing.columns import map_columns
from twofold.indexing.counting import apply_rules
from twofold.indexing.data_settings import DataSettings
from twofold.indexing.errors import DataError
from twofold.indexing.identifiers import read_ids, refuse_empty
from twofold.indexing.problems import Problems, show
from twofold.indexing.tables import Table

PARTS = ("user", "item", "time", "position", "event", "rating", "weight", "label", "split")
SPLIT_NAMES = {
    "train": 0,
    "training": 0,
    "valid": 1,
    "validation": 1,
    "val": 1,
    "dev": 1,
    "test": 2,
}


@dataclass(frozen=True)
class InteractionTable:
    """Interactions that can be used, in the order of the table.

    Parameters
    ----------
    frame
        Columns ``row`` (position in the table), ``user``, ``item`` (ids), ``time`` (milliseconds;
        0 without times), ``order`` (what sorts a user's rows; 0 without an order), ``split``
        (0 train, 1 validation, 2 test), ``weight``, ``sign``, ``seen``, ``label``, ``kind``.
    columns
        Names of the columns in the file, by their part.
    kinds
        Names behind ``kind``.
    has_times, has_order, has_split
        Whether times are real, times or positions gave an order, and the file gave a split.
    notes
        What was mapped, dropped and assumed.
    """

    frame: pl.DataFrame
    columns: dict[str, str]
    kinds: tuple[str, ...]
    has_times: bool
    has_order: bool
    has_split: bool
    notes: tuple[str, ...]


def read_interactions(
    table: Table,
    settings: DataSettings,
    problems: Problems,
    *,
    known: pl.Series | None,
    to_learn: bool = True,
) -> InteractionTable:
    """Return the interactions of a table.

    Parameters
    ----------
    table
        The table.
    settings
        How to read it.
    problems
        Where to say what is wrong with it.
    known
        Ids of the items; ``None`` takes every item that comes.
    to_learn
        Whether something is to be learned from them, so that one must raise an item.

    Raises
    ------
    DataError
        If a column is missing, ambiguous or of a wrong type, or, where `problems` is strict, at
        the first row that cannot be used.
    """
    columns = map_columns(table, PARTS, settings.named())
    _refuse_nested(table, columns)
    _refuse_two_meanings(table, columns)
    notes = [
        f"interactions: column '{column}' is the {part}"
        for part, column in columns.items()
        if column not in (part, f"{part}_id")
    ]
    raw = {part: table.frame[column] for part, column in columns.items()}
    raw["user"] = read_ids(table, columns["user"], "user")
    raw["item"] = read_ids(table, columns["item"], "item")
    frame = pl.DataFrame({"row": pl.arange(0, table.frame.height, eager=True), **raw})
    frame = refuse_empty(frame, "user", columns["user"], table, problems)
    frame = refuse_empty(frame, "item", columns["item"], table, problems)
    frame, note = _with_times(frame, columns, table, problems)
    notes += note
    frame = _with_positions(frame, columns, table, problems)
    frame = _with_split(frame, columns, table, problems)
    counted = apply_rules(frame, columns, settings.events, table, problems)
    notes += counted.notes
    frame = counted.frame
    if known is not None:
        frame, note = _with_known_items(frame, known, columns, settings, table, problems)
        notes += note
    if not settings.keep_duplicates:
        frame, note = _once(frame, columns, table, problems)
        notes += note
    if to_learn and not frame["label"].any():
        raise DataError(
            "no interaction is left that raises an item, so there is nothing to learn; see which "
            "events, ratings or weights count as positives",
            file=table.name,
        )
    return InteractionTable(
        frame,
        columns,
        counted.kinds,
        has_times="time" in columns,
        has_order="time" in columns or "position" in columns,
        has_split="split" in columns,
        notes=tuple(notes),
    )


def _refuse_nested(table: Table, columns: dict[str, str]) -> None:
    for part, column in columns.items():
        dtype = table.frame.schema[column]
        if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
            raise DataError(
                f"expected one plain value a row for the {part}, came {dtype}; take the value out, "
                "or name another column in the settings",
                file=table.name,
                column=column,
            )


def _refuse_two_meanings(table: Table, columns: dict[str, str]) -> None:
    given = [part for part in ("event", "rating", "label", "weight") if part in columns]
    if len(given) > 1 and given != ["event", "weight"]:
        first, second = given[:2]
        raise DataError(
            f"columns '{columns[first]}' ({first}) and '{columns[second]}' ({second}) both say "
            f"what an interaction counts for; turn one off in the settings ({second}_column = "
            '"")',
            file=table.name,
        )


def _with_times(
    frame: pl.DataFrame, columns: dict[str, str], table: Table, problems: Problems
) -> tuple[pl.DataFrame, list[str]]:
    if "time" not in columns:
        return frame.with_columns(pl.lit(0, dtype=pl.Int64).alias("time")), []
    raw = frame["time"]
    time, how = times.to_milliseconds(raw)
    bad = frame.filter(time.is_null())
    problems.refuse(
        table,
        "time can be read",
        bad["row"].to_numpy(),
        column=columns["time"],
        values=bad["time"].head(5).to_list(),
        expected=times.EXPECTED,
        remedy=times.REMEDY,
    )
    frame = frame.with_columns(time.alias("time"))
    frame = frame.filter(pl.col("time").is_not_null()) if bad.height else frame
    return frame, [f"interactions: times in column '{columns['time']}' are {how}"]


def _with_positions(
    frame: pl.DataFrame, columns: dict[str, str], table: Table, problems: Problems
) -> pl.DataFrame:
    if "position" not in columns:
        return frame.with_columns(pl.col("time").alias("order"))
    raw = frame["position"]
    position = raw.cast(pl.Int64, strict=False)
    if raw.dtype.is_temporal() or raw.dtype == pl.Boolean:
        position = position.clear(len(raw))
    elif raw.dtype.is_float():
        position = position.set(position.cast(pl.Float64) != raw, None)
    bad = frame.filter(position.is_null())
    problems.refuse(
        table,
        "position is a whole number",
        bad["row"].to_numpy(),
        column=columns["position"],
        values=bad["position"].head(5).to_list(),
        expected="a whole number",
        remedy="correct it or leave the column out",
    )
    frame = frame.with_columns(position.alias("order")).drop("position")
    return frame.filter(pl.col("order").is_not_null()) if bad.height else frame


def _with_split(
    frame: pl.DataFrame, columns: dict[str, str], table: Table, problems: Problems
) -> pl.DataFrame:
    if "split" not in columns:
        return frame.with_columns(pl.lit(0, dtype=pl.Int8).alias("split"))
    names = frame["split"].cast(pl.String).str.strip_chars().str.to_lowercase()
    number = names.replace_strict(SPLIT_NAMES, default=None, return_dtype=pl.Int8)
    bad = frame.filter(number.is_null())
    problems.refuse(
        table,
        "split is train, validation or test",
        bad["row"].to_numpy(),
        column=columns["split"],
        values=bad["split"].head(5).to_list(),
        expected="train, validation or test",
        remedy='correct it, or turn the column off in the settings (split_column = "")',
    )
    frame = frame.with_columns(number.alias("split"))
    return frame.filter(pl.col("split").is_not_null()) if bad.height else frame


def _with_known_items(
    frame: pl.DataFrame,
    known: pl.Series,
    columns: dict[str, str],
    settings: DataSettings,
    table: Table,
    problems: Problems,
) -> tuple[pl.DataFrame, list[str]]:
    bad = frame.filter(~pl.col("item").is_in(known.implode()))
    unknown = bad["item"].unique(maintain_order=True)
    examples = ", ".join(show(one) for one in unknown.head(3))
    counted = (
        f"{bad.height:,} of {frame.height:,} interactions name {len(unknown):,} items that the "
        f"items table lacks, such as {examples}"
    )
    if not settings.drop_unknown_items:
        problems.refuse(
            table,
            "items are known",
            bad["row"].to_numpy(),
            column=columns["item"],
            values=bad["item"].head(5).to_list(),
            expected="an item of the items table",
            remedy=f"{counted}; add them, or set drop_unknown_items (--drop-unknown-items)",
        )
    if bad.height == 0:
        return frame, []
    n_users = frame["user"].n_unique()
    frame = frame.join(bad.select("row"), on="row", how="anti", maintain_order="left")
    gone = n_users - frame["user"].n_unique()
    counted += f"; {gone:,} users have no other" if gone else ""
    if settings.drop_unknown_items:
        problems.warn(table, "items are known", bad["row"].to_numpy(), columns["item"], counted)
    return frame, [f"dropped: {counted}"]


def _once(
    frame: pl.DataFrame, columns: dict[str, str], table: Table, problems: Problems
) -> tuple[pl.DataFrame, list[str]]:
    """Return rows that agree in everything once; without an order they are repeats and stay."""
    if "time" not in columns and "position" not in columns:
        return frame, []
    keys = [name for name in frame.columns if name != "row"]
    distinct = frame.unique(keys, keep="first", maintain_order=True)
    n_again = frame.height - distinct.height
    again = frame.join(distinct.select("row"), on="row", how="anti") if n_again else frame.head(0)
    counted = (
        f"{n_again:,} of {frame.height:,} interactions repeat another one exactly, time or "
        "position included, and are counted once"
    )
    problems.warn(table, "rows are distinct", again["row"].sort().to_numpy(), None, counted)
    return distinct, [f"dropped: {counted}"] if n_again else []
