"""Results on stdout: a table for people, JSON lines for machines."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def say(text: str = "") -> None:
    """Write one line."""
    sys.stdout.write(text + "\n")


def say_json(value: Any) -> None:
    """Write one value as one line of JSON; what is not a number there (NaN) becomes ``null``."""
    say(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False))


def say_rows(rows: Iterable[Row], *, as_json: bool, columns: Sequence[str] = ()) -> None:
    """Write rows as an aligned table, or as one JSON object a row.

    Parameters
    ----------
    rows
        Rows with the same keys.
    as_json
        JSON lines instead of a table.
    columns
        What the table shows, in that order; all keys of the first row where it is empty. JSON
        always has everything.
    """
    if as_json:
        for row in rows:
            say_json(row)
        return
    say(table(list(rows), columns))


def table(rows: Sequence[Row], columns: Sequence[str] = ()) -> str:
    """Return rows as an aligned table with a head; numbers stand to the right.

    Examples
    --------
    >>> print(table([{"item": "50", "score": 0.25}, {"item": "181", "score": None}]))
    item  score
    50    0.2500
    181        -
    """
    if not rows:
        return "(nothing)"
    heads = list(columns) or list(rows[0])
    numeric = [
        any(_is_number(row.get(head)) for row in rows)
        and all(_is_number(row.get(head)) or row.get(head) is None for row in rows)
        for head in heads
    ]
    cells = [[cell(row.get(head)) for head in heads] for row in rows]
    widths = [max(len(line[i]) for line in [heads, *cells]) for i in range(len(heads))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in [heads, *cells]
    )


def cell(value: Any) -> str:
    """Return one value as people read it: ``-`` for nothing, four digits after the point."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 100_000 else str(value)
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list | tuple):
        return ", ".join(cell(one) for one in value)
    return str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
