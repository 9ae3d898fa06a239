"""Logits of candidate lists, a bounded chunk of queries at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from twofold.indexing.progress import Progress, Silent
from twofold.ranking.batches import (
    candidate_states,
    evidence_batch,
    history_batch,
    text_queries,
    told_histories,
)
from twofold.ranking.head import EvidenceHead, TextQueries
from twofold.ranking.items import ItemTables
from twofold.ranking.model import RankerModel
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import Queries

HEAD_CHUNK = 16


def served_logits(
    model: RankerModel,
    tables: ItemTables,
    queries: Queries,
    candidates: Candidates,
    form: Literal["vectors", "text"],
    *,
    progress: Progress | None = None,
) -> npt.NDArray[np.float32]:
    """Return the logits of candidates as they are served: histories in the ranker's own form.

    Early stopping, calibration and serving all score through here.

    Parameters
    ----------
    model, tables
        The classifier and what it reads of items.
    queries, candidates
        ``n`` queries and their candidates, with features.
    form
        Whether histories are read as vectors or as text.
    progress
        Shown for long jobs.

    Raises
    ------
    InputError
        If the candidates carry no features.
    """
    rows = told_histories(
        queries,
        tables,
        form,
        limit=model.shape.backbone.max_tokens,
        max_history=model.shape.max_history,
    )
    return logits_of(
        model,
        tables,
        queries,
        candidates.items,
        candidates.needed_features(),
        as_text=rows,
        progress=progress,
    )


def logits_of(
    model: RankerModel,
    tables: ItemTables,
    queries: Queries,
    items: npt.NDArray[np.int64],
    features: npt.NDArray[np.float32],
    *,
    as_text: Sequence[npt.NDArray[np.int32]] | None = None,
    likeness: npt.NDArray[np.float32] | None = None,
    chunk_pairs: int = 256,
    progress: Progress | None = None,
) -> npt.NDArray[np.float32]:
    """Return the logit of every candidate, ``float32 (n, m)``, ``-inf`` at padding.

    Parameters
    ----------
    model
        The classifier; it is put into evaluation mode.
    tables
        What the model reads of items.
    queries
        ``n`` queries.
    items
        Candidates, -1 at padding, ``int64 (n, m)``.
    features
        Stage-one features, ``float32 (n, m, n_features)``.
    as_text
        Token rows of histories to be read as text.
    likeness
        Cosine of the query's and the candidate's text vectors where the query is a text, NaN where
        it is a history, ``float32 (n, m)``; ``None`` where none is a text.
    chunk_pairs
        About how many candidates are scored at once; so few that their states stay in the cache of
        a core, where a thousand at once measured a third slower.
    progress
        Shown for long jobs.
    """
    model.eval()
    n, m = items.shape
    out = np.empty((n, m), dtype=np.float32)
    if m == 0:
        return out
    step = max(1, chunk_pairs // max(m, 1))
    if likeness is None:
        likeness = np.full((n, m), np.nan, dtype=np.float32)
    with (progress or Silent()).step("rerank", total=n) as task, torch.inference_mode():
        for start in range(0, n, step):
            which = np.arange(start, min(start + step, n))
            asked, longest = queries.take(which), model.shape.max_history
            history = history_batch(
                asked,
                tables,
                max_history=longest,
                as_text=None if as_text is None else [as_text[i] for i in which],
            )
            states, lengths = candidate_states(items[which], tables, model.backbone)
            blocks = model.blocks(states, lengths, tables.soft(items[which].ravel()))
            logits = model.logits(
                blocks,
                model.remember(history),
                torch.from_numpy(features[which]),
                evidence_batch(asked, items[which], tables, max_history=longest),
                text_queries(likeness[which]),
            )
            out[which] = logits.numpy()
            task.advance(len(which))
    out[items < 0] = -np.inf
    return out


def head_logits(
    head: EvidenceHead, tables: ItemTables, queries: Queries, candidates: Candidates
) -> npt.NDArray[np.float32]:
    """Return what g says of candidates, without their texts, ``float32 (n, m)``.

    Padding is ``-inf``. Parameters as in :func:`served_logits`.

    Raises
    ------
    InputError
        If the candidates carry no features.
    """
    features = candidates.needed_features()
    head.eval()
    out = np.full(candidates.items.shape, -np.inf, dtype=np.float32)
    longest = head.ages.num_embeddings
    with torch.inference_mode():
        for start in range(0, len(queries), HEAD_CHUNK):
            which = np.arange(start, min(start + HEAD_CHUNK, len(queries)))
            items = candidates.items[which]
            logits = head(
                torch.from_numpy(features[which]),
                evidence_batch(queries.take(which), items, tables, max_history=longest),
                TextQueries.none(*items.shape),
            )
            out[which] = np.where(items >= 0, logits.numpy(), -np.inf)
    return out
