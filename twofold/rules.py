"""What a list of recommendations must obey: conditions on items, and its shape."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, lru_cache
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.catalogue import Catalogue
from twofold.indexing.errors import InputError
from twofold.indexing.item_set import ItemSet
from twofold.ranking.shaping import Cap, Picks, Shape, centre_of, groups_of, read_caps
from twofold.retrieval.conditions import Conditions
from twofold.retrieval.queries import Queries

Int64s = npt.NDArray[np.int64]
# A backend caps lists by a few columns, not by dozens.
GROUPED_COLUMNS = 16
OFFERED = 100  # candidates among which a shaped list is chosen


class Rules(TypedDict, total=False):
    """What a list must obey; every rule may be left out, or be ``None`` where that is allowed.

    However few items the rules let through, a list holds k of them if there are k.

    Parameters
    ----------
    where
        A condition in SQL over the columns of the items: ``"year >= 1990 AND genre = 'Comedy'"``.
        An item for which it is null does not fulfil it.
    allow
        Ids of the only items that may be recommended. Ids that the build lacks are passed over.
    deny
        Ids of items that must not be recommended; likewise.
    at
        The moment at which items must be available, with a time zone; now, if it is left out. It
        matters where the items have ``available_from`` or ``available_until``.
    at_most
        How many items of one kind a list may hold, by column: ``{"genre": 2}``. A column of lists
        counts an item to each of its values; an item without a value is under no cap.
    diversity
        0 to 1: how much an item loses for being like one that stands before it in the list, by
        maximal marginal relevance over the text vectors; see
        :class:`twofold.ranking.shaping.Shape`.
    """

    where: str | None
    allow: Iterable[str] | None
    deny: Iterable[str]
    at: datetime | None
    at_most: Mapping[str, int]
    diversity: float


@dataclass(frozen=True)
class Terms:
    """Rules, read.

    Parameters
    ----------
    eligible
        The only items that may be recommended, ``None`` for all.
    denied
        Items that must not be, ``int64``, distinct.
    shape
        What the list must look like, ``None`` where anything goes.
    """

    eligible: ItemSet | None
    denied: Int64s
    shape: Shape | None

    def limit(self, queries: Queries) -> Queries:
        """Return queries to which only what these terms let through may be proposed."""
        if self.eligible is not None:
            queries = replace(queries, eligible=(self.eligible,) * len(queries))
        if len(self.denied):
            n, denied = len(queries), np.sort(self.denied)
            columns, starts = np.tile(denied, n), np.arange(n + 1) * len(denied)
            parts = (np.ones(len(columns), dtype=bool), columns, starts)
            struck = sp.csr_matrix(parts, shape=queries.excluded.shape)
            both = sp.csr_matrix(queries.excluded + struck, dtype=bool)
            both.sort_indices()
            queries = replace(queries, excluded=both)
        return queries

    def admitted(self, n_items: int) -> ItemSet | None:
        """Return the items that they let through, of so many; ``None`` for all."""
        if not len(self.denied):
            return self.eligible
        if self.eligible is None:
            return ItemSet(np.ones(n_items, dtype=bool)).without(self.denied)
        return self.eligible.without(self.denied)

    def shaped(
        self, k: int, ranked: Callable[[int], tuple[Int64s, npt.NDArray[np.float32]]]
    ) -> tuple[Int64s, npt.NDArray[np.float32]]:
        """Return a list of at most `k` items with their scores.

        Parameters
        ----------
        k
            Length of the list.
        ranked
            Gives so many admitted items and their scores, the best first, fewer where there are
            fewer.
        """
        if self.shape is None:
            return ranked(k)
        depth = step = max(k, OFFERED)
        while True:
            items, scores = ranked(depth)
            picks = Picks(self.shape, k)
            places = [
                start + place
                for start in range(0, len(items), step)
                for place in picks.take(items[start : start + step], scores[start : start + step])
            ]
            if not picks.wanting or len(items) < depth:
                return items[places], scores[places]
            depth *= 8


class RuleBook:
    """Reads rules over the items of one moment; may be shared by threads.

    Parameters
    ----------
    catalogue
        The items.
    vectors
        Their text vectors, ``float32 (n_items, d)``.
    """

    def __init__(self, catalogue: Catalogue, vectors: npt.NDArray[np.float32]) -> None:
        self._catalogue, self._vectors = catalogue, vectors
        # Not of this object's, which would then hold itself.
        self._groups = lru_cache(GROUPED_COLUMNS)(lambda name: groups_of(catalogue.table[name]))

    def read(
        self,
        *,
        where: str | None = None,
        allow: Iterable[str] | None = None,
        deny: Iterable[str] = (),
        at: datetime | None = None,
        at_most: Mapping[str, int] | None = None,
        diversity: float = 0.0,
    ) -> Terms:
        """Return what rules come to; see :class:`Rules`.

        Raises
        ------
        InputError
            If the condition cannot be read, a list of ids is a string, the moment has no time
            zone, a cap is below 1 or on no column of the items, or the diversity is not in 0..1.
        """
        if not 0 <= diversity <= 1:
            raise InputError(f"diversity must be in 0..1, not {diversity}")
        moment = _moment(at)
        # Without a condition the attributes need not be read, which after a change takes time.
        eligible = self._catalogue.open
        if where is not None or any(self._catalogue.windows):
            eligible = self._conditions.items(where, moment)
        if allow is not None:
            mask = np.zeros(len(self._catalogue), dtype=bool)
            mask[self._known(allow, "allow")] = True
            eligible = ItemSet(mask if eligible is None else mask & eligible.mask)
        caps: tuple[Cap, ...] = ()
        if at_most:
            caps = read_caps(at_most, self._groups, self._catalogue.table.columns)
        shape = None
        if caps or diversity:
            shape = Shape(caps, float(diversity), self._vectors, self._centre)
        return Terms(eligible, self._known(deny, "deny"), shape)

    @cached_property
    def _conditions(self) -> Conditions:
        catalogue = self._catalogue
        return Conditions(catalogue.table, catalogue.windows, catalogue.open)

    @cached_property
    def _centre(self) -> npt.NDArray[np.float32]:
        return centre_of(self._vectors)

    def _known(self, ids: Iterable[str], rule: str) -> npt.NDArray[np.int64]:
        """Return the distinct numbers of those ids that the build knows."""
        if isinstance(ids, str):
            raise InputError(f"{rule} must be a list of ids, not the text '{ids}'; put it in [ ]")
        numbers = self._catalogue.items.encode(ids, unknown="mark")
        return np.unique(numbers[numbers >= 0])


def _moment(at: datetime | None) -> int:
    if at is None:
        return int(time.time() * 1000)
    if at.tzinfo is None:
        raise InputError(f"at must have a time zone, not {at}; such as datetime.now(UTC)")
    return int(at.timestamp() * 1000)
