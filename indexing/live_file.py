"""The SQLite file of the live log, opened."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twofold.indexing.write_ahead import WAIT_S, write_ahead

_MAKE_EVENTS = """
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
_MAKE_ITEMS = """
CREATE TABLE IF NOT EXISTS items (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    item TEXT NOT NULL,
    change TEXT NOT NULL CHECK (change IN ('put', 'remove')),
    attributes TEXT,
    text TEXT,
    vector BLOB
)
"""


class Connection:
    """A way to the file that is opened when it is first used, by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._opened: sqlite3.Connection | None = None

    @property
    def is_open(self) -> bool:
        """Whether it was used, and not closed since."""
        return self._opened is not None

    @contextmanager
    def using(self, *, make: bool = False) -> Iterator[sqlite3.Connection]:
        """Yield the connection, for nobody else meanwhile; `make` makes a file that is missing."""
        with self._lock:
            if self._opened is None:
                self._opened = _open(self._path, make=make)
            yield self._opened

    def close(self) -> None:
        """Let go of the file until it is used again."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None


def _open(path: Path, *, make: bool) -> sqlite3.Connection:
    mode = "rwc" if make else "rw"
    connection = sqlite3.connect(
        f"file:{path}?mode={mode}", uri=True, timeout=WAIT_S, check_same_thread=False
    )
    try:
        write_ahead(connection)
        # A commit returns once it is on the disk, power cut or not.
        connection.execute("PRAGMA synchronous = FULL")
        for table in (_MAKE_EVENTS, _MAKE_ITEMS):
            connection.execute(table)
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection
