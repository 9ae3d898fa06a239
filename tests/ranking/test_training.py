"""Fine-tuning on lists where the hit is the candidate that reads like the last history item."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor

from tests.ranking.planted import planted_lists
from tests.ranking.worlds import (
    FACTOR_DIM,
    N_FEATURES,
    TEXT_DIM,
    make_model,
    make_queries,
    make_tokenizer,
    randomise,
    trained_by,
)
from twofold.indexing.errors import InputError
from twofold.ranking.items import ItemTables, tokenise_items
from twofold.ranking.labelled import Labelled, draw
from twofold.ranking.lists import Lists, mean_ndcg
from twofold.ranking.losses import mean_loss
from twofold.ranking.model import RankerModel
from twofold.ranking.relations import Relations
from twofold.ranking.scoring import head_logits, served_logits
from twofold.ranking.settings import RankerSettings
from twofold.ranking.training import Trained, fine_tune
from twofold.ranking.training_settings import TrainingSettings

TOPICS = ("love", "war", "robot", "nail", "comedy")
COPIES, M = 6, 4
SETTINGS = RankerSettings(
    training=TrainingSettings(
        max_epochs=6,
        patience=4,
        learning_rate=3e-3,
        head_learning_rate=1e-2,
        negatives=0,
        dropout=0.0,
        collaborative_dropout=0.0,
        objective="listwise",
    )
)


def _tables(folder: Path) -> ItemTables:
    """Return items of five topics; only token text and text vector tell the topic."""
    texts = [f"the {topic}" for topic in TOPICS for _ in range(COPIES)]
    vectors = np.random.default_rng(0).normal(size=(len(TOPICS), TEXT_DIM)).astype(np.float32)
    empty = sp.csr_matrix((len(texts),) * 2, dtype=np.float32)
    return ItemTables(
        tokenise_items(make_tokenizer(folder), texts, None, 64),
        np.repeat(vectors, COPIES, axis=0),
        np.zeros((len(texts), FACTOR_DIM), dtype=np.float32),
        Relations.of([empty] * 2, empty, seed=0),
    )


def _lists(seed: int, n: int) -> Lists:
    rng = np.random.default_rng(seed)
    topics = np.stack([rng.permutation(len(TOPICS))[:M] for _ in range(n)])
    hit = rng.integers(0, M, n)
    items = (topics * COPIES + rng.integers(1, COPIES, topics.shape)).astype(np.int64)
    last = topics[np.arange(n), hit] * COPIES
    past = rng.integers(0, len(TOPICS), n) * COPIES
    labels = np.arange(M)[None, :] == hit[:, None]
    queries = make_queries(list(np.stack([past, last], axis=1)), len(TOPICS) * COPIES)
    return planted_lists(items, labels, np.zeros((n, M, N_FEATURES), np.float32), queries)


def _fine_tune(
    model: RankerModel,
    tables: ItemTables,
    train: Lists,
    stop: Lists,
    settings: RankerSettings,
    seed: int = 0,
) -> Trained:
    parts = [Labelled(train, tables)], [Labelled(stop, tables)]
    return fine_tune(model, *parts, settings, seed=seed)


def _train(
    folder: Path, settings: RankerSettings = SETTINGS, seed: int = 0, n: int = 240
) -> tuple[RankerModel, Trained]:
    model = make_model(folder, 2, dropout=settings.training.dropout)
    trained = _fine_tune(model, _tables(folder), _lists(0, n), _lists(1, 100), settings, seed)
    return model, trained


def _weights(model: RankerModel) -> dict[str, Tensor]:
    return {name: one.clone() for name, one in model.state_dict().items()}


@pytest.fixture(scope="module")
def learned(tiny_bert: Path) -> tuple[RankerModel, Trained]:
    return _train(tiny_bert)


def test_matching_the_last_item_is_learned(learned: tuple[RankerModel, Trained]) -> None:
    ndcg = [epoch.stop_ndcg for epoch in learned[1].epochs]
    assert ndcg[0] < 0.7
    assert max(ndcg) > 0.9


@pytest.mark.parametrize("narrow", [True, False])
def test_the_best_epoch_is_kept_and_was_measured_as_it_was_trained(
    tiny_bert: Path, narrow: bool
) -> None:
    model, trained = _train(tiny_bert, trained_by(SETTINGS, bf16=narrow, max_epochs=3))
    best = min(trained.epochs, key=lambda epoch: epoch.stop_loss)
    assert best.number == trained.best
    stop, tables = _lists(1, 100), _tables(tiny_bert)

    def losses(narrow: bool) -> tuple[float, float]:
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            told = served_logits(model, tables, stop.queries, stop.candidates, SETTINGS.history)
        return mean_loss([stop], [told], SETTINGS.training), mean_ndcg([stop], [told])

    loss, ndcg = losses(narrow)
    assert loss == pytest.approx(best.stop_loss, abs=1e-6)
    assert ndcg == pytest.approx(best.stop_ndcg, abs=1e-6)
    assert losses(not narrow)[0] != pytest.approx(best.stop_loss, abs=1e-6)


def test_g_is_computed_in_single_precision_where_products_are_narrow(tiny_bert: Path) -> None:
    model, tables, lists = randomise(make_model(tiny_bert, 2)), _tables(tiny_bert), _lists(1, 20)
    torch.nn.init.zeros_(model.head.weight)
    features = np.random.default_rng(0).normal(size=lists.features.shape).astype(np.float32)
    candidates = replace(lists.candidates, features=features)
    wanted = head_logits(model.g, tables, lists.queries, candidates)
    with torch.autocast("cpu", torch.bfloat16):
        told = served_logits(model, tables, lists.queries, candidates, "vectors")
    np.testing.assert_allclose(told, wanted, rtol=1e-6, atol=1e-6)


def test_lower_layers_and_embeddings_stay(
    tiny_bert: Path, learned: tuple[RankerModel, Trained]
) -> None:
    before, after = _weights(make_model(tiny_bert, 2)), _weights(learned[0])
    same = {name for name in before if torch.equal(before[name], after[name])}
    fixed = {one for one in before if one.startswith(("backbone.embeddings.", "backbone.layers.0"))}
    assert fixed <= same
    moved = {name for name in before if name.startswith("backbone.layers.") and name not in fixed}
    assert not moved & {name for name in same if "weight" in name}


def test_training_that_only_harms_leaves_the_untrained_weights(tiny_bert: Path) -> None:
    # In training the hit has the higher feature, in the early-stopping lists the lower.
    train, stop = (
        planted_lists(one.candidates.items, one.labels, told.astype(np.float32), one.queries)
        for one, sign in ((_lists(0, 40), 1), (_lists(1, 40), -1))
        for told in [sign * one.labels[..., None] * np.ones(N_FEATURES)]
    )
    model = make_model(tiny_bert, 2, dropout=0.0)
    before = _weights(model)
    settings = trained_by(SETTINGS, max_epochs=5, patience=2)
    trained = _fine_tune(model, _tables(tiny_bert), train, stop, settings)
    assert trained.best == 0
    assert len(trained.epochs) == 3
    assert all(torch.equal(before[name], one) for name, one in _weights(model).items())


def test_the_same_seed_gives_the_same_weights(tiny_bert: Path) -> None:
    settings = trained_by(
        RankerSettings(), max_epochs=1, text_query_share=0.5, dropout=0.2, negatives=1
    )
    torch.manual_seed(5)
    one, other, another = (
        _weights(_train(tiny_bert, settings, seed, n=40)[0]) for seed in (0, 0, 1)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    # Were no epoch better than none, all three would be the untrained weights.
    assert not all(torch.equal(one[name], another[name]) for name in one)


def test_lists_without_any_hit_are_refused(tiny_bert: Path) -> None:
    train, stop = _lists(0, 8), _lists(1, 8)
    none = Lists(
        train.queries, train.candidates, np.zeros_like(train.labels), np.zeros(8, np.int64)
    )
    model = make_model(tiny_bert, 2)
    with pytest.raises(InputError, match="none of 8"):
        _fine_tune(model, _tables(tiny_bert), none, stop, SETTINGS)


def test_all_hits_are_drawn_and_misses_stand_for_the_rest() -> None:
    lists = _lists(0, 50)
    drawn = draw(lists, 1, np.random.default_rng(0))
    assert drawn.items.shape == (50, 2)
    assert drawn.labels.tolist() == [[1.0, 0.0]] * 50
    assert drawn.weights.tolist() == [[1.0, M - 1.0]] * 50


def test_a_ranker_of_text_histories_is_trained_on_text_histories(tiny_bert: Path) -> None:
    settings = trained_by(replace(SETTINGS, history="text"), text_query_share=0.0, weight_decay=0.0)
    before = make_model(tiny_bert, 2, dropout=0.0)
    model, trained = _train(tiny_bert, settings)
    # Ages and kinds are read of vector histories alone: unread, they have no gradient and stay.
    for name in ("ages.weight", "kinds.weight"):
        assert torch.equal(model.state_dict()[name], before.state_dict()[name])
    stop = _lists(1, 100)
    logits = served_logits(model, _tables(tiny_bert), stop.queries, stop.candidates, "text")
    assert mean_ndcg([stop], [logits]) == pytest.approx(trained.epochs[trained.best].stop_ndcg)
    assert trained.best > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")
@pytest.mark.parametrize("layers", ["joint", "all"])
def test_a_gpu_learns_the_same_and_gives_the_model_back(tiny_bert: Path, layers: str) -> None:
    losses = {}
    for device in ("cpu", "cuda"):
        settings = trained_by(SETTINGS, device=device, layers=layers, max_epochs=2)
        model = make_model(tiny_bert, 2)
        lists = _lists(0, 100), _lists(1, 60)
        trained = _fine_tune(model, _tables(tiny_bert), *lists, settings)
        assert model.device.type == "cpu"
        losses[device] = trained.kept.stop_loss
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=0.05)
