"""The recorded rows of the suite ``quality``, of both forms that were ever written, as one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from twofold.evaluation.intervals import Interval
from twofold.evaluation.report import Circumstances, read_line
from twofold.evaluation.significance import holm
from twofold.indexing.errors import InputError

OURS = "reranked"
FUSED = "fused stage one"
TWOFOLD = "twofold"  # the cell of the suite that measures twofold and its own opponents
INSIDE = "same g, text zeroed"
OPPONENTS = ("popularity", "logistic regression", "LambdaRank")
"""What the cell of twofold measures beside itself: everything else in it is a part of twofold."""

KINDS = ("quality", "slice", "ceiling", "latency", "probabilities")
UNSHOWN = ("leaks", "learned", "training", "part", "gain", "pairs", "auc")  # told elsewhere

MAIN = "ndcg@10"
EVERYBODY = "all"
_ENDS = ("mean", "low", "high")


@dataclass(frozen=True)
class About:
    """What the rows of one cell share.

    Parameters
    ----------
    dataset, split
        What was measured on, and how the test was held out.
    overrides
        ``section.key=value`` beside the data set's own settings.
    cell
        Its name.
    commit
        Of the source; ``None`` where it is not known.
    hardware
        What it ran on.
    run
        When, ISO 8601; empty where it was not recorded.
    command
        The command line that measures it again.
    quick
        Whether everything was asked less.
    """

    dataset: str
    split: str
    overrides: tuple[str, ...]
    cell: str
    commit: str | None
    hardware: Mapping[str, Any]
    run: str
    command: str
    quick: bool = False


@dataclass(frozen=True)
class QualityRow:
    """One system on one group of users.

    Parameters
    ----------
    about
        What it shares with other rows of its cell.
    system
        Its name.
    group
        ``"all"``, ``"warm"``, ``"new"``, or the name of a slice.
    kind
        ``quality``, ``slice``, ``ceiling``, ``latency`` or ``probabilities``.
    n_users
        How many users it averages.
    metrics
        ``"ndcg@10"`` -> number and interval.
    latency_ms
        ``"p99"`` -> milliseconds; empty where it was not measured.
    """

    about: About
    system: str
    group: str
    kind: str
    n_users: int
    metrics: Mapping[str, Interval] = field(default_factory=dict)
    latency_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """A difference of two systems over the same users, above 0 where `system` is higher.

    Parameters
    ----------
    about
        The cell that measured it.
    system, other
        Which.
    metric
        Of what.
    gap
        `system` - `other`.
    p, p_holm
        Of the permutation test, and after Holm's correction for the run's pairs by this metric;
        ``None`` where none was made.
    """

    about: About
    system: str
    other: str
    metric: str
    gap: Interval
    p: float | None = None
    p_holm: float | None = None

    @property
    def word(self) -> str:
        """``ahead``, ``tied`` or ``behind``: tied unless interval and test both say more."""
        if not self.gap.excludes_zero or (self.p_holm is not None and self.p_holm > 0.05):
            return "tied"
        return "ahead" if self.gap.mean > 0 else "behind"


@dataclass(frozen=True)
class Trial:
    """One setting of a peer, measured on validation to choose it.

    Parameters
    ----------
    about
        Its cell.
    system
        The peer.
    settings
        What was set.
    ndcg
        NDCG@10 on validation; ``None`` where the search had taken all of its time before.
    seconds
        What it took.
    """

    about: About
    system: str
    settings: Mapping[str, Any]
    ndcg: float | None
    seconds: float


Told = QualityRow | Pair | Trial


@dataclass(frozen=True)
class QualityRun:
    """All that stands recorded of one data set under one protocol and the same overrides.

    Parameters
    ----------
    rows, pairs, trials
        The latest of each cell.
    """

    rows: tuple[QualityRow, ...]
    pairs: tuple[Pair, ...] = ()
    trials: tuple[Trial, ...] = ()

    @cached_property
    def about(self) -> About:
        """Of the cell that measured twofold; of the first where there is none."""
        return next((row.about for row in self.rows if row.system == OURS), self.rows[0].about)

    @property
    def plain(self) -> bool:
        """Whether nothing was overridden."""
        return not self.about.overrides

    def of(self, system: str, group: str = EVERYBODY, kind: str | None = None) -> QualityRow | None:
        """Return the row of a system, or ``None``."""
        kinds = ("quality", "slice") if kind is None else (kind,)
        found = (row for row in self.rows if row.kind in kinds)
        return next((r for r in found if r.system == system and r.group == group), None)

    def kind(self, kind: str) -> list[QualityRow]:
        """Return the rows of a kind, over all users."""
        return [row for row in self.rows if row.kind == kind and row.group == EVERYBODY]

    @cached_property
    def peers(self) -> tuple[str, ...]:
        """Systems of cells other than twofold's, as recorded."""
        names = (r.system for r in self.kind("quality") if r.about.cell != TWOFOLD)
        return tuple(dict.fromkeys(names))

    @cached_property
    def opponents(self) -> tuple[str, ...]:
        """Whatever is not twofold's or a part of it."""
        there = {row.system for row in self.kind("quality")}
        own = (name for name in OPPONENTS if name in there)
        return tuple(dict.fromkeys([*own, *self.peers]))

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Names of groups and slices, as recorded; no group of users that is all of them."""
        whole = {
            row.n_users for row in self.rows if row.kind == "quality" and row.group == EVERYBODY
        }
        named = (
            row.group
            for row in self.rows
            if row.kind == "slice" or (row.kind == "quality" and row.n_users not in whole)
        )
        return tuple(name for name in dict.fromkeys(named) if name != EVERYBODY)

    def pair(self, other: str, metric: str = MAIN) -> Pair | None:
        """Return twofold's paired difference to another system, or ``None``."""
        found = (one for one in self.pairs if one.system == OURS and one.metric == metric)
        return next((one for one in found if one.other == other), None)

    @property
    def abouts(self) -> tuple[About, ...]:
        """Of each cell, once."""
        every: list[Told] = [*self.rows, *self.pairs, *self.trials]
        return tuple({one.about.cell: one.about for one in every}.values())


def read_quality(file: Path) -> list[QualityRun]:
    """Return what a file of rows holds, a run for each data set, protocol and overrides.

    Of each cell the latest rows count. Rows of the old form are one cell a run, and are left out
    where the cell of twofold has been measured in the new one. Quick rows are left out.

    Raises
    ------
    InputError
        If a line is neither form.
    """
    if not file.exists():
        return []
    return runs_of(file.read_text(encoding="utf-8").splitlines(), file.name)


def runs_of(lines: Iterable[str], name: str = "quality rows") -> list[QualityRun]:
    """Return :func:`read_quality` of lines; `name` is told in errors."""
    cells: dict[tuple[str, ...], dict[tuple[str, bool], list[Told]]] = {}
    marks: dict[tuple[Any, ...], tuple[str, str | None]] = {}
    for number, line in enumerate(lines, 1):
        try:
            told = json.loads(line)
            old = "circumstances" in told
            key, about, found = _old(line) if old else _new(told)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{name}, line {number}: a row of the suite quality was expected ({error!r}); "
                "take the line out, or measure again"
            ) from error
        if about.quick:
            continue
        before = cells.setdefault(key, {}).setdefault((about.cell, old), [])
        if marks.setdefault((key, about.cell, old), _mark(about)) != _mark(about):
            marks[key, about.cell, old] = _mark(about)
            before.clear()
        before.extend(found)
    runs = (_run(mine) for mine in cells.values())
    return [run for run in runs if run.rows]


def _mark(about: About) -> tuple[str, str | None]:
    return about.run, about.commit


def _run(cells: Mapping[tuple[str, bool], Sequence[Told]]) -> QualityRun:
    """Return a run of the latest rows of its cells."""
    replaced = (TWOFOLD, False) in cells
    found = [one for (_, old), rows in cells.items() if not (old and replaced) for one in rows]
    rows = [one for one in found if isinstance(one, QualityRow)]
    # A system that is a peer as well is paired by the peer's lists, and so shown by its numbers.
    peers = {(one.system, one.group) for one in rows if one.about.cell != TWOFOLD}
    return QualityRun(
        tuple(r for r in rows if r.about.cell != TWOFOLD or (r.system, r.group) not in peers),
        _corrected([one for one in found if isinstance(one, Pair)]),
        tuple(one for one in found if isinstance(one, Trial)),
    )


def _corrected(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """Return each pair once, its p after Holm's correction for all that are told by its metric.

    Of a system that is a peer as well the pair with the peer's lists counts, which comes later.
    """
    distinct = {(one.system, one.other, one.metric): one for one in pairs}
    out = dict(distinct)
    for metric in dict.fromkeys(one.metric for one in pairs):
        tested = {
            key: one.p
            for key, one in distinct.items()
            if one.metric == metric and one.p is not None
        }
        for key, p in zip(tested, holm(list(tested.values())), strict=True):
            out[key] = replace(distinct[key], p_holm=float(p))
    return tuple(out.values())


def _old(line: str) -> tuple[tuple[str, ...], About, list[Told]]:
    """Return a row of the form of :func:`twofold.evaluation.report.json_line`, and its pairs."""
    row, told = read_line(line)
    about = _old_about(told)
    kind = old_kind(row.name, row.group, timed=bool(row.latency_ms))
    mine = QualityRow(about, row.name, row.group, kind, row.n_users, row.metrics, row.latency_ms)
    pairs = [
        Pair(about, OURS, row.name, metric, _turned(gap))
        for metric, gap in row.differences.items()
        if row.baseline == OURS and row.group == EVERYBODY and row.name != OURS
    ]
    return (about.dataset, about.split, *about.overrides), about, [mine, *pairs]


def _old_about(told: Circumstances) -> About:
    skipped = int(told.settings.get("skip_labels", 0))
    overrides = (f"skip_labels={skipped}",) if skipped else ()
    words = ["python -m benchmarks quality", told.dataset, *(f"--set {one}" for one in overrides)]
    return About(
        told.dataset,
        told.split,
        overrides,
        TWOFOLD,
        told.commit,
        told.hardware,
        "",
        " ".join(words),
    )


def old_kind(name: str, group: str, *, timed: bool) -> str:
    """Return the kind of a row from before rows told theirs."""
    if timed:
        return "latency"
    if name == "probabilities":
        return "probabilities"
    if name.startswith("ceiling"):
        return "ceiling"
    return "quality" if group in (EVERYBODY, "warm", "new") else "slice"


def _turned(gap: Interval) -> Interval:
    return Interval(-gap.mean, -gap.high, -gap.low, gap.n_users)


def _new(told: Mapping[str, Any]) -> tuple[tuple[str, ...], About, list[Told]]:
    """Return a row as the harness records it; not every kind tells the split."""
    protocol = _protocol(told)
    about = About(
        told["dataset"],
        told.get("split") or protocol,
        tuple(told["overrides"]),
        told["cell"],
        told["commit"],
        told["hardware"],
        told["run"],
        told["command"],
        told["quick"],
    )
    return (about.dataset, protocol, *about.overrides), about, _new_rows(about, told)


def _new_rows(about: About, told: Mapping[str, Any]) -> list[Told]:
    kind = told["kind"]
    if kind in UNSHOWN:
        return []
    if kind == "pair":
        who = told["system"], told["other"], told["metric"]
        return [Pair(about, *who, interval(told), told["p"])]
    if kind == "trial":
        seconds = told.get("seconds", told.get("cell_seconds", math.nan))
        return [Trial(about, told["system"], told["trial"], told["ndcg@10"], seconds)]
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}")
    metrics = {name: interval(one) for name, one in told["metrics"].items()}
    system, group = told["system"], told["group"]
    return [QualityRow(about, system, group, kind, told["n_users"], metrics, told["latency_ms"])]


def _protocol(told: Mapping[str, Any]) -> str:
    name, labels = told["protocol"]
    return f"leave-last-{labels}" if name == "leave-last-n" else str(name)


def interval(told: Mapping[str, Any]) -> Interval:
    """Return a recorded number; ends that were not finite stand as ``None`` and are NaN here."""
    ends = {name: math.nan if told[name] is None else float(told[name]) for name in _ENDS}
    return Interval(**ends, n_users=int(told.get("n_users", 0)))
