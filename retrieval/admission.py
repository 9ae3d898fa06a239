"""Which items may be proposed to each query: what its filter lets through and nobody excluded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.indexing.item_set import ItemSet
from twofold.retrieval.selection import Barred

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Admission:
    """What may be proposed to each query of a batch.

    Parameters
    ----------
    excluded
        Items that must not come back, ``bool (n, n_items)``, CSR with sorted indices.
    eligible
        The items that each query is limited to, or ``None`` where it is not; ``None`` for all
        where no query is.
    """

    excluded: sp.csr_matrix
    eligible: tuple[ItemSet | None, ...] | None = None

    @cached_property
    def _kinds(self) -> tuple[list[ItemSet], Int64s]:
        """The distinct filters, and which of them each query has, -1 for none, ``int64 (n,)``."""
        distinct: dict[int, int] = {}
        filters: list[ItemSet] = []
        which = np.full(self.excluded.shape[0], -1, dtype=np.int64)
        for query, one in enumerate(self.eligible or ()):
            if one is not None:
                which[query] = distinct.setdefault(id(one), len(filters))
                if which[query] == len(filters):
                    filters.append(one)
        return filters, which

    def groups(self) -> list[tuple[ItemSet | None, Int64s]]:
        """Return each distinct filter with its queries."""
        filters, which = self._kinds
        out: list[tuple[ItemSet | None, Int64s]] = [
            (one, np.flatnonzero(which == number)) for number, one in enumerate(filters)
        ]
        free = np.flatnonzero(which < 0)
        return [*out, (None, free)] if len(free) else out

    @cached_property
    def barred(self) -> Barred:
        """What may not be proposed, as compiled functions read it."""
        filters, which = self._kinds
        masks = np.zeros((0, self.excluded.shape[1]), dtype=bool)
        return Barred(
            self.excluded.indptr.astype(np.int64),
            self.excluded.indices.astype(np.int32, copy=False),
            which,
            np.stack([one.mask for one in filters]) if filters else masks,
        )

    def bars(self, queries: Int64s, items: Int64s) -> Bools:
        """Return which items may not be proposed to their query.

        Parameters
        ----------
        queries, items
            Pairs; ``int64``, of one shape.
        """
        n_items = self.excluded.shape[1]
        rows = np.repeat(np.arange(self.excluded.shape[0]), np.diff(self.excluded.indptr))
        keys = rows * np.int64(n_items) + self.excluded.indices
        asked = queries * np.int64(n_items) + items
        out = np.zeros(asked.shape, dtype=bool)
        if len(keys):
            place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
            out = keys[place] == asked
        filters, which = self._kinds
        for number, one in enumerate(filters):
            mine = which[queries] == number
            out[mine] |= ~one.mask[items[mine]]
        return out

    def open(self, query: int) -> Int64s:
        """Return all items that may be proposed to one query, ascending."""
        mask = np.ones(self.excluded.shape[1], dtype=bool)
        if self.eligible is not None and (own := self.eligible[query]) is not None:
            mask = own.mask.copy()
        start, end = self.excluded.indptr[query : query + 2]
        mask[self.excluded.indices[start:end]] = False
        return np.flatnonzero(mask)

    def most_excluded(self) -> int:
        """Return the largest number of items that are excluded for one query."""
        return int(np.diff(self.excluded.indptr).max(initial=0))


def joined_filters(
    parts: Sequence[tuple[tuple[ItemSet | None, ...] | None, int]],
) -> tuple[ItemSet | None, ...] | None:
    """Return the filters of several batches as one; each part is its filters and its length."""
    if all(filters is None for filters, _ in parts):
        return None
    return tuple(one for filters, n in parts for one in filters or (None,) * n)
