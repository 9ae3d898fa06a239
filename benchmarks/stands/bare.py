"""The library calls that stage one's sources rest on, alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from twofold.indexing.faiss_library import faiss_module
from twofold.retrieval.queries import Queries
from twofold.retrieval.sources import Collaborative, Related, Source, TextProfile, unit

faiss = faiss_module()
Call = Callable[[Queries, int], float]


def bare_calls(sources: Sequence[Source]) -> dict[str, Call]:
    """Return what times the library call of each source that has one, by the source's name.

    They are scipy's product of a history with a relation, FAISS's search for a text profile in the
    index as it was tuned, and implicit's recommendation to a user that is folded in. Each takes a
    query and the number of items, and gives seconds.
    """
    out: dict[str, Call] = {}
    for source in sources:
        if isinstance(source, Related):
            out[source.name] = _product(source)
        elif isinstance(source, TextProfile):
            out[source.name] = _search(source)
        elif isinstance(source, Collaborative):
            out[source.name] = _fold_in(source)
    return out


def _product(source: Related) -> Call:
    def call(asked: Queries, k: int) -> float:
        history = source.view.matrix(asked)
        begun = time.perf_counter()
        np.argsort(-(history @ source.related).data)[:k]
        return time.perf_counter() - begun

    return call


def _search(source: TextProfile) -> Call:
    vectors, proposer = source.index.vectors, source.index.proposer
    index: Any = faiss.IndexFlatIP(vectors.shape[1])
    if proposer is None:
        index.add(np.array(vectors))
    elif proposer.over > 1:
        index = faiss.IndexRefine(proposer.index, proposer.flat)
    else:
        index = proposer.index

    def asking(k: int) -> Any:
        if proposer is None:
            return None
        if proposer.is_graph:
            asked = faiss.SearchParametersHNSW(efSearch=max(proposer.effort, k * proposer.over))
        else:
            asked = faiss.SearchParametersIVF(nprobe=proposer.effort)
        if proposer.over == 1:
            return asked
        many = float(proposer.over)
        return faiss.IndexRefineSearchParameters(k_factor=many, base_index_params=asked)

    def call(asked: Queries, k: int) -> float:
        params = asking(k)
        profile = unit(source.view.matrix(asked) @ vectors)
        begun = time.perf_counter()
        index.search(profile, k, params=params)
        return time.perf_counter() - begun

    return call


def _fold_in(source: Collaborative) -> Call:
    settings, items = source.factors.settings, np.array(source.factors.items)
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=items.shape[1], regularization=settings.regularization, alpha=settings.alpha
        )
    model.item_factors = items

    def call(asked: Queries, k: int) -> float:
        history = source.view.matrix(asked)
        begun = time.perf_counter()
        model.recommend(0, history, N=k, recalculate_user=True)
        return time.perf_counter() - begun

    return call
