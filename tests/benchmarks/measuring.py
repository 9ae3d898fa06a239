"""A suite's rows on the small world, measured by the harness and kept nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.data.datasets import DataSet
from benchmarks.harness.cells import Plan, Suite
from benchmarks.harness.running import Run
from benchmarks.harness.users import user_results


def run_of(
    suite: Suite, data: DataSet, *overrides: str, quick: bool = False, **options: Any
) -> Run:
    """Return a run under options that are the suite's own where none is given."""
    known = {option.name: option.default for option in suite.options}
    return Run(suite, Plan(data, overrides, known | options, quick), user_results())


def rows_of(
    suite: Suite, data: DataSet, *overrides: str, cells: tuple[str, ...] = (), **more: Any
) -> list[dict[str, Any]]:
    """Return the rows of some cells and of what they need; of all for none."""
    return list(run_of(suite, data, *overrides, **more).rows(cells))


def named_files(run: Run) -> list[Path]:
    """Return the files and folders of code that a run's cells exercise, by path."""
    from benchmarks.harness.fingerprints import ROOT

    return [ROOT / name for cell in run._cells.values() for name in cell.sources]
