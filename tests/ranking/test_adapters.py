"""Adapters: what they train, what they leave alone, and what they are merged to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.ranking.adapting import (
    RATE,
    STEPS,
    model_for,
    scores,
    settings_of,
    take_steps,
    trained,
)
from tests.ranking.worlds import make_tables
from twofold.indexing.errors import InputError
from twofold.ranking.adapters import ORTHOGONALITY, adapted
from twofold.ranking.backbone import padding_bias
from twofold.ranking.blocks import Blocks
from twofold.ranking.cross import _Layout, _own, _own_collapsed, _seen
from twofold.ranking.digests import digest_items
from twofold.ranking.model import RankerModel
from twofold.ranking.runtime import RUNTIMES

KINDS = ["none", "lora", "adalora", "prefix"]
LOW_RANK = ["lora", "adalora"]
# Beside the encoder; of g only some parts are asked by these lists.
ADDED = {
    "head.weight",
    "text.weight",
    "factors.weight",
    "ages.weight",
    "gaps.weight",
    "kinds.weight",
    "soft_norm.weight",
    "soft_norm.bias",
    "history_mark",
    "candidate_mark",
    "to_reader.weight",
}


@pytest.fixture(params=["bert", "modernbert", "qwen3"])
def folder(
    request: pytest.FixtureRequest, tiny_bert: Path, tiny_modernbert: Path, tiny_qwen3: Path
) -> Path:
    return {"bert": tiny_bert, "modernbert": tiny_modernbert, "qwen3": tiny_qwen3}[request.param]


def values(model: RankerModel) -> dict[str, Tensor]:
    return {name: one.detach().clone() for name, one in model.named_parameters()}


@pytest.mark.parametrize("kind", LOW_RANK)
def test_an_adapter_changes_no_score_at_its_start(folder: Path, kind: str) -> None:
    settings, tables = settings_of(kind), make_tables(folder)
    model = model_for(folder, 2, settings)
    before = scores(model, tables)
    adapted(model, settings, total_steps=STEPS)
    np.testing.assert_allclose(scores(model, tables), before, atol=2e-6)


@pytest.mark.parametrize("layers", ["joint", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_only_what_should_be_trained_moves(tiny_bert: Path, kind: str, layers: str) -> None:
    settings, tables = settings_of(kind, layers), make_tables(tiny_bert)
    model = model_for(tiny_bert, 1, settings)
    joint = model.backbone.joint_weights()
    adapter = adapted(model, settings, total_steps=STEPS)
    before = values(model)
    take_steps(model, tables, adapter)
    moved = {name for name, one in values(model).items() if not torch.equal(one, before[name])}
    inside = {name.removeprefix("backbone.") for name in moved if name.startswith("backbone.")}
    named = {name for name, _ in model.backbone.named_parameters()}
    wanted = {
        "none": joint if layers == "joint" else named,
        "prefix": set(),
    }.get(kind, {name for name in named if ".lora_" in name})
    assert inside == wanted
    lowest = {name.split(".")[1] for name in inside if name.startswith("layers.")}
    if kind != "prefix":
        assert lowest == ({"2"} if layers == "joint" else {"0", "1", "2"})
    assert moved >= ADDED | ({"prefix"} if kind == "prefix" else set())
    assert any(name.startswith("g.") for name in moved)


def test_what_was_frozen_before_stays_so(tiny_bert: Path) -> None:
    settings = settings_of("lora")
    model = model_for(tiny_bert, 1, settings)
    model.g.requires_grad_(False)
    adapted(model, settings, total_steps=STEPS)
    assert not any(one.requires_grad for one in model.g.parameters())
    assert model.head.weight.requires_grad


@pytest.mark.parametrize("joint", [1, 2])
@pytest.mark.parametrize("kind", LOW_RANK)
def test_merged_weights_score_as_the_adapter_does(folder: Path, kind: str, joint: int) -> None:
    settings = settings_of(kind)
    model, tables, adapter = trained(folder, joint, settings)
    plain = model_for(folder, joint, settings)
    plain.load_state_dict(
        {name: one for name, one in model.state_dict().items() if "backbone." not in name},
        strict=False,
    )
    found = scores(model, tables)
    assert np.abs(found - scores(plain, tables)).max() > 1e-3
    if joint == 1:
        digests = digest_items(model, tables, form="single")
        np.testing.assert_allclose(scores(model, tables, digests), found, atol=1e-5)
    adapter.merged()
    np.testing.assert_allclose(scores(model, tables), found, atol=1e-5)
    if joint == 1:
        digests = digest_items(model, tables, form="single")
        np.testing.assert_allclose(scores(model, tables, digests), found, atol=1e-5)
    fresh = model_for(folder, joint, settings)
    assert list(model.state_dict()) == list(fresh.state_dict())
    assert [type(one) for one in model.modules()] == [type(one) for one in fresh.modules()]
    assert vars(model.backbone).keys() == vars(fresh.backbone).keys()


@pytest.mark.parametrize("kind", LOW_RANK)
def test_collapsed_products_are_those_of_the_adapters_module(tiny_bert: Path, kind: str) -> None:
    model, _, _ = trained(tiny_bert, 1, settings_of(kind, dropout=0.5))
    (layer,) = model.backbone.joint
    drawn = torch.Generator().manual_seed(0)
    blocks = Blocks.packed(torch.randn(9, 32, generator=drawn), torch.tensor([4, 2, 3]), 4)
    layout = _Layout.of(blocks, layer.causal)
    queries = torch.randn(3, 2, 16, generator=drawn)
    bias = padding_bias(layout.mask)[:, :, 0]
    found = []
    layer.train()
    for collapsed in (False, True):
        layer.zero_grad()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            if collapsed:
                seen = _seen(layer, blocks.states, layout, bias, blocks)
                gathered, mass = _own_collapsed(layer, queries, seen)
            else:
                gathered, mass = _own(layer, queries, blocks.states, layout, bias)
        loss = gathered.square().sum() + mass.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        module: Any = layer.key_value
        grads = [one.grad for one in module.parameters() if one.requires_grad]
        assert any(one.abs().max() > 1e-3 for one in grads)
        found.append([gathered, mass, *grads])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_adapted_lower_layers_are_merged_too(tiny_bert: Path) -> None:
    settings = settings_of("lora", "all")
    model, tables, adapter = trained(tiny_bert, 1, settings)
    found = scores(model, tables)
    adapter.merged()
    np.testing.assert_allclose(scores(model, tables), found, atol=1e-5)
    assert list(model.state_dict()) == list(model_for(tiny_bert, 1, settings).state_dict())


def test_ranks_shrink_to_the_budget(tiny_bert: Path) -> None:
    settings, steps = settings_of("adalora"), 20
    model, tables = model_for(tiny_bert, 2, settings), make_tables(tiny_bert)
    before = {name: one.clone() for name, one in model.backbone.state_dict().items()}
    adapter = adapted(model, settings, total_steps=steps)
    optimiser = torch.optim.AdamW(
        [one for one in model.parameters() if one.requires_grad], RATE, weight_decay=0.0
    )
    take_steps(model, tables, adapter, optimiser, range(1, 3))
    # Five matrices a layer, each with half as many ranks again as there are to be.
    assert sum(adapter.ranks().values()) == 10 * 3
    take_steps(model, tables, adapter, optimiser, range(3, steps + 1))
    ranks = adapter.ranks()
    assert sum(ranks.values()) == 10 * 2
    assert len(set(ranks.values())) > 1
    adapter.merged()
    after = model.backbone.state_dict()
    gained = {name: after[f"{name}.weight"] - before[f"{name}.weight"] for name in ranks}
    found = {name: int(torch.linalg.matrix_rank(one, atol=1e-4)) for name, one in gained.items()}
    assert found == ranks


def test_a_running_mean_is_pruned_to_the_budget(tiny_bert: Path) -> None:
    adapter = trained(tiny_bert, 1, settings_of("adalora"))[2]
    ranks = adapter.ranks()
    with torch.no_grad():
        for name, one in adapter.weights().items():
            if name.endswith(".lora_E"):
                one.add_(1.0)
    assert set(adapter.ranks().values()) == {3}
    adapter.prune()
    assert adapter.ranks() == ranks


@pytest.mark.parametrize("cut", [4, 7])
def test_an_interrupted_training_deals_out_the_same_ranks(tiny_bert: Path, cut: int) -> None:
    settings = settings_of("adalora")
    whole, tables, through = trained(tiny_bert, 1, settings)
    first, again = model_for(tiny_bert, 1, settings), model_for(tiny_bert, 1, settings)
    adapter = adapted(first, settings, total_steps=STEPS)
    before = torch.optim.AdamW(first.parameters(), RATE, weight_decay=0.0)
    take_steps(first, tables, adapter, before, range(1, cut + 1))

    resumed = adapted(again, settings, total_steps=STEPS)
    again.load_state_dict(first.state_dict())
    resumed.restore(adapter.state())
    after = torch.optim.AdamW(again.parameters(), RATE, weight_decay=0.0)
    after.load_state_dict(before.state_dict())
    take_steps(again, tables, resumed, after, range(cut + 1, STEPS + 1))
    assert resumed.ranks() == through.ranks()
    assert all(torch.equal(one, again.state_dict()[n]) for n, one in whole.state_dict().items())


def test_a_batch_that_asks_no_lower_layer_deals_out_ranks(tiny_bert: Path) -> None:
    settings = settings_of("adalora", "all")
    model, tables = model_for(tiny_bert, 1, settings), make_tables(tiny_bert)
    adapter = adapted(model, settings, total_steps=STEPS)
    take_steps(model, tables, adapter, said=False)
    ranks = adapter.ranks()
    assert all(not rank for name, rank in ranks.items() if not name.startswith("layers.2."))
    assert any(ranks.values())


def test_the_penalty_is_the_distance_from_orthogonal(tiny_bert: Path) -> None:
    settings = settings_of("adalora")
    model = model_for(tiny_bert, 1, settings)
    adapter = adapted(model, settings, total_steps=STEPS)
    with torch.no_grad():
        for name, one in adapter.weights().items():
            if not name.endswith("_E"):
                one.copy_(torch.eye(*one.shape))
    found = adapter.penalty()
    assert found is not None
    assert found.item() == pytest.approx(0.0)
    with torch.no_grad():
        for name, one in adapter.weights().items():
            if name.endswith("_A"):
                one.mul_(2.0)
    # Rows of length 2: ||4 I - I|| over three ranks, for one of the two factors.
    found = adapter.penalty()
    assert found is not None
    assert found.item() == pytest.approx(ORTHOGONALITY * 3 * 3**0.5 / 2)
    found.backward()  # type: ignore[no-untyped-call]
    assert all(torch.isfinite(one.grad).all() for one in model.parameters() if one.grad is not None)


def test_trainable_weights_are_those_computed_by_hand(tiny_bert: Path) -> None:
    width, inner = 32, 64
    # query, key and value, out, and the two of the feed-forward part: in + out of each.
    sides = (2 * width) + (width + 2 * width) + (2 * width) + 2 * (width + inner)
    matrices = 4 * width**2 + 2 * width * inner
    layer = matrices + 4 * width + inner + width + 4 * width
    told: dict[str, tuple[dict[str, Any], int]] = {
        "none": ({}, 2 * layer),
        "lora": ({}, 2 * 2 * sides),
        # Three ranks at first, and their strengths.
        "adalora": ({}, 2 * 3 * (sides + 5)),
        "prefix": ({}, 3 * width),
    }
    for kind, (changes, count) in told.items():
        settings = settings_of(kind, **changes)
        model = model_for(tiny_bert, 2, settings)
        whole = sum(one.numel() for one in model.backbone.parameters())
        adapter = adapted(model, settings, total_steps=STEPS)
        assert adapter.n_trainable() == count, kind
        assert adapter.share() == pytest.approx(count / whole)
        own = {name: one for name, one in adapter.weights().items() if "ranknum" not in name}
        assert sum(one.numel() for one in own.values()) == (0 if kind == "none" else count)


def test_products_are_scaled_by_alpha_over_rank(tiny_bert: Path) -> None:
    for kind in LOW_RANK:
        settings = settings_of(kind, rank=2, alpha=8.0)
        model, entered = model_for(tiny_bert, 1, settings), torch.eye(32)
        query: Any = model.backbone.joint[0].query
        plain = query(entered).detach()
        adapter = adapted(model, settings, total_steps=STEPS)
        with torch.no_grad():
            for name, one in adapter.weights().items():
                sizes = one.shape if "_E" not in name else None
                one.copy_(torch.ones_like(one) if sizes is None else torch.eye(*sizes))
        model.eval()
        query = model.backbone.joint[0].query
        gained = (query(entered).detach() - plain).diagonal()
        assert gained[:2].tolist() == pytest.approx([4.0, 4.0], abs=1e-4)
        assert float(gained[-1]) == pytest.approx(0.0, abs=1e-5)


def test_first_weights_follow_the_seed_alone(tiny_bert: Path) -> None:
    settings = settings_of("lora")

    def made(seed: int) -> list[Tensor]:
        model = model_for(tiny_bert, 1, settings)
        state = torch.random.get_rng_state()
        adapter = adapted(model, settings, total_steps=STEPS, seed=seed)
        assert torch.equal(torch.random.get_rng_state(), state)
        return list(adapter.weights().values())

    one, same, other = made(1), made(1), made(2)
    assert all(torch.equal(*pair) for pair in zip(one, same, strict=True))
    assert not all(torch.equal(*pair) for pair in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("total", [0, 1])
def test_a_training_may_take_no_step(tiny_bert: Path, kind: str, total: int) -> None:
    settings = settings_of(kind)
    model, tables, adapter = trained(tiny_bert, 1, settings, steps=total)
    found = scores(model, tables)
    adapter.merged()
    np.testing.assert_allclose(scores(model, tables), found, atol=1e-5)
    assert list(model.state_dict()) == list(model_for(tiny_bert, 1, settings).state_dict())


def test_what_does_not_fit_is_refused(tiny_bert: Path) -> None:
    lora, prefix = settings_of("lora"), settings_of("prefix")
    model = model_for(tiny_bert, 1, lora)
    with pytest.raises(InputError, match="made with 0 tokens before each history, not with 3"):
        adapted(model, prefix, total_steps=STEPS)
    adapted(model, lora, total_steps=STEPS)
    with pytest.raises(InputError, match="holds an adapter already"):
        adapted(model, lora, total_steps=STEPS)
    for name in ("bfloat16", "int8"):
        with pytest.raises(InputError, match="reads merged weights"):
            RUNTIMES[name].prepare(model)
