"""Answers of one kind to the same queries, side by side, looked through in one go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from twofold.retrieval.answers import Answer, DenseAnswer, NearAnswer, SparseAnswer
from twofold.retrieval.relating import best_touched, read_touched

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]


class Board(Protocol):
    """One or several answers to the same queries."""

    def proposals(self, k: int) -> Int32s:
        """Return the best `k` items of each answer to each query, as of :meth:`Answer.top`.

        In no order, -1 where there is none, ``int32 (n_answers, n, at most k)``.
        """
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
    out: list[tuple[list[int], Board]] = []
    kin: dict[int, list[int]] = {}
    for number, one in enumerate(answers):
        if isinstance(one, DenseAnswer):
            out.append(([number], DenseBoard(one)))
        elif isinstance(one, NearAnswer):
            out.append(([number], NearBoard(one)))
        elif isinstance(one, SparseAnswer):
            kin.setdefault(id(one.values), []).append(number)
        else:
            out.append(([number], SingleBoard(one)))
    for numbers in kin.values():
        same = [one for one in (answers[n] for n in numbers) if isinstance(one, SparseAnswer)]
        out.append((numbers, SparseBoard(same)))
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

    def proposals(self, k: int) -> Int32s:
        """Return the best `k` items for each query."""
        return self._answer.top(k)[0].astype(np.int32)[None]

    def at(self, items: Int64s) -> Floats:
        """Return what the answer says of given items, ``float32 (1, n, m)``."""
        return self._answer.at(items)[None]


class DenseBoard:
    """A dense answer, whose scores of what may not be proposed are struck out for good.

    Parameters
    ----------
    answer
        The answer; nobody else may read it any more.
    """

    def __init__(self, answer: DenseAnswer) -> None:
        self._answer = answer

    def proposals(self, k: int) -> Int32s:
        """Return the best `k` items for each query."""
        return self._answer.chosen(self._answer.scores, k)[None]

    def at(self, items: Int64s) -> Floats:
        """Return what the answer says of given items."""
        return self._answer.at(items)[None]


class NearBoard(SingleBoard):
    """An answer that knows scores nearly, which are struck out for good.

    Parameters
    ----------
    answer
        The answer; nobody else may read it any more.
    """

    def __init__(self, answer: NearAnswer) -> None:
        super().__init__(answer)
        self._near = answer

    def proposals(self, k: int) -> Int32s:
        """Return the best `k` items for each query."""
        return self._near.chosen(self._near.near, k)[0].astype(np.int32)[None]


class SparseBoard:
    """Sparse answers from one table.

    Parameters
    ----------
    answers
        At least one, all of the same items.
    """

    def __init__(self, answers: Sequence[SparseAnswer]) -> None:
        self._first, self._views = answers[0], [one.view for one in answers]
        self._n_items = answers[0].admission.excluded.shape[1]

    def proposals(self, k: int) -> Int32s:
        """Return the best `k` items of each answer to each query."""
        one, k = self._first, min(k, self._n_items)
        found = best_touched(one.touched, one.values, k, one.admission.barred, self._n_items)
        return np.asarray(found[self._views])

    def at(self, items: Int64s) -> Floats:
        """Return what each answer says of given items."""
        one = self._first
        return np.asarray(read_touched(one.touched, one.values, items, self._n_items)[self._views])
