"""Vectors of texts embedded before, so that a rebuild embeds only what changed."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import ArtefactError, InputError
from twofold.indexing.write_ahead import write_ahead

Float32s = npt.NDArray[np.float32]
LOOKUP = 500  # keys a query; SQLite's oldest limit on parameters is 999


class EmbeddingCache:
    """A file of vectors by text and encoder, shared by the builds of one artefact.

    A batch is durable once :meth:`put` returned, so a killed build loses at most the batch it was
    at. It may be used by several threads. Close it, or use it as a context manager.

    Parameters
    ----------
    folder
        Where the file lies; ``writer.cache`` of a build. Made where it does not exist.
    max_bytes
        Size of the vectors to keep, in bytes; what was not used longest goes first.

    Raises
    ------
    ArtefactError
        If the file cannot be opened or is damaged.
    """

    def __init__(self, folder: str | Path, *, max_bytes: int = 4 << 30) -> None:
        if max_bytes <= 0:
            raise InputError(f"max_bytes must be positive, not {max_bytes}")
        self._file = Path(folder) / "embeddings.sqlite"
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        with self._explained():
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(self._file, check_same_thread=False, isolation_level=None)
            self._base.execute("PRAGMA auto_vacuum = INCREMENTAL")
            write_ahead(self._base)
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS vectors "
                "(key BLOB PRIMARY KEY, vector BLOB NOT NULL, used INTEGER NOT NULL)"
            )
            latest = self._base.execute("SELECT COALESCE(MAX(used), 0) FROM vectors").fetchone()[0]
        self._turn = int(latest) + 1

    def __enter__(self) -> EmbeddingCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        with self._lock, self._explained():
            return int(self._base.execute("SELECT COUNT(*) FROM vectors").fetchone()[0])

    def get(self, texts: Sequence[str], encoder: str) -> dict[str, Float32s]:
        """Return the vectors known for these texts, ``float32 (d,)`` each.

        Parameters
        ----------
        texts
            Texts as they are given to the model.
        encoder
            Hash of all that shapes a vector beside the text.
        """
        keys = {self._key(text, encoder): text for text in texts}
        found: dict[str, Float32s] = {}
        wanted = list(keys)
        for start in range(0, len(wanted), LOOKUP):
            part = wanted[start : start + LOOKUP]
            marks = ",".join("?" * len(part))
            with self._lock, self._explained():
                rows = self._base.execute(
                    f"UPDATE vectors SET used = ? WHERE key IN ({marks}) RETURNING key, vector",
                    [self._turn, *part],
                ).fetchall()
            for key, vector in rows:
                found[keys[key]] = np.frombuffer(vector, dtype="<f4").astype(np.float32)
        return found

    def put(self, texts: Sequence[str], vectors: Float32s, encoder: str) -> None:
        """Keep the vectors ``float32 (n, d)`` of `n` texts; they are on the disk on return."""
        rows = [
            (self._key(text, encoder), vector.astype("<f4").tobytes(), self._turn)
            for text, vector in zip(texts, vectors, strict=True)
        ]
        with self._lock, self._explained(), self._base:  # commits, or rolls back at an error
            self._base.execute("BEGIN IMMEDIATE")
            self._base.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)

    def trim(self) -> int:
        """Remove what was not used longest until the rest fits; return how many vectors went."""
        size = "SUM(LENGTH(vector)) OVER (ORDER BY used DESC, rowid)"
        with self._lock, self._explained():
            gone = self._base.execute(
                "DELETE FROM vectors WHERE rowid IN "
                f"(SELECT row FROM (SELECT rowid AS row, {size} AS size FROM vectors) "
                "WHERE size > ?)",
                [self._max_bytes],
            ).rowcount
            self._base.execute("PRAGMA incremental_vacuum").fetchall()
        return int(gone)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._base.close()

    @staticmethod
    def _key(text: str, encoder: str) -> bytes:
        return hashlib.blake2b(f"{encoder}\n{text}".encode(), digest_size=16).digest()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise ArtefactError(
                f"the cache of vectors {self._file} cannot be used ({error}); "
                "make room for it, or remove it and build again"
            ) from error
