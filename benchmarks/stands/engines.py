"""Engines to time: built once with a short training, and what a timing must tell beside itself."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from benchmarks.data.datasets import DataSet
from benchmarks.harness.cells import Plan
from twofold.build import build, build_dataset
from twofold.cache import cache_folder
from twofold.engine import Engine
from twofold.indexing.dataset import Dataset
from twofold.indexing.durable import sha256_of
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
# For plans that ask everything less: built within half a minute.
QUICK = ("ranker.rerank=20", "ranker.training.max_lists=64")
# Code that engines exercise, and that builds them.
ENGINE = (
    *("indexing", "retrieval", "ranking", "twofold/settings.py", "twofold/build.py"),
    *("twofold/learning.py", "twofold/lessons.py", "twofold/embedding.py", "twofold/engine.py"),
    *("twofold/opened.py", "twofold/serving.py", "twofold/asking.py", "twofold/batching.py"),
    *("twofold/recommendation.py", "twofold/rules.py", "twofold/catalogue.py"),
    *("twofold/query_encoder.py", "twofold/runtimes.py", "twofold/threads.py"),
    *("twofold/live.py", "twofold/live_users.py", "twofold/item_changes.py", "twofold/growth.py"),
    *("twofold/updating.py", "twofold/moving.py", "twofold/shifts.py"),
    *("benchmarks/stands/engines.py", "benchmarks/harness/timing.py", "evaluation/latency.py"),
)


def short_overrides(plan: Plan, *more: str) -> tuple[str, ...]:
    """Return what stands beside the data set's settings and the short training's: the plan's last.

    Parameters
    ----------
    plan
        The plan; a quick one ranks and trains less.
    more
        What a suite sets itself.
    """
    return (*(QUICK if plan.quick else ()), *more, *plan.overrides)


def short_settings(data: DataSet, overrides: tuple[str, ...]) -> Settings:
    """Return the settings that the artefact of :func:`short_engine` is built with."""
    return load_settings(None, (*data.settings, *SHORT, *overrides))


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
    settings = short_settings(data, overrides)
    tables = sha256_of(data.interactions), sha256_of(data.items)
    key = hashlib.sha256(repr((tables, settings, FORMAT_VERSION)).encode()).hexdigest()[:12]
    folder = cache_folder() / "benchmarks" / f"{data.name}-{key}"
    if not (folder / "CURRENT").exists():
        build(data.interactions, data.items, folder, settings, progress)
    return folder


def longest_text(engine: Engine) -> int:
    """Return the tokens of the longest item's text that the ranker reads; 0 without a ranker.

    Rows of timings hold it as ``max_item_tokens``: it tells lists of one catalogue apart.
    """
    ranker = engine.stages.ranker
    return 0 if ranker is None else int(ranker.tables.tokens.lengths().max())


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
