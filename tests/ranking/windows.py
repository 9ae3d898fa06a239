"""Label windows from which a whole ranker is made, over the items of the small worlds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from tests.ranking.planted import planted_lists
from tests.ranking.worlds import (
    FACTOR_DIM,
    N_FEATURES,
    N_ITEMS,
    N_KINDS,
    TEXT_DIM,
    make_queries,
    make_texts,
)
from twofold.ranking.lists import Lists, Window
from twofold.ranking.making import Made, make_ranker
from twofold.ranking.settings import RankerSettings

N_USERS, N_CANDIDATES = 60, 5


def make_lists(seed: int, users: Sequence[int] = range(N_USERS), *, hits: float = 1.0) -> Lists:
    """Return lists of users, a share of them with one hit, whose first feature is higher."""
    rng, n = np.random.default_rng(seed), len(users)
    items = np.stack([rng.permutation(N_ITEMS)[:N_CANDIDATES] for _ in users]).astype(np.int64)
    labels = np.arange(N_CANDIDATES)[None, :] == rng.integers(0, N_CANDIDATES, n)[:, None]
    labels &= rng.random((n, 1)) < hits
    features = rng.normal(size=(n, N_CANDIDATES, N_FEATURES)).astype(np.float32)
    features[..., 0] += 2 * labels
    queries = make_queries([rng.integers(0, N_ITEMS, 3).tolist() for _ in users])
    lists = planted_lists(items, labels, features, queries)
    return replace(lists, queries=replace(queries, users=np.array(users, dtype=np.int64)))


def make_window(seed: int, users: Sequence[int] = range(N_USERS), *, hits: float = 1.0) -> Window:
    """Return such lists beside a stage one of random numbers."""
    rng = np.random.default_rng(seed + 100)
    near = tuple(sp.random(N_ITEMS, N_ITEMS, 0.3, "csr", np.float32, rng) for _ in range(2))
    for one in near:
        one.sort_indices()
    factors = rng.normal(size=(N_ITEMS, FACTOR_DIM)).astype(np.float32)
    taken = sp.random(N_USERS, N_ITEMS, 0.3, "csr", np.float32, rng)
    return Window(make_lists(seed, users, hits=hits), factors, near, taken)


def make_vectors() -> npt.NDArray[np.float32]:
    return np.random.default_rng(7).normal(size=(N_ITEMS, TEXT_DIM)).astype(np.float32)


def make_of(
    windows: Sequence[Window], settings: RankerSettings, unlabelled: Window | None = None
) -> Made:
    """Return the ranker that is made of windows."""
    texts, vectors = make_texts(), make_vectors()
    return make_ranker(windows, texts, vectors, N_KINDS, settings, unlabelled=unlabelled, seed=3)
