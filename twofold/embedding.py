"""The vectors of a data set's items, embedded or brought."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from twofold.evaluation.hardware import usable_cores
from twofold.indexing.dataset import Dataset
from twofold.indexing.embedding_cache import EmbeddingCache
from twofold.indexing.interactions import Interactions
from twofold.indexing.progress import Progress
from twofold.indexing.text import TextEncoder, brought_identity
from twofold.indexing.tuning import with_proposer
from twofold.indexing.vectors import VectorIndex, normalised
from twofold.retrieval.stage_one import SCANNED, texts_to_ask
from twofold.settings import Settings


def embedded(
    dataset: Dataset, settings: Settings, cache: Path | None, progress: Progress
) -> tuple[VectorIndex, dict[str, Any]]:
    """Return the index of the items' vectors and the identity of what made them.

    Vectors come from the column that the settings name, or from the text encoder. How they are
    searched is tried with the histories of the data set's own users.

    Parameters
    ----------
    dataset
        Where texts and vectors come from.
    settings
        All settings.
    cache
        Folder in which vectors are kept by their texts; ``None`` keeps none.
    progress
        Told of every batch.
    """
    index, identity = _vectors(dataset, settings, cache, progress)
    return well_searched(index, dataset.interactions, settings, progress), identity


def well_searched(
    index: VectorIndex, log: Interactions, settings: Settings, progress: Progress
) -> VectorIndex:
    """Return an index of texts, searched as the settings ask for.

    Parameters
    ----------
    index
        The items' vectors.
    log
        Histories to try it with.
    settings
        All settings.
    progress
        Told of every step.
    """
    if settings.index.kind == "auto" and index.vectors.size <= SCANNED:
        # Stage one looks at all of so few itself.
        return index
    return with_proposer(
        index,
        texts_to_ask(log, index.vectors, settings.stage_one, settings.seed),
        settings.index,
        seed=settings.seed,
        threads=settings.threads or usable_cores(),
        progress=progress,
    )


def _vectors(
    dataset: Dataset, settings: Settings, cache: Path | None, progress: Progress
) -> tuple[VectorIndex, dict[str, Any]]:
    column = settings.data.vector_column
    if column is not None:
        given = np.stack(dataset.table[column].cast(pl.List(pl.Float32)).to_list())
        vectors = normalised(given.astype(np.float32))
        return VectorIndex.build(vectors), brought_identity(vectors.shape[1])
    encoder = TextEncoder.load(settings.text)
    if cache is None:
        vectors = encoder.encode_documents(dataset.texts, progress=progress)
    else:
        with EmbeddingCache(cache, max_bytes=settings.text.cache_bytes) as known:
            vectors = encoder.encode_documents(dataset.texts, cache=known, progress=progress)
    return VectorIndex.build(vectors), encoder.identity
