"""What a training starts from: the ranker of another artefact, or the plain encoder."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tests.ranking.windows import make_lists, make_of, make_window
from tests.ranking.worlds import MAX_HISTORY, make_ranker, make_texts
from tests.twofold.small_world import small_tables
from twofold.build import build
from twofold.engine import Engine
from twofold.indexing.artefact import begin_generation, open_artefact
from twofold.indexing.errors import InputError
from twofold.indexing.progress import Silent
from twofold.ranking.adapter_files import read_weights
from twofold.ranking.items import compute_states
from twofold.ranking.model import ModelShape
from twofold.ranking.ranker import Ranker
from twofold.ranking.settings import RankerSettings
from twofold.ranking.starting import Read, Started, read_items, start
from twofold.ranking.training_settings import TrainingSettings
from twofold.retraining import train_ranker, training_settings
from twofold.settings import Settings

SEED = 5


def _save(ranker: Ranker | None, folder: Path) -> str:
    with begin_generation(folder) as writer:
        if ranker is not None:
            ranker.save(writer)
        writer.commit({})
    return str(folder)


@pytest.fixture(scope="module")
def other(tiny_bert: Path) -> Ranker:
    """A ranker whose encoder was trained too."""
    ranker = make_ranker(tiny_bert)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for one in ranker.model.backbone.parameters():
            one.add_(0.05 * torch.randn(one.shape, generator=generator))
    return ranker


@pytest.fixture(scope="module")
def there(other: Ranker, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The artefact that holds it."""
    return _save(other, tmp_path_factory.mktemp("other") / "artefact")


def _settings(folder: Path, init_from: str | None, **changes: Any) -> RankerSettings:
    training = TrainingSettings(init_from=init_from, **changes)
    return RankerSettings(model=str(folder), max_history=MAX_HISTORY, training=training)


def _read(settings: RankerSettings) -> Read:
    return read_items(make_texts(), settings, Silent())


def _started(settings: RankerSettings, shape: ModelShape) -> Started:
    return start(shape, _read(settings), settings, SEED)


def test_all_that_means_the_same_is_taken_over(tiny_bert: Path, other: Ranker, there: str) -> None:
    shape = other.model.shape
    found = _started(_settings(tiny_bert, there), shape)
    plain = _started(_settings(tiny_bert, None), shape)
    assert (found.knows_g, plain.knows_g) == (True, False)
    theirs, new = other.model.state_dict(), plain.model.state_dict()
    for name, one in found.model.state_dict().items():
        if name == "factors.weight":
            # Nothing of another basis is said until it is learned.
            assert not one.any()
        elif name == "kinds.weight":
            assert torch.equal(one, new[name])
            assert not torch.equal(one, theirs[name])
        elif ".kinds." not in name:
            assert torch.equal(one, theirs[name]), name
    differing = {name for name in new if not torch.equal(new[name], theirs[name])}
    assert {
        "text.weight",
        "head.weight",
        "to_reader.weight",
        "g.members.0.features.bias",
    } < differing
    assert any(name.startswith("backbone.layers.2") for name in differing)


def test_kinds_of_events_begin_anew_in_g_too(tiny_bert: Path, other: Ranker, there: str) -> None:
    """Which kind has which number depends on the data, there as in the encoder."""
    shape = other.model.shape
    found = _started(_settings(tiny_bert, there), shape).model.state_dict()
    plain = _started(_settings(tiny_bert, None), shape).model.state_dict()
    names = [name for name in found if ".kinds." in name]
    assert names
    assert all(torch.equal(found[name], plain[name]) for name in names)


def test_what_is_of_another_size_here_begins_anew(
    tiny_bert: Path, other: Ranker, there: str
) -> None:
    shape = replace(
        other.model.shape, n_features=2, text_dim=9, factor_dim=3, n_kinds=4, max_history=6
    )
    found, plain = (_started(_settings(tiny_bert, one), shape) for one in (there, None))
    # Of a part of g nobody knows whether it fits the rest: it is fitted.
    assert not found.knows_g
    theirs, new = other.model.state_dict(), plain.model.state_dict()
    for name, one in found.model.state_dict().items():
        if one.shape == theirs[name].shape:
            assert torch.equal(one, theirs[name]), name
        elif name != "factors.weight":
            assert torch.equal(one, new[name]), name
    assert not found.model.state_dict()["factors.weight"].any()


def test_items_are_read_with_the_other_encoder(tiny_bert: Path, other: Ranker, there: str) -> None:
    read, plain = _read(_settings(tiny_bert, there)), _read(_settings(tiny_bert, None))
    assert read.encoder == {
        **plain.encoder,
        "init_from": open_artefact(there).manifest["content_hash"],
    }
    wanted, untrained = (
        compute_states(one, read.tokens) for one in (other.model.backbone, plain.backbone)
    )
    places = np.arange(len(read.tokens.tokens))
    assert read.states is not None
    found = read.states.of(places)
    assert torch.equal(found, wanted.of(places))
    assert not torch.allclose(found, untrained.of(places), atol=1e-2)


def test_more_layers_may_be_joint_than_there(tiny_bert: Path, other: Ranker, there: str) -> None:
    settings = replace(_settings(tiny_bert, there), joint_layers="all")
    shape = replace(other.model.shape, joint_layers=3)
    found = _started(settings, shape).model
    assert found.backbone.n_lower == 0
    theirs = other.model.state_dict()
    for name, one in found.backbone.state_dict().items():
        assert torch.equal(one, theirs[f"backbone.{name}"])


def test_another_encoder_and_no_ranker_are_refused(
    tiny_bert: Path, tiny_modernbert: Path, there: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"\(bert, 3 layers of 32\) is another than.*modernbert"):
        _read(_settings(tiny_modernbert, there))
    without = _save(None, tmp_path / "without")
    with pytest.raises(InputError, match=r"without a ranker; name one"):
        _read(_settings(tiny_bert, without))


def test_without_a_step_it_says_what_the_other_says_without_factors(
    tiny_bert: Path, other: Ranker, there: str
) -> None:
    windows = [make_window(0), make_window(1)]
    made = make_of(windows, _settings(tiny_bert, there, max_epochs=0))
    model = copy.deepcopy(other.model)
    with torch.no_grad():
        model.factors.weight.zero_()
        for name, one in model.named_parameters():
            if "kinds." in name:
                one.copy_(made.ranker.model.get_parameter(name))
    lists = make_lists(2)
    wanted = replace(made.ranker, model=model, digests=None)
    told = made.ranker.logits(lists.queries, lists.candidates)
    asked = lists.queries, lists.candidates
    np.testing.assert_allclose(told, wanted.logits(*asked), atol=2e-2)
    assert not np.allclose(told, replace(wanted, model=other.model).logits(*asked), atol=0.1)
    assert made.about["g"] == []
    assert made.about["best_epoch"] == 0
    # The factors of these items are read as soon as there is something to learn.
    assert made.ranker.tables.factors.any()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory, small_settings: Settings) -> Path:
    """An artefact of other users and fewer items, without a ranker."""
    log, items = small_tables()
    items = items[5:55]
    log = log.filter(pl.col("item_id").is_in(items["item_id"].to_list()))
    log = log.with_columns(pl.col("user_id").str.replace("u", "someone-"))
    out = tmp_path_factory.mktemp("elsewhere") / "artefact"
    plain = replace(small_settings, ranker=replace(small_settings.ranker, train=False))
    build(log, items, out, plain)
    return out


def test_a_ranker_goes_to_another_artefact(elsewhere: Path, small_artefact: Path) -> None:
    changes = (
        "ranker.train=true",
        "ranker.training.max_epochs=0",
        f"ranker.training.init_from={small_artefact}",
    )
    train_ranker(elsewhere, training_settings(elsewhere, None, changes))
    before, after = open_artefact(small_artefact), open_artefact(elsewhere)
    told = after.json("learning")["ranker"]
    assert told["encoder"]["init_from"] == before.manifest["content_hash"]
    theirs, own = (read_weights(one.path("ranker/model.safetensors")) for one in (before, after))
    same = {name for name in own if torch.equal(own[name], theirs[name])}
    assert {name for name in own if name.startswith(("backbone.", "text.", "head."))} <= same
    assert "factors.weight" not in same
    assert not own["factors.weight"].any()
    with Engine.load(elsewhere) as engine:
        assert all(one.probability is not None for one in engine.recommend("someone-1", 3))
