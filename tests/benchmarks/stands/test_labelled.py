"""Labelled pairs: how they are divided, and how two rankers of them are compared."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.peers.cross_encoder import Recipe
from benchmarks.stands.labelled import Divided, auc_difference, divided, steps_of
from twofold.indexing.dataset import Dataset, load_dataset
from twofold.indexing.splits import file_split

N_USERS, N_ITEMS = 40, 30


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Return users who took two thirds of what they met; of what they took some is the test."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(N_USERS):
        for number, item in enumerate(rng.choice(N_ITEMS, 12, replace=False)):
            part = "test" if number < 2 else "val" if number == 2 else "train"
            label = int(number < 8)
            rows.append({"user": f"u{user}", "item": f"i{item}", "label": label, "split": part})
    return load_dataset(pl.DataFrame(rows))


def pairs_in(parts: Divided, which: str) -> set[tuple[int, int]]:
    one = getattr(parts, which)
    return set(zip(one.users.tolist(), one.items.tolist(), strict=True))


def test_what_is_asked_for_is_neither_known_nor_learned(dataset: Dataset) -> None:
    split = file_split(dataset)
    parts = divided(dataset, split, n_users=15, share=0.4, seed=0)
    asked, learned, log = pairs_in(parts, "asked"), pairs_in(parts, "learned"), parts.known
    known = set(zip(log.interactions.users.tolist(), log.interactions.items.tolist(), strict=True))
    assert not asked & (known | learned)
    assert learned < known
    assert len(np.unique(parts.asked.users)) == 15
    # Two hits of each are the test's, and as many refusals were drawn.
    assert (
        np.bincount(parts.asked.users[parts.asked.labels])[np.unique(parts.asked.users)] == 2
    ).all()
    assert (
        np.bincount(parts.asked.users[~parts.asked.labels])[np.unique(parts.asked.users)] == 2
    ).all()
    train = int(split.train.sum()) - 30
    assert len(learned) == pytest.approx(0.4 * train, rel=0.2)
    # Of others nothing is lost but the test.
    assert len(known) == int(split.known_at_test.sum()) - 30


def test_the_seed_decides_who_is_asked(dataset: Dataset) -> None:
    split = file_split(dataset)
    first, again, other = (
        divided(dataset, split, n_users=15, share=0.4, seed=seed) for seed in (0, 0, 1)
    )
    for which in ("asked", "learned"):
        assert pairs_in(first, which) == pairs_in(again, which) != pairs_in(other, which)


def test_a_plain_cross_encoder_learns_from_every_pair_in_turn(dataset: Dataset) -> None:
    pairs = divided(dataset, file_split(dataset), n_users=15, share=0.4, seed=0).learned
    profiles = tuple(f"p{user}" for user in range(N_USERS))
    texts = tuple(f"t{item}" for item in range(N_ITEMS))
    recipe = Recipe(steps=len(pairs) // 3, lists=2, negatives=2)  # six pairs a step: twice each
    steps = steps_of(pairs, profiles, texts, recipe, seed=0)
    read = [
        (history, candidate, bool(label))
        for step in steps
        for history, candidate, label in zip(*step, strict=True)
    ]
    told = {
        (profiles[user], texts[item], bool(label))
        for user, item, label in zip(pairs.users, pairs.items, pairs.labels, strict=True)
    }
    whole = len(pairs) // 6 * 6
    assert set(read) <= told
    assert len(set(read[:whole])) == whole


def test_the_difference_of_aucs_is_of_the_same_pairs() -> None:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(200), 4)
    labels = rng.random(800) < 0.5
    good, bad = labels + rng.normal(0, 1, 800), rng.normal(0, 1, 800)
    gap = auc_difference(good, bad, labels, users, seed=0)
    assert gap.mean == pytest.approx(roc_auc_score(labels, good) - roc_auc_score(labels, bad))
    assert 0 < gap.low < gap.mean < gap.high
    same = auc_difference(good, good, labels, users, seed=0)
    assert (same.mean, same.low, same.high) == (0, 0, 0)
