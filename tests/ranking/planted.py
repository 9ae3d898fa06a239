"""Lists whose hits are known by construction."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tests.ranking.worlds import make_queries
from twofold.ranking.lists import Lists
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import Queries


def planted_lists(
    items: npt.NDArray[np.int64],
    labels: npt.NDArray[np.bool_],
    features: npt.NDArray[np.float32],
    queries: Queries | None = None,
) -> Lists:
    """Return lists in the order given; stage one's scores say nothing of the hits."""
    scores = -np.arange(items.shape[1], dtype=np.float32)[None].repeat(len(items), axis=0)
    candidates = Candidates(
        items, np.where(items < 0, -np.inf, scores).astype(np.float32), features
    )
    queries = make_queries([[]] * len(items), int(items.max()) + 1) if queries is None else queries
    return Lists(queries, candidates, labels, labels.sum(axis=1).astype(np.int64))
