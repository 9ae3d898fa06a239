"""Efforts are learned on some queries and hold on others, with a margin for chance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tests.indexing.test_proposers import clustered
from twofold.indexing.efforts import (
    DIVIDED,
    SURE,
    Exam,
    median_ms,
    raced,
    recall_of,
    surely,
)
from twofold.indexing.item_set import ItemSet
from twofold.indexing.proposers import Proposer
from twofold.indexing.vectors import VectorIndex, normalised

Floats = npt.NDArray[np.float32]
VECTORS, QUERIES = clustered(6000), clustered(200, seed=1)
PLAIN = VectorIndex.build(VECTORS, device="cpu")
EXAM = Exam.of(PLAIN, QUERIES)


def _built(kind: str) -> Proposer:
    return Proposer.build(VECTORS, kind, flat=PLAIN.flat)


FILE, CODES, GRAPH = _built("IVF64,SQ8"), _built("IVF64,PQ12x4fsr"), _built("HNSW16,Flat")


def test_half_the_queries_teach_and_the_others_test() -> None:
    assert len(EXAM.teaching) == len(EXAM.testing) == 100
    both = np.concatenate([EXAM.teaching, EXAM.testing])
    np.testing.assert_array_equal(np.sort(both, axis=0), np.sort(QUERIES, axis=0))
    # Chance divides them: users' histories and last items, one after another, come to both.
    assert not np.array_equal(both, QUERIES)
    np.testing.assert_array_equal(PLAIN.search(EXAM.testing, 100)[0][:, -1], EXAM.tested)
    few = Exam.of(PLAIN, QUERIES[: DIVIDED - 1])
    assert few.teaching is few.testing
    assert Exam.of(PLAIN, QUERIES, divide=False).teaching.shape == QUERIES.shape


@pytest.mark.parametrize("proposer", [FILE, CODES, GRAPH])
def test_the_effort_is_the_least_that_surely_suffices(proposer: Proposer) -> None:
    wanted = 0.95
    reached = EXAM.passed(proposer, wanted)
    assert reached is not None
    now = reached.proposer
    assert reached.recall == EXAM.recalls(now, test=True).mean() >= wanted
    assert surely(EXAM.recalls(now)) >= wanted
    assert reached.lowest == surely(EXAM.recalls(now, test=True)) < reached.recall
    less = now.effort * 3 // 4
    if less >= now.efforts()[0]:
        assert surely(EXAM.recalls(now.with_effort(less, now.over))) < wanted


@pytest.mark.parametrize("proposer", [FILE, CODES, GRAPH])
def test_the_curve_holds_the_choice_and_rises(proposer: Proposer) -> None:
    reached = EXAM.passed(proposer, 0.95)
    assert reached is not None
    chosen = (reached.proposer.effort, reached.proposer.over)
    assert chosen in [(one.effort, one.over) for one in reached.curve]
    assert all(one.ms > 0 for one in reached.curve)
    for over in {one.over for one in reached.curve}:
        along = sorted((one.effort, one.recall) for one in reached.curve if one.over == over)
        # Codes that find no more with more effort lose a little of it again.
        assert (np.diff([recall for _, recall in along]) > -0.01).all()


def test_a_margin_grows_with_the_spread_and_shrinks_with_the_number() -> None:
    even, uneven = np.full(100, 0.9), np.tile([0.8, 1.0], 50)
    assert surely(even) == pytest.approx(0.9)
    assert surely(uneven) == pytest.approx(0.9 - SURE * 0.1 / 10)
    assert surely(np.tile(uneven, 100)) == pytest.approx(0.9 - SURE * 0.1 / 100)


def test_what_was_learned_is_tested_on_the_others() -> None:
    """Queries that teach are near items here, those that test are not: effort grows for them."""
    easy, hard = QUERIES[:100], normalised(np.random.default_rng(5).standard_normal((100, 24)))
    taught, (tested, truth) = PLAIN.search(easy, 100)[0][:, -1], PLAIN.search(hard, 100)
    learned = Exam(PLAIN, easy, taught, easy, taught).passed(FILE, 0.9)
    honest = Exam(PLAIN, easy, taught, hard, tested[:, -1]).passed(FILE, 0.9)
    assert learned is not None
    assert honest is not None
    found = PLAIN.through(learned.proposer).search(hard, 100)[1]
    assert recall_of(found, truth) < 0.9 <= honest.recall
    assert honest.proposer.effort > learned.proposer.effort


def test_hopeless_codes_are_given_up_unless_told_to_be_patient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    seen = Exam.recalls

    def watched(exam: Exam, proposer: Proposer, *, test: bool = False) -> npt.NDArray[np.float64]:
        asked.append(proposer.effort)
        return seen(exam, proposer, test=test)

    monkeypatch.setattr(Exam, "recalls", watched)
    monkeypatch.setattr("twofold.indexing.efforts.OVERS", (1,))
    poor = _built("IVF64,PQ2x4fs")
    assert EXAM.passed(poor, 0.95) is None
    assert max(asked) < 64
    assert EXAM.passed(poor, 0.95, patient=True) is None
    assert max(asked) == 64


def test_those_that_race_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[int] = []
    one, other = PLAIN.through(FILE), PLAIN.through(GRAPH)

    def timed(index: VectorIndex, _: object) -> float:
        turns.append([one, other].index(index))
        # The machine is busy in the first rounds.
        return (10.0 if len(turns) <= 4 else 1.0) * (1 + turns[-1])

    monkeypatch.setattr("twofold.indexing.efforts.median_ms", timed)
    assert raced([one, other], QUERIES) == [1.0, 2.0]
    assert turns == [0, 1] * 5
    monkeypatch.undo()
    assert median_ms(one, QUERIES[:5]) > 0


def test_recall_counts_items_not_padding() -> None:
    truth = np.array([[1, 2, 3], [4, -1, -1], [-1, -1, -1]])
    found = np.array([[3, 2, 9], [-1, -1, -1], [7, -1, -1]])
    assert recall_of(found, truth) == 0.5
    assert recall_of(truth, truth) == 1.0


class _LatestFirst(Proposer):
    """Of items that are alike it proposes those with the highest numbers."""

    def search(
        self, queries: Floats, n: int, among: ItemSet | None = None
    ) -> tuple[Floats, npt.NDArray[np.int64]]:
        scores, items = super().search(queries, n + 400, among)
        order = np.lexsort((-items, -scores))[:, :n]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(items, order, 1)


def test_of_items_that_are_alike_any_is_right() -> None:
    """Every vector stands there 400 times: which of them come among the hundred says nothing."""
    alike = np.repeat(VECTORS[:60], 400, axis=0)
    exam = Exam.of(VectorIndex.build(alike, device="cpu"), QUERIES)
    file = _LatestFirst.build(alike, "IVF16,SQ8", flat=exam.plain.flat).with_effort(16, 1)
    assert exam.recalls(file).min() == 1.0
    found = exam.plain.through(file).search(exam.teaching, 100)[1]
    assert recall_of(found, exam.plain.search(exam.teaching, 100)[1]) < 0.99


def test_fewer_items_than_a_hundred_are_all_there_are() -> None:
    few = VectorIndex.build(VECTORS[:70], device="cpu")
    file = Proposer.build(VECTORS[:70], "IVF4,Flat", flat=few.flat)
    exam = Exam.of(few, QUERIES)
    assert exam.recalls(file.with_effort(4, 1)).tolist() == [1.0] * 100
