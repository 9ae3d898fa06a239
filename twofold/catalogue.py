"""The items as they are now: those of the build, and what came, changed and went since."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.indexing.dataset import Dataset
from twofold.indexing.item_set import ItemSet
from twofold.indexing.item_table import ITEM_ID
from twofold.indexing.live_items import read_written, written
from twofold.indexing.live_log import ItemChange
from twofold.indexing.vocabulary import Vocabulary
from twofold.retrieval.freshness import dates_of

logger = logging.getLogger("twofold.live")

Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class Put(NamedTuple):
    """Items that came or were changed: number, text and its vector of each, side by side."""

    numbers: Int64s
    texts: list[str]
    vectors: Floats


class Catalogue:
    """All items at one moment, which never change; the next moment has a catalogue of its own.

    An item keeps its number for good, removed or not: histories hold it.

    Parameters
    ----------
    items
        Ids of all items, removed ones among them.
    table
        Attributes of the first of them, as they once were, in order of numbers.
    windows
        As of :class:`twofold.indexing.dataset.Dataset`.
    texts
        Texts of the build's items.
    removed
        Items that are not recommended any more, ``bool (n_items,)``.
    since
        Attributes as JSON of the items that the table lacks, or holds as they were, by number.
    new_texts
        Likewise texts.
    """

    def __init__(
        self,
        items: Vocabulary,
        table: pl.DataFrame,
        windows: tuple[str | None, str | None],
        texts: tuple[str, ...],
        removed: npt.NDArray[np.bool_],
        since: dict[int, str] | None = None,
        new_texts: dict[int, str] | None = None,
    ) -> None:
        self.items, self.windows = items, windows
        self._built, self._texts, self._removed = table, texts, removed
        self._since, self._new_texts = since or {}, new_texts or {}

    @classmethod
    def of(cls, dataset: Dataset, removed: Sequence[str] = ()) -> Catalogue:
        """Return the items of a build.

        Parameters
        ----------
        dataset
            What was built.
        removed
            Ids of those that had been removed by then.
        """
        gone = np.zeros(len(dataset.items), dtype=bool)
        gone[dataset.items.encode(removed)] = True
        return cls(dataset.items, dataset.table, dataset.windows, dataset.texts, gone)

    def __len__(self) -> int:
        return len(self.items)

    def offers(self, item: str) -> bool:
        """Say whether there is an item, and it was not removed."""
        return item in self.items and not self._removed[self.items.number(item)]

    def text(self, item: str) -> str:
        """Return the text of an item.

        Raises
        ------
        UnknownIdError
            If there never was one.
        """
        number = self.items.number(item)
        told = self._new_texts.get(number)
        return self._texts[number] if told is None else told

    @cached_property
    def open(self) -> ItemSet | None:
        """The items that were not removed; ``None`` where none was."""
        return ItemSet(~self._removed) if self._removed.any() else None

    @cached_property
    def table(self) -> pl.DataFrame:
        """Attributes of all items in order of numbers, first column ``item_id``."""
        if not self._since:
            return self._built
        n_built = self._built.height
        rows = np.arange(len(self.items))
        rows[list(self._since)] = n_built + np.arange(len(self._since))
        newer = read_written(list(self._since.values()), self._built.schema)
        return pl.concat([self._built, newer])[rows]

    def offered(self) -> pl.DataFrame:
        """Return the attributes of the items that were not removed."""
        return self.table if self.open is None else self.table[self.open.items]

    def rows(self, ids: Sequence[str]) -> pl.DataFrame:
        """Return the attributes of those of some items that there are, and were not removed."""
        numbers = [self.items.number(one) for one in ids if self.offers(one)]
        newer = [self._since[number] for number in numbers if number in self._since]
        older = [number for number in numbers if number not in self._since]
        return pl.concat([self._built[older], read_written(newer, self._built.schema)])

    def dates(self, numbers: Int64s) -> Int64s | None:
        """Return when items that came or were changed may first be recommended.

        As of :func:`twofold.retrieval.freshness.dates_of`; ``None`` where no item says so.
        """
        column = self.windows[0]
        if column is None:
            return None
        rows = [self._since[number] for number in numbers.tolist()]
        return dates_of(read_written(rows, self._built.schema)[column])

    def after(self, changes: Sequence[ItemChange]) -> tuple[Catalogue, Put]:
        """Return the items once they changed, and which came or were changed.

        Parameters
        ----------
        changes
            In order; what becomes of one item in the end counts.
        """
        puts = {one.item: one for one in changes if one.change == "put"}
        came = [item for item in puts if item not in self.items]
        items = self.items.extended(came) if came else self.items
        numbers = items.encode(puts)
        removed = np.concatenate([self._removed, np.zeros(len(came), dtype=bool)])
        unknown = 0
        for one in changes:
            if one.item in items:
                removed[items.number(one.item)] = one.change == "remove"
            else:
                unknown += 1
        if unknown:
            logger.warning(
                "%s items that were removed since the build are unknown to it", f"{unknown:,}"
            )
        known = "table" in self.__dict__  # read once, it is the better start
        told = list(zip(numbers.tolist(), puts.values(), strict=True))
        attributes = {number: one.attributes or "{}" for number, one in told}
        texts = {number: one.text or "" for number, one in told}
        made = Catalogue(
            items,
            self.table if known else self._built,
            self.windows,
            self._texts,
            removed,
            {**({} if known else self._since), **attributes},
            {**self._new_texts, **texts},
        )
        vectors = [one.vector for one in puts.values() if one.vector is not None]
        stacked = np.stack(vectors) if vectors else np.zeros((0, 0), dtype=np.float32)
        return made, Put(numbers, list(texts.values()), stacked)


def put(frame: pl.DataFrame, texts: Sequence[str], vectors: Floats) -> list[ItemChange]:
    """Return the changes that make items what a table says.

    Parameters
    ----------
    frame
        Their attributes, first column ``item_id``.
    texts
        Their texts.
    vectors
        The vectors of those, of length 1 or 0, ``float32 (n, d)``.
    """
    parts = zip(frame[ITEM_ID].to_list(), written(frame), texts, vectors, strict=True)
    return [ItemChange(item, "put", row, text, vector) for item, row, text, vector in parts]
