"""Every problem of the user's tables at once, where loading stops at the first."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from twofold.indexing.data_settings import DataSettings
from twofold.indexing.dataset import Dataset, assemble
from twofold.indexing.describe import tied_share
from twofold.indexing.errors import DataError, InputError
from twofold.indexing.interaction_table import InteractionTable, read_interactions
from twofold.indexing.item_table import ITEM_ID, ItemTable, read_items
from twofold.indexing.problems import Example, Problem, Problems
from twofold.indexing.progress import Progress, Silent
from twofold.indexing.tables import Source, Table, read_table

PLACEHOLDERS = ("nan", "none", "null", "n/a", "na", "undefined", "unknown")
DAY = 86_400_000


@dataclass(frozen=True)
class ValidationReport:
    """What the checks found.

    Parameters
    ----------
    problems
        All of them, errors and warnings, in the order of the checks.
    checks
        Names of the checks that ran; what an error hid is not among them.
    n_interactions, n_items
        Rows that were read.
    """

    problems: tuple[Problem, ...]
    checks: tuple[str, ...]
    n_interactions: int
    n_items: int

    @property
    def ok(self) -> bool:
        """Whether the data can be loaded."""
        return all(problem.severity != "error" for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """Return the report ready for JSON."""
        return {"ok": self.ok, **asdict(self)}

    def to_rows(self) -> list[tuple[str, str, str]]:
        """Return what a person reads: check, ``passed``, ``error`` or ``warning``, and details."""
        rows: list[tuple[str, str, str]] = []
        for check in self.checks:
            found = [problem for problem in self.problems if problem.check == check]
            rows += [(check, problem.severity, _details(problem)) for problem in found]
            if not found:
                rows.append((check, "passed", ""))
        return rows


def validate(
    interactions: Source,
    items: Source | None = None,
    settings: DataSettings | None = None,
    *,
    now: int | None = None,
    progress: Progress | None = None,
) -> ValidationReport:
    """Return every problem of the tables, not only the first.

    Rows with an error are left out of the checks that follow, so that one mistake is reported
    once. Nothing about the data is raised.

    Parameters
    ----------
    interactions, items, settings
        As for :func:`twofold.indexing.dataset.load_dataset`.
    now
        Milliseconds since 1970 UTC; interactions more than a day later are warned of. ``None``
        leaves that check out.
    progress
        Who is told about the steps.
    """
    settings = DataSettings() if settings is None else settings
    progress = Silent() if progress is None else progress
    problems = Problems(strict=False)
    catalogue, n_items, log, n_rows = None, 0, None, 0
    with progress.step("Checking items"):
        if items is not None:
            try:
                table = read_table(items, "items")
                n_items = table.frame.height
                catalogue = read_items(table, settings, problems)
            except InputError as error:
                problems.add(_fatal(error, "items"), "items can be read")
            else:
                problems.add(None, "items can be read")
                _check_placeholders(catalogue.frame[ITEM_ID], table, problems)
                problems.add(_without_text(catalogue), "items have a text")
    with progress.step("Checking interactions"):
        try:
            table = read_table(interactions, "interactions")
            n_rows = table.frame.height
            known = None if catalogue is None else catalogue.frame[ITEM_ID]
            log = read_interactions(table, settings, problems, known=known)
        except InputError as error:
            problems.add(_fatal(error, "interactions"), "interactions can be read")
        else:
            problems.add(None, "interactions can be read")
            _check_rows(log, table, now, problems)
            problems.add(_short_histories(log), "users have a history")
            problems.add(_ties(assemble(log, catalogue, seed=0)), "times give an order")
    return ValidationReport(tuple(problems.found), tuple(problems.checks), n_rows, n_items)


def _fatal(error: InputError, table: str) -> Problem:
    check = f"{table} can be read"
    if not isinstance(error, DataError):
        return Problem(check, "error", str(error), table)
    examples: tuple[Example, ...] = ()
    if error.row is not None:
        examples = (Example(error.file, error.row, ""),)
    message = error.problem if examples or not error.file else f"{error.file}: {error.problem}"
    return Problem(check, "error", message, table, error.column, len(examples), examples)


def _check_placeholders(ids: pl.Series, table: Table, problems: Problems) -> None:
    """Warn of ids that are names for nothing; the whole table is meant, not a row."""
    found = ids.filter(ids.str.to_lowercase().is_in(PLACEHOLDERS)).unique().sort().to_list()
    check = f"ids are no placeholders ({table.what})"
    if not found:
        return problems.add(None, check)
    message = (
        f"ids such as {found[0]!r} look like missing values; they are taken as ids, so leave such "
        "rows out if they are none"
    )
    return problems.add(Problem(check, "warning", message, table.what), check)


def _check_rows(log: InteractionTable, table: Table, now: int | None, problems: Problems) -> None:
    frame, columns = log.frame, log.columns
    _check_placeholders(frame["user"], table, problems)
    if not log.has_times:
        return
    zero = frame.filter(pl.col("time") == 0)
    problems.warn(
        table, "times are no placeholders", zero["row"].to_numpy(), columns["time"],
        "the first moment of 1970 often stands for a missing time; give the real one or leave the "
        "row out",
    )  # fmt: skip
    if now is not None:
        later = frame.filter(pl.col("time") > now + DAY)
        problems.warn(
            table, "times lie in the past", later["row"].to_numpy(), columns["time"],
            "the time is later than tomorrow; check its unit and zone",
        )  # fmt: skip
    if "position" in columns:
        ordered = frame.sort("user", "order")
        back = (pl.col("time").diff() < 0) & (pl.col("user") == pl.col("user").shift())
        problems.warn(
            table, "positions agree with times",
            ordered.filter(back)["row"].sort().to_numpy(), columns["position"],
            "the time is earlier than at the position before; positions are followed, so correct "
            "one of the two",
        )  # fmt: skip


def _without_text(catalogue: ItemTable) -> Problem | None:
    empty = int((catalogue.texts == "").sum())
    if empty == 0:
        return None
    message = (
        f"{empty:,} of {len(catalogue.texts):,} items have no text, such as "
        f"'{catalogue.frame[ITEM_ID][int((catalogue.texts == '').arg_max() or 0)]}'; only "
        "their interactions can recommend them"
    )
    return Problem("items have a text", "warning", message, "items", count=empty)


def _short_histories(log: InteractionTable) -> Problem | None:
    counts = log.frame.group_by("user").agg(pl.col("label").sum())["label"].to_numpy()
    short = int((counts < 3).sum())
    if short * 2 <= len(counts):
        return None
    message = (
        f"{short:,} of {len(counts):,} users have fewer than 3 positive interactions, too few to "
        "learn from, tune and test on; results will speak for the others only"
    )
    return Problem("users have a history", "warning", message, "interactions", count=short)


def _ties(dataset: Dataset) -> Problem | None:
    share = tied_share(dataset.interactions)
    if share <= 0.5:
        return None
    n = int(np.round(share * len(dataset.interactions)))
    what = "share their time with another of their user" if dataset.has_order else "have no time"
    message = (
        f"{share:.0%} of the interactions {what}, so their order is drawn by a seeded hash; give "
        "finer times or a position if there is an order"
    )
    return Problem("times give an order", "warning", message, "interactions", count=n)


def _details(problem: Problem) -> str:
    column = f"column '{problem.column}': " if problem.column else ""
    rows = ", ".join(f"{one.file} row {one.row}" for one in problem.examples)
    return f"{column}{problem.message}" + (f" [{rows}]" if rows else "")
