"""Reranking within a time: the best candidates first, as many as fit, the others as they were."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ranking.worlds import N_ITEMS, make_queries, make_ranker, make_served
from twofold.ranking.deadlines import FEWEST, Pace, rerank_until
from twofold.ranking.ranker import Ranker
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import Queries

PAST = [[1, 2, 3], [4], [], [5, 6]]


@pytest.fixture(scope="module")
def ranker(tiny_bert: Path) -> Ranker:
    return make_ranker(tiny_bert)


class Fixed(Pace):
    """A pace that learns nothing."""

    def note(self, candidates: int, seconds: float) -> None:
        pass


def test_without_a_deadline_all_is_reranked(ranker: Ranker) -> None:
    queries, candidates = make_queries(PAST), make_served(len(PAST), short=[1], by=2)
    found = rerank_until(
        ranker, queries, candidates, 5, deadlines=np.full(len(PAST), math.inf), pace=Pace()
    )
    whole = ranker.rerank(queries, candidates, 5)
    read = [0, 1, 3]
    np.testing.assert_array_equal(found.ranked.items[read], whole.items[read])
    np.testing.assert_allclose(found.ranked.scores[read], whole.scores[read], atol=1e-6)
    # Nothing to read: stage one's order, and nothing counts as reranked.
    assert found.reranked.tolist() == [N_ITEMS, N_ITEMS - 2, 0, N_ITEMS]
    assert (found.ranked.items[2] == -1).all()
    np.testing.assert_array_equal(found.rest.items[2], candidates.items[2, :5])
    assert (found.rest.items[read] == -1).all()


def test_a_deadline_that_has_passed_leaves_stage_one(ranker: Ranker) -> None:
    queries, candidates = make_queries(PAST), make_served(len(PAST), short=[1], by=2)
    late = np.full(len(PAST), time.perf_counter())
    found = rerank_until(ranker, queries, candidates, 5, deadlines=late, pace=Pace())
    assert found.reranked.tolist() == [0, 0, 0, 0]
    assert (found.ranked.items == -1).all()
    np.testing.assert_array_equal(found.rest.items, candidates.items[:, :5])
    np.testing.assert_array_equal(found.rest.scores, candidates.scores[:, :5])


@pytest.mark.parametrize("fits", [8, 11])
def test_as_many_of_the_best_as_fit_are_reranked(
    ranker: Ranker, fits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, candidates = make_queries(PAST[:1]), make_served(1)
    # A clock on which a candidate takes a second.
    now, sizes = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    exact: npt.NDArray[np.float32] = ranker.logits(queries, candidates)[0]

    def logits(self: Ranker, queries: Queries, part: Candidates) -> npt.NDArray[np.float32]:
        now[0] += part.items.size
        sizes.append(part.items.size)
        return np.asarray(exact[part.items])

    monkeypatch.setattr(Ranker, "logits", logits)
    found = rerank_until(
        ranker,
        queries,
        candidates,
        N_ITEMS,
        deadlines=np.array([fits / 0.8 + 1e-6]),
        pace=Fixed(call=0.0, candidate=1.0),
    )
    assert sizes == [fits]
    assert found.reranked.tolist() == [fits]
    best = np.argsort(-exact[:fits], kind="stable")
    np.testing.assert_array_equal(found.ranked.items[0, :fits], candidates.items[0, best])
    np.testing.assert_array_equal(found.rest.items[0, : N_ITEMS - fits], candidates.items[0, fits:])
    assert (found.ranked.items[0, fits:] == -1).all()


def test_the_most_pressed_give_way(ranker: Ranker) -> None:
    queries, candidates = make_queries([[1, 2], [3]]), make_served(2, short=[1], by=2)
    pace = Fixed(call=0.0, candidate=1.0)
    now = time.perf_counter()
    deadlines = np.array([now + 1.0, now + 1000.0])
    found = rerank_until(ranker, queries, candidates, 5, deadlines=deadlines, pace=pace)
    assert found.reranked.tolist() == [0, N_ITEMS - 2]
    np.testing.assert_array_equal(found.rest.items[0], candidates.items[0, :5])


def test_requests_that_meet_leave_time_for_those_that_come_next(ranker: Ranker) -> None:
    queries, candidates = make_queries(PAST[:2]), make_served(2)
    pace = Fixed(call=0.0, candidate=1.0)
    now = time.perf_counter()
    # A few are worth all of the time there is, more than those two fifths of it.
    wanted = ((22.0, [8, 8]), (51.0, [10, 10]))
    for room, counts in wanted:
        deadlines = np.array([now + room, now + 1.5 * room])
        found = rerank_until(ranker, queries, candidates, 5, deadlines=deadlines, pace=pace)
        assert found.reranked.tolist() == counts
    deadlines = np.array([now + 51.0, np.inf])
    found = rerank_until(ranker, queries, candidates, 5, deadlines=deadlines, pace=pace)
    assert found.reranked.tolist() == [10, N_ITEMS]


def test_fewer_than_a_handful_are_not_worth_a_call(ranker: Ranker) -> None:
    queries, candidates = make_queries(PAST[:1]), make_served(1)
    pace = Fixed(call=0.0, candidate=100.0)
    deadline = np.array([time.perf_counter() + 100.0 * (FEWEST - 1)])
    found = rerank_until(ranker, queries, candidates, 5, deadlines=deadline, pace=pace)
    assert found.reranked.tolist() == [0]


def test_a_pace_that_was_slow_once_is_tried_again(ranker: Ranker) -> None:
    queries, candidates = make_queries(PAST[:1]), make_served(1)
    pace = Pace()
    for _ in range(50):
        pace.note(100, 5.0)
    reranked = []
    for _ in range(60):
        deadline = np.array([time.perf_counter() + 0.5])
        found = rerank_until(ranker, queries, candidates, 5, deadlines=deadline, pace=pace)
        reranked.append(int(found.reranked[0]))
    assert reranked[0] == 0
    assert reranked[-1] == N_ITEMS
    # A request that comes too late says nothing of the pace.
    before = pace.seconds(100)
    late = np.array([time.perf_counter()])
    rerank_until(ranker, queries, candidates, 5, deadlines=late, pace=pace)
    assert pace.seconds(100) == before


@given(
    call=st.floats(1e-4, 1e-2),
    candidate=st.floats(1e-6, 1e-3),
    sizes=st.lists(st.integers(1, 2000), min_size=2, max_size=6, unique=True),
)
def test_the_pace_is_learned(call: float, candidate: float, sizes: list[int]) -> None:
    pace = Pace()
    for _ in range(60):
        for size in sizes:
            pace.note(size, call + candidate * size)
    for size in sizes:
        assert pace.seconds(size) == pytest.approx(call + candidate * size, rel=0.1)
        assert pace.fits(pace.seconds(size)) == pytest.approx(size, rel=1e-6, abs=1e-6)


def test_a_pace_of_one_size_still_tells_more_from_less() -> None:
    pace = Pace()
    for _ in range(200):
        pace.note(100, 0.02)
    assert pace.seconds(100) == pytest.approx(0.02, rel=0.05)
    assert pace.seconds(50) < pace.seconds(100) < pace.seconds(200)
    assert pace.fits(0.0) == 0.0
    assert pace.fits(math.inf) == math.inf
