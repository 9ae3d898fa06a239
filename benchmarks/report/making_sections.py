"""The sections of the report on what an index and a ranker take to be made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.report.charts import Dot, Point, Series, dots, scatter
from benchmarks.report.markup import Part, joined, table, tag
from benchmarks.report.parts import Section, figure, made, nothing_yet, outdated
from benchmarks.report.recorded import Recorded, Row, by_dataset, circumstances, command_of


def making_sections(recorded: Recorded) -> Iterator[Section]:
    """Yield both; one without rows says how they would be measured."""
    yield _build(recorded)
    yield _training(recorded)


def _build(recorded: Recorded) -> Section:
    rows = recorded.latest("build", lambda row: (row["dataset"], row["cell"]))
    parts: list[Part] = [outdated(recorded.stale("build"))]
    for dataset, mine in by_dataset(rows).items():
        parts.append(tag("h3", dataset))
        sizes = [row for row in mine if row["kind"] == "whole"]
        sizes.sort(key=lambda row: int(row["n_interactions"]))
        command = command_of("build", mine[0])
        if len(sizes) > 1:
            parts += _growth(dataset, sizes, command)
        parts.append(_steps(sizes, [row for row in mine if row["kind"] == "step"]))
        parts += [tag("p", told) for row in sizes for told in _ratios(row)]
        parts.append(made(circumstances(mine)))
    if not rows:
        parts.append(nothing_yet("builds", "python -m benchmarks build DATASET --record"))
    return Section("build", "What a build takes as data grows", joined(parts))


def _growth(dataset: str, rows: Sequence[Row], command: str) -> Iterator[Part]:
    """Yield seconds and memory against interactions, and the seconds of each step."""
    for what, unit, name in (("Seconds", "seconds", "seconds"), ("Memory", "MiB", "peak_mb")):
        points = tuple(
            Point(row["n_interactions"], row[name], f"{row[name]:,.0f}", told=f"{row[name]:,.1f}")
            for row in rows
        )
        line = Series("a build", points, line=True, ours=True)
        alt = f"{what} of a build against interactions, {dataset}"
        axes = "interactions", f"{unit} at most" if name == "peak_mb" else unit
        chart = scatter(alt, [line], *axes, log_x=True, log_y=True, height=280)
        see = f"{what} as interactions grow; a slope of one decade a decade is in proportion."
        yield figure(chart, see, command)


def _steps(sizes: Sequence[Row], steps: Sequence[Row]) -> Part:
    """Return each build with the seconds of its steps."""
    names = list(dict.fromkeys(str(row["step"]) for row in steps))
    spent = {(row["cell"], row["step"]): f"{row['seconds']:,.1f}" for row in steps}
    lines = [
        [
            f"{row['n_interactions']:,}",
            row["made"],
            f"{row['seconds']:,.1f}",
            f"{row['peak_mb']:,.0f}",
            *(spent.get((row["cell"], name), "–") for name in names),
        ]
        for row in sizes
    ]
    head = ["interactions", "made of", "seconds", "peak MiB", *(f"{name}, s" for name in names)]
    return table(head, lines)


def _ratios(row: Row) -> Iterator[str]:
    if "ratio" in row:
        yield (
            f"A build of {row['n_interactions']:,} interactions takes {row['ratio']:.2f} times as "
            f"long as the library calls in it take alone, {row['ratio_inside']:.2f} times as long "
            "as they take inside it. One run each, without an interval."
        )


def _training(recorded: Recorded) -> Section:
    def key(row: Row) -> tuple[str, str]:
        return row["dataset"], _name(row)

    rows = recorded.latest("training", key)
    parts: list[Part] = [outdated(recorded.stale("training"))]
    for dataset, mine in by_dataset(rows).items():
        shown = [
            Dot(
                _name(row),
                row["relative_to_default"]["mean"],
                row["relative_to_default"]["low"],
                row["relative_to_default"]["high"],
                _look(row),
            )
            for row in mine
            if row["cell"] != "default"
        ]
        alt = f"Relative difference of NDCG@10 of each training technique to the default, {dataset}"
        chart = dots(
            alt, shown, "NDCG@10 relative to the default's", form=percent, ticks=percent, zero=True
        )
        see = (
            "Right of 0 a technique helps. Grey intervals hold 0: nothing was shown. Paired over "
            "users, one training each, and not corrected for how many were tried."
        )
        parts.append(tag("h3", dataset))
        parts += [figure(chart, see, command_of("training", mine[0])), made(circumstances(mine))]
    if not rows:
        parts.append(nothing_yet("training", "python -m benchmarks training DATASET --record"))
    return Section("training", "What training techniques are worth", joined(parts))


def _name(row: Row) -> str:
    known = row["settings"].get("init_from")
    return str(row["cell"]) if known is None else f"{row['cell']}, from ranker {known[:8]}"


def _look(row: Row) -> str:
    gap = row["relative_to_default"]
    if gap["low"] > 0:
        return "good"
    return "bad" if gap["high"] < 0 else ""


def percent(value: float) -> str:
    """Return a relative difference as it is written."""
    return f"{value:+.1%}"
