"""The kernel that reads candidates on a GPU: what it gathers, beside the layers themselves.

Without a GPU the kernel is run by triton's interpreter, number by number.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.ranking.worlds import make_model, make_queries, make_ranker, make_served, randomise
from twofold.ranking.blocks import Blocks
from twofold.ranking.cross import HistoryMemory, read_candidates, read_history
from twofold.ranking.devices import moved
from twofold.ranking.items import compute_states
from twofold.ranking.layers import BackboneShape
from twofold.ranking.model import ModelShape, RankerModel
from twofold.ranking.runtime import OnDevice

pytest.importorskip("triton", reason="triton comes with CUDA builds of torch; `.ci/run` adds it")
from twofold.ranking import block_attention as kernel

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HALF = OnDevice("half", DEVICE)
TINY = BackboneShape("bert", 32, 3, 2, 64, 50, 40, 2, 0, 1e-12, "gelu")
ROTATING = replace(TINY, rotations=(1e4,) * 3, attention_bias=False, activation="silu")
SHAPES = {
    "bert": TINY,
    "modernbert": replace(ROTATING, family="modernbert", windows=(0, 2, 0)),
    "qwen3": replace(ROTATING, family="qwen3", heads=4, key_heads=2, head_width=16),
}


@pytest.fixture(scope="module", params=SHAPES)
def model(request: pytest.FixtureRequest) -> RankerModel:
    """A model of chance, two of three layers joint, in half precision."""
    shape = ModelShape(SHAPES[request.param], 2, 3, 8, 4, 2, 3, 6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return HALF.prepare(randomise(RankerModel(shape, 0.1)).eval())


def _memory(model: RankerModel, lengths: list[int], longest: int) -> HistoryMemory:
    """Return memories of histories of chance, one of them empty if a length is 0."""
    drawn = torch.Generator().manual_seed(1)
    n, width = len(lengths), model.shape.backbone.hidden
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    places = torch.where(mask, torch.arange(longest) - torch.tensor(lengths)[:, None], -1)
    states = torch.randn((n, longest, width), generator=drawn)
    given = (one.to(DEVICE) for one in (states, mask, places))
    return read_history(model.backbone.joint, *given)


def _blocks(model: RankerModel, lengths: list[int], room: int = 0) -> Blocks:
    """Return blocks of chance, packed, or with the same room for each."""
    drawn = torch.Generator().manual_seed(2)
    width, told = model.shape.backbone.hidden, torch.tensor(lengths)
    states = torch.randn((int(told.sum()), width), generator=drawn)
    packed = Blocks.packed(states, told, int(told.max()))
    if not room:
        return moved(packed, torch.device(DEVICE))
    starts = torch.arange(len(lengths)) * room
    apart = torch.randn((len(lengths) * room, width), generator=drawn)
    apart[starts[packed.owners] + packed.places()] = states
    owners = torch.arange(len(lengths)).repeat_interleave(room)
    return moved(Blocks(apart, starts, told, owners, room), torch.device(DEVICE))


@torch.inference_mode()
@pytest.mark.parametrize("room", [0, 9], ids=["packed", "apart"])
def test_the_kernel_gathers_what_the_layers_do(model: RankerModel, room: int) -> None:
    layers = model.backbone.joint
    blocks = _blocks(model, [1, 7, 3, 2, 6, 4], room)
    memory = _memory(model, [5, 0, 3], 5)
    wanted = read_candidates(layers, blocks, memory)
    found = kernel.read_in_one(layers, blocks, memory)
    assert kernel.supports(layers)
    # Attention reads half precision. Interpreted: 0.0005 at most, of states that spread by 1.
    np.testing.assert_allclose(found.cpu(), wanted.cpu(), atol=0.01)
    # Histories matter, and each block looks at its own.
    other = _memory(model, [0, 5, 3], 5)
    apart = (kernel.read_in_one(layers, blocks, other) - found).abs().amax(dim=1).cpu()
    assert (apart[:4] > 0.03).all()
    assert (apart[4:] == 0).all()


@torch.inference_mode()
def test_what_is_too_long_for_a_program_goes_through_the_layers(
    model: RankerModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers, asked = model.backbone.joint, list[int]()
    monkeypatch.setattr(kernel, "_gathered", lambda *_, **__: asked.append(1))
    blocks, memory = _blocks(model, [1, 3]), _memory(model, [600], 600)
    found = kernel.read_in_one(layers, blocks, memory)
    np.testing.assert_array_equal(found.cpu(), read_candidates(layers, blocks, memory).cpu())
    assert not asked


def test_heads_of_other_widths_are_not_supported(model: RankerModel) -> None:
    layers = model.backbone.joint
    for size, wanted in ((8, False), (16, True), (48, False), (64, True), (256, False)):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(layers[0], "size", size)
            assert kernel.supports(layers) is wanted


def test_a_ranker_that_reads_by_the_kernel_scores_the_same(tiny_bert: Path) -> None:
    whole = make_ranker(tiny_bert)
    model = randomise(make_model(tiny_bert, 2))
    own = replace(whole.settings, item_states="auto", joint_layers=2)
    plain = replace(whole, model=model, settings=own).with_tables(whole.tables)
    kept = compute_states(model.backbone, plain.tables.tokens, form="half")
    plain = replace(plain, tables=replace(plain.tables, states=kept))
    placed = replace(plain, runtime=HALF)
    placed._served.reader = kernel.read_in_one
    # A batch, and a list alone, which is given room.
    for histories in ([[0, 1, 2], [6], []], [[3, 4]]):
        asked, served = make_queries(histories), make_served(len(histories))
        apart = np.abs(placed.logits(asked, served) - plain.logits(asked, served))
        assert 0 < apart.max() < 0.02


def test_blocks_know_where_their_tokens_stand() -> None:
    packed = Blocks.packed(torch.zeros(3, 4), torch.tensor([2, 1]), 2)
    found = (packed.starts, packed.ends(), packed.owners, packed.places())
    for one, wanted in zip(found, ([0, 2], [1, 2], [0, 0, 1], [0, 1, 0]), strict=True):
        np.testing.assert_array_equal(one, wanted)
