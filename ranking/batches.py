"""Queries and candidates as the tensors that the model reads: the one numpy/torch border."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from twofold.ranking.head import GAPS, Events, Evidence, TextQueries
from twofold.ranking.items import ItemTables
from twofold.ranking.model import History, SoftItems
from twofold.retrieval.queries import Queries

logger = logging.getLogger("twofold.ranking")


@dataclass(frozen=True)
class TextHistory:
    """Token rows of histories given as text.

    Parameters
    ----------
    rows
        Tokens of each query; an empty row where the query's history is not given as text.
    dropped
        How many oldest items did not fit into the encoder's positions, a query.
    """

    rows: tuple[npt.NDArray[np.int32], ...]
    dropped: npt.NDArray[np.int64]


def history_as_text(
    queries: Queries,
    which: npt.NDArray[np.bool_],
    items: ItemTables,
    *,
    limit: int,
    max_history: int,
) -> TextHistory:
    """Return ``[CLS] oldest [SEP] ... [SEP] latest [SEP]`` for queries where `which` is true.

    Whole oldest items are dropped where the text would be longer than `limit` tokens.

    Parameters
    ----------
    queries
        The queries.
    which
        Queries whose history is wanted as text, ``bool (n,)``.
    items
        Item tokens; their own [CLS] and [SEP] are taken off.
    limit
        Most tokens a row.
    max_history
        At most this many latest items a row.
    """
    tokens, opening = items.tokens.tokens, items.tokens.opening
    rows: list[npt.NDArray[np.int32]] = []
    dropped = np.zeros(len(queries), dtype=np.int64)
    for query in range(len(queries)):
        events = queries.items[queries.indptr[query] : queries.indptr[query + 1]][-max_history:]
        if not which[query] or not len(events):
            rows.append(np.zeros(0, dtype=np.int32))
            continue
        # An item's block may begin with [CLS]; in a history that stands once, before all.
        starts, ends = items.tokens.starts[events] + len(opening), items.tokens.ends[events]
        fits = np.cumsum((ends - starts)[::-1])[::-1] + len(opening) <= limit
        dropped[query] = int((~fits).sum())
        parts = [tokens[a:b] for a, b in zip(starts[fits], ends[fits], strict=True)]
        rows.append(np.concatenate([opening, *parts]))
    return TextHistory(tuple(rows), dropped)


def told_histories(
    queries: Queries,
    items: ItemTables,
    form: Literal["vectors", "text"],
    *,
    limit: int,
    max_history: int,
) -> tuple[npt.NDArray[np.int32], ...] | None:
    """Return the token rows of histories in the form that a ranker reads, ``None`` for vectors.

    Logs how many histories had to leave out their oldest items to fit.
    """
    if form == "vectors":
        return None
    everyone = np.ones(len(queries), dtype=bool)
    told = history_as_text(queries, everyone, items, limit=limit, max_history=max_history)
    cut = int((told.dropped > 0).sum())
    if cut:
        logger.info(
            "%d of %d histories left out their oldest items to fit into %d tokens",
            cut,
            len(queries),
            limit,
        )
    return told.rows


def history_batch(
    queries: Queries,
    items: ItemTables,
    *,
    max_history: int,
    as_text: Sequence[npt.NDArray[np.int32]] | None = None,
    factors_dropped: npt.NDArray[np.bool_] | None = None,
    soft_of: Callable[[npt.NDArray[np.int64]], Tensor] | None = None,
) -> History:
    """Return the histories of queries as tensors.

    Parameters
    ----------
    queries
        The queries.
    items
        Tables that soft tokens are made of.
    max_history
        At most this many latest items are read.
    as_text
        Token rows, as from :func:`history_as_text`; a query with a row has no soft tokens.
    factors_dropped
        Queries whose soft tokens go without collaborative factors, ``bool (n,)``.
    soft_of
        Gives finished soft tokens of items where they are stored; they keep their factors.
    """
    recent = queries.last(max_history)
    lengths = recent.lengths()
    if as_text is not None:
        spoken = np.array([len(row) > 0 for row in as_text], dtype=bool)
        lengths = np.where(spoken, 0, lengths)
    past, events = _padded(recent, lengths)
    soft: SoftItems | Tensor
    if soft_of is not None:
        soft = soft_of(past)
    else:
        soft = items.soft(past)
        if factors_dropped is not None:
            soft = SoftItems(soft.texts, drop_factors(soft.factors, factors_dropped))
    tokens, token_mask = (None, None) if as_text is None else pad_rows(as_text)
    return History(
        items=soft,
        events=events,
        tokens=tokens,
        token_mask=token_mask,
    )


def history_keys(
    queries: Queries,
    as_text: Sequence[npt.NDArray[np.int32]] | None,
    editions: npt.NDArray[np.int64] | None = None,
) -> list[bytes]:
    """Return what tells each query's history from others, as the model reads it.

    Parameters
    ----------
    queries
        The queries, no longer than the model reads them.
    as_text
        As in :func:`history_batch`.
    editions
        As of :class:`twofold.ranking.items.ItemTables`: a changed item makes another history.
    """
    gaps = gap_buckets(queries)
    items = queries.items if editions is None else editions[queries.items]
    out = []
    for row, (start, end) in enumerate(zip(queries.indptr[:-1], queries.indptr[1:], strict=True)):
        if as_text is not None and len(as_text[row]):
            out.append(b"text" + as_text[row].tobytes())
            continue
        parts = (items, queries.kinds, gaps)
        out.append(b"events" + b"".join(one[start:end].tobytes() for one in parts))
    return out


def evidence_batch(
    queries: Queries,
    candidates: npt.NDArray[np.int64],
    items: ItemTables,
    *,
    max_history: int,
) -> Evidence:
    """Return what the histories' events say for candidates, as tensors.

    Parameters
    ----------
    queries
        ``B`` queries.
    candidates
        Candidates of each, -1 at padding, ``int64 (B, m)``.
    items
        Tables with the items' relations.
    max_history
        At most this many latest items are read.
    """
    recent = queries.last(max_history)
    past, events = _padded(recent, recent.lengths())
    strengths = items.strengths(past, events.mask.numpy(), candidates)
    return Evidence.of(events, strengths)


def text_queries(likeness: npt.NDArray[np.float32]) -> TextQueries:
    """Return which queries are texts from their likeness to candidates, NaN elsewhere, ``(B, m)``.

    Padding of a text query may be NaN too; it reads as 0.
    """
    which = np.isfinite(likeness).any(axis=1)
    known = np.where(np.isfinite(likeness), likeness, np.float32(0))
    return TextQueries(torch.from_numpy(which), torch.from_numpy(known), spoken=bool(which.any()))


def gap_buckets(queries: Queries) -> npt.NDArray[np.int64]:
    """Return the bucket of each event's time to its query's latest event, ``int64 (n_events,)``.

    0 for events of the same second, then one bucket each doubling: 1 s, up to 3 s, up to 7 s, ...
    """
    seconds = queries.gaps() // 1000
    doublings = np.ceil(np.log2(1.0 + seconds)).astype(np.int64)
    return np.asarray(np.minimum(doublings, GAPS - 1))


def _padded(
    queries: Queries, lengths: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], Events]:
    """Return items and events of ragged histories in a rectangle, 0 where there is none.

    Queries of length 0 in `lengths` get no places, whatever their events.
    """
    kept = np.repeat(lengths > 0, queries.lengths())
    width = max(1, int(lengths.max(initial=0)))
    mask = np.arange(width)[None, :] < lengths[:, None]

    def placed(values: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        out = np.zeros(mask.shape, dtype=np.int64)
        out[mask] = values[kept]
        return out

    events = Events(
        ages=torch.from_numpy(placed(queries.ages())),
        gaps=torch.from_numpy(placed(gap_buckets(queries))),
        kinds=torch.from_numpy(placed(queries.kinds)),
        mask=torch.from_numpy(mask),
    )
    return placed(queries.items), events


def drop_factors(factors: Tensor, dropped: npt.NDArray[np.bool_]) -> Tensor:
    """Return factors ``(B, ...)`` with zeros in the queries that `dropped` marks."""
    keep = torch.from_numpy(~dropped)
    return factors * keep.view(-1, *[1] * (factors.dim() - 1))


def pad_rows(rows: Sequence[npt.NDArray[np.int32]]) -> tuple[Tensor, Tensor]:
    """Return token rows padded, ``int64 (B, T)``, and the mask of real tokens; T is at least 1."""
    width = max(1, max((len(row) for row in rows), default=1))
    tokens = np.zeros((len(rows), width), dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=bool)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = row
        mask[number, : len(row)] = True
    return torch.from_numpy(tokens), torch.from_numpy(mask)
