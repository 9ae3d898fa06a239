"""The runtime that serves a ranker here: measured once on a machine, and remembered."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twofold.cache import cache_folder
from twofold.evaluation.hardware import cpu_model, library_versions, usable_cores
from twofold.indexing.durable import canonical_json, readable_json, replace_text

if TYPE_CHECKING:
    from twofold.indexing.generation import Generation
    from twofold.ranking.ranker import Ranker
    from twofold.ranking.settings import RankerSettings
    from twofold.retrieval.queries import Queries
    from twofold.retrieval.retriever import Retriever
    from twofold.retrieval.stage_one import StageOne

logger = logging.getLogger("twofold.runtimes")

# Raised whenever runtimes, or how they are measured, change.
VERSION = 2
SAMPLE = 16
LIBRARIES = ("numpy", "torch")


@dataclass(frozen=True)
class Remembered:
    """A choice of runtime on this machine.

    Parameters
    ----------
    runtime
        Name of the runtime.
    model
        First digits of the SHA-256 of the model's weights.
    milliseconds
        Median time to score one list, a runtime.
    """

    runtime: str
    model: str
    milliseconds: dict[str, float]


def open_ranker(
    generation: Generation,
    settings: RankerSettings,
    stage_one: StageOne,
    retriever: Retriever,
    queries: Queries,
    runtime: str,
    device: str = "auto",
) -> Ranker | None:
    """Return a generation's ranker in a runtime; ``None`` where it has no ranker.

    Parameters
    ----------
    generation
        The opened generation.
    settings
        What the ranker was trained with.
    stage_one
        Has the vectors and relations that it reads.
    retriever, queries
        Give the lists to measure runtimes with.
    runtime
        Name of a runtime, or ``"auto"`` for the fastest here.
    device
        ``"cpu"`` leaves runtimes of other devices out of the choice.

    Raises
    ------
    InputError
        If there is no such runtime.
    MissingDependencyError
        If it needs a GPU and torch sees none.
    """
    from twofold.ranking.ranker import Ranker
    from twofold.ranking.runtime import runtime_of

    if runtime != "auto":
        runtime_of(runtime)
    if not generation.has("ranker/model.json"):
        return None
    relations = stage_one.relations()
    ranker = Ranker.open(generation, stage_one.index.vectors, relations, settings)
    if runtime != "auto":
        return ranker.with_runtime(runtime)
    weights = generation.manifest["files"]["ranker/model.safetensors"]["sha256"]
    return with_best_runtime(
        ranker, retriever, queries, weights, width=settings.rerank, device=device
    )


def with_best_runtime(
    ranker: Ranker,
    retriever: Retriever,
    queries: Queries,
    model: str,
    *,
    width: int,
    device: str = "auto",
) -> Ranker:
    """Return the ranker in the runtime that serves it fastest here.

    The first time on a machine the runtimes are tried on lists of some users, which takes about a
    second. The choice is kept in the cache folder, keyed by machine, threads, library versions,
    model and length of the lists. Where it cannot be kept it is made again the next time.

    Parameters
    ----------
    ranker
        The ranker.
    retriever
        Gives the lists.
    queries
        Users to take some from; those with no history give nothing to measure.
    model
        SHA-256 of the model's weights.
    width
        Candidates a list.
    device
        ``"cpu"`` leaves runtimes of other devices out.
    """
    from twofold.ranking.choosing import REFERENCE, fastest, measure_runtimes
    from twofold.ranking.runtime import runnable

    runtimes = runnable(device)
    own = {"model": model, "width": width, "digests": ranker.digests is not None}
    about = {**_machine(), **own, "runtimes": list(runtimes)}
    file = _folder() / f"{hashlib.sha256(canonical_json(about).encode()).hexdigest()[:32]}.json"
    known = _read(file)
    if known is not None:
        return ranker.with_runtime(known.runtime)
    some = np.random.default_rng(0).permutation(np.flatnonzero(queries.lengths() > 0))[:SAMPLE]
    if not len(some):
        logger.info("no user has a history to measure runtimes with; serving in %s", REFERENCE)
        return ranker.with_runtime(REFERENCE)
    asked = queries.take(np.sort(some))
    measured = measure_runtimes(ranker, asked, retriever.retrieve(asked, width), runtimes=runtimes)
    chosen = fastest(measured)
    told = ", ".join(f"{one.runtime} {one.milliseconds:.2f} ms" for one in measured)
    logger.info("serving in %s, the fastest sound runtime here: %s", chosen, told)
    record = {**about, "runtime": chosen, "measured": [one.to_dict() for one in measured]}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_text(file, readable_json(record))
    except OSError as error:
        logger.warning("the choice of runtime could not be kept in %s: %s", file.parent, error)
    return ranker.with_runtime(chosen)


def remembered() -> Iterator[Remembered]:
    """Yield the choices that were made on this machine with these libraries."""
    here = _machine()
    for file in sorted(_folder().glob("*.json")):
        told = _told(file)
        if told is not None and all(told.get(name) == value for name, value in here.items()):
            known = _read(file)
            if known is not None:
                yield known


def _machine() -> dict[str, Any]:
    import torch

    versions = library_versions()
    return {
        "version": VERSION,
        "cpu": cpu_model(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cores": usable_cores(),
        "torch_threads": torch.get_num_threads(),
        "libraries": {name: versions.get(name) for name in LIBRARIES},
    }


def _folder() -> Path:
    return cache_folder() / "runtimes"


def _told(file: Path) -> dict[str, Any] | None:
    """Return what a file of the cache says; ``None`` where there is none, or it is damaged."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("%s cannot be read and is measured again: %s", file, error)
        return None
    return told if isinstance(told, dict) else None


def _read(file: Path) -> Remembered | None:
    told = _told(file)
    if told is None:
        return None
    try:
        spent = {one["runtime"]: float(one["milliseconds"]) for one in told["measured"]}
        chosen = str(told["runtime"])
        return Remembered(chosen, str(told["model"])[:12], spent) if chosen in spent else None
    except (KeyError, TypeError, ValueError) as error:
        logger.warning("%s is incomplete and is measured again: %r", file, error)
        return None
