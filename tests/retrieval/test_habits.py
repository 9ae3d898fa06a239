"""Habits hold every taking of every item, whatever is cut from histories."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.indexing.logs import DISLIKE, IMPRESSION, LIKE, SKIP, Event, events, log_of
from twofold.indexing.errors import InputError
from twofold.retrieval.habits import JUST_NOW, Habits, joined_habits
from twofold.retrieval.queries import (
    Queries,
    joined,
    queries_of_users,
    query_of_events,
    widened,
)

DAY = 86_400_000
Taking = tuple[int, int, int]  # item, occasion, time


def _queries(rows: list[Event], *, max_history: int = 2) -> Queries:
    return queries_of_users(log_of(rows, 4, 7), np.arange(4), max_history=max_history, repeat=True)


def _known(queries: Queries) -> Habits:
    assert queries.habits is not None
    return queries.habits


def _takings(queries: Queries, query: int) -> list[Taking]:
    habits = _known(queries)
    at = slice(habits.indptr[query], habits.indptr[query + 1])
    columns = (habits.items[at], habits.occasions[at], habits.times[at])
    return list(zip(*(column.tolist() for column in columns), strict=True))


@given(events())
def test_habits_equal_a_slow_reading(rows: list[Event]) -> None:
    queries = _queries(rows)
    for user in range(4):
        mine = sorted((row for row in rows if row[0] == user), key=lambda row: row[2])
        verdict = {}
        for row in log_rows(rows, user):
            if row[1]:
                verdict[row[0]] = row[1]
        took = {(item, step) for _, item, step, what in mine if what == LIKE and verdict[item] > 0}
        steps = sorted({step for _, step in took})
        expected = sorted((item, steps.index(step), step * DAY) for item, step in took)
        assert _takings(queries, user) == expected


def log_rows(rows: list[Event], user: int) -> list[tuple[int, int]]:
    """Return items and signs of a user's events in the order of the log."""
    log = log_of(rows, 4, 7)
    mine = log.users == user
    return list(zip(log.items[mine].tolist(), log.signs[mine].tolist(), strict=True))


def test_nothing_is_cut_and_a_moment_counts_once() -> None:
    rows: list[Event] = [(1, item, step, LIKE) for step in range(9) for item in (5, 3)]
    rows += [(1, 4, 9, LIKE), (1, 4, 9, LIKE), (1, 6, 9, SKIP), (1, 2, 10, IMPRESSION)]
    queries = _queries(rows)
    assert queries.lengths()[1] == 2
    took = _takings(queries, 1)
    assert took == [
        *((3, step, step * DAY) for step in range(9)),
        (4, 9, 9 * DAY),
        *((5, step, step * DAY) for step in range(9)),
    ]


def test_occasions_are_those_with_a_taking() -> None:
    rows: list[Event] = [(0, 1, 0, LIKE), (0, 2, 1, SKIP), (0, 1, 2, LIKE), (0, 3, 2, LIKE)]
    assert _takings(_queries(rows), 0) == [(1, 0, 0), (1, 1, 2 * DAY), (3, 1, 2 * DAY)]
    # What was disliked since was no taking, and leaves no occasion behind.
    rows = [(0, 1, 0, LIKE), (0, 2, 1, LIKE), (0, 1, 2, DISLIKE)]
    assert _takings(_queries(rows), 0) == [(2, 0, DAY)]


def test_the_strongest_event_of_a_taking_counts_and_quantities_do_not() -> None:
    log = log_of([(0, 1, 0, LIKE), (0, 1, 0, LIKE), (0, 1, 1, LIKE), (0, 1, 2, LIKE)], 1, 2)
    log = replace(log, weights=np.array([0.2, 0.5, 12.0, 0.0], dtype=np.float32))
    habits = _known(queries_of_users(log, np.arange(1), max_history=5, repeat=True))
    np.testing.assert_array_equal(habits.weights, np.array([0.5, 1.0], dtype=np.float32))


def test_there_are_none_where_nothing_comes_back() -> None:
    log = log_of([(0, 1, 0, LIKE)], 4, 7)
    assert queries_of_users(log, np.arange(4), max_history=3).habits is None
    told = (np.array([1]), np.zeros(1, np.int16), np.ones(1, np.float32), np.ones(1, np.int8))
    assert query_of_events(*told, n_items=7, max_history=3).habits is None


@given(events(), st.lists(st.integers(0, 3), max_size=6))
def test_they_follow_their_queries(rows: list[Event], which: list[int]) -> None:
    queries = _queries(rows)
    taken = queries.take(np.array(which, dtype=np.int64))
    assert [_takings(taken, i) for i in range(len(which))] == [
        _takings(queries, user) for user in which
    ]
    both = joined([widened(taken, 9), widened(queries, 9)])
    assert [_takings(both, i) for i in range(len(both))] == [
        *(_takings(queries, user) for user in which),
        *(_takings(queries, user) for user in range(4)),
    ]
    # Shorter histories know as much of habits.
    assert queries.last(1).habits is queries.habits
    assert queries.keeping(np.zeros(len(queries.items), dtype=bool)).habits is queries.habits


def test_events_told_at_a_call_have_just_happened() -> None:
    items = np.array([3, 1, 3, 2, 1])
    signs = np.array([1, 1, 1, 1, -1], dtype=np.int8)
    weights = np.array([1, 1, 2, 0.5, 0], dtype=np.float32)
    kinds = np.zeros(5, dtype=np.int16)
    query = query_of_events(items, kinds, weights, signs, n_items=7, max_history=1, repeat=True)
    assert _takings(query, 0) == [(2, 2, JUST_NOW), (3, 0, JUST_NOW), (3, 1, JUST_NOW)]
    assert _known(query).weights.tolist() == [0.5, 1.0, 1.0]


def _made(**changes: object) -> Habits:
    columns: dict[str, object] = {
        "indptr": np.array([0, 2, 3]),
        "items": np.array([1, 1, 0]),
        "occasions": np.array([0, 1, 0], dtype=np.int32),
        "times": np.zeros(3, dtype=np.int64),
        "weights": np.ones(3, dtype=np.float32),
    }
    return Habits(**{**columns, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"indptr": np.array([0, 2, 4])}, "end at the takings"),
        ({"weights": np.ones(2, dtype=np.float32)}, "as long"),
        ({"indptr": np.array([0, 4, 3])}, "must not fall"),
        ({"items": np.array([1, 0, 0])}, "in order"),
        ({"occasions": np.array([1, 1, 0], dtype=np.int32)}, "in order"),
    ],
)
def test_takings_that_do_not_fit_are_refused(changes: dict[str, object], match: str) -> None:
    assert len(_made()) == 2
    with pytest.raises(InputError, match=match):
        _made(**changes)


def test_batches_with_and_without_habits_do_not_join() -> None:
    with pytest.raises(InputError, match="habits, or none"):
        joined_habits([_made(), None])
    assert joined_habits([None, None]) is None
    with pytest.raises(InputError, match="one list of takings a query"):
        replace(_queries([]), habits=_made())
