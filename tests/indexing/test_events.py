"""What events, ratings, labels and weights count for."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.indexing.dataset import Dataset, DataSettings, load_dataset
from twofold.indexing.errors import DataError, SettingsError
from twofold.indexing.events import EVENT_RULES, EventRule, EventSettings
from twofold.retrieval.queries import queries_of_users

T = 1_700_000_000


def _load(rules: Any = None, **columns: Any) -> Dataset:
    n = len(next(iter(columns.values())))
    frame = pl.DataFrame(
        {"user": ["u"] * n, "item": [f"i{j}" for j in range(n)], "time": [T + j for j in range(n)],
         **columns}
    )  # fmt: skip
    return load_dataset(frame, settings=DataSettings(events=rules or EventSettings()))


def _columns(data: Dataset) -> list[tuple[float, int, bool, bool, str]]:
    rows = data.interactions
    kinds = [data.kinds[kind] for kind in rows.kinds]
    return list(
        zip(rows.weights.tolist(), rows.signs.tolist(), rows.seen.tolist(), rows.labels.tolist(),
            kinds, strict=True)
    )  # fmt: skip


def test_the_table_itself() -> None:
    assert {name for name, rule in EVENT_RULES.items() if rule.sign > 0} == {
        "view", "click", "cart", "purchase", "like"
    }  # fmt: skip
    assert {name for name, rule in EVENT_RULES.items() if rule.sign < 0} == {"dislike"}
    assert {name for name, rule in EVENT_RULES.items() if not rule.seen} == {"impression"}
    assert all(rule.label == (rule.sign > 0) for rule in EVENT_RULES.values())
    weights = {name: rule.weight for name, rule in EVENT_RULES.items() if rule.weight}
    assert weights == {"view": 0.1, "click": 0.2, "cart": 0.5, "purchase": 1.0, "like": 1.0}


def test_events_follow_the_table() -> None:
    names = list(EVENT_RULES)
    got = _columns(_load(event=names))
    assert got == [
        (float(np.float32(r.weight)), r.sign, r.seen, r.label, n) for n, r in EVENT_RULES.items()
    ]


def test_event_names_of_shops_and_capitals() -> None:
    data = _load(event=["addtocart", "Transaction", "VIEW"])
    assert [data.kinds[kind] for kind in data.interactions.kinds] == ["cart", "purchase", "view"]
    assert any("addtocart as cart" in note for note in data.notes)


def test_a_quantity_multiplies_the_rule() -> None:
    data = _load(event=["purchase", "view", "dislike"], weight=[3, 2, 5])
    assert data.interactions.weights.tolist() == pytest.approx([3.0, 0.2, 0.0])


def test_own_rules() -> None:
    rules = EventSettings(rules=(("wishlist", 2.0, 1, False, True), ("view", 0.0, 0, False, False)))
    got = _columns(_load(rules, event=["wishlist", "view"]))
    assert got == [(2.0, 1, False, True, "wishlist"), (0.0, 0, False, False, "view")]


def test_every_rating_is_a_positive_by_default() -> None:
    data = _load(rating=[1, 5, 3])
    assert [one[:4] for one in _columns(data)] == [(1.0, 1, True, True)] * 3
    assert data.kinds == ("rating 1", "rating 3", "rating 5")
    assert any("every rating counts as a positive" in note for note in data.notes)


def test_rating_thresholds() -> None:
    rules = EventSettings(like_at_least=4, dislike_at_most=2)
    got = [one[:4] for one in _columns(_load(rules, rating=["1", "3", "4.5"]))]
    assert got == [(0.0, -1, True, False), (0.0, 0, True, False), (1.0, 1, True, True)]
    only_low = EventSettings(dislike_at_most=2)
    assert _load(only_low, rating=[2.0, 2.5]).interactions.signs.tolist() == [-1, 1]
    only_high = EventSettings(like_at_least=4)
    assert _load(only_high, rating=[2, 4]).interactions.signs.tolist() == [0, 1]


def test_many_ratings_become_ten_bins() -> None:
    ratings = np.linspace(0, 10, 101).tolist()
    data = _load(rating=ratings)
    assert len(data.kinds) == 10
    counts = np.bincount(data.interactions.kinds)
    assert counts.min() >= 10
    assert counts.max() <= 11
    assert np.all(np.diff(data.interactions.kinds) >= 0)


def test_labels_and_weights() -> None:
    assert _load(label=[1, 0, 1]).interactions.signs.tolist() == [1, -1, 1]
    assert _load(label=[True, False]).interactions.signs.tolist() == [1, -1]
    got = _columns(_load(weight=[2.5, 0, -1]))
    assert got == [
        (2.5, 1, True, True, "interaction"),
        (0.0, 0, False, False, "impression"),
        (0.0, -1, True, False, "dislike"),
    ]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"event": ["purchase", "purchse"]}, "row 2, column 'event'.*did you mean 'purchase'"),
        ({"event": ["purchase", None]}, "row 2, column 'event'.*came nothing"),
        ({"rating": [1.0, float("nan")]}, "row 2, column 'rating': expected a finite number"),
        ({"rating": ["1", "good"]}, "row 2, column 'rating'.*came 'good'"),
        ({"rating": [1, None]}, "row 2, column 'rating'.*came nothing"),
        ({"weight": [1.0, float("inf")]}, "row 2, column 'weight'.*came inf"),
        ({"weight": [1.0, 1e300]}, "row 2, column 'weight'"),
        ({"label": [1, 2]}, "row 2, column 'label': expected 1 \\(like\\) or 0"),
        ({"event": ["view", "view"], "weight": [1, -3]}, "row 2, column 'weight'.*quantity"),
        ({"event": ["view", "view"], "weight": [1, 0]}, "row 2, column 'weight'.*quantity"),
        ({"rating": [1, 2], "weight": [1, 2]}, "both say what an interaction counts for"),
        ({"event": ["dislike", "skip"]}, "nothing to learn"),
    ],
)
def test_bad_rows(columns: dict[str, list[Any]], says: str) -> None:
    with pytest.raises(DataError, match=says):
        _load(**columns)


@pytest.mark.parametrize(
    "rule",
    [(1.0, 0, True, False), (0.0, 1, True, True), (0.0, -1, True, True), (-1.0, 1, True, True),
     (1.0, 2, True, True)],
)  # fmt: skip
def test_rules_that_contradict_themselves(rule: tuple[float, int, bool, bool]) -> None:
    with pytest.raises(SettingsError):
        EventRule(rule[0], rule[1], seen=rule[2], label=rule[3])
    with pytest.raises(SettingsError):
        EventSettings(rules=(("x", *rule),))


def test_thresholds_that_cross() -> None:
    with pytest.raises(SettingsError, match="below"):
        EventSettings(like_at_least=2, dislike_at_most=3)


EVENTS = st.lists(
    st.tuples(st.sampled_from("uvw"), st.sampled_from("abcd"), st.sampled_from(list(EVENT_RULES)),
              st.integers(0, 5)),
    min_size=1, max_size=25,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(EVENTS)
def test_no_dislike_skip_or_impression_ever_raises_an_item(
    events: list[tuple[str, str, str, int]],
) -> None:
    events = [*events, ("w", "e", "like", 9)]
    frame = pl.DataFrame(events, schema=["user", "item", "event", "time"], orient="row")
    rows = load_dataset(frame.with_columns(pl.col("time") + T)).interactions
    raising = {(u, i) for u, i, s in zip(rows.users, rows.items, rows.signs, strict=True) if s > 0}
    matrix = rows.matrix()
    assert matrix.nnz == 0 or matrix.data.min() > 0
    assert set(zip(*matrix.nonzero(), strict=True)) <= raising
    disliked = rows.disliked()
    assert matrix.multiply(disliked).nnz == 0
    queries = queries_of_users(rows, np.arange(rows.n_users), max_history=50, repeat=True)
    in_history = set(zip(queries.rows().tolist(), queries.items.tolist(), strict=True))
    assert in_history == set(zip(*(axis.tolist() for axis in matrix.nonzero()), strict=True))
    assert np.all(queries.weights > 0)
    # A disliked item stays excluded even where repeats are allowed.
    assert (queries.excluded != disliked).nnz == 0
    # Taking the negative events out changes nothing but what dislikes took back.
    positive = rows.take(rows.signs > 0).matrix()
    assert (matrix != (positive - positive.multiply(disliked))).nnz == 0
