"""How many cores torch uses, for the length of a piece of work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def torch_threads(n: int | None) -> Iterator[None]:
    """Let torch use `n` cores inside a ``with`` block; ``None`` leaves it as it is.

    Sums come out in another order on another number of cores, so that only work on one core gives
    the same bits every time. The number is the whole process's: this is for builds, not for
    serving.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(before if n is None else n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
