"""What a measurement ran on: processor, memory, library versions, commit. Imports nothing heavy."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = "benchmarks/results"
LIBRARIES = (
    "faiss-cpu",
    "faiss-gpu",
    "implicit",
    "numba",
    "lightgbm",
    "numpy",
    "polars",
    "scikit-learn",
    "scipy",
    "sentence-transformers",
    "torch",
    "transformers",
    "twofold",
)


def describe_hardware(*, threads: int | None = None) -> dict[str, str | int | float | None]:
    """Return processor, cores this process may use, memory, system, and the threads set.

    Parameters
    ----------
    threads
        How many threads were set for the measurement, or ``None`` for the libraries' defaults.
    """
    return {
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "memory_gib": memory_gib(),
        "gpu": gpu_model(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": threads,
    }


def library_versions() -> dict[str, str]:
    """Return Python's version and those of the libraries that are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def cpu_model() -> str:
    """Return the processor's name, or the machine's architecture where the system does not say."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_gib() -> float | None:
    """Return the machine's memory in GiB, or ``None`` where the system does not say."""
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    return round(pages * size / 2**30, 1)


def gpu_model() -> str | None:
    """Return the first GPU's name as ``nvidia-smi`` gives it, or ``None`` where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    lines = _output([program, "--query-gpu=name", "--format=csv,noheader"])
    return lines.splitlines()[0].strip() if lines else None


def source_commit(folder: str | Path | None = None) -> str | None:
    """Return the commit of the source tree, with ``-dirty`` where tracked sources differ from it.

    ``None`` where the package does not run from a checkout of its own, or git is not installed.

    Parameters
    ----------
    folder
        Root of the checkout; by default the folder above this room.
    """
    program = shutil.which("git")
    root = Path(__file__).resolve().parent.parent if folder is None else Path(folder).resolve()
    # An installed copy may lie inside somebody else's checkout; theirs is not our commit.
    if program is None or not (root / ".git").exists():
        return None
    commit = _output([program, "-C", str(root), "rev-parse", "HEAD"])
    if not commit:
        return None
    # Results are no sources: rows that one run appends do not make the next run's code another.
    paths = ["--", ".", f":(exclude){RESULTS}"]
    asked = ["status", "--porcelain", "--untracked-files=no", *paths]
    changed = _output([program, "-C", str(root), *asked])
    return f"{commit}-dirty" if changed else commit


def _output(command: list[str]) -> str:
    """Return what a command prints, empty where it fails or takes longer than ten seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
