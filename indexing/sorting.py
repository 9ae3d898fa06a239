"""Rows of scores in order, by sorting plain numbers that hold score and place at once.

Sorting numbers where they stand is several times as fast as sorting places by what they refer to,
above all where numpy has vector instructions for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from twofold.indexing.compiled import compiled

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
UInt64s = npt.NDArray[np.uint64]
Int32s = npt.NDArray[np.int32]
LOW = np.uint64(0xFFFFFFFF)
HIGHEST = np.int64(2147483647)
Int64s = npt.NDArray[np.int64]
LOWEST = np.int32(-2147483648)
GROUP = 32  # scores


def descending(scores: Floats, mask: Bools) -> UInt64s:
    """Return keys of each row's scores, sorted: the highest score first, of ties the first column.

    Parameters
    ----------
    scores
        Finite, ``float32 (..., n, m)``; ``-0`` counts as 0.
    mask
        Which scores count, ``bool (n, m)``; the others come last.

    Returns
    -------
    numpy.ndarray
        ``uint64 (..., n, m)``; :func:`column_of` gives the column of each that counts.
    """
    keys = np.empty(scores.shape, dtype=np.uint64)
    n, m = mask.shape
    if not keys.size:
        return keys
    _keyed(
        np.ascontiguousarray(scores).reshape(-1, n, m).view(np.int32), mask, keys.reshape(-1, n, m)
    )
    keys.sort(axis=-1)
    return keys


@compiled
def key_of(bits: Any, column: Any) -> Any:
    """Return what sorts a score, told by its bits, before all lower ones and later columns."""
    # The greatest becomes the least, and all are above 0.
    turned = HIGHEST - np.int64(ordered(bits))
    return (np.uint64(turned) << np.uint64(32)) | np.uint64(column)


@compiled
def bits_in(key: np.uint64) -> Any:
    """Return the bits of the score that a key stands for; of 0 where it is ``-0``."""
    return bits_of(np.int32(HIGHEST - np.int64(key >> np.uint64(32))))


@compiled
def column_of(key: np.uint64) -> Any:
    """Return the column that a key stands for."""
    return np.int64(key & LOW)


@compiled
def score_of(key: np.uint64) -> np.uint64:
    """Return what keys of equal scores have in common."""
    return key >> np.uint64(32)


@compiled
def ordered(bits: Any) -> Any:
    """Return a whole number that grows with the ``float32`` of these bits, ``int32``."""
    if bits == np.int32(-2147483648):  # -0
        return np.int32(0)
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@compiled
def bits_of(number: Any) -> Any:
    """Return the bits that :func:`ordered` turned into a number, ``int32``."""
    return number ^ ((number >> np.int32(31)) & np.int32(0x7FFFFFFF))


@compiled
def number_of(score: Any) -> Any:
    """Return what :func:`ordered` makes of the bits of a score."""
    scores = np.empty(1, dtype=np.float32)
    scores[0] = score
    return ordered(scores.view(np.int32)[0])


@compiled
def floor_of(bits: Int32s, highest: Int32s, k: int) -> Any:
    """Return a number that the `k` best are not below, and hardly any others above.

    The highest of some groups are at least as many scores. A group holds every so-manieth, so that
    good ones that stand side by side, as items of one time do, are in groups of their own.

    Parameters
    ----------
    bits
        The scores' bits, ``int32 (n_items,)``.
    highest
        Takes the highest of each group, ``int32``, as many as :func:`n_groups` says.
    k
        How many.
    """
    n = len(highest)
    highest[:] = LOWEST
    for start in range(0, len(bits), n):
        some = bits[start : start + n]  # a slice's places are known not to be below 0
        for place in range(len(some)):
            highest[place] = max(highest[place], ordered(some[place]))
    if k >= n:
        return LOWEST
    return np.partition(highest, n - k)[n - k]


@compiled
def n_groups(n_items: int) -> int:
    """Return how many groups :func:`floor_of` makes of so many scores, at least 1."""
    return max(1, (n_items + GROUP - 1) // GROUP)


@compiled
def not_below(bits: Int32s, highest: Int32s, lowest: Any, kept: Int64s) -> Any:
    """Write the places of scores whose number is not below one; return how many there are.

    Parameters
    ----------
    bits
        The scores' bits, ``int32 (n_items,)``.
    highest
        Of each group, as :func:`floor_of` wrote them.
    lowest
        As of :func:`ordered`.
    kept
        Takes the places, in no order, ``int64 (n_items,)``.
    """
    size, n = 0, len(highest)
    for group in range(n):
        if highest[group] < lowest:
            continue
        for place in range(group, len(bits), n):
            if ordered(bits[place]) >= lowest:
                kept[size] = place
                size += 1
    return size


@compiled
def _keyed(bits: Int32s, mask: Bools, keys: UInt64s) -> None:
    layers, n, m = bits.shape
    for layer in range(layers):
        for row in range(n):
            for column in range(m):
                key = key_of(bits[layer, row, column], column)
                keys[layer, row, column] = key if mask[row, column] else ~np.uint64(0)
