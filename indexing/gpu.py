"""FAISS indexes on a GPU, where there is one."""

from __future__ import annotations

import re
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import InputError, MissingDependencyError
from twofold.indexing.faiss_library import faiss_module
from twofold.indexing.proposers import Proposer

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
SCRATCH = 256 << 20  # bytes; its own default would take 1.5 GB from torch
FILES = re.compile(r"IVF\d+,(Flat|SQ8|SQfp16)")
MOST_CELLS = 2048  # that FAISS visits for a query on a GPU


def on_gpu(index: Any, device: str) -> Any:
    """Return a copy of an index on the GPU, or ``None`` where searches stay on the CPU.

    Parameters
    ----------
    index
        A FAISS index in main memory.
    device
        ``"auto"``, ``"cuda"`` or ``"cpu"``.

    Raises
    ------
    InputError
        If there is no such device.
    MissingDependencyError
        If `device` is ``"cuda"`` and FAISS sees no GPU.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device must be auto, cpu or cuda, not '{device}'")
    faiss = faiss_module()
    if device == "cpu":
        return None
    n_gpus = faiss.get_num_gpus() if "GPU" in faiss.get_compile_options().split() else 0
    if n_gpus == 0:
        if device == "auto":
            return None
        raise MissingDependencyError(
            "device is 'cuda', but FAISS sees no GPU; set it to auto or cpu, or on Linux x86-64 "
            "run: pip install faiss-gpu (and check `nvidia-smi`)"
        )
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(SCRATCH)
    return faiss.index_cpu_to_gpu(resources, 0, index)


class GpuSearch:
    """A FAISS index on a GPU, which two threads must not use at once.

    Parameters
    ----------
    index
        The index.
    over
        So many proposals for each item that is wanted are to be ranked again; 0 where all vectors
        are looked at whole.
    """

    def __init__(self, index: Any, over: int) -> None:
        self._index, self.over = index, over
        self._lock = threading.Lock()

    @property
    def looks_at_all(self) -> bool:
        """Whether no vector is passed over."""
        return self.over == 0

    def search(self, queries: Float32s, width: int) -> tuple[Float32s, Int64s]:
        """Return what FAISS finds, scores ``float32 (n, width)`` and items ``int64 (n, width)``."""
        with self._lock:
            scores, items = self._index.search(queries, width)
        return scores, items


def gpu_search(flat: Any, proposer: Proposer | None, device: str) -> GpuSearch | None:
    """Return how vectors are searched on a GPU, or ``None`` where searches stay on the CPU.

    Inverted files of whole vectors, or of such rounded number by number, are searched there as in
    main memory. There are no graphs there, and no other codes: all vectors are looked at instead.

    Parameters
    ----------
    flat
        The flat index of the vectors.
    proposer
        What finds most of the nearest without looking at all of them, if anything.
    device
        As of :func:`on_gpu`, whose errors are raised.
    """
    if proposer is None or not FILES.fullmatch(proposer.factory) or proposer.effort > MOST_CELLS:
        moved = on_gpu(flat, device)
        return None if moved is None else GpuSearch(moved, 0)
    moved = on_gpu(proposer.index, device)
    if moved is None:
        return None
    faiss_module().GpuParameterSpace().set_index_parameter(moved, "nprobe", proposer.effort)
    return GpuSearch(moved, proposer.over)
