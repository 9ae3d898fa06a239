from __future__ import annotations

import numpy as np

from tests.indexing.logs import LIKE, log_of
from tests.ranking.worlds import make_queries
from twofold.ranking.lists import Lists, label_lists, mean_ndcg
from twofold.retrieval.candidates import rank

N_ITEMS = 6


def _labelled(events: list[tuple[int, int]]) -> Lists:
    """Return lists 3, 1, 5 and 0, 2 of users 0 and 1, labelled by (user, item) events."""
    queries = make_queries([[4], [4]], N_ITEMS)
    items = np.array([[3, 1, 5], [0, 2, -1]])
    candidates = rank(items, np.array([[3, 2, 1], [2, 1, 0]], dtype=np.float32), 3)
    rows = [(user, item, step, LIKE) for step, (user, item) in enumerate(sorted(events))]
    return label_lists(queries, candidates, log_of(rows, 2, N_ITEMS))


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
