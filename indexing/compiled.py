"""Functions in machine code, for loops over single numbers that arrays cannot express."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Return a function that numba compiles when it is first called; other threads run beside.

    What was compiled is kept beside the source, or in the user's cache folder where that cannot be
    written; where neither can, each process compiles anew, some seconds in all. No option allows
    sums in another order than written: the same arguments give the same bits.

    Parameters
    ----------
    function
        Takes and returns numbers and arrays alone.
    """
    try:
        return cast(Function, njit(nogil=True, cache=True)(function))
    except RuntimeError:  # numba: "cannot cache function: no locator available"
        return cast(Function, njit(nogil=True)(function))
