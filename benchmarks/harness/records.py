"""The recorded rows of the suites: appended as cells are finished, read by pages and reports."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twofold.indexing.errors import InputError

RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class Records:
    """A file of rows, one line of JSON each.

    Parameters
    ----------
    file
        Where they lie; need not be there yet.
    """

    file: Path

    def rows(self) -> list[dict[str, Any]]:
        """Return all whole rows, the oldest first; a last line that was cut off is none.

        Raises
        ------
        InputError
            If another line is not JSON.
        """
        if not self.file.exists():
            return []
        out = []
        for number, line in enumerate(_whole_lines(self.file.read_bytes()), 1):
            try:
                out.append(json.loads(line))
            except ValueError as error:
                raise InputError(
                    f"{self.file}, line {number}: a row of JSON was expected"
                ) from error
        return out

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append a finished cell's rows, on the disk when this returns.

        Raises
        ------
        ValueError
            If a number is not finite.
        """
        lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a+b") as out:
            # A run that was killed while it wrote left half a line; its cell is run again.
            out.seek(0)
            out.truncate(sum(len(line) + 1 for line in _whole_lines(out.read())))
            out.write(lines)
            out.flush()
            os.fsync(out.fileno())

    def finished(self) -> set[str]:
        """Return the fingerprints of cells of which every row is there."""
        return set(self.by_fingerprint())

    def by_fingerprint(self) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of each finished cell; the latest run of a fingerprint wins."""
        runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in self.rows():
            # Rows from before there were cells of several rows carry no number.
            if "fingerprint" in row:
                runs.setdefault((row["fingerprint"], row["run"]), []).append(row)
        return {
            fingerprint: rows
            for (fingerprint, _), rows in runs.items()
            if len(rows) == rows[0].get("n_rows", len(rows))
        }


def _whole_lines(content: bytes) -> list[bytes]:
    return content.split(b"\n")[:-1]


def records_of(suite: str) -> Records:
    """Return the committed records of a suite."""
    return Records(RESULTS / f"{suite}.jsonl")


def recorded(suite: str) -> list[dict[str, Any]]:
    """Return the recorded rows of a suite that pages show, the oldest first: no quick ones."""
    return [row for row in records_of(suite).rows() if not row.get("quick", False)]


def latest(suite: str, *, old: str = "cell") -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Return the latest rows of each cell, by data set and length of item texts.

    Parameters
    ----------
    suite
        The suite.
    old
        What told, in rows from before there were cells, which of a run's parts a row is of.
    """
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for told in recorded(suite):
        groups.setdefault((told["dataset"], told["max_item_tokens"]), []).append(told)
    return {key: latest_cells(rows, old) for key, rows in groups.items()}


def latest_cells(rows: Sequence[dict[str, Any]], old: str = "cell") -> list[dict[str, Any]]:
    """Return the rows of each cell's latest run, cells in the order they first came in.

    Rows from before there were cells count as one cell, unless `old` tells them apart, and only
    until there are others.
    """
    cells: dict[Any, list[dict[str, Any]]] = {}
    for told in rows:
        name, run = told.get("cell", told.get(old)), told.get("run")
        if name not in cells or cells[name][0].get("run") != run:
            cells[name] = []
        cells[name].append(told)
    if len(cells) > 1:
        cells.pop(None, None)
    return [told for one in cells.values() for told in one]


def commands(suite: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the command lines that measured rows, as a block for a page."""
    start = f"python -m benchmarks {suite} "
    # Rows from before there were cells hold what follows the suite's name, or nothing.
    asked = dict.fromkeys(str(one.get("command", one["dataset"])) for one in rows)
    lines = (f"{start}{one.removeprefix(start)} --record" for one in asked)
    return "```sh\n" + "\n".join(lines) + "\n```\n"


def ran_on(told: Mapping[str, Any]) -> str:
    """Return a sentence on the commit and the machine of a row."""
    hardware = told["hardware"]
    return (
        f"Commit {str(told['commit'])[:10]}, {hardware['cores']} cores of {hardware['cpu']}, "
        f"{hardware['gpu'] or 'no GPU'}, torch on {told['threads']} threads.\n"
    )
