"""Vectors rounded to bytes, and inner products with them that are off by no more than is known.

A single query waits for memory, and bytes are a quarter of it. What is near enough to the best to
be among them is scored by whole vectors, so that the answer is that of whole vectors alone.

An item's vector is rounded to ``scale * code``, codes in -127..127; a query likewise, to two bytes
a number. For a query ``q = q' + e`` and an item ``x = x' + r``, rounded to ``q'`` and ``x'``,
``|q x - q' x'| = |q r + e x'| <= |q| |r| + |e| |x'|`` (Cauchy-Schwarz). The products of bytes are
whole numbers, added up without error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir

from twofold.indexing.compiled import compiled
from twofold.indexing.tiles import LANES, TILE, Pairs, load, shuffled, stepping, tile_of, zeros

Float32s = npt.NDArray[np.float32]
Int8s = npt.NDArray[np.int8]
Int16s = npt.NDArray[np.int16]
Int32s = npt.NDArray[np.int32]
# Numbers in all vectors up to which they are rounded: what is kept is a quarter of them.
MOST_ROUNDED = 1 << 26
STEP = 2 * LANES  # codes that are met at once
CODE = 127  # the largest of an item
MOST_SUM = (1 << 31) - 1
UNIT = 2.0**-24  # what one step of adding up in single precision may be off, of what is added
ROUNDED_AT_ONCE = 1 << 20  # numbers


@dataclass(frozen=True, eq=False)
class Rounded:
    """Rounded vectors of all items.

    Parameters
    ----------
    codes
        ``int8 (n_items, width)``; the width is that of the vectors, filled up with zeros.
    scales
        ``float32 (n_items,)``.
    longest
        Length of the longest vector.
    error
        Length of the longest difference between a vector and what it was rounded to.
    """

    codes: Int8s
    scales: Float32s
    longest: float
    error: float

    @classmethod
    def of(cls, vectors: Float32s) -> Rounded:
        """Return vectors ``float32 (n_items, d)`` rounded; they are finite."""
        n, d = vectors.shape
        codes = np.zeros((n, -(-d // STEP) * STEP), dtype=np.int8)
        scales = np.zeros(n, dtype=np.float32)
        longest, error, step = 0.0, 0.0, max(1, ROUNDED_AT_ONCE // d)
        for start in range(0, n, step):
            some = vectors[start : start + step]
            largest = np.abs(some).max(axis=1) / np.float32(CODE)
            scales[start : start + step] = largest
            scale = np.where(largest == 0, np.float32(1), largest)[:, None]
            told = np.rint(some / scale).clip(-CODE, CODE)
            codes[start : start + step, :d] = told
            longest = max(longest, float(np.linalg.norm(some, axis=1).max()))
            error = max(error, float(np.linalg.norm(some - told * scale, axis=1).max()))
        return cls(codes, scales, longest, error)

    def near(self, queries: Float32s, width: int) -> tuple[Float32s, Float32s]:
        """Return nearly the inner products of queries with all items, and how far they may be off.

        Parameters
        ----------
        queries
            ``float32 (n, d)``, finite.
        width
            Columns of the answer, at least one an item; what follows is left to be written.

        Returns
        -------
        near
            ``float32 (n, width)``.
        slack
            No product of the query, as of :func:`~twofold.indexing.inner_products.products`, is
            further from what stands in `near`; ``float32 (n,)``.
        """
        d = queries.shape[1]
        # As large as two bytes hold, and no sum of products is longer than four.
        largest = np.float32(min(32767, MOST_SUM // (CODE * max(1, d))))
        scales = np.abs(queries).max(axis=1, initial=0)[:, None] / largest
        scales = np.where(scales == 0, np.float32(1), scales)
        codes = np.zeros((len(queries), self.codes.shape[1]), dtype=np.int16)
        codes[:, :d] = told = np.rint(queries / scales)
        lengths = np.linalg.norm(queries, axis=1)
        errors = np.linalg.norm(queries - told * scales, axis=1)
        # In whatever order d products are added up, they lose no more than this (Higham 2002, 3.1).
        rounding = (d + 8) * UNIT * self.longest
        slack = lengths * (self.error + rounding) + errors * (self.longest + self.error)
        near = np.empty((len(queries), width), dtype=np.float32)
        _near(codes, scales[:, 0], self.codes, self.scales, near)
        return near, slack.astype(np.float32)


def _summed(builder: Any, pairs: Pairs, length: Any) -> list[Any]:
    """Write the code of sums of products of queries' codes with items'.

    Neighbouring products are added first: what multiplies and adds pairs of small numbers at once
    (``vpdpwssd``, ``pmaddwd``) is used where the processor has it.
    """
    number, whole = length.type, ir.IntType(32)
    short, byte = (ir.VectorType(ir.IntType(bits), STEP) for bits in (16, 8))
    wide = ir.VectorType(whole, STEP)
    sums = zeros(builder, ir.VectorType(whole, STEP // 2), len(pairs))
    asked, codes = (dict.fromkeys(rows) for rows in zip(*pairs, strict=True))
    with stepping(builder, number(0), length, STEP) as at:
        # By way of 16 bits, as which they are multiplied.
        read = {
            **{row: load(builder, row, at, short) for row in asked},
            **{row: builder.sext(load(builder, row, at, byte), short) for row in codes},
        }
        read = {row: builder.sext(told, wide) for row, told in read.items()}
        for (one, other), place in zip(pairs, sums, strict=True):
            products = builder.mul(read[one], read[other])
            even, odd = (
                shuffled(builder, products, products, range(first, STEP, 2)) for first in (0, 1)
            )
            told = builder.add(builder.load(place), builder.add(even, odd))
            builder.store(told, place)
    return [builder.load(one) for one in sums]


def _tile(n_left: int, n_right: int) -> Callable[..., None]:
    return tile_of(n_left, n_right, _summed)


_FOUR_BY_FOUR, _TWO_BY_FOUR = _tile(4, TILE), _tile(2, TILE)
_ONE_BY_FOUR, _ONE_BY_ONE = _tile(1, TILE), _tile(1, 1)
NEARBY = 64  # items whose codes stay near the processor while all queries meet them


@compiled
def _near(
    queries: Int16s, query_scales: Float32s, items: Int8s, scales: Float32s, out: Float32s
) -> None:
    n_items = len(items)
    sums = np.empty((len(queries), NEARBY), dtype=np.int32)
    for start in range(0, n_items, NEARBY):
        end = min(start + NEARBY, n_items)
        _write_sums(queries, items[start:end], sums)
        some = scales[start:end]
        for q in range(len(queries)):
            scale, told, to = query_scales[q], sums[q], out[q, start:end]
            for i in range(len(some)):
                to[i] = told[i] * scale * some[i]


@compiled
def _write_sums(queries: Int16s, items: Int8s, sums: Int32s) -> None:
    """Write the products of all queries' codes with some items'."""
    n, size = len(queries), len(items)
    whole = size // TILE * TILE
    fours, twos = n // 4 * 4, n // 2 * 2
    for q in range(0, fours, 4):
        for i in range(0, whole, TILE):
            _FOUR_BY_FOUR(queries, q, items, i, i + 1, i + 2, i + 3, sums, q, i)
    for q in range(fours, twos, 2):
        for i in range(0, whole, TILE):
            _TWO_BY_FOUR(queries, q, items, i, i + 1, i + 2, i + 3, sums, q, i)
    for q in range(twos, n):
        for i in range(0, whole, TILE):
            _ONE_BY_FOUR(queries, q, items, i, i + 1, i + 2, i + 3, sums, q, i)
    for q in range(n):
        for i in range(whole, size):
            _ONE_BY_ONE(queries, q, items, i, i, i, i, sums, q, i)
