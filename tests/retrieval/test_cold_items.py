"""In a world where texts tell tastes, new items reach the users who would like them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.indexing.logs import DISLIKE, LIKE, Event, log_of
from twofold.indexing.artefact import begin_generation, open_artefact
from twofold.indexing.collaborative import CollaborativeSettings
from twofold.indexing.vectors import VectorIndex, normalised
from twofold.retrieval.queries import Queries, queries_of_users
from twofold.retrieval.settings import StageOneSettings
from twofold.retrieval.sources import Collaborative, View
from twofold.retrieval.stage_one import StageOne, fit_stage_one

N_USERS, N_ITEMS, N_TASTES, NEW = 120, 240, 4, 24
SETTINGS = StageOneSettings(collaborative=CollaborativeSettings(factors=8, iterations=8))


def _log(*, disliked: int | None = None) -> list[Event]:
    """User ``u`` takes items of taste ``u % 4``; the last `NEW` items nobody has touched."""
    rng = np.random.default_rng(2)
    rows: list[Event] = []
    for user in range(N_USERS):
        own = np.arange(user % N_TASTES, N_ITEMS - NEW, N_TASTES)
        rows += [
            (user, int(item), 100 * at + user, LIKE)
            for at, item in enumerate(rng.permutation(own)[:12])
        ]
    if disliked is not None:
        rows.append((0, disliked, 5000, DISLIKE))
    return rows


def _index() -> VectorIndex:
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((N_TASTES, 16))
    made = centres[np.arange(N_ITEMS) % N_TASTES] + 0.5 * rng.standard_normal((N_ITEMS, 16))
    vectors = normalised(made)
    vectors[N_ITEMS - 1] = 0  # new, and without a text
    return VectorIndex.build(vectors, device="cpu")


def _fitted(*, predict: bool = True, disliked: int | None = None) -> StageOne:
    own = replace(SETTINGS.collaborative, predict_cold=predict)
    log = log_of(_log(disliked=disliked), N_USERS, N_ITEMS)
    return fit_stage_one(
        log, _index(), replace(SETTINGS, collaborative=own), has_times=True, threads=1
    )


def _queries() -> Queries:
    log = log_of(_log(), N_USERS, N_ITEMS)
    return queries_of_users(log, np.arange(N_USERS), max_history=20)


def _found(made: StageOne, k: int) -> npt.NDArray[np.int64]:
    source = made.sources()[0]
    assert source.name == "collaborative"
    return np.asarray(source.answer(_queries()).top(k)[0])


def test_new_items_reach_their_users_with_the_map_and_nobody_without() -> None:
    items = _found(_fitted(), 36)
    new = (items >= N_ITEMS - NEW) & (items < N_ITEMS - 1)
    # Six new items a taste, the sixth of the last taste without a text.
    own = new & (items % N_TASTES == np.arange(N_USERS)[:, None] % N_TASTES)
    assert own.sum(axis=1).mean() > 5  # seen: 5.65 of 5.75
    assert new.sum() - own.sum() < 0.1 * own.sum()  # seen: .003
    assert not (items == N_ITEMS - 1).any()
    without = _fitted(predict=False)
    assert without.text_map is not None
    assert not (_found(without, 36) >= N_ITEMS - NEW).any()


def test_guesses_leave_other_items_scores_as_they_are() -> None:
    queries, old = _queries(), np.tile(np.arange(N_ITEMS - NEW), (N_USERS, 1))
    told = [
        Collaborative(_fitted(predict=predict).factors, View()).answer(queries).at(old)
        for predict in (True, False)
    ]
    np.testing.assert_array_equal(told[0], told[1])


def test_an_item_that_was_only_disliked_is_not_new() -> None:
    disliked = N_ITEMS - 2
    assert not _fitted(disliked=disliked).factors.items[disliked].any()
    assert _fitted().factors.items[disliked].any()


@pytest.mark.parametrize("predict", [True, False])
def test_guesses_and_map_are_kept(tmp_path: Path, predict: bool) -> None:
    made = _fitted(predict=predict)
    with begin_generation(tmp_path) as writer:
        made.save(writer)
        writer.commit({})
    opened = StageOne.open(open_artefact(tmp_path), made.index, made.settings)
    assert opened.text_map is not None
    assert made.text_map is not None
    vectors = made.index.vectors[-NEW:]
    np.testing.assert_array_equal(opened.text_map.predict(vectors), made.text_map.predict(vectors))
    queries = View().matrix(_queries())
    np.testing.assert_array_equal(opened.factors.fold_in(queries), made.factors.fold_in(queries))
    np.testing.assert_array_equal(opened.factors.items, made.factors.items)
    assert opened.factors.items[-NEW:-1].any() == predict
