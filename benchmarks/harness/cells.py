"""What a suite is: cells that are measured one by one, each finished before the next begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from benchmarks.data.datasets import DataSet
from twofold.indexing.dataset import Dataset, load_dataset
from twofold.indexing.errors import InputError
from twofold.indexing.progress import Progress, Silent
from twofold.settings import Settings, load_settings

Row = dict[str, Any]


class Place(Protocol):
    """What a cell finds while it is measured."""

    @property
    def fingerprint(self) -> str:
        """The cell's own fingerprint."""
        ...

    @property
    def folder(self) -> Path:
        """Where a cell may keep what it goes on from after it was cut off; gone once it is done."""
        ...

    def rows(self, cell: str) -> list[Row]:
        """Return the rows of a cell that this one needs."""
        ...

    def kept(self, cell: str) -> Mapping[str, npt.NDArray[Any]]:
        """Return the arrays that a cell which this one needs has kept."""
        ...

    def keep(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Keep arrays, such as every user's lists, so that a new metric needs no new run."""
        ...


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Parameters
    ----------
    name
        Distinct within a suite.
    measure
        Returns rows: JSON values by name.
    settings
        What it is measured under; the harness limits threads to theirs.
    also
        What else it depends on: JSON values, such as a peer's settings.
    sources
        Files and folders of code that it exercises, relative to the root.
    needs
        Names of cells that must be finished before, and whose fingerprints count in its own.
    keeps
        Whether it keeps arrays.
    reads
        The settings that it depends on, sections such as ``data`` or single ones such as
        ``stage_one.repeat``; empty for all. A setting of no concern makes no row stale.
    """

    name: str
    measure: Callable[[Place], Iterable[Row]]
    settings: Settings
    also: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    keeps: bool = False
    reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Option:
    """What one suite can be asked beside what all can.

    Parameters
    ----------
    name
        ``items`` for ``--items``.
    default
        Its value otherwise; ``False`` for what is either asked for or not.
    help
        What it does.
    kind
        Turns the command line's text into a value.
    """

    name: str
    default: Any
    help: str
    kind: Callable[[str], Any] = str


@dataclass(frozen=True)
class Plan:
    """A suite's data, settings and options: enough to tell all its cells before any is run.

    Parameters
    ----------
    data
        The data set.
    overrides
        ``section.key=value`` beside the data set's own settings.
    options
        Values of the suite's options.
    quick
        Whether everything is asked less; the suite is over in a minute, and its numbers say little.
    progress
        Told of every step.
    """

    data: DataSet
    overrides: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    quick: bool = False
    progress: Progress = field(default_factory=Silent)

    def settings(self, *more: str) -> Settings:
        """Return the data set's settings under the overrides and `more`."""
        return load_settings(None, (*self.data.settings, *self.overrides, *more))

    @cached_property
    def dataset(self) -> Dataset:
        """The tables, read once."""
        settings = self.settings()
        return load_dataset(
            self.data.interactions,
            self.data.items,
            settings.data,
            seed=settings.seed,
            progress=self.progress,
        )


@dataclass(frozen=True)
class Suite:
    """Cells that belong together.

    Parameters
    ----------
    name
        As the command line takes it.
    about
        What it measures, in a sentence.
    cells
        Returns the cells of a plan, without measuring or building anything.
    datasets
        Names of data sets that it runs on where none is named.
    options
        What else it can be asked.
    """

    name: str
    about: str
    cells: Callable[[Plan], Sequence[Cell]]
    datasets: tuple[str, ...]
    options: tuple[Option, ...] = ()

    def named(self, plan: Plan) -> dict[str, Cell]:
        """Return all cells of a plan by name, each after those that it needs.

        Raises
        ------
        ValueError
            If two cells share a name, or one needs a cell that does not stand before it.
        """
        out: dict[str, Cell] = {}
        for cell in self.cells(plan):
            missing = [name for name in cell.needs if name not in out]
            if cell.name in out or missing:
                raise ValueError(
                    f"suite {self.name}: cell '{cell.name}' stands twice, or before what it needs: "
                    f"{', '.join(missing)}"
                )
            out[cell.name] = cell
        return out


def chosen(cells: Mapping[str, Cell], names: Sequence[str]) -> list[str]:
    """Return which cells to run, in their order: those named and what they need; all for none.

    Raises
    ------
    InputError
        If a name is none of the cells'.
    """
    unknown = [name for name in names if name not in cells]
    if unknown:
        raise InputError(
            f"no cell '{unknown[0]}'; there are {'; '.join(cells)} (with semicolons between)"
        )
    wanted = set(names or cells)
    for name in reversed(list(cells)):
        if name in wanted:
            wanted.update(cells[name].needs)
    return [name for name in cells if name in wanted]
