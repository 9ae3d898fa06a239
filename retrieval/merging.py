"""What all sources propose to a query, each item once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from twofold.indexing.compiled import compiled
from twofold.indexing.tracing import UNTRACED, Tracer
from twofold.retrieval.admission import Admission
from twofold.retrieval.answers import Answer
from twofold.retrieval.boards import boards_of

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
UInt32s = npt.NDArray[np.uint32]
SOURCE_BITS = 5  # of what says who proposed an item: as many sources as a source bit can be of
NOBODY = np.iinfo(np.int64).max


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

    items: Int64s
    proposed: UInt32s
    scores: npt.NDArray[np.float32]


def merge(
    answers: Sequence[Answer],
    admission: Admission,
    per_source: int,
    *,
    least: int = 0,
    also: Int64s | None = None,
    tracer: Tracer = UNTRACED,
) -> Merged:
    """Return what sources propose to queries, each item once.

    Parameters
    ----------
    answers
        What each source says; not to be read afterwards.
    admission
        What may be proposed.
    per_source
        How many proposals of each source are taken.
    least
        Rows hold at least so many items wherever as many may be proposed.
    also
        As of :func:`with_asked`; ``None`` asks for none.
    tracer
        Told of what each source proposes and says, and of the union.
    """
    n, n_items = admission.excluded.shape
    boards = boards_of(answers)
    told = np.full((len(answers), n, min(per_source, n_items)), -1, dtype=np.int32)
    for numbers, board in boards:
        with tracer.span("propose", numbers):
            found = board.proposals(per_source)
        told[numbers, :, : found.shape[2]] = found
    with tracer.span("unite"):
        items, proposed = _united(told)
        if also is not None:
            items, proposed = with_asked(items, proposed, admission, also)
        items, proposed = filled(items, proposed, admission, least)
    scores = np.empty((len(answers), *items.shape), dtype=np.float32)
    for numbers, board in boards:
        with tracer.span("look up", numbers):
            scores[numbers] = board.at(items)
    return Merged(items, proposed, scores)


def with_asked(
    items: Int64s, proposed: UInt32s, admission: Admission, also: Int64s
) -> tuple[Int64s, UInt32s]:
    """Return rows that hold items asked for, behind the others where no source proposed them.

    Parameters
    ----------
    items, proposed
        As of :func:`filled`.
    admission
        What may be proposed; what may not is left out.
    also
        The items asked for, -1 for none, ``int64 (n, w)``; distinct within a row.
    """
    rows = np.broadcast_to(np.arange(len(items))[:, None], also.shape)
    there = (items[:, :, None] == also[:, None, :]).any(axis=1)
    new = ~there & ~admission.bars(rows, np.maximum(also, 0))
    out = np.concatenate([items, np.where(new, also, -1)], axis=1)
    told = np.pad(proposed, ((0, 0), (0, also.shape[1])))
    order = np.argsort(out < 0, axis=1, kind="stable")
    order = order[:, : int(np.count_nonzero(out >= 0, axis=1).max(initial=0))]
    return np.take_along_axis(out, order, axis=1), np.take_along_axis(told, order, axis=1)


def filled(
    items: Int64s, proposed: UInt32s, admission: Admission, least: int
) -> tuple[Int64s, UInt32s]:
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
    if not len(short):
        return items, proposed
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


def _united(told: Int32s) -> tuple[Int64s, UInt32s]:
    """Return the union of proposals ``(n_sources, n, k)``, ascending, and who proposed each.

    Each proposal is a number that holds item and source, and those are sorted where they stand.
    """
    n_sources, n, k = told.shape
    pairs = np.full((n, n_sources * k), NOBODY, dtype=np.int64)
    _paired(told, pairs)
    pairs.sort(axis=1)
    return _parted(pairs)


@compiled
def _paired(told: Int32s, pairs: Int64s) -> None:
    n_sources, n, k = told.shape
    for query in range(n):
        for source in range(n_sources):
            some, out = told[source, query], pairs[query, source * k : (source + 1) * k]
            for place in range(k):
                if some[place] < 0:
                    break
                out[place] = (np.int64(some[place]) << SOURCE_BITS) | source


@compiled
def _parted(pairs: Int64s) -> tuple[Int64s, UInt32s]:
    n, m = pairs.shape
    items = np.full((n, m), -1, dtype=np.int64)
    proposed = np.zeros((n, m), dtype=np.uint32)
    width = 0
    for query in range(n):
        row, last = pairs[query], -1
        for place in range(m):
            if row[place] == NOBODY:
                break
            item = row[place] >> SOURCE_BITS
            if last < 0 or items[query, last] != item:
                last += 1
                items[query, last] = item
            source = np.uint32(row[place] & ((1 << SOURCE_BITS) - 1))
            proposed[query, last] |= np.uint32(1) << source
        width = max(width, last + 1)
    return items[:, :width].copy(), proposed[:, :width].copy()
