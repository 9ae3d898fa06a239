"""Changes of items: read from tables, checked against the catalogue, written to the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from twofold.catalogue import Catalogue, put
from twofold.indexing.errors import DataError, InputError, UnknownIdError
from twofold.indexing.live_items import Given, ItemForm, read_live_items
from twofold.indexing.live_log import ItemChange, LiveLog
from twofold.indexing.vectors import normalised

Kind = Literal["add", "update", "put", "remove"]
Encode = Callable[[list[str], list[str]], npt.NDArray[np.float32]]


def changes_of(
    items: Given,
    kind: Kind,
    form: ItemForm,
    catalogue: Catalogue,
    encode: Encode,
    dimension: int,
) -> list[ItemChange]:
    """Return the changes that a table of items asks for, their texts encoded in one go.

    Parameters
    ----------
    items
        As of :func:`twofold.indexing.live_items.read_live_items`.
    kind
        ``"add"``, ``"update"``, or ``"put"`` for either.
    form
        How the build read its items.
    catalogue
        The items as they are.
    encode
        Turns items, given by ids and texts, into vectors of those texts.
    dimension
        Length of the build's vectors.

    Raises
    ------
    DataError
        If the table cannot be used, or brings vectors of another length.
    InputError
        As of :func:`check`.
    """
    read = read_live_items(items, form, catalogue.rows)
    if read is None:
        return []
    check(kind, read.ids, catalogue)
    vectors = encode(read.ids, read.texts) if read.vectors is None else normalised(read.vectors)
    if vectors.shape[1] != dimension:
        raise DataError(
            f"expected vectors of {dimension} numbers, as the build's, came {vectors.shape[1]}; "
            "make them by the same model",
            file="items table",
            column=form.settings.vector_column,
        )
    return put(read.frame, read.texts, vectors)


def removals_of(ids: Sequence[str]) -> list[ItemChange]:
    """Return the changes that take items away."""
    return [ItemChange(item, "remove") for item in ids]


def check(kind: Kind, ids: Sequence[str], catalogue: Catalogue) -> None:
    """Refuse changes that do not fit the items as they are.

    Parameters
    ----------
    kind
        What is to be done.
    ids
        To which items.
    catalogue
        The items.

    Raises
    ------
    InputError
        If an item to be added is there already.
    UnknownIdError
        If an item to be changed or removed is not there.
    """
    if kind == "put":
        return
    there = kind == "add"
    wrong = [item for item in ids if catalogue.offers(item) == there]
    if not wrong:
        return
    more = f" ({len(wrong):,} such items)" if len(wrong) > 1 else ""
    if there:
        raise InputError(
            f"item '{wrong[0]}' is in the catalogue already{more}; use update_items to change it"
        )
    remedy = "use add_items for new ones" if kind == "update" else "leave it out"
    raise UnknownIdError(f"item '{wrong[0]}' is not in the catalogue{more}; {remedy}")


def write(
    log: LiveLog,
    changes: Sequence[ItemChange],
    kind: Kind,
    current: Callable[[], tuple[Catalogue, int]],
) -> None:
    """Write changes to the log, all or none, if they fit the items at that very moment.

    Parameters
    ----------
    log
        The log.
    changes
        What to write.
    kind
        What they do.
    current
        Reads the log to its end, and gives the items and the number of the last change of one.

    Raises
    ------
    InputError
        As of :func:`check`; nothing is written then.
    ArtefactError
        If they cannot be written.
    """
    ids = [one.item for one in changes]
    while True:
        catalogue, last = current()
        check(kind, ids, catalogue)
        # Unless another process wrote in between, so that what was checked may not hold any more.
        if log.append_items(changes, read=last):
            return
