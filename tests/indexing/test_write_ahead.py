"""Files that several begin at once: each waits for the others, whichever comes first."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twofold.indexing.embedding_cache import EmbeddingCache
from twofold.indexing.live_log import LiveEvent, LiveLog
from twofold.indexing.write_ahead import write_ahead

EVENT = LiveEvent("u", "new", 1, "purchase", 1.0, 1, seen=True, label=True)
TOGETHER, TURNS = 6, 20


def _log(folder: Path) -> None:
    log = LiveLog(folder)
    log.append([EVENT])
    assert log.version() >= 0
    assert log.count() >= 1
    log.close()


def _vectors(folder: Path) -> None:
    with EmbeddingCache(folder) as cache:
        cache.put(["a text"], np.ones((1, 4), dtype=np.float32), "an encoder")
        assert len(cache) == 1


@pytest.mark.parametrize("begin", [_log, _vectors])
def test_many_begin_a_file_at_once(begin: Callable[[Path], None], tmp_path: Path) -> None:
    for turn in range(TURNS):
        (folder := tmp_path / str(turn)).mkdir()
        together = threading.Barrier(TOGETHER)

        def opened(_: int, folder: Path = folder, together: threading.Barrier = together) -> None:
            together.wait()
            begin(folder)

        with ThreadPoolExecutor(TOGETHER) as pool:
            list(pool.map(opened, range(TOGETHER)))
        if begin is _log:
            assert LiveLog(folder).count() == TOGETHER


class _Refusing(sqlite3.Connection):
    """Gives up a few times, as SQLite does where another connection holds the file."""

    left, code = 3, sqlite3.SQLITE_BUSY

    def execute(self, *given: Any) -> sqlite3.Cursor:
        if not self.left:
            return super().execute(*given)
        self.left -= 1
        error = sqlite3.OperationalError("cannot")
        error.sqlite_errorcode = self.code
        raise error


def test_a_busy_file_is_waited_for_and_nothing_else(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "file.sqlite", factory=_Refusing)
    write_ahead(connection)
    assert connection.left == 0
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.left, connection.code = 3, sqlite3.SQLITE_READONLY
    with pytest.raises(sqlite3.OperationalError, match="cannot"):
        write_ahead(connection)
    assert connection.left == 2
    connection.close()
