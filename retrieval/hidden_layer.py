"""Scores of a hidden layer over features, each added up in one order whatever stands beside it."""

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
from twofold.indexing.tiles import LANES, folded, fused, load, spread, stepping, store, zeros

cgutils: Any = cgutils_module  # has no types
Floats = npt.NDArray[np.float32]
FLOATS = ir.VectorType(ir.FloatType(), LANES)
TOGETHER = 8  # candidates whose sums keep the processor busy while each waits for its last step


class Layer:
    """Units over features, and what each counts, laid out for vector instructions.

    Parameters
    ----------
    weights
        Of each unit, ``float32 (n_units, n_features)``.
    bias, outward
        Of each unit, ``float32 (n_units,)``.
    linear
        Weights of a sum beside the units, ``float32 (n_features,)``.
    """

    def __init__(self, weights: Floats, bias: Floats, outward: Floats, linear: Floats) -> None:
        n_units, n_features = weights.shape
        width = -(-(n_units + 1) // LANES) * LANES
        self._weights = np.zeros((n_features, width), dtype=np.float32)
        self._weights[:, :n_units], self._weights[:, n_units] = weights.T, linear
        self._bias, self._outward, self._least = np.zeros((3, width), dtype=np.float32)
        self._bias[:n_units], self._outward[:n_units] = bias, outward
        # The sum beside them is one more unit, which may be below 0.
        self._outward[n_units], self._least[n_units] = 1, -np.inf

    def scores(self, features: Floats) -> Floats:
        """Return ``linear . x + sum of outward * max(0, weights . x + bias)``, ``float32 (n,)``.

        Parameters
        ----------
        features
            ``x``, finite, ``float32 (n, n_features)``.
        """
        out = np.empty(len(features), dtype=np.float32)
        rows = np.ascontiguousarray(features, dtype=np.float32)
        _scored(rows, self._weights, self._bias, self._outward, self._least, out)
        return out


def _scores_of(n_rows: int) -> Callable[..., None]:
    """Return what writes the scores of a few candidates.

    Called in compiled code with features, the first candidate, weights, bias, outward, least and
    the output, as :class:`Layer` has them.
    """

    @intrinsic
    def scores(_, rows, first, weights, bias, outward, least, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        signature = types.void(rows, first, weights, bias, outward, least, out)

        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            def array(at: int) -> Any:
                return context.make_array(signature.args[at])(context, builder, given[at])

            read, weighed, told = array(0), array(2), array(6)
            each = [array(at).data for at in (3, 4, 5)]
            shape = cgutils.unpack_tuple(builder, weighed.shape)
            number, fma = shape[0].type, fused(builder, FLOATS)
            starts = [
                builder.gep(read.data, [builder.mul(builder.add(given[1], number(row)), shape[0])])
                for row in range(n_rows)
            ]
            totals = zeros(builder, FLOATS, n_rows)
            with stepping(builder, number(0), shape[1], LANES) as column:
                begun, counted, least_told = (load(builder, one, column, FLOATS) for one in each)
                sums = _unit_sums(builder, starts, weighed.data, shape, column, begun)
                for total, one in zip(totals, sums, strict=True):
                    above = builder.fcmp_ordered(">", one, least_told)
                    passed = builder.select(above, one, least_told)
                    added_up = builder.call(fma, [passed, counted, builder.load(total)])
                    builder.store(added_up, total)
            found = folded(builder, [builder.load(total) for total in totals])
            store(builder, found, builder.gep(told.data, [given[1]]))
            return context.get_dummy_value()

        return signature, generate

    return scores


def _unit_sums(
    builder: Any, rows: list[Any], weights: Any, shape: Any, column: Any, begun: Any
) -> list[Any]:
    """Write the code of what `LANES` units from a column on make of each row's features."""
    (length, width), one = shape, ir.FloatType()
    fma, number = fused(builder, FLOATS), length.type
    sums = [cgutils.alloca_once(builder, FLOATS) for _ in rows]
    for place in sums:
        builder.store(begun, place)
    with stepping(builder, number(0), length, 1) as at:
        weight = load(builder, weights, builder.add(builder.mul(at, width), column), FLOATS)
        for row, place in zip(rows, sums, strict=True):
            value = spread(builder, load(builder, row, at, one), LANES)
            builder.store(builder.call(fma, [value, weight, builder.load(place)]), place)
    return [builder.load(place) for place in sums]


_SCORES_OF_MANY, _SCORES_OF_ONE = _scores_of(TOGETHER), _scores_of(1)


@compiled
def _scored(
    rows: Floats, weights: Floats, bias: Floats, outward: Floats, least: Floats, out: Floats
) -> None:
    whole = len(rows) // TOGETHER * TOGETHER
    for first in range(0, whole, TOGETHER):
        _SCORES_OF_MANY(rows, first, weights, bias, outward, least, out)
    for first in range(whole, len(rows)):
        _SCORES_OF_ONE(rows, first, weights, bias, outward, least, out)
