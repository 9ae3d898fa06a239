"""Which labels the windows of a learning hold, and where they end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.twofold.small_world import N_EVENTS, N_ITEMS, N_USERS, build_small, small_tables
from twofold import lessons
from twofold.embedding import embedded
from twofold.engine import Engine
from twofold.indexing.dataset import load_dataset
from twofold.indexing.errors import InputError
from twofold.indexing.progress import Silent
from twofold.indexing.tuning import IndexSettings
from twofold.learning import Learned, learn
from twofold.lessons import Learner
from twofold.retrieval import stage_one
from twofold.retrieval.queries import queries_of_users
from twofold.settings import Settings


def _learn(settings: Settings) -> Learned:
    dataset = load_dataset(*small_tables(), settings.data)
    index, _ = embedded(dataset, settings, None, Silent())
    return learn(dataset, dataset.interactions, index, settings, Silent())


def test_the_window_is_each_users_latest_label_but_the_skipped_ones(
    small_settings: Settings,
) -> None:
    without = replace(small_settings, ranker=replace(small_settings.ranker, train=False))
    for skip in (0, 2):
        (lists,) = _learn(replace(without, skip_labels=skip)).lists
        assert len(lists) == N_USERS
        assert (lists.n_held_out == 1).all()
        assert (lists.queries.lengths() == N_EVENTS - 1 - skip).all()
    with pytest.raises(InputError, match="window_labels lower"):
        _learn(replace(without, skip_labels=N_EVENTS))


def test_windows_follow_one_another_until_nobody_has_labels_left(small_settings: Settings) -> None:
    learned = _learn(replace(small_settings, window_labels=5, windows=9, skip_labels=1))
    # Twelve labels a user: one skipped, five and five, and one that starts the history.
    assert learned.about["n_window_users"] == [N_USERS, N_USERS]
    assert [lists.queries.lengths().tolist()[0] for lists in learned.lists] == [6, 1]
    assert learned.ranker is not None
    # The served tables are those of the last stage one, in the basis of the training's.
    assert len(learned.ranker.tables.factors) == len(learned.stage_one.factors.items)
    for mine, theirs in zip(
        learned.ranker.tables.relations.counted, learned.stage_one.relations(), strict=True
    ):
        assert mine is theirs
    lengths = np.linalg.norm(learned.ranker.tables.factors, axis=1)
    assert np.sqrt(np.mean(lengths[lengths > 0] ** 2)) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("family", ["modernbert", "qwen3"])
def test_rankers_of_every_family_are_trained_saved_and_opened(
    family: str, small_settings: Settings, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(f"tiny_{family}")
    settings = replace(small_settings, ranker=replace(small_settings.ranker, model=str(folder)))
    build_small(tmp_path / "world", settings)
    with Engine.load(tmp_path / "world", runtime="float32") as engine:
        ranker = engine.stages.ranker
        assert ranker is not None
        assert ranker.model.shape.backbone.family == family
        queries = engine.histories
        found = engine.stages.retriever.retrieve(queries, 20)
        logits = ranker.logits(queries, found)
        # What was stored of the items is what the stored weights make of them.
        again = replace(ranker, digests=None).logits(queries, found)
        np.testing.assert_allclose(logits, again, atol=5e-3)
        if family == "qwen3":
            assert not ranker.tables.tokens.opened
        assert engine.search("red comedy", 3)[0].item_id in set(engine.items["item_id"])


def test_served_probabilities_average_to_the_share_of_hits_in_the_windows(
    small_settings: Settings,
) -> None:
    learned = _learn(replace(small_settings, window_labels=2, windows=2))
    assert learned.ranker is not None
    dataset = load_dataset(*small_tables(), small_settings.data)
    users = learned.lists[0].queries.users
    queries = queries_of_users(dataset.interactions, users, max_history=50)
    served = learned.stage_one.retriever(learned.fusion).retrieve(queries, 20)
    told = learned.ranker.calibration.probabilities(learned.ranker.logits(queries, served))
    hits = sum(int(lists.labels.sum()) for lists in learned.lists)
    shown = sum(int((lists.candidates.items >= 0).sum()) for lists in learned.lists)
    assert float(told[served.items >= 0].mean()) == pytest.approx(hits / shown, rel=1e-3)


def test_only_where_many_ask_factors_before_a_window_get_an_index(
    small_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_one, "SEARCHED", N_ITEMS - 1)
    settings = replace(small_settings, index=IndexSettings(kind="HNSW8,Flat"))
    dataset = load_dataset(*small_tables(), settings.data)
    index, _ = embedded(dataset, settings, None, Silent())
    learner = Learner(dataset, dataset.interactions, index, settings, Silent())
    assert learner.fitted(learner.log).factors.index.proposer is not None
    assert learner.before(1, 0).stage_one.factors.index.proposer is None
    monkeypatch.setattr(lessons, "SCANNED_PAIRS", N_USERS * N_ITEMS - 1)
    assert learner.before(1, 0).stage_one.factors.index.proposer is not None
