"""Ratings and weights given at a request, read by the rules that the build's rows were read by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from twofold.indexing.events import EventSettings

RATING = "rating "


class ReadValues(NamedTuple):
    """What values count for.

    Parameters
    ----------
    kinds
        Index into the data set's kinds, ``int16 (n,)``.
    weights
        How much each raises its item, ``float32 (n,)``; 0 unless the sign is +1.
    signs
        +1, 0 or -1, ``int8 (n,)``.
    """

    kinds: npt.NDArray[np.int16]
    weights: npt.NDArray[np.float32]
    signs: npt.NDArray[np.int8]


def read_values(
    values: npt.NDArray[np.float32], kinds: tuple[str, ...], settings: EventSettings
) -> ReadValues:
    """Return what ratings or weights count for in a data set with these kinds of events.

    Where the data set holds ratings, values are ratings: the thresholds of the settings decide, and
    the kind is the level of the rating. Otherwise they are weights: above 0 raises the item by that
    much, 0 says nothing, below 0 is a dislike.

    Parameters
    ----------
    values
        ``float32 (n,)``.
    kinds
        The data set's kinds.
    settings
        The build's rules.
    """
    if kinds and kinds[0].startswith(RATING):
        low, high = settings.dislike_at_most, settings.like_at_least
        dislike = np.zeros(len(values), dtype=bool) if low is None else values <= low
        like = ~dislike if high is None else values >= high
        signs = np.where(dislike, -1, np.where(like, 1, 0)).astype(np.int8)
        weights = (signs > 0).astype(np.float32)
        return ReadValues(_levels(values, kinds), weights, signs)
    signs = np.sign(values).astype(np.int8)
    weights = np.maximum(values, 0).astype(np.float32)
    positive, negative = _usual(kinds)
    numbers = np.where(signs > 0, positive, negative)
    return ReadValues(numbers.astype(np.int16), weights, signs)


def kinds_of(
    names: Sequence[str], signs: npt.NDArray[np.int8], kinds: tuple[str, ...]
) -> npt.NDArray[np.int16]:
    """Return a data set's kinds for events that it may not hold itself, ``int16 (n,)``.

    A rating takes its level; another name that the data set lacks takes the kind that stands for
    events of its sign.

    Parameters
    ----------
    names
        What the events were: ``"rating 4.5"``, ``"purchase"``.
    signs
        +1, 0 or -1, ``int8 (n,)``.
    kinds
        The data set's kinds.
    """
    numbers = {name: number for number, name in enumerate(kinds)}
    positive, negative = _usual(kinds)
    rated = kinds[0].startswith(RATING) if kinds else False
    out = np.empty(len(names), dtype=np.int16)
    for place, (name, sign) in enumerate(zip(names, signs.tolist(), strict=True)):
        if rated and name.startswith(RATING):
            value = np.array([float(name.removeprefix(RATING))], dtype=np.float32)
            out[place] = _levels(value, kinds)[0]
        else:
            out[place] = numbers.get(name, positive if sign > 0 else negative)
    return out


def _usual(kinds: tuple[str, ...]) -> tuple[int, int]:
    """Return the kinds that stand for events which raise an item, and for others."""
    positive = next((n for n in ("interaction", "like", "purchase") if n in kinds), kinds[0])
    negative = "dislike" if "dislike" in kinds else positive
    return kinds.index(positive), kinds.index(negative)


def _levels(values: npt.NDArray[np.float32], kinds: tuple[str, ...]) -> npt.NDArray[np.int16]:
    """Return the level of each rating; one between two known values takes the higher."""
    tops = [float(name.rsplit(" ", 1)[1]) for name in kinds if not name.startswith("rating above")]
    found = np.searchsorted(np.array(tops), values)
    return np.minimum(found, len(kinds) - 1).astype(np.int16)
