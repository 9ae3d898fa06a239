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

from twofold.indexing.compiled import compiled
from twofold.indexing.tiles import LANES, TILE, Pairs, fused, load, stepping, tile_of, zeros

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
COPIED = 32  # queries from which on it pays to put items where they are read fastest
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


def _summed(builder: Any, pairs: Pairs, length: Any) -> list[Any]:
    """Write the code of sixteen partial sums of each pair's products."""
    lanes, number = ir.VectorType(ir.FloatType(), LANES), length.type
    sums = zeros(builder, lanes, len(pairs))
    with stepping(builder, number(0), _whole(builder, length), LANES) as at:
        _add_products(builder, pairs, at, lanes, sums)
    return [builder.load(one) for one in sums]


def _rest(builder: Any, pairs: Pairs, length: Any, to: list[Any]) -> None:
    """Write the code that adds the products of the places that are left."""
    with stepping(builder, _whole(builder, length), length, 1) as at:
        _add_products(builder, pairs, at, ir.FloatType(), to)


def _whole(builder: Any, length: Any) -> Any:
    lanes = length.type(LANES)
    return builder.mul(builder.sdiv(length, lanes), lanes)


def _add_products(builder: Any, pairs: Pairs, at: Any, kind: Any, sums: list[Any]) -> None:
    fma = fused(builder, kind)
    # Each row is read once for all its pairs.
    read = {row: load(builder, row, at, kind) for row in dict.fromkeys(sum(pairs, ()))}
    for (one, other), place in zip(pairs, sums, strict=True):
        told = builder.call(fma, [read[one], read[other], builder.load(place)])
        builder.store(told, place)


def _tile(n_left: int, n_right: int) -> Callable[..., None]:
    return tile_of(n_left, n_right, _summed, _rest)


_FOUR_BY_FOUR, _TWO_BY_FOUR = _tile(4, TILE), _tile(2, TILE)
_ONE_BY_FOUR, _ONE_BY_ONE = _tile(1, TILE), _tile(1, 1)


@compiled
def _products(queries: Float32s, items: Float32s, out: Float32s) -> None:
    n, (n_items, length) = len(queries), items.shape
    copied = n >= COPIED
    near = _aligned(NEARBY * length if copied else 0)[: NEARBY * length if copied else 0]
    block = near.reshape(NEARBY if copied else 0, length)
    for start in range(0, n_items, NEARBY):
        size = min(NEARBY, n_items - start)
        if copied:
            block[:size] = items[start : start + size]
            _block_products(queries, block[:size], out, start)
        else:
            _block_products(queries, items[start : start + size], out, start)


@compiled
def _block_products(queries: Float32s, items: Float32s, out: Float32s, start: int) -> None:
    """Write all queries' products with some items, the first of which is number `start`."""
    n, size = len(queries), len(items)
    whole = size // TILE * TILE
    fours, twos = n // 4 * 4, n // 2 * 2
    for q in range(0, fours, 4):
        for i in range(0, whole, TILE):
            _FOUR_BY_FOUR(queries, q, items, i, i + 1, i + 2, i + 3, out, q, start + i)
    for q in range(fours, twos, 2):
        for i in range(0, whole, TILE):
            _TWO_BY_FOUR(queries, q, items, i, i + 1, i + 2, i + 3, out, q, start + i)
    # One query waits for memory: it reads it in one stream.
    for q in range(twos, n):
        for i in range(whole):
            _ONE_BY_ONE(queries, q, items, i, i, i, i, out, q, start + i)
    for q in range(n):
        for i in range(whole, size):
            _ONE_BY_ONE(queries, q, items, i, i, i, i, out, q, start + i)


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
