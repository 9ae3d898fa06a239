"""Inner products that come out the same whatever they are computed beside.

A matrix product of a library may add up in another order for another number of rows, so that a
query's scores would depend on its company, and equal items would not tie. Here every inner product
is added up in one order: sixteen partial sums, each over every sixteenth place, folded in halves,
then the places that are left, all by fused multiplications. Tiles of four queries by four items
keep what they read in registers, which is as fast as a library's matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
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
Int64s = npt.NDArray[np.int64]
LANES, TILE = 16, 4
NEARBY = 64  # items whose vectors stay near the processor while all queries meet them


def products(queries: Float32s, items: Float32s) -> Float32s:
    """Return the inner products of queries with items, ``float32 (n, n_items)``.

    Parameters
    ----------
    queries
        ``float32 (n, d)``.
    items
        ``float32 (n_items, d)``.
    """
    out = np.empty((len(queries), len(items)), dtype=np.float32)
    _products(np.ascontiguousarray(queries), np.ascontiguousarray(items), out)
    return out


def products_at(queries: Float32s, vectors: Float32s, items: Int64s) -> Float32s:
    """Return the inner products of each query with items of its own, ``float32 (n, m)``.

    Parameters
    ----------
    queries
        ``float32 (n, d)``.
    vectors
        Of all items, ``float32 (n_items, d)``.
    items
        Item numbers, ``int64 (n, m)``; -1 gives 0.
    """
    out = np.zeros(items.shape, dtype=np.float32)
    write_products_at(np.ascontiguousarray(queries), np.ascontiguousarray(vectors), items, out)
    return out


def _tile(n_queries: int, n_items: int) -> Callable[..., None]:
    """Return what writes the inner products of a few rows of queries with a few of items.

    Called with the queries, the first row, the items, four rows (those beyond `n_items` are not
    read), the output and the place of the first product there.
    """

    @intrinsic
    def tile(_, queries, row, items, one, two, three, four, out, to_row, to_column):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        places = (row, one, two, three, four, to_row, to_column)
        signature = types.void(queries, row, items, *places[1:5], out, *places[5:])

        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            def array(at: int) -> Any:
                return context.make_array(signature.args[at])(context, builder, given[at])

            def row_of(whole: Any, number: Any) -> Any:
                return builder.gep(whole.data, [builder.mul(number, length)])

            asked, vectors, written = array(0), array(2), array(7)
            length = cgutils.unpack_tuple(builder, asked.shape)[1]
            number = length.type
            left = [
                row_of(asked, builder.add(given[1], number(place))) for place in range(n_queries)
            ]
            right = [row_of(vectors, given[3 + place]) for place in range(n_items)]
            sums = _summed(builder, left, right, length)
            width = cgutils.unpack_tuple(builder, written.shape)[1]
            for place, row_sums in enumerate(sums):
                start = builder.mul(builder.add(given[8], number(place)), width)
                start = builder.add(start, given[9])
                for column, one_sum in enumerate(row_sums):
                    to = builder.gep(written.data, [builder.add(start, number(column))])
                    builder.store(builder.load(one_sum), to, align=4)
            return context.get_dummy_value()

        return signature, generate

    return tile


def _summed(builder: Any, left: list[Any], right: list[Any], length: Any) -> list[list[Any]]:
    """Write the code of all inner products of some rows with others; return where the sums are."""
    one, lanes = ir.FloatType(), ir.VectorType(ir.FloatType(), LANES)
    number = length.type
    pairs = [(a, b) for a in range(len(left)) for b in range(len(right))]

    def fused(kind: Any, name: str) -> Any:
        made = ir.FunctionType(kind, [kind, kind, kind])
        return cgutils.get_or_insert_function(builder.module, made, f"llvm.fma.{name}")

    def added(sums: dict[Any, Any], kind: Any, fma: Any, place: Any) -> None:
        # Vectors that are mapped from a file of FAISS stand at odd addresses.
        def read(row: Any) -> Any:
            return builder.load(
                builder.bitcast(builder.gep(row, [place]), kind.as_pointer()), align=1
            )

        a_values, b_values = [read(row) for row in left], [read(row) for row in right]
        for a, b in pairs:
            told = builder.call(fma, [a_values[a], b_values[b], builder.load(sums[a, b])])
            builder.store(told, sums[a, b])

    partial = {pair: cgutils.alloca_once_value(builder, ir.Constant(lanes, None)) for pair in pairs}
    whole = builder.mul(builder.sdiv(length, number(LANES)), number(LANES))
    with cgutils.for_range_slice(builder, number(0), whole, number(LANES), intp=number) as (at, _):
        added(partial, lanes, fused(lanes, f"v{LANES}f32"), at)
    sums = {
        pair: cgutils.alloca_once_value(builder, _folded(builder, builder.load(lanes_of)))
        for pair, lanes_of in partial.items()
    }
    with cgutils.for_range_slice(builder, whole, length, number(1), intp=number) as (at, _):
        added(sums, one, fused(one, "f32"), at)
    return [[sums[a, b] for b in range(len(right))] for a in range(len(left))]


def _folded(builder: Any, vector: Any) -> Any:
    """Write the code that adds up a vector in halves, and return the sum."""
    width = LANES
    while width > 1:
        width //= 2
        nothing = ir.Constant(vector.type, ir.Undefined)
        places = ir.VectorType(ir.IntType(32), width)
        low, high = (
            builder.shuffle_vector(
                vector, nothing, ir.Constant(places, list(range(start, start + width)))
            )
            for start in (0, width)
        )
        vector = builder.fadd(low, high)
    return builder.extract_element(vector, ir.IntType(32)(0))


_FOUR_BY_FOUR, _FOUR_BY_ONE = _tile(4, TILE), _tile(4, 1)
_TWO_BY_ONE, _ONE_BY_FOUR, _ONE_BY_ONE = _tile(2, 1), _tile(1, TILE), _tile(1, 1)


@compiled
def _products(queries: Float32s, items: Float32s, out: Float32s) -> None:
    n, (n_items, length) = len(queries), items.shape
    fours = n // 4 * 4
    near = _aligned(NEARBY * length if fours else 0)[: NEARBY * length if fours else 0]
    block = near.reshape(NEARBY if fours else 0, length)
    for start in range(0, n_items, NEARBY):
        end = min(start + NEARBY, n_items)
        size = end - start
        whole = size // TILE * TILE
        if fours:
            block[:size] = items[start:end]
        for q in range(0, fours, 4):
            for i in range(0, whole, TILE):
                _FOUR_BY_FOUR(queries, q, block, i, i + 1, i + 2, i + 3, out, q, start + i)
            for i in range(whole, size):
                _FOUR_BY_ONE(queries, q, block, i, i, i, i, out, q, start + i)
        # One or two queries wait for memory: they read it in one stream.
        q = fours
        if n - q >= 2:
            for i in range(start, end):
                _TWO_BY_ONE(queries, q, items, i, i, i, i, out, q, i)
            q += 2
        if q < n:
            for i in range(start, end):
                _ONE_BY_ONE(queries, q, items, i, i, i, i, out, q, i)


@compiled
def _aligned(n: int) -> Float32s:
    """Return memory of so many numbers, or a few more, that begins where a cache line does.

    Vectors that are mapped from a file of FAISS do not, and are read at half the speed.
    """
    raw = np.empty(n + 16, dtype=np.float32)
    return raw[(-(raw.ctypes.data // 4)) % 16 :]


@compiled
def write_products_at(queries: Float32s, vectors: Float32s, items: Int64s, out: Float32s) -> None:
    """Write what :func:`products_at` returns; what stands at -1 stays as it is."""
    n, m = items.shape
    whole = m // TILE * TILE
    for q in range(n):
        for i in range(0, whole, TILE):
            a, b, c, d = items[q, i], items[q, i + 1], items[q, i + 2], items[q, i + 3]
            if min(min(a, b), min(c, d)) >= 0:
                _ONE_BY_FOUR(queries, q, vectors, a, b, c, d, out, q, i)
                continue
            for j in range(i, i + TILE):
                if items[q, j] >= 0:
                    a = items[q, j]
                    _ONE_BY_ONE(queries, q, vectors, a, a, a, a, out, q, j)
        for j in range(whole, m):
            if items[q, j] >= 0:
                a = items[q, j]
                _ONE_BY_ONE(queries, q, vectors, a, a, a, a, out, q, j)
