"""Stage one: ask every source, merge what they propose, standardise, and put it in order."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import InputError
from twofold.indexing.progress import Progress, Silent
from twofold.indexing.tracing import UNTRACED, Tracer
from twofold.retrieval.candidates import Candidates, rank
from twofold.retrieval.features import feature_names, standardise
from twofold.retrieval.fusion import Fusion
from twofold.retrieval.merging import filled, merge, with_asked
from twofold.retrieval.queries import Queries
from twofold.retrieval.sources import Source, answers_of

# Queries that are answered together: few enough that the scores of all items, where they are
# written out, stay near the processor, many enough that the steps between cost little.
CHUNK_SCORES = 1 << 20
MOST_CHUNK = 128


@dataclass(frozen=True)
class Retriever:
    """Sources with a fusion.

    Parameters
    ----------
    sources
        Sources for queries with a history, in the order of the features and of the source bits.
    default
        The source that answers queries without history and text.
    fusion
        The order of merged candidates.
    per_source
        How many candidates each source proposes.
    text_query
        Answers queries that are a text; ``None`` where there is no encoder.
    """

    sources: tuple[Source, ...]
    default: Source
    fusion: Fusion
    per_source: int = 100
    text_query: Source | None = None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the candidates' features."""
        return feature_names([source.name for source in self.sources])

    @property
    def source_names(self) -> tuple[str, ...]:
        """Names behind the bits of ``Candidates.sources``; the last is that of text queries."""
        return (*(source.name for source in self.sources), "text_query")

    def with_fusion(self, fusion: Fusion) -> Retriever:
        """Return the same sources under another fusion."""
        return replace(self, fusion=fusion)

    def retrieve(
        self,
        queries: Queries,
        k: int | None,
        *,
        least: int = 0,
        also: npt.NDArray[np.int64] | None = None,
        features: bool = True,
        threads: int = 1,
        progress: Progress | None = None,
        tracer: Tracer = UNTRACED,
    ) -> Candidates:
        """Return the best `k` merged candidates a query, with features and source bits.

        A query with a history is answered by all sources under the fusion; one that is a text by
        the text source; one with neither by what trends. A row does not depend on other rows.

        Parameters
        ----------
        queries
            ``n`` queries.
        k
            Length of the rows; ``None`` returns all that was merged.
        least
            Rows hold at least so many candidates, at most `k`, wherever as many items may be
            proposed: sources are asked for as many, and what none of them proposes follows in order
            of item numbers.
        also
            Items that are merged wherever they may be proposed, whether a source does or not, -1
            for none, ``int64 (n, w)``.
        features
            Whether the candidates' features are wanted: those of a million users take much memory.
        threads
            Cores to use; the answer is the same with any number.
        progress
            Told of every chunk.
        tracer
            Told of every part of the work.

        Raises
        ------
        InputError
            If `k` is below 1, or a query is a text and there is no text source.
        """
        if k is not None and k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        step = min(max(1, CHUNK_SCORES // max(1, queries.n_items)), MOST_CHUNK)

        def found(part: Queries, rows: npt.NDArray[np.int64]) -> Candidates:
            asked = None if also is None else also[rows]
            whole = self._chunk(part, k, least, asked, tracer)
            return whole if features else replace(whole, features=None)

        if 0 < len(queries) <= step:
            with (progress or Silent()).step("retrieve", total=len(queries)) as task:
                told = found(queries, np.arange(len(queries)))
                task.advance(len(queries))
            return told
        # Those whose histories end alike stand together: what they ask for is met once.
        order = np.argsort(queries.latest(), kind="stable")
        chunks = [order[start : start + step] for start in range(0, len(order), step)]
        with (
            (progress or Silent()).step("retrieve", total=len(queries)) as task,
            ThreadPoolExecutor(threads) as pool,
        ):
            parts = []
            for part in pool.map(lambda one: found(queries.take(one), one), chunks):
                parts.append(part)
                task.advance(part.n_queries)
        return _stacked(parts, k or 1, len(self.feature_names)).take(np.argsort(order))

    def _chunk(
        self,
        queries: Queries,
        k: int | None,
        least: int,
        also: npt.NDArray[np.int64] | None,
        tracer: Tracer,
    ) -> Candidates:
        spoken = np.zeros(len(queries), dtype=bool)
        if queries.texts is not None:
            spoken = np.array([bool(text.strip()) for text in queries.texts])
        if spoken.any() and self.text_query is None:
            raise InputError(
                "a query is a text, but no text encoder was given; give one or ask with a history"
            )
        history = (queries.lengths() > 0) & ~spoken
        groups = (
            (np.flatnonzero(history), None),
            (np.flatnonzero(spoken), self.text_query),
            (np.flatnonzero(~history & ~spoken), self.default),
        )
        parts, order = [], []
        for rows, source in groups:
            if not len(rows):
                continue
            order.append(rows)
            part = queries if len(rows) == len(queries) else queries.take(rows)
            asked = None if also is None else also[rows]
            if source is None:
                parts.append(self._fused(part, k, least, asked, tracer))
            else:
                with tracer.span("single source"):
                    parts.append(self._single(part, source, k, least, asked))
        if len(parts) == 1:
            return parts[0]
        stacked = _stacked(parts, k or 1, len(self.feature_names))
        return stacked.take(np.argsort(np.concatenate(order)))

    def _fused(
        self,
        queries: Queries,
        k: int | None,
        least: int,
        also: npt.NDArray[np.int64] | None,
        tracer: Tracer,
    ) -> Candidates:
        answers = answers_of(self.sources, queries, tracer)
        per_source = max(self.per_source, least)
        items, proposed, told = merge(
            answers, queries.admission, per_source, least=least, also=also, tracer=tracer
        )
        with tracer.span("features"):
            features = standardise(told, proposed, np.count_nonzero(items >= 0, axis=1))
        with tracer.span("fusion"):
            scores = np.where(items >= 0, self.fusion.score(features), -np.inf).astype(np.float32)
        width = items.shape[1] if k is None else k
        with tracer.span("order"):
            return rank(items, scores, max(1, width), features=features, sources=proposed)

    def _single(
        self,
        queries: Queries,
        source: Source,
        k: int | None,
        least: int,
        also: npt.NDArray[np.int64] | None,
    ) -> Candidates:
        answer = source.answer(queries)
        items, scores = answer.top(k or max(self.per_source, least))
        names = self.source_names
        bit = names.index(source.name) if source.name in names else len(names) - 1
        proposed = np.where(items >= 0, np.uint32(1 << bit), np.uint32(0)).astype(np.uint32)
        if also is not None:
            items, proposed = with_asked(items, proposed, queries.admission, also)
        items, proposed = filled(items, proposed, queries.admission, least)
        scores = np.pad(scores, ((0, 0), (0, items.shape[1] - scores.shape[1])))
        rest = np.where(items >= 0, answer.at(items), np.float32(-np.inf))
        scores = np.where(proposed > 0, scores, rest)
        features = np.zeros((*items.shape, len(self.feature_names)), dtype=np.float32)
        width = items.shape[1] if k is None else k
        return rank(items, scores, max(1, width), features=features, sources=proposed)


def _stacked(parts: Sequence[Candidates], k: int, n_features: int) -> Candidates:
    """Return the rows of all parts, padded to the widest."""
    if not parts:
        empty = np.zeros((0, k), dtype=np.int64)
        nothing = np.zeros((0, k, n_features), dtype=np.float32)
        return Candidates(empty, empty.astype("f4"), nothing, empty.astype(np.uint32))
    if len(parts) == 1:
        return parts[0]
    width = max(part.k for part in parts)
    padded = [part.padded(width) for part in parts]
    features = [one.features for one in padded if one.features is not None]
    return Candidates(
        np.concatenate([one.items for one in padded]),
        np.concatenate([one.scores for one in padded]),
        np.concatenate(features) if features else None,
        np.concatenate([one.sources for one in padded if one.sources is not None]),
    )
