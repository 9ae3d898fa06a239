"""Caches: as full as they may be, and never another answer than without them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ranking.worlds import (
    N_ITEMS,
    make_features,
    make_model,
    make_queries,
    make_ranker,
    make_served,
    make_tables,
    randomise,
)
from twofold.ranking import scoring
from twofold.ranking.caches import MemoryCache, RowCache
from twofold.ranking.cross import HistoryMemory
from twofold.ranking.ranker import Ranker
from twofold.ranking.scoring import logits_of


def _squares(items: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    return np.stack([items, items**2], axis=1).astype(np.float32)


@given(
    st.lists(st.lists(st.integers(0, 19), max_size=12), max_size=12),
    st.integers(0, 25),
)
def test_rows_are_right_whatever_was_asked_before(asked: list[list[int]], size: int) -> None:
    cache = RowCache(20, 2, size * 8)
    for items in asked:
        some = np.array(items, dtype=np.int64)
        np.testing.assert_array_equal(cache.of(some, _squares), _squares(some))


def test_what_is_kept_is_not_computed_again() -> None:
    asked: list[list[int]] = []

    def noted(items: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        asked.append(items.tolist())
        return _squares(items)

    cache = RowCache(20, 2, 3 * 8)
    for items in ([1, 2, 1], [2, 1], [3], [4], [1, 4], [2]):
        cache.of(np.array(items), noted)
    # The oldest made room: 1 for 4, 2 for 1, and 3 for 2.
    assert asked == [[1, 2], [3], [4], [1], [2]]


def test_threads_may_share_rows() -> None:
    cache = RowCache(500, 2, 100 * 8)

    def ask(seed: int) -> bool:
        some = np.random.default_rng(seed).integers(0, 500, 60)
        return bool(np.array_equal(cache.of(some, _squares), _squares(some)))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(400)))


def _memory(length: int) -> HistoryMemory:
    keys = torch.full((1, 2, length, 4), float(length))
    return HistoryMemory(((keys, keys),), torch.zeros(1, 1, 1, length), torch.zeros(1, length))


def test_no_more_bytes_are_kept_than_said_and_the_latest_stay() -> None:
    one = len(b"0") + _memory(3).n_bytes()
    cache = MemoryCache(2 * one)
    for key in (b"0", b"1"):
        cache.put(key, _memory(3))
    assert cache.get(b"0") is not None
    cache.put(b"2", _memory(3))
    assert [cache.get(key) is not None for key in (b"0", b"1", b"2")] == [True, False, True]
    assert cache.size == 2 * one
    cache.put(b"2", _memory(3))
    assert cache.size == 2 * one
    cache.put(b"3", _memory(300))
    assert cache.get(b"3") is None
    assert cache.size == 2 * one


HISTORIES = st.lists(st.lists(st.integers(0, N_ITEMS - 1), max_size=6), min_size=1, max_size=5)


@pytest.fixture(scope="module", params=["vectors", "text"])
def ranker(request: pytest.FixtureRequest, tiny_bert: Path) -> Ranker:
    ranker = make_ranker(tiny_bert)
    return replace(ranker, settings=replace(ranker.settings, history=request.param))


@given(batches=st.lists(HISTORIES, min_size=1, max_size=4))
def test_a_cached_users_scores_equal_an_uncached_ones(
    ranker: Ranker, batches: list[list[list[int]]]
) -> None:
    without = replace(ranker, settings=replace(ranker.settings, history_cache_mb=0))
    for histories in [*batches, *batches]:
        queries, served = make_queries(histories), make_served(len(histories))
        np.testing.assert_allclose(
            ranker.logits(queries, served), without.logits(queries, served), atol=1e-5
        )
    assert ranker._memories.size > 0 or not any(len(one) for two in batches for one in two)
    assert without._memories.size == 0


def test_a_history_that_changed_is_read_anew(ranker: Ranker) -> None:
    served = make_served(1)
    told = [ranker.logits(make_queries([one]), served) for one in ([1, 2], [2, 1], [1, 2, 3])]
    assert not np.allclose(told[0], told[1])
    assert not np.allclose(told[0], told[2])
    later = replace(make_queries([[1, 2]]), times=np.array([1000, 900_000_000]))
    assert not np.allclose(ranker.logits(later, served), told[0])


@pytest.mark.parametrize("states", ["auto", "int8", "off"])
def test_an_item_that_changed_is_read_anew_wherever_it_stands(tiny_bert: Path, states: Any) -> None:
    whole = make_ranker(tiny_bert)
    settings = replace(whole.settings, item_states=states)
    ranker = replace(whole, settings=settings).with_tables(whole.tables)
    histories = [[3, 1], [5, 1], [2]]
    queries, served = make_queries(histories), make_served(3)
    before = ranker.logits(queries, served)
    factors = ranker.tables.factors.copy()
    factors[3] += 1
    changed = ranker.with_tables(replace(whole.tables, factors=factors))
    after = changed.logits(queries, served)
    moved = np.abs(after - before) > 1e-3
    # As a candidate for everybody, and all candidates of whose history it stands in.
    assert moved[:, 3].all()
    assert moved[0].mean() > 0.9
    assert not moved[1:, [n for n in range(N_ITEMS) if n != 3]].any()
    np.testing.assert_allclose(changed.logits(queries, served), after, atol=1e-5)


def test_several_joint_layers_are_cached_too(tiny_bert: Path) -> None:
    model, tables = randomise(make_model(tiny_bert, 2)), make_tables(tiny_bert)
    memories = MemoryCache(1 << 20)
    items = np.tile(np.arange(N_ITEMS), (3, 1))
    features = make_features(items.shape)
    for histories in ([[1, 2, 3], [], [4]], [[4], [1, 2, 3], [5, 6]], [[5, 6], [4], []]):
        queries = make_queries(histories)
        found = logits_of(model, tables, queries, items, features, memories=memories)
        wanted = logits_of(model, tables, queries, items, features)
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_states_on_demand_are_the_same_in_every_runtime(tiny_bert: Path) -> None:
    whole = make_ranker(tiny_bert)
    settings = replace(whole.settings, joint_layers=2, item_states="off")
    model = randomise(make_model(tiny_bert, 2))
    ranker = replace(whole, model=model, settings=settings, digests=None)
    ranker = ranker.with_tables(whole.tables)
    asked, served = make_queries([[1, 2, 3]]), make_served(1)
    wanted = ranker.logits(asked, served)
    # What another runtime asked for first is kept for all of them.
    first = ranker.with_tables(whole.tables)
    first.with_runtime("int8").logits(asked, served)
    np.testing.assert_allclose(first.logits(asked, served), wanted, atol=1e-5)


def test_many_digests_on_demand_are_the_same_in_every_runtime(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_ranker(tiny_bert)
    settings = replace(whole.settings, item_states="off")
    ranker = replace(whole, settings=settings).with_tables(whole.tables).with_runtime("int8")
    asked, served = make_queries([[1, 2, 3], [4], [5, 6]]), make_served(3)
    few = ranker.logits(asked, served)
    monkeypatch.setattr(scoring, "FEW_CANDIDATES", 1)
    np.testing.assert_allclose(ranker.logits(asked, served), few, atol=1e-5)
