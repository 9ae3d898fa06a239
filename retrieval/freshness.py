"""Items that have just come: proposed by their text before anybody took them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.indexing.errors import InputError, SettingsError
from twofold.indexing.inner_products import products
from twofold.indexing.interactions import Interactions
from twofold.indexing.neighbours import MS_PER_DAY
from twofold.indexing.vectors import VectorIndex
from twofold.retrieval.answers import Answer, DenseAnswer
from twofold.retrieval.queries import Queries
from twofold.retrieval.sources import View, profiles

if TYPE_CHECKING:
    from twofold.indexing.artefact import Generation, GenerationWriter

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
UNDATED = int(np.iinfo(np.int64).min)  # stands for a moment that nobody gave
MOMENTS, END = "arrivals/moments", "arrivals/end"  # names in an artefact
# Older items count for less than a thousandth; they are not looked at.
MOST_HALF_LIVES = 10.0


@dataclass(frozen=True)
class Arrivals:
    """When the items came.

    Parameters
    ----------
    moments
        Milliseconds since 1970, ``int64 (n_items,)``.
    end
        The latest moment that the build knows of. Ages are counted back from it where a query does
        not say when it is asked.
    """

    moments: Int64s
    end: int

    @classmethod
    def of(cls, log: Interactions, dates: Int64s | None, *, has_times: bool) -> Arrivals:
        """Return when the items came, by what is given, or by their first interaction.

        An item with neither came at the end: nobody had the time to take it.

        Parameters
        ----------
        log
            All that may be known; interactions of every kind count, impressions too.
        dates
            The items' own moments, `UNDATED` where there is none, ``int64 (n_items,)``; ``None``
            where no item has one.
        has_times
            Whether the log's times are real.

        Raises
        ------
        SettingsError
            If neither the log nor any item has a time.
        """
        given = np.full(log.n_items, UNDATED) if dates is None else dates
        dated = given != UNDATED
        if not has_times and not dated.any():
            raise SettingsError(
                "stage_one.fresh_half_life_days needs to know when items came, but neither the "
                "interactions nor the items have times; give the items a column available_from, "
                'or set it to "none"'
            )
        timed = has_times and len(log) > 0
        end = int(log.times.max() if timed else given.max(initial=0))
        first = np.full(log.n_items, end, dtype=np.int64)
        if timed:
            np.minimum.at(first, log.items, log.times)
        return cls(np.where(dated, given, first), end)

    def save(self, writer: GenerationWriter) -> None:
        """Write the moments."""
        writer.put_array(MOMENTS, self.moments)
        writer.put_array(END, np.array([self.end], dtype=np.int64))

    @classmethod
    def open(cls, generation: Generation) -> Arrivals:
        """Return what a generation holds."""
        return cls(generation.array(MOMENTS), int(generation.array(END)[0]))


@dataclass(frozen=True)
class FreshItems:
    """Items that came lately, those like the history first.

    The cosine of the item's text with the history's, if it is above 0, times ``2 ** (-age /
    half_life)``; items of more than ten half-lives, and those that were not there yet when a query
    is asked, score 0. Items that came after the build's end are younger than all others.

    Parameters
    ----------
    index
        Text vectors of all items.
    arrivals
        When they came.
    half_life_days
        After so many days an item counts half.
    view
        Which events make the profile.
    """

    index: VectorIndex
    arrivals: Arrivals
    half_life_days: float
    view: View
    name: str = "fresh"

    def answer(self, queries: Queries) -> Answer:
        """Return faded cosines; queries without history get no proposals."""
        scores = np.zeros((len(queries), len(self.index)), dtype=np.float32)
        (told,) = profiles(self.index.vectors, (self.view,), queries)
        if queries.asked_at is None:
            items, vectors, faded = self._at_end
        else:
            moments, asked = self.arrivals.moments, queries.asked_at
            first = asked.min(initial=self.arrivals.end) - MOST_HALF_LIVES * self._half_life
            last = asked.max(initial=UNDATED)
            items = np.flatnonzero((moments >= first) & (moments <= last))
            vectors = self.index.vectors[items]
            ages = asked[:, None] - moments[items]
            faded = np.where(ages < 0, np.float32(0), self._faded(ages))
        scores[:, items] = np.maximum(products(told, vectors), 0) * faded
        return DenseAnswer(scores, queries.admission, 0.0)

    @cached_property
    def _at_end(self) -> tuple[Int64s, Floats, Floats]:
        """The items that are fresh at the build's end or later, their vectors and what they count.

        Halving at one pace, all keep their order as time goes on, whenever a query is asked.
        """
        faded = self._faded(self.arrivals.end - self.arrivals.moments)
        items = np.flatnonzero(faded > 0)
        return items, self.index.vectors[items], faded[items]

    @property
    def _half_life(self) -> float:
        return self.half_life_days * MS_PER_DAY

    def _faded(self, ages: Int64s) -> Floats:
        """Return what items of these ages, in milliseconds, count for."""
        lives = ages / self._half_life
        # Moments far in the future must not overflow.
        counted = np.exp2(-np.maximum(lives, -64.0))
        return np.where(lives > MOST_HALF_LIVES, 0.0, counted).astype(np.float32)


def dates_of(column: pl.Series | None) -> Int64s | None:
    """Return the items' own moments, `UNDATED` where there is none, ``int64 (n,)``.

    Parameters
    ----------
    column
        The items' column of times, in UTC; ``None`` where there is none.
    """
    if column is None:
        return None
    return np.asarray(column.dt.epoch("ms").fill_null(UNDATED).to_numpy(), dtype=np.int64)


def asked_before(queries: Queries, labels: Interactions) -> Queries:
    """Return queries as of the moments at which their users did what is held out.

    Parameters
    ----------
    queries
        Of users of `labels`.
    labels
        What was held out, with real times; others' labels are left aside.

    Raises
    ------
    InputError
        If a query's user holds nothing out.
    """
    users, first = np.unique(labels.users, return_index=True)
    place = np.searchsorted(users, queries.users)
    if not np.array_equal(np.append(users, -1)[place], queries.users):
        raise InputError("asked_before needs a label of every query's user, to know when it asks")
    return replace(queries, asked_at=labels.times[first[place]])
