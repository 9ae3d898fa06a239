"""The shape of a list: at most so many of a kind, and no two items alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse as sp

from twofold.indexing.errors import InputError

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
SAMPLED = 10_000


@dataclass(frozen=True, eq=False)
class Cap:
    """At most so many items of each group in a list.

    Parameters
    ----------
    groups
        The groups of each item, ``bool (n_items, n_groups)``, CSR; an item may be in several, or in
        none, and is then under no cap.
    most
        How many items of one group a list may hold, at least 1.
    """

    groups: sp.csr_matrix
    most: int


@dataclass(frozen=True, eq=False)
class Shape:
    """What a list must look like, whatever the scores say.

    Parameters
    ----------
    caps
        All of them hold.
    diversity
        0 to 1: how much an item loses for being like one that stands before it. Items are chosen
        one by one, each the one with the highest ``(1 - diversity) * relevance - diversity *
        similarity``: maximal marginal relevance (Carbonell and Goldstein 1998). Relevance is the
        score, scaled to 0..1 over the candidates; similarity is the highest cosine with an item
        chosen before, at least 0, of vectors seen from `centre`: many encoders put all texts into
        one corner, where everything is alike.
    vectors
        Text vectors of the items, of length 1 or 0, ``float32 (n_items, d)``.
    centre
        Their mean, ``float32 (d,)``.
    """

    caps: tuple[Cap, ...]
    diversity: float
    vectors: Floats
    centre: Floats

    def directions(self, items: Int64s) -> Floats:
        """Return the vectors of items as seen from the centre, of length 1; 0 without a text."""
        vectors = self.vectors[items]
        seen = np.where(vectors.any(axis=1, keepdims=True), vectors - self.centre, np.float32(0))
        lengths = np.linalg.norm(seen, axis=1, keepdims=True)
        return np.asarray(seen / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def centre_of(vectors: Floats) -> Floats:
    """Return the mean of vectors that are not zero, of a sample where there are many."""
    some = vectors[:: max(1, len(vectors) // SAMPLED)]
    there = some[some.any(axis=1)]
    return np.asarray(there.mean(axis=0) if len(there) else some.sum(axis=0), dtype=np.float32)


@dataclass
class Picks:
    """A list in the making: candidates come in one or several batches, the better ones first.

    Parameters
    ----------
    shape
        What it must look like.
    k
        How many items it takes.
    """

    shape: Shape
    k: int
    items: list[int] = field(default_factory=list)
    _counts: list[npt.NDArray[np.int64]] = field(init=False)

    def __post_init__(self) -> None:
        self._counts = [np.zeros(cap.groups.shape[1], dtype=np.int64) for cap in self.shape.caps]

    @property
    def wanting(self) -> int:
        """How many items are still to be found."""
        return self.k - len(self.items)

    def closed(self) -> Int64s:
        """Return the items that no longer may be taken: of full groups, or taken."""
        out = [np.array(self.items, dtype=np.int64)]
        for cap, counts in zip(self.shape.caps, self._counts, strict=True):
            full = (counts >= cap.most).astype(np.int64)
            out.append(np.flatnonzero(cap.groups @ full))
        return np.unique(np.concatenate(out))

    def take(self, items: Int64s, scores: Floats) -> list[int]:
        """Take what fits of some candidates, and return their places in order of being taken.

        Parameters
        ----------
        items
            Distinct item numbers, none of them taken before, ``int64 (m,)``.
        scores
            Theirs, finite, ``float32 (m,)``.
        """
        free = np.ones(len(items), dtype=bool)
        members = [cap.groups[items] for cap in self.shape.caps]
        for member, cap, counts in zip(members, self.shape.caps, self._counts, strict=True):
            free &= member @ (counts >= cap.most).astype(np.int64) == 0
        weight = self.shape.diversity
        relevance = _scaled(scores)
        vectors = self.shape.directions(items) if weight else None
        likeness = np.zeros(len(items), dtype=np.float32)
        if vectors is not None and self.items:
            before = self.shape.directions(np.array(self.items))
            likeness = np.maximum(likeness, (vectors @ before.T).max(axis=1))
        taken: list[int] = []
        while self.wanting and free.any():
            worth = (1 - weight) * relevance - weight * likeness
            best = int(np.argmax(np.where(free, worth, -np.inf)))
            taken.append(best)
            self.items.append(int(items[best]))
            free[best] = False
            if vectors is not None:
                likeness = np.maximum(likeness, vectors @ vectors[best])
            for member, cap, counts in zip(members, self.shape.caps, self._counts, strict=True):
                own = member.indices[member.indptr[best] : member.indptr[best + 1]]
                counts[own] += 1
                if full := [group for group in own if counts[group] >= cap.most]:
                    free &= np.asarray(member[:, full].sum(axis=1)).ravel() == 0
        return taken


def _scaled(scores: Floats) -> Floats:
    """Return scores from 0 to 1; all 1 where they are equal."""
    if not len(scores):
        return scores
    low, high = float(scores.min()), float(scores.max())
    if high == low:
        return np.ones(len(scores), dtype=np.float32)
    return np.asarray((scores - low) / (high - low), dtype=np.float32)


def groups_of(values: pl.Series) -> sp.csr_matrix:
    """Return the groups of items by a column: each value is one, ``bool (n_items, n_groups)``.

    An item with a list of values is in the group of each; one without a value is in none.
    """
    listed = values.to_frame("value").with_row_index("item")
    if isinstance(values.dtype, pl.List | pl.Array):
        listed = listed.explode("value")
    listed = listed.drop_nulls("value").unique(["item", "value"], maintain_order=True)
    codes = listed.select(pl.col("value").rank("dense") - 1).to_series().cast(pl.Int64).to_numpy()
    rows = listed["item"].to_numpy().astype(np.int64)
    shape = (len(values), int(codes.max(initial=-1)) + 1)
    out = sp.csr_matrix((np.ones(len(rows), dtype=bool), (rows, codes)), shape=shape)
    out.sort_indices()
    return out


def read_caps(
    at_most: Mapping[str, int], groups: Callable[[str], sp.csr_matrix], columns: Sequence[str]
) -> tuple[Cap, ...]:
    """Return caps on columns of the items.

    Parameters
    ----------
    at_most
        How many items of one value a list may hold, by column.
    groups
        Gives the groups of the items by a column.
    columns
        Columns that the items have.

    Raises
    ------
    InputError
        If the items have no such column, or a number is below 1.
    """
    for column, most in at_most.items():
        if column not in columns:
            raise InputError(
                f"at_most names the column '{column}', but the items have {', '.join(columns)}"
            )
        if most < 1:
            raise InputError(
                f"at_most must allow at least 1 item of each {column}, not {most}; leave items out "
                "with a condition instead"
            )
    return tuple(Cap(groups(column), most) for column, most in at_most.items())
