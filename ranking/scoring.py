"""Logits of candidate lists, a bounded chunk of queries at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from twofold.indexing.progress import Progress, Silent
from twofold.ranking.batches import (
    evidence_batch,
    history_batch,
    history_keys,
    text_queries,
    told_histories,
)
from twofold.ranking.blocks import Blocks
from twofold.ranking.caches import MemoryCache
from twofold.ranking.cross import Digest, HistoryMemory
from twofold.ranking.devices import CPU, moved
from twofold.ranking.digests import Digests, DigestsOnDemand, ItemDigests, digest_items
from twofold.ranking.head import EvidenceHead, EvidenceHeads, TextQueries
from twofold.ranking.items import ItemTables
from twofold.ranking.model import RankerModel
from twofold.ranking.placed import PlacedDigests
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import Queries

HEAD_CHUNK = 16
# Requests that meet are few; of whole batches nothing is kept, they would push out all others.
MOST_KEPT = 16
FEW_CANDIDATES = 2000
# About 250 MB of a small encoder's.
MOST_DIGESTED = 50_000
# Candidates at once: in main memory what is read of them stays in the cache of a core, tokens of a
# thousand at once measured a third slower than of 256, digests of 256 a third slower than of a
# thousand. A device has thousands of lanes to fill, and is told the same number of things for few
# as for many: there the limit is what may be made of tokens on the way.
TOKENS_AT_ONCE, DIGESTS_AT_ONCE = 256, 1024
BYTES_ON_DEVICE, DIGESTS_ON_DEVICE = 4 << 30, 32_768


def served_logits(
    model: RankerModel,
    tables: ItemTables,
    queries: Queries,
    candidates: Candidates,
    form: Literal["vectors", "text"],
    *,
    digests: ItemDigests | None = None,
    memories: MemoryCache | None = None,
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
    digests
        Those of all items for this model and these tables, where they are at hand.
    memories
        What was made of the histories of earlier requests with this model and these tables.
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
        digests=digests,
        memories=memories,
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
    digests: ItemDigests | None = None,
    memories: MemoryCache | None = None,
    chunk_pairs: int | None = None,
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
    digests, memories
        As in :func:`served_logits`.
    chunk_pairs
        About how many candidates are scored at once; ``None`` takes what suits where they are.
    progress
        Shown for long jobs.
    """
    # Asked first: telling every module costs a request half a millisecond.
    if model.training:
        model.eval()
    n, m = items.shape
    out = np.empty((n, m), dtype=np.float32)
    if not out.size:
        return out
    source = _Source.of(model, tables, items, digests)
    step = max(1, (chunk_pairs or source.chunk_pairs) // m)
    longest = model.shape.max_history
    queries = queries.last(longest)
    keeps = memories is not None and memories.keeps and n <= MOST_KEPT
    reader = _Histories(model, tables, digests, memories if keeps else None)
    device, told_logits = model.device, []
    with (progress or Silent()).step("rerank", total=n) as task, torch.inference_mode():
        for start in range(0, n, step):
            which = np.arange(start, min(start + step, n))
            asked = queries if len(which) == n else queries.take(which)
            told = None if as_text is None else [as_text[i] for i in which]
            texts = (
                TextQueries.none(len(which), m)
                if likeness is None
                else text_queries(likeness[which])
            )
            evidence = evidence_batch(asked, items[which], tables, max_history=longest)
            logits = model.logits(
                source.read(which),
                reader.memory(asked, told),
                moved(torch.from_numpy(features[which]), device),
                moved(evidence, device),
                moved(texts, device),
            )
            # Not asked for yet: while a device computes, the next are prepared.
            told_logits.append(logits)
            task.advance(len(which))
        out[:] = torch.cat(told_logits).cpu().numpy()
    out[items < 0] = -np.inf
    return out


@dataclass(frozen=True)
class _Source:
    """Where the model reads candidates from.

    Parameters
    ----------
    model, tables
        The classifier and what it reads of items.
    places
        Numbers of the candidates' items, or where they stand in `digests`, ``int64 (n, m)``.
    digests
        Digests of the items; without, candidates are read token by token.
    """

    model: RankerModel
    tables: ItemTables
    places: npt.NDArray[np.int64]
    digests: ItemDigests | None

    @classmethod
    def of(
        cls,
        model: RankerModel,
        tables: ItemTables,
        items: npt.NDArray[np.int64],
        digests: ItemDigests | None,
    ) -> _Source:
        """Return the source for candidates ``(n, m)``; padding reads item 0.

        Where no digests are stored, but could be, and few items make up many candidates, those are
        digested first.
        """
        places = np.maximum(items, 0)
        stored = isinstance(digests, (Digests, PlacedDigests))
        if not stored and model.shape.joint_layers == 1 and items.size > FEW_CANDIDATES:
            distinct, where = np.unique(places, return_inverse=True)
            if len(distinct) <= min(items.size / 2, MOST_DIGESTED):
                # Those on demand know the model in single precision, whatever runtime serves.
                digests = (
                    digests.made(distinct)
                    if isinstance(digests, DigestsOnDemand)
                    else digest_items(model, tables, distinct, form="single")
                )
                places = where.reshape(items.shape)
        return cls(model, tables, places, digests)

    @property
    def chunk_pairs(self) -> int:
        """How many candidates to read at once."""
        if self.model.device == CPU:
            return TOKENS_AT_ONCE if self.digests is None else DIGESTS_AT_ONCE
        if self.digests is not None:
            return DIGESTS_ON_DEVICE
        shape = self.model.shape.backbone
        # States before and after, in single precision; the widest product, in half, and the next.
        a_token = 4 * 4 * shape.hidden + 2 * 3 * shape.intermediate
        tokens = self.tables.tokens.lengths(self.places).mean() + 1
        return max(1, int(BYTES_ON_DEVICE / (a_token * tokens)))

    def read(self, which: npt.NDArray[np.int64]) -> Blocks | Digest:
        """Return what the model reads of the candidates of queries at `which`."""
        places, device = self.places[which].ravel(), self.model.device
        if self.digests is not None:
            return moved(self.digests.of(places), device)
        states, lengths = self.tables.token_states(places, self.model.backbone)
        soft = moved(self.tables.soft(places), device)
        return self.model.blocks(moved(states, device), lengths, soft)


@dataclass(frozen=True)
class _Histories:
    """Makes of histories what candidates look at, or takes it from an earlier request."""

    model: RankerModel
    tables: ItemTables
    digests: ItemDigests | None
    kept: MemoryCache | None

    def memory(
        self, queries: Queries, as_text: Sequence[npt.NDArray[np.int32]] | None
    ) -> HistoryMemory:
        """Return the memory of queries."""
        if self.kept is None:
            return self._made(queries, as_text)
        keys = history_keys(queries, as_text, self.tables.editions)
        found = [self.kept.get(key) for key in keys]
        missing = np.array([n for n, one in enumerate(found) if one is None], dtype=np.int64)
        if len(missing):
            texts = None if as_text is None else [as_text[n] for n in missing]
            every = len(missing) == len(queries)
            made = self._made(queries if every else queries.take(missing), texts)
            for row, number in enumerate(missing):
                found[number] = own = made.row(row)
                self.kept.put(keys[number], own)
        return HistoryMemory.joined([one for one in found if one is not None])

    def _made(
        self, queries: Queries, as_text: Sequence[npt.NDArray[np.int32]] | None
    ) -> HistoryMemory:
        history = history_batch(
            queries,
            self.tables,
            max_history=self.model.shape.max_history,
            as_text=as_text,
            soft_of=None if self.digests is None else self.digests.soft_of,
        )
        return self.model.remember(moved(history, self.model.device))


def head_logits(
    head: EvidenceHead | EvidenceHeads, tables: ItemTables, queries: Queries, candidates: Candidates
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
    longest = head.max_history
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
