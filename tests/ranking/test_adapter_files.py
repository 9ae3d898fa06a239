"""What was trained beside a frozen encoder comes back from its files bit for bit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.ranking.adapting import PAST, model_for, scores, settings_of, trained
from tests.ranking.worlds import (
    make_model,
    make_queries,
    make_served,
    make_tables,
    make_texts,
    make_tokenizer,
    randomise,
)
from twofold.indexing.artefact import begin_generation
from twofold.indexing.errors import InputError
from twofold.indexing.generation import Generation
from twofold.ranking.adapter_files import AdapterFiles, with_adapter
from twofold.ranking.calibration import Calibration
from twofold.ranking.items import ItemTables
from twofold.ranking.model import RankerModel
from twofold.ranking.ranker import Ranker
from twofold.ranking.renewing import renewed
from twofold.ranking.settings import RankerSettings

LOW_RANK = ["lora", "adalora"]
ENCODER = {"model": "tiny/bert", "revision": "abc", "origin": "folder"}


def make_files(folder: Path, kind: str, joint: int = 1) -> tuple[RankerModel, AdapterFiles]:
    model, _, adapter = trained(folder, joint, settings_of(kind))
    files = adapter.files(ENCODER)
    assert files is not None
    return model, files


def plain_model(folder: Path, joint: int = 1) -> RankerModel:
    """Return a ranker over the plain encoder whose head is none that was trained."""
    return randomise(make_model(folder, joint), seed=77)


def written(root: Path, save: Callable[[Any], None]) -> Generation:
    with begin_generation(root) as writer:
        save(writer)
        return writer.commit({"settings": {}, "seed": 0, "counts": {}})


def ranker_of(
    folder: Path, model: RankerModel, tables: ItemTables, files: AdapterFiles | None
) -> Ranker:
    tokenizer, settings = make_tokenizer(folder), RankerSettings()
    calibration = Calibration("temperature")
    return Ranker(model, tables, tokenizer, calibration, settings, adapter=files)


def opened(generation: Generation, tables: ItemTables) -> Ranker:
    counted = tables.relations.counted
    return Ranker.open(generation, tables.texts, counted, RankerSettings())


@pytest.mark.parametrize("joint", [1, 2])
@pytest.mark.parametrize("family", ["bert", "modernbert", "qwen3"])
@pytest.mark.parametrize("kind", LOW_RANK)
def test_unmerged_scores_come_back_bit_for_bit(
    request: pytest.FixtureRequest, family: str, kind: str, joint: int, tmp_path: Path
) -> None:
    folder = request.getfixturevalue(f"tiny_{family}")
    tables = make_tables(folder)
    model, files = make_files(folder, kind, joint)
    found = AdapterFiles.open(written(tmp_path, files.save))
    assert found is not None
    before = {name: one.clone() for name, one in model.backbone.state_dict().items()}
    base = plain_model(folder, joint)
    state = torch.random.get_rng_state()
    again = with_adapter(base, found)
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(scores(again, tables), scores(model, tables))
    after = again.backbone.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(one, after[name]) for name, one in before.items())
    assert not any(one.requires_grad for one in again.parameters())
    # The ranker that was handed in is left as it was.
    assert list(base.state_dict()) == list(plain_model(folder, joint).state_dict())


@pytest.mark.parametrize("kind", LOW_RANK)
def test_the_head_comes_back(tiny_bert: Path, kind: str) -> None:
    model, files = make_files(tiny_bert, kind)
    base = plain_model(tiny_bert)
    again = with_adapter(base, files)
    assert not torch.equal(base.head.weight, model.head.weight)
    state, wanted = again.state_dict(), model.state_dict()
    assert "head.weight" in files.rest
    for name in files.rest:
        assert torch.equal(state[name], wanted[name]), name


@pytest.mark.parametrize("kind", ["none", "lora", "adalora", "prefix"])
def test_a_ranker_serves_the_merged_weights(tiny_bert: Path, kind: str, tmp_path: Path) -> None:
    model, tables, adapter = trained(tiny_bert, 2, settings_of(kind))
    unmerged = scores(model, tables)
    files = adapter.files(ENCODER)
    adapter.merged()
    model.requires_grad_(False)
    np.testing.assert_allclose(scores(model, tables), unmerged, atol=1e-5)
    ranker = ranker_of(tiny_bert, model, tables, files).with_tables(tables)
    generation = written(tmp_path, ranker.save)
    again = opened(generation, tables)
    state = again.model.state_dict()
    assert list(state) == list(model.state_dict())
    assert all(torch.equal(one, state[name]) for name, one in model.state_dict().items())
    np.testing.assert_array_equal(scores(again.model, tables), scores(model, tables))
    queries, served = make_queries(PAST), make_served(len(PAST))
    np.testing.assert_array_equal(again.logits(queries, served), ranker.logits(queries, served))
    adapts = kind in LOW_RANK
    assert generation.has("ranker/adapter") == adapts
    assert (again.adapter is not None) == adapts
    if again.adapter is not None:
        kept = with_adapter(plain_model(tiny_bert, 2), again.adapter)
        np.testing.assert_array_equal(scores(kept, tables), unmerged)


def test_files_are_copies_of_what_was_trained(tiny_bert: Path) -> None:
    model, files = make_files(tiny_bert, "lora")
    tables = make_tables(tiny_bert)
    before = scores(model, tables)
    with torch.no_grad():
        for one in model.parameters():
            one.zero_()
    np.testing.assert_array_equal(
        scores(with_adapter(plain_model(tiny_bert), files), tables), before
    )


@pytest.mark.parametrize("kind", LOW_RANK)
def test_peft_itself_reads_the_files(tiny_bert: Path, kind: str, tmp_path: Path) -> None:
    from peft import PeftModel

    model, files = make_files(tiny_bert, kind)
    generation = written(tmp_path, files.save)
    plain: Any = plain_model(tiny_bert).backbone
    read: Any = PeftModel.from_pretrained(plain, str(generation.path("ranker/adapter")))
    entered = torch.randn(5, 32)
    for name in ("query", "key_value", "out"):
        theirs = getattr(read.base_model.model.layers[2], name)
        ours = getattr(model.backbone.joint[0], name)
        assert torch.equal(theirs(entered), ours(entered))
        assert not torch.equal(theirs(entered), theirs.base_layer(entered))


def test_the_files_name_their_encoder(tiny_bert: Path, tmp_path: Path) -> None:
    _, files = make_files(tiny_bert, "lora")
    generation = written(tmp_path, files.save)
    base = json.loads(generation.path("ranker/adapter/base_model.json").read_text())
    assert base == {**ENCODER, "fingerprint": files.base["fingerprint"]}
    config = json.loads(generation.path("ranker/adapter/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny/bert"
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 2, 8.0)


def test_another_encoder_is_refused(tiny_bert: Path) -> None:
    _, files = make_files(tiny_bert, "lora")
    other = plain_model(tiny_bert)
    with torch.no_grad():
        other.backbone.embeddings.words.weight[7, 3] += 1e-3
    with pytest.raises(InputError, match="was trained with tiny/bert of fingerprint"):
        with_adapter(other, files)


def test_files_that_lack_a_weight_are_refused(tiny_bert: Path) -> None:
    _, files = make_files(tiny_bert, "lora")
    rest = {name: one for name, one in files.rest.items() if name != "head.weight"}
    with pytest.raises(InputError, match=r"head\.weight"):
        with_adapter(plain_model(tiny_bert), replace(files, rest=rest))
    name = next(iter(files.weights))
    weights = {key: one for key, one in files.weights.items() if key != name}
    with pytest.raises(InputError, match=re.escape(name)):
        with_adapter(plain_model(tiny_bert), replace(files, weights=weights))


def test_files_of_a_model_without_an_adapter_are_refused(tiny_bert: Path) -> None:
    model, _, adapter = trained(tiny_bert, 1, settings_of("lora"))
    adapter.merged()
    for one in (model, model_for(tiny_bert, 1, settings_of("none"))):
        with pytest.raises(InputError, match="holds no adapter"):
            AdapterFiles.of(one, ENCODER)


def test_an_adapter_is_carried_along(tiny_bert: Path) -> None:
    model, tables, adapter = trained(tiny_bert, 1, settings_of("lora"))
    files = adapter.files(ENCODER)
    adapter.merged()
    model.requires_grad_(False)
    ranker = ranker_of(tiny_bert, model, tables, files)
    n, texts = len(tables.tokens), make_texts()
    others = [
        ranker.with_tables(tables),
        ranker.over(tables, None),
        ranker.with_runtime("bfloat16"),
        ranker.forgetting(),
        renewed(ranker, np.arange(n), np.zeros(n, dtype=bool), texts, tables.texts),
    ]
    assert all(one.adapter is files for one in others)
