"""How strongly any item of a history goes with any candidate: counted, smoothed, regressed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from twofold.indexing.compiled import compiled
from twofold.indexing.errors import InputError

if TYPE_CHECKING:
    from twofold.indexing.artefact import Generation, GenerationWriter

Floats = npt.NDArray[np.float32]
RANK = 64
REGRESSION_RANK = 128
# In units of the interactions an item has on average.
RIDGE = 3.0


@dataclass(frozen=True)
class LowRank:
    """Relations of low rank, in which items are related that were never seen together.

    Parameters
    ----------
    left, right
        Sides of all relations, one behind the other: within the columns of a relation its strength
        from item ``i`` to item ``j`` is ``left[i] . right[j]``, ``float16 (n_items, r)``.
    ranks
        Columns of each relation; they add up to ``r``.
    """

    left: npt.NDArray[np.float16]
    right: npt.NDArray[np.float16]
    ranks: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.left.shape == self.right.shape == (len(self.left), sum(self.ranks)):
            raise InputError("LowRank: both sides must have one column a rank")

    @classmethod
    def joined(cls, parts: Sequence[LowRank]) -> LowRank:
        """Return the relations of several as one, in order."""
        return cls(
            np.concatenate([one.left for one in parts], axis=1),
            np.concatenate([one.right for one in parts], axis=1),
            tuple(rank for one in parts for rank in one.ranks),
        )


@dataclass(frozen=True)
class Relations:
    """Relations from items of a history to candidates.

    Parameters
    ----------
    counted
        The relations as stage one counted them, ``float32 (n_items, n_items)``, indices sorted.
    scales
        What the entries of each are divided by, so that a refit means the same.
    low_rank
        Each of them smoothed, already divided, and last how much having taken the one item tells of
        taking the other when all else that was taken is known: see :func:`regression`.
    """

    counted: tuple[sp.csr_matrix, ...]
    scales: tuple[float, ...]
    low_rank: LowRank

    def __post_init__(self) -> None:
        if not len(self.counted) == len(self.scales) == len(self.low_rank.ranks) - 1:
            raise InputError(
                "Relations: one scale and one smoothed form a relation were expected, and one "
                "regression"
            )

    @classmethod
    def of(
        cls,
        matrices: Sequence[sp.csr_matrix],
        taken: sp.csr_matrix,
        *,
        seed: int,
        rank: int = RANK,
        regression_rank: int = REGRESSION_RANK,
        threads: int = 1,
    ) -> Relations:
        """Return the relations of counted matrices, and the regression of items on items.

        The scale of each counted one is the root mean square of its entries; the smoothed form is
        its truncated singular value decomposition (randomised, Halko et al. 2011).

        Parameters
        ----------
        matrices
            ``float32 (n_items, n_items)``, from the history's item to the candidate.
        taken
            What users took, nonzero where they did, ``(n_users, n_items)``.
        seed
            Seeds the decompositions.
        rank, regression_rank
            Ranks of the smoothed forms and of the regression, less where there are fewer items.
        threads
            Decompositions at a time; for speed alone, the bits do not depend on it.
        """
        scales = tuple(_scale(matrix) for matrix in matrices)
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
            told = pool.submit(regression, taken, regression_rank, seed=seed)
            smooth = partial(_smoothed, rank=rank, seed=seed)
            smoothed = list(pool.map(smooth, matrices, scales))
        return cls(tuple(matrices), scales, LowRank.joined([*smoothed, told.result()]))

    @property
    def width(self) -> int:
        """How many strengths there are a pair: two a counted relation, and the regression's."""
        return 2 * len(self.counted) + 1

    def between(
        self,
        history: npt.NDArray[np.int64],
        there: npt.NDArray[np.bool_],
        candidates: npt.NDArray[np.int64],
    ) -> Floats:
        """Return the strengths from history items to candidates, ``float32 (B, H, m, width)``.

        Parameters
        ----------
        history
            Items of ``B`` histories, ``int64 (B, H)``.
        there
            True at events, ``bool (B, H)``; other places get 0.
        candidates
            Candidates of each, ``int64 (B, m)``; those below 0 get 0.
        """
        out = np.zeros((*history.shape, candidates.shape[1], self.width), dtype=np.float32)
        if not out.size:
            return out
        self._count(out, history, there, candidates, step=2)
        # All forms are gathered at once: half of the time of a single query went to asking apart.
        left = self.low_rank.left[history].astype(np.float32)
        left[~there] = 0.0
        right = self.low_rank.right[np.maximum(candidates, 0)].astype(np.float32)
        right[candidates < 0] = 0.0
        right = right.transpose(0, 2, 1)
        start = 0
        for number, rank in enumerate(self.low_rank.ranks):
            stop = start + rank
            out[..., self.column(number)] = left[..., start:stop] @ right[:, start:stop]
            start = stop
        return out

    def column(self, number: int) -> int:
        """Return which strength of a pair a form of low rank gives: that behind its entry."""
        return min(2 * number + 1, self.width - 1)

    def entries(
        self,
        history: npt.NDArray[np.int64],
        there: npt.NDArray[np.bool_],
        candidates: npt.NDArray[np.int64],
    ) -> Floats:
        """Return the counted strengths alone, ``float32 (B, H, m, n_counted)``.

        Parameters as of :meth:`between`.
        """
        shape = (*history.shape, candidates.shape[1], len(self.counted))
        out = np.zeros(shape, dtype=np.float32)
        if out.size:
            self._count(out, history, there, candidates, step=1)
        return out

    def _count(
        self,
        out: Floats,
        history: npt.NDArray[np.int64],
        there: npt.NDArray[np.bool_],
        candidates: npt.NDArray[np.int64],
        *,
        step: int,
    ) -> None:
        """Write the counted strengths into every `step`-th place of `out`."""
        order = np.argsort(candidates, axis=1, kind="stable")
        rising = np.take_along_axis(candidates, order, axis=1)
        for number, (matrix, scale) in enumerate(zip(self.counted, self.scales, strict=True)):
            table = matrix.indptr, matrix.indices, matrix.data
            _looked_up(*table, np.float32(scale), history, there, order, rising, out, step * number)

    def save(self, writer: GenerationWriter) -> None:
        """Write scales and low-rank forms under ``ranker/relations``; stage one has the counts."""
        writer.put_json("ranker/relations/scales", list(self.scales))
        writer.put_json("ranker/relations/ranks", list(self.low_rank.ranks))
        writer.put_array("ranker/relations/left", self.low_rank.left)
        writer.put_array("ranker/relations/right", self.low_rank.right)

    @classmethod
    def open(cls, generation: Generation, counted: Sequence[sp.csr_matrix]) -> Relations:
        """Return what :meth:`save` wrote; its arrays are memory-mapped."""
        scales = tuple(float(one) for one in generation.json("ranker/relations/scales"))
        low_rank = LowRank(
            generation.array("ranker/relations/left"),
            generation.array("ranker/relations/right"),
            tuple(int(one) for one in generation.json("ranker/relations/ranks")),
        )
        return cls(tuple(counted), scales, low_rank)


def _scale(matrix: sp.csr_matrix) -> float:
    return float(np.sqrt(np.mean(np.square(matrix.data)))) if matrix.nnz else 1.0


def _smoothed(matrix: sp.csr_matrix, scale: float, *, rank: int, seed: int) -> LowRank:
    """Return the truncated decomposition of a counted relation, divided by its scale."""
    if not matrix.nnz:
        return _nothing(matrix.shape[0])
    u, s, v = randomized_svd(matrix, min(rank, matrix.shape[0]), n_iter=4, random_state=seed)
    root = np.sqrt(s / scale)
    return _low_rank(u * root, v.T * root)


def regression(taken: sp.csr_matrix, rank: int, *, seed: int) -> LowRank:
    """Return the ridge regression of every item on all others, at low rank.

    With ``P`` the inverse of ``X'X + ridge``, the weight from item ``i`` to item ``j`` is ``-P_ij /
    P_jj`` (EASE, Steck 2019, equation 8). From the largest singular values ``s`` of ``X``, with
    right vectors ``V``, and ``d = s^2 / (s^2 + ridge)``, that is ``V d V'`` with column ``j``
    divided by ``1 - sum(d V_j^2)``: the whole of it at full rank, and never a dense matrix. The
    strengths come divided by their root mean square.

    Parameters
    ----------
    taken
        What users took, nonzero where they did, ``(n_users, n_items)``.
    rank
        How many singular values, less where the matrix has fewer rows or columns.
    seed
        Seeds the decomposition (randomised, Halko et al. 2011).
    """
    n_items = taken.shape[1]
    if not taken.nnz:
        return _nothing(n_items)
    binary = sp.csr_matrix(
        (np.ones(taken.nnz, dtype=np.float32), taken.indices, taken.indptr), shape=taken.shape
    )
    ridge = RIDGE * taken.nnz / max(1, len(np.unique(taken.indices)))
    _, s, v = randomized_svd(binary, min(rank, *taken.shape), n_iter=4, random_state=seed)
    kept = np.square(s) / (np.square(s) + ridge)
    left = v.T * kept
    right = v.T / (1.0 - (v.T * left).sum(axis=1, keepdims=True))
    # The mean square of all strengths, from two small products; an item says nothing of itself.
    own = np.square((left * right).sum(axis=1)).sum()
    total = float(((left.T @ left) * (right.T @ right)).sum() - own)
    scale = np.sqrt(max(total, 1e-12) / max(1, n_items * (n_items - 1)))
    root = np.sqrt(scale)
    return _low_rank(left / root, right / root)


def _nothing(n_items: int) -> LowRank:
    """Return a relation that relates nothing."""
    return _low_rank(np.zeros((n_items, 1)), np.zeros((n_items, 1)))


def _low_rank(left: npt.NDArray[np.floating], right: npt.NDArray[np.floating]) -> LowRank:
    """Return one relation of these sides."""
    return LowRank(left.astype(np.float16), right.astype(np.float16), (left.shape[1],))


@compiled
def _looked_up(
    starts: npt.NDArray[np.int32],
    columns: npt.NDArray[np.int32],
    values: Floats,
    scale: np.float32,
    history: npt.NDArray[np.int64],
    there: npt.NDArray[np.bool_],
    order: npt.NDArray[np.int64],
    rising: npt.NDArray[np.int64],
    out: Floats,
    place: int,
) -> None:
    """Write the entries from events to candidates, over `scale`, into one place of `out`.

    Both an item's entries and a query's candidates rise, and are walked side by side; `order` says
    where each candidate stands.
    """
    for query in range(len(history)):
        first = np.searchsorted(rising[query], 0)
        for event in range(history.shape[1]):
            if not there[query, event]:
                continue
            at, stop = starts[history[query, event]], starts[history[query, event] + 1]
            candidate = first
            while at < stop and candidate < rising.shape[1]:
                apart = columns[at] - rising[query, candidate]
                if apart < 0:
                    at += 1
                elif apart > 0:
                    candidate += 1
                else:
                    out[query, event, order[query, candidate], place] = values[at] / scale
                    candidate += 1
