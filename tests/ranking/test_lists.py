from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.indexing.logs import DISLIKE, IMPRESSION, LIKE, SKIP, log_of
from tests.ranking.worlds import make_queries
from twofold.indexing.errors import InputError
from twofold.ranking.lists import NEVER, Lists, label_lists, mean_ndcg, popularity_of
from twofold.retrieval.candidates import rank

N_ITEMS = 6


def _labelled(
    events: list[tuple[int, int]],
    weights: list[float] | None = None,
    refused: list[tuple[int, int, str]] | None = None,
) -> Lists:
    """Return lists 3, 1, 5 and 0, 2 of users 0 and 1, labelled by (user, item) events in order."""
    queries = make_queries([[4], [4]], N_ITEMS)
    items = np.array([[3, 1, 5], [0, 2, -1]])
    candidates = rank(items, np.array([[3, 2, 1], [2, 1, 0]], dtype=np.float32), 3)
    rows = [(user, item, step, LIKE) for step, (user, item) in enumerate(sorted(events))]
    labels = log_of(rows, 2, N_ITEMS)
    if weights is not None:
        labels = replace(labels, weights=np.array(weights, dtype=np.float32))
    met = None
    if refused is not None:
        met = log_of([(user, item, 9, what) for user, item, what in refused], 2, N_ITEMS)
    return label_lists(queries, candidates, labels, refusals=met)


def test_hits_are_found_where_they_stand() -> None:
    lists = _labelled([(0, 1), (0, 5), (1, 2)])
    assert lists.labels.tolist() == [[False, True, True], [False, True, False]]
    assert lists.n_held_out.tolist() == [2, 1]


def test_repeats_count_once_and_what_is_in_no_list_still_counts() -> None:
    lists = _labelled([(0, 1), (0, 1), (0, 2), (1, 4)])
    assert lists.n_held_out.tolist() == [2, 1]
    assert lists.labels.sum(axis=1).tolist() == [1, 0]
    assert lists.truth().n_held_out().tolist() == [2, 1]


def test_ndcg_counts_what_no_list_holds() -> None:
    lists = _labelled([(0, 3), (0, 2), (1, 4)])
    logits = np.array([[3, 2, 1], [2, 1, -np.inf]], dtype=np.float32)
    ideal = 1 + 1 / np.log2(3)
    assert np.isclose(mean_ndcg([lists], [logits]), (1 / ideal + 0) / 2)


def test_a_hit_counts_for_its_users_strongest_statement() -> None:
    lists = _labelled([(0, 1), (0, 1), (0, 5), (1, 2)], [0.1, 0.5, 0.2, 1.0])
    assert lists.strengths is not None
    assert lists.strengths.tolist() == [[0, 0.5, pytest.approx(0.2)], [0, 1, 0]]
    assert lists.counted().tolist() == [[1, 0.5, pytest.approx(0.2)], [1, 1, 0]]
    # Of a quantity, and where all is weak, the strongest counts 1 and no more.
    many = _labelled([(0, 1), (0, 5), (1, 2)], [7.0, 0.5, 1.0])
    assert many.counted().tolist() == [[1, 1, 0.5], [1, 1, 0]]
    weak = _labelled([(0, 1), (0, 5), (1, 2)], [0.1, 0.05, 0.1])
    assert weak.counted().tolist() == [[1, 1, 0.5], [1, 1, 0]]


def test_what_was_met_and_not_taken_is_refused() -> None:
    met = [(0, 3, DISLIKE), (0, 1, IMPRESSION), (0, 4, SKIP), (1, 0, SKIP), (1, 3, DISLIKE)]
    lists = _labelled([(0, 1), (1, 2)], refused=met)
    assert lists.refused is not None
    # What was shown first and taken then is a hit.
    assert lists.refused.tolist() == [[True, False, False], [True, False, False]]
    with pytest.raises(InputError, match="hit and refused"):
        replace(lists, refused=lists.labels)


def test_the_border_is_where_each_users_labels_begin() -> None:
    queries = make_queries([[4], [4], [4]], N_ITEMS)
    candidates = rank(np.zeros((3, 1), dtype=np.int64), np.zeros((3, 1), dtype=np.float32), 1)
    log = log_of([(0, 1, 7, LIKE), (0, 2, 5, LIKE), (2, 0, 3, LIKE)], 3, N_ITEMS)
    border = label_lists(queries, candidates, log).border
    assert border is not None
    assert border.steps.tolist() == [5, NEVER, 3]
    assert border.times.tolist() == [5 * 86_400_000, NEVER, 3 * 86_400_000]


def test_everything_of_a_list_is_taken_along() -> None:
    lists = _labelled([(0, 1), (0, 4), (1, 2)], [0.5, 1, 1], [(1, 0, SKIP)])
    lists = replace(lists, popularity=np.arange(N_ITEMS, dtype=np.float32))
    other = lists.take(np.array([1]))
    assert other.strengths is not None
    assert other.refused is not None
    assert other.border is not None
    assert other.held_out is not None
    assert lists.held_out is not None
    assert other.strengths.tolist() == [[0, 1, 0]]
    assert other.refused.tolist() == [[True, False, False]]
    assert other.border.steps.tolist() == [2]
    assert lists.held_out.indices.tolist() == [1, 4, 2]
    assert other.held_out.indices.tolist() == [2]
    assert other.popularity is lists.popularity


def test_popularity_counts_users() -> None:
    rows = [(0, 1, 0, LIKE), (0, 1, 1, LIKE), (1, 1, 0, LIKE), (1, 2, 1, SKIP), (1, 3, 2, LIKE)]
    assert popularity_of(log_of(rows, 2, 5)).tolist() == [0, 2, 0, 1, 0]
