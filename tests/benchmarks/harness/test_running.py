"""Cells run once, whatever cuts a run off, and the command line says what it does not do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import benchmarks.__main__ as face
from benchmarks.harness.cells import Cell, Place, Plan, Suite
from benchmarks.harness.fingerprints import ROOT
from benchmarks.harness.records import Records
from tests.benchmarks.harness.conftest import Runs
from tests.benchmarks.toys import FIRST, SECOND, THIRD, Toy

ALL = [FIRST, SECOND, THIRD]


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_rows_tell_what_they_were_measured_under(runs: Runs) -> None:
    run = runs(times=2)
    first, other, second, third = run.rows()
    assert [row["cell"] for row in (first, other, second, third)] == [FIRST, FIRST, SECOND, THIRD]
    assert (second["total"], second["parts"]) == (6.0, [1, 2])
    assert third["nan"] is None
    for row in (first, other, second, third):
        assert row["suite"] == "toy"
        assert row["dataset"] == "tables"
        assert row["options"] == {"times": 2}
        assert row["fingerprint"] == run.fingerprint(row["cell"])
        assert row["cell_seconds"] > 0
        assert row["cell_peak_mb"] > 10
        assert row["n_rows"] == (2 if row["cell"] == FIRST else 1)
        assert {"versions", "hardware", "commit", "run", "threads", "seed"} <= set(row)
    assert first["settings"]["also"] == 0


def test_a_cell_that_stands_is_not_run_again(runs: Runs, toy: Toy) -> None:
    assert len(list(runs().rows([THIRD]))) == 1
    assert len(list(runs().rows())) == 3
    assert list(runs().rows()) == []
    assert toy.measured == [THIRD, FIRST, SECOND]
    assert [row["cell"] for row in runs(again=True).rows([SECOND])] == [SECOND]
    # Other options, and the quick way, are other cells.
    assert runs(times=2).missing() == ALL
    assert runs(quick=True).missing() == ALL


def test_a_run_goes_on_where_it_stopped(runs: Runs, toy: Toy) -> None:
    toy.tell(SECOND, "raise")
    with pytest.raises(RuntimeError, match="as asked"):
        list(runs().rows())
    toy.tell(SECOND, "")
    assert [row["cell"] for row in runs().rows()] == [SECOND, THIRD]
    assert toy.measured == [FIRST, SECOND, SECOND, THIRD]


def test_a_killed_process_leaves_what_was_finished(runs: Runs, toy: Toy, tmp_path: Path) -> None:
    toy.tell(SECOND, "wait")
    file, tables = tmp_path / "rows.jsonl", tmp_path / "tables"
    command = [sys.executable, "-m", "tests.benchmarks.toys", str(tmp_path), "toy"]
    command += ["--data", str(tables), "--json", str(file)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)
    try:
        while SECOND not in toy.measured:
            assert process.poll() is None, "the process ended before it was killed"
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert [row["cell"] for row in rows_of(file)] == [FIRST, FIRST]
    toy.tell(SECOND, "")
    again = ["toy", "--data", str(tables), "--json", str(file)]
    assert face.main(again) == 0
    assert [row["cell"] for row in rows_of(file)] == [FIRST, FIRST, SECOND, THIRD]
    assert toy.measured == [FIRST, SECOND, SECOND, THIRD]


@pytest.mark.parametrize("cut", [1, 0.5])
def test_half_a_line_and_half_a_cell_are_written_again(
    runs: Runs, toy: Toy, tmp_path: Path, cut: float
) -> None:
    list(runs().rows([FIRST]))
    file = tmp_path / "rows.jsonl"
    whole = file.read_bytes()
    last = len(whole) - whole[:-1].rindex(b"\n") - 1
    # All of the second line but its end, or half of it.
    file.write_bytes(whole[: len(whole) - max(1, int(cut * last))])
    assert runs().missing() == ALL
    assert [row["cell"] for row in runs().rows([FIRST])] == [FIRST, FIRST]
    assert [row["part"] for row in rows_of(file)] == [1, 1, 2]
    assert runs().missing() == [SECOND, THIRD]
    kept = Records(file).by_fingerprint()[runs().fingerprint(FIRST)]
    assert [row["part"] for row in kept] == [1, 2]


def test_arrays_that_are_gone_are_made_again_where_they_are_needed(
    runs: Runs, toy: Toy, tmp_path: Path
) -> None:
    list(runs().rows([FIRST]))
    (kept,) = (tmp_path / "users").glob("*.npz")
    kept.unlink()
    assert runs().missing([FIRST]) == []
    assert runs().missing([THIRD]) == [THIRD]
    assert runs().missing([SECOND]) == [FIRST, SECOND]
    list(runs().rows([SECOND]))
    assert toy.measured == [FIRST, FIRST, SECOND]
    kept.unlink()
    assert runs().missing() == [THIRD]


def test_a_cell_that_reads_or_keeps_what_it_does_not_name_is_refused(runs: Runs) -> None:
    def reads(place: Place) -> list[dict[str, Any]]:
        return place.rows("other")

    def keeps(place: Place) -> list[dict[str, Any]]:
        place.keep({})
        return []

    run = runs()
    for measure, told in ((reads, "does not need it"), (keeps, "does not say so")):
        run._cells["bad"] = Cell("bad", measure, run.plan.settings())
        run._exercised["bad"] = run._exercised[THIRD]
        with pytest.raises(ValueError, match=told):
            run._cell(run._cells["bad"])


def test_cells_stand_once_and_after_what_they_need(toy: Toy, runs: Runs) -> None:
    plan = runs().plan
    first, second, third = toy.cells(plan)

    def named(*cells: Cell) -> list[str]:
        def all_of(_: Plan) -> list[Cell]:
            return list(cells)

        return list(Suite("bad", "", all_of, ()).named(plan))

    assert named(first, third, second) == [FIRST, THIRD, SECOND]
    for bad in ((second, first), (first, first)):
        with pytest.raises(ValueError, match="stands twice, or before"):
            named(*bad)


class TestCommandLine:
    """What ``python -m benchmarks`` takes and refuses."""

    @pytest.fixture
    def asked(self, toy: Toy, tmp_path: Path) -> list[str]:
        return ["toy", "--data", str(tmp_path / "tables")]

    def test_own_tables_and_the_command_that_repeats_it(
        self, asked: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert face.main([*asked, "--cells", "third; second", "--times", "3", "--quick"]) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [row["cell"] for row in rows] == [FIRST, FIRST, SECOND, THIRD]
        assert {row["dataset"] for row in rows} == {"tables"}
        assert rows[2]["total"] == 9.0
        told = "python -m benchmarks toy --data DIR --quick --times 3 --cells 'third; second'"
        assert rows[0]["command"] == told

    def test_without_a_file_nothing_is_kept(
        self, asked: list[str], toy: Toy, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for _ in range(2):
            assert face.main([*asked, "--cells", THIRD]) == 0
        assert toy.measured == [THIRD, THIRD]
        assert not list(toy.folder.glob("**/*.jsonl"))

    def test_record_appends_to_the_results(
        self, asked: list[str], toy: Toy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        results = toy.folder / "toy.jsonl"
        monkeypatch.setattr(face, "records_of", lambda _: Records(results))
        for _ in range(2):
            assert face.main([*asked, "--record"]) == 0
        assert len(rows_of(results)) == 4

    @pytest.mark.parametrize(
        ("more", "told"),
        [
            (["--cells", "fourth"], "no cell 'fourth'; there are first; second; third"),
            (["--json", "x.jsonl", "--record"], "give --record or --json FILE, not both"),
            (["movielens-100k"], "not both"),
            (["--set", "no.such=1"], "no"),
        ],
    )
    def test_what_cannot_be_is_told_in_a_line(
        self, asked: list[str], more: list[str], told: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert face.main([*asked, *more]) == 2
        found = capsys.readouterr()
        assert told in found.err
        assert found.err.count("\n") == 1
        assert found.out == ""

    def test_a_folder_without_tables_and_an_unknown_data_set(
        self, tmp_path: Path, toy: Toy, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert face.main(["toy", "--data", str(tmp_path)]) == 2
        assert "one table interactions.parquet" in capsys.readouterr().err
        assert face.main(["toy", "no-such"]) == 2
        assert "no data set 'no-such'" in capsys.readouterr().err

    def test_an_interrupted_run_says_so_and_keeps_its_cells(
        self, asked: list[str], toy: Toy, capsys: pytest.CaptureFixture[str]
    ) -> None:
        toy.tell(SECOND, "interrupt")
        file = toy.folder / "rows.jsonl"
        assert face.main([*asked, "--json", str(file)]) == 130
        assert "interrupted" in capsys.readouterr().err
        assert [row["cell"] for row in rows_of(file)] == [FIRST, FIRST]

    def test_a_wish_that_is_a_flag(self) -> None:
        parser = face._parser()
        assert parser.parse_args(["layers", "--search"]).search is True
        assert parser.parse_args(["layers"]).search is False
        assert parser.parse_args(["retrieval", "--items", "10"]).items == 10
