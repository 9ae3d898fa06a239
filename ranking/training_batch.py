"""A batch of training lists as the model reads it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from twofold.ranking.batches import (
    drop_factors,
    evidence_batch,
    history_batch,
    text_queries,
    told_histories,
)
from twofold.ranking.devices import moved
from twofold.ranking.further_misses import with_further_misses
from twofold.ranking.items import ItemTables, learned_states
from twofold.ranking.labelled import Drawn, draw
from twofold.ranking.lists import Lists
from twofold.ranking.model import ModelShape, RankerModel, SoftItems
from twofold.ranking.noise import Noise
from twofold.ranking.settings import RankerSettings
from twofold.ranking.text_rows import text_rows
from twofold.retrieval.queries import Queries


@dataclass(frozen=True)
class ReadBatch:
    """A batch with all that was drawn for it: any model may score it.

    Parameters
    ----------
    queries
        The histories, as far as they are read.
    items
        Candidates, those that a text query names among them, ``int64 (B, m)``.
    features
        Stage-one features, ``float32 (B, m, n_features)``.
    drawn
        Candidates with labels and weights.
    tokens
        Token rows of lists read as text, ``None`` where none is.
    likeness
        As of :class:`~twofold.ranking.text_rows.TextRows`.
    dropped
        Lists that go without collaborative factors, ``bool (B,)``.
    """

    queries: Queries
    items: npt.NDArray[np.int64]
    features: Tensor
    drawn: Drawn
    tokens: tuple[npt.NDArray[np.int32], ...] | None
    likeness: npt.NDArray[np.float32]
    dropped: npt.NDArray[np.bool_]


def read_batch(
    shape: ModelShape,
    tables: ItemTables,
    lists: Lists,
    settings: RankerSettings,
    rng: np.random.Generator,
) -> ReadBatch:
    """Return a batch of lists: histories shortened, candidates drawn, some lists said as text.

    Parameters
    ----------
    shape
        Sizes of the model.
    tables
        What it reads of items.
    lists
        The batch.
    settings
        How much is drawn, said and dropped.
    rng
        Draws.
    """
    training = settings.training
    limit, longest = shape.backbone.max_tokens, shape.max_history
    queries = shortened(
        lists.queries,
        dropout=training.history_dropout,
        truncation=training.history_truncation,
        max_history=longest,
        rng=rng,
    )
    asked = rng.random(len(lists)) < training.text_query_share
    dropped = rng.random(len(lists)) < training.collaborative_dropout
    drawn = with_further_misses(
        draw(lists, training.negatives, rng),
        lists,
        popular=training.popular_negatives,
        in_batch=training.batch_negatives,
        rng=rng,
    )
    said = text_rows(queries, drawn, asked, tables, limit=limit, rng=rng)
    told = told_histories(queries, tables, settings.history, limit=limit, max_history=longest)
    return ReadBatch(
        queries,
        said.drawn.items,
        drawn.features,
        said.drawn,
        _either(said.tokens, told),
        said.likeness,
        dropped,
    )


def shortened(
    queries: Queries,
    *,
    dropout: float,
    truncation: float,
    max_history: int,
    rng: np.random.Generator,
) -> Queries:
    """Return queries with some events left out; nothing is drawn for what is not asked for.

    Parameters
    ----------
    queries
        The histories.
    dropout
        Chance of each event to be left out, in [0, 1); a history keeps one that any was in.
    truncation
        Share of the histories of which only some latest events are kept, from one to as many as
        the model reads, in [0, 1).
    max_history
        Most events that the model reads.
    rng
        Draws.
    """
    if truncation > 0:
        lengths = np.minimum(queries.lengths(), max_history)
        few = rng.integers(1, np.maximum(lengths, 1), endpoint=True)
        kept = np.where(rng.random(len(queries)) < truncation, few, queries.lengths())
        queries = queries.keeping(queries.ages() < kept[queries.rows()])
    if dropout > 0:
        keys, rows = rng.random(len(queries.items)), queries.rows()
        highest = np.zeros(len(queries))
        np.maximum.at(highest, rows, keys)
        queries = queries.keeping((keys >= dropout) | (keys == highest[rows]))
    return queries


class Reading(NamedTuple):
    """A batch beside the item tables that it is read with.

    Parameters
    ----------
    tables
        What is read of items.
    batch
        The batch.
    weight
        What it counts for in the loss.
    part
        Number of the part that its lists are from.
    """

    tables: ItemTables
    batch: ReadBatch
    weight: float = 1.0
    part: int = 0


def batch_logits(
    model: RankerModel, reading: Reading, noise: Noise | None = None, *, whole: bool = False
) -> Tensor:
    """Return the logits of a batch, ``float32 (B, m)``.

    Parameters
    ----------
    model
        The classifier.
    reading
        The batch.
    noise
        Added to the states of candidates and histories that enter the joint layers.
    whole
        Whether the lower layers are trained too: their states are then computed here.
    """
    tables, batch = reading.tables, reading.batch
    longest = model.shape.max_history
    history = history_batch(
        batch.queries,
        tables,
        max_history=longest,
        as_text=batch.tokens,
        factors_dropped=batch.dropped,
    )
    items = np.maximum(batch.items, 0).ravel()
    if whole:
        states, lengths = learned_states(model.backbone, tables.tokens, items)
    else:
        states, lengths = tables.token_states(items, model.backbone)
    soft = tables.soft(batch.items)
    factors = drop_factors(soft.factors, batch.dropped).flatten(0, 1)
    # In training every weight takes part in every step, whether any list of a batch is a text.
    texts = replace(text_queries(batch.likeness), spoken=True)
    device = model.device
    parts = moved(SoftItems(soft.texts.flatten(0, 1), factors), device)
    blocks = model.blocks(moved(states, device), lengths, parts)
    if noise is not None:
        blocks = blocks.whole()
        blocks = replace(blocks, states=noise.onto("candidates", blocks.states))
    return model.logits(
        blocks,
        model.remember(moved(history, device), noise),
        moved(batch.features, device),
        moved(evidence_batch(batch.queries, batch.items, tables, max_history=longest), device),
        moved(texts, device),
    )


def _either(
    said: tuple[npt.NDArray[np.int32], ...], told: tuple[npt.NDArray[np.int32], ...] | None
) -> tuple[npt.NDArray[np.int32], ...] | None:
    """Return what each list says, or else its history as text, ``None`` where no list has one."""
    if told is not None:
        return tuple(a if len(a) else b for a, b in zip(said, told, strict=True))
    return said if any(len(row) for row in said) else None
