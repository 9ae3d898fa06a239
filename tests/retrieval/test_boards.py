"""A board proposes what its answers do, and says of items what they say."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.retrieval.test_answers import N_ITEMS, N, _admission, _allowed, _sparse
from twofold.indexing.vectors import VectorIndex, normalised
from twofold.retrieval.answers import Answer, DenseAnswer, SameAnswer, VectorAnswer
from twofold.retrieval.boards import DenseBoard, SingleBoard, SparseBoard, boards_of

Floats = npt.NDArray[np.float32]


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    k=st.integers(1, N_ITEMS + 5),
    share=st.sampled_from([0, 0.3, 1]),
    filtered=st.sampled_from([0, 0.1, 0.5]),
)
def test_boards_propose_what_their_answers_do(
    seed: int, k: int, share: float, filtered: float
) -> None:
    rng = np.random.default_rng(seed)
    admission = _admission(rng, share, filtered)
    silent = rng.random(N) < 0.3
    levels = rng.integers(-2, 3, (4, N, N_ITEMS)).astype(np.float32)  # zeros and many ties
    some = _sparse(levels[2], admission)
    turned = some.values * rng.integers(-1, 2, some.values.shape).astype(np.float32)
    some = replace(some, values=np.concatenate([some.values, turned]))
    trend = rng.integers(0, 3, N_ITEMS).astype(np.float32)
    order = np.lexsort((np.arange(N_ITEMS), -trend))[: np.count_nonzero(trend)]
    index = VectorIndex.build(normalised(rng.standard_normal((N_ITEMS, 8))), device="cpu")
    told: list[Answer] = [
        DenseAnswer(levels[0], admission, 0.0),
        some,
        DenseAnswer(levels[1], admission, -np.inf, silent),
        # Another view of the same table has the same items.
        replace(some, view=1),
        VectorAnswer(normalised(rng.standard_normal((N, 8))), index, admission, 0.0),
        _sparse(levels[3], admission),
        SameAnswer(trend, order, admission),
        DenseAnswer(rng.standard_normal((N, N_ITEMS)).astype(np.float32), admission, 0.0),
    ]
    boards = boards_of(told)
    assert sorted(number for numbers, _ in boards for number in numbers) == list(range(len(told)))
    kinds = Counter(type(board) for _, board in boards)
    assert kinds == {DenseBoard: 3, SingleBoard: 2, SparseBoard: 2}
    found = set()
    for numbers, board in boards:
        proposed = board.proposals(k)
        assert (np.sort(proposed < 0, axis=2) == (proposed < 0)).all()
        for at, query, place in np.argwhere(proposed >= 0).tolist():
            found.add((numbers[at], query, int(proposed[at, query, place])))
    wanted = set()
    for number, answer in enumerate(told):
        items, scores = answer.top(k)
        rows, places = np.nonzero(items >= 0)
        assert np.isfinite(scores[rows, places]).all()
        wanted |= {
            (number, int(row), int(item))
            for row, item in zip(rows, items[rows, places], strict=True)
        }
    assert found == wanted
    asked = np.full((N, N_ITEMS), -1, dtype=np.int64)
    for row, mask in zip(asked, _allowed(admission), strict=True):
        open_items = np.flatnonzero(mask)
        row[: len(open_items)] = open_items
    for numbers, board in boards:
        for number, scores in zip(numbers, board.at(asked), strict=True):
            there = asked >= 0
            np.testing.assert_array_equal(scores[there], told[number].at(asked)[there])


def test_a_board_of_nothing_proposes_nothing() -> None:
    admission = _admission(np.random.default_rng(0))
    empty = _sparse(np.zeros((N, N_ITEMS), dtype=np.float32), admission)
    board = SparseBoard([empty, empty])
    assert (board.proposals(5) < 0).all()
    assert not board.at(np.zeros((N, 3), dtype=np.int64)).any()
