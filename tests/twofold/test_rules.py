"""Rules hold in every kind of call, and a list is as long as the rules allow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.twofold.small_world import N_ITEMS, N_USERS, small_tables
from twofold.build import build
from twofold.engine import Engine
from twofold.indexing.errors import InputError
from twofold.indexing.vectors import normalised
from twofold.recommendation import Recommendation
from twofold.rules import Rules
from twofold.settings import Settings

INTERACTIONS, ITEMS = small_tables()
SEEN = {
    user: set(items) for user, items in INTERACTIONS.group_by("user_id").agg("item_id").iter_rows()
}
IDS = ITEMS["item_id"].to_list()
SHELF = dict(zip(IDS, ITEMS["shelf"], strict=True))
YEAR = dict(zip(IDS, ITEMS["year"], strict=True))


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def engine(small_artefact: Path) -> Iterator[Engine]:
    with Engine.load(small_artefact, runtime="float32") as loaded:
        yield loaded


def _ids(found: list[Recommendation]) -> list[str]:
    assert [one.rank for one in found] == list(range(1, len(found) + 1))
    ids = [one.item_id for one in found]
    assert len(set(ids)) == len(ids)
    return ids


def _most(allowed: set[str], at_most: int | None) -> int:
    """How many items a list may hold: of each shelf at most so many."""
    if at_most is None:
        return len(allowed)
    shelves = [SHELF[item] for item in allowed]
    return sum(min(at_most, shelves.count(shelf)) for shelf in set(shelves))


RULES = st.fixed_dictionaries(
    {},
    optional={
        "where": st.sampled_from(["year >= 2010", "year < 1983", "shelf IN (1, 2)", "year < 0"]),
        "allow": st.lists(st.sampled_from([*IDS, "nobody knows"]), max_size=30),
        "deny": st.lists(st.sampled_from([*IDS, "nobody knows"]), max_size=30),
        "at_most": st.sampled_from([{"shelf": 1}, {"shelf": 3}, {"shelf": 1, "year": 1}]),
        "diversity": st.sampled_from([0.0, 0.4, 1.0]),
    },
)
WHERE: dict[str | None, Callable[[str], bool]] = {
    None: lambda _: True,
    "year >= 2010": lambda item: YEAR[item] >= 2010,
    "year < 1983": lambda item: YEAR[item] < 1983,
    "shelf IN (1, 2)": lambda item: SHELF[item] in (1, 2),
    "year < 0": lambda _: False,
}


def _allowed(rules: dict[str, Any]) -> set[str]:
    allowed = {item for item in IDS if WHERE[rules.get("where")](item)}
    if "allow" in rules:
        allowed &= set(rules["allow"])
    return allowed - set(rules.get("deny", ()))


def _holds(ids: list[str], allowed: set[str], k: int, rules: dict[str, Any]) -> None:
    assert set(ids) <= allowed
    at_most = rules.get("at_most", {})
    for column, most in at_most.items():
        values = [{"shelf": SHELF, "year": YEAR}[column][item] for item in ids]
        assert all(values.count(value) <= most for value in values)
    if "year" not in at_most:
        assert len(ids) == min(k, _most(allowed, at_most.get("shelf")))
    elif len(ids) < k:
        # Two caps at once: nothing more fits.
        for item in allowed - set(ids):
            assert SHELF[item] in {SHELF[one] for one in ids} or YEAR[item] in {
                YEAR[one] for one in ids
            }


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(user=st.integers(0, N_USERS), k=st.sampled_from([1, 7, 30, N_ITEMS]), rules=RULES)
def test_as_many_as_there_are_and_no_others(
    engine: Engine, user: int, k: int, rules: dict[str, Any]
) -> None:
    name = f"u{user}"  # the last is nobody
    allowed = _allowed(rules) - SEEN.get(name, set())
    for found in (engine.recommend(name, k, **rules), engine.retrieve(name, k, **rules)):
        _holds(_ids(found), allowed, k, rules)


@settings(deadline=None, max_examples=30)
@given(k=st.sampled_from([1, 7, N_ITEMS]), rules=RULES)
def test_searches_events_and_likenesses_obey_too(
    engine: Engine, k: int, rules: dict[str, Any]
) -> None:
    allowed = _allowed(rules)
    _holds(_ids(engine.search("robot war", k, **rules)), allowed, k, rules)
    _holds(_ids(engine.similar_items("i4", k, **rules)), allowed - {"i4"}, k, rules)
    events = [("i3", 1.0), ("i5", 1.0)]
    _holds(_ids(engine.recommend_for(events, k, **rules)), allowed - {"i3", "i5"}, k, rules)


@settings(deadline=None, max_examples=10)
@given(rules=RULES)
def test_a_batch_equals_single_calls(engine: Engine, rules: dict[str, Any]) -> None:
    frame = engine.recommend_batch(None, 6, **rules)
    for user in ("u0", "u1", "u33"):
        rows = frame.filter(pl.col("user_id") == user)
        single = engine.recommend(user, 6, **rules)
        assert rows["item_id"].to_list() == _ids(single)
        assert rows["rank"].to_list() == [one.rank for one in single]
        assert rows["score"].to_list() == pytest.approx([one.score for one in single], abs=1e-4)


def test_rules_of_requests_that_meet_do_not_mix(engine: Engine) -> None:
    wheres = ["year >= 2010", "year < 1983", "shelf IN (1, 2)", None]

    def ask(number: int) -> bool:
        where = wheres[number % 4]
        rules: Rules = {} if where is None else {"where": where}
        user = f"u{number % N_USERS}"
        allowed = _allowed(dict(rules)) - SEEN[user]
        ids = _ids(engine.recommend(user, 5, **rules))
        return set(ids) <= allowed and len(ids) == min(5, len(allowed))

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(200)))


def test_arecommend_obeys(engine: Engine) -> None:
    found = asyncio.run(engine.arecommend("u0", 5, where="year >= 2010", deny=["i59"]))
    assert _ids(found) == _ids(engine.recommend("u0", 5, where="year >= 2010", deny=["i59"]))
    assert all(YEAR[item] >= 2010 for item in _ids(found))


def test_without_a_rule_or_with_one_that_lets_all_through_it_is_the_same(engine: Engine) -> None:
    plain = engine.recommend("u2", 10)
    every: list[Rules] = [{"where": "TRUE"}, {"deny": []}, {"allow": IDS}, {"diversity": 0.0}]
    every.append({"where": None, "allow": None, "at": None})
    for rules in every:
        found = engine.recommend("u2", 10, **rules)
        assert _ids(found) == _ids(plain)
        assert [one.score for one in found] == pytest.approx([one.score for one in plain], abs=1e-6)


def test_diversity_spreads_a_list_out(engine: Engine) -> None:
    vectors = engine._now().stage_one.index.vectors
    vectors = normalised(vectors - vectors.mean(axis=0))

    def likeness(diversity: float) -> float:
        items = [IDS.index(one) for one in _ids(engine.recommend("u2", 10, diversity=diversity))]
        order = [engine.items["item_id"].to_list().index(IDS[item]) for item in items]
        return float((vectors[order] @ vectors[order].T).mean())

    assert likeness(0.6) < likeness(0.0) - 0.05


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"where": "yeer > 3"}, "names the column 'yeer', but the items have item_id, title, year"),
        ({"where": "year"}, "expected one that is true or false"),
        ({"at_most": {"colour": 2}}, "at_most names the column 'colour'"),
        ({"at_most": {"shelf": 0}}, "at least 1 item of each shelf"),
        ({"diversity": 1.5}, "diversity must be in 0..1, not 1.5"),
        ({"deny": "i1"}, r"deny must be a list of ids, not the text 'i1'; put it in \[ \]"),
        ({"at": datetime(2026, 1, 1)}, "must have a time zone"),
    ],
)
def test_rules_that_cannot_be_read_are_refused(
    engine: Engine, rules: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        engine.recommend("u0", 3, **rules)


def test_a_rule_that_does_not_exist_is_a_mistake_of_the_program(engine: Engine) -> None:
    with pytest.raises(TypeError, match="were"):
        engine.recommend("u0", 3, were="year > 3")  # type: ignore[call-arg]


def test_items_come_and_go_with_their_time(tmp_path: Path, small_settings: Settings) -> None:
    start, end = datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 6, 1, tzinfo=UTC)
    items = ITEMS.with_columns(
        available_from=pl.when(pl.col("shelf") == 0).then(pl.lit("2030-01-01")),
        available_until=pl.when(pl.col("shelf") == 1).then(pl.lit("2030-06-01")),
    )
    plain = replace(small_settings, ranker=replace(small_settings.ranker, train=False))
    build(INTERACTIONS, items, tmp_path / "own", plain)
    with Engine.load(tmp_path / "own") as engine:

        def shelves(**rules: Any) -> set[int]:
            return {SHELF[one.item_id] for one in engine.recommend("u0", N_ITEMS, **rules)}

        assert shelves() == {1, 2, 3, 4, 5}  # long before 2030
        assert shelves(at=start) == {0, 1, 2, 3, 4, 5}
        assert shelves(at=end) == {0, 2, 3, 4, 5}
        assert shelves(at=end, where="shelf < 3") == {0, 2}
        note = engine._now().dataset.notes
        assert any("'available_from' says from when" in one for one in note)
        assert "2030" not in "".join(engine.text(item) for item in IDS)
