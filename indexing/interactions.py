"""Interactions as arrays: who did what with which item, when, and what it counts for."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.indexing.errors import InputError


@dataclass(frozen=True)
class Interactions:
    """Interactions of users with items, sorted by user, step and tie-breaking hash.

    One row an event. What an event counts for was decided once, by the event rules
    (:mod:`twofold.indexing.events`); nothing after that looks at raw ratings or event names.

    Parameters
    ----------
    users, items
        Numbers of the user and the item, ``int64 (n,)``.
    steps
        Place in the user's sequence, from 0, ``int32 (n,)``. Events of one user that share a time
        share a step: they have no order among them. A user's rows are in order of steps.
    times
        Milliseconds since 1970 UTC, ``int64 (n,)``; all zero where the data has no times.
    weights
        How much the event raises the item for the user, ``float32 (n,)``, at least 0. Zero unless
        the sign is +1.
    signs
        +1 raises the item, -1 is a dislike, 0 says neither, ``int8 (n,)``.
    seen
        Whether the user now knows the item, so that it is not recommended again, ``bool (n,)``.
    labels
        Whether the event is a hit for training and metrics, ``bool (n,)``.
    kinds
        What the ranker may know of the event, as an index into the data set's ``kinds``
        (``rating 4``, ``purchase``, ...), ``int16 (n,)``.
    n_users, n_items
        Sizes of the vocabularies.
    """

    users: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int32]
    times: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    signs: npt.NDArray[np.int8]
    seen: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.bool_]
    kinds: npt.NDArray[np.int16]
    n_users: int
    n_items: int

    def __post_init__(self) -> None:
        columns = [getattr(self, name) for name in COLUMNS]
        if any(column.shape != self.users.shape for column in columns):
            raise InputError("all columns of Interactions must have the same length")
        if len(self) and bool(np.any(np.diff(self.users) < 0)):
            raise InputError("Interactions must be sorted by user")

    def __len__(self) -> int:
        return len(self.users)

    @cached_property
    def indptr(self) -> npt.NDArray[np.int64]:
        """Where each user's rows begin: rows of ``u`` are ``indptr[u]:indptr[u + 1]``."""
        counts = np.bincount(self.users, minlength=self.n_users)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def take(self, keep: npt.NDArray[np.bool_]) -> Interactions:
        """Return the rows where `keep`, ``bool (n,)``, is true; numbers and steps stay."""
        columns = {name: getattr(self, name)[keep] for name in COLUMNS}
        return Interactions(**columns, n_users=self.n_users, n_items=self.n_items)

    def disliked(self) -> sp.csr_matrix:
        """Return the pairs whose last signed event is a dislike, ``bool (n_users, n_items)``."""
        signed = np.flatnonzero(self.signs)
        pairs = self.users[signed] * np.int64(self.n_items) + self.items[signed]
        # Rows are in time order within a user, so the last row of a pair is its last event.
        _, last = np.unique(pairs[::-1], return_index=True)
        rows = signed[::-1][last]
        rows = rows[self.signs[rows] < 0]
        return self._matrix(rows, np.ones(len(rows), dtype=bool))

    def matrix(self) -> sp.csr_matrix:
        """Return what raises items for users, ``float32 (n_users, n_items)``, sorted indices.

        The weights of a pair's events are added up; a pair whose last signed event is a dislike
        counts nothing.
        """
        rows = np.flatnonzero(self.weights > 0)
        summed = self._matrix(rows, self.weights[rows])
        disliked = self.disliked()
        if disliked.nnz:
            summed = (summed - summed.multiply(disliked)).tocsr()
            summed.eliminate_zeros()
        summed.sort_indices()
        return summed.astype(np.float32)

    def excluded(self) -> sp.csr_matrix:
        """Return the pairs not to recommend, seen or disliked, ``bool (n_users, n_items)``."""
        rows = np.flatnonzero(self.seen)
        seen = self._matrix(rows, np.ones(len(rows), dtype=bool))
        out = (seen + self.disliked()).astype(bool).tocsr()
        out.sort_indices()
        return out

    def _matrix(
        self, rows: npt.NDArray[np.int64], values: npt.NDArray[np.generic]
    ) -> sp.csr_matrix:
        shape = (self.n_users, self.n_items)
        return sp.coo_matrix((values, (self.users[rows], self.items[rows])), shape=shape).tocsr()


COLUMNS = tuple(field.name for field in fields(Interactions) if not field.name.startswith("n_"))
