"""Lists by what a text says of a user, and what a ranker makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.indexing.item_set import ItemSet
from twofold.indexing.text import TextEncoder
from twofold.indexing.vectors import VectorIndex
from twofold.learning import Learned
from twofold.retrieval.candidates import Candidates, rank
from twofold.retrieval.queries import Queries
from twofold.retrieval.sources import TextQuery


def by_profile(
    texts: Sequence[str], queries: Queries, index: VectorIndex, encoder: TextEncoder, k: int
) -> Candidates:
    """Return the items nearest to each user's text by cosine, without those that are excluded.

    Parameters
    ----------
    texts
        What is said of each user of the queries.
    queries
        Who asks, and what must not come back.
    index
        The items' vectors.
    encoder
        What made them.
    k
        Length of the lists.
    """
    source = TextQuery(index, encoder.encode_queries)
    items, scores = source.answer(replace(queries, texts=tuple(texts))).top(k)
    return rank(items, scores, k)


def reranked(learned: Learned, queries: Queries, found: Candidates, threads: int) -> Candidates:
    """Return lists in the order of both stages' ranker, which reads history and features.

    Parameters
    ----------
    learned
        Both stages; without a ranker lists are in the order of stage one.
    queries
        Who asks.
    found
        The lists, wherever they came from; nothing else is ranked.
    threads
        Cores to use.
    """
    limited = replace(queries, eligible=tuple(_only(row, queries.n_items) for row in found.items))
    served = learned.stage_one.retriever(learned.fusion).retrieve(
        limited, found.k, also=found.items, threads=threads
    )
    ranker = learned.ranker
    if ranker is None:
        return served
    return ranker.ordered(limited, served, ranker.logits(limited, served), found.k)


def keeping_all(queries: Queries) -> Queries:
    """Return the queries for which even what is known already may come back."""
    nothing = sp.csr_matrix(queries.excluded.shape, dtype=queries.excluded.dtype)
    return replace(queries, excluded=nothing)


def _only(items: npt.NDArray[np.int64], n_items: int) -> ItemSet:
    mask = np.zeros(n_items, dtype=bool)
    mask[items[items >= 0]] = True
    return ItemSet(mask)
