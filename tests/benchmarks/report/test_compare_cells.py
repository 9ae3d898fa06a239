from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.harness.users import UserResults
from benchmarks.report.compare_cells import compare_cells, is_cell
from tests.benchmarks.report.rows import told, write
from twofold.indexing.errors import InputError

WHERE = "training/movielens-100k"


@pytest.fixture
def kept(tmp_path: Path) -> UserResults:
    names = ("default", "LoRA", "LoRA, seed 1", "fewer", "gone")
    rows = [told("training", name) for name in names]
    other = told("training", "default", overrides=["seed=5"], fingerprint="not this one")
    write(tmp_path / "training.jsonl", [*rows, other])
    users, rng = UserResults(tmp_path / "users"), np.random.default_rng(0)
    users.save("training-default", {"ndcg@10": (base := rng.random(50))})
    users.save("training-LoRA", {"ndcg@10": base + 0.1})
    users.save("training-LoRA, seed 1", {"ndcg@10": base + 0.3 + rng.normal(0, 0.01, 50)})
    users.save("training-fewer", {"ndcg@10": base[1:]})
    return users


def test_cells_are_compared_user_by_user(kept: UserResults, tmp_path: Path) -> None:
    one = compare_cells(
        f"{WHERE}/LoRA", f"{WHERE}/default", "ndcg@10", users=kept, results=tmp_path
    )
    assert one.gap.mean == pytest.approx(0.1)
    assert one.gap.low == pytest.approx(one.gap.high)
    assert one.mean_a - one.mean_b == pytest.approx(0.1)
    both = f"{WHERE}/LoRA + LoRA, seed 1"
    mean = compare_cells(both, f"{WHERE}/default", "ndcg@10", users=kept, results=tmp_path)
    assert mean.gap.mean == pytest.approx(0.2, abs=0.01)
    assert mean.gap.low < mean.gap.mean < mean.gap.high
    assert mean.p < 0.001


@pytest.mark.parametrize(
    ("a", "b", "metric", "message"),
    [
        (f"{WHERE}/LoRA", f"{WHERE}/nothing", "ndcg@10", "no cell 'nothing'.*default, LoRA"),
        (f"{WHERE}/LoRA", f"{WHERE}/gone", "ndcg@10", "not on this machine.*--cells 'gone'"),
        (f"{WHERE}/LoRA", f"{WHERE}/default", "mrr@10", "mrr@10 of 'LoRA' is not on"),
        (f"{WHERE}/LoRA", f"{WHERE}/fewer", "ndcg@10", r"the same users \(50 and 49\)"),
        (f"{WHERE}/LoRA", "training/ifdb/LoRA", "ndcg@10", "one suite and data set"),
        (f"{WHERE}/LoRA", "movielens-100k/LoRA", "ndcg@10", "no SUITE/DATASET/CELL"),
    ],
)
def test_what_cannot_be_compared_says_what_to_do(
    kept: UserResults, tmp_path: Path, a: str, b: str, metric: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        compare_cells(a, b, metric, users=kept, results=tmp_path)


def test_a_path_is_no_cell() -> None:
    assert is_cell("layers/movielens-100k/1 joint")
    assert not is_cell("quality/movielens-100k/twofold")
    assert not is_cell("training/rows.jsonl")


def test_a_cell_that_is_not_there_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    names = f"{WHERE}/no such cell", f"{WHERE}/nor this"
    assert main(["compare", *names]) == 2
    assert "no cell 'no such cell'" in capsys.readouterr().err
