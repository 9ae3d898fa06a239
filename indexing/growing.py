"""Arrays that grow and change while others read them as they were."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
ROOM = 1024  # rows to grow into, at least


class Growing:
    """An array each state of which is a plain array of its own that never changes.

    New rows are written behind those that readers see. Where rows change, a second copy takes
    turns with the first: it is brought up to date once no state in it is read any more; where both
    still are, a new one is made. So a change takes as long as its rows, mostly, and nobody waits.
    Nothing is copied before the first change. One thread changes it at a time; states may be
    shared.

    Parameters
    ----------
    base
        The first state, possibly mapped from a file, ``(n, ...)``.
    """

    def __init__(self, base: npt.NDArray[Any]) -> None:
        self.now: npt.NDArray[Any] = base
        self._current: _Copy | None = None
        self._other: _Copy | None = None

    def put(self, numbers: Int64s, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the array with some rows set.

        Parameters
        ----------
        numbers
            Distinct; those from the length on are new, and there is no gap among them.
        rows
            One each, ``(n_changed, ...)``, or one for all.
        """
        if not len(numbers):
            return self.now
        length = max(len(self.now), int(numbers.max()) + 1)
        current = self._current
        overwrites = bool((numbers < len(self.now)).any())
        if current is None or length > len(current.memory) or overwrites:
            current = self._turn(length)
        current.memory[numbers] = rows
        if self._other is not None:
            self._other.missed.append(numbers)
        self.now = current.state(length)
        return self.now

    def append(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the array with rows behind the others."""
        return self.put(np.arange(len(self.now), len(self.now) + len(rows)), rows)

    def _turn(self, length: int) -> _Copy:
        """Return a copy of what is now that nobody reads and that has room for so many rows."""
        before, other = self._current, self._other
        if other is not None and length <= len(other.memory) and not other.is_read():
            other.catch_up(self.now)
            self._current, self._other = other, before
            return other
        fits = before is not None and length <= len(before.memory)
        n_rows = len(before.memory) if before is not None and fits else 2 * length + ROOM
        memory = np.empty((n_rows, *self.now.shape[1:]), dtype=self.now.dtype)
        memory[: len(self.now)] = self.now
        # One that is too short is of no use any more.
        self._current, self._other = _Copy(memory), before if fits else None
        return self._current


class _Copy:
    """Memory in which states of an array lie, and which of them are still read."""

    def __init__(self, memory: npt.NDArray[Any]) -> None:
        self.memory = memory
        self.missed: list[Int64s] = []  # rows that were set elsewhere since it was current
        self._states: list[weakref.ref[_State]] = []

    def state(self, length: int) -> npt.NDArray[Any]:
        """Return the first so many rows, as an array that cannot be written to."""
        made = _State(self.memory, length)
        self._states = [one for one in self._states if one() is not None]
        self._states.append(weakref.ref(made))
        return np.asarray(made)

    def is_read(self) -> bool:
        """Say whether anybody still holds a state, or a part of one."""
        return any(one() is not None for one in self._states)

    def catch_up(self, now: npt.NDArray[Any]) -> None:
        """Take over the rows that were set elsewhere."""
        for numbers in self.missed:
            self.memory[numbers] = now[numbers]
        self.missed.clear()


class _State:
    """The first rows of a memory; lives as long as an array over them."""

    def __init__(self, memory: npt.NDArray[Any], length: int) -> None:
        self.memory = memory
        self.__array_interface__ = {
            "shape": (length, *memory.shape[1:]),
            "typestr": memory.dtype.str,
            "data": (memory.ctypes.data, True),
            "version": 3,
        }
