"""Known answers of the source of fresh items, and what it keeps through saving and growing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from tests.indexing.logs import IMPRESSION, LIKE, log_of
from twofold.indexing.artefact import begin_generation, open_artefact
from twofold.indexing.errors import InputError, SettingsError
from twofold.indexing.interactions import Interactions
from twofold.indexing.neighbours import MS_PER_DAY
from twofold.indexing.vectors import VectorIndex, normalised
from twofold.retrieval.freshness import (
    UNDATED,
    Arrivals,
    FreshItems,
    asked_before,
    dates_of,
)
from twofold.retrieval.fusion import Fusion
from twofold.retrieval.growing_stage_one import GrowingStageOne
from twofold.retrieval.queries import Queries, joined, queries_of_users
from twofold.retrieval.settings import StageOneSettings
from twofold.retrieval.sources import View
from twofold.retrieval.stage_one import StageOne, fit_stage_one

DAY = MS_PER_DAY
# Item 0 is the history; the cosines of the others with it.
COSINES = (1.0, 0.8, 0.8, 0.6, -0.5, 0.0)


def _index() -> VectorIndex:
    vectors = np.array([[c, np.sqrt(1 - c * c)] for c in COSINES[:5]] + [[0, 0]], dtype=np.float32)
    return VectorIndex.build(vectors, device="cpu")


def _source(days: list[float], end: float = 10, half_life: float = 2.0) -> FreshItems:
    arrivals = Arrivals((np.array(days) * DAY).astype(np.int64), int(end * DAY))
    return FreshItems(_index(), arrivals, half_life, _view())


def _view() -> View:
    return View(decay=0.7)


def _queries(n: int = 1) -> Queries:
    log = log_of([(user, 0, 0, LIKE) for user in range(n)], n, 6)
    return queries_of_users(log, np.arange(n), max_history=5)


def _said(source: FreshItems, queries: Queries) -> npt.NDArray[np.float32]:
    asked = np.tile(np.arange(6), (len(queries), 1))
    return source.answer(queries).at(asked)


def test_a_score_is_the_cosine_halved_with_every_half_life() -> None:
    source = _source([0, 10, 8, 6, 10, 10])
    scores = _said(source, _queries())[0]
    #        a history item of 5 half-lives; fresh; one old; two old; unlike; no text
    assert scores == pytest.approx([2**-5, 0.8, 0.4, 0.15, 0, 0])
    assert source.answer(_queries()).top(6)[0].tolist() == [[1, 2, 3, -1, -1, -1]]


def test_items_of_more_than_ten_half_lives_are_not_proposed() -> None:
    source = _source([0, 79.9, 80.1, 100, 100, 100], end=100)
    assert _said(source, _queries())[0][1:3] == pytest.approx([0, 0.8 * 2**-9.95], rel=1e-3)


def test_items_that_came_after_the_end_are_the_freshest_of_all() -> None:
    scores = _said(_source([0, 10, 12, 1e6, 10, 10]), _queries())[0]
    assert scores[2] == pytest.approx(2 * scores[1])
    assert np.isfinite(scores).all()
    assert scores[3] > scores[2]


def test_a_query_of_the_past_sees_what_was_fresh_then_and_nothing_later() -> None:
    queries = replace(_queries(2), asked_at=np.array([8 * DAY, 10 * DAY]))
    source = _source([0, 10, 8, 6, 10, 10])
    past, now = _said(source, queries)
    assert past[1:4] == pytest.approx([0, 0.8, 0.3])
    assert now == pytest.approx(_said(source, _queries())[0])
    # Each is answered as alone, and long past moments as well as near ones.
    alone = replace(_queries(), asked_at=np.array([8 * DAY]))
    assert _said(source, alone)[0] == pytest.approx(past)
    assert _said(source, queries.take(np.array([1])))[0] == pytest.approx(now)
    long_ago = _source([0, 1, 1, 5000, 5000, 5000], end=5000)
    asked = replace(_queries(), asked_at=np.array([3 * DAY]))
    assert _said(long_ago, asked)[0][1] == pytest.approx(0.4)


def test_items_came_by_their_date_or_else_their_first_interaction_or_else_at_the_end() -> None:
    log = log_of([(0, 1, 7, LIKE), (0, 2, 4, IMPRESSION), (1, 2, 5, LIKE), (1, 3, 9, LIKE)], 2, 5)
    dates = np.array([UNDATED, UNDATED, UNDATED, 2 * DAY, UNDATED])
    arrivals = Arrivals.of(log, dates, has_times=True)
    assert (arrivals.moments // DAY).tolist() == [9, 7, 4, 2, 9]
    assert arrivals.end == 9 * DAY
    untimed = Arrivals.of(log, dates, has_times=False)
    assert (untimed.moments // DAY).tolist() == [2] * 5


def test_without_any_times_it_is_refused() -> None:
    log = log_of([(0, 1, 7, LIKE)], 1, 6)
    with pytest.raises(SettingsError, match="available_from"):
        Arrivals.of(log, None, has_times=False)
    settings = StageOneSettings(fresh_half_life_days=1.0)
    with pytest.raises(SettingsError, match="available_from"):
        fit_stage_one(log, _index(), settings, has_times=False)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_half_life_is_above_zero(value: float) -> None:
    with pytest.raises(SettingsError, match="fresh_half_life_days"):
        StageOneSettings(fresh_half_life_days=value)


def test_dates_are_read_from_a_column() -> None:
    column = pl.Series([5, None]).cast(pl.Datetime("ms", "UTC"))
    read = dates_of(column)
    assert read is not None
    assert read.tolist() == [5, UNDATED]
    assert dates_of(None) is None


def test_held_out_queries_are_asked_when_their_first_label_came() -> None:
    log = log_of([(0, 1, 4, LIKE), (0, 2, 6, LIKE), (1, 3, 2, LIKE)], 2, 6)
    asked = asked_before(_queries(2), log)
    assert asked.asked_at is not None
    assert (asked.asked_at // DAY).tolist() == [4, 2]
    both = joined([asked, asked])
    assert both.asked_at is not None
    assert (both.asked_at // DAY).tolist() == [4, 2, 4, 2]
    with pytest.raises(InputError, match="all batches"):
        joined([asked, _queries(1)])
    with pytest.raises(InputError, match="asked_at"):
        replace(_queries(2), asked_at=np.array([1]))


N = 40


def _log() -> Interactions:
    rng = np.random.default_rng(0)
    return log_of(
        [(user, int(rng.integers(N - 5)), step, LIKE) for user in range(30) for step in range(6)],
        30,
        N,
    )


def _fitted(fresh: float | None = 3.0) -> StageOne:
    index = VectorIndex.build(normalised(np.random.default_rng(1).normal(size=(N, 8))))
    return fit_stage_one(
        _log(), index, StageOneSettings(fresh_half_life_days=fresh, per_source=5), has_times=True
    )


def test_the_source_is_there_where_it_is_asked_for_alone() -> None:
    names = [[one.name for one in _fitted(fresh).sources()] for fresh in (None, 3.0)]
    assert names[1] == [*names[0], "fresh"]


def test_what_is_saved_answers_alike(tmp_path: Path) -> None:
    made = _fitted()
    with begin_generation(tmp_path) as writer:
        made.index.save(writer)
        made.save(writer)
        writer.commit({})
    opened = StageOne.open(open_artefact(tmp_path), made.index, made.settings)
    queries = queries_of_users(_log(), np.arange(30), max_history=9)
    found, wanted = (one.sources()[-1].answer(queries).top(9) for one in (opened, made))
    np.testing.assert_array_equal(found[0], wanted[0])
    assert (wanted[0] >= 0).any()


def test_growing_keeps_takes_and_adds_moments() -> None:
    base = _fitted()
    growing = GrowingStageOne(base)
    vectors = normalised(np.random.default_rng(2).normal(size=(4, 8)))
    dates = np.array([UNDATED, 11, UNDATED, -100 * DAY])
    grown = growing.put(np.array([3, 4, N, N + 1]), vectors, dates)
    assert base.arrivals is not None
    assert grown.arrivals is not None
    moments = grown.arrivals.moments
    assert moments[[3, 4, N, N + 1]].tolist() == [
        base.arrivals.moments[3], 11, base.arrivals.end, -100 * DAY,
    ]  # fmt: skip
    assert grown.arrivals.end == base.arrivals.end
    later = growing.put(np.array([N + 2]), vectors[:1])
    assert later.arrivals is not None
    assert later.arrivals.moments[N + 2] == base.arrivals.end
    assert later.arrivals.moments[4] == 11
    assert len(base.arrivals.moments) == N
    queries = _wide(N + 3)
    fusion = Fusion("zscore", (1.0,) * len(later.sources()))
    assert later.retriever(fusion).retrieve(queries, 9).k == 9
    items = later.sources()[-1].answer(queries).top(N)[0]
    assert N + 1 not in items  # its moment is long past


def _wide(n_items: int) -> Queries:
    log = _log()
    return queries_of_users(replace(log, n_items=n_items), np.arange(30), max_history=9)
