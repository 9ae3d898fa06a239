"""Answers of one kind to the same queries, side by side, looked through in one go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from twofold.retrieval.answers import Answer, DenseAnswer, SparseAnswer

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]


class Proposals(NamedTuple):
    """What answers propose, in no order: number of the answer, query and item, ``int64 (m,)``."""

    answers: Int64s
    queries: Int64s
    items: Int64s


class Board(Protocol):
    """One or several answers to the same queries."""

    def proposals(self, k: int) -> Proposals:
        """Return the best `k` items of each answer to each query, as of :meth:`Answer.top`."""
        ...

    def at(self, items: Int64s) -> Floats:
        """Return what each answer says of given items.

        Parameters
        ----------
        items
            Items that may be proposed, ``int64 (n, m)``, -1 at padding.

        Returns
        -------
        numpy.ndarray
            ``float32 (n_answers, n, m)``; anything at padding.
        """
        ...


def boards_of(answers: Sequence[Answer]) -> list[tuple[list[int], Board]]:
    """Return all answers on boards, each with the numbers of its answers."""
    dense: list[tuple[int, DenseAnswer]] = []
    sparse: list[tuple[int, SparseAnswer]] = []
    out: list[tuple[list[int], Board]] = []
    for number, one in enumerate(answers):
        if isinstance(one, DenseAnswer):
            dense.append((number, one))
        elif isinstance(one, SparseAnswer):
            sparse.append((number, one))
        else:
            out.append(([number], SingleBoard(one)))
    if dense:
        out.append(([number for number, _ in dense], DenseBoard([one for _, one in dense])))
    if sparse:
        out.append(([number for number, _ in sparse], SparseBoard([one for _, one in sparse])))
    return out


class SingleBoard:
    """One answer of any kind.

    Parameters
    ----------
    answer
        The answer.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def proposals(self, k: int) -> Proposals:
        """Return the best `k` items for each query."""
        items = self._answer.top(k)[0]
        queries, places = np.nonzero(items >= 0)
        return Proposals(np.zeros_like(queries), queries, items[queries, places])

    def at(self, items: Int64s) -> Floats:
        """Return what the answer says of given items, ``float32 (1, n, m)``."""
        return self._answer.at(items)[None]


class DenseBoard:
    """Dense answers.

    Parameters
    ----------
    answers
        At least one, all under one admission.
    """

    def __init__(self, answers: Sequence[DenseAnswer]) -> None:
        # What may not be proposed is struck out for good: none of it will be asked for.
        self._scores = np.stack([one.scores for one in answers])
        answers[0].admission.strike(self._scores)
        n_answers, n, _ = self._scores.shape
        self._least = np.empty((n_answers, n, 1), dtype=np.float32)
        for number, one in enumerate(answers):
            self._least[number] = one.least
            if one.silent is not None:
                self._least[number, one.silent] = np.inf

    def proposals(self, k: int) -> Proposals:
        """Return the best `k` items of each answer to each query."""
        scores, n_items = self._scores, self._scores.shape[2]
        k = min(k, n_items)
        chosen = scores > self._least
        if k < n_items and scores.size:
            cut = np.partition(scores, n_items - k, axis=2)[:, :, n_items - k, None]
            chosen &= scores >= cut
            # Of those tied at the cut, the last by number are too many.
            for answer, query in np.argwhere(np.count_nonzero(chosen, axis=2) > k):
                row = chosen[answer, query]
                tied = np.flatnonzero(row & (scores[answer, query] == cut[answer, query]))
                row[tied[k - np.count_nonzero(row) :]] = False
        rows, items = np.divmod(np.flatnonzero(chosen), n_items)
        return Proposals(*np.divmod(rows, max(1, scores.shape[1])), items)

    def at(self, items: Int64s) -> Floats:
        """Return what each answer says of given items."""
        n_answers, n, n_items = self._scores.shape
        place = np.arange(n)[:, None] * n_items + np.maximum(items, 0)
        return self._scores.reshape(n_answers, n * n_items)[:, place]


class SparseBoard:
    """Sparse answers; those from one table have the same keys, which are looked at once.

    Parameters
    ----------
    answers
        At least one, all under one admission.
    """

    def __init__(self, answers: Sequence[SparseAnswer]) -> None:
        self._answers, self._admission = answers, answers[0].admission
        kin: dict[int, list[int]] = {}
        for number, one in enumerate(answers):
            kin.setdefault(id(one.keys), []).append(number)
        self._tables = list(kin.values())

    def proposals(self, k: int) -> Proposals:
        """Return the best `k` items of each answer to each query."""
        n, n_items = self._admission.excluded.shape
        parts = []
        for numbers in self._tables:
            keys = self._answers[numbers[0]].keys
            queries, items = np.divmod(keys, n_items)
            open_ones = ~self._admission.bars(queries, items)
            for number in numbers:
                values = self._answers[number].values
                kept = np.flatnonzero(open_ones & (values > 0))
                parts.append((number * n + queries[kept], items[kept], values[kept]))
        rows, items, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
        counts = np.bincount(rows, minlength=len(self._answers) * n)
        if (counts > k).any():
            # Only what is too much needs an order; among ties the lower items stay.
            long = counts[rows] > k
            crowd, short = np.flatnonzero(long), np.flatnonzero(~long)
            crowd = crowd[np.lexsort((items[crowd], -scores[crowd], rows[crowd]))]
            own = np.bincount(rows[crowd], minlength=len(counts))
            place = np.arange(len(crowd)) - np.repeat(np.cumsum(own) - own, own)
            kept = np.concatenate([short, crowd[place < k]])
            rows, items = rows[kept], items[kept]
        return Proposals(*np.divmod(rows, max(1, n)), items)

    def at(self, items: Int64s) -> Floats:
        """Return what each answer says of given items."""
        out = np.empty((len(self._answers), *items.shape), dtype=np.float32)
        for numbers in self._tables:
            place, there = self._answers[numbers[0]].places(items)
            for number in numbers:
                out[number] = self._answers[number].read(place, there)
        return out
