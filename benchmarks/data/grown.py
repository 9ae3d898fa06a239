"""Catalogues larger than any real one at hand, grown from real vectors by a stated recipe.

Vectors: a real vector, moved a random part of the way towards one of its eight nearest, plus normal
noise of length 0.4, scaled to length 1. Interactions: users of 200 tastes, each with 25 events at
random times; four of five events are in the taste's share of the catalogue, its better-liked items
oftener (a cubic law), the others anywhere by the same law.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twofold.indexing.interactions import Interactions
from twofold.indexing.vectors import VectorIndex, normalised

Floats = npt.NDArray[np.float32]
NEAR, NOISE, CHUNK = 8, 0.4, 100_000
TASTES, EVENTS, OWN = 200, 25, 0.8
START_MS, SPAN_MS = 1_600_000_000_000, 10**10


def grown_vectors(real: Floats, n: int, *, seed: int) -> Floats:
    """Return `n` vectors around real ones, ``float32 (n, d)``, of length 1.

    Parameters
    ----------
    real
        Vectors of length 1, or 0 (which are left out).
    n
        How many.
    seed
        Where chance begins.
    """
    rng = np.random.default_rng(seed)
    real = np.unique(real[real.any(axis=1)], axis=0)
    near = VectorIndex.build(real, device="cpu").search(real, NEAR + 1)[1]
    out = np.empty((n, real.shape[1]), dtype=np.float32)
    for start in range(0, n, CHUNK):
        size = min(CHUNK, n - start)
        one = rng.integers(0, len(real), size)
        other = near[one, rng.integers(1, near.shape[1], size)]
        way = rng.random((size, 1), dtype=np.float32)
        noise = rng.standard_normal((size, real.shape[1]), dtype=np.float32)
        moved = real[one] + way * (real[other] - real[one])
        out[start : start + size] = normalised(moved + NOISE / np.sqrt(real.shape[1]) * noise)
    return out


def grown_log(n_users: int, n_items: int, *, seed: int) -> Interactions:
    """Return interactions of users of a few tastes with many items.

    Parameters
    ----------
    n_users, n_items
        How many.
    seed
        Where chance begins.
    """
    rng = np.random.default_rng(seed)
    n = n_users * EVENTS
    users = np.repeat(np.arange(n_users), EVENTS)
    share = max(1, n_items // TASTES)
    tastes = rng.integers(0, TASTES, n_users)[users]
    own = (tastes * share + (share * rng.random(n) ** 3).astype(np.int64)) % n_items
    anywhere = (n_items * rng.random(n) ** 3).astype(np.int64)
    items = np.where(rng.random(n) < OWN, own, np.minimum(anywhere, n_items - 1))
    times = START_MS + rng.integers(0, SPAN_MS, n)
    order = np.lexsort((times, users))
    return Interactions(
        users=users,
        items=items[order],
        steps=np.tile(np.arange(EVENTS, dtype=np.int32), n_users),
        times=times[order],
        weights=np.ones(n, dtype=np.float32),
        signs=np.ones(n, dtype=np.int8),
        seen=np.ones(n, dtype=bool),
        labels=np.ones(n, dtype=bool),
        kinds=np.zeros(n, dtype=np.int16),
        n_users=n_users,
        n_items=n_items,
    )
