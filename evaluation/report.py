"""What an evaluation found: rows of numbers, and the circumstances they were measured in.

A :class:`Row` is one system on one group of users. :func:`markdown_table` shows rows to people;
:func:`json_line` gives machines one line a row, with everything needed to tell two results apart.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from twofold.evaluation.intervals import Interval
from twofold.indexing.errors import InputError

FORMAT = 1
_ENDS = ("mean", "low", "high")


@dataclass(frozen=True)
class Circumstances:
    """What two results must share to be comparable; the same for all rows of one evaluation.

    Parameters
    ----------
    dataset
        Name of the data, for people.
    fingerprint
        Hash of its content.
    split, split_reason
        Name of the split, and why it was taken.
    protocol
        The rules in a sentence, such as what counts as a hit and what is left out.
    seed
        Seed of the evaluation.
    commit
        Commit of the source, or ``None`` where it is not known.
    versions
        Library -> version.
    hardware
        What it ran on, from :mod:`twofold.evaluation.hardware`.
    settings
        What was set, plain types.
    """

    dataset: str
    fingerprint: str
    split: str
    split_reason: str
    protocol: str
    seed: int
    commit: str | None
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One system on one group of users.

    Parameters
    ----------
    name
        Name of the system.
    group
        Which users: ``"all"``, ``"warm"``, ``"new"``, ...
    n_users
        How many users the row averages: those of the group that hold something out.
    metrics
        ``"ndcg@10"`` -> number and interval.
    baseline
        Name of the row that `differences` compare with, or ``None``.
    differences
        ``"ndcg@10"`` -> this row's number minus the baseline's, paired over users.
    latency_ms
        ``"p50"``, ``"p95"``, ``"p99"`` -> milliseconds a query, where it was measured.
    notes
        What a reader must know, in sentences.
    """

    name: str
    group: str
    n_users: int
    metrics: Mapping[str, Interval]
    baseline: str | None = None
    differences: Mapping[str, Interval] = field(default_factory=dict)
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def json_line(row: Row, circumstances: Circumstances) -> str:
    """Return the row as one line of JSON, keys sorted, numbers that are not finite as null."""
    record = {"format": FORMAT, "row": asdict(row), "circumstances": asdict(circumstances)}
    return json.dumps(finite(record), sort_keys=True, allow_nan=False, ensure_ascii=False)


def read_line(line: str) -> tuple[Row, Circumstances]:
    """Return what :func:`json_line` wrote.

    Raises
    ------
    InputError
        If the line is no result, or of another format.
    """
    try:
        record = json.loads(line)
        found = record["format"]
        row, circumstances = record["row"], record["circumstances"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"a line of results was expected, got {line[:60]!r}") from error
    if found != FORMAT:
        raise InputError(f"results of format {FORMAT} were expected, got {found}; measure again")
    for name in ("metrics", "differences"):
        row[name] = {key: _interval(value) for key, value in row[name].items()}
    row["notes"] = tuple(row["notes"])
    return Row(**row), Circumstances(**circumstances)


def table_cells(
    rows: Sequence[Row], metrics: Sequence[str], *, intervals: bool = True
) -> tuple[list[str], list[list[str]]]:
    """Return the header and the cells of a table for people, as text.

    Columns are the system, the group where there is more than one, the number of users, one column
    a metric, the difference of the first metric to the baseline, and latency, where there are any.
    The best number of a metric in each group is not marked: differences and their intervals say
    what is better.

    Parameters
    ----------
    rows
        One line each, in this order.
    metrics
        Which metrics, in this order; a row without one shows a dash.
    intervals
        Whether numbers carry their interval.
    """
    grouped = len({row.group for row in rows}) > 1
    baseline = next((row.baseline for row in rows if row.baseline is not None), None)
    timed = any(row.latency_ms for row in rows)
    header = ["system", *(["users are"] if grouped else []), "users", *metrics]
    header += [f"{metrics[0]} − {baseline}"] if baseline is not None and metrics else []
    header += ["p50 / p95 / p99 ms"] if timed else []
    lines = []
    for row in rows:
        line = [row.name, *([row.group] if grouped else []), f"{row.n_users:,}"]
        line += [_cell(row.metrics.get(name), intervals) for name in metrics]
        if baseline is not None and metrics:
            line.append(_cell(row.differences.get(metrics[0]), True, sign=True))
        if timed:
            line.append(
                " / ".join(f"{row.latency_ms[p]:.1f}" for p in ("p50", "p95", "p99"))
                if row.latency_ms
                else "–"
            )
        lines.append(line)
    return header, lines


def markdown_table(rows: Sequence[Row], metrics: Sequence[str], *, intervals: bool = True) -> str:
    """Return the rows as a Markdown table, padded so that it reads well as plain text too."""
    header, lines = table_cells(rows, metrics, intervals=intervals)
    widths = [max(len(line[c]) for line in (header, *lines)) for c in range(len(header))]
    rule = ["-" * width for width in widths]

    def joined(line: Iterable[str]) -> str:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        return f"| {' | '.join(cells)} |"

    return "\n".join(joined(line) for line in (header, rule, *lines)) + "\n"


def _cell(interval: Interval | None, with_ends: bool, *, sign: bool = False) -> str:
    if interval is None or math.isnan(interval.mean):
        return "–"
    plus = "+" if sign else ""
    digits = 4 if abs(interval.mean) < 100 else 1
    text = f"{interval.mean:{plus}.{digits}f}"
    if with_ends and not math.isnan(interval.low):
        text += f" [{interval.low:{plus}.{digits}f}, {interval.high:{plus}.{digits}f}]"
    return text


def finite(value: Any) -> Any:
    """Return JSON values with ``None`` in place of numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _interval(value: Mapping[str, Any]) -> Interval:
    ends = {name: math.nan if value[name] is None else value[name] for name in _ENDS}
    return Interval(**ends, n_users=value["n_users"])
