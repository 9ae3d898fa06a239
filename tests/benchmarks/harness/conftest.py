from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import benchmarks.__main__ as face
from benchmarks import commands
from benchmarks.data.datasets import own_data_set
from benchmarks.harness.cells import Plan
from benchmarks.harness.records import Records
from benchmarks.harness.running import Run
from benchmarks.harness.users import UserResults
from tests.benchmarks.toys import Toy, write_tables

Runs = Callable[..., Run]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """The toy suite, its tables in ``tables``, and what it keeps in ``cache``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_tables(tmp_path / "tables")
    toy = Toy(tmp_path)
    for module in (face, commands):
        monkeypatch.setattr(module, "SUITES", {"toy": toy.suite})
    return toy


@pytest.fixture
def runs(toy: Toy, tmp_path: Path) -> Runs:
    """Return what makes a run of the toy over its tables, its records in ``rows.jsonl``."""

    def run(*, of: Toy = toy, again: bool = False, quick: bool = False, **options: int) -> Run:
        plan = Plan(own_data_set(tmp_path / "tables"), options={"times": 1, **options}, quick=quick)
        records = Records(tmp_path / "rows.jsonl")
        return Run(of.suite, plan, UserResults(tmp_path / "users"), records, again=again)

    return run
