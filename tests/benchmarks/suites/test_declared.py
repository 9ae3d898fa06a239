"""What all suites have in common: cells that are told without being measured."""

from __future__ import annotations

import pytest

from benchmarks.data.datasets import DATA_SETS, DataSet
from benchmarks.harness.fingerprints import ROOT
from benchmarks.suites import SUITES
from tests.benchmarks.measuring import named_files, run_of

# Cells whose rows others are told beside.
NEEDED = {
    "als": {"test": 16},
    "serving": {"budget": 1, "8 clients": 1},
    "layers": {"compared": 5, "3 layers": 1, "item states int8": 1},
}


@pytest.mark.parametrize("name", list(SUITES))
def test_cells_are_told_and_their_code_is_there(name: str, small_data: DataSet) -> None:
    suite = SUITES[name]
    assert suite.name == name
    assert suite.about
    assert set(suite.datasets) <= set(DATA_SETS)
    whole, quick = run_of(suite, small_data), run_of(suite, small_data, quick=True)
    assert whole.missing()
    assert 1 <= len(quick.missing()) <= len(whole.missing())
    # Nothing that was asked less stands for what was not.
    assert {quick.fingerprint(cell) for cell in quick.missing()}.isdisjoint(
        whole.fingerprint(cell) for cell in whole.missing()
    )
    files = named_files(whole)
    # Code that measures counts as well; a suite whose file only declares names its stands.
    told = {file.relative_to(ROOT).as_posix() for file in files}
    assert any(one.startswith(("benchmarks/suites/", "benchmarks/stands/")) for one in told)
    assert all(file.exists() for file in files)


@pytest.mark.parametrize("name", list(NEEDED))
def test_what_is_told_beside_others_needs_them(name: str, small_data: DataSet) -> None:
    cells = run_of(SUITES[name], small_data)._cells
    assert {cell: len(cells[cell].needs) for cell in NEEDED[name]} == NEEDED[name]


def test_options_make_other_cells(small_data: DataSet) -> None:
    layers, retrieval = SUITES["layers"], SUITES["retrieval"]
    one, two = (run_of(layers, small_data, seeds=seeds).missing() for seeds in (1, 2))
    assert set(two) - set(one) == {"all joint, seed 1", "1 joint, seed 1"}
    real, grown = (run_of(retrieval, small_data, items=items).missing() for items in (None, 99))
    # Nothing is held out of a grown catalogue.
    assert set(real) - set(grown) == {"recall", "slices", "diversity", "cold-items"}


def test_a_change_of_the_ranker_leaves_rows_of_indexes_standing(small_data: DataSet) -> None:
    plain = run_of(suite := SUITES["retrieval"], small_data)
    deeper = run_of(suite, small_data, "ranker.joint_layers=2")
    stale = {
        cell for cell in plain.missing() if plain.fingerprint(cell) != deeper.fingerprint(cell)
    }
    assert stale == {"batch", "recall", "slices", "diversity", "cold-items"}
    coarser = run_of(suite, small_data, "index.recall_target=0.9")
    assert all(plain.fingerprint(cell) != coarser.fingerprint(cell) for cell in plain.missing())
