"""Misses beside the served candidates: which they may be, and what they stand for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from tests.ranking.planted import planted_lists
from tests.ranking.worlds import make_features, make_queries
from twofold.indexing.errors import InputError
from twofold.ranking.further_misses import with_further_misses
from twofold.ranking.labelled import Drawn, draw
from twofold.ranking.lists import Lists

N_ITEMS = 40
ITEMS = [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, -1], [0, 6, 11, 12, 13, 14]]
HITS = [[0], [6, 7], [11, 12]]
HISTORIES = [[20, 21], [22], []]
UNFOUND = [[23], [], [24]]
SEEN = [[25], [], [20]]
FREE = [*range(15, 20), *range(20, N_ITEMS)]


def _lists() -> Lists:
    items = np.array(ITEMS)
    labels = np.array([np.isin(row, hits) for row, hits in zip(ITEMS, HITS, strict=True)])
    queries = replace(make_queries(HISTORIES, N_ITEMS), excluded=_matrix(SEEN))
    lists = planted_lists(items, labels, make_features(items.shape), queries)
    held = [[*hits, *others] for hits, others in zip(HITS, UNFOUND, strict=True)]
    popularity = np.ones(N_ITEMS, dtype=np.float32)
    popularity[15:18] = 0
    return replace(lists, held_out=_matrix(held), popularity=popularity)


def _matrix(rows: list[list[int]]) -> sp.csr_matrix:
    out = np.zeros((len(rows), N_ITEMS), dtype=bool)
    for row, items in enumerate(rows):
        out[row, items] = True
    return sp.csr_matrix(out)


def _drawn(popular: int, in_batch: int, seed: int = 0, negatives: int = 4) -> tuple[Drawn, Drawn]:
    """Return what was drawn of the lists, and the same with further misses."""
    lists, rng = _lists(), np.random.default_rng(seed)
    drawn = draw(lists, negatives, rng)
    more = with_further_misses(drawn, lists, popular=popular, in_batch=in_batch, rng=rng)
    return drawn, more


def _further(popular: int, in_batch: int) -> list[set[int]]:
    """Return all items that any of many draws adds to each list."""
    out: list[set[int]] = [set(), set(), set()]
    for seed in range(60):
        _, more = _drawn(popular, in_batch, seed)
        for row in range(3):
            added = [item for item in more.items[row, 5:].tolist() if item >= 0]
            assert len(added) == len(set(added))
            out[row] |= set(added)
    return out


def test_popular_items_are_neither_candidates_nor_hits_nor_known_nor_unpopular() -> None:
    for row, found in enumerate(_further(4, 0)):
        not_those = {*ITEMS[row], *HISTORIES[row], *UNFOUND[row], *SEEN[row], 15, 16, 17}
        assert found == set(range(N_ITEMS)) - not_those


def test_popular_items_are_drawn_in_proportion() -> None:
    popularity = np.zeros(N_ITEMS, dtype=np.float32)
    popularity[30], popularity[31] = 3, 1
    lists, counts = replace(_lists(), popularity=popularity), np.zeros(N_ITEMS)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        drawn = draw(lists, 4, rng)
        more = with_further_misses(drawn, lists, popular=1, in_batch=0, rng=rng)
        np.add.at(counts, more.items[:, 5:].ravel(), 1)
    assert counts[[30, 31]].sum() == 900
    assert 0.7 < counts[30] / 900 < 0.8


def test_hits_of_other_lists_are_misses_where_they_are_not_candidates() -> None:
    # Items 6 of the second list and 0 of the first are candidates of the third.
    assert _further(0, 2) == [{6, 7, 11, 12}, {0, 11, 12}, {7}]
    _, more = _drawn(3, 2)
    assert more.items.shape == (3, 5 + 5)


@pytest.mark.parametrize(("popular", "in_batch", "negatives"), [(2, 1, 4), (9, 4, 2), (1, 0, 0)])
def test_the_weight_of_misses_and_hits_stays(popular: int, in_batch: int, negatives: int) -> None:
    drawn, more = _drawn(popular, in_batch, negatives=negatives)
    for sign in (0, 1):
        before = (drawn.weights * (drawn.labels == sign)).sum(dim=1)
        after = (more.weights * (more.labels == sign)).sum(dim=1)
        np.testing.assert_allclose(after, before, rtol=1e-6)
    assert not more.weights.numpy()[more.items < 0].any()
    width = drawn.items.shape[1]
    new = more.weights[:, width:].numpy()
    assert new[more.items[:, width:] >= 0].min() > 0
    total = (drawn.weights * (drawn.labels == 0)).sum(dim=1).numpy()
    assert (new.sum(axis=1) <= total / 2 + 1e-6).all()
    if popular + in_batch < 3:
        np.testing.assert_allclose(new[more.items[:, width:] >= 0], 1.0)


def test_their_features_are_those_of_drawn_misses() -> None:
    seen = set()
    for seed in range(10):
        drawn, more = _drawn(3, 0, seed)
        for row in range(3):
            misses = drawn.features[row][(drawn.labels[row] == 0) & (drawn.weights[row] > 0)]
            for place, item in enumerate(more.items[row, 5:]):
                told = more.features[row, 5 + place]
                if item < 0:
                    assert not told.any()
                    continue
                alike = (misses == told).all(dim=1)
                assert alike.sum() == 1
                seen.add((row, int(alike.int().argmax())))
    # Every one of them lends its features sometimes.
    assert len(seen) == 4 + 3 + 3


def test_lists_without_a_drawn_miss_get_none() -> None:
    items = np.array([[0, 1], [2, 3]])
    labels = np.array([[True, True], [True, False]])
    lists = planted_lists(items, labels, make_features(items.shape), make_queries([[], []], 9))
    lists = replace(lists, popularity=np.ones(9, dtype=np.float32))
    rng = np.random.default_rng(0)
    more = with_further_misses(draw(lists, 1, rng), lists, popular=2, in_batch=1, rng=rng)
    assert more.items[0, 2:].tolist() == [-1, -1, -1]
    assert more.weights[0].tolist() == [1, 1, 0, 0, 0]
    assert not more.features[0, 2:].any()
    assert (more.items[1, 2:] >= 0).all()
    nobody = replace(lists, popularity=np.zeros(9, dtype=np.float32))
    none = with_further_misses(draw(lists, 1, rng), nobody, popular=2, in_batch=0, rng=rng)
    assert (none.items[:, 2:] == -1).all()


def test_nothing_is_drawn_where_nothing_is_asked_for() -> None:
    lists, rng = _lists(), np.random.default_rng(0)
    drawn = draw(lists, 3, rng)
    state = rng.bit_generator.state
    assert with_further_misses(drawn, lists, popular=0, in_batch=0, rng=rng) is drawn
    assert rng.bit_generator.state == state


def test_popular_items_need_a_popularity() -> None:
    lists, rng = replace(_lists(), popularity=None), np.random.default_rng(0)
    with pytest.raises(InputError, match="popular_negatives"):
        with_further_misses(draw(lists, 3, rng), lists, popular=1, in_batch=0, rng=rng)
