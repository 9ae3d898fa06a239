"""Collaborative factors in one basis, whatever refit they come from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import InputError

Floats = npt.NDArray[np.float32]


def scale_factors(factors: Floats) -> Floats:
    """Return item factors divided by the root mean square of their lengths, ``float32 (n, f)``.

    Items without interactions keep a vector of zeros.
    """
    lengths = np.linalg.norm(factors, axis=1)
    typical = np.sqrt(np.mean(np.square(lengths[lengths > 0]))) if np.any(lengths > 0) else 1.0
    return np.asarray(factors / typical, dtype=np.float32)


def turn_onto(factors: Floats, basis: Floats) -> Floats:
    """Return the orthogonal map that brings factors closest to others, ``float32 (f, f)``.

    A factor model says the same in any rotation of its space, so a refit lands in another one.
    ``factors @ turn`` is in the basis of the others (orthogonal Procrustes, Schoenemann 1966).

    Parameters
    ----------
    factors
        Item factors, ``float32 (n, f)``; rows of zeros say nothing.
    basis
        Other factors of the same items in the same rows, likewise.
    """
    if factors.shape != basis.shape:
        raise InputError(
            f"factors of shape {basis.shape} were expected for alignment, not {factors.shape}"
        )
    ours, theirs = scale_factors(factors), scale_factors(basis)
    left, _, right = np.linalg.svd(ours.T.astype(np.float64) @ theirs.astype(np.float64))
    return np.asarray((left @ right).astype(np.float32))


def align_factors(factors: Floats, basis: Floats) -> Floats:
    """Return refitted item factors turned into the basis that the ranker was trained with.

    Scaled to a typical length of 1, and turned by :func:`turn_onto` over their common items.

    Parameters
    ----------
    factors
        Item factors of the refit, ``float32 (n, f)``.
    basis
        Item factors seen in training, the same items in the same rows, ``float32 (n, f)``.
    """
    turn = turn_onto(factors, basis)
    return np.asarray(scale_factors(factors) @ turn, dtype=np.float32)
