"""How much memory a cell takes at most."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from twofold.indexing.errors import InputError

_STATUS, _REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forget_peak(*, collect: bool = True) -> None:
    """Let the kernel count peak memory from now on.

    Parameters
    ----------
    collect
        Whether what earlier cells left behind goes first, which takes a tenth of a second.

    Raises
    ------
    InputError
        If the system is not Linux.
    """
    if not _REFS.exists():
        raise InputError("the suites read memory from Linux's /proc, which is not there")
    if collect:
        gc.collect()
    _REFS.write_text("5")


def peak_mb() -> float:
    """Return the most memory held since :func:`forget_peak`, MiB."""
    return _status_mb("VmHWM")


def resident_mb() -> float:
    """Return the memory held now, files that are mapped and read among it, MiB."""
    return _status_mb("VmRSS")


def own_mb() -> float:
    """Return the memory held now that is no file's, so that nobody else can share it, MiB."""
    return _status_mb("RssAnon")


def allocated_mb() -> float:
    """Return what malloc has handed out and not been given back, MiB.

    Unlike resident memory it does not grow with the holes between what is in use. NaN where the C
    library is another than glibc of 2.33 or later.
    """
    ask = _mallinfo()
    if ask is None:
        return float("nan")
    told = ask()
    return float(told.uordblks + told.hblkhd) / 2**20


class _Mallinfo(ctypes.Structure):
    """``struct mallinfo2`` of glibc."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


@cache
def _mallinfo() -> Callable[[], Any] | None:
    found = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if found is not None:
        found.argtypes, found.restype = [], _Mallinfo
    return found


def _status_mb(name: str) -> float:
    lines = _STATUS.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024
