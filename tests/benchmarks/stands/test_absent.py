"""What no list can hold: counted as held out, and users of whom nothing can be found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.data.datasets import DataSet
from benchmarks.harness.cells import Plan
from benchmarks.stands.absent import Absent
from benchmarks.stands.held_out import split_of
from twofold.evaluation.held_out import truth_of, users_held_out
from twofold.evaluation.metrics import judge, recall
from twofold.evaluation.quality import Ranked


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Return three users: one of whom all is there, one with a gap, one with nothing."""
    rows = [
        *[("a", "i0", "train"), ("a", "i1", "test"), ("a", "i2", "test")],
        *[("b", "i1", "train"), ("b", "i0", "test"), ("b", "gone", "test"), ("b", "lost", "test")],
        *[("c", "i2", "train"), ("c", "gone", "test")],
    ]
    log = pl.DataFrame(rows, schema=["user", "item", "split"], orient="row")
    log.write_parquet(tmp_path / "interactions.parquet")
    items = pl.DataFrame({"item": ["i0", "i1", "i2"], "title": ["one", "two", "three"]})
    items.write_parquet(tmp_path / "items.parquet")
    tables = tmp_path / "interactions.parquet", tmp_path / "items.parquet"
    settings = ('data.text_template="{title}"', "data.drop_unknown_items=true")
    return Plan(DataSet("three", *tables, "file", 1, settings))


def test_what_the_catalogue_lacks_is_counted(plan: Plan) -> None:
    absent = Absent.of(plan)
    assert absent.held_out == {"a": 2, "b": 3, "c": 1}
    assert absent.lost == ("c",)
    assert absent.share == pytest.approx(3 / 6)


def test_it_is_missed_by_every_list(plan: Plan) -> None:
    dataset, test = plan.dataset, split_of(plan).test
    users = users_held_out(dataset.interactions, test)
    truth, ids = truth_of(dataset.interactions, test, users), dataset.users.decode(users)
    assert list(ids) == ["a", "b"]
    best = np.stack([np.append(truth.items[truth.rows == row], -1)[:2] for row in range(2)])
    scores = np.where(best >= 0, np.array([2.0, 1.0]), -np.inf).astype(np.float32)
    lists = {"best": Ranked(best, scores), "in order": Ranked(best)}
    told, whole = Absent.of(plan).with_misses(lists, truth, ids)
    for one in told.values():
        found = recall(judge(one.items, whole, one.scores), 2)
        np.testing.assert_allclose(found, [1, 1 / 3, 0])
