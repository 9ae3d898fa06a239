"""FAISS indexes on a GPU, where there is one."""

from __future__ import annotations

from typing import Any

from twofold.indexing.errors import InputError, MissingDependencyError
from twofold.indexing.proposers import faiss_module

SCRATCH = 256 << 20  # bytes; its own default would take 1.5 GB from torch


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
