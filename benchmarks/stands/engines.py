"""Engines to time: built once with a short training, and what a timing must tell beside itself."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from benchmarks.data.datasets import DataSet
from twofold.build import build
from twofold.cache import cache_folder
from twofold.engine import Engine
from twofold.evaluation.hardware import describe_hardware, library_versions, source_commit
from twofold.indexing.manifest import FORMAT_VERSION
from twofold.indexing.progress import Progress
from twofold.settings import load_settings

# A short training: how long scoring takes does not depend on what was learned.
SHORT = (
    "windows=1",
    "ranker.training.max_epochs=1",
    "ranker.training.negatives=7",
    "ranker.training.patience=1",
)


def short_engine(
    data: DataSet, overrides: tuple[str, ...], progress: Progress, *, runtime: str = "auto"
) -> Engine:
    """Return an engine over a data set; its artefact is built where it is not there yet.

    Parameters
    ----------
    data
        The data set.
    overrides
        Settings beside its own and the short training's.
    progress
        Told of every step of a build.
    runtime
        As in :meth:`twofold.Engine.load`.
    """
    return Engine.load(short_artefact(data, overrides, progress), runtime=runtime)


def short_artefact(data: DataSet, overrides: tuple[str, ...], progress: Progress) -> Path:
    """Return the folder of the artefact of :func:`short_engine`, built where it is not there."""
    settings = load_settings(None, (*data.settings, *SHORT, *overrides))
    key = hashlib.sha256(repr((data.name, settings, FORMAT_VERSION)).encode()).hexdigest()[:12]
    folder = cache_folder() / "benchmarks" / f"{data.name}-{key}"
    if not (folder / "CURRENT").exists():
        build(data.interactions, data.items, folder, settings, progress)
    return folder


def circumstances(suite: str, data: DataSet, engine: Engine) -> dict[str, Any]:
    """Return what every record of a timing holds beside its numbers."""
    ranker, threads = engine.stages.ranker, torch.get_num_threads()
    return {
        "suite": suite,
        "dataset": data.name,
        "max_item_tokens": 0 if ranker is None else int(ranker.tables.tokens.lengths().max()),
        "threads": threads,
        "hardware": describe_hardware(threads=threads),
        "versions": library_versions(),
        "commit": source_commit(),
    }
