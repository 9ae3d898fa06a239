"""Machine code that numba keeps beside the sources, and when it no longer holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

ROOMS = ("indexing", "retrieval", "ranking", "evaluation", "twofold")
MARKS = ("@compiled", "llvmlite")


def forget_old(rooms: Sequence[Path]) -> int:
    """Remove machine code that is older than any source it may hold, and return how many files.

    numba compiles a function anew when its own file changes, but keeps in it what it calls of
    other files: tests would run what is no longer written anywhere.

    Parameters
    ----------
    rooms
        Folders of sources.
    """
    sources = [one for room in rooms for one in room.glob("*.py")]
    compiled = [one for one in sources if any(mark in one.read_text() for mark in MARKS)]
    newest = max((one.stat().st_mtime_ns for one in compiled), default=0)
    made = [one for room in rooms for one in room.glob("__pycache__/*.nb[ic]")]
    old = [one for one in made if one.stat().st_mtime_ns < newest]
    for one in old:
        one.unlink()
    return len(old)
