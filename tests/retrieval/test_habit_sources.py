"""Sources of habits: known sums, and chances learned from a known log."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.indexing.logs import DISLIKE, LIKE, Event, events, log_of
from twofold.indexing.interactions import Interactions
from twofold.retrieval.answers import Answer, Silence
from twofold.retrieval.habit_sources import CELLS, Due, Habitual, Returns, habit_sources
from twofold.retrieval.queries import Queries, queries_of_users, query_of_events
from twofold.retrieval.sources import Source

N_USERS, N_ITEMS = 4, 7
ROWS: list[Event] = [(0, 5, 0, LIKE), (0, 5, 4, LIKE), (0, 3, 6, LIKE), (1, 2, 8, LIKE)]


def _queries(log: Interactions) -> Queries:
    return queries_of_users(log, np.arange(log.n_users), max_history=1, repeat=True)


def _returns(log: Interactions, *, has_times: bool = True) -> Returns:
    return Returns.of(log, has_times=has_times)


def _scores(answer: Answer, n: int = N_USERS) -> npt.NDArray[np.float32]:
    return answer.at(np.tile(np.arange(N_ITEMS, dtype=np.int64), (n, 1)))


def test_takings_are_halved_by_their_age_from_the_end_of_the_log() -> None:
    log = log_of(ROWS, N_USERS, N_ITEMS)
    scores = _scores(Habitual("x", _returns(log), 2.0).answer(_queries(log)))
    expected = np.zeros((N_USERS, N_ITEMS))
    expected[0, 5], expected[0, 3], expected[1, 2] = 2.0**-4 + 2.0**-2, 0.5, 1.0
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    often = _scores(Habitual("x", _returns(log), np.inf).answer(_queries(log)))
    np.testing.assert_allclose(often, np.where(expected > 0, [1, 1, 1, 1, 1, 2, 1], 0))


def test_ages_are_counted_from_when_a_query_is_asked() -> None:
    log = log_of(ROWS, N_USERS, N_ITEMS)
    asked = replace(_queries(log), asked_at=np.array([7, 8, 9, 5]) * 86_400_000)
    scores = _scores(Habitual("x", _returns(log), 1.0).answer(asked))
    assert scores[0, [5, 3]] == pytest.approx([2.0**-7 + 2.0**-3, 0.5])
    assert scores[1, 2] == 1.0


def test_a_user_who_went_on_after_the_logs_end_is_asked_after_that() -> None:
    later = log_of([*ROWS, (0, 3, 12, LIKE)], N_USERS, N_ITEMS)
    returns = _returns(log_of(ROWS, N_USERS, N_ITEMS))
    scores = _scores(Habitual("x", returns, 2.0).answer(_queries(later)))
    assert scores[0, [5, 3]] == pytest.approx([2.0**-6 + 2.0**-4, 1 + 2.0**-3])
    assert scores[1, 2] == 1.0


def test_without_times_an_occasion_is_a_day() -> None:
    log = log_of(ROWS, N_USERS, N_ITEMS)
    log = replace(log, times=np.zeros_like(log.times))
    scores = _scores(Habitual("x", _returns(log, has_times=False), 1.0).answer(_queries(log)))
    assert scores[0, [5, 3]] == pytest.approx([0.125 + 0.25, 0.5])


def test_events_told_at_a_call_count_whole() -> None:
    told = (np.array([4, 4, 1]), np.zeros(3, np.int16), np.ones(3, np.float32))
    query = query_of_events(*told, np.ones(3, np.int8), n_items=N_ITEMS, max_history=2, repeat=True)
    returns = _returns(log_of(ROWS, N_USERS, N_ITEMS))
    for source in habit_sources(returns, long=9.0, short=3.0)[:3]:
        np.testing.assert_array_equal(_scores(source.answer(query), 1)[0, [4, 1, 0]], [2, 1, 0])


def _weekly(n_users: int = 60) -> Interactions:
    """Item 0 is taken at every occasion, item 1 at every fourth, item 2 once and never again."""
    rows: list[Event] = []
    for user in range(n_users):
        for at in range(16):
            rows.append((user, 0, at, LIKE))
            if at % 4 == 0:
                rows.append((user, 1, at, LIKE))
        rows.append((user, 2, user % 8, LIKE))
    return log_of(rows, n_users, N_ITEMS)


def test_chances_follow_the_rhythm() -> None:
    log = _weekly()
    scores = _scores(Due(_returns(log)).answer(_queries(log)), 60)
    # Last taken at occasion 12 of 0 .. 15, item 1 is due now.
    assert (scores[:, 0] > 0.9).all()
    assert (scores[:, 1] > 0.6).all()
    assert (scores[:, 2] < 0.2).all()
    assert (scores[:, 3:] == 0).all()
    early = log.take(log.steps < 14)
    not_yet = _scores(Due(_returns(log)).answer(_queries(early)), 60)
    assert (not_yet[:, 1] < 0.2).all()


def test_a_cell_counts_what_was_taken_and_what_was_not() -> None:
    rows: list[Event] = [(0, 1, 0, LIKE), (0, 2, 1, LIKE), (0, 1, 2, LIKE)]
    returns = _returns(log_of(rows, 1, N_ITEMS))
    # Trials: 1 at occasion 1 (no), 1 at 2 (yes), 2 at 2 (no).
    usual = (1 + 1) / (3 + 2)
    assert returns.chances.shape == CELLS
    alike = (0 + 20 * usual) / (2 + 20)
    assert returns.chances[0, 0, 0] == pytest.approx((0 + 20 * alike) / (2 + 20))
    # However often: what nobody did so often yet is told by those who did it less.
    assert returns.chances[5, 0, 0] == pytest.approx(alike)
    # Two occasions ago, once in two: two half-octaves on.
    alike = (1 + 20 * usual) / (1 + 20)
    assert returns.chances[0, 2, 2] == pytest.approx((1 + 20 * alike) / (1 + 20))
    assert returns.chances[3, 3, 3] == pytest.approx(usual)
    late, soon = returns.chances[0, 2, 2], returns.chances[0, 0, 0]
    faded = 2.0 ** (-1 / 60)
    expected = (1 + 5) / (faded * soon + late + 5)
    assert returns.factors[[1, 2, 3]] == pytest.approx([expected, 5 / (soon + 5), 1])


def test_items_that_come_again_have_greater_factors() -> None:
    rows: list[Event] = []
    for user in range(40):
        rows += [(user, 0, 0, LIKE), (user, 1, 0, LIKE), (user, 0, 1, LIKE)]
    log = log_of(rows, 40, N_ITEMS)
    returns = _returns(log)
    assert returns.factors[0] > 1.3
    assert returns.factors[1] < 0.7
    assert (returns.factors[2:] == 1).all()
    by_item = Habitual("x", returns, np.inf, by_item=True).answer(_queries(log))
    plain = Habitual("x", returns, np.inf).answer(_queries(log))
    np.testing.assert_allclose(_scores(by_item, 40), _scores(plain, 40) * returns.factors)


def _all(log: Interactions) -> tuple[Source, ...]:
    return habit_sources(_returns(log), long=120.0, short=21.0)


@given(events(), st.integers(1, 7))
def test_a_batch_equals_single_queries_and_nothing_disliked_is_proposed(
    rows: list[Event], k: int
) -> None:
    log = log_of(rows, N_USERS, N_ITEMS)
    queries = _queries(log)
    for source in _all(log):
        items, scores = source.answer(queries).top(k)
        for user in range(N_USERS):
            alone, own = source.answer(queries.take(np.array([user]))).top(k)
            np.testing.assert_array_equal(alone[0], items[user])
            np.testing.assert_array_equal(own[0], scores[user])
            liked = {item for _, item, _, what in rows if what == LIKE}
            assert {int(item) for item in items[user]} - {-1} <= liked
        assert not queries.admission.bars(np.arange(N_USERS)[:, None], items)[items >= 0].any()


def test_a_disliked_item_is_taken_no_more() -> None:
    log = log_of([*ROWS, (0, 5, 9, DISLIKE)], N_USERS, N_ITEMS)
    for source in _all(log):
        items, _ = source.answer(_queries(log)).top(3)
        assert items[0].tolist() == [3, -1, -1]


def test_queries_without_habits_get_silence() -> None:
    log = log_of(ROWS, N_USERS, N_ITEMS)
    queries = queries_of_users(log, np.arange(N_USERS), max_history=3)
    for source in _all(log):
        assert isinstance(source.answer(queries), Silence)


def test_an_empty_log_teaches_nothing() -> None:
    log = log_of([], N_USERS, N_ITEMS)
    returns = _returns(log)
    assert (returns.factors == 1).all()
    assert (returns.chances == 0.5).all()
    for source in habit_sources(returns, long=9.0, short=3.0):
        assert (source.answer(_queries(log)).top(2)[0] == -1).all()
