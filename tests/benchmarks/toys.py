"""A suite that takes no time, and notes what it measures; as a process, one that can be killed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import benchmarks.__main__ as face
from benchmarks.harness.cells import Cell, Option, Place, Plan, Row, Suite
from tests.twofold.small_world import small_tables

SOURCE = "benchmarks/harness/windows.py"
FIRST, SECOND, THIRD = "first", "second", "third"


@dataclass(frozen=True)
class Toy:
    """What the toy's cells do, and where they note it.

    `does` is looked up while a cell is measured: ``raise``, ``interrupt`` or ``wait``.
    """

    folder: Path
    also: int = 0
    overrides: tuple[str, ...] = ()

    @property
    def suite(self) -> Suite:
        option = Option("times", 1, "what values are multiplied by", int)
        return Suite("toy", "nothing", self.cells, ("movielens-100k",), (option,))

    @property
    def measured(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().split() if log.exists() else []

    def tell(self, cell: str, does: str) -> None:
        (self.folder / f"{cell}.does").write_text(does)

    def cells(self, plan: Plan) -> list[Cell]:
        settings, also = plan.settings(*self.overrides), {"also": self.also}
        return [
            Cell(FIRST, self.first, settings, also, (SOURCE,), keeps=True),
            Cell(SECOND, self.second(plan), settings, {}, (SOURCE,), (FIRST,)),
            Cell(THIRD, self.third, settings, reads=("seed", "stage_one.repeat")),
        ]

    def first(self, place: Place) -> Iterator[Row]:
        self._note(FIRST)
        place.keep({"values": np.arange(3.0)})
        yield {"part": 1}
        yield {"part": 2}

    def second(self, plan: Plan) -> _Second:
        return _Second(self, plan)

    def third(self, place: Place) -> Iterator[Row]:
        self._note(THIRD)
        yield {"nan": float("nan")}

    def _note(self, cell: str) -> None:
        with (self.folder / "log").open("a") as out:
            out.write(f"{cell}\n")
        does = self.folder / f"{cell}.does"
        asked = does.read_text() if does.exists() else ""
        if asked == "raise":
            raise RuntimeError("as asked")
        if asked == "interrupt":
            raise KeyboardInterrupt
        if asked == "wait":
            time.sleep(120)


@dataclass(frozen=True)
class _Second:
    toy: Toy
    plan: Plan

    def __call__(self, place: Place) -> Iterator[Row]:
        self.toy._note(SECOND)
        total = place.kept(FIRST)["values"].sum() * self.plan.options.get("times", 1)
        yield {"total": float(total), "parts": [row["part"] for row in place.rows(FIRST)]}


def write_tables(folder: Path) -> None:
    interactions, items = small_tables()
    folder.mkdir(exist_ok=True)
    interactions.write_parquet(folder / "interactions.parquet")
    items.write_parquet(folder / "items.parquet")


if __name__ == "__main__":
    toy = Toy(Path(sys.argv[1]))
    face.SUITES = {"toy": toy.suite}  # type: ignore[attr-defined]  # its own name, not exported
    sys.exit(face.main(sys.argv[2:]))
