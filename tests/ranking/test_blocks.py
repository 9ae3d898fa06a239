"""Gradients reach of stored blocks what is learned of them, and are what they would be anyway."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.ranking.adapting import PAST, model_for, settings_of
from tests.ranking.worlds import N_ITEMS, make_features, make_queries, make_tables, randomise
from twofold.ranking.adapters import adapted
from twofold.ranking.batches import evidence_batch, history_batch
from twofold.ranking.blocks import Blocks
from twofold.ranking.head import TextQueries
from twofold.ranking.items import ItemTables
from twofold.ranking.model import RankerModel

ITEMS = np.tile(np.arange(N_ITEMS, dtype=np.int64), (len(PAST), 1))


def blocks_of(model: RankerModel, tables: ItemTables, *, learned: bool = False) -> Blocks:
    states, lengths = tables.token_states(ITEMS.ravel(), model.backbone)
    states.requires_grad_(learned)
    return model.blocks(states, lengths, tables.soft(ITEMS.ravel()))


def gradients(model: RankerModel, tables: ItemTables, way: str) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    queries, longest = make_queries(PAST), model.shape.max_history
    # Where gradients are asked for of all states, nothing is told apart.
    blocks = blocks_of(model, tables, learned=way == "all learned")
    assert (blocks.learned is None) is (way == "all learned")
    logits = model.logits(
        blocks.whole() if way == "whole" else blocks,
        model.remember(history_batch(queries, tables, max_history=longest)),
        torch.from_numpy(make_features(ITEMS.shape)),
        evidence_batch(queries, ITEMS, tables, max_history=longest),
        TextQueries.none(*ITEMS.shape),
    )
    torch.autograd.backward(logits.square().mean())
    found = {name: one.grad for name, one in model.named_parameters() if one.requires_grad}
    return logits.detach(), {name: one.clone() for name, one in found.items() if one is not None}


@pytest.mark.parametrize("joint", [1, 2])
@pytest.mark.parametrize("kind", ["none", "lora"])
def test_gradients_are_those_of_the_whole_blocks(tiny_bert: Path, joint: int, kind: str) -> None:
    settings = settings_of(kind)
    model, tables = randomise(model_for(tiny_bert, joint, settings)), make_tables(tiny_bert)
    adapted(model, settings, total_steps=1)
    model.eval()
    wanted, theirs = gradients(model, tables, "all learned")
    for name in ("text.weight", "factors.weight", "to_reader.weight", "candidate_mark"):
        assert theirs[name].abs().max() > 1e-6, name
    for way in ("apart", "whole"):
        told, mine = gradients(model, tables, way)
        torch.testing.assert_close(told, wanted, atol=1e-5, rtol=1e-5)
        assert mine.keys() == theirs.keys()
        for name, one in theirs.items():
            torch.testing.assert_close(mine[name], one, atol=1e-5, rtol=1e-4, msg=f"{way}: {name}")


def test_no_gradient_is_kept_for_what_is_stored(tiny_bert: Path) -> None:
    model, tables = model_for(tiny_bert, 1, settings_of("none")), make_tables(tiny_bert)
    blocks = blocks_of(model, tables)
    assert blocks.learned is not None
    assert not blocks.states.requires_grad
    assert blocks.learned.states.requires_grad
    held = blocks.states[blocks.learned.rows]
    assert torch.equal(held, blocks.learned.states.detach())
    whole = blocks.whole()
    assert whole.learned is None
    assert whole.states.requires_grad
    assert torch.equal(whole.states.detach(), blocks.states)
    with torch.no_grad():
        served = blocks_of(model, tables)
    assert served.learned is None
    assert torch.equal(served.states, blocks.states)
