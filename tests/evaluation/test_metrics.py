from __future__ import annotations

import itertools
from math import log2

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from twofold.evaluation.metrics import (
    METRICS,
    Truth,
    average_precision,
    hit_rate,
    judge,
    metric_values,
    mrr,
    ndcg,
    recall,
)

Ints = npt.NDArray[np.int64]


def ints(*rows: list[int]) -> Ints:
    return np.array(rows, dtype=np.int64)


def truth_of(*rows: list[int]) -> Truth:
    pairs = [(row, item) for row, items in enumerate(rows) for item in items]
    flat = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Truth.from_pairs(flat[:, 0], flat[:, 1], len(rows))


def textbook(
    ranked: list[int], gains: dict[int, float], n_unknown: int, k: int
) -> dict[str, float]:
    """Every metric of one list without ties, as a textbook would write it."""
    n_held_out = len(gains) + n_unknown
    top = ranked[:k]
    places = [rank for rank, item in enumerate(top, start=1) if item in gains]
    best = sorted([*gains.values(), *[1.0] * n_unknown], reverse=True)[:k]
    dcg = sum(gains[item] / log2(rank + 1) for rank, item in enumerate(top, 1) if item in gains)
    precisions = [sum(one <= rank for one in places) / rank for rank in places]
    return {
        "recall": len(places) / n_held_out,
        "ndcg": dcg / sum(gain / log2(rank + 1) for rank, gain in enumerate(best, 1)),
        "hit_rate": float(bool(places)),
        "mrr": 1 / places[0] if places else 0.0,
        "map": sum(precisions) / min(k, n_held_out),
    }


def textbook_tied(
    ranked: list[int], scores: list[float], gains: dict[int, float], n_unknown: int, k: int
) -> dict[str, float]:
    """The mean of `textbook` over every order of the tied items."""
    groups = [
        [item for item, _ in group]
        for _, group in itertools.groupby(zip(ranked, scores, strict=True), key=lambda one: one[1])
    ]
    orders = itertools.product(*(itertools.permutations(group) for group in groups))
    values = [
        textbook([item for group in order for item in group], gains, n_unknown, k)
        for order in orders
    ]
    return {name: float(np.mean([one[name] for one in values])) for name in METRICS}


def test_known_answers() -> None:
    judged = judge(ints([3, 7, 1, 9]), truth_of([7, 9, 5]))
    assert recall(judged, 2)[0] == pytest.approx(1 / 3)
    assert hit_rate(judged, 1)[0] == 0
    assert hit_rate(judged, 2)[0] == 1
    assert mrr(judged, 4)[0] == pytest.approx(1 / 2)
    ideal = 1 + 1 / log2(3) + 1 / log2(4)
    assert ndcg(judged, 4)[0] == pytest.approx((1 / log2(3) + 1 / log2(5)) / ideal)
    assert average_precision(judged, 4)[0] == pytest.approx((1 / 2 + 2 / 4) / 3)


def test_two_tied_items_count_half() -> None:
    judged = judge(ints([4, 8]), truth_of([8]), np.array([[1.0, 1.0]]))
    assert recall(judged, 1)[0] == 0.5
    assert hit_rate(judged, 1)[0] == 0.5
    assert mrr(judged, 1)[0] == 0.5
    assert mrr(judged, 2)[0] == 0.75
    assert ndcg(judged, 1)[0] == 0.5


def test_unknown_items_are_misses_and_count_in_every_denominator() -> None:
    known = judge(ints([1, 2]), truth_of([1]))
    both = judge(ints([1, 2]), truth_of([1, -1]))
    assert recall(known, 2)[0] == 1
    assert recall(both, 2)[0] == 0.5
    assert ndcg(both, 2)[0] == pytest.approx(1 / (1 + 1 / log2(3)))
    assert average_precision(both, 2)[0] == 0.5
    padded = judge(ints([1, -1]), truth_of([1, -1]))
    assert recall(padded, 2)[0] == 0.5


def test_a_query_without_truth_has_no_value() -> None:
    judged = judge(ints([1, 2], [1, 2]), truth_of([], [2]))
    for values in metric_values(judged, (1, 2)).values():
        assert np.isnan(values[0])
        assert not np.isnan(values[1])


def test_padding_is_never_tied_with_an_item() -> None:
    judged = judge(ints([5, 6, -1]), truth_of([6]), np.array([[1.0, 0.0, 0.0]]))
    assert mrr(judged, 3)[0] == 0.5
    assert recall(judged, 2)[0] == 1


def test_short_and_empty_lists() -> None:
    judged = judge(ints([5, -1, -1]), truth_of([5, 6]), np.array([[0.0, -np.inf, -np.inf]]))
    assert recall(judged, 10)[0] == 0.5
    assert recall(judged, 1)[0] == 0.5
    nothing = judge(np.empty((1, 0), dtype=np.int64), truth_of([5]))
    assert all(values[0] == 0 for values in metric_values(nothing, (1, 5)).values())
    nobody = judge(np.empty((0, 3), dtype=np.int64), truth_of())
    assert all(values.shape == (0,) for values in metric_values(nobody, (1, 5)).values())


@st.composite
def lists(draw: st.DrawFn) -> tuple[list[int], list[float], dict[int, float], int]:
    length = draw(st.integers(1, 6))
    ranked = draw(st.permutations(range(9)))[:length]
    scores = sorted(draw(st.lists(st.integers(0, 3), min_size=length, max_size=length)))[::-1]
    held_out = draw(st.sets(st.integers(0, 8), min_size=1, max_size=5))
    gains = {item: draw(st.sampled_from([1.0, 2.0, 3.5])) for item in sorted(held_out)}
    return list(ranked), [float(one) for one in scores], gains, draw(st.integers(0, 2))


def truth_with(gains: dict[int, float], n_unknown: int) -> Truth:
    items = np.array([*gains, *[-1] * n_unknown], dtype=np.int64)
    worth = np.array([*gains.values(), *[1.0] * n_unknown])
    return Truth.from_pairs(np.zeros(len(items), dtype=np.int64), items, 1, worth)


@given(lists(), st.integers(1, 8))
@settings(max_examples=150, deadline=None)
def test_agrees_with_the_textbook_over_all_orders_of_ties(
    case: tuple[list[int], list[float], dict[int, float], int], k: int
) -> None:
    ranked, scores, gains, n_unknown = case
    judged = judge(ints(ranked), truth_with(gains, n_unknown), np.array([scores]))
    expected = textbook_tied(ranked, scores, gains, n_unknown, k)
    for name, metric in METRICS.items():
        assert metric(judged, k)[0] == pytest.approx(expected[name]), name


@given(lists(), st.integers(1, 8))
@settings(max_examples=100, deadline=None)
def test_agrees_with_the_textbook_without_ties(
    case: tuple[list[int], list[float], dict[int, float], int], k: int
) -> None:
    ranked, _, gains, n_unknown = case
    judged = judge(ints(ranked), truth_with(gains, n_unknown))
    expected = textbook(ranked, gains, n_unknown, k)
    for name, metric in METRICS.items():
        assert metric(judged, k)[0] == pytest.approx(expected[name]), name


@given(st.lists(lists(), min_size=2, max_size=5), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_a_query_does_not_depend_on_its_batch_mates(
    cases: list[tuple[list[int], list[float], dict[int, float], int]], k: int
) -> None:
    width = max(len(case[0]) for case in cases)
    items = np.full((len(cases), width), -1, dtype=np.int64)
    scores = np.full((len(cases), width), -np.inf)
    truth = [truth_with(gains, n_unknown) for _, _, gains, n_unknown in cases]
    for row, (ranked, row_scores, _, _) in enumerate(cases):
        items[row, : len(ranked)], scores[row, : len(ranked)] = ranked, row_scores
    together = Truth(
        np.concatenate([[0], np.cumsum([len(one.items) for one in truth])]).astype(np.int64),
        np.concatenate([one.items for one in truth]),
        np.concatenate([np.ones(0) if one.gains is None else one.gains for one in truth]),
    )
    batch = metric_values(judge(items, together, scores), (k,))
    for row, (ranked, row_scores, _, _) in enumerate(cases):
        alone = metric_values(judge(ints(ranked), truth[row], np.array([row_scores])), (k,))
        for name, values in batch.items():
            assert values[row] == pytest.approx(alone[name][0]), name
        again = metric_values(
            judge(items[[row]], together.take(np.array([row])), scores[[row]]), (k,)
        )
        assert {n: v[0] for n, v in again.items()} == {n: v[row] for n, v in batch.items()}


@given(lists(), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_bounds_and_growth(
    case: tuple[list[int], list[float], dict[int, float], int], k: int
) -> None:
    ranked, scores, gains, n_unknown = case
    judged = judge(ints(ranked), truth_with(gains, n_unknown), np.array([scores]))
    for name, metric in METRICS.items():
        assert 0 <= metric(judged, k)[0] <= 1 + 1e-12
        if name in {"recall", "hit_rate", "mrr"}:
            assert metric(judged, k + 1)[0] >= metric(judged, k)[0] - 1e-12
    perfect = judge(ints(sorted(gains, key=lambda one: -gains[one])), truth_with(gains, 0))
    assert ndcg(perfect, k)[0] == pytest.approx(1)
    assert average_precision(perfect, k)[0] == pytest.approx(1)


@pytest.mark.parametrize("k", [1, 3, 10, 20])
def test_ndcg_agrees_with_sklearn_ties_included(k: int) -> None:
    rng = np.random.default_rng(3)
    n_items = 20
    labels = rng.integers(0, 4, size=(50, n_items)).astype(float)
    labels[:, 0] = 1.0
    scores = rng.integers(0, 6, size=(50, n_items)).astype(float)
    items = np.argsort(-scores, axis=1, kind="stable")
    rows, columns = labels.nonzero()
    truth = Truth.from_pairs(rows, columns, 50, labels[rows, columns])
    ours = ndcg(judge(items, truth, np.take_along_axis(scores, items, axis=1)), k)
    assert ours.mean() == pytest.approx(ndcg_score(labels, scores, k=k))


def test_truth_from_a_matrix_and_from_pairs_agree() -> None:
    matrix = sp.csr_matrix(np.array([[0, 1, 1], [0, 0, 0], [1, 0, 0]]))
    truth = Truth.from_matrix(matrix, np.array([3, 0, 1]))
    assert truth.n_held_out().tolist() == [3, 0, 1]
    assert truth.items.tolist() == [-1, 1, 2, 0]
    pairs = Truth.from_pairs(
        np.array([2, 0, 0, 0, 0]), np.array([0, 2, 1, 1, -1]), 3, np.array([1.0, 1, 1, 4, 1])
    )
    assert pairs.items.tolist() == truth.items.tolist()
    assert pairs.gains is not None
    assert pairs.gains.tolist() == [1, 4, 1, 1]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Truth(np.array([0, 2]), np.array([1, 1])), "only once"),
        (lambda: Truth(np.array([0, 1]), np.array([1, 2])), "end with"),
        (lambda: Truth(np.array([1, 2]), np.array([1, 2])), "begin with"),
        (lambda: Truth(np.array([0, 2, 1, 2]), np.array([1, 2])), "decrease"),
        (lambda: Truth(np.array([0, 1]), np.array([1]), np.array([0.0])), "above 0"),
        (lambda: Truth.from_matrix(sp.csr_matrix(np.ones((1, 2))), np.array([1])), "below"),
        (lambda: judge(ints([1]), truth_of([1], [2])), "2 queries"),
        (lambda: judge(ints([1, 2]), truth_of([1]), np.array([[1.0]])), "came with items"),
        (lambda: judge(ints([1, 2]), truth_of([1]), np.array([[1.0, 2.0]])), "rise"),
        (lambda: judge(ints([1, 2]), truth_of([1]), np.array([[1.0, np.nan]])), "rise"),
        (lambda: judge(ints([1]), truth_of([1]), np.array([[np.nan]])), "rise"),
    ],
)
def test_refusals(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(ValueError, match=message):
        build()
