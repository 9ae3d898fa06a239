"""What is wrong with a table: raised at the first problem, or collected to the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import DataError
from twofold.indexing.tables import Table

N_EXAMPLES = 5


@dataclass(frozen=True)
class Example:
    """One offending row.

    Parameters
    ----------
    file
        Name of its file, or ``None`` for a frame given in Python.
    row
        Its number in that file, counted from 1 without the header.
    value
        What stands there.
    """

    file: str | None
    row: int
    value: str


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, or strange, with the data.

    Parameters
    ----------
    check
        Name of the check, such as ``"weight is a number"``.
    severity
        ``"error"`` where loading refuses the data, ``"warning"`` where it goes on.
    message
        What was expected, what came and what to do.
    table
        ``"interactions"`` or ``"items"``.
    column
        The column as it is named in the file, or ``None``.
    count
        Number of rows concerned; 0 where the whole table is.
    examples
        The first few of them.
    """

    check: str
    severity: Literal["error", "warning"]
    message: str
    table: str
    column: str | None = None
    count: int = 0
    examples: tuple[Example, ...] = ()


class Problems:
    """Where the checks say what they found.

    Parameters
    ----------
    strict
        Whether the first error is raised as `DataError`; otherwise all are kept in `found`.

    Attributes
    ----------
    found
        Problems so far.
    checks
        Names of the checks that ran, in order.
    """

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.found: list[Problem] = []
        self.checks: list[str] = []

    def refuse(
        self,
        table: Table,
        check: str,
        rows: npt.NDArray[np.integer],
        *,
        column: str | None,
        values: Sequence[object],
        expected: str,
        remedy: str,
    ) -> None:
        """Report rows that cannot be used.

        Parameters
        ----------
        table
            The table they stand in.
        check
            Name of the check.
        rows
            Their positions in the table, from 0, in ascending order; nothing happens where there
            are none.
        column
            Name of the column in the file.
        values
            What stands in the first few of them.
        expected, remedy
            What should have stood there, and what to do, as parts of a sentence.

        Raises
        ------
        DataError
            At the first row, if strict.
        """
        self._ran(check)
        if len(rows) == 0:
            return
        first = show(values[0])
        more = f" ({len(rows):,} such rows)" if len(rows) > 1 else ""
        message = f"expected {expected}, came {first}{more}; {remedy}"
        places = [table.place(int(row)) for row in rows[:N_EXAMPLES]]
        if self.strict:
            file, row = places[0]
            raise DataError(message, file=file, row=row, column=column)
        examples = tuple(
            Example(file, row, show(value))
            for (file, row), value in zip(places, values, strict=False)
        )
        self.found.append(Problem(check, "error", message, table.what, column, len(rows), examples))

    def warn(
        self,
        table: Table,
        check: str,
        rows: npt.NDArray[np.integer],
        column: str | None,
        message: str,
        values: Sequence[object] = (),
    ) -> None:
        """Report rows that are strange but can be used; nothing is raised.

        Parameters
        ----------
        table, check, rows, column
            As for `refuse`.
        message
            What is strange about them, and what to do.
        values
            What stands in the first few of them.
        """
        self._ran(check)
        if len(rows) == 0:
            return
        places = [table.place(int(row)) for row in rows[:N_EXAMPLES]]
        shown = [show(value) for value in values] or [""] * len(places)
        examples = tuple(
            Example(*place, value) for place, value in zip(places, shown, strict=False)
        )
        self.found.append(
            Problem(check, "warning", message, table.what, column, len(rows), examples)
        )

    def add(self, problem: Problem | None, check: str) -> None:
        """Say that a check ran, and keep what it found, if anything."""
        self._ran(check)
        if problem is not None:
            self.found.append(problem)

    def _ran(self, check: str) -> None:
        if check not in self.checks:
            self.checks.append(check)


def show(value: object) -> str:
    """Return a value as it can stand in a message: quoted, at most 60 characters."""
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else str(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return repr(text) if isinstance(value, str) else text
