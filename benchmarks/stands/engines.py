"""Engines to time: built once with a short training, and what a timing must tell beside itself."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.data.datasets import DataSet
from twofold.build import build, build_dataset
from twofold.cache import cache_folder
from twofold.engine import Engine
from twofold.evaluation.hardware import describe_hardware, library_versions, source_commit
from twofold.indexing.dataset import Dataset
from twofold.indexing.manifest import FORMAT_VERSION
from twofold.indexing.progress import Progress
from twofold.indexing.splits import Split
from twofold.settings import Settings, load_settings

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


def held_out_artefact(
    data: DataSet, dataset: Dataset, split: Split, settings: Settings, progress: Progress
) -> Path:
    """Return the folder of an artefact that knows nothing of a test, built where it is not there.

    So what its engine answers may be timed and judged at once.

    Parameters
    ----------
    data
        The data set.
    dataset
        Its tables, read.
    split
        What is held out.
    settings
        All settings.
    progress
        Told of every step of a build.
    """
    told = repr((data.name, dataset.fingerprint, split.name, data.n_labels, settings))
    key = hashlib.sha256(f"{told} {FORMAT_VERSION}".encode()).hexdigest()[:12]
    folder = cache_folder() / "benchmarks" / f"{data.name}-known-{key}"
    if not (folder / "CURRENT").exists():
        known = replace(
            dataset,
            interactions=dataset.interactions.take(split.known_at_test),
            split=None,
            fingerprint=hashlib.sha256(told.encode()).hexdigest(),
        )
        build_dataset(known, folder, settings, progress)
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
