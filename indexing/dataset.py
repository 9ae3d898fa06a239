"""A data set: the user's tables, checked, numbered and put in order."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.indexing.data_settings import DataSettings
from twofold.indexing.interaction_table import InteractionTable, read_interactions
from twofold.indexing.interactions import COLUMNS, Interactions
from twofold.indexing.item_table import ITEM_ID, ItemTable, read_items
from twofold.indexing.ordering import in_order, steps_of
from twofold.indexing.problems import Problems
from twofold.indexing.progress import Progress, Silent
from twofold.indexing.tables import Source, read_table
from twofold.indexing.vocabulary import Vocabulary

if TYPE_CHECKING:
    from twofold.indexing.artefact import Generation, GenerationWriter

__all__ = ["DataSettings", "Dataset", "load_dataset"]

REMOVED = "data/removed"  # name in an artefact


@dataclass(frozen=True)
class Dataset:
    """Users, items and their interactions, ready to learn from.

    Parameters
    ----------
    users, items
        Ids in sorted order, so that numbers never depend on the order of a file.
    interactions
        One row an event, sorted by user, step and a seeded hash of (user, item).
    table
        Attributes of the items in order of their numbers, first column ``item_id``.
    texts
        Text of each item, ``""`` where it has none.
    kinds
        Names behind ``interactions.kinds``.
    has_times
        Whether ``interactions.times`` are real.
    has_order
        Whether times or a position column gave an order; otherwise all rows of a user are tied.
    split
        Part of each row, ``int8 (n,)``, 0 train, 1 validation, 2 test, or ``None`` where the file
        has no split column.
    fingerprint
        SHA-256 of the content, the same for any order of rows, file format and seed.
    notes
        What was mapped, assumed and dropped, a sentence each.
    windows
        Columns of `table` with the first moment an item may be recommended and the first it may no
        longer, ``None`` where there is no such column.
    removed
        Ids of items that are known, for histories hold them, and never recommended; sorted.
    """

    users: Vocabulary
    items: Vocabulary
    interactions: Interactions
    table: pl.DataFrame
    texts: tuple[str, ...]
    kinds: tuple[str, ...]
    has_times: bool
    has_order: bool
    split: npt.NDArray[np.int8] | None
    fingerprint: str
    notes: tuple[str, ...]
    windows: tuple[str | None, str | None] = (None, None)
    removed: tuple[str, ...] = ()

    def save(self, writer: GenerationWriter) -> None:
        """Write the data set under ``data/`` of a new generation."""
        writer.put_frame("data/users", pl.DataFrame({"user_id": self.users.ids}))
        writer.put_frame("data/items", self.table)
        writer.put_frame("data/texts", pl.DataFrame({"text": self.texts}))
        for name in COLUMNS:
            writer.put_array(f"data/interactions/{name}", getattr(self.interactions, name))
        if self.split is not None:
            writer.put_array("data/interactions/split", self.split)
        about = {
            "kinds": list(self.kinds),
            "has_times": self.has_times,
            "has_order": self.has_order,
            "has_split": self.split is not None,
            "fingerprint": self.fingerprint,
            "notes": list(self.notes),
            "windows": list(self.windows),
        }
        writer.put_json("data/about", about)
        if self.removed:
            writer.put_json(REMOVED, list(self.removed))

    @classmethod
    def open(cls, generation: Generation) -> Dataset:
        """Return the data set of a generation; its arrays are memory-mapped."""
        about = generation.json("data/about")
        table = generation.frame("data/items")
        users = Vocabulary(generation.frame("data/users")["user_id"].to_list(), what="user")
        items = Vocabulary(table[ITEM_ID].to_list(), what="item")
        columns = {name: generation.array(f"data/interactions/{name}") for name in COLUMNS}
        return cls(
            users=users,
            items=items,
            interactions=Interactions(**columns, n_users=len(users), n_items=len(items)),
            table=table,
            texts=tuple(generation.frame("data/texts")["text"].to_list()),
            kinds=tuple(about["kinds"]),
            has_times=bool(about["has_times"]),
            has_order=bool(about["has_order"]),
            split=generation.array("data/interactions/split") if about["has_split"] else None,
            fingerprint=str(about["fingerprint"]),
            notes=tuple(about["notes"]),
            windows=(about["windows"][0], about["windows"][1]),
            removed=tuple(generation.json(REMOVED)) if generation.has(f"{REMOVED}.json") else (),
        )


def load_dataset(
    interactions: Source,
    items: Source | None = None,
    settings: DataSettings | None = None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Dataset:
    """Return the data set of two tables.

    Parameters
    ----------
    interactions
        Path, list of paths, or pandas, polars or Arrow table of the interactions.
    items
        Likewise the items; ``None`` takes the items that have interactions, without texts.
    settings
        How to read them; ``None`` for the defaults.
    seed
        Breaks ties in time; the only thing that chance decides here.
    progress
        Who is told about the steps.

    Raises
    ------
    DataError
        If a table cannot be used; the message names file, row and column and says what to do.
    SettingsError
        If the text template names a column that the items lack.

    Examples
    --------
    >>> log = pl.DataFrame({"user": ["u", "u"], "item": ["b", "a"], "position": [0, 1]})
    >>> data = load_dataset(log)
    >>> data.items.decode(data.interactions.items)
    ['b', 'a']
    """
    settings = DataSettings() if settings is None else settings
    progress = Silent() if progress is None else progress
    problems = Problems(strict=True)
    with progress.step("Reading items"):
        catalogue = None
        if items is not None:
            catalogue = read_items(read_table(items, "items"), settings, problems)
    with progress.step("Reading interactions"):
        known = None if catalogue is None else catalogue.frame[ITEM_ID]
        table = read_table(interactions, "interactions")
        log = read_interactions(table, settings, problems, known=known)
    with progress.step("Putting interactions in order"):
        return assemble(log, catalogue, seed=seed)


def assemble(log: InteractionTable, catalogue: ItemTable | None, *, seed: int) -> Dataset:
    """Return the data set of tables that were read and checked.

    Parameters
    ----------
    log
        The interactions.
    catalogue
        The items, or ``None`` to take those of `log`.
    seed
        Breaks ties in time.
    """
    frame = log.frame
    if catalogue is None:
        ids = frame["item"].unique().sort()
        empty = pl.Series("text", [""] * len(ids), dtype=pl.String)
        catalogue = ItemTable(pl.DataFrame({ITEM_ID: ids}), empty, ())
    users = Vocabulary.sorted(frame["user"].unique().to_list(), what="user")
    items = Vocabulary(catalogue.frame[ITEM_ID].to_list(), what="item")
    numbered = frame.with_columns(
        _numbers(frame["user"], users), _numbers(frame["item"], items)
    ).drop("row")
    rows = in_order(numbered, users, items, seed)
    columns = {
        "users": rows["user"].to_numpy(),
        "items": rows["item"].to_numpy(),
        "steps": steps_of(rows["user"].to_numpy(), rows["order"].to_numpy()),
        "times": rows["time"].to_numpy(),
        "weights": rows["weight"].to_numpy(),
        "signs": rows["sign"].to_numpy(),
        "seen": rows["seen"].to_numpy(),
        "labels": rows["label"].to_numpy(),
        "kinds": rows["kind"].to_numpy(),
    }
    interactions = Interactions(**columns, n_users=len(users), n_items=len(items))
    return Dataset(
        users=users,
        items=items,
        interactions=interactions,
        table=catalogue.frame,
        texts=tuple(catalogue.texts.to_list()),
        kinds=log.kinds,
        has_times=log.has_times,
        has_order=log.has_order,
        split=rows["split"].to_numpy() if log.has_split else None,
        fingerprint=_fingerprint(numbered, users, catalogue, log.kinds),
        notes=(*catalogue.notes, *log.notes),
        windows=catalogue.windows,
    )


def _numbers(ids: pl.Series, vocabulary: Vocabulary) -> pl.Series:
    lookup = pl.Enum(list(vocabulary.ids))
    return ids.cast(lookup).to_physical().cast(pl.Int64)


def _fingerprint(
    rows: pl.DataFrame, users: Vocabulary, catalogue: ItemTable, kinds: tuple[str, ...]
) -> str:
    """Return the SHA-256 of the content in an order and spelling of its own."""
    digest = hashlib.sha256()
    for ids in (users.ids, kinds):
        digest.update("\x00".join(ids).encode() + b"\x01")
    for column in sorted(catalogue.frame.columns):
        digest.update(column.encode() + b"\x00")
        digest.update(_spelled(catalogue.frame[column]).encode() + b"\x01")
    digest.update("\x00".join(catalogue.texts).encode() + b"\x01")
    names = sorted(rows.columns)
    ordered = rows.sort("user", "order", "item", *names)
    for name in names:
        values = ordered[name].to_numpy()
        digest.update(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"))).tobytes())
    return digest.hexdigest()


def _spelled(values: pl.Series) -> str:
    """Return a column as text that is the same for every width of number."""
    dtype = values.dtype
    if isinstance(dtype, pl.List | pl.Array | pl.Struct):
        return pl.DataFrame({"": values}).write_ndjson()
    if dtype.is_float():
        values = values.cast(pl.Float64)
    if dtype == pl.Binary:
        values = values.bin.encode("hex")
    return "\x00".join("" if one is None else one for one in values.cast(pl.String).to_list())
