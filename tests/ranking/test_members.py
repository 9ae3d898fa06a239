"""Several trainings from one start, what is made of them, and a ranker that teaches itself."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from tests.ranking.planted import planted_lists
from tests.ranking.worlds import (
    N_FEATURES,
    N_ITEMS,
    make_model,
    make_queries,
    make_tables,
    randomise,
    trained_by,
)
from twofold.ranking import members
from twofold.ranking.averaging import mean_of
from twofold.ranking.course import batch_gradients
from twofold.ranking.items import ItemTables, compute_states
from twofold.ranking.labelled import Batch, Labelled
from twofold.ranking.lessons import FromLabels
from twofold.ranking.lists import Lists
from twofold.ranking.losses import mean_loss
from twofold.ranking.members import APART, Brought, Workplace, self_trained, train_members
from twofold.ranking.model import RankerModel
from twofold.ranking.pseudo_labels import labelled_by_itself
from twofold.ranking.scoring import served_logits
from twofold.ranking.settings import RankerSettings
from twofold.ranking.training import Trained, fine_tune
from twofold.ranking.training_settings import (
    AdapterSettings,
    PseudoLabelSettings,
    TrainingSettings,
)

M, SEED = 5, 4
SETTINGS = RankerSettings(
    training=TrainingSettings(
        max_epochs=2,
        negatives=3,
        batch_lists=8,
        learning_rate=1e-3,
        head_learning_rate=1e-2,
        averaging=0.5,
        text_query_share=0.0,
        members=2,
        # What was measured is told again in single precision.
        bf16=False,
    )
)


def _lists(seed: int, n: int, tells: Sequence[float] = (1, 1)) -> Lists:
    """Return lists of one hit, whose features are so much higher than those of misses."""
    rng = np.random.default_rng(seed)
    items = np.stack([rng.permutation(N_ITEMS)[:M] for _ in range(n)]).astype(np.int64)
    labels = np.arange(M)[None, :] == rng.integers(0, M, n)[:, None]
    features = rng.normal(0, 0.5, (n, M, N_FEATURES)).astype(np.float32)
    for number, more in enumerate(tells):
        features[..., number] += more * labels
    histories = [rng.integers(0, N_ITEMS, 3).tolist() for _ in range(n)]
    return planted_lists(items, labels, features, make_queries(histories))


def _weights(model: RankerModel) -> dict[str, Tensor]:
    return {name: one.clone() for name, one in model.state_dict().items()}


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def tables(tiny_bert: Path) -> ItemTables:
    return make_tables(tiny_bert)


@pytest.fixture(scope="module")
def parts(tables: ItemTables) -> tuple[list[Labelled], list[Labelled]]:
    """Lists to train on, and to stop on."""
    return [Labelled(_lists(0, 24), tables)], [Labelled(_lists(1, 16), tables)]


def _start(folder: Path, settings: RankerSettings) -> RankerModel:
    adapter = settings.training.adapter
    return make_model(folder, 2, prefix=adapter.tokens if adapter.kind == "prefix" else 0)


def _alone(
    start: RankerModel,
    parts: tuple[list[Labelled], list[Labelled]],
    settings: RankerSettings,
) -> tuple[list[RankerModel], list[Trained]]:
    """Return the members, each trained by itself."""
    models = [copy.deepcopy(start) for _ in range(2)]
    courses = [
        fine_tune(model, *parts, settings, seed=SEED + number * APART)
        for number, model in enumerate(models)
    ]
    for course in courses:
        course.adapter.merged()
    return models, courses


def _losses(courses: Sequence[Trained]) -> list[list[float]]:
    return [[epoch.stop_loss for epoch in course.epochs] for course in courses]


@pytest.mark.parametrize("kind", ["none", "lora", "adalora", "prefix"])
def test_a_soup_is_the_mean_of_the_weights_of_members_trained_alone(
    kind: Any, tiny_bert: Path, parts: tuple[list[Labelled], list[Labelled]]
) -> None:
    settings = trained_by(SETTINGS, adapter=AdapterSettings(kind=kind, rank=2, tokens=2))
    start = _start(tiny_bert, settings)
    before = _weights(start)
    brought = train_members(start, *parts, settings, seed=SEED, work=Workplace())
    assert _equal(before, _weights(start))
    models, courses = _alone(start, parts, settings)
    # One that kept its start, or two alike, would say nothing of a mean.
    assert all(course.best > 0 for course in courses)
    own = [_weights(model) for model in models]
    changed = [name for name in own[0] if not torch.equal(own[0][name], own[1][name])]
    assert any(name.startswith("backbone.layers") for name in changed) == (kind != "prefix")
    assert any(name.startswith("g.") for name in changed)
    assert _equal(_weights(brought.model), mean_of(own))
    assert _losses(brought.courses) == _losses(courses)
    assert brought.n_trained() == courses[0].n_trained
    # What is served is of the classes that it was of before.
    assert brought.adapter is None
    model = brought.finished()
    assert [type(one) for one in model.modules()] == [type(one) for one in start.modules()]
    assert not hasattr(model.backbone, "peft_config")
    assert not model.training
    assert not any(one.requires_grad for one in model.parameters())


@pytest.mark.parametrize("layers", ["joint", "all"])
def test_one_that_is_distilled_says_what_the_members_say_on_average(
    layers: Any,
    tiny_bert: Path,
    tables: ItemTables,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = trained_by(SETTINGS, ensemble="distil", layers=layers, max_epochs=4, dropout=0.0)
    start = _start(tiny_bert, settings)
    before = _weights(start)
    # What is stored of items is of the lower layers as they are before any training.
    stored = replace(tables, states=compute_states(start.backbone, tables.tokens, form="single"))
    parts = [Labelled(_lists(0, 24), stored)], [Labelled(_lists(1, 16), stored)]
    models: list[RankerModel] = []

    def noted(model: RankerModel, *of: Any, **more: Any) -> Trained:
        models.append(model)
        return fine_tune(model, *of, **more)

    monkeypatch.setattr(members, "fine_tune", noted)
    brought = train_members(start, *parts, settings, seed=SEED, work=Workplace())
    assert _equal(before, _weights(start))
    stop = parts[1][0].lists

    def told(model: RankerModel) -> npt.NDArray[np.float32]:
        return served_logits(model, tables, stop.queries, stop.candidates, "vectors")

    wanted = np.mean([told(model) for model in models], axis=0)
    distances = [float(np.square(told(one) - wanted).mean()) for one in (start, brought.model)]
    last = brought.courses[-1]
    assert [last.epochs[0].stop_loss, last.kept.stop_loss] == pytest.approx(distances, rel=1e-3)
    assert distances[1] < 0.3 * distances[0]
    assert (last.n_trained == brought.n_trained()) == (layers == "joint")
    # It reads the lower layers' states as they were at the start.
    assert all(
        torch.equal(one, before[name])
        for name, one in _weights(brought.model).items()
        if name.startswith(("backbone.embeddings", "backbone.layers.0"))
    )
    words = "backbone.embeddings.words.weight"
    assert torch.equal(models[0].state_dict()[words], before[words]) == (layers == "joint")


def test_one_member_alone_keeps_its_adapter_until_it_is_finished(
    tiny_bert: Path, parts: tuple[list[Labelled], list[Labelled]]
) -> None:
    settings = trained_by(SETTINGS, members=1, adapter=AdapterSettings(kind="lora", rank=2))
    start = _start(tiny_bert, settings)
    brought = train_members(start, *parts, settings, seed=SEED, work=Workplace())
    assert brought.adapter is brought.courses[0].adapter
    assert hasattr(brought.model.backbone, "peft_config")
    (alone, _), _ = _alone(start, parts, settings)
    assert _equal(_weights(brought.finished()), _weights(alone))


def test_every_training_keeps_its_checkpoints_apart(
    tiny_bert: Path, parts: tuple[list[Labelled], list[Labelled]], tmp_path: Path
) -> None:
    settings = trained_by(SETTINGS, ensemble="distil", max_epochs=1, checkpoint_steps=1)
    work = Workplace(tmp_path, "key")
    brought = train_members(_start(tiny_bert, settings), *parts, settings, seed=SEED, work=work)
    self_trained(brought, *parts, parts[0][0], _own(settings), seed=SEED, work=work)
    found = {one.name for one in tmp_path.iterdir()}
    assert found == {"member-0", "member-1", "distilled", "round-1"}
    assert Workplace().checkpoints("member-0", 1) is None


def _own(settings: RankerSettings, **changes: Any) -> RankerSettings:
    values = {"rounds": 1, "hits": 0.2, "misses": 0.8, "weight": 1.0, **changes}
    return trained_by(settings, pseudo_labels=PseudoLabelSettings(**values))


def _knowing(
    model: RankerModel, tables: ItemTables, weights: Sequence[float], bias: float
) -> Brought:
    """Return the ranker as it comes out of a training, g with these weights of features."""
    with torch.no_grad():
        for one in model.g.members:
            features = one.get_submodule("features")
            assert isinstance(features, nn.Linear)
            features.weight.copy_(torch.tensor([weights]))
            features.bias.fill_(bias)
    nothing = trained_by(SETTINGS, max_epochs=0)
    some = [Labelled(_lists(0, 8), tables)]
    course = fine_tune(model, some, some, nothing, seed=0)
    return Brought(model, (course,), None)


def test_a_ranker_goes_on_teaching_itself_where_that_helps(
    tiny_bert: Path, tables: ItemTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is less sure than it might be, of labels of its own alone, round for round."""
    labelled: list[Lists] = []
    real = labelled_by_itself

    def noted(*of: Any) -> Lists:
        labelled.append(real(*of))
        return labelled[-1]

    weights: list[float] = []

    def weighed(model: RankerModel, train: Sequence[Labelled], *of: Any, **more: Any) -> Trained:
        weights.extend(part.weight for part in train)
        return fine_tune(model, train, *of, **more)

    monkeypatch.setattr(members, "labelled_by_itself", noted)
    monkeypatch.setattr(members, "fine_tune", weighed)
    brought = _knowing(make_model(tiny_bert, 1, dropout=0.0), tables, (0.7, 0.7, 0.0), -1.6)
    nobody = replace(_lists(12, 48, tells=(2, 2)), labels=np.zeros((48, M), dtype=bool))
    stop = _lists(13, 32, tells=(2, 2))
    settings = _own(trained_by(SETTINGS, members=1, max_epochs=1), rounds=2, weight=0.5)
    parts = [Labelled(stop, tables)], Labelled(nobody, tables)
    found = self_trained(brought, [], *parts, settings, seed=0, work=Workplace())
    first, second = found.courses[1:]
    assert (first.best, second.best) == (1, 1)
    assert first.kept.stop_loss < 0.9 * first.epochs[0].stop_loss
    assert second.kept.stop_loss < 0.95 * first.kept.stop_loss
    # A round begins where the one before ended, with labels of the ranker as it is then.
    assert second.epochs[0].stop_loss == pytest.approx(first.kept.stop_loss, rel=1e-5)
    assert not np.array_equal(labelled[0].labels, labelled[1].labels)
    told = served_logits(found.model, tables, stop.queries, stop.candidates, "vectors")
    loss = mean_loss([stop], [told], settings.training)
    assert loss == pytest.approx(second.kept.stop_loss, rel=1e-5)
    assert found.adapter is None
    assert weights == [0.5, 0.5]


def test_lists_count_for_their_weight_in_the_loss(tiny_bert: Path, tables: ItemTables) -> None:
    model = make_model(tiny_bert, 1, dropout=0.0)
    plain = Labelled(_lists(0, 4), tables)
    parts = [plain, plain._replace(weight=0.25)]
    lesson = FromLabels(model, parts, parts, SETTINGS)
    whole, quarter = (
        batch_gradients(lesson, Batch(part, np.arange(4)), SETTINGS.training, seed=(0,))
        for part in parts
    )
    assert quarter == pytest.approx(0.25 * whole)


@pytest.mark.parametrize("kind", ["none", "lora", "adalora", "prefix"])
def test_a_round_that_harms_is_undone_and_the_last(
    kind: Any, tiny_bert: Path, tables: ItemTables
) -> None:
    """Where nobody has judged, a feature is high with the known one that is noise elsewhere."""
    settings = trained_by(
        SETTINGS,
        members=1,
        head_learning_rate=3e-2,
        adapter=AdapterSettings(kind=kind, rank=2, tokens=2),
    )
    settings = _own(settings, rounds=3, hits=0.5, misses=0.5, weight=20.0)
    nobody = _lists(14, 48, tells=())
    features = nobody.features.copy()
    features[..., 1] = 3 * features[..., 0]
    candidates = replace(nobody.candidates, features=features)
    nobody = replace(nobody, candidates=candidates, labels=np.zeros_like(nobody.labels))
    train, stop = ([Labelled(_lists(seed, 16, tells=(2,)), tables)] for seed in (10, 15))
    brought = _knowing(_start(tiny_bert, settings), tables, (2.0, 0.0, 0.0), -2.0)
    before = _weights(brought.model)
    unlabelled = Labelled(nobody, tables)
    found = self_trained(brought, train, stop, unlabelled, settings, seed=0, work=Workplace())
    (_, course) = found.courses
    assert course.best == 0
    assert min(one.stop_loss for one in course.epochs[1:]) > 1.1 * course.epochs[0].stop_loss
    assert found.adapter is None
    assert _equal(_weights(found.finished()), before)


def test_lower_layers_that_were_trained_are_not_read_from_before(
    tiny_bert: Path, tables: ItemTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels are of the ranker as it is, whose states nobody has stored."""
    told: list[npt.NDArray[np.float32]] = []
    real = labelled_by_itself

    def noted(lists: Lists, logits: npt.NDArray[np.float32], *rest: Any) -> Lists:
        told.append(logits)
        return real(lists, logits, *rest)

    monkeypatch.setattr(members, "labelled_by_itself", noted)
    model = randomise(make_model(tiny_bert, 2, dropout=0.0))
    stored = ItemTables(
        tables.tokens,
        tables.texts,
        tables.factors,
        tables.relations,
        compute_states(model.backbone, tables.tokens),
    )
    course = fine_tune(
        copy.deepcopy(model),
        [Labelled(_lists(0, 8), stored)],
        [Labelled(_lists(1, 8), stored)],
        trained_by(SETTINGS, max_epochs=0),
        seed=0,
    )
    with torch.no_grad():
        model.backbone.embeddings.words.weight.mul_(-3.0)
    unlabelled, settings = _lists(2, 8), trained_by(SETTINGS, layers="all", max_epochs=0)
    self_trained(
        Brought(model, (course,), None),
        [Labelled(_lists(0, 8), stored)],
        [Labelled(_lists(1, 8), stored)],
        Labelled(unlabelled, stored),
        _own(settings),
        seed=0,
        work=Workplace(),
    )
    wanted, wrong = (
        served_logits(model, one, unlabelled.queries, unlabelled.candidates, "vectors")
        for one in (tables, stored)
    )
    np.testing.assert_allclose(told[0], wanted, rtol=1e-4, atol=1e-5)
    assert np.abs(told[0] - wrong).max() > 1e-2
