"""How users are dealt over the windows of a ranker's training, and what it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ranking.planted import planted_lists
from tests.ranking.windows import make_of, make_window
from tests.ranking.worlds import MAX_HISTORY
from twofold.indexing.errors import InputError
from twofold.ranking import making
from twofold.ranking.alignment import align_factors
from twofold.ranking.labelled import Labelled
from twofold.ranking.lists import Lists, pooled, stacked
from twofold.ranking.losses import mean_loss
from twofold.ranking.making import deal
from twofold.ranking.members import Brought, self_trained, train_members
from twofold.ranking.settings import RankerSettings
from twofold.ranking.training_settings import PseudoLabelSettings, TrainingSettings

SETTINGS = TrainingSettings(stop_share=0.2, calibration_share=0.3)


def _window(users: list[int], seed: int, m: int = 4) -> Lists:
    rng = np.random.default_rng(seed)
    items = np.stack([rng.permutation(6)[:m] for _ in users]).astype(np.int64)
    labels = np.arange(m)[None, :] == rng.integers(0, m, len(users))[:, None]
    lists = planted_lists(items, labels, np.zeros((len(users), m, 2), np.float32))
    return replace(lists, queries=replace(lists.queries, users=np.array(users, dtype=np.int64)))


def test_a_user_is_in_one_group_whatever_the_window() -> None:
    windows = [_window(list(range(60)), 0), _window(list(range(0, 60, 2)), 1)]
    groups = deal(windows, SETTINGS, seed=3)
    users = [{int(u) for part in group for u in part.queries.users} for group in groups]
    assert len(users[0] | users[1] | users[2]) == sum(len(group) for group in users) == 60
    assert len(groups.stop[0]) == 12
    assert len(groups.rest[0]) == 18
    for number, window in enumerate(windows):
        assert sum(len(group[number]) for group in groups) == len(window)


def test_the_older_a_window_the_less_its_unseen_lists_count() -> None:
    windows = [_window(list(range(20)), 0), _window(list(range(0, 20, 2)), 1)]
    groups = deal(windows, SETTINGS, seed=3)
    lengths = [len(part) for part in groups.unseen()]
    assert lengths[0] == 4
    assert lengths[2] == 6
    assert lengths[1] + lengths[3] > 0
    wanted = np.repeat([1, 0.7, 1, 0.7], lengths)
    np.testing.assert_array_equal(groups.recency(), wanted)


def test_too_few_hits_in_the_latest_window_are_refused() -> None:
    windows = [_window(list(range(15)), 0), _window(list(range(15)), 1)]
    with pytest.raises(InputError, match="at least 20 users"):
        deal(windows, SETTINGS, seed=3)


def test_lists_of_different_widths_are_pooled_with_padding() -> None:
    wide, short = _window([0, 1], 0, m=5), _window([2], 1, m=3)
    pool = pooled([wide, short])
    assert pool.labels.shape == (3, 5)
    assert pool.valid.tolist() == [[True] * 5, [True] * 5, [True] * 3 + [False] * 2]
    assert pool.labels[2, :3].tolist() == short.labels[0].tolist()
    scores = stacked([np.zeros((1, 2), np.float32), np.zeros((1, 1), np.float32)], -np.inf)
    assert np.isneginf(scores).tolist() == [[False, False], [False, True]]


def _settings(folder: Path, joint_layers: int = 1, **changes: Any) -> RankerSettings:
    training = TrainingSettings(**{"max_epochs": 0, "stop_share": 0.2, **changes})
    return RankerSettings(
        model=str(folder), joint_layers=joint_layers, max_history=MAX_HISTORY, training=training
    )


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Labelled]]:
    """Return what trainings are given to fit on."""
    seen: list[Sequence[Labelled]] = []

    def noted(start: Any, train: Sequence[Labelled], *of: Any, **more: Any) -> Brought:
        seen.append(train)
        return train_members(start, train, *of, **more)

    monkeypatch.setattr(making, "train_members", noted)
    return seen


def test_so_many_lists_with_a_hit_are_trained_on(
    tiny_bert: Path, taught: list[Sequence[Labelled]]
) -> None:
    windows = [make_window(0, hits=0.7), make_window(1, hits=0.7)]
    for most in (None, 10, 1, 10_000):
        make_of(windows, _settings(tiny_bert, max_lists=most))
    whole, ten, one, many = taught
    assert sum(len(part.lists) for part in whole) > sum(len(part.lists.hits()) for part in whole)
    counts = [[len(part.lists) for part in parts] for parts in (ten, one)]
    assert [sum(each) for each in counts] == [10, 1]
    # From both windows, and none where nothing is left of one.
    assert (len(counts[0]), len(counts[1])) == (2, 1)
    for parts in (ten, one, many):
        assert all(part.lists.labels.any(axis=1).all() for part in parts)
    assert [len(part.lists) for part in many] == [len(part.lists.hits()) for part in whole]
    for part, full in zip(ten, whole, strict=True):
        assert np.array_equal(part.tables.factors, full.tables.factors)
        assert set(part.lists.queries.users) < set(full.lists.queries.users)


def test_nobody_to_stop_or_calibrate_on_is_among_those_without_labels(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Labelled] = []

    def noted(
        brought: Any, train: Any, stop: Any, unlabelled: Labelled, *of: Any, **more: Any
    ) -> Brought:
        seen.append(unlabelled)
        return self_trained(brought, train, stop, unlabelled, *of, **more)

    monkeypatch.setattr(making, "self_trained", noted)
    windows, nobody = [make_window(0), make_window(1)], make_window(2)
    settings = _settings(tiny_bert, pseudo_labels=PseudoLabelSettings(rounds=1))
    made = make_of(windows, settings, nobody)
    groups = deal([one.lists for one in windows], settings.training, seed=3)
    assert len(groups.stop[0]) == 12
    told = seen[0].lists.queries.users.tolist()
    assert sorted(told) == sorted(groups.fit[0].queries.users.tolist())
    # What is read of items is in the basis of the latest window, as the ranker reads it.
    wanted = align_factors(nobody.factors, windows[0].factors)
    np.testing.assert_allclose(seen[0].tables.factors, wanted, rtol=1e-5)
    assert made.about["n_trainings"] == 2
    make_of(windows, _settings(tiny_bert), nobody)
    make_of(windows, settings)
    assert len(seen) == 1


@pytest.mark.parametrize("layers", ["joint", "all"])
def test_what_is_served_is_what_was_measured(layers: Any, tiny_bert: Path) -> None:
    """The states of the lower layers are those that the training leaves."""
    settings = _settings(
        tiny_bert, 2, layers=layers, max_epochs=3, learning_rate=3e-3, averaging=0.0, batch_lists=4
    )
    # Only what is read of an item tells whether it is a hit: g has nothing to say.
    window = make_window(0)
    items = window.lists.candidates.items
    labels = items == items.min(axis=1, keepdims=True)
    window = replace(window, lists=replace(window.lists, labels=labels))
    made = make_of([window], settings)
    kept = made.course.kept
    assert kept.number > 0
    (stop,) = deal([window.lists], settings.training, seed=3).stop
    assert made.ranker.tables.states is not None
    stop = stop.take(stop.hits())

    told = made.ranker.logits(stop.queries, stop.candidates)
    # Half precision is all that lies between them.
    loss = mean_loss([stop], [told], settings.training)
    assert loss == pytest.approx(kept.stop_loss, rel=2e-3)
