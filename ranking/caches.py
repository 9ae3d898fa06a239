"""What is kept of earlier requests: rows of items, and what was made of histories."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from twofold.ranking.cross import HistoryMemory

Int64s = npt.NDArray[np.int64]
ROOM = 1024  # rows for items that come later, beside as many as there are


class RowCache:
    """Rows of items that are computed when they are asked for; the oldest make room.

    It may be shared by threads, and asked for items that came later.

    Parameters
    ----------
    n_items, width
        Items there are, and numbers a row.
    n_bytes
        Most bytes of rows that are kept.
    """

    def __init__(self, n_items: int, width: int, n_bytes: int) -> None:
        size = min(2 * n_items + ROOM, n_bytes // (4 * max(1, width)))
        # Not touched before they are used: an empty cache takes no memory.
        self._rows = np.zeros((size, width), dtype=np.float32)
        self._place = np.full(n_items, -1, dtype=np.int64)
        self._owner = np.full(size, -1, dtype=np.int64)
        self._next = 0
        self._lock = threading.Lock()

    def of(
        self,
        items: Int64s,
        compute: Callable[[Int64s], npt.NDArray[np.float32]],
        editions: Int64s | None = None,
    ) -> npt.NDArray[np.float32]:
        """Return the rows of items ``(n,)``, ``float32 (n, width)``.

        Parameters
        ----------
        items
            Item numbers; an item may stand there more than once.
        compute
            Gives the rows of items that are not at hand.
        editions
            The number under which each item's row is kept, ``int64 (n_items,)``; ``None`` for its
            own.
        """
        distinct, where = np.unique(items, return_inverse=True)
        out = np.empty((len(distinct), self._rows.shape[1]), dtype=np.float32)
        keys = distinct if editions is None else editions[distinct]
        with self._lock:
            self._make_room(int(keys.max(initial=-1)) + 1)
            places = self._place[keys]
            known = places >= 0
            out[known] = self._rows[places[known]]
        missing = np.flatnonzero(~known)
        if len(missing):
            out[missing] = compute(distinct[missing])
            self._keep(keys[missing], out[missing])
        return out[where]

    def _make_room(self, n: int) -> None:
        if n > len(self._place):
            more = np.full(max(n, 2 * len(self._place)) - len(self._place), -1, dtype=np.int64)
            self._place = np.concatenate([self._place, more])

    def _keep(self, items: Int64s, rows: npt.NDArray[np.float32]) -> None:
        size = len(self._rows)
        with self._lock:
            # Another thread may have computed some of them meanwhile.
            new = np.flatnonzero(self._place[items] < 0)[:size]
            if not len(new):
                return
            places = (self._next + np.arange(len(new))) % size
            gone = self._owner[places]
            self._place[gone[gone >= 0]] = -1
            self._owner[places], self._place[items[new]] = items[new], places
            self._rows[places] = rows[new]
            self._next = int(places[-1] + 1) % size


class MemoryCache:
    """What was made of histories, by what the histories hold; those asked last are kept.

    A history that changed is another key, so nothing has to be told of a change. It may be shared
    by threads.

    Parameters
    ----------
    n_bytes
        Most bytes of keys and values that are kept.
    """

    def __init__(self, n_bytes: int) -> None:
        self._most, self._size = n_bytes, 0
        self._kept: OrderedDict[bytes, tuple[HistoryMemory, int]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def keeps(self) -> bool:
        """Whether there is room for anything."""
        return self._most > 0

    @property
    def size(self) -> int:
        """Bytes that are kept now."""
        return self._size

    def get(self, key: bytes) -> HistoryMemory | None:
        """Return what was made of a history, ``None`` where it is not at hand."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: bytes, memory: HistoryMemory) -> None:
        """Keep what was made of a history, unless it is larger than the whole cache."""
        size = len(key) + memory.n_bytes()
        if size > self._most:
            return
        with self._lock:
            if key in self._kept:
                self._size -= self._kept.pop(key)[1]
            self._kept[key] = memory, size
            self._size += size
            while self._size > self._most:
                self._size -= self._kept.popitem(last=False)[1][1]
