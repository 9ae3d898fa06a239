"""Which candidates of a list are drawn, and what each stands for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.ranking.planted import planted_lists
from tests.ranking.worlds import make_features
from twofold.ranking.labelled import draw, draw_columns
from twofold.ranking.lists import Lists

N, M = 4, 12


def _lists(seed: int = 0, n_refused: int = 3) -> Lists:
    """Return lists of two hits; the first is short by three, some misses were refused."""
    rng = np.random.default_rng(seed)
    items = np.tile(np.arange(M), (N, 1))
    items[0, -3:] = -1
    labels, refused = np.zeros((2, N, M), dtype=bool)
    for row in range(N):
        order = rng.permutation(M - 3)
        labels[row, order[:2]] = True
        refused[row, order[2 : 2 + n_refused]] = True
    lists = planted_lists(items, labels, make_features((N, M)))
    strengths = np.where(labels, rng.choice([0.1, 0.5, 1.0], labels.shape), 0).astype(np.float32)
    return replace(lists, refused=refused, strengths=strengths)


@given(st.integers(0, 20), st.integers(0, 6), st.integers(0, 14))
def test_the_drawn_misses_stand_for_all_misses(seed: int, n_refused: int, negatives: int) -> None:
    lists = _lists(seed, n_refused)
    drawn = draw(lists, negatives, np.random.default_rng(seed))
    misses = (drawn.weights * (1 - drawn.labels)).sum(dim=1).numpy()
    wanted = (lists.mask() & ~lists.labels).sum(axis=1)
    there = ((drawn.items >= 0) & (drawn.labels.numpy() == 0)).any(axis=1)
    np.testing.assert_allclose(misses, np.where(there, wanted, 0), rtol=1e-5)
    assert not drawn.weights.numpy()[drawn.items < 0].any()


def test_hits_stand_for_their_strength() -> None:
    lists = _lists()
    assert lists.strengths is not None
    drawn = draw(lists, 5, np.random.default_rng(0))
    for row in range(N):
        hits = drawn.items[row, drawn.labels[row].numpy() > 0]
        told = drawn.weights[row][drawn.labels[row] > 0].numpy()
        np.testing.assert_allclose(told, lists.strengths[row, hits])


def test_refused_candidates_come_first_and_stand_for_themselves() -> None:
    lists = _lists()
    assert lists.refused is not None
    for seed in range(10):
        drawn = draw(lists, 7, np.random.default_rng(seed))
        for row in range(N):
            places = np.flatnonzero(np.isin(drawn.items[row], np.flatnonzero(lists.refused[row])))
            assert places.tolist() == [2, 3, 4]
            np.testing.assert_array_equal(drawn.weights[row, 2:5], 1.0)
            others = int(lists.mask()[row].sum()) - 5
            np.testing.assert_allclose(drawn.weights[row, 5:], others / 3, rtol=1e-6)


def test_refused_candidates_take_half_of_the_places_at_first() -> None:
    lists, counts = _lists(n_refused=6), []
    assert lists.refused is not None
    for seed in range(60):
        columns = draw_columns(lists, 4, np.random.default_rng(seed))
        met = np.take_along_axis(lists.refused, columns, axis=1)
        assert met[:, 2:4].all()
        counts.append(met.sum(axis=1))
    seen = np.concatenate(counts)
    assert seen.min() == 2
    # A third miss is drawn among all that are left.
    assert 0.2 < (seen == 3).mean() < 0.95


def test_without_refusals_the_draws_are_those_of_keys_alone() -> None:
    lists = replace(_lists(), refused=None)
    columns = draw_columns(lists, 4, np.random.default_rng(3))
    keys = np.random.default_rng(3).random((N, M))
    keys[lists.labels], keys[~lists.mask()] = -1.0, 2.0
    np.testing.assert_array_equal(columns, np.argsort(keys, axis=1, kind="stable")[:, :5])
    nobody = replace(lists, refused=np.zeros((N, M), dtype=bool))
    np.testing.assert_array_equal(columns, draw_columns(nobody, 4, np.random.default_rng(3)))
