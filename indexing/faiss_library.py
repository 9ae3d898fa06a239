"""The library FAISS, which comes in two packages, and how many threads it uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import MissingDependencyError


@contextmanager
def threads_for(n_queries: int) -> Iterator[None]:
    """Search a single query on one thread: waking others takes longer than they save.

    FAISS's number of threads belongs to the thread that sets it; it is as before afterwards.

    Parameters
    ----------
    n_queries
        How many are searched at once.
    """
    if n_queries > 1:
        yield
        return
    faiss = faiss_module()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def faiss_module() -> Any:
    """Return the module `faiss`.

    Raises
    ------
    MissingDependencyError
        If it cannot be imported.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError(
            f"FAISS cannot be imported ({error}); run: pip install faiss-cpu"
        ) from error
    return faiss


def memory_of(flat: Any) -> npt.NDArray[np.float32]:
    """Return the vectors of a flat index ``float32 (n, d)`` where they stand, read-only."""
    return np.asarray(_Memory(flat))


class _Memory:
    """The memory of a flat index as an array that keeps the index alive."""

    def __init__(self, index: Any) -> None:
        self.flat = index
        # An empty index has no memory; numpy wants an address all the same.
        address = int(index.get_xb()) if index.ntotal else np.zeros(1, np.float32).ctypes.data
        self.__array_interface__ = {
            "shape": (int(index.ntotal), int(index.d)),
            "typestr": "<f4",
            "data": (address, True),
            "version": 3,
        }
