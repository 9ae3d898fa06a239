"""Habits in an artefact and in a running engine: kept, brought up to date, and as a build's."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.twofold.later import bring_events, bring_items, hashes
from tests.twofold.small_world import small_tables
from twofold import Engine
from twofold.build import build
from twofold.compact import compact
from twofold.embedding import embedded
from twofold.evaluate import evaluate
from twofold.indexing.artefact import open_artefact
from twofold.indexing.dataset import load_dataset
from twofold.indexing.progress import Silent
from twofold.lessons import Learner, lessons_of, usual_labels
from twofold.retrieval.habit_sources import Returns
from twofold.retrieval.habits import Habits
from twofold.retrieval.queries import queries_of_users
from twofold.settings import Settings

pytestmark = pytest.mark.usefixtures("one_thread")
DAY = 86_400
_, ITEMS = small_tables()


def _baskets() -> pl.DataFrame:
    """Six baskets of everybody: a staple of their own, something every third time, and a find."""
    rng = np.random.default_rng(4)
    rows = []
    for user in range(40):
        for basket in range(6):
            taken = {user % 20, 20 + int(rng.integers(40))}
            if basket % 3 == 0:
                taken.add(20 + user % 10)
            at = 1_700_000_000 + DAY * (7 * basket + user % 5)
            rows += [(f"u{user}", f"i{item}", at) for item in sorted(taken)]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


BASKETS = _baskets()
BORDER = 1_700_000_000 + DAY * 35
EARLY = pl.col("item_id").is_in(ITEMS[:55]["item_id"].to_list())
FIRST = BASKETS.filter(EARLY & (pl.col("timestamp") < BORDER))
REST = BASKETS.filter(pl.col("timestamp") >= BORDER)


@pytest.fixture(scope="module")
def repeating(small_settings: Settings) -> Settings:
    stage_one = replace(small_settings.stage_one, repeat=True)
    ranker = replace(small_settings.ranker, train=False)
    return replace(small_settings, stage_one=stage_one, ranker=ranker)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, repeating: Settings) -> Path:
    out = tmp_path_factory.mktemp("habits") / "first"
    build(FIRST, ITEMS[:55], out, repeating)
    return out


@pytest.fixture
def artefact(first: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(first, tmp_path / "own"))


def _same(one: Habits | None, other: Habits | None) -> None:
    assert one is not None
    assert other is not None
    for name in ("indptr", "items", "occasions", "times", "weights"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_an_artefact_keeps_what_was_learned(first: Path, repeating: Settings) -> None:
    log = load_dataset(FIRST, ITEMS[:55], repeating.data).interactions
    wanted = Returns.of(log, has_times=True)
    with Engine.load(first) as engine:
        found = engine._now().stage_one.returns
        assert found is not None
        np.testing.assert_array_equal(found.chances, wanted.chances)
        np.testing.assert_array_equal(found.factors, wanted.factors)
        assert (found.end, found.has_times) == (wanted.end, True)
        names = [one.name for one in engine._now().stage_one.sources()]
        habits = ["taken_often", "taken_lately", "taken_long", "returning", "due"]
        assert names[-5:] == habits
        # Everybody's staple comes first.
        for user in range(20):
            assert engine.recommend(f"u{user}", 1)[0].item_id == f"i{user % 20}"


def test_a_batch_equals_single_calls(artefact: Path) -> None:
    with Engine.load(artefact) as engine:
        engine.add_events(REST.filter(EARLY & pl.col("user_id").is_in(["u3", "u8"])))
        batch = engine.recommend_batch(None, 5)
        for (user,), part in batch.group_by("user_id"):
            alone = [one.item_id for one in engine.recommend(str(user), 5)]
            assert part["item_id"].to_list() == alone


def test_events_are_takings_at_once(artefact: Path, repeating: Settings) -> None:
    at = 1_800_000_000
    with Engine.load(artefact) as engine:
        assert "i50" not in [one.item_id for one in engine.recommend("u1", 3)]
        for user in ("u1", "new"):
            engine.add_events(
                [
                    {"user_id": user, "item_id": "i50", "timestamp": at + DAY * day}
                    for day in range(8)
                ]
            )
            assert engine.recommend(user, 1)[0].item_id == "i50"
        told = engine.recommend_for([("i50", 1.0), ("i3", 1.0), ("i50", 1.0)], 10)
        assert told[0].item_id == "i50"
        assert "i3" in [one.item_id for one in told]


def test_habits_are_those_that_a_build_would_have_made(artefact: Path, repeating: Settings) -> None:
    rest = REST.filter(EARLY)
    whole = load_dataset(pl.concat([FIRST, rest]), ITEMS[:55], repeating.data)
    with Engine.load(artefact) as engine:
        engine.add_events(rest)
        for user in range(40):
            number = np.array([whole.users.number(f"u{user}")])
            wanted = queries_of_users(whole.interactions, number, max_history=50, repeat=True)
            _same(engine._now().asking.user(f"u{user}").habits, wanted.habits)


def test_items_that_came_have_the_usual_factor(artefact: Path) -> None:
    bring_items(artefact, ITEMS[55:])
    with Engine.load(artefact) as engine:
        returns = engine._now().stage_one.returns
        assert returns is not None
        assert returns.factors.shape == (60,)
        assert (returns.factors[55:] == 1).all()
        assert (returns.factors[:55] != 1).any()
        engine.add_events([{"user_id": "u1", "item_id": "i58", "timestamp": 1_800_000_000}])
        assert "i58" in [one.item_id for one in engine.retrieve("u1", 10)]


def test_a_compaction_holds_what_a_build_of_everything_holds(
    artefact: Path, repeating: Settings, tmp_path: Path
) -> None:
    bring_items(artefact, ITEMS[55:])
    bring_events(artefact, REST)
    compact(artefact)
    build(pl.concat([FIRST, REST]), ITEMS, tmp_path / "whole", repeating)
    found, wanted = open_artefact(artefact), open_artefact(tmp_path / "whole")
    for name in ("habits/chances", "habits/factors", "habits/clock"):
        np.testing.assert_array_equal(found.array(name), wanted.array(name))
    mine, others = hashes(found), hashes(wanted)
    assert {name: mine[name] for name in mine if name.startswith("habits/")}
    assert {k: v for k, v in mine.items() if k != "fusion.json"} == {
        k: v for k, v in others.items() if k != "fusion.json"
    }


def test_label_windows_hold_out_whole_baskets(repeating: Settings) -> None:
    dataset = load_dataset(BASKETS, ITEMS, repeating.data)
    log = dataset.interactions
    index, _ = embedded(dataset, repeating, None, Silent())
    # Six baskets, but more than twelve labels, of everybody.
    assert usual_labels(log, whole=True) == 1
    lists = lessons_of(dataset, log, index, repeating, Silent()).lists[0]
    last = np.array([log.users == user for user in range(log.n_users)])
    ends = [log.times[mine].max() for mine in last]
    for row, user in enumerate(lists.queries.users):
        basket = last[user] & (log.times == ends[user])
        assert lists.n_held_out[row] == len(np.unique(log.items[basket]))
    once = replace(repeating, stage_one=replace(repeating.stage_one, repeat=False))
    before = Learner(dataset, log, index, once, Silent()).before(1, 0)
    assert len(before.labels) == log.n_users


def test_usual_labels_count_occasions() -> None:
    rows = [
        (f"u{user}", f"i{item}", 1_700_000_000 + DAY * day)
        for user in range(3)
        for day in range(20)
        for item in range(2)
    ]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    log = load_dataset(table, ITEMS, Settings().data).interactions
    assert usual_labels(log, whole=True) == 5
    few = log.take(log.steps < 19)
    assert (usual_labels(few), usual_labels(few, whole=True)) == (5, 1)


def test_an_evaluation_shows_buy_again(repeating: Settings) -> None:
    found = evaluate(BASKETS, ITEMS, repeating, protocol="global-time", quick=True)
    quality = {
        row.name: row.metrics["ndcg@10"].mean
        for row in found.rows
        if row.group == "all" and "ndcg@10" in row.metrics
    }
    assert quality["buy again"] > 1.5 * quality["popularity"]
    assert "fused stage one - buy again: ndcg@10" in found.comparisons
