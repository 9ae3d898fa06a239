"""What came after a build, events and changed items, in a log that several processes share."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from twofold.indexing.artefact import open_artefact
from twofold.indexing.errors import ArtefactError
from twofold.indexing.live_file import Connection
from twofold.indexing.writer import CURRENT

FILE = "live.sqlite"
# In a generation: ids of items that it holds, but that were removed before it was made.
REMOVED = "data/removed"
LAST = (1 << 63) - 1  # no number is greater
_COLUMNS = "user, item, time, kind, weight, sign, seen, label"
_ITEM_COLUMNS = "item, change, attributes, text, vector"


class LiveEvent(NamedTuple):
    """One event, read by the rules of the build.

    Parameters
    ----------
    user, item
        Ids.
    time
        Milliseconds since 1970 UTC.
    kind
        What it was, such as ``"purchase"`` or ``"rating 4"``.
    weight, sign, seen, label
        As of :class:`twofold.indexing.interactions.Interactions`.
    """

    user: str
    item: str
    time: int
    kind: str
    weight: float
    sign: int
    seen: bool
    label: bool


@dataclass(frozen=True, eq=False)
class ItemChange:
    """One item that came, was changed, or went.

    Parameters
    ----------
    item
        Its id.
    change
        ``"put"`` where it came or was changed, ``"remove"`` where it went.
    attributes
        All columns of the table of items as a JSON object, see
        :mod:`twofold.indexing.live_items`; ``None`` where it went, as the next two.
    text
        The text of the item.
    vector
        The vector of the text, ``float32 (d,)``.
    """

    item: str
    change: Literal["put", "remove"]
    attributes: str | None = None
    text: str | None = None
    vector: npt.NDArray[np.float32] | None = None


class Position(NamedTuple):
    """How far a log was read: the numbers of the last event and of the last change of an item."""

    events: int = 0
    items: int = 0

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Position:
        """Return up to where a generation holds the log already; its manifest's ``live``."""
        return cls(**manifest.get("live", {}))

    def to_dict(self) -> dict[str, int]:
        """Return it as the manifest holds it."""
        return self._asdict()


class LiveLog:
    """A log beside an artefact's generations; may be shared by threads and processes.

    What :meth:`append` and :meth:`append_items` returned for is on the disk: SQLite flushes it
    before, and replays or drops the rest after a crash.

    Events may be of items that changes brought: whoever reads both reads events first and takes in
    items first. A removed item stays known, so that taking in all changes and then all events is
    the same as taking them in as they came.

    Parameters
    ----------
    root
        Folder of the artefact.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / FILE
        # Apart, so that nobody who reads waits for a disk.
        self._reads, self._writes = Connection(self._path), Connection(self._path)

    def append(self, events: Sequence[LiveEvent]) -> None:
        """Write events durably, all or none.

        Raises
        ------
        ArtefactError
            If the log cannot be written.
        """
        if not events:
            return
        with self._writing() as connection:
            connection.executemany(_insert("events", _COLUMNS), events)

    def append_items(self, changes: Sequence[ItemChange], *, read: int | None = None) -> bool:
        """Write changes of items durably, all or none, and say whether it was done.

        Parameters
        ----------
        changes
            In order.
        read
            Number of the last change that the caller knows of. Where the log holds later ones,
            nothing is written, for what the caller checked may no longer be so. ``None`` writes
            whatever came before.

        Raises
        ------
        ArtefactError
            If the log cannot be written.
        """
        rows = [
            (
                one.item,
                one.change,
                one.attributes,
                one.text,
                None if one.vector is None else one.vector.astype("<f4").tobytes(),
            )
            for one in changes
        ]
        with self._writing() as connection:
            (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM items").fetchone()
            if read is not None and last > read:
                return False
            connection.executemany(_insert("items", _ITEM_COLUMNS), rows)
        return True

    def after(self, number: int, until: int | None = None) -> tuple[list[LiveEvent], int]:
        """Return the events after the one of a number, in order, and the number of the last.

        With `until`, no later ones than that of this number are read.

        Raises
        ------
        ArtefactError
            If the log cannot be read.
        """
        rows = self._rows("events", _COLUMNS, number, until)
        events = [_event_of(row) for row in rows]
        return events, int(rows[-1][-1]) if rows else number

    def item_changes_after(
        self, number: int, until: int | None = None
    ) -> tuple[list[ItemChange], int]:
        """Return the changes of items after the one of a number, and the number of the last.

        With `until`, no later ones than that of this number are read.

        Raises
        ------
        ArtefactError
            If the log cannot be read.
        """
        rows = self._rows("items", _ITEM_COLUMNS, number, until)
        changes = [_change_of(row) for row in rows]
        return changes, int(rows[-1][-1]) if rows else number

    def forget(self, which: Callable[[LiveEvent], bool]) -> int:
        """Remove events for which `which` is true, and return how many.

        Engines that have read them keep them.

        Raises
        ------
        ArtefactError
            If the log cannot be read or written.
        """
        rows = self._rows("events", _COLUMNS, 0)
        return self._forgotten("events", [row[-1] for row in rows if which(_event_of(row))])

    def prune(self, until: Position) -> int:
        """Remove what stands up to a position, and return how many rows that is.

        The last change of an item stays: writers tell by its number whether they are up to date.
        Numbers are never given twice.

        Raises
        ------
        ArtefactError
            If the log cannot be written.
        """
        if not self._writes.is_open and not self._path.exists():
            return 0
        with self._writing() as connection:
            gone = [
                connection.execute("DELETE FROM events WHERE number <= ?", (until.events,)),
                connection.execute(
                    "DELETE FROM items WHERE number <= ? AND number < (SELECT max(number) FROM "
                    "items)",
                    (until.items,),
                ),
            ]
        return sum(one.rowcount for one in gone)

    def count(self) -> int:
        """Return how many events the log holds.

        Raises
        ------
        ArtefactError
            If the log cannot be read.
        """
        return len(self.after(0)[0])

    def forget_items(self, which: Callable[[ItemChange], bool]) -> int:
        """Remove changes of items for which `which` is true, and return how many.

        Engines that have read them keep them.

        Raises
        ------
        ArtefactError
            If the log cannot be read or written.
        """
        rows = self._rows("items", _ITEM_COLUMNS, 0)
        return self._forgotten("items", [row[-1] for row in rows if which(_change_of(row))])

    def version(self) -> int:
        """Return a number that is another one once anybody wrote; -1 while there is no log."""
        if not self._reads.is_open and not self._path.exists():
            return -1
        try:
            with self._reads.using() as connection:
                return int(connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def close(self) -> None:
        """Let go of the file."""
        self._reads.close()
        self._writes.close()

    def _rows(
        self, table: str, columns: str, number: int, until: int | None = None
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a table after one number up to another, which each ends with."""
        if not self._reads.is_open and not self._path.exists():
            return []
        try:
            with self._reads.using() as connection:
                return connection.execute(
                    f"SELECT {columns}, number FROM {table} WHERE number > ? AND number <= ? "
                    "ORDER BY number",
                    (number, LAST if until is None else until),
                ).fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def _forgotten(self, table: str, numbers: Sequence[int]) -> int:
        """Remove rows of a table by their numbers, and return how many those are."""
        if numbers:
            with self._writing() as connection:
                connection.executemany(
                    f"DELETE FROM {table} WHERE number = ?", [(number,) for number in numbers]
                )
        return len(numbers)

    def _unreadable(self, error: sqlite3.Error) -> ArtefactError:
        return ArtefactError(
            f"cannot read {self._path}: {error}; restore it, or remove it to do without what came "
            "since the build"
        )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Yield the file to write to: all is on the disk afterwards, nothing after an error."""
        try:
            with self._writes.using(make=True) as connection:
                connection.execute("BEGIN IMMEDIATE")  # what is read inside still holds at the end
                with connection:
                    _number_on(connection, self._path.parent)
                    yield connection
        except sqlite3.Error as error:
            raise ArtefactError(
                f"cannot write {self._path}: {error}; make room for it, or give a folder that can "
                "be written"
            ) from error


def _number_on(connection: sqlite3.Connection, root: Path) -> None:
    """Let the first rows of a log have numbers that the artefact does not hold.

    Where an artefact was copied without its log, they would pass for rows that it holds.
    """
    begun = {name for (name,) in connection.execute("SELECT name FROM sqlite_sequence")}
    missing = set(Position._fields) - begun
    if not missing:
        return
    held = Position()
    if (root / CURRENT).exists():
        held = Position.of(open_artefact(root).manifest)
    rows = [(table, getattr(held, table)) for table in sorted(missing)]
    connection.executemany("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", rows)


def _event_of(row: Sequence[Any]) -> LiveEvent:
    user, item, when, kind, weight, sign, seen, label, _ = row
    return LiveEvent(user, item, when, kind, weight, sign, bool(seen), bool(label))


def _change_of(row: tuple[Any, ...]) -> ItemChange:
    item, change, attributes, text, vector, _ = row
    if vector is not None:
        vector = np.frombuffer(vector, dtype="<f4").astype(np.float32)
    return ItemChange(item, change, attributes, text, vector)


def _insert(table: str, columns: str) -> str:
    marks = ", ".join("?" * len(columns.split(",")))
    return f"INSERT INTO {table} ({columns}) VALUES ({marks})"
