"""Every technique, switched on, changes the gradient of a batch; and what it is for is seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.ranking.planted import planted_lists
from tests.ranking.worlds import (
    N_ITEMS,
    make_features,
    make_model,
    make_queries,
    make_tables,
    make_texts,
    make_tokenizer,
    randomise,
)
from twofold.ranking.adapters import adapted
from twofold.ranking.augmenting import reworded_tables
from twofold.ranking.course import batch_gradients
from twofold.ranking.labelled import Batch, Labelled
from twofold.ranking.lessons import FromLabels
from twofold.ranking.lists import Lists
from twofold.ranking.settings import RankerSettings
from twofold.ranking.training_settings import (
    AdversarySettings,
    AugmentationSettings,
    TrainingSettings,
)

N, M = 6, 5
PLAIN = TrainingSettings(
    negatives=2, dropout=0.1, collaborative_dropout=0.0, text_query_share=0.0, bf16=False
)
TECHNIQUES: dict[str, dict[str, Any]] = {
    "focal": {"objective": "focal"},
    "pairwise": {"objective": "pairwise"},
    "listwise": {"objective": "listwise"},
    "order": {"order_weight": 1.0},
    "class balance": {"positive_weight": 5.0},
    "more negatives": {"negatives": 3},
    "popular negatives": {"popular_negatives": 2},
    "in-batch negatives": {"batch_negatives": 2},
    "text queries": {"text_query_share": 0.9},
    "consistency": {"consistency": 1.0},
    "fgm": {"adversary": AdversarySettings("fgm", radius=0.1)},
    "pgd": {"adversary": AdversarySettings("pgd", radius=0.1)},
    "freelb": {"adversary": AdversarySettings("freelb", radius=0.1)},
    "augmentation": {"augmentation": AugmentationSettings(variants=1, share=1.0, drop_words=0.5)},
    "history dropout": {"history_dropout": 0.5},
    "history truncation": {"history_truncation": 0.9},
    "collaborative dropout": {"collaborative_dropout": 0.9},
    "mixed precision": {"bf16": True},
    "all layers": {"layers": "all"},
}


def _lists() -> Lists:
    rng = np.random.default_rng(0)
    items = np.stack([rng.permutation(N_ITEMS - 1)[:M] + 1 for _ in range(N)]).astype(np.int64)
    labels = np.arange(M)[None, :] == rng.integers(0, M, N)[:, None]
    histories = [rng.integers(1, N_ITEMS, 4).tolist() for _ in range(N)]
    lists = planted_lists(items, labels, make_features((N, M)), make_queries(histories))
    return replace(lists, popularity=np.arange(1, N_ITEMS + 1, dtype=np.float32))


def _gradient(folder: Path, settings: TrainingSettings) -> dict[str, Tensor]:
    """Return the gradient of all weights by the same batch under the same seed."""
    model = randomise(make_model(folder, 2, dropout=settings.dropout))
    adapted(model, settings, total_steps=1)
    tables = make_tables(folder)
    wordings = reworded_tables(
        tables, make_texts(), make_tokenizer(folder), model.backbone, settings.augmentation
    )
    part = Labelled(_lists(), tables, wordings)
    lesson = FromLabels(model, [part], [part], RankerSettings(training=settings))
    model.train()
    batch_gradients(lesson, Batch(part, np.arange(N)), settings, seed=(3, 1, 0))
    return {
        name: one.grad
        for name, one in model.named_parameters()
        if one.grad is not None and one.grad.any()
    }


@pytest.fixture(scope="module")
def plain(tiny_bert: Path) -> dict[str, Tensor]:
    return _gradient(tiny_bert, PLAIN)


def test_the_same_seed_gives_the_same_gradient(tiny_bert: Path, plain: dict[str, Tensor]) -> None:
    again = _gradient(tiny_bert, PLAIN)
    assert again.keys() == plain.keys()
    assert all(torch.equal(again[name], one) for name, one in plain.items())


@pytest.mark.parametrize("name", TECHNIQUES)
def test_a_technique_changes_the_gradient(
    name: str, tiny_bert: Path, plain: dict[str, Tensor]
) -> None:
    found = _gradient(tiny_bert, replace(PLAIN, **TECHNIQUES[name]))
    apart = [
        float((found[key] - plain[key]).norm() / plain[key].norm())
        for key in found.keys() & plain.keys()
    ]
    # Mixed precision rounds to 8 bits; all else changes what is computed.
    assert name == "all layers" or max(apart) > (1e-3 if name == "mixed precision" else 1e-2)
    lower = {key for key in found if key.startswith(("backbone.embeddings", "backbone.layers.0"))}
    assert bool(lower) == (name == "all layers")


def test_all_layers_are_trained_through_states_that_are_made_anew(tiny_bert: Path) -> None:
    """What is stored of the lower layers is of weights that the training has left behind."""
    model = randomise(make_model(tiny_bert, 2, dropout=0.0))
    tables, settings = make_tables(tiny_bert), replace(PLAIN, layers="all")
    part = Labelled(_lists(), tables)
    lesson = FromLabels(model, [part], [part], RankerSettings(training=settings))
    before = lesson.measure()["loss"]
    with torch.no_grad():
        model.backbone.embeddings.words.weight.mul_(-3.0)
    assert lesson.measure()["loss"] != pytest.approx(before, rel=1e-3)


def test_a_small_step_down_the_gradient_lowers_the_loss(tiny_bert: Path) -> None:
    """The gradient of every objective is that of what early stopping watches."""
    for objective in ("bce", "focal", "pairwise", "listwise"):
        settings = replace(PLAIN, objective=objective, negatives=0, dropout=0.0)
        model = randomise(make_model(tiny_bert, 2, dropout=0.0))
        adapted(model, settings, total_steps=1)
        part = Labelled(_lists(), make_tables(tiny_bert))
        lesson = FromLabels(model, [part], [part], RankerSettings(training=settings))
        before = lesson.measure()["loss"]
        lost = batch_gradients(lesson, Batch(part, np.arange(N)), settings, seed=(0,))
        assert lost == pytest.approx(before, rel=1e-4)
        slope = 0.0
        with torch.no_grad():
            for one in model.parameters():
                if one.grad is not None:
                    slope += float(one.grad.square().sum())
                    one.sub_(1e-4 * one.grad)
        fallen = before - lesson.measure()["loss"]
        assert fallen == pytest.approx(1e-4 * slope, rel=0.2)
