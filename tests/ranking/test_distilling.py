"""A smaller ranker learns to say what the larger one says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.ranking.worlds import (
    N_ITEMS,
    make_model,
    make_queries,
    make_ranker,
    make_served,
    make_tables,
    make_tokenizer,
    randomise,
    trained_by,
)
from twofold.indexing.errors import InputError
from twofold.ranking.calibration import Calibration
from twofold.ranking.distilling import distil, pruned
from twofold.ranking.ranker import Ranker
from twofold.ranking.settings import RankerSettings
from twofold.ranking.training_settings import TrainingSettings

N = 160


def _histories(n: int, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, N_ITEMS, rng.integers(1, 5)).tolist() for _ in range(n)]


@pytest.fixture(scope="module")
def larger(tiny_bert: Path) -> Ranker:
    ranker = make_ranker(tiny_bert)
    settings = trained_by(ranker.settings, max_epochs=4, learning_rate=5e-4, averaging=0.8)
    return replace(ranker, settings=settings)


def test_what_is_left_keeps_its_weights(larger: Ranker) -> None:
    model = pruned(larger.model, 2, 1)
    assert (model.shape.backbone.layers, model.shape.joint_layers) == (2, 1)
    for place, number in enumerate([0, 2]):
        theirs = dict(larger.model.backbone.layers[number].named_parameters())
        for name, one in model.backbone.layers[place].named_parameters():
            assert torch.equal(one, theirs[name])
    assert torch.equal(model.head.weight, larger.model.head.weight)


@pytest.mark.parametrize("family", ["modernbert", "qwen3"])
def test_layers_keep_their_kind(family: str, request: pytest.FixtureRequest) -> None:
    whole = make_model(request.getfixturevalue(f"tiny_{family}"), 1)
    small, backbone = pruned(whole, 2, 2), whole.shape.backbone
    assert small.shape.backbone.rotations == (backbone.rotations[0], backbone.rotations[2])
    if family == "modernbert":
        assert small.shape.backbone.windows == (0, backbone.windows[2])


def test_the_smaller_ranker_learns_what_the_larger_one_says(larger: Ranker) -> None:
    queries, served = make_queries(_histories(N)), make_served(N)
    found = distil(larger, queries, served, layers=2, joint_layers=1)
    before, after = found.course.epochs[0], found.course.epochs[found.course.best]
    # Seen: 0.014 of the distance that leaving out a layer opens.
    assert after.stop_loss < 0.15 * before.stop_loss
    others, lists = make_queries(_histories(40, seed=9)), make_served(40)
    told, wanted = found.ranker.logits(others, lists), larger.logits(others, lists)
    untaught = replace(larger, model=pruned(larger.model, 2, 1), digests=None)
    distance = np.square(told - wanted).mean()
    assert distance < 0.5 * np.square(untaught.logits(others, lists) - wanted).mean()
    assert found.ranker.settings.joint_layers == 1
    # g is taken over as it is.
    mine, theirs = found.ranker.model.g.state_dict(), larger.model.g.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_the_larger_ranker_stays_as_it_was(larger: Ranker) -> None:
    before = {name: one.clone() for name, one in larger.model.state_dict().items()}
    distil(larger, make_queries(_histories(20)), make_served(20), layers=2, joint_layers=2)
    assert all(torch.equal(before[name], one) for name, one in larger.model.state_dict().items())
    assert not larger.model.training


def test_the_same_seed_gives_the_same_ranker(larger: Ranker) -> None:
    small = replace(larger, settings=trained_by(larger.settings, max_epochs=1))
    asked, served = make_queries(_histories(30)), make_served(30)
    one, other = (
        distil(small, asked, served, layers=2, joint_layers=1, seed=4).ranker.logits(asked, served)
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, other)


def test_what_cannot_be_made_smaller_is_refused(larger: Ranker) -> None:
    queries, served = make_queries(_histories(9)), make_served(9)
    for layers, joint in ((3, 1), (1, 1), (9, 1)):
        with pytest.raises(InputError, match="layers must be from 2 to 2"):
            distil(larger, queries, served, layers=layers, joint_layers=joint)
    with pytest.raises(InputError, match="joint_layers must be between 1 and 2, not 3"):
        distil(larger, queries, served, layers=2, joint_layers=3)
    with pytest.raises(InputError, match="at least two lists"):
        distil(larger, make_queries([[1], []]), make_served(2), layers=2, joint_layers=1)


def test_a_ranker_of_several_joint_layers_can_teach(tiny_bert: Path) -> None:
    model = randomise(make_model(tiny_bert, 3))
    training = TrainingSettings(max_epochs=1)
    settings = RankerSettings(joint_layers=3, training=training, history="text")
    calibration = Calibration("temperature")
    ranker = Ranker(model, make_tables(tiny_bert), make_tokenizer(tiny_bert), calibration, settings)
    queries, served = make_queries(_histories(20)), make_served(20)
    found = distil(ranker, queries, served, layers=2, joint_layers=1)
    assert found.ranker.digests is not None
    assert np.isfinite(found.ranker.logits(queries, served)).all()
