"""Runs the cells of a suite: each finished one is kept, and is not run again while it holds."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy.typing as npt

from benchmarks.harness.cells import Cell, Plan, Row, Suite, chosen
from benchmarks.harness.exercised import exercised, own_settings
from benchmarks.harness.memory import forget_peak, peak_mb
from benchmarks.harness.records import Records
from benchmarks.harness.users import UserResults
from twofold.evaluation.hardware import describe_hardware, library_versions, source_commit
from twofold.evaluation.report import finite
from twofold.threads import torch_threads

LIMIT_S = 600.0
log = logging.getLogger("twofold.benchmarks")


@dataclass
class Run:
    """One run of a suite over a plan.

    Parameters
    ----------
    suite, plan
        What is measured, and on what.
    records
        Where finished cells stand and are appended; ``None`` keeps nothing but what this run
        measured itself.
    users
        Where per-user results are kept.
    command
        The command line that would repeat it.
    again
        Whether cells are run that stand recorded.
    """

    suite: Suite
    plan: Plan
    users: UserResults
    records: Records | None = None
    command: str = ""
    again: bool = False
    started: str = field(
        default_factory=lambda: datetime.now(UTC).isoformat(timespec="microseconds")
    )

    def __post_init__(self) -> None:
        self._cells = self.suite.named(self.plan)
        self._exercised = exercised(self.suite.name, self.plan, self._cells)
        self._rows = {} if self.records is None else self.records.by_fingerprint()

    def fingerprint(self, cell: str) -> str:
        """Return the fingerprint of a cell as things stand."""
        return self._exercised[cell].fingerprint

    def missing(self, names: Sequence[str] = ()) -> list[str]:
        """Return the cells that must be run for those named, in order; for all where none is.

        A cell whose rows stand is run again only for the arrays it should have kept, and that only
        where a cell that is missing needs them.
        """
        wanted = chosen(self._cells, names)
        asked = set(names or wanted)
        out: list[str] = []
        for name in reversed(wanted):
            cell, fingerprint = self._cells[name], self.fingerprint(name)
            needed = any(name in self._cells[other].needs for other in out)
            arrays = cell.keeps and needed and not self.users.has(fingerprint)
            rows = fingerprint not in self._rows and (needed or name in asked)
            if rows or arrays or (self.again and name in asked):
                out.append(name)
        return out[::-1]

    def rows(self, names: Sequence[str] = ()) -> Iterator[Row]:
        """Yield the rows of each missing cell once all of them are measured and appended."""
        for name in self.missing(names):
            yield from self._cell(self._cells[name])

    def _cell(self, cell: Cell) -> list[Row]:
        """Measure one cell, and keep its rows."""
        import torch

        fingerprint = self.fingerprint(cell.name)
        place = _Place(self, cell, fingerprint)
        forget_peak()
        begun = time.perf_counter()
        with (
            self.plan.progress.step(f"{self.suite.name}: {cell.name}"),
            torch_threads(cell.settings.threads),
        ):
            measured = [dict(row) for row in cell.measure(place)]
            threads = torch.get_num_threads()
        seconds = time.perf_counter() - begun
        if seconds > LIMIT_S:
            log.warning("cell '%s' took %.0f s, over %.0f", cell.name, seconds, LIMIT_S)
        about = {
            "suite": self.suite.name,
            "dataset": self.plan.data.name,
            "cell": cell.name,
            "quick": self.plan.quick,
        }
        told = {
            "n_rows": len(measured),
            "cell_seconds": seconds,
            "cell_peak_mb": peak_mb(),
            "run": self.started,
            "command": self.command,
            "protocol": [self.plan.data.protocol, self.plan.data.n_labels],
            "overrides": list(self.plan.overrides),
            "options": dict(self.plan.options),
            "settings": own_settings(cell.settings) | dict(cell.also),
            "seed": cell.settings.seed,
            "threads": threads,
            "hardware": describe_hardware(threads=threads),
            "versions": library_versions(),
            "commit": source_commit(),
            "fingerprint": fingerprint,
            "exercised": self._exercised[cell.name].recorded(),
        }
        rows = [finite({**about, **row, **told}) for row in measured]
        if self.records is not None:
            self.records.append(rows)
        self._rows[fingerprint] = rows
        if place.folder.exists():
            shutil.rmtree(place.folder)
        return rows

    def found(self, cell: str) -> list[Row]:
        """Return the rows of a cell that is finished."""
        return self._rows[self.fingerprint(cell)]


@dataclass(frozen=True)
class _Place:
    """What a cell finds; see :class:`benchmarks.harness.cells.Place`."""

    run: Run
    cell: Cell
    fingerprint: str

    @property
    def folder(self) -> Path:
        return self.run.users.work(self.fingerprint)

    def rows(self, cell: str) -> list[Row]:
        return self.run.found(self._needed(cell))

    def kept(self, cell: str) -> Mapping[str, npt.NDArray[Any]]:
        return self.run.users.load(self.run.fingerprint(self._needed(cell)))

    def keep(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        if not self.cell.keeps:
            raise ValueError(f"cell '{self.cell.name}' keeps arrays, and does not say so")
        self.run.users.save(self.fingerprint, arrays)

    def _needed(self, cell: str) -> str:
        if cell not in self.cell.needs:
            raise ValueError(f"cell '{self.cell.name}' reads '{cell}', and does not need it")
        return cell
