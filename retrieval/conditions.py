"""Conditions on items, in SQL or by time, as sets of items."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.indexing.errors import InputError
from twofold.indexing.item_set import ItemSet

# Sets of items that are remembered take about so many bytes.
REMEMBERED = 64 << 20
MOST_REMEMBERED = 1024
CONDITION = "__condition"
ENDLESS = 1 << 62  # beyond all milliseconds


class Conditions:
    """Turns conditions into sets of items; may be shared by threads.

    Parameters
    ----------
    table
        Attributes of the items, in order of their numbers.
    windows
        Columns of `table` with the first moment an item may be recommended and the first it may no
        longer, in UTC; ``None`` where there is no such column.
    among
        The only items that there are any more; ``None`` for all.
    """

    def __init__(
        self,
        table: pl.DataFrame,
        windows: tuple[str | None, str | None] = (None, None),
        among: ItemSet | None = None,
    ) -> None:
        self._table, self._among = table, among
        start, end = windows
        self._starts = None if start is None else _moments(table[start], open_end=-ENDLESS)
        self._ends = None if end is None else _moments(table[end], open_end=ENDLESS)
        given = [part for part in (self._starts, self._ends) if part is not None]
        self._changes = np.unique(np.concatenate(given)) if given else None
        # Each set of items takes a byte an item, and half as much again for its other forms.
        most = max(8, min(MOST_REMEMBERED, REMEMBERED // (2 * max(1, table.height))))
        self._remembered = lru_cache(maxsize=most)(self._read)

    def items(self, where: str | None, at: int) -> ItemSet | None:
        """Return the items that fulfil a condition and are available; ``None`` for all.

        Parameters
        ----------
        where
            A condition in SQL over the columns of the items, such as ``"year >= 1990 AND genre =
            'Comedy'"``; items for which it is null do not fulfil it. ``None`` for none.
        at
            The moment, milliseconds since 1970.

        Raises
        ------
        InputError
            If the condition is no SQL, names a column that the items lack, compares what cannot be
            compared, or is neither true nor false.
        """
        # All moments between two changes have the same items.
        span = None
        if self._changes is not None:
            span = int(np.searchsorted(self._changes, at, side="right"))
        if where is None and span is None:
            return self._among
        return self._remembered(where, span)

    def _read(self, where: str | None, span: int | None) -> ItemSet:
        mask = np.ones(self._table.height, dtype=bool) if where is None else self._fulfil(where)
        if span is not None and self._changes is not None:
            moment = int(self._changes[span - 1]) if span else -ENDLESS
            if self._starts is not None:
                mask &= self._starts <= moment
            if self._ends is not None:
                mask &= moment < self._ends
        if self._among is not None:
            mask &= self._among.mask
        return ItemSet(mask)

    def _fulfil(self, where: str) -> npt.NDArray[np.bool_]:
        columns = self._table.columns
        try:
            condition = pl.sql_expr(where)
            named = set(condition.meta.root_names())
            if missing := sorted(named - set(columns)):
                raise InputError(_missing(where, missing[0], columns))
            told = self._table.with_columns(condition.alias(CONDITION))[CONDITION]
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f'the condition "{where}" cannot be read: {reason}; write it in SQL over the '
                "columns of the items, such as \"year >= 1990 AND genre = 'Comedy'\""
            ) from error
        if told.dtype != pl.Boolean:
            raise InputError(
                f'the condition "{where}" gives {told.dtype} values; expected one that is true or '
                "false for each item, such as a comparison"
            )
        return told.fill_null(value=False).to_numpy(writable=True)


def _missing(where: str, column: str, columns: list[str]) -> str:
    if column.startswith("_POLARS"):
        return f'the condition "{where}" holds a query of its own; write it without SELECT'
    return (
        f"the condition \"{where}\" names the column '{column}', but the items have "
        f"{', '.join(columns)}"
    )


def _moments(values: pl.Series, *, open_end: int) -> npt.NDArray[np.int64]:
    """Return times as milliseconds since 1970, `open_end` where there is none."""
    return values.dt.epoch("ms").fill_null(open_end).to_numpy()
