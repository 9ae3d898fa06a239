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
    """Return all recorded rows of a suite, the oldest first; none where there is no record."""
    return records_of(suite).rows()


def latest(suite: str) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Return the rows of the latest run of each data set and length of item texts."""
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for told in recorded(suite):
        key = told["dataset"], told["max_item_tokens"]
        if key not in runs or runs[key][0]["run"] != told["run"]:
            runs[key] = []
        runs[key].append(told)
    return runs


def ran_on(told: Mapping[str, Any]) -> str:
    """Return a sentence on the commit and the machine of a row."""
    hardware = told["hardware"]
    return (
        f"Commit {str(told['commit'])[:10]}, {hardware['cores']} cores of {hardware['cpu']}, "
        f"{hardware['gpu'] or 'no GPU'}, torch on {told['threads']} threads.\n"
    )
