"""Queries hold each raised item once, at its latest event, and leave out what they must."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.indexing.logs import DISLIKE, IMPRESSION, LIKE, SKIP, Event, events, log_of
from twofold.indexing.errors import InputError
from twofold.retrieval.queries import Queries, queries_of_users


def _queries(rows: list[Event], *, max_history: int = 99, repeat: bool = False) -> Queries:
    users = np.arange(4)
    return queries_of_users(log_of(rows, 4, 7), users, max_history=max_history, repeat=repeat)


def _history(queries: Queries, query: int) -> list[int]:
    return [int(i) for i in queries.items[queries.indptr[query] : queries.indptr[query + 1]]]


def _excluded(queries: Queries, query: int) -> set[int]:
    return {int(item) for item in queries.excluded[query].indices}


@settings(deadline=None)
@given(events(), st.integers(0, 8), st.booleans())
def test_histories_equal_a_slow_reading(rows: list[Event], n: int, repeat: bool) -> None:
    log = log_of(rows, 4, 7)
    queries = _queries(rows, max_history=n, repeat=repeat)
    for user in range(4):
        mine = np.flatnonzero(log.users == user)
        verdict: dict[int, int] = {}
        latest: dict[int, int] = {}
        for row in mine:
            item = int(log.items[row])
            if log.signs[row]:
                verdict[item] = int(log.signs[row])
            if log.signs[row] > 0:
                latest[item] = int(row)
        raised = sorted(row for item, row in latest.items() if verdict[item] > 0)
        raised = raised[max(0, len(raised) - n) :]
        at = slice(queries.indptr[user], queries.indptr[user + 1])
        np.testing.assert_array_equal(queries.items[at], log.items[raised])
        np.testing.assert_array_equal(queries.steps[at], log.steps[raised])
        np.testing.assert_array_equal(queries.times[at], log.times[raised])
        np.testing.assert_array_equal(queries.weights[at], log.weights[raised])
        latest_time = max((int(log.times[row]) for row in raised), default=0)
        np.testing.assert_array_equal(queries.gaps()[at], latest_time - log.times[raised])
        disliked = {item for item, sign in verdict.items() if sign < 0}
        seen = {int(log.items[row]) for row in mine if log.seen[row]}
        assert _excluded(queries, user) == (disliked if repeat else disliked | seen)
    assert queries.excluded.has_sorted_indices
    assert queries.excluded.dtype == bool


def test_each_item_stands_once_at_its_latest_event() -> None:
    queries = _queries([(1, 5, 0, LIKE), (1, 6, 1, LIKE), (1, 5, 2, LIKE)])
    assert _history(queries, 1) == [6, 5]
    assert queries.steps.tolist() == [1, 2]
    assert queries.lengths().tolist() == [0, 2, 0, 0]


def test_a_dislike_after_a_like_removes_it_and_a_like_after_that_brings_it_back() -> None:
    rows = [(0, 5, 0, LIKE), (0, 6, 1, LIKE), (0, 5, 2, DISLIKE)]
    assert _history(_queries(rows), 0) == [6]
    again = _queries([*rows, (0, 5, 3, LIKE)], repeat=True)
    assert _history(again, 0) == [6, 5]
    assert _excluded(again, 0) == set()


def test_repeat_lets_seen_items_back_but_never_disliked_ones() -> None:
    rows = [(0, 1, 0, LIKE), (0, 2, 1, DISLIKE), (0, 3, 2, SKIP), (0, 4, 3, IMPRESSION)]
    assert _excluded(_queries(rows), 0) == {1, 2, 3}
    assert _excluded(_queries(rows, repeat=True), 0) == {2}
    assert _history(_queries(rows), 0) == [1]


@settings(deadline=None)
@given(events(), st.lists(st.integers(0, 3), max_size=6), st.integers(0, 4))
def test_take_and_last_read_the_same_rows(rows: list[Event], which: list[int], n: int) -> None:
    queries = _queries(rows)
    taken = queries.take(np.array(which, dtype=np.int64))
    shorter = queries.last(n)
    assert taken.users.tolist() == which
    assert [_history(taken, i) for i in range(len(which))] == [_history(queries, i) for i in which]
    assert [_excluded(taken, i) for i in range(len(which))] == [
        _excluded(queries, i) for i in which
    ]
    for user in range(4):
        history = _history(queries, user)
        assert _history(shorter, user) == history[max(0, len(history) - n) :]
        at = slice(queries.indptr[user], queries.indptr[user + 1])
        assert queries.ages()[at].tolist() == list(range(len(history)))[::-1]
        assert set(queries.rows()[at]) <= {user}


def test_users_come_in_the_asked_order_and_as_often() -> None:
    log = log_of([(0, 1, 0, LIKE), (2, 3, 0, LIKE)], 4, 7)
    queries = queries_of_users(log, np.array([2, 0, 2]), max_history=5)
    assert [_history(queries, i) for i in range(3)] == [[3], [1], [3]]
    assert len(queries_of_users(log, np.array([], dtype=np.int64), max_history=5)) == 0


def test_take_keeps_texts() -> None:
    queries = _queries([])
    with_texts = Queries(**{**vars(queries), "texts": ("a", "b", "c", "d")})
    assert with_texts.take(np.array([3, 1])).texts == ("d", "b")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"users": np.arange(3)}, "indptr"),
        ({"indptr": np.array([0, 0, 0, 0, 1])}, "indptr"),
        ({"texts": ("a",)}, "texts"),
    ],
)
def test_shapes_that_disagree_are_refused(change: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Queries(**{**vars(_queries([])), **change})


def test_excluded_must_have_a_row_a_query() -> None:
    queries = _queries([])
    with pytest.raises(InputError, match="excluded"):
        Queries(**{**vars(queries), "excluded": queries.excluded[:2]})
