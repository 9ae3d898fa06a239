"""A score depends on its query and its candidate, and on nothing that shares the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    make_tokenizer,
    randomise,
)
from twofold.ranking.batches import history_as_text
from twofold.ranking.items import ItemTables
from twofold.ranking.model import RankerModel
from twofold.ranking.scoring import logits_of

World = tuple[RankerModel, ItemTables, int]
histories = st.lists(st.lists(st.integers(0, N_ITEMS - 1), max_size=6), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def world(tiny_bert: Path) -> World:
    cls = make_tokenizer(tiny_bert).cls_token_id
    return randomise(make_model(tiny_bert, 2)), make_tables(tiny_bert), cls


@settings(max_examples=25, deadline=None)
@given(data=st.data(), past=histories, m=st.integers(1, 6), padding=st.integers(0, 3))
def test_scores_do_not_depend_on_company_order_or_padding(
    world: World, data: st.DataObject, past: list[list[int]], m: int, padding: int
) -> None:
    model, tables, _ = world
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n = len(past)
    queries = make_queries(past)
    items = np.stack([rng.permutation(N_ITEMS)[:m] for _ in range(n)]).astype(np.int64)
    items[np.arange(m)[None, :] >= rng.integers(0, m + 1, n)[:, None]] = -1
    features = make_features((n, m))
    likeness = np.where(rng.random((n, 1)) < 0.5, rng.random((n, m)), np.nan).astype(np.float32)
    texts = history_as_text(queries, rng.random(n) < 0.5, tables, limit=40, max_history=3).rows
    together = logits_of(
        model, tables, queries, items, features, as_text=texts, likeness=likeness, chunk_pairs=10
    )

    query = int(rng.integers(n))
    order = rng.permutation(m + padding)
    wide = np.pad(items[query], (0, padding), constant_values=-1)[order][None]
    wide_features = np.pad(features[query], ((0, padding), (0, 0)))[order][None]
    alike = np.pad(likeness[query], (0, padding), constant_values=np.nan)[order][None]
    options: dict[str, Any] = {"likeness": alike}
    if len(texts[query]):
        options["as_text"] = [texts[query]]
    alone = logits_of(
        model, tables, queries.take(np.array([query])), wide, wide_features, **options
    )
    wanted = np.pad(together[query], (0, padding), constant_values=-np.inf)[order]
    np.testing.assert_allclose(alone[0], wanted, atol=1e-5, rtol=1e-5)
    assert (np.isfinite(alone[0]) == (wide[0] >= 0)).all()


def test_lists_of_no_columns_and_batches_of_no_queries_have_no_scores(world: World) -> None:
    model, tables, _ = world
    for n, m in ((2, 0), (0, 3), (0, 0)):
        found = logits_of(
            model,
            tables,
            make_queries([[]] * n),
            np.zeros((n, m), dtype=np.int64),
            make_features((n, m)),
        )
        assert found.shape == (n, m)


def test_a_query_without_features_reads_none(world: World) -> None:
    model, tables, _ = world
    queries, items = make_queries([[1, 2]]), np.array([[3, 4]], dtype=np.int64)
    likeness = np.full((1, 2), 0.5, dtype=np.float32)
    one, other = (
        logits_of(model, tables, queries, items, make_features((1, 2), seed), likeness=likeness)
        for seed in (0, 1)
    )
    np.testing.assert_array_equal(one, other)


def test_the_history_moves_the_scores_and_may_be_empty(world: World) -> None:
    model, tables, _ = world
    items = np.array([[3, 4]] * 3, dtype=np.int64)
    features = np.repeat(make_features((1, 2)), 3, axis=0)
    found = logits_of(model, tables, make_queries([[], [5], [5, 6]]), items, features)
    assert np.isfinite(found).all()
    assert len({tuple(row) for row in found.round(3)}) == 3
