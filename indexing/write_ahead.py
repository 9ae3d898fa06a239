"""SQLite files that are read while somebody writes to them."""

from __future__ import annotations

import sqlite3
import time

WAIT_S, PAUSE_S = 10.0, 0.01


def write_ahead(connection: sqlite3.Connection) -> None:
    """Give a file a log ahead of it, so that who reads and who writes go on beside each other.

    It is a property of the file, which whoever comes first gives it. Two who come first at once
    hold what the other needs: SQLite then gives up at once, whatever time it was told to wait, so
    that the waiting is done here.

    Parameters
    ----------
    connection
        A connection outside of any transaction.

    Raises
    ------
    sqlite3.OperationalError
        If others keep the file from it for ten seconds, or it cannot be written.
    """
    until = time.monotonic() + WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(PAUSE_S)
