"""A shaped list keeps its caps, spreads out, and is otherwise in the order of the scores."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from twofold.indexing.errors import InputError
from twofold.indexing.vectors import normalised
from twofold.ranking import shaping
from twofold.ranking.shaping import Cap, Picks, Shape, centre_of, groups_of, read_caps

# In one corner, as many encoders have them.
VECTORS = normalised(4 + np.random.default_rng(0).standard_normal((40, 8)))
VECTORS[7] = 0
CENTRE = centre_of(VECTORS)


def _cosine(item: int, other: int) -> float:
    if not VECTORS[item].any() or not VECTORS[other].any():
        return 0.0
    one, two = VECTORS[item] - CENTRE, VECTORS[other] - CENTRE
    return float(one @ two / np.sqrt((one @ one) * (two @ two)))


def _slowly(
    caps: list[tuple[list[set[int]], int]], diversity: float, k: int, scores: dict[int, float]
) -> list[int]:
    """Maximal marginal relevance by its words: one item after the other, in plain Python."""
    low, high = min(scores.values()), max(scores.values())
    left = dict(scores)
    out: list[int] = []
    while left and len(out) < k:
        fitting = {}
        for item, score in left.items():
            held = all(
                sum(group in groups[one] for one in out) < most
                for groups, most in caps
                for group in groups[item]
            )
            if held:
                relevance = 1.0 if high == low else (score - low) / (high - low)
                alike = max([0.0, *(_cosine(item, one) for one in out)])
                fitting[item] = (1 - diversity) * relevance - diversity * alike
        if not fitting:
            break
        best = max(fitting, key=lambda item: (fitting[item], -list(scores).index(item)))
        out.append(best)
        del left[best]
    return out


@given(
    diversity=st.sampled_from([0.0, 0.3, 0.9]),
    k=st.integers(1, 15),
    caps=st.lists(st.integers(1, 3), max_size=2),
    seed=st.integers(0, 500),
)
def test_equals_the_slow_way(diversity: float, k: int, caps: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    items = rng.permutation(40)[: int(rng.integers(1, 30))]
    scores = np.sort(rng.standard_normal(len(items)).astype(np.float32))[::-1]
    values = [
        [rng.choice(5, int(rng.integers(0, 3)), replace=False).tolist() for _ in range(40)]
        for _ in caps
    ]
    shape = Shape(
        tuple(
            Cap(groups_of(pl.Series(column, dtype=pl.List(pl.Int64))), most)
            for column, most in zip(values, caps, strict=True)
        ),
        diversity,
        VECTORS,
        CENTRE,
    )
    picks = Picks(shape, k)
    places = picks.take(items, scores)
    slow = [([set(one) for one in column], most) for column, most in zip(values, caps, strict=True)]
    told = dict(zip(items.tolist(), scores.tolist(), strict=True))
    assert picks.items == items[places].tolist() == _slowly(slow, diversity, k, told)
    for item in range(40):
        full = item in picks.items or any(
            sum(group in groups[one] for one in picks.items) >= most
            for groups, most in slow
            for group in groups[item]
        )
        assert (item in picks.closed()) == full


def test_a_second_batch_knows_the_first() -> None:
    groups = groups_of(pl.Series(["a", "a", "b", "b", None, None]))
    picks = Picks(Shape((Cap(groups, 1),), 0.0, VECTORS, CENTRE), 4)
    assert picks.take(np.array([0, 1]), np.array([2, 1], dtype=np.float32)) == [0]
    assert picks.closed().tolist() == [0, 1]
    assert picks.take(np.array([1, 3, 2]), np.array([9, 8, 7], dtype=np.float32)) == [1]
    assert picks.take(np.array([4, 5]), np.array([0, 0], dtype=np.float32)) == [0, 1]
    assert picks.items == [0, 3, 4, 5]
    assert not picks.wanting


def test_full_diversity_after_a_first_batch_avoids_what_stands_there() -> None:
    vectors = np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
    picks = Picks(Shape((), 1.0, vectors, np.zeros(3, dtype=np.float32)), 3)
    picks.take(np.array([0]), np.array([1], dtype=np.float32))
    assert picks.take(np.array([1, 2]), np.array([5, 0], dtype=np.float32)) == [1, 0]


def test_the_centre_is_the_mean_of_items_with_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    np.testing.assert_allclose(CENTRE, np.delete(VECTORS, 7, axis=0).mean(axis=0), rtol=1e-5)
    assert not centre_of(np.zeros((3, 2), dtype=np.float32)).any()
    assert not centre_of(np.zeros((0, 2), dtype=np.float32)).any()
    monkeypatch.setattr(shaping, "SAMPLED", 20)
    np.testing.assert_allclose(centre_of(VECTORS), VECTORS[::2].mean(axis=0), rtol=1e-5)


def test_groups_of_columns() -> None:
    plain = groups_of(pl.Series(["x", None, "y", "x"])).toarray()
    assert plain.astype(int).tolist() == [[1, 0], [0, 0], [0, 1], [1, 0]]
    listed = groups_of(pl.Series([["x", "y", "x"], None, [], ["y", None]])).toarray()
    assert listed.astype(int).tolist() == [[1, 1], [0, 0], [0, 0], [0, 1]]
    assert groups_of(pl.Series([None, None], dtype=pl.String)).shape == (2, 0)
    assert groups_of(pl.Series([1.5, 2.0, 1.5])).shape == (3, 2)


def test_caps_that_cannot_be_are_refused() -> None:
    table = pl.DataFrame({"genre": ["a", "b"]})

    def groups(column: str) -> sp.csr_matrix:
        return groups_of(table[column])

    (cap,) = read_caps({"genre": 2}, groups, ["item_id", "genre"])
    assert cap.most == 2
    with pytest.raises(InputError, match="'gender', but the items have item_id, genre"):
        read_caps({"gender": 2}, groups, ["item_id", "genre"])
    with pytest.raises(InputError, match="at least 1 item of each genre, not 0"):
        read_caps({"genre": 0}, groups, ["item_id", "genre"])
