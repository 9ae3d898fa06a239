"""Least squares of one side of a factor model given the other, one row after another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twofold.indexing.compiled import compiled

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]


def solved(
    factors: Float32s, gram: Float64s, starts: Int64s, items: Int64s, confidence: Float32s
) -> Float32s:
    """Return the factors of rows that suit given factors of the columns, ``float32 (n, f)``.

    Equation 4 of Hu, Koren and Volinsky (2008),
    ``(Y'Y + Y'(C - I)Y + regularization I) x = Y'C p``, by Cholesky's decomposition in double
    precision. A row without entries gets zeros; none depends on others.

    Parameters
    ----------
    factors
        Of the columns, ``float32 (m, f)``.
    gram
        ``Y'Y + regularization I``, ``float64 (f, f)``.
    starts, items
        Entries of row ``r`` are ``items[starts[r]:starts[r + 1]]``.
    confidence
        Of each entry, above 0, ``float32``.
    """
    out = np.zeros((len(starts) - 1, factors.shape[1]), dtype=np.float32)
    _solved(factors, gram, starts, items, confidence, out)
    return out


@compiled
def _solved(
    factors: Float32s,
    gram: Float64s,
    starts: Int64s,
    items: Int64s,
    confidence: Float32s,
    out: Float32s,
) -> None:
    f = factors.shape[1]
    left, right, one = np.empty((f, f)), np.empty(f), np.empty(f)
    for row in range(len(starts) - 1):
        if starts[row] == starts[row + 1]:
            continue
        left[:], right[:] = gram, 0.0
        for entry in range(starts[row], starts[row + 1]):
            known, weight = factors[items[entry]], np.float64(confidence[entry])
            for i in range(f):
                one[i] = known[i]
                right[i] += weight * one[i]
            for i in range(f):
                beyond, mine, rest = (weight - 1.0) * one[i], left[i, i:], one[i:]
                for j in range(len(mine)):
                    mine[j] += beyond * rest[j]
        _decomposed(left)
        for i in range(f):  # upper' z = right
            right[i] /= left[i, i]
            for j in range(i + 1, f):
                right[j] -= right[i] * left[i, j]
        for i in range(f - 1, -1, -1):  # upper x = z
            total = right[i]
            for j in range(i + 1, f):
                total -= left[i, j] * right[j]
            right[i] = total / left[i, i]
            out[row, i] = right[i]


@compiled
def _decomposed(left: Float64s) -> None:
    """Turn the upper half of a positive definite matrix into its Cholesky factor, in place."""
    f = len(left)
    for k in range(f):
        pivot = np.sqrt(left[k, k])
        for j in range(k, f):
            left[k, j] /= pivot
        for i in range(k + 1, f):
            scale, row, above = left[k, i], left[i, i:], left[k, i:]
            for j in range(len(row)):
                row[j] -= scale * above[j]
