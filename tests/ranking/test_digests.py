"""Digests stand for the token states of items: the same scores, whoever asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ranking.worlds import (
    N_ITEMS,
    make_features,
    make_model,
    make_queries,
    make_tables,
    randomise,
)
from twofold.indexing.errors import InputError
from twofold.ranking import scoring
from twofold.ranking.batches import history_as_text
from twofold.ranking.digests import Digests, DigestsOnDemand, ItemDigests, digest_items
from twofold.ranking.items import ItemTables
from twofold.ranking.model import RankerModel
from twofold.ranking.scoring import logits_of
from twofold.ranking.stored import FloatRows, empty_rows

World = tuple[RankerModel, ItemTables]
histories = st.lists(st.lists(st.integers(0, N_ITEMS - 1), max_size=6), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def world(tiny_bert: Path) -> World:
    return randomise(make_model(tiny_bert, 1)), make_tables(tiny_bert)


@settings(max_examples=25, deadline=None)
@given(past=histories, m=st.integers(1, N_ITEMS), seed=st.integers(0, 2**32 - 1))
def test_scores_from_digests_are_those_from_tokens(
    world: World, past: list[list[int]], m: int, seed: int
) -> None:
    model, tables = world
    rng, queries = np.random.default_rng(seed), make_queries(past)
    items = rng.integers(-1, N_ITEMS, (len(past), m))
    features = make_features(items.shape)
    said = history_as_text(queries, rng.random(len(past)) < 0.5, tables, limit=40, max_history=3)
    texts = said.rows if any(len(row) for row in said.rows) else None
    slow = logits_of(model, tables, queries, items, features, as_text=texts)
    single, half = digest_items(model, tables, form="single"), digest_items(model, tables)
    # So small that most of what was kept has to make room.
    demanded = DigestsOnDemand(model, tables, 4 * 4 * (3 * 32 + 2))
    stored: list[tuple[ItemDigests, float]] = [(single, 1e-4), (half, 3e-2), (demanded, 1e-4)]
    for digests, close in stored:
        fast = logits_of(model, tables, queries, items, features, as_text=texts, digests=digests)
        np.testing.assert_allclose(fast, slow, atol=close)


def test_histories_are_read_from_the_stored_soft_tokens(world: World) -> None:
    model, tables = world
    queries, items = make_queries([[1, 2], [], [3]]), np.tile(np.arange(N_ITEMS), (3, 1))
    digests, features = digest_items(model, tables), make_features((3, N_ITEMS))
    told = logits_of(model, tables, queries, items, features, digests=digests)
    turned = FloatRows(digests.soft.of(np.arange(N_ITEMS)[::-1].copy()).numpy())
    other = replace(digests, soft=turned)
    changed = logits_of(model, tables, queries, items, features, digests=other) != told
    assert changed.any(axis=1).tolist() == [True, False, True]


def test_many_candidates_of_few_items_are_digested_by_the_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tables = world
    rng = np.random.default_rng(0)
    queries = make_queries([list(rng.integers(0, N_ITEMS, 3)) for _ in range(20)])
    items = rng.integers(4, N_ITEMS, (20, 9))
    items[rng.random(items.shape) < 0.1] = -1
    features = make_features(items.shape)
    slow = logits_of(model, tables, queries, items, features)
    asked: list[int] = []

    def noted(*values: object, **options: object) -> Digests:
        asked.append(len(values[2]))  # type: ignore[arg-type]
        return digest_items(*values, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(scoring, "FEW_CANDIDATES", 100)
    monkeypatch.setattr(scoring, "digest_items", noted)
    np.testing.assert_allclose(logits_of(model, tables, queries, items, features), slow, atol=1e-4)
    assert asked == [N_ITEMS - 3]


def test_digests_of_some_items_are_those_of_all(world: World) -> None:
    model, tables = world
    some = np.array([5, 2, 9])
    whole, part = digest_items(model, tables), digest_items(model, tables, some)
    found = part.vectors.of(np.arange(3)).numpy()
    np.testing.assert_allclose(found, whole.vectors.of(some).numpy(), atol=1e-3)
    np.testing.assert_allclose(part.masses, whole.masses[some], atol=1e-5)


def test_an_item_takes_few_bytes_and_follows_its_table(world: World) -> None:
    model, tables = world
    digests = digest_items(model, tables)
    width, heads = model.shape.backbone.hidden, model.shape.backbone.heads
    assert digests.vectors.row_bytes() + digests.masses[:1].nbytes == 2 * 3 * width + 4 * heads
    small = digest_items(model, tables, form="int8")
    assert small.vectors.row_bytes() == 3 * width + 2 * (3 * width // 32)
    changed = tables.factors.copy()
    changed[3] += 1
    moved = digest_items(model, replace(tables, factors=changed))
    everyone = np.arange(N_ITEMS)
    same = (moved.vectors.of(everyone) == digests.vectors.of(everyone)).all(dim=1)
    assert not same[3]
    assert same.sum() == N_ITEMS - 1


def test_several_joint_layers_have_no_digests(tiny_bert: Path) -> None:
    with pytest.raises(InputError, match="one joint layer; this model has 2"):
        digest_items(make_model(tiny_bert, 2), make_tables(tiny_bert))
    with pytest.raises(InputError, match="one length"):
        Digests(empty_rows(2, 3, "half"), np.zeros((1, 2), "f4"), empty_rows(2, 1, "half"))
    with pytest.raises(InputError, match="one length"):
        Digests(empty_rows(2, 3, "half"), np.zeros((2, 2), "f4"), empty_rows(1, 1, "half"))
