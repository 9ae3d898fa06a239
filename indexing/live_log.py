"""Events that came after a build, in a durable log that several processes share."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from twofold.indexing.errors import ArtefactError

FILE = "live.sqlite"
WAIT_S = 10.0
_MAKE = """
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    user TEXT NOT NULL,
    item TEXT NOT NULL,
    time INTEGER NOT NULL,
    kind TEXT NOT NULL,
    weight REAL NOT NULL,
    sign INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    label INTEGER NOT NULL
)
"""
_COLUMNS = "user, item, time, kind, weight, sign, seen, label"


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


class LiveLog:
    """A log of events beside an artefact's generations; may be shared by threads and processes.

    What :meth:`append` returned for is on the disk: SQLite flushes it before, and replays or drops
    the rest after a crash.

    Parameters
    ----------
    root
        Folder of the artefact.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / FILE
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._seen_version = -1

    def append(self, events: Sequence[LiveEvent]) -> None:
        """Write events durably, all or none.

        Raises
        ------
        ArtefactError
            If the log cannot be written.
        """
        if not events:
            return
        marks = ", ".join("?" * len(LiveEvent._fields))
        with self._lock:
            try:
                connection = self._open(make=True)
                with connection:
                    connection.executemany(
                        f"INSERT INTO events ({_COLUMNS}) VALUES ({marks})", events
                    )
            except sqlite3.Error as error:
                raise ArtefactError(
                    f"cannot write {self._path}: {error}; make room for it, or give a folder that "
                    "can be written"
                ) from error

    def after(self, number: int) -> tuple[list[LiveEvent], int]:
        """Return the events after the one of a number, in order, and the number of the last.

        Raises
        ------
        ArtefactError
            If the log cannot be read.
        """
        if self._connection is None and not self._path.exists():
            return [], number
        with self._lock:
            try:
                connection = self._open(make=False)
                # Asked for first: what is committed in between is read now and found again then.
                version = int(connection.execute("PRAGMA data_version").fetchone()[0])
                rows = connection.execute(
                    f"SELECT {_COLUMNS}, number FROM events WHERE number > ? ORDER BY number",
                    (number,),
                ).fetchall()
            except sqlite3.Error as error:
                raise ArtefactError(
                    f"cannot read {self._path}: {error}; restore it, or remove it to do without "
                    "the events since the build"
                ) from error
            self._seen_version = version
        events = [
            LiveEvent(user, item, when, kind, weight, sign, bool(seen), bool(label))
            for user, item, when, kind, weight, sign, seen, label, _ in rows
        ]
        return events, int(rows[-1][-1]) if rows else number

    def forget(self, which: Callable[[LiveEvent], bool]) -> int:
        """Remove events for which `which` is true, and return how many.

        Engines that have read them keep them.

        Raises
        ------
        ArtefactError
            If the log cannot be read or written.
        """
        events, _ = self.after(0)
        gone = {event for event in events if which(event)}
        if not gone:
            return 0
        same = " AND ".join(f"{name.strip()} = ?" for name in _COLUMNS.split(","))
        with self._lock:
            try:
                connection = self._open(make=False)
                with connection:
                    connection.executemany(f"DELETE FROM events WHERE {same}", list(gone))
            except sqlite3.Error as error:
                raise ArtefactError(f"cannot write {self._path}: {error}; try again") from error
        return sum(event in gone for event in events)

    def count(self) -> int:
        """Return how many events the log holds.

        Raises
        ------
        ArtefactError
            If the log cannot be read.
        """
        return len(self.after(0)[0])

    def changed(self) -> bool:
        """Say whether another process may have written since the last :meth:`after`."""
        if self._connection is None:
            return self._path.exists()
        with self._lock:
            try:
                found = self._connection.execute("PRAGMA data_version").fetchone()[0]
            except sqlite3.Error:
                return True  # reading will say what is wrong
        return int(found) != self._seen_version

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self, *, make: bool) -> sqlite3.Connection:
        if self._connection is None:
            mode = "rwc" if make else "rw"
            connection = sqlite3.connect(
                f"file:{self._path}?mode={mode}", uri=True, timeout=WAIT_S, check_same_thread=False
            )
            # A commit returns once it is on the disk, power cut or not.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(_MAKE)
            connection.commit()
            self._connection = connection
        return self._connection
