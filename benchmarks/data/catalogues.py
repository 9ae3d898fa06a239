"""Catalogues of the retrieval suite: grown and tuned once, then taken from where they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.data import grown
from benchmarks.data.datasets import DataSet
from benchmarks.data.grown import grown_log, grown_vectors
from benchmarks.data.kept import kept, sources
from twofold import embedding
from twofold.cache import cache_folder
from twofold.embedding import embedded, well_searched
from twofold.evaluation.hardware import cpu_model, usable_cores
from twofold.indexing import efforts, proposers, structures, tuning, vectors
from twofold.indexing.dataset import Dataset, load_dataset
from twofold.indexing.faiss_library import faiss_module
from twofold.indexing.holding_out import hold_out_last
from twofold.indexing.interactions import Interactions
from twofold.indexing.progress import Progress
from twofold.indexing.proposers import Proposer
from twofold.indexing.vectors import VectorIndex
from twofold.indexing.writer import GenerationWriter
from twofold.retrieval import stage_one
from twofold.retrieval.stage_one import texts_to_ask
from twofold.settings import Settings

USERS_AN_ITEM = 0.2
SEEDS = {"vectors": 0, "log": 1, "queries": 2, "filters": 3}
PROPOSER = "proposer"
# What a tuned index depends on.
MADE_BY = (grown, embedding, efforts, proposers, structures, tuning, vectors, stage_one)


@dataclass(frozen=True)
class Catalogue:
    """Items to search, and who asks.

    Parameters
    ----------
    log
        What users did.
    index
        The items' vectors, searched as the settings say.
    exact
        The same, all of them looked at.
    settings
        The settings.
    dataset
        The data set that it comes from.
    held
        The labels that are held out of `log`; none where the catalogue was grown.
    """

    log: Interactions
    index: VectorIndex
    exact: VectorIndex
    settings: Settings
    dataset: Dataset
    held: Interactions | None


def catalogue_of(
    data: DataSet, settings: Settings, n_items: int | None, progress: Progress
) -> Catalogue:
    """Return a catalogue, its index searched as the settings ask for.

    Parameters
    ----------
    data
        The data set.
    settings
        All settings.
    n_items
        Grow the catalogue to so many items; ``None`` takes it as it is.
    progress
        Told of every step.
    """
    dataset = load_dataset(data.interactions, data.items, settings.data, seed=settings.seed)
    plain = replace(settings, index=replace(settings.index, kind="exact"))
    # A text is embedded once for all runs.
    known = cache_folder() / "benchmarks"
    known.mkdir(parents=True, exist_ok=True)
    index, identity = embedded(dataset, plain, known, progress)
    split = hold_out_last(dataset.interactions, data.n_labels)
    held: Interactions | None
    log, held = dataset.interactions.take(split.fit), dataset.interactions.take(split.labels)
    key = {"data": dataset.fingerprint, "encoder": identity, "n_items": n_items}
    if n_items is not None:
        index = _grown(index, n_items, key, progress)
        log, held = grown_log(int(USERS_AN_ITEM * n_items), n_items, seed=SEEDS["log"]), None
    tuned = _tuned(index, log, settings, key, progress)
    return Catalogue(log, tuned, index, settings, dataset, held)


def _grown(
    real: VectorIndex, n_items: int, key: Mapping[str, Any], progress: Progress
) -> VectorIndex:
    """Return the index of a grown catalogue, mapped from where it is kept."""

    def make(writer: GenerationWriter) -> None:
        vectors = grown_vectors(real.vectors, n_items, seed=SEEDS["vectors"])
        VectorIndex.build(vectors, device="cpu").save(writer)

    made_by = {"seed": SEEDS["vectors"], "sources": sources((grown,))}
    found = kept("grown", {**key, **made_by}, make, progress)
    return VectorIndex.open(found, device="cpu")


def _tuned(
    index: VectorIndex,
    log: Interactions,
    settings: Settings,
    key: Mapping[str, Any],
    progress: Progress,
) -> VectorIndex:
    """Return an index searched as the settings ask for; the choice is kept."""

    def make(writer: GenerationWriter) -> None:
        found = well_searched(index, log, settings, progress)
        if found.proposer is not None:
            found.proposer.save(writer, PROPOSER)

    asked = {
        "index": asdict(settings.index),
        "stage_one": asdict(settings.stage_one),
        "seed": settings.seed,
        "threads": settings.threads or usable_cores(),
        "seeds": SEEDS,
        "sources": sources(
            (grown, embedding, efforts, proposers, structures, tuning, vectors, stage_one)
        ),
        "faiss": faiss_module().__version__,
        "machine": [cpu_model(), usable_cores()],
    }
    found = kept("tuned", {**key, **asked}, make, progress)
    if not found.has(f"{PROPOSER}.json"):
        return index
    return index.through(Proposer.open(found, PROPOSER, index.flat))


def held_out_queries(catalogue: Catalogue) -> npt.NDArray[np.float32]:
    """Return profiles and last items, mixed by chance, that nothing was tuned with."""
    seed, about = catalogue.settings.seed, catalogue.settings.stage_one
    tuned, asked = (
        texts_to_ask(catalogue.log, catalogue.exact.vectors, about, one)
        for one in (seed, seed + SEEDS["queries"])
    )
    known = {row.tobytes() for row in tuned}
    fresh = asked[[row.tobytes() not in known for row in asked]]
    # Few users: all of them were tuned with.
    asked = fresh if len(fresh) else asked
    return asked[np.random.default_rng(seed).permutation(len(asked))]
