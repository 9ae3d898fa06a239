"""Stage one with items that came and changed answers as one that was made with them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.indexing.collaborative import CollaborativeSettings, Factors
from twofold.indexing.item_set import ItemSet
from twofold.indexing.vectors import VectorIndex, normalised
from twofold.retrieval.fusion import Fusion
from twofold.retrieval.growing_stage_one import GrowingStageOne
from twofold.retrieval.queries import Queries
from twofold.retrieval.settings import StageOneSettings
from twofold.retrieval.stage_one import StageOne

N, D, F = 40, 8, 4
SETTINGS = StageOneSettings(per_source=7, collaborative=CollaborativeSettings(factors=F))


def _unit(rng: np.random.Generator, n: int) -> npt.NDArray[np.float32]:
    return normalised(rng.normal(size=(n, D)))


def _relation(rng: np.random.Generator) -> sp.csr_matrix:
    out = sp.random(N, N, 0.1, "csr", np.float32, rng)
    out.sort_indices()
    return out


def _base(rng: np.random.Generator) -> StageOne:
    items = rng.normal(size=(N, F)).astype(np.float32)
    searched = VectorIndex.build(items, unit=False, device="cpu")
    factors = Factors(searched.vectors, SETTINGS.collaborative, searched)
    popularity = rng.random(N).astype(np.float32)
    index = VectorIndex.build(_unit(rng, N), device="cpu")
    near, after, beside, further = (_relation(rng) for _ in range(4))
    return StageOne(factors, near, after, beside, further, popularity, index, SETTINGS)


def _whole(base: StageOne, vectors: Any, factors: Any) -> StageOne:
    """Return the same made at once of all vectors, everything of the newer items empty."""
    more = len(vectors) - N
    relations = []
    for one in (*base.relations(), base.onward):
        wide = one.copy()
        wide.resize((N + more, N + more))
        relations.append(wide)
    near, after, beside, further = relations
    index = VectorIndex.build(factors, unit=False, device="cpu")
    return StageOne(
        Factors(factors, SETTINGS.collaborative, index, np.arange(N, N + more)),
        near,
        after,
        beside,
        further,
        np.concatenate([base.popularity, np.zeros(more, dtype=np.float32)]),
        VectorIndex.build(vectors, device="cpu"),
        SETTINGS,
    )


def _queries(rng: np.random.Generator, n: int, n_items: int, eligible: ItemSet | None) -> Queries:
    histories = [rng.choice(n_items, rng.integers(0, 6), replace=False) for _ in range(n)]
    indptr = np.cumsum([0, *map(len, histories)]).astype(np.int64)
    items = np.concatenate(histories).astype(np.int64)
    seen = sp.csr_matrix((np.ones(len(items), dtype=bool), items, indptr), shape=(n, n_items))
    seen.sort_indices()
    return Queries(
        users=np.arange(n),
        indptr=indptr,
        items=items,
        kinds=np.zeros(len(items), dtype=np.int16),
        weights=np.ones(len(items), dtype=np.float32),
        times=np.zeros(len(items), dtype=np.int64),
        steps=np.concatenate([np.arange(len(one)) for one in histories]).astype(np.int32),
        excluded=seen,
        eligible=None if eligible is None else (eligible,) * n,
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=6),
    st.booleans(),
    st.booleans(),
)
def test_it_answers_as_one_made_with_all_items(
    seed: int, steps: list[tuple[int, int]], filtered: bool, large: bool
) -> None:
    rng = np.random.default_rng(seed)
    base = _base(rng)
    growing, vectors = GrowingStageOne(base), np.array(base.index.vectors)
    states = [(base, vectors)]
    for more, changed in steps:
        which = rng.choice(len(vectors), changed, replace=False)
        numbers = np.concatenate([which, np.arange(len(vectors), len(vectors) + more)])
        vectors = np.concatenate([vectors, np.zeros((more, D), dtype=np.float32)])
        vectors[numbers] = _unit(rng, len(numbers))
        states.append((growing.put(numbers, vectors[numbers]), vectors))
    with pytest.MonkeyPatch.context() as patch:
        if large:  # so that indexes are searched
            patch.setattr(VectorIndex, "scanned", False)
        # Earlier states answer as they did, too.
        for state, told in (states[-1], states[len(states) // 2]):
            n_items = len(told)
            factors = np.zeros((n_items, F), dtype=np.float32)
            factors[:N] = base.factors.items
            whole = _whole(base, told, factors)
            among = ItemSet(rng.random(n_items) < 0.7) if filtered else None
            queries = _queries(rng, 5, n_items, among)
            fusion = Fusion("zscore", (1.0,) * len(state.sources()))
            found, wanted = (
                one.retriever(fusion).retrieve(queries, 12, least=12) for one in (state, whole)
            )
            np.testing.assert_array_equal(found.items, wanted.items)
            np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
            item = int(rng.integers(n_items))
            for one, other in zip(
                state.similar(item, 9, among), whole.similar(item, 9, among), strict=True
            ):
                np.testing.assert_array_equal(one, other)


class _Map:
    def predict(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.ascontiguousarray(vectors[:, :F] * 2)


def test_a_map_from_texts_gives_new_items_their_factors() -> None:
    rng = np.random.default_rng(0)
    growing = GrowingStageOne(_base(rng))
    object.__setattr__(growing.now, "text_map", _Map())  # as where one was learned
    before = growing.now.factors.items.copy()
    vectors = _unit(rng, 4)
    made = growing.put(np.array([3, 7, N, N + 1]), vectors)
    np.testing.assert_array_equal(made.factors.items[:N], before)
    np.testing.assert_allclose(made.factors.items[N:], vectors[2:, :F] * 2)


def test_users_are_folded_in_as_with_factors_made_at_once() -> None:
    rng = np.random.default_rng(1)
    base = _base(rng).factors
    items = np.concatenate([base.items, rng.normal(size=(5, F)).astype(np.float32)])
    items[2] = rng.normal(size=F)
    changed = np.array([2, *range(N, N + 5)])
    grown = base.with_items(items, changed)
    searched = VectorIndex.build(items, unit=False, device="cpu")
    whole = replace(base, items=items, searched=searched, guessed=changed)
    histories = sp.random(6, len(items), 0.2, "csr", np.float32, rng)
    np.testing.assert_allclose(grown.fold_in(histories), whole.fold_in(histories), atol=1e-5)
    asked = rng.normal(size=(4, F)).astype(np.float32)
    np.testing.assert_array_equal(grown.index.search(asked, 8)[1], whole.index.search(asked, 8)[1])
