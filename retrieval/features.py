"""What stage two is told of each candidate: the sources' scores, standardised within the row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
VIEWS = ("z", "rank", "proposed")


def feature_names(sources: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the features of sources, ``collaborative.z`` and so on."""
    return tuple(f"{source}.{view}" for source in sources for view in VIEWS)


def standardise(
    scores: Floats, proposed: npt.NDArray[np.uint32], mask: npt.NDArray[np.bool_]
) -> Floats:
    """Return the features of merged candidates, ``float32 (n, m, 3 * n_sources)``.

    For each source: the score's distance from the row's mean in standard deviations (0 where all
    are equal); a logarithmic rank from +0.5 for the best downwards, tied scores sharing their mean
    place (0 where all are tied); and whether the source proposed the item. All are free of the
    scores' scale, so that they survive a refit of stage one, and none depends on other rows.

    Parameters
    ----------
    scores
        What each source says, ``float32 (n_sources, n, m)``.
    proposed
        Bit ``s`` is set where source ``s`` proposed the item, ``uint32 (n, m)``.
    mask
        True at candidates, ``bool (n, m)``.
    """
    n, m = mask.shape
    out = np.zeros((n, m, 3 * len(scores)), dtype=np.float32)
    if not out.size:
        return out
    count = np.maximum(mask.sum(axis=1, keepdims=True), 1)
    values = np.where(mask, scores, 0.0).astype(np.float64)
    mean = values.sum(axis=2, keepdims=True) / count
    rest = np.where(mask, values - mean, 0.0)
    deviation = np.sqrt(np.square(rest).sum(axis=2, keepdims=True) / count)
    flat = deviation <= 1e-6 * np.maximum(1.0, np.abs(mean))
    z = np.where(flat, 0.0, rest / np.where(flat, 1.0, deviation))
    place = _places(np.where(mask, scores, -np.inf).reshape(-1, m)).reshape(scores.shape)
    log_rank = 0.5 - np.log1p(place) / np.log1p(100.0)
    rank = np.where(mask & ~flat, log_rank, 0.0)
    bits = np.arange(len(scores), dtype=np.uint32)[:, None, None]
    views = (np.clip(z, -10, 10), rank, (proposed >> bits) & np.uint32(1))
    for number, view in enumerate(views):
        out[..., number::3] = view.transpose(1, 2, 0)
    return out


def _places(scores: Floats) -> npt.NDArray[np.float64]:
    """Return how many of the row stand before each, from 0; ties share their mean."""
    order = np.argsort(-scores, axis=1)
    ranked = np.take_along_axis(scores, order, axis=1)
    n, m = scores.shape
    starts = np.ones((n, m), dtype=bool)
    starts[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    first = np.flatnonzero(starts)
    sizes = np.diff(np.append(first, n * m))
    mean = np.repeat(first + (sizes - 1) / 2, sizes).reshape(n, m) - np.arange(n)[:, None] * m
    out = np.empty((n, m))
    np.put_along_axis(out, order, mean, axis=1)
    return out
