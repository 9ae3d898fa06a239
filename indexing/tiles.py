"""Machine code of sums over a few rows by a few others, which keeps what it adds up in registers.

A compiler of loops over single numbers does not find this by itself: it writes every sum to memory
at every step, and adds up vectors one by one at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils as cgutils_module
from numba.extending import intrinsic

cgutils: Any = cgutils_module  # has no types
LANES = 16  # of a vector of sums
TILE = 4  # rows by rows, whose sixteen sums fill half of the registers
Pairs = list[tuple[Any, Any]]
# Writes the code of all sums of pairs of rows, given where the rows begin and their length.
Summed = Callable[[Any, Pairs, Any], list[Any]]
# Writes the code that adds what is left over to sums in memory, given where they stand.
Rest = Callable[[Any, Pairs, Any, list[Any]], None]


def tile_of(
    n_left: int, n_right: int, summed: Summed, rest: Rest | None = None
) -> Callable[..., None]:
    """Return what writes the sums of a few rows of one array with a few of another.

    Called in compiled code with the left array, its first row, the right array, four rows of it
    (those beyond `n_right` are not read), the output, and the row and column of the first sum
    there. Both arrays have rows of one length; all three are C-contiguous.

    Parameters
    ----------
    n_left, n_right
        How many rows of each; their product is a power of two, at most 16.
    summed
        Writes the vectors, of `LANES` numbers each, that are folded to the sums.
    rest
        Adds what does not fill a vector.
    """

    @intrinsic
    def tile(_, left, row, right, one, two, three, four, out, to_row, to_column):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        places = (row, one, two, three, four, to_row, to_column)
        signature = types.void(left, row, right, *places[1:5], out, *places[5:])

        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            def array(at: int) -> Any:
                return context.make_array(signature.args[at])(context, builder, given[at])

            mine, others, written = array(0), array(2), array(7)
            length = cgutils.unpack_tuple(builder, mine.shape)[1]
            number = length.type

            def row_of(whole: Any, place: Any) -> Any:
                return builder.gep(whole.data, [builder.mul(place, length)])

            rows = [row_of(mine, builder.add(given[1], number(place))) for place in range(n_left)]
            beside = [row_of(others, given[3 + place]) for place in range(n_right)]
            pairs = [(a, b) for a in rows for b in beside]
            sums = folded(builder, summed(builder, pairs, length))
            width, to = cgutils.unpack_tuple(builder, written.shape)[1], []
            for place in range(n_left):
                start = builder.mul(builder.add(given[8], number(place)), width)
                start = builder.add(start, given[9])
                to += [
                    builder.gep(written.data, [builder.add(start, number(column))])
                    for column in range(n_right)
                ]
                part = shuffled(builder, sums, sums, range(n_right * place, n_right * (place + 1)))
                store(builder, part, to[-n_right])
            if rest is not None:
                rest(builder, pairs, length, to)
            return context.get_dummy_value()

        return signature, generate

    return tile


def folded(builder: Any, vectors: list[Any]) -> Any:
    """Write the code that adds up each of some vectors in halves; return their sums as one vector.

    Two vectors are folded at once, then two pairs, as long as there are any: sixteen take fifteen
    additions where each by itself would take four. The sums are the same to the bit.

    Parameters
    ----------
    builder
        Takes the code.
    vectors
        Of one type; a power of two, at most as many as each has lanes.
    """
    width = vectors[0].type.count  # of what is left of one
    while width > 1:
        alone = len(vectors) == 1
        pairs = (
            [(vectors[0], vectors[0])] if alone else zip(vectors[::2], vectors[1::2], strict=True)
        )
        n_places = vectors[0].type.count * (1 if alone else 2)
        low = [start + n for start in range(0, n_places, width) for n in range(width // 2)]
        high = [place + width // 2 for place in low]
        vectors = [
            added(builder, shuffled(builder, *pair, low), shuffled(builder, *pair, high))
            for pair in pairs
        ]
        width //= 2
    return vectors[0]


def added(builder: Any, one: Any, other: Any) -> Any:
    """Write the code of a sum of two vectors, of whole numbers or not."""
    whole = isinstance(one.type.element, ir.IntType)
    return builder.add(one, other) if whole else builder.fadd(one, other)


def shuffled(builder: Any, one: Any, other: Any, places: Any) -> Any:
    """Write the code that takes lanes out of two vectors, those of the other behind the one's."""
    chosen = list(places)
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(chosen)), chosen)
    return builder.shuffle_vector(one, other, mask)


def spread(builder: Any, value: Any, lanes: int) -> Any:
    """Write the code of a vector that holds one number in every lane."""
    whole = ir.IntType(32)
    nothing = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    return shuffled(builder, builder.insert_element(nothing, value, whole(0)), nothing, [0] * lanes)


def load(builder: Any, row: Any, at: Any, kind: Any) -> Any:
    """Write the code that reads a row's number or vector of this kind, at whatever address.

    Vectors that are mapped from a file of FAISS stand at odd ones.
    """
    return builder.load(builder.bitcast(builder.gep(row, [at]), kind.as_pointer()), align=1)


def store(builder: Any, value: Any, to: Any) -> None:
    """Write the code that writes a vector of four-byte numbers."""
    builder.store(value, builder.bitcast(to, value.type.as_pointer()), align=4)


def fused(builder: Any, kind: Any) -> Any:
    """Return the function of one type that multiplies and adds, rounding once."""
    lanes = f"v{kind.count}" if isinstance(kind, ir.VectorType) else ""
    made = ir.FunctionType(kind, [kind, kind, kind])
    return cgutils.get_or_insert_function(builder.module, made, f"llvm.fma.{lanes}f32")


def zeros(builder: Any, kind: Any, n: int) -> list[Any]:
    """Write the code of some variables of a vector type that are 0 at first; return their places.

    They become registers: nothing else points at them.
    """
    return [cgutils.alloca_once_value(builder, ir.Constant(kind, None)) for _ in range(n)]


@contextmanager
def stepping(builder: Any, start: Any, stop: Any, step: int) -> Iterator[Any]:
    """Write the code of a ``with`` block as a loop over places from `start`, a `step` apart."""
    number = start.type
    with cgutils.for_range_slice(builder, start, stop, number(step), intp=number) as (at, _):
        yield at
