"""What every metric of lists must hold to, whatever it measures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.evaluation.exposure import diversity, popularity_lift
from twofold.evaluation.metrics import Truth
from twofold.evaluation.quality import Ranked, UserValues, measure_users
from twofold.evaluation.serendipity import serendipity
from twofold.evaluation.surroundings import Surroundings
from twofold.indexing.errors import InputError
from twofold.indexing.interactions import Interactions
from twofold.retrieval.candidates import Candidates, rank

N_USERS, N_ITEMS, KS = 12, 9, (1, 3, 20)
seeds = st.integers(0, 10_000)
UNBOUNDED = ("novelty", "popularity", "popularity_lift")


@dataclass(frozen=True)
class World:
    """Lists with ties and padding, held-out items, and all that is known around them."""

    lists: Candidates
    truth: Truth
    around: Surroundings

    @classmethod
    def of(cls, seed: int) -> World:
        rng = np.random.default_rng(seed)
        every = np.broadcast_to(np.arange(N_ITEMS), (N_USERS, N_ITEMS))
        items = np.where(rng.random(every.shape) < 0.3, -1, every)
        scores = rng.integers(0, 4, every.shape).astype(np.float32)
        popularity = rng.integers(0, 6, N_ITEMS)
        plain = np.where(rng.random(every.shape) < 0.2, -1, every)
        counts = np.broadcast_to(popularity.astype(np.float32), every.shape)
        rows, held = np.nonzero(rng.random(every.shape) < 0.2)
        vectors = rng.normal(0, 1, (N_ITEMS, 4)).astype(np.float32)
        vectors[0] = 0
        history = np.where(rng.random(N_USERS) < 0.2, np.nan, rng.uniform(1, 5, N_USERS))
        around = Surroundings(popularity, vectors, history, rank(plain, counts, N_ITEMS))
        lists = rank(items, scores, N_ITEMS)
        return cls(lists, Truth.from_pairs(rows, held, N_USERS), around)

    def take(self, which: np.ndarray) -> World:
        around = self.around
        assert around.history_popularity is not None
        assert around.primitive is not None
        history, primitive = around.history_popularity[which], around.primitive.take(which)
        moved = Surroundings(around.popularity, around.vectors, history, primitive)
        return World(self.lists.take(which), self.truth.take(which), moved)

    def measured(self, padding: int = 0) -> UserValues:
        wide = self.lists.padded(N_ITEMS + padding)
        lists = Ranked(wide.items, wide.scores)
        return measure_users({"one": lists}, self.truth, self.around, KS)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_users_moved_move_their_values(seed: int) -> None:
    world = World.of(seed)
    order = np.random.default_rng(seed).permutation(N_USERS)
    values = world.measured().values[0]
    moved = world.take(order).measured().values[0]
    np.testing.assert_allclose(moved, values[order], atol=1e-12)


@given(seeds, st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_padding_changes_nothing(seed: int, padding: int) -> None:
    world = World.of(seed)
    found = world.measured(padding).values
    np.testing.assert_allclose(found, world.measured().values, atol=1e-12)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_values_lie_in_their_range(seed: int) -> None:
    found = World.of(seed).measured()
    assert len(found.metrics) == 10 * len(KS)
    for metric in found.metrics:
        name, values = metric.split("@")[0], found.of("one", metric)
        values = values[~np.isnan(values)]
        top = np.inf if name in UNBOUNDED else 2 if name == "diversity" else 1
        assert bool(np.all(values >= (-1 if name == "popularity_lift" else -1e-12))), metric
        assert bool(np.all(values <= top + 1e-12)), metric


def test_values_are_those_of_the_metrics() -> None:
    world = World.of(1)
    found, around, lists = world.measured(), world.around, world.lists
    assert around.vectors is not None
    assert around.primitive is not None
    assert around.history_popularity is not None
    for k in KS:
        lift = popularity_lift(lists.items, k, around.popularity, around.history_popularity)
        expected = {
            "diversity": diversity(lists.items, k, around.vectors),
            "popularity_lift": lift,
            "serendipity": serendipity(lists.items, world.truth, around.primitive, k, lists.scores),
        }
        for name, values in expected.items():
            np.testing.assert_array_equal(found.of("one", f"{name}@{k}"), values)


def test_what_is_known_at_test_surrounds_the_lists() -> None:
    rows = np.array([(0, 1), (0, 2), (1, 1), (1, 3), (2, 3), (2, 3)])
    n = len(rows)
    known = Interactions(
        users=rows[:, 0],
        items=rows[:, 1],
        steps=np.arange(n, dtype=np.int32),
        times=np.zeros(n, dtype=np.int64),
        weights=np.ones(n, dtype=np.float32),
        signs=np.ones(n, dtype=np.int8),
        seen=np.ones(n, dtype=bool),
        labels=np.array([1, 0, 1, 1, 1, 1], dtype=bool),
        kinds=np.zeros(n, dtype=np.int16),
        n_users=4,
        n_items=5,
    )
    excluded = sp.csr_matrix(np.array([[0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]))
    found = Surroundings.of_known(known, np.array([2, 1]), excluded, None, 2)
    assert found.popularity.tolist() == [0, 2, 0, 3, 0]
    assert found.history_popularity == pytest.approx([3, 2.5])
    assert found.primitive is not None
    assert found.primitive.items.tolist() == [[1, 0], [3, 1]]
    assert found.vectors is None


def test_what_is_not_known_is_not_measured() -> None:
    world = World.of(2)
    lists = Ranked(world.lists.items, world.lists.scores)
    bare = measure_users({"one": lists}, world.truth, Surroundings(world.around.popularity), (3,))
    names = {one.split("@")[0] for one in bare.metrics}
    assert names == {"recall", "ndcg", "hit_rate", "mrr", "map", "novelty", "popularity"}


def test_refusals() -> None:
    around = World.of(3).around
    popularity, history, primitive = (
        around.popularity,
        around.history_popularity,
        around.primitive,
    )
    assert history is not None
    with pytest.raises(InputError, match="each of 9 items was expected, got 8"):
        Surroundings(popularity, vectors=np.zeros((8, 2), dtype=np.float32))
    with pytest.raises(InputError, match="same users, got 11 and 12"):
        Surroundings(popularity, history_popularity=history[1:], primitive=primitive)
    lists = Ranked(np.zeros((2, 1), dtype=np.int64))
    for part in (Surroundings(popularity, None, history), around):
        with pytest.raises(InputError, match="12 users came with 2 users"):
            measure_users({"one": lists}, World.of(3).truth.take(np.arange(2)), part)
