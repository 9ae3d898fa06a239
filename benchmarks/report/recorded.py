"""The rows that a report is made of, and which of them no longer hold."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.harness.records import RESULTS, Records
from benchmarks.harness.stale import Standing
from benchmarks.report.quality_rows import QualityRun, read_quality

Row = Mapping[str, Any]
LONG = 60  # letters
PEERS = ("faiss", "hnswlib", "usearch")
"""Cells of the suite ``retrieval`` in which other indexes take turns with twofold's."""


@dataclass(frozen=True)
class Recorded:
    """A folder of recorded rows.

    Parameters
    ----------
    folder
        Holds a file a suite, ``quality.jsonl`` and so on.
    standings
        How cells stand, where that was looked at; ``None`` where it was not.
    """

    folder: Path = RESULTS
    standings: tuple[Standing, ...] | None = None

    @property
    def quality(self) -> list[QualityRun]:
        """The runs of the suite ``quality``."""
        return self.runs("quality")

    def runs(self, suite: str) -> list[QualityRun]:
        """Return the runs of a suite that measures lists; its file is read once."""
        if suite not in self._read:
            self._read[suite] = read_quality(self.folder / f"{suite}.jsonl")
        return self._read[suite]

    @cached_property
    def _read(self) -> dict[str, list[QualityRun]]:
        return {}

    def latest(self, suite: str, key: Callable[[Row], Hashable]) -> list[Row]:
        """Return the rows of a suite that belong to the latest run of their key; no quick ones."""
        found: dict[Hashable, list[Row]] = {}
        for row in Records(self.folder / f"{suite}.jsonl").rows():
            if row.get("quick"):
                continue
            mine = found.setdefault(key(row), [])
            if mine and mine[0]["run"] != row["run"]:
                mine.clear()
            mine.append(row)
        return [row for rows in found.values() for row in rows]

    def indexes(self) -> list[Row]:
        """Return the rows of the suite ``retrieval``, the latest of each catalogue and cell."""
        return self.latest(
            "retrieval", lambda row: (row["dataset"], row["grown"], row["n_items"], row["cell"])
        )

    def peers_of_indexes(self) -> list[Row]:
        """Return the rows in which twofold's index took turns with others."""
        return [row for row in self.indexes() if row["cell"] in PEERS]

    def stale(self, suite: str, dataset: str | None = None) -> list[Standing]:
        """Return the cells of a suite that no longer hold."""
        return [
            one
            for one in self.standings or ()
            if one.suite == suite and one.reasons and dataset in (None, one.dataset)
        ]


def command_of(suite: str, told: Row) -> str:
    """Return the command line that measures a row again and records it.

    A long list of cells is left out: all cells are run without it, and recorded ones only if they
    no longer hold.
    """
    given = str(told["command"])
    words = given if given.startswith("python ") else f"python -m benchmarks {suite} {given}"
    split = shlex.split(words)
    if suite == "retrieval" and words != given and "--cells" in split:
        # Rows from before fingerprints had commas between cells.
        at = split.index("--cells") + 1
        split[at] = split[at].replace(",", ";")
        words = shlex.join(split)
    if "--cells" in split and len(split[split.index("--cells") + 1]) > LONG:
        at = split.index("--cells")
        words = shlex.join(split[:at] + split[at + 2 :])
    return words if words.endswith("--record") else f"{words} --record"


def circumstances(rows: Iterable[Row]) -> list[str]:
    """Return commit, machine and date of rows, each once."""
    return list(dict.fromkeys(made_on(r["commit"], r["hardware"], r.get("run", "")) for r in rows))


def made_on(commit: str | None, hardware: Mapping[str, Any], run: str) -> str:
    """Return a commit, a machine and a date in words."""
    where = f"{hardware['cores']} cores of {hardware['cpu']}, {hardware['gpu'] or 'no GPU'}"
    when = run[:10] if run else "date not recorded"
    return f"commit {str(commit or 'not known')[:10]}, {where}, {when}"


def by_dataset(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return rows by their data set, in recorded order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["dataset"], []).append(row)
    return found
