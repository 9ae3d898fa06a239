"""The description's numbers and the report of all problems."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from twofold.indexing.dataset import DataSettings, load_dataset
from twofold.indexing.describe import describe
from twofold.indexing.validate import validate

T = 1_700_000_000
LOG = pl.DataFrame(
    {
        "user": ["u", "u", "u", "u", "v", "w"],
        "item": ["a", "b", "a", "c", "a", "c"],
        "event": ["view", "view", "purchase", "view", "view", "dislike"],
        "time": [T, T, T + 1, T + 2, T + 3, T + 4],
    }
)
ITEMS = pl.DataFrame({"item": ["a", "b", "c", "d"], "title": ["Aa", "Bbbb", "", None]})


def test_known_numbers() -> None:
    d = describe(load_dataset(LOG, ITEMS))
    assert (d.n_users, d.n_items, d.n_interactions, d.n_labels, d.n_dislikes) == (3, 4, 6, 5, 1)
    assert d.n_items_without_interactions == 1
    assert d.density == pytest.approx(5 / 12)
    assert (d.first_time, d.last_time) == (T * 1000, (T + 4) * 1000)
    assert d.tied_share == pytest.approx(2 / 6)
    assert d.text_share == 0.5
    assert (d.text_characters_median, d.text_characters_most) == (3, 4)
    assert dict(d.history_lengths) == {
        "0": 1, "1-2": 1, "3-5": 1, "6-20": 0, "21-100": 0, "101+": 0
    }  # fmt: skip
    assert dict(d.kinds) == {"view": 4, "purchase": 1, "dislike": 1}
    assert d.repeat_share == pytest.approx(1 / 5)
    assert d.top_share == pytest.approx(3 / 5)
    json.dumps(d.to_dict())
    rows = dict(d.to_rows())
    assert rows["users"] == "3"
    assert rows["first time"] == "2023-11-14 22:13:20 UTC"


def test_no_times() -> None:
    d = describe(load_dataset(LOG.drop("time")))
    assert (d.first_time, d.has_order, d.text_share) == (None, False, 0.0)


def test_good_tables_pass() -> None:
    items = ITEMS.with_columns(title=pl.lit("text"))
    log = pl.DataFrame({"user": ["u"] * 3, "item": ["a", "b", "c"], "time": [T, T + 1, T + 2]})
    report = validate(log, items, now=(T + 10) * 1000)
    assert report.ok
    assert report.problems == ()
    assert {status for _, status, _ in report.to_rows()} == {"passed"}
    assert (report.n_interactions, report.n_items) == (3, 4)


def test_every_problem_is_found_at_once(tmp_path: Path) -> None:
    rows = [
        "user,item,weight,time",
        "u,a,1,2024-01-01",
        ",a,1,2024-01-01",
        "u,b,nan,2024-01-02",
        "u,c,1,someday",
        "u,zz,1,2024-01-03",
        "u,,1,2024-01-03",
        "u,a,1,2024-01-01",
        "nan,a,1,1970-01-01",
        "u,c,1,2024-02-01",
        "u,b,1,2099-01-01",
    ]
    (tmp_path / "log.csv").write_text("\n".join(rows) + "\n")
    items = pl.concat([ITEMS, ITEMS.head(1)])
    report = validate(tmp_path / "log.csv", items, now=(T + 10**8) * 1000)
    found = {(p.check, p.severity): [one.row for one in p.examples] for p in report.problems}
    assert not report.ok
    assert found == {
        ("item ids are distinct", "error"): [5],
        ("items have a text", "warning"): [],
        ("user id is given", "error"): [2],
        ("item id is given", "error"): [6],
        ("time can be read", "error"): [4],
        ("weight is a number", "error"): [3],
        ("items are known", "error"): [5],
        ("rows are distinct", "warning"): [7],
        ("ids are no placeholders (interactions)", "warning"): [],
        ("times are no placeholders", "warning"): [8],
        ("times lie in the past", "warning"): [10],
    }
    assert {"file": "log.csv", "row": 4, "value": "'someday'"} in [
        example for p in report.to_dict()["problems"] for example in p["examples"]
    ]
    json.dumps(report.to_dict())


def test_what_cannot_be_read_is_a_problem_too(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(b"")
    report = validate(tmp_path / "log.csv", ITEMS.drop("item"))
    assert [(p.check, p.table) for p in report.problems] == [
        ("items can be read", "items"), ("interactions can be read", "interactions")
    ]  # fmt: skip
    assert not report.ok
    template = validate(LOG, ITEMS, DataSettings(text_template="{nope}"))
    assert "text_template" in template.problems[0].message


def test_nothing_left_is_a_problem_not_a_crash() -> None:
    report = validate(LOG.with_columns(event=pl.lit("nonsense")))
    assert [p.check for p in report.problems][:1] == ["event is known"]
    assert any("nothing to learn" in p.message for p in report.problems)


def test_warnings_about_order() -> None:
    tied = validate(LOG.drop("time"))
    assert [p.check for p in tied.problems if "order" in p.check] == ["times give an order"]
    back = LOG.with_columns(position=pl.Series([3, 2, 1, 0, 0, 0]))
    checks = [p.check for p in validate(back).problems]
    assert "positions agree with times" in checks
