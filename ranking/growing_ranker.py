"""Stage two while items come and change."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from twofold.indexing.growing import Growing
from twofold.ranking.digests import Digests, DigestsOnDemand, ItemDigests, digest_items
from twofold.ranking.items import ItemTables, ItemTokens, compute_states
from twofold.ranking.ranker import Ranker
from twofold.ranking.relations import LowRank
from twofold.ranking.stored import ByteRows, FloatRows, Rows, form_of
from twofold.retrieval.stage_one import StageOne

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]


class ReadItems(NamedTuple):
    """What a ranker stores of some items: tokens, and states or digests where it stores those."""

    tokens: ItemTokens
    states: Rows | None
    digests: Digests | None


class GrowingRanker:
    """A ranker, each state of which stays what it was; changed by one thread at a time.

    The texts of items that came or changed are read once, when they come. What is kept of earlier
    requests stays, but for what holds a changed item.

    Parameters
    ----------
    base
        A ranker as it was opened.
    """

    def __init__(self, base: Ranker) -> None:
        self.now = base
        tables, low_rank = base.tables, base.tables.relations.low_rank
        self._tokens = Growing(tables.tokens.tokens)
        self._starts = Growing(tables.tokens.starts)
        self._ends = Growing(tables.tokens.ends)
        self._longest = tables.tokens.longest
        self._factors = Growing(tables.factors)
        self._left, self._right = Growing(low_rank.left), Growing(low_rank.right)
        self._editions = Growing(np.arange(len(tables.tokens)))
        self._n_editions = len(tables.tokens)
        self._states = None if tables.states is None else _GrowingRows(tables.states)
        self._digests: tuple[_GrowingRows, Growing, _GrowingRows] | None = None
        if isinstance(base.digests, Digests):
            vectors, soft = base.digests.vectors, base.digests.soft
            self._digests = _GrowingRows(vectors), Growing(base.digests.masses), _GrowingRows(soft)

    def read(self, known: Int64s, texts: list[str], vectors: Floats) -> ReadItems:
        """Return what is stored of items that come or change, which is what takes time.

        Any thread may ask, at any time: nothing changes by it.

        Parameters
        ----------
        known
            Their numbers, -1 for those that are new, ``int64 (n,)``.
        texts
            Their texts.
        vectors
            Their text vectors, ``float32 (n, d)``.
        """
        now = self.now
        tokens, states, digests = now.tokenised(texts, self._longest), None, None
        if len(texts) and self._states is not None:
            form = form_of(self._states.now)
            states = compute_states(now.model.backbone, tokens, form=form)
        if len(texts) and self._digests is not None:
            factors = np.where(known[:, None] < 0, np.float32(0), now.tables.factors[known])
            alone = ItemTables(tokens, vectors, factors, now.tables.relations)
            digests = digest_items(now.model, alone, form=form_of(self._digests[0].now))
        return ReadItems(tokens, states, digests)

    def put(
        self,
        numbers: Int64s,
        texts: list[str],
        vectors: Floats,
        stage_one: StageOne,
        read: ReadItems | None = None,
    ) -> Ranker:
        """Return the ranker with some items changed, or more of them.

        Parameters
        ----------
        numbers
            Distinct item numbers; those that follow the last one are new.
        texts
            Their texts.
        vectors
            Their text vectors, ``float32 (n, d)``.
        stage_one
            What is known of all items.
        read
            What :meth:`read` gave of these items, if it was asked before.
        """
        if read is None:
            came = numbers >= len(self.now.tables.tokens)
            read = self.read(np.where(came, -1, numbers), texts, vectors)
        tables = self._tables(numbers, read, stage_one)
        digests: ItemDigests | None = None
        if isinstance(self.now.digests, DigestsOnDemand):
            digests = self.now.digests.over(tables)
        elif self._digests is not None and read.digests is not None:
            own, masses, soft = self._digests
            digests = Digests(
                own.put(numbers, read.digests.vectors),
                masses.put(numbers, read.digests.masses),
                soft.put(numbers, read.digests.soft),
            )
        self.now = self.now.over(tables, digests)
        return self.now

    def _tables(self, numbers: Int64s, read: ReadItems, stage_one: StageOne) -> ItemTables:
        before = self.now.tables
        came = numbers[numbers >= len(before.tokens)]
        start = len(self._tokens.now)
        tokens = replace(
            before.tokens,
            tokens=self._tokens.append(read.tokens.tokens),
            starts=self._starts.put(numbers, start + read.tokens.starts),
            ends=self._ends.put(numbers, start + read.tokens.ends),
        )
        states = before.states
        if self._states is not None and read.states is not None:
            states = self._states.put(start + np.arange(len(read.states)), read.states)
        nothing = np.zeros((len(came), before.factors.shape[1]), dtype=before.factors.dtype)
        low_rank = before.relations.low_rank
        unrelated = np.zeros((len(came), low_rank.left.shape[1]), dtype=np.float16)
        low_rank = LowRank(
            self._left.put(came, unrelated), self._right.put(came, unrelated), low_rank.ranks
        )
        editions = self._n_editions + np.arange(len(numbers))
        self._n_editions += len(numbers)
        on_demand = before.on_demand
        return ItemTables(
            tokens=tokens,
            texts=stage_one.index.vectors,
            factors=self._factors.put(came, nothing),
            relations=replace(before.relations, counted=stage_one.relations(), low_rank=low_rank),
            states=states,
            on_demand=None if on_demand is None else on_demand.over(tokens),
            editions=self._editions.put(numbers, editions),
        )


class _GrowingRows:
    """Stored rows that grow and change."""

    def __init__(self, base: Rows) -> None:
        self.now = base
        self._parts = [Growing(one) for one in _parts(base)]

    def put(self, numbers: Int64s, fresh: Rows) -> Rows:
        """Return the rows with some set to others of the same form."""
        parts = [
            part.put(numbers, one) for part, one in zip(self._parts, _parts(fresh), strict=True)
        ]
        if isinstance(self.now, FloatRows):
            self.now = FloatRows(parts[0])
        else:
            self.now = ByteRows(parts[0], parts[1], self.now.width)
        return self.now


def _parts(rows: Rows) -> list[npt.NDArray[np.generic]]:
    """Return the arrays that a table is stored in."""
    if isinstance(rows, FloatRows):
        return [rows.values]
    if isinstance(rows, ByteRows):
        return [rows.values, rows.scales]
    raise TypeError(f"a {type(rows).__name__} is no form of stored rows")
