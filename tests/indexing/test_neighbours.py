"""Relations between items equal what a slow reading of their definitions gives."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.indexing.logs import DISLIKE, LIKE, SKIP, Event, events, log_of
from twofold.indexing import neighbours
from twofold.indexing.errors import SettingsError
from twofold.indexing.interactions import Interactions
from twofold.indexing.neighbours import (
    NeighbourSettings,
    cosine_neighbours,
    covisits,
    onward,
    transitions,
    trending,
)

Doubles = npt.NDArray[np.float64]
SETTINGS = st.builds(
    NeighbourSettings,
    per_item=st.integers(1, 8),
    shrinkage=st.sampled_from([0.0, 2.5]),
    reach=st.integers(1, 4),
    fade=st.sampled_from([0.5, 1.0]),
    session_seconds=st.sampled_from([3600.0, 86_400.0, 1e9]),
    session_reach=st.integers(1, 4),
)


def _strongest(dense: Doubles, k: int) -> Doubles:
    out = np.zeros_like(dense)
    for row, values in enumerate(dense):
        # Rounded, for ties must not be broken by the last bit of either computation.
        for column in sorted(range(len(values)), key=lambda j: (-np.float32(values[j]), j))[:k]:
            out[row, column] = values[column]
    return out


def _slow_cosine(matrix: sp.csr_matrix, settings: NeighbourSettings) -> Doubles:
    has = (matrix.toarray() > 0).astype(np.float64)
    shared, users = has.T @ has, has.sum(axis=0)
    below = np.sqrt(np.outer(users, users)) + settings.shrinkage
    out: Doubles = np.divide(shared, below, out=np.zeros_like(shared), where=shared > 0)
    np.fill_diagonal(out, 0)
    return out


def _slow_transitions(log: Interactions, settings: NeighbourSettings) -> Doubles:
    out, counts = np.zeros((log.n_items, log.n_items)), np.zeros(log.n_items)
    for user in range(log.n_users):
        mine = (log.users == user) & (log.weights > 0)
        items = log.items[mine]
        steps = np.unique(log.steps[mine], return_inverse=True)[1]
        np.add.at(counts, items, 1)
        for (one, at), (other, then) in product(zip(items, steps, strict=True), repeat=2):
            if 0 < then - at <= settings.reach and one != other:
                out[one, other] += settings.fade ** (then - at - 1.0)
    return np.asarray(out / np.sqrt(np.outer(np.maximum(counts, 1), np.maximum(counts, 1))))


def _slow_covisits(log: Interactions, settings: NeighbourSettings, has_times: bool) -> Doubles:
    out, counts = np.zeros((log.n_items, log.n_items)), np.zeros(log.n_items)
    for user in range(log.n_users):
        mine = (log.users == user) & (log.weights > 0)
        items, seconds = log.items[mine], log.times[mine] / 1000
        steps = np.unique(log.steps[mine], return_inverse=True)[1]
        np.add.at(counts, items, 1)
        for i, j in product(range(len(items)), repeat=2):
            if i < j <= i + settings.session_reach and items[i] != items[j]:
                counted = settings.fade ** max(steps[j] - steps[i] - 1.0, 0.0)
                if has_times:
                    counted = np.exp(-(seconds[j] - seconds[i]) / settings.session_seconds)
                if counted >= 1e-3:
                    out[items[i], items[j]] += counted
                    out[items[j], items[i]] += counted
    return np.asarray(out / np.sqrt(np.outer(np.maximum(counts, 1), np.maximum(counts, 1))))


def _assert_strongest(found: sp.csr_matrix, slow: Doubles, k: int) -> None:
    """The kept entries are right, and none that was left out is stronger."""
    dense = found.toarray()
    np.testing.assert_allclose(dense[dense > 0], slow[dense > 0], rtol=1e-5)
    np.testing.assert_array_equal((dense > 0).sum(axis=1), np.minimum((slow > 0).sum(axis=1), k))
    np.testing.assert_allclose(
        np.sort(dense, axis=1), np.sort(_strongest(slow, k), axis=1), rtol=1e-5
    )
    assert found.has_sorted_indices
    assert found.dtype == np.float32


@hypothesis_settings(deadline=None)
@given(events(), SETTINGS)
def test_cosine_neighbours_equal_the_definition(
    rows: list[Event], settings: NeighbourSettings
) -> None:
    matrix = log_of(rows, 4, 7).matrix()
    before = matrix.copy()
    found = cosine_neighbours(matrix, settings)
    _assert_strongest(found, _slow_cosine(matrix, settings), settings.per_item)
    assert (matrix != before).nnz == 0


def test_cosine_neighbours_over_several_blocks() -> None:
    matrix = sp.random(30, 4100, 0.004, "csr", np.float32, np.random.default_rng(1))
    settings = NeighbourSettings(per_item=4100)
    found = cosine_neighbours(matrix, settings)
    np.testing.assert_allclose(found.toarray(), _slow_cosine(matrix, settings), rtol=1e-5)


@hypothesis_settings(deadline=None)
@given(events(), SETTINGS)
def test_transitions_equal_the_definition(rows: list[Event], settings: NeighbourSettings) -> None:
    log = log_of(rows, 4, 7)
    found = transitions(log, settings)
    _assert_strongest(found, _slow_transitions(log, settings), settings.per_item)


@hypothesis_settings(deadline=None)
@given(events(), SETTINGS, st.booleans())
def test_covisits_equal_the_definition(
    rows: list[Event], settings: NeighbourSettings, has_times: bool
) -> None:
    log = log_of(rows, 4, 7)
    found = covisits(log, settings, has_times=has_times)
    _assert_strongest(found, _slow_covisits(log, settings, has_times), settings.per_item)


def test_pairs_that_are_added_up_in_parts_relate_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = [
        (int(user), int(item), int(step), LIKE)
        for user, item, step in rng.integers(0, 20, (400, 3))
    ]
    log = log_of(rows, 20, 20)
    settings = NeighbourSettings(per_item=40)
    whole = transitions(log, settings), covisits(log, settings, has_times=True)
    monkeypatch.setattr(neighbours, "HELD_PAIRS", 50)
    parts = transitions(log, settings), covisits(log, settings, has_times=True)
    for one, other in zip(whole, parts, strict=True):
        assert one.nnz > 100
        np.testing.assert_allclose(one.toarray(), other.toarray(), rtol=1e-6)


def test_a_session_fades_with_time_and_ends_at_the_user() -> None:
    rows = [(0, 0, 0, LIKE), (0, 1, 0, LIKE), (0, 2, 1, LIKE), (0, 3, 20, LIKE), (1, 4, 20, LIKE)]
    settings = NeighbourSettings(session_seconds=86_400.0)
    found = covisits(log_of(rows, 2, 5), settings, has_times=True).toarray()
    np.testing.assert_allclose(found[0], [0, 1, np.exp(-1), 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(found, found.T)
    assert not found[3:].any()


def test_events_of_one_step_make_no_pair() -> None:
    tied = log_of([(0, item, 3, LIKE) for item in range(4)], 1, 4)
    assert transitions(tied, NeighbourSettings()).nnz == 0
    then = log_of([(0, 0, 0, LIKE), (0, 1, 0, LIKE), (0, 2, 1, LIKE)], 1, 3)
    assert sorted(zip(*transitions(then, NeighbourSettings()).nonzero(), strict=True)) == [
        (0, 2),
        (1, 2),
    ]


def test_transitions_fade_and_end_at_the_reach_and_at_the_user() -> None:
    rows = [(0, item, 2 * item, LIKE) for item in range(4)] + [(1, 4, 9, LIKE)]
    found = transitions(log_of(rows, 2, 5), NeighbourSettings(reach=2, fade=0.25))
    np.testing.assert_allclose(found.toarray()[0], [0, 1, 0.25, 0, 0])
    assert found[:, 4].nnz == found[4].nnz == 0


@hypothesis_settings(deadline=None)
@given(st.integers(0, 99), SETTINGS)
def test_onward_equals_a_walk_of_two_steps(seed: int, settings: NeighbourSettings) -> None:
    random = np.random.default_rng(seed)
    rows: list[Event] = [(at % 4, int(random.integers(7)), at, LIKE) for at in range(16)]
    followers = transitions(log_of(rows, 4, 7), settings)
    before, dense = followers.copy(), followers.toarray().astype(np.float64)
    total = dense.sum(axis=1, keepdims=True)
    wanted = np.divide(dense, total, out=np.zeros_like(dense), where=total > 0) @ dense
    np.fill_diagonal(wanted, 0)
    _assert_strongest(onward(followers, settings), wanted, settings.per_item)
    assert (followers != before).nnz == 0


def test_onward_leads_to_items_of_other_users() -> None:
    log = log_of([(0, 0, 0, LIKE), (0, 1, 1, LIKE), (1, 1, 2, LIKE), (1, 2, 3, LIKE)], 2, 3)
    settings = NeighbourSettings()
    followers = transitions(log, settings)
    assert followers[0, 2] == 0
    np.testing.assert_allclose(onward(followers, settings)[0, 2], followers[1, 2], rtol=1e-6)


def test_onward_over_several_blocks() -> None:
    followers = sp.random(4100, 4100, 0.0005, "csr", np.float32, np.random.default_rng(1))
    settings = NeighbourSettings(per_item=4100)
    total = np.maximum(np.asarray(followers.sum(axis=1)).ravel(), 1e-12)
    wanted = (sp.diags(1 / total) @ followers @ followers).toarray()
    np.fill_diagonal(wanted, 0)
    np.testing.assert_allclose(onward(followers, settings).toarray(), wanted, rtol=1e-4)


def test_ties_of_neighbours_go_to_lower_items() -> None:
    matrix = sp.csr_matrix(np.ones((2, 5), dtype=np.float32))
    found = cosine_neighbours(matrix, NeighbourSettings(per_item=2))
    np.testing.assert_array_equal(found.indices.reshape(5, 2)[[0, 4]], [[1, 2], [0, 1]])


def test_trending_halves_after_the_half_life() -> None:
    log = log_of([(0, 0, 0, LIKE), (0, 1, 10, LIKE), (1, 2, 20, LIKE), (1, 2, 20, LIKE)], 2, 4)
    settings = NeighbourSettings(half_life_days=10)
    found = trending(log, settings, has_times=True)
    np.testing.assert_allclose(found, [0.25, 0.5, 2, 0], rtol=1e-6)
    np.testing.assert_array_equal(trending(log, settings, has_times=False), [1, 1, 2, 0])
    assert found.dtype == np.float32


def test_only_what_raises_an_item_relates_or_trends() -> None:
    log = log_of([(0, 0, 0, LIKE), (0, 1, 1, SKIP), (0, 2, 2, DISLIKE), (0, 3, 3, LIKE)], 1, 4)
    found = transitions(log, NeighbourSettings())
    assert [tuple(pair) for pair in np.argwhere(found.toarray())] == [(0, 3)]
    # The skipped and the disliked take no step between the two, which are next to each other.
    assert found[0, 3] == 1
    assert cosine_neighbours(log.matrix(), NeighbourSettings()).nnz == 2
    visits = covisits(log, NeighbourSettings(), has_times=False)
    assert [tuple(pair) for pair in np.argwhere(visits.toarray())] == [(0, 3), (3, 0)]
    np.testing.assert_array_equal(trending(log, NeighbourSettings(), has_times=False), [1, 0, 0, 1])


@pytest.mark.parametrize(("n_users", "n_items"), [(0, 0), (3, 0), (0, 3), (3, 3)])
def test_empty_logs_relate_nothing(n_users: int, n_items: int) -> None:
    log = log_of([], n_users, n_items)
    for found in (
        cosine_neighbours(log.matrix(), NeighbourSettings()),
        transitions(log, NeighbourSettings()),
        onward(transitions(log, NeighbourSettings()), NeighbourSettings()),
        covisits(log, NeighbourSettings(), has_times=True),
    ):
        assert found.shape == (n_items, n_items)
        assert found.nnz == 0
    assert trending(log, NeighbourSettings(), has_times=True).shape == (n_items,)


@pytest.mark.parametrize(
    "wrong",
    [
        {"per_item": 0},
        {"reach": 0},
        {"session_reach": 0},
        {"session_seconds": 0.0},
        {"shrinkage": -1.0},
        {"fade": 0.0},
        {"half_life_days": 0.0},
    ],
)
def test_senseless_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="neighbours"):
        NeighbourSettings(**wrong)  # type: ignore[arg-type]
