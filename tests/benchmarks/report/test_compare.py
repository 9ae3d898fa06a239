from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.__main__ import main
from benchmarks.harness.users import UserResults
from benchmarks.report.compare import compare_files, compare_systems, is_system
from benchmarks.stands.kept_lists import arrays_of
from tests.benchmarks.report.rows import around, old_quality, pair, quality, told, write
from twofold.evaluation.metrics import Truth
from twofold.evaluation.quality import Ranked
from twofold.indexing.errors import InputError

NAME = "quality · movielens-100k · twofold · reranked · all · quality · leave-last-5"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    a = [
        quality("twofold", "reranked", 0.30),
        quality("EASE", "EASE", 0.20),
        pair("EASE", 0.10, 0.01),
        told("endtoend", "clients 8", p50_ms=40.0, p50_ms_low=39.0, p50_ms_high=41.0, clients=8),
    ]
    b = [
        quality("twofold", "reranked", 0.33),
        quality("SASRec", "SASRec", 0.20),
        pair("EASE", 0.105, 0.01),
        told("endtoend", "clients 8", p50_ms=40.5, p50_ms_low=39.5, p50_ms_high=41.5, clients=8),
    ]
    return write(tmp_path / "a.jsonl", a), write(tmp_path / "b.jsonl", b)


def test_numbers_of_the_same_rows_stand_side_by_side(files: tuple[Path, Path]) -> None:
    sides = {(one.row, one.number): one for one in compare_files(*files)}
    one = sides[NAME, "ndcg@10"]
    assert one.a is not None
    assert one.b is not None
    assert (one.a.mean, one.b.mean) == (0.30, 0.33)
    assert one.a.low == pytest.approx(0.29)
    assert one.beyond is True
    served = next(one for (row, _), one in sides.items() if "clients 8" in row)
    assert served.number == "p50_ms"
    assert served.beyond is False
    gap = next(one for (_, number), one in sides.items() if number == "difference")
    assert (gap.a is not None, gap.b is not None, gap.beyond) == (True, True, False)
    plain = sides[NAME, "n_users"]
    assert plain.beyond is None


def test_the_table_says_what_stands_in_one_file_only(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *map(str, files)]) == 0
    out = capsys.readouterr().out
    assert "0.3000 [0.2900, 0.3100]" in out
    assert "0.3300 [0.3200, 0.3400]" in out
    assert "+0.0300  apart" in out
    assert "only in A: quality · movielens-100k · EASE" in out
    assert "only in B: quality · movielens-100k · SASRec" in out


def test_json_has_a_line_a_number(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *map(str, files), "--json", "--metric", "ndcg@10"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["number"] for line in lines] == ["ndcg@10"] * 3
    assert lines[0]["row"] == NAME
    assert lines[0]["a"]["mean"] == 0.30
    assert lines[0]["beyond"] is True
    assert {line["b"] is None for line in lines} == {True, False}


def test_rows_of_both_forms_match(tmp_path: Path) -> None:
    old = write(tmp_path / "old.jsonl", [old_quality("reranked", 0.25, 0.0)])
    new = write(tmp_path / "new.jsonl", [quality("twofold", "reranked", 0.30)])
    one = next(one for one in compare_files(old, new) if one.number == "ndcg@10")
    assert one.row == NAME
    assert one.beyond is True


def test_quick_rows_match_only_quick_ones(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", [quality("twofold", "reranked", 0.3)])
    b = write(tmp_path / "b.jsonl", [quality("twofold", "reranked", 0.3, quick=True)])
    assert all(one.a is None or one.b is None for one in compare_files(a, b))


def lists(*, users: list[int], hits: list[int], name: str) -> dict[str, npt.NDArray[Any]]:
    """Return kept lists of items 0 1 2 in which each user's held-out item has a rank from 1."""
    items = np.tile(np.array([0, 1, 2], dtype=np.int64), (len(users), 1))
    for row, rank in enumerate(hits):
        items[row] = np.roll(items[row], rank - 1)
    n = len(users)
    truth = Truth(np.arange(n + 1, dtype=np.int64), np.zeros(n, dtype=np.int64))
    return arrays_of({name: Ranked(items, None)}, truth, np.array(users, dtype=np.int64))


@pytest.fixture
def kept(tmp_path: Path) -> UserResults:
    rows = [quality(name, name, 0.2) for name in ("reranked", "Alone", "Fewer", "Gone", "Bare")]
    write(tmp_path / "quality.jsonl", rows)
    users = UserResults(tmp_path / "users")
    n = 20
    everybody = list(range(n))
    users.save("quality-reranked", lists(users=everybody, hits=[1] * n, name="reranked"))
    alone = lists(users=everybody[::-1], hits=[1] * 5 + [2] * 15, name="Alone")
    users.save("quality-Alone", alone)
    users.save("quality-Fewer", lists(users=everybody[:-1], hits=[1] * (n - 1), name="Fewer"))
    users.save("quality-Bare", {"users": np.arange(n)})
    return users


def test_systems_are_compared_user_by_user(kept: UserResults, tmp_path: Path) -> None:
    seen: list[npt.NDArray[np.float64]] = []

    def test(differences: npt.NDArray[np.float64], seed: int) -> float:
        seen.append(differences)
        return 0.25

    names = "movielens-100k/reranked", "movielens-100k/Alone"
    found = compare_systems(*names, "mrr@3", users=kept, results=tmp_path, test=test)
    assert found.mean_a == 1.0
    assert found.mean_b == pytest.approx((5 + 15 / 2) / 20)
    assert found.gap.mean == pytest.approx(15 / 40)
    assert 0 < found.gap.low < found.gap.mean < found.gap.high
    assert found.p == 0.25
    # The lists of Alone stand in the other order of users.
    np.testing.assert_array_equal(seen[0], [0.5] * 15 + [0.0] * 5)
    assert compare_systems(*names, "mrr@3", users=kept, results=tmp_path).p < 0.001


@pytest.mark.parametrize(
    ("a", "b", "metric", "told"),
    [
        ("movielens-100k/reranked", "movielens-100k/Nobody", "ndcg@3", "Nobody.*reranked, Alone"),
        ("movielens-100k/reranked", "movielens-100k/Gone", "ndcg@3", "not on this machine.*Gone"),
        ("movielens-100k/reranked", "movielens-100k/Bare", "ndcg@3", "without truth_indptr"),
        ("movielens-100k/reranked", "movielens-100k/Fewer", "ndcg@3", r"same users \(20 and 19"),
        ("movielens-100k/reranked", "ifdb/Alone", "ndcg@3", "one data set"),
        ("movielens-100k/reranked", "reranked", "ndcg@3", "DATASET/SYSTEM"),
        ("movielens-100k/reranked", "movielens-100k/Alone", "ndcg@4", "beyond the 3 ranks"),
        ("movielens-100k/reranked", "movielens-100k/Alone", "ndcg", "no metric"),
    ],
)
def test_what_cannot_be_compared_says_what_to_do(
    kept: UserResults, tmp_path: Path, a: str, b: str, metric: str, told: str
) -> None:
    with pytest.raises(InputError, match=told):
        compare_systems(a, b, metric, users=kept, results=tmp_path)


def test_other_held_out_items_are_no_comparison(kept: UserResults, tmp_path: Path) -> None:
    other = lists(users=list(range(20)), hits=[1] * 20, name="Gone")
    other["truth_items"][3] = 1
    kept.save("quality-Gone", other)
    names = "movielens-100k/reranked", "movielens-100k/Gone"
    with pytest.raises(InputError, match="other held-out items"):
        compare_systems(*names, "ndcg@3", users=kept, results=tmp_path)


def test_a_file_in_a_folder_is_no_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_system("movielens-100k/reranked")
    (tmp_path / "movielens-100k").mkdir()
    write(tmp_path / "movielens-100k" / "reranked", [])
    assert not is_system("movielens-100k/reranked")
    assert not is_system("other/reranked")


@pytest.mark.parametrize(
    "arguments",
    [
        ["none.jsonl", "none.jsonl"],
        ["{rows}", "{odd}"],
        ["{rows}", "{broken}"],
        ["{rows}", "{rows}", "--metric", "nothing"],
        ["movielens-100k/reranked", "movielens-100k/none of them"],
    ],
)
def test_wrong_inputs_exit_with_2(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.jsonl").write_text("{\n", encoding="utf-8")
    names = {
        "rows": write(tmp_path / "rows.jsonl", [told("rerank", "", number=around(1.0))]),
        "odd": write(tmp_path / "odd.jsonl", [{"no": "row"}]),
        "broken": tmp_path / "broken.jsonl",
    }
    assert main(["compare", *(one.format(**names) for one in arguments)]) == 2
    assert capsys.readouterr().err.startswith("benchmarks: ")
