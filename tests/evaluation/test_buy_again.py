"""Buy again: known lists, and the half-life that the validation part asks for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.indexing.logs import DISLIKE, LIKE, Event, log_of
from twofold.evaluation.buy_again import BuyAgain, fit_buy_again
from twofold.indexing.errors import InputError
from twofold.indexing.interactions import Interactions

# Popularity: item 0 most, then 1, ...
POPULARITY = np.arange(6)[::-1]
ROWS: list[Event] = [
    (0, 5, 0, LIKE),
    (0, 5, 1, LIKE),
    (0, 5, 2, LIKE),
    (0, 4, 8, LIKE),
    (0, 4, 9, LIKE),
    (0, 3, 10, LIKE),
]


def _listed(log: Interactions, days: float, user: int = 0, k: int = 6) -> list[int]:
    users = np.array([user])
    found = BuyAgain(days, {}).ranking(log, users, log.disliked()[users], POPULARITY, k)
    return [int(item) for item in found.items[0]]


def test_often_comes_first_without_fading_and_lately_with_it_and_popular_items_follow() -> None:
    log = log_of(ROWS, 2, 6)
    assert _listed(log, np.inf) == [5, 4, 3, 0, 1, 2]
    # Half a day: 2 ** -0 = 1, 2 ** -2 + 2 ** -4, 2 ** -16 + ...
    assert _listed(log, 0.5) == [3, 4, 5, 0, 1, 2]
    # Two days: 1, 2 ** -0.5 + 2 ** -1 = 1.207, 2 ** -4 + ... < 1.
    assert _listed(log, 2.0) == [4, 3, 5, 0, 1, 2]
    assert _listed(log, 2.0, user=1) == [0, 1, 2, 3, 4, 5]
    assert _listed(log, 2.0, k=2) == [4, 3]


def test_old_takings_keep_their_order_under_a_short_half_life() -> None:
    log = log_of([(0, 5, 1, LIKE), (0, 4, 0, LIKE), (0, 3, 20_000, LIKE)], 1, 6)
    assert _listed(log, 3.0) == [3, 5, 4, 0, 1, 2]


def test_a_moment_counts_once_and_events_without_times_each() -> None:
    rows: list[Event] = [(0, 5, 0, LIKE), (0, 5, 0, LIKE), (0, 4, 1, LIKE)]
    log = log_of(rows, 1, 6)
    found = BuyAgain(np.inf, {}).ranking(log, np.array([0]), log.disliked()[:1], POPULARITY, 6)
    assert found.scores[0, 0] == found.scores[0, 1]
    untimed = replace(log, times=np.zeros_like(log.times))
    assert _listed(untimed, np.inf)[:2] == [5, 4]
    # Steps stand in for days.
    assert _listed(untimed, 0.1)[:2] == [4, 5]


def test_disliked_items_never_come_back() -> None:
    log = log_of([*ROWS, (0, 5, 11, DISLIKE), (0, 0, 11, DISLIKE)], 2, 6)
    assert _listed(log, np.inf) == [4, 3, 1, 2, -1, -1]


def test_the_half_life_is_chosen_by_what_is_held_out() -> None:
    rows = [*ROWS, (0, 3, 20, LIKE)]
    log = log_of(rows, 1, 6)
    held_out = log.times == 20 * 86_400_000
    lately = fit_buy_again(log, ~held_out, held_out, (0.5, 2.0, np.inf))
    assert lately.half_life_days == 0.5
    # First of six, second and third.
    expected = {0.5: 1.0, 2.0: 1 / np.log2(3), np.inf: 0.5}
    assert lately.trials == pytest.approx(expected)
    often = log_of([*ROWS, (0, 5, 20, LIKE)], 1, 6)
    assert fit_buy_again(often, ~held_out, held_out, (0.5, 2.0, np.inf)).half_life_days == np.inf
    nothing = np.zeros(len(log), dtype=bool)
    assert fit_buy_again(log, ~nothing, nothing).half_life_days == np.inf


def test_half_lives_that_cannot_be_are_refused() -> None:
    log = log_of(ROWS, 1, 6)
    for wrong in ((), (0.0, 1.0), (-1.0,)):
        with pytest.raises(InputError, match="half-lives"):
            fit_buy_again(log, log.labels, log.labels, wrong)
