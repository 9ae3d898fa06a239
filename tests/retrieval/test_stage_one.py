"""Stage one as a whole: a large catalogue is served as a small one is, only in another way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from tests.indexing.logs import LIKE, Event, log_of
from twofold.indexing.collaborative import CollaborativeSettings
from twofold.indexing.efforts import recall_of
from twofold.indexing.inner_products import products
from twofold.indexing.interactions import Interactions
from twofold.indexing.item_set import ItemSet
from twofold.indexing.proposers import Proposer
from twofold.indexing.tuning import IndexSettings
from twofold.indexing.vectors import VectorIndex, normalised
from twofold.retrieval.fusion import Fusion
from twofold.retrieval.queries import Queries, queries_of_users
from twofold.retrieval.settings import StageOneSettings
from twofold.retrieval.stage_one import StageOne, fit_stage_one, texts_to_ask

N_USERS, N_ITEMS = 60, 400
SETTINGS = StageOneSettings(
    per_source=20, collaborative=CollaborativeSettings(factors=8, iterations=3)
)


def _log() -> Interactions:
    rng = np.random.default_rng(2)
    rows: list[Event] = []
    for user in range(N_USERS):
        taste = 40 * (user % 8)
        for at in range(12):
            item = int((taste + rng.integers(60)) % (N_ITEMS - 20))  # the last 20 are new
            rows.append((user, item, 100 * at + user, LIKE))
    return log_of(rows, N_USERS, N_ITEMS)


def _vectors() -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((10, 16))
    made = normalised(centres[np.arange(N_ITEMS) // 40] + rng.standard_normal((N_ITEMS, 16)))
    made[::50] = 0  # without a text
    return made


@pytest.fixture(scope="module")
def stage_one() -> StageOne:
    index = VectorIndex.build(_vectors(), device="cpu")
    return fit_stage_one(_log(), index, SETTINGS, has_times=True)


def _asked(filtered: bool) -> Queries:
    queries = queries_of_users(_log(), np.arange(N_USERS), max_history=20)
    if not filtered:
        return queries
    sets = [ItemSet(np.random.default_rng(n).random(N_ITEMS) < 0.1 * (n + 1)) for n in range(3)]
    return replace(queries, eligible=tuple((*sets, None)[user % 4] for user in range(N_USERS)))


def _as_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VectorIndex, "scanned", False)


@pytest.mark.parametrize("filtered", [False, True])
def test_a_large_catalogue_gets_the_same_candidates(
    stage_one: StageOne, monkeypatch: pytest.MonkeyPatch, filtered: bool
) -> None:
    queries = _asked(filtered)
    served = stage_one.retriever(Fusion("zscore", (1.0,) * len(stage_one.sources())))
    small = served.retrieve(queries, 50, least=10)
    _as_large(monkeypatch)
    large = served.retrieve(queries, 50, least=10)
    for name in ("items", "scores", "features", "sources"):
        np.testing.assert_array_equal(getattr(small, name), getattr(large, name), err_msg=name)
    alone = served.retrieve(queries.take(np.array([7])), 50, least=10)
    np.testing.assert_array_equal(alone.items[0], large.items[7])


def test_new_users_of_a_large_catalogue_get_what_trends(
    stage_one: StageOne, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = _asked(filtered=True).take(np.arange(4)).last(0)
    served = stage_one.retriever(Fusion("zscore", (1.0,) * len(stage_one.sources())))
    small = served.retrieve(nobody, 30, least=30)
    _as_large(monkeypatch)
    large = served.retrieve(nobody, 30, least=30)
    np.testing.assert_array_equal(small.items, large.items)
    np.testing.assert_array_equal(small.scores, large.scores)
    assert (large.lengths() == 30).all()


def test_through_proposers_most_candidates_stay(
    stage_one: StageOne, monkeypatch: pytest.MonkeyPatch
) -> None:
    _as_large(monkeypatch)
    queries, fusion = _asked(filtered=False), Fusion("zscore", (1.0,) * 11)
    exact = stage_one.retriever(fusion).retrieve(queries, 30)

    def through(index: VectorIndex) -> VectorIndex:
        made = Proposer.build(index.vectors, "IVF16,SQ8", flat=index.flat)
        return index.through(made.with_effort(8, 2))

    quick = replace(
        stage_one,
        index=through(stage_one.index),
        factors=replace(stage_one.factors, searched=through(stage_one.factors.index)),
    )
    found = quick.retriever(fusion).retrieve(queries, 30)
    assert recall_of(found.items, exact.items) > 0.9  # seen: .99


def test_factors_of_a_large_catalogue_get_the_index_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("twofold.retrieval.stage_one.SEARCHED", 0)
    index = VectorIndex.build(_vectors(), device="cpu")
    search = IndexSettings(kind="IVF8,SQ8", recall_target=0.9)
    made = fit_stage_one(_log(), index, SETTINGS, has_times=True, search=search)
    proposer = made.factors.index.proposer
    assert proposer is not None
    assert proposer.factory == "IVF8,SQ8"
    assert proposer.about["chosen"]["recall"] >= 0.9
    assert made.index.proposer is None


@pytest.mark.parametrize("share", [None, 0.3, 0.0])
def test_similar_items_are_the_best_by_both(stage_one: StageOne, share: float | None) -> None:
    vectors, near = stage_one.index.vectors, stage_one.neighbours.toarray()
    among = None if share is None else ItemSet(np.random.default_rng(1).random(N_ITEMS) < share)
    for item in (0, 3, 120, N_ITEMS - 1):
        scores = (products(vectors[item][None], vectors)[0] + near[item]) / 2
        scores[item] = -np.inf
        if among is not None:
            scores[~among.mask] = -np.inf
        order = np.lexsort((np.arange(N_ITEMS), -scores))
        order = order[np.isfinite(scores[order])]
        for k in (1, 10, N_ITEMS):
            items, told = stage_one.similar(item, k, among)
            np.testing.assert_array_equal(items, order[:k])
            np.testing.assert_allclose(told, scores[order[:k]], rtol=1e-6)


def test_an_index_is_tried_with_histories_and_last_items() -> None:
    vectors = _vectors()
    asked = texts_to_ask(_log(), vectors, SETTINGS, 0)
    assert len(asked) > N_USERS / 2
    np.testing.assert_allclose(np.linalg.norm(asked, axis=1), 1, rtol=1e-5)
    items = {tuple(one) for one in vectors}
    lone = sum(tuple(one) in items for one in asked)
    assert 0 < lone < len(asked)
    assert not len(texts_to_ask(_log(), np.zeros_like(vectors), SETTINGS, 0))
