"""An encoder taken apart against the same encoder run by transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    BertModel,
    DistilBertConfig,
    ModernBertModel,
    Qwen3Model,
    RobertaModel,
)

from tests.indexing.tiny_models import make_roberta
from twofold.indexing.errors import EncoderError
from twofold.ranking.backbone import Backbone
from twofold.ranking.layers import FAMILIES
from twofold.ranking.pretrained import backbone_from_pretrained

LENGTHS = (9, 1, 4)


@pytest.fixture(scope="module")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_roberta(tmp_path_factory.mktemp("models") / "roberta")


def _batch(vocabulary: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    mask = torch.arange(max(LENGTHS))[None, :] < torch.tensor(LENGTHS)[:, None]
    # Padded with the number that RoBERTa counts positions by; BERT does not look at it.
    tokens = torch.randint(5, vocabulary, mask.shape, generator=generator)
    return tokens.masked_fill(~mask, 1), mask


def _all_states(backbone: Backbone, tokens: Tensor, mask: Tensor) -> list[Tensor]:
    places = torch.arange(tokens.shape[1]).expand_as(tokens)
    out = [backbone.embeddings(tokens, places)]
    bias = torch.zeros(mask.shape).masked_fill(~mask, -1e9)[:, None, None, :]
    for layer in [*backbone.lower, *backbone.joint]:
        out.append(layer.attend_self(out[-1], bias, places)[0])
    # What transformers calls the last hidden states is normed once more.
    return [*out[:-1], backbone.final(out[-1])]


def _check(folder: Path, kind: Any) -> None:
    theirs = kind.from_pretrained(folder).eval()
    backbone = backbone_from_pretrained(str(folder), 1, 0.1).eval()
    tokens, mask = _batch(backbone.shape.vocabulary)
    with torch.no_grad():
        wanted = theirs(
            input_ids=tokens, attention_mask=mask.long(), output_hidden_states=True
        ).hidden_states
        found = _all_states(backbone, tokens, mask)
        alone = backbone.read_alone(tokens, mask)
    assert len(found) == len(wanted)
    for ours, one in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours[mask], one[mask], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone[mask], wanted[-2][mask], atol=1e-5, rtol=1e-4)


def test_bert_equals_transformers(tiny_bert: Path) -> None:
    _check(tiny_bert, BertModel)


def test_roberta_equals_transformers(tiny_roberta: Path) -> None:
    _check(tiny_roberta, RobertaModel)
    assert backbone_from_pretrained(str(tiny_roberta), 0, 0.1).shape.max_tokens == 18


def test_modernbert_equals_transformers(tiny_modernbert: Path) -> None:
    _check(tiny_modernbert, ModernBertModel)


def test_qwen3_equals_transformers(tiny_qwen3: Path) -> None:
    _check(tiny_qwen3, Qwen3Model)


def test_zero_joint_layers_stand_for_all(tiny_bert: Path) -> None:
    backbone = backbone_from_pretrained(str(tiny_bert), 0, 0.1)
    assert (len(backbone.lower), len(backbone.joint)) == (0, 3)


def test_more_joint_layers_than_there_are_is_refused(tiny_bert: Path) -> None:
    with pytest.raises(EncoderError, match="between 1 and 3"):
        backbone_from_pretrained(str(tiny_bert), 4, 0.1)


def test_another_family_is_refused_with_a_list_of_those_that_work(tmp_path: Path) -> None:
    DistilBertConfig(dim=8, n_heads=2, n_layers=1, hidden_dim=8).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="distilbert") as refusal:
        backbone_from_pretrained(str(tmp_path), 1, 0.1)
    assert all(family in str(refusal.value) for family in FAMILIES)


def test_weights_of_a_task_model_with_old_norm_names_are_read(
    tiny_bert: Path, tmp_path: Path
) -> None:
    # As bert-base-uncased lies on the hub: a prefix, a head, and gamma and beta in the norms.
    state = load_file(tiny_bert / "model.safetensors")
    old = {
        f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): one
        for name, one in state.items()
    }
    save_file({**old, "cls.predictions.bias": torch.zeros(3)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((tiny_bert / "config.json").read_bytes())
    wanted = backbone_from_pretrained(str(tiny_bert), 1, 0.1).state_dict()
    found = backbone_from_pretrained(str(tmp_path), 1, 0.1).state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
