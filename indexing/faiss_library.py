"""The library FAISS, which comes in two packages, and how many threads it uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
