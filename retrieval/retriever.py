"""Stage one: ask every source, merge what they propose, standardise, and put it in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import InputError
from twofold.indexing.progress import Progress, Silent
from twofold.retrieval.admission import Admission
from twofold.retrieval.answers import Answer
from twofold.retrieval.boards import Proposals, boards_of
from twofold.retrieval.candidates import Candidates, rank
from twofold.retrieval.features import feature_names, standardise
from twofold.retrieval.fusion import Fusion
from twofold.retrieval.queries import Queries
from twofold.retrieval.sources import WRITTEN_OUT, Source, answers_of

# Scores of all sources that are held at once, where they are written out: about 16 MB.
CHUNK_SCORES = 4_000_000
CHUNK_QUERIES = 256  # where they are not
# Bits of what says who proposed an item.
MOST_SOURCES = 32


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
        progress: Progress | None = None,
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
        progress
            Told of every chunk.

        Raises
        ------
        InputError
            If `k` is below 1, or a query is a text and there is no text source.
        """
        if k is not None and k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        step = max(1, CHUNK_SCORES // max(1, queries.n_items * len(self.sources)))
        if queries.n_items > WRITTEN_OUT:
            step = CHUNK_QUERIES
        parts = []
        with (progress or Silent()).step("retrieve", total=len(queries)) as task:
            for start in range(0, len(queries), step):
                which = np.arange(start, min(start + step, len(queries)))
                part = queries if len(which) == len(queries) else queries.take(which)
                parts.append(self._chunk(part, k, least))
                task.advance(len(which))
        return _stacked(parts, k or 1, len(self.feature_names))

    def _chunk(self, queries: Queries, k: int | None, least: int) -> Candidates:
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
            if source is None:
                parts.append(self._fused(part, k, least))
            else:
                parts.append(self._single(part, source, k, least))
        if len(parts) == 1:
            return parts[0]
        stacked = _stacked(parts, k or 1, len(self.feature_names))
        return stacked.take(np.argsort(np.concatenate(order)))

    def _fused(self, queries: Queries, k: int | None, least: int) -> Candidates:
        answers = answers_of(self.sources, queries)
        per_source = max(self.per_source, least)
        items, proposed, told = merge(answers, queries.admission, per_source, least=least)
        features = standardise(told, proposed, items >= 0)
        scores = np.where(items >= 0, self.fusion.score(features), -np.inf).astype(np.float32)
        width = items.shape[1] if k is None else k
        return rank(items, scores, max(1, width), features=features, sources=proposed)

    def _single(self, queries: Queries, source: Source, k: int | None, least: int) -> Candidates:
        answer = source.answer(queries)
        items, scores = answer.top(k or max(self.per_source, least))
        names = self.source_names
        bit = names.index(source.name) if source.name in names else len(names) - 1
        proposed = np.where(items >= 0, np.uint32(1 << bit), np.uint32(0)).astype(np.uint32)
        items, proposed = _filled(items, proposed, queries.admission, least)
        scores = np.pad(scores, ((0, 0), (0, items.shape[1] - scores.shape[1])))
        filled = np.where(items >= 0, answer.at(items), np.float32(-np.inf))
        scores = np.where(proposed > 0, scores, filled)
        features = np.zeros((*items.shape, len(self.feature_names)), dtype=np.float32)
        width = items.shape[1] if k is None else k
        return rank(items, scores, max(1, width), features=features, sources=proposed)


class Merged(NamedTuple):
    """The union of all proposals a query.

    Parameters
    ----------
    items
        In ascending order, then what no source proposed, -1 at the end, ``int64 (n, m)``.
    proposed
        Bit ``s`` is set where source ``s`` proposed the item, ``uint32 (n, m)``.
    scores
        What every source says of them, ``float32 (n_sources, n, m)``.
    """

    items: npt.NDArray[np.int64]
    proposed: npt.NDArray[np.uint32]
    scores: npt.NDArray[np.float32]


def merge(
    answers: Sequence[Answer], admission: Admission, per_source: int, *, least: int = 0
) -> Merged:
    """Return what sources propose to queries, each item once.

    Parameters
    ----------
    answers
        What each source says.
    admission
        What may be proposed.
    per_source
        How many proposals of each source are taken.
    least
        Rows hold at least so many items wherever as many may be proposed.
    """
    boards, told = boards_of(answers), []
    for numbers, board in boards:
        found = board.proposals(per_source)
        told.append(found._replace(answers=np.array(numbers)[found.answers]))
    items, proposed = _united(told, admission.excluded.shape[0])
    items, proposed = _filled(items, proposed, admission, least)
    scores = np.empty((len(answers), *items.shape), dtype=np.float32)
    for numbers, board in boards:
        scores[numbers] = board.at(items)
    return Merged(items, proposed, scores)


def _united(
    told: Sequence[Proposals], n: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """Return the union of proposals to `n` queries."""
    sources, queries, found = (np.concatenate(part) for part in zip(*told, strict=True))
    width = int(found.max(initial=0)) + 1
    # One sort of plain numbers: query, item and source in the digits of one.
    sorts = np.sort((queries * width + found) * MOST_SOURCES + sources)
    keys, bits = sorts // MOST_SOURCES, np.uint32(1) << (sorts % MOST_SOURCES).astype(np.uint32)
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    keys = keys[starts]
    counts = np.bincount(keys // width, minlength=n)
    place = np.arange(len(keys)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = (n, int(counts.max(initial=0)))
    items, proposed = np.full(shape, -1, dtype=np.int64), np.zeros(shape, dtype=np.uint32)
    if len(keys):
        items[keys // width, place] = keys % width
        proposed[keys // width, place] = np.bitwise_or.reduceat(bits, starts)
    return items, proposed


def _filled(
    items: npt.NDArray[np.int64],
    proposed: npt.NDArray[np.uint32],
    admission: Admission,
    least: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """Return rows of at least so many items, where as many may be proposed; no source's are last.

    Parameters
    ----------
    items
        Item numbers, -1 at the end, ``int64 (n, m)``.
    proposed
        The sources that proposed them, ``uint32 (n, m)``.
    admission
        What may be proposed.
    least
        The length to fill up to.
    """
    counts = np.count_nonzero(items >= 0, axis=1)
    short = np.flatnonzero(counts < least)
    more = {
        row: np.setdiff1d(admission.open(row), items[row, :count], assume_unique=True)[
            : least - count
        ]
        for row, count in zip(short.tolist(), counts[short].tolist(), strict=True)
    }
    width = max((counts[row] + len(new) for row, new in more.items()), default=0)
    gap = ((0, 0), (0, max(0, width - items.shape[1])))
    items, proposed = np.pad(items, gap, constant_values=-1), np.pad(proposed, gap)
    for row, new in more.items():
        items[row, counts[row] : counts[row] + len(new)] = new
    return items, proposed


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
    return Candidates(
        np.concatenate([one.items for one in padded]),
        np.concatenate([one.scores for one in padded]),
        np.concatenate([one.needed_features() for one in padded]),
        np.concatenate([one.sources for one in padded if one.sources is not None]),
    )
