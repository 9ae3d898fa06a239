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
from numba import types
from numba.core import cgutils as cgutils_module
from numba.extending import intrinsic

from twofold.indexing.compiled import compiled

cgutils: Any = cgutils_module  # has no types
Float32s = npt.NDArray[np.float32]
Int8s = npt.NDArray[np.int8]
Int16s = npt.NDArray[np.int16]
Int32s = npt.NDArray[np.int32]
# Numbers in all vectors up to which they are rounded: what is kept is a quarter of them.
MOST_ROUNDED = 1 << 24
LANES, TILE = 32, 4
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
        codes = np.zeros((n, -(-d // LANES) * LANES), dtype=np.int8)
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


def _tile(n_queries: int, n_items: int) -> Callable[..., None]:
    """Return what writes the products of a few rows of queries' codes with a few of items'.

    Called with the queries, the first row, the items, the first row there, the output, ``int32``,
    and the place of the first product there.
    """

    @intrinsic
    def tile(_, queries, row, items, item, out, to_row, to_column):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        signature = types.void(queries, row, items, item, out, to_row, to_column)

        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            def array(at: int) -> Any:
                return context.make_array(signature.args[at])(context, builder, given[at])

            asked, codes, written = array(0), array(2), array(4)
            length = cgutils.unpack_tuple(builder, asked.shape)[1]
            number = length.type

            def rows(whole: Any, first: Any, n: int) -> list[Any]:
                places = [builder.add(first, number(place)) for place in range(n)]
                return [builder.gep(whole.data, [builder.mul(one, length)]) for one in places]

            left, right = rows(asked, given[1], n_queries), rows(codes, given[3], n_items)
            sums = _summed(builder, left, right, length)
            width = cgutils.unpack_tuple(builder, written.shape)[1]
            for place, row_sums in enumerate(sums):
                start = builder.mul(builder.add(given[5], number(place)), width)
                start = builder.add(start, given[6])
                for column, one in enumerate(row_sums):
                    to = builder.gep(written.data, [builder.add(start, number(column))])
                    builder.store(one, to, align=4)
            return context.get_dummy_value()

        return signature, generate

    return tile


def _summed(builder: Any, left: list[Any], right: list[Any], length: Any) -> list[list[Any]]:
    """Write the code of all sums of products of some rows with others; return the sums.

    Neighbouring products are added first: what multiplies and adds pairs of small numbers at once
    (``vpdpwssd``, ``pmaddwd``) is used where the processor has it.
    """
    number, whole = length.type, ir.IntType(32)
    short, byte = (ir.VectorType(ir.IntType(bits), LANES) for bits in (16, 8))
    wide, half = ir.VectorType(whole, LANES), ir.VectorType(whole, LANES // 2)
    pairs = [(a, b) for a in range(len(left)) for b in range(len(right))]
    sums = {pair: cgutils.alloca_once_value(builder, ir.Constant(half, None)) for pair in pairs}

    def every_second(vector: Any, first: int) -> Any:
        places = ir.Constant(half, list(range(first, LANES, 2)))
        return builder.shuffle_vector(vector, ir.Constant(wide, ir.Undefined), places)

    with cgutils.for_range_slice(builder, number(0), length, number(LANES), intp=number) as (at, _):

        def read(row: Any, kind: Any) -> Any:
            place = builder.bitcast(builder.gep(row, [at]), kind.as_pointer())
            return builder.load(place, align=1)

        asked = [builder.sext(read(row, short), wide) for row in left]
        # By way of 16 bits, as which they are multiplied.
        codes = [builder.sext(builder.sext(read(row, byte), short), wide) for row in right]
        for a, b in pairs:
            products = builder.mul(asked[a], codes[b])
            two = builder.add(every_second(products, 0), every_second(products, 1))
            builder.store(builder.add(builder.load(sums[a, b]), two), sums[a, b])
    kind = ir.FunctionType(whole, [half])
    name = f"llvm.vector.reduce.add.v{LANES // 2}i32"
    added = cgutils.get_or_insert_function(builder.module, kind, name)
    return [
        [builder.call(added, [builder.load(sums[a, b])]) for b in range(len(right))]
        for a in range(len(left))
    ]


_FOUR_BY_FOUR, _FOUR_BY_ONE = _tile(4, TILE), _tile(4, 1)
_TWO_BY_ONE, _ONE_BY_ONE = _tile(2, 1), _tile(1, 1)
NEARBY = 64  # items whose codes stay near the processor while all queries meet them


@compiled
def _near(
    queries: Int16s, query_scales: Float32s, items: Int8s, scales: Float32s, out: Float32s
) -> None:
    n, n_items = len(queries), len(items)
    sums = np.empty((4, NEARBY), dtype=np.int32)
    for start in range(0, n_items, NEARBY):
        size = min(NEARBY, n_items - start)
        whole = size // TILE * TILE
        for first in range(0, n, 4):
            some = min(4, n - first)
            if some == 4:
                for i in range(0, whole, TILE):
                    _FOUR_BY_FOUR(queries, first, items, start + i, sums, 0, i)
                for i in range(whole, size):
                    _FOUR_BY_ONE(queries, first, items, start + i, sums, 0, i)
            else:
                # One or two queries wait for memory: they read it in one stream.
                if some >= 2:
                    for i in range(size):
                        _TWO_BY_ONE(queries, first, items, start + i, sums, 0, i)
                if some % 2:
                    for i in range(size):
                        _ONE_BY_ONE(queries, first + some - 1, items, start + i, sums, some - 1, i)
            for q in range(some):
                scale = query_scales[first + q]
                for i in range(size):
                    out[first + q, start + i] = sums[q, i] * scale * scales[start + i]
