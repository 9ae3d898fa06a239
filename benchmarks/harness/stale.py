"""Which recorded rows no longer tell of the code, settings, data and libraries as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.data.datasets import DataSet
from benchmarks.harness.cells import Cell, Plan, Suite
from benchmarks.harness.exercised import Exercised, exercised
from benchmarks.harness.records import Records
from twofold.indexing.errors import TwofoldError

Told = Mapping[str, Any]
OLD = "recorded without what it exercised"


@dataclass(frozen=True)
class Standing:
    """How one recorded cell stands.

    Parameters
    ----------
    suite, dataset, cell
        Which.
    run
        When it was measured.
    reasons
        Why it no longer holds, a few words each; none where it holds.
    """

    suite: str
    dataset: str
    cell: str
    run: str
    reasons: tuple[str, ...]


def standings(suite: Suite, records: Records, find: Callable[[str], DataSet]) -> Iterator[Standing]:
    """Yield how the latest rows of each cell, data set and way of asking stand, quick ones apart.

    Parameters
    ----------
    suite
        The suite.
    records
        Its rows.
    find
        Returns a row's data set, or raises ``InputError`` where it is not on this machine.
    """
    plans: dict[str, dict[str, tuple[Cell, Exercised]] | str] = {}
    for row in _latest(records.rows()):
        name = row.get("cell", "")
        if "exercised" not in row:
            reasons: Sequence[str] = [OLD]
        else:
            key = _key(row)
            if key not in plans:
                plans[key] = _cells(suite, row, find)
            cells = plans[key]
            if isinstance(cells, str):
                reasons = [cells]
            elif name not in cells:
                reasons = ["the suite has no such cell any more"]
            else:
                reasons = _differences(row, cells[name][1])
        yield Standing(suite.name, _dataset(row), name, row.get("run", ""), tuple(reasons))


def _cells(
    suite: Suite, row: Told, find: Callable[[str], DataSet]
) -> dict[str, tuple[Cell, Exercised]] | str:
    """Return the cells as they are now, or why they cannot be told."""
    try:
        data = find(row["dataset"])
        known = {option.name: option.default for option in suite.options}
        plan = Plan(
            data.under(*row["protocol"]),
            tuple(row["overrides"]),
            known | row["options"],
            row["quick"],
        )
        cells = suite.named(plan)
        return {
            name: (cells[name], told) for name, told in exercised(suite.name, plan, cells).items()
        }
    except TwofoldError as error:
        return f"cannot be told: {error}"


def _differences(row: Told, now: Exercised) -> list[str]:
    """Return what has changed since a row was measured."""
    then = row["exercised"]
    if row["fingerprint"] == now.fingerprint:
        return []
    out = [f"code of {name}" for name in now.code if then["code"].get(name) != now.code[name]]
    out += [f"code of {name} counts no more" for name in then["code"] if name not in now.code]
    out += ["settings"] if then["settings"] != now.settings else []
    out += ["data"] if then["data"] != now.data else []
    versions = row["versions"]
    out += [
        f"{name} {versions.get(name, 'none')} -> {now.versions.get(name, 'none')}"
        for name in sorted({*versions, *now.versions})
        if versions.get(name) != now.versions.get(name)
    ]
    out += [
        f"'{name}' must run anew"
        for name in now.needs
        if then["needs"].get(name) != now.needs[name]
    ]
    return out or ["the way fingerprints are made"]


def _latest(rows: Sequence[Told]) -> list[Told]:
    """Return one row of the latest run of each cell.

    A row from before fingerprints gives way to any of the same cell that has one, or of the same
    data set where it tells no cell.
    """
    out: dict[tuple[Any, ...], Told] = {}
    for row in rows:
        out[(row.get("cell", ""), _key(row))] = row
    told = {
        (_dataset(row), cell) for row in rows if "exercised" in row for cell in ("", row["cell"])
    }
    return [
        row
        for row in out.values()
        if "exercised" in row or (_dataset(row), row.get("cell", "")) not in told
    ]


def _dataset(row: Told) -> str:
    """Return the name of a row's data set; rows of the first form tell it among circumstances."""
    where = row if "dataset" in row else row["circumstances"]
    return str(where["dataset"])


def _key(row: Told) -> str:
    parts = ("protocol", "overrides", "options", "quick")
    return repr([_dataset(row), *(row.get(part) for part in parts)])
