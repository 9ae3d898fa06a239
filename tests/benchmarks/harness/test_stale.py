"""Rows that no longer hold are named, with what has changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

import benchmarks.__main__ as face
from benchmarks import commands
from benchmarks.data.datasets import DataSet, own_data_set
from benchmarks.harness import exercised as exercising
from benchmarks.harness import fingerprints
from benchmarks.harness.cells import Cell, Plan, Suite
from benchmarks.harness.exercised import HARNESS
from benchmarks.harness.records import Records
from benchmarks.harness.stale import standings
from tests.benchmarks.harness.conftest import Runs
from tests.benchmarks.toys import FIRST, SECOND, SOURCE, THIRD, Toy
from twofold.evaluation.hardware import library_versions
from twofold.indexing.errors import InputError

Reasons = Callable[..., dict[str, tuple[str, ...]]]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with the code that the toy exercises."""
    root = tmp_path / "root"
    for name in (SOURCE, HARNESS):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x = 1\n")
    monkeypatch.setattr(fingerprints, "ROOT", root)
    return root


@pytest.fixture
def reasons(toy: Toy, runs: Runs, root: Path, tmp_path: Path) -> Reasons:
    """Record all cells; return what tells why each holds no more."""
    list(runs().rows())

    def found(
        suite: Suite = toy.suite, find: Callable[[str], DataSet] | None = None
    ) -> dict[str, tuple[str, ...]]:
        def own(name: str) -> DataSet:
            assert name == "tables"
            return own_data_set(tmp_path / "tables")

        records = Records(tmp_path / "rows.jsonl")
        return {one.cell: one.reasons for one in standings(suite, records, find or own)}

    return found


def test_what_was_just_measured_holds(reasons: Reasons, root: Path) -> None:
    assert reasons() == {FIRST: (), SECOND: (), THIRD: ()}
    (root / SOURCE).write_text('"""A word on it."""\n\nx = 1  # why\n')
    assert reasons() == {FIRST: (), SECOND: (), THIRD: ()}


def test_code_that_changes_is_named_by_those_that_exercise_it(reasons: Reasons, root: Path) -> None:
    (root / SOURCE).write_text("x = 2\n")
    code = f"code of {SOURCE}"
    assert reasons() == {FIRST: (code,), SECOND: (code, "'first' must run anew"), THIRD: ()}
    (root / SOURCE).write_text("x = 1\n")
    (root / HARNESS).write_text("x = 2\n")
    assert reasons()[THIRD] == (f"code of {HARNESS}",)


def test_settings_that_change_are_told(reasons: Reasons, toy: Toy) -> None:
    told = reasons(replace(toy, also=1).suite)
    assert told == {FIRST: ("settings",), SECOND: ("'first' must run anew",), THIRD: ()}


@pytest.mark.parametrize(
    ("change", "third"),
    [
        ("stage_one.max_history=3", ()),
        ("stage_one.repeat=true", ("settings",)),
        ("seed=7", ("settings",)),
    ],
)
def test_settings_that_a_cell_does_not_read_leave_it_standing(
    reasons: Reasons, toy: Toy, change: str, third: tuple[str, ...]
) -> None:
    told = reasons(replace(toy, overrides=(change,)).suite)
    assert told[FIRST] == ("settings",)
    assert told[THIRD] == third


def test_a_setting_that_there_is_not_cannot_be_read(toy: Toy, runs: Runs) -> None:
    plan = runs().plan
    cell = replace(toy.cells(plan)[0], reads=("stage_one.repeats",))
    with pytest.raises(InputError, match=r"'first' reads the setting stage_one\.repeats"):
        exercising.exercised("toy", plan, {FIRST: cell})


def test_cells_that_exercise_the_same_are_told_apart(toy: Toy, runs: Runs) -> None:
    plan = runs().plan
    third = toy.cells(plan)[2]
    both = exercising.exercised("toy", plan, {THIRD: third, "twin": replace(third, name="twin")})
    assert both[THIRD].fingerprint != both["twin"].fingerprint


def test_data_that_changes_is_told(reasons: Reasons, tmp_path: Path) -> None:
    file = tmp_path / "tables" / "interactions.parquet"
    pl.read_parquet(file).head(-1).write_parquet(file)
    told = reasons()
    assert told[FIRST] == told[THIRD] == ("data",)
    assert told[SECOND] == ("data", "'first' must run anew")


def test_versions_that_change_are_told(reasons: Reasons, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {**library_versions(), "numpy": "0.1", "other": "7"}
    monkeypatch.setattr(exercising, "library_versions", lambda: versions)
    numpy = library_versions()["numpy"]
    assert reasons()[THIRD] == (f"numpy {numpy} -> 0.1", "other none -> 7")


def test_cells_that_are_gone_and_data_that_is_not_here(reasons: Reasons, toy: Toy) -> None:
    fewer = replace(toy.suite, cells=lambda plan: toy.cells(plan)[:2])
    assert reasons(fewer)[THIRD] == ("the suite has no such cell any more",)

    def nowhere(name: str) -> DataSet:
        raise InputError(f"no folder of {name}")

    assert reasons(find=nowhere)[FIRST] == ("cannot be told: no folder of tables",)


def test_the_artefact_that_a_row_began_with_may_be_elsewhere(reasons: Reasons, toy: Toy) -> None:
    def elsewhere(plan: Plan) -> list[Cell]:
        gone = plan.settings("ranker.training.init_from=gone.twofold")
        return [replace(one, settings=gone) for one in toy.cells(plan)]

    told = reasons(replace(toy.suite, cells=elsewhere))[FIRST]
    assert told[0].startswith("cannot be told: gone.twofold does not exist")


def test_the_latest_row_counts_and_old_ones_are_told(
    reasons: Reasons, runs: Runs, root: Path, tmp_path: Path
) -> None:
    (root / SOURCE).write_text("x = 2\n")
    list(runs().rows())
    assert reasons() == {FIRST: (), SECOND: (), THIRD: ()}
    Records(tmp_path / "rows.jsonl").append([{"dataset": "elsewhere", "ndcg": 1.0}])
    assert reasons()[""] == ("recorded without what it exercised",)


def test_the_command_names_what_is_stale(
    reasons: Reasons,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(commands, "records_of", lambda _: Records(tmp_path / "rows.jsonl"))
    monkeypatch.setattr(commands, "data_set", lambda _: own_data_set(tmp_path / "tables"))
    assert face.main(["stale"]) == 0
    assert capsys.readouterr().out == ""
    (root / SOURCE).write_text("x = 2\n")
    assert face.main(["stale", "toy"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"toy: tables: first: code of {SOURCE}"
    assert second == f"toy: tables: second: code of {SOURCE}; 'first' must run anew"


def test_the_list_tells_which_cells_stand(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs()
    list(run.rows([THIRD]))
    monkeypatch.setattr(commands, "records_of", lambda _: Records(tmp_path / "rows.jsonl"))
    monkeypatch.setattr(commands, "data_set", lambda _: own_data_set(tmp_path / "tables"))
    assert face.main(["list"]) == 0
    assert capsys.readouterr().out.splitlines() == ["toy: nothing", "    movielens-100k"]
    assert face.main(["list", "toy"]) == 0
    states = [line.rsplit(": ", 2)[1:] for line in capsys.readouterr().out.splitlines()]
    assert states == [
        [run.fingerprint(FIRST), "to run"],
        [run.fingerprint(SECOND), "to run"],
        [run.fingerprint(THIRD), "recorded"],
    ]


def test_rows_of_the_first_form_give_way_to_measured_cells(
    reasons: Reasons, tmp_path: Path
) -> None:
    old = {"format": 1, "row": {"name": "x"}, "circumstances": {"dataset": "elsewhere"}}
    here = {**old, "circumstances": {"dataset": "tables"}}
    Records(tmp_path / "rows.jsonl").append([old, here, {"dataset": "tables", "cell": FIRST}])
    assert reasons() == {
        FIRST: (),
        SECOND: (),
        THIRD: (),
        "": ("recorded without what it exercised",),
    }
