from __future__ import annotations

import json
import math

import pytest

from twofold.evaluation.intervals import Interval
from twofold.evaluation.report import (
    Circumstances,
    Row,
    json_line,
    markdown_table,
    read_line,
    table_cells,
)
from twofold.indexing.errors import InputError

NAN = math.nan
ALS = Row(
    "ALS",
    "all",
    943,
    {"ndcg@10": Interval(0.1186, 0.11, 0.127, 943), "coverage@10": Interval(0.5, NAN, NAN, 943)},
)
RERANKED = Row(
    "reranked",
    "all",
    943,
    {"ndcg@10": Interval(0.17, 0.16, 0.18, 943)},
    baseline="ALS",
    differences={"ndcg@10": Interval(0.05, 0.04, 0.06, 943)},
    latency_ms={"p50": 31.25, "p95": 40.0, "p99": 55.5},
    notes=("Zählt Gleichstände halb.",),
)
CIRCUMSTANCES = Circumstances(
    dataset="movies",
    fingerprint="abc",
    split="leave-last-n",
    split_reason="asked for",
    protocol="full ranking",
    seed=0,
    commit=None,
    versions={"numpy": "2"},
    hardware={"cores": 2, "memory_gib": 7.5},
    settings={"n": 5},
)


@pytest.mark.parametrize("row", [ALS, RERANKED])
def test_a_line_holds_everything_and_comes_back(row: Row) -> None:
    line = json_line(row, CIRCUMSTANCES)
    assert "\n" not in line
    assert "NaN" not in line
    again, circumstances = read_line(line)
    assert circumstances == CIRCUMSTANCES
    assert (again.name, again.n_users, again.notes) == (row.name, row.n_users, row.notes)
    assert again.metrics["ndcg@10"] == row.metrics["ndcg@10"]
    assert set(again.metrics) == set(row.metrics)
    assert again.differences == row.differences
    assert again.latency_ms == row.latency_ms
    assert json_line(again, circumstances) == line


def test_keys_are_stable() -> None:
    record = json.loads(json_line(RERANKED, CIRCUMSTANCES))
    assert list(record) == ["circumstances", "format", "row"]
    assert list(record["row"]) == [
        *("baseline", "differences", "group", "latency_ms", "metrics", "n_users", "name", "notes")
    ]
    assert list(record["circumstances"]) == [
        *("commit", "dataset", "fingerprint", "hardware", "protocol", "seed", "settings", "split"),
        *("split_reason", "versions"),
    ]
    assert list(record["row"]["metrics"]["ndcg@10"]) == ["high", "low", "mean", "n_users"]
    coverage = json.loads(json_line(ALS, CIRCUMSTANCES))["row"]["metrics"]["coverage@10"]
    assert coverage == {"mean": 0.5, "low": None, "high": None, "n_users": 943}


def test_the_table_shows_what_there_is() -> None:
    header, lines = table_cells([ALS, RERANKED], ["ndcg@10", "coverage@10"])
    assert header[:4] == ["system", "users", "ndcg@10", "coverage@10"]
    assert header[4:] == ["ndcg@10 − ALS", "p50 / p95 / p99 ms"]
    assert lines[0] == ["ALS", "943", "0.1186 [0.1100, 0.1270]", "0.5000", "–", "–"]
    assert lines[1][2:4] == ["0.1700 [0.1600, 0.1800]", "–"]
    assert lines[1][4:] == ["+0.0500 [+0.0400, +0.0600]", "31.2 / 40.0 / 55.5"]
    header, lines = table_cells([ALS], ["ndcg@10"], intervals=False)
    assert header == ["system", "users", "ndcg@10"]
    assert lines == [["ALS", "943", "0.1186"]]


def test_groups_get_a_column_where_there_are_several() -> None:
    new = Row("ALS", "new", 12, ALS.metrics)
    assert table_cells([ALS, new], ["ndcg@10"])[0][1] == "users are"
    assert [line[1] for line in table_cells([ALS, new], ["ndcg@10"])[1]] == ["all", "new"]


def test_markdown_is_aligned() -> None:
    text = markdown_table([ALS, RERANKED], ["ndcg@10"])
    lines = text.splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert all(line.startswith("| ") and line.endswith(" |") for line in lines)
    assert set(lines[1]) == set("| -")


@pytest.mark.parametrize(
    ("line", "message"),
    [("", "expected"), ("[]", "expected"), ('{"a": 1}', "expected"), ("{", "expected")],
)
def test_other_lines_are_refused(line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_line(line)


def test_another_format_is_refused() -> None:
    line = json_line(ALS, CIRCUMSTANCES).replace('"format": 1', '"format": 9')
    with pytest.raises(InputError, match="format 1 were expected, got 9"):
        read_line(line)
