"""Learned tokens before each history: candidates see them, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.ranking.adapting import PAST, SPOKEN, scores, texts_of
from tests.ranking.worlds import (
    MAX_HISTORY,
    N_ITEMS,
    make_features,
    make_model,
    make_queries,
    make_tables,
    randomise,
)
from twofold.ranking.batches import history_batch
from twofold.ranking.caches import MemoryCache
from twofold.ranking.cross import HistoryMemory
from twofold.ranking.digests import digest_items
from twofold.ranking.items import ItemTables
from twofold.ranking.model import ModelShape, RankerModel
from twofold.ranking.runtime import RUNTIMES
from twofold.ranking.scoring import logits_of

PREFIX = 3
World = tuple[RankerModel, ItemTables]
FAMILIES = [("bert", 1), ("bert", 2), ("modernbert", 2), ("qwen3", 1), ("qwen3", 2)]


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda kind: f"{kind[0]}-{kind[1]}")
def world(
    request: pytest.FixtureRequest, tiny_bert: Path, tiny_modernbert: Path, tiny_qwen3: Path
) -> World:
    family, joint = request.param
    folder = {"bert": tiny_bert, "modernbert": tiny_modernbert, "qwen3": tiny_qwen3}[family]
    return randomise(make_model(folder, joint, prefix=PREFIX)), make_tables(folder)


def memory_of(model: RankerModel, tables: ItemTables) -> HistoryMemory:
    history = history_batch(
        make_queries(PAST), tables, max_history=MAX_HISTORY, as_text=texts_of(tables)
    )
    with torch.inference_mode():
        return model.remember(history)


def test_without_it_a_model_has_the_weights_it_had(tiny_bert: Path) -> None:
    plain, learned = make_model(tiny_bert, 1), make_model(tiny_bert, 1, prefix=PREFIX)
    assert "prefix" not in plain.state_dict()
    assert learned.state_dict().keys() - plain.state_dict().keys() == {"prefix"}
    assert learned.prefix.shape == (PREFIX, 32)
    # The first weights of all else are drawn as they were.
    others = learned.state_dict()
    assert all(torch.equal(one, others[name]) for name, one in plain.state_dict().items())


def test_shapes_written_before_there_was_one_are_read(tiny_bert: Path) -> None:
    shape = make_model(tiny_bert, 1).shape
    values = shape.to_dict()
    assert values.pop("prefix") == 0
    assert ModelShape.from_dict(values) == shape
    learned = make_model(tiny_bert, 1, prefix=PREFIX).shape
    assert ModelShape.from_dict(learned.to_dict()) == learned


def test_every_query_sees_it(world: World) -> None:
    model, tables = world
    before = scores(model, tables)
    kept = model.prefix.detach().clone()
    for row in range(PREFIX):
        with torch.no_grad():
            model.prefix[row] += 1.0
            changed = scores(model, tables) != before
            model.prefix.copy_(kept)
        # Of vectors, of a text, of nothing; a window of three tokens ends within the former two.
        seen = changed[2:3] if model.shape.backbone.windows else changed[:3]
        assert seen.any(axis=1).all(), row


def test_it_stands_before_all_events_of_each(world: World) -> None:
    model, tables = world
    memory = memory_of(model, tables)
    there = memory.bias[:, 0, 0] == 0
    said = [len(row) for row in texts_of(tables)]
    for row, (past, spoken) in enumerate(zip(PAST, SPOKEN, strict=True)):
        events = said[row] if spoken else len(past)
        places = memory.places[row, there[row]].tolist()
        assert places == list(range(-events - PREFIX, 0))
        assert there[row, :PREFIX].all()


def test_it_is_read_as_tokens_of_the_history_are(world: World) -> None:
    """Keys and values of the first joint layer are those of the learned states themselves."""
    model, tables = world
    memory = memory_of(model, tables)
    layer = model.backbone.joint[0]
    for row in range(len(PAST)):
        with torch.no_grad():
            keys, values = layer.keys_values(layer.enter(model.prefix), memory.places[row, :PREFIX])
        for found, wanted in zip(memory.keys_values[0], (keys, values), strict=True):
            torch.testing.assert_close(
                found[row, :, :PREFIX], wanted.transpose(0, 1), atol=1e-5, rtol=1e-5
            )


def test_memories_are_kept_and_joined(world: World) -> None:
    model, tables = world
    items = np.tile(np.arange(N_ITEMS, dtype=np.int64), (len(PAST), 1))
    features, queries, texts = make_features(items.shape), make_queries(PAST), texts_of(tables)
    together = scores(model, tables)
    kept = MemoryCache(1 << 20)
    for _ in range(2):
        found = logits_of(model, tables, queries, items, features, as_text=texts, memories=kept)
        np.testing.assert_allclose(found, together, atol=1e-5)
    assert kept.size > 0
    for row in range(len(PAST)):
        which = np.array([row])
        alone = logits_of(
            model,
            tables,
            queries.take(which),
            items[which],
            features[which],
            as_text=[texts[row]] if len(texts[row]) else None,
        )
        np.testing.assert_allclose(alone[0], together[row], atol=1e-5)


def test_digests_and_runtimes_see_it(world: World) -> None:
    model, tables = world
    found = scores(model, tables)
    if model.shape.joint_layers == 1:
        digests = digest_items(model, tables, form="single")
        np.testing.assert_allclose(scores(model, tables, digests), found, atol=1e-4)
    for name in ("bfloat16", "int8"):
        served = RUNTIMES[name].prepare(model)
        assert served.prefix is model.prefix
        low = scores(served, tables)
        assert 0 < np.abs(low - found).max() < 0.15
