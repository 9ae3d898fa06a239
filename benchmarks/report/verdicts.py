"""Where twofold is not first: what a reader of the pages is told before anything else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.report.published import PUBLISHED
from benchmarks.report.quality_rows import FUSED, MAIN, OURS, Pair, QualityRow, QualityRun
from benchmarks.report.recorded import Recorded
from twofold.evaluation.intervals import Interval

WORSE = "not first"
WORDS = ("behind", "tied", "ahead")


def all_verdicts(recorded: Recorded) -> list[tuple[str, str]]:
    """Return everything that is told first, where twofold is behind before where it is ahead."""
    told = [*verdicts(recorded.quality), *index_verdicts(recorded.peers_of_indexes())]
    for run in recorded.runs("profiles"):
        where = f"{run.about.dataset}, {run.about.split}, what has no text counted as missed"
        told += _published(run, where, "profiles")
    return sorted(told, key=lambda one: WORDS.index(one[0]))


def verdicts(runs: Iterable[QualityRun]) -> Iterator[tuple[str, str]]:
    """Yield (``behind``, ``tied`` or ``ahead``, a sentence) for each run without overrides.

    Differences are judged by their paired interval, and by the test after Holm's correction where
    one was made. Systems without a paired difference are judged by their own intervals: one whose
    interval overlaps twofold's counts as tied.
    """
    for run in runs:
        ours = run.of(OURS)
        if not run.plain or ours is None:
            continue
        words = [judged(run, name) for name in (*run.opponents, FUSED)]
        behind = [told for word, told in words if word == "behind"]
        tied = [told for word, told in words if word == "tied"]
        where = f"{run.about.dataset}, {run.about.split}"
        if behind:
            yield "behind", f"{where}: {WORSE} by NDCG@10, behind {'; '.join(behind)}."
        if tied:
            yield "tied", f"{where}: by NDCG@10 not told apart from {'; '.join(tied)}."
        if not behind and not tied:
            n = sum(word == "ahead" for word, _ in words)
            yield "ahead", f"{where}: first by NDCG@10, ahead of all {n} others that were measured."
        yield from _groups(run, where)
        yield from _published(run, where, "quality")


def judged(run: QualityRun, other: str) -> tuple[str, str]:
    """Return how twofold stands to another system by NDCG@10, and the numbers in words."""
    pair, there, ours = run.pair(other), run.of(other), run.of(OURS)
    if pair is not None:
        return pair.word, f"{other} ({_gap(pair)})"
    if there is None or ours is None:
        return "missing", other
    told = f"{other} ({spelt(there.metrics[MAIN])} against {spelt(ours.metrics[MAIN])}, not paired)"
    return _apart(ours.metrics[MAIN], there.metrics[MAIN]), told


def _apart(ours: Interval, other: Interval) -> str:
    if other.low > ours.high:
        return "behind"
    return "ahead" if other.high < ours.low else "tied"


def _groups(run: QualityRun, where: str) -> Iterator[tuple[str, str]]:
    """Yield groups and slices where another's interval lies wholly above twofold's."""
    for group in run.groups:
        ours = run.of(OURS, group)
        if ours is None or MAIN not in ours.metrics:
            continue
        better = [row for name in run.opponents if (row := _above(run, name, group, ours))]
        if better:
            told = "; ".join(f"{row.system} ({spelt(row.metrics[MAIN])})" for row in better)
            yield (
                "behind",
                f"{where}, group {group}: {WORSE} by NDCG@10, at {spelt(ours.metrics[MAIN])} "
                f"behind {told}.",
            )


def _above(run: QualityRun, name: str, group: str, ours: QualityRow) -> QualityRow | None:
    row = run.of(name, group)
    if row is None or MAIN not in row.metrics:
        return None
    return row if _apart(ours.metrics[MAIN], row.metrics[MAIN]) == "behind" else None


def _published(run: QualityRun, where: str, suite: str) -> Iterator[tuple[str, str]]:
    """Yield published numbers that lie above twofold's interval."""
    ours = run.of(OURS)
    table = PUBLISHED.get((suite, run.about.dataset, run.about.split))
    if ours is None or table is None:
        return
    for name in table.compared:
        mine = ours.metrics.get(table.columns[name])
        better = [
            f"{row.system} {row.numbers[name]:.4f}"
            for row in table.rows
            if mine is not None and row.numbers.get(name, 0.0) > mine.high
        ]
        if mine is not None and better:
            yield (
                "behind",
                f"{where}: published numbers above ours by {name}, {spelt(mine)}: "
                f"{', '.join(better)}. {table.notes[0]}",
            )


def index_verdicts(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield where another index finds as much of what is nearest, and answers more often.

    Parameters
    ----------
    rows
        The latest rows of indexes that took turns, in the suite ``retrieval``.
    """
    places: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        places.setdefault((row["dataset"], row["n_items"]), []).append(row)
    for (dataset, n_items), mine in places.items():
        least = min((one["recall"] for one in mine if not one["peer"]), default=1.0)
        peers = [one for one in mine if one["peer"]]
        faster = [one for one in peers if one["ours_over_this"] < 1 and one["recall"] >= least]
        if faster:
            best = min(faster, key=lambda one: one["ours_over_this"])
            n, whole = (len({one["index"] for one in some}) for some in (faster, peers))
            yield (
                "behind",
                f"{dataset}, search among {n_items:,} vectors: {WORSE}, {n} of {whole} other "
                "indexes find as much and answer more queries a second; the fastest, "
                f"{best['index']}, answers {1 / best['ours_over_this']:.2f} times as many on "
                f"{n_threads(askers_of(best))} (recall@100 {best['recall']:.4f} against "
                f"{least:.4f}; no interval was recorded).",
            )


def askers_of(row: Mapping[str, Any]) -> int:
    """Return how many threads asked an index at once; old rows name no other threads."""
    return int(row.get("askers", row["threads"]))


def _gap(pair: Pair) -> str:
    p = "" if pair.p_holm is None else f", p {spelt_p(pair.p_holm)} after Holm"
    return f"ours − theirs {spelt(pair.gap, '+')}{p}"


def spelt(one: Interval, plus: str = "", digits: int = 4) -> str:
    """Return a number with its interval, as pages show it; alone where it has none."""
    text = f"{one.mean:{plus}.{digits}f}"
    if one.low != one.low:
        return text
    return f"{text} [{one.low:{plus}.{digits}f}, {one.high:{plus}.{digits}f}]"


def n_threads(n: int) -> str:
    """Return a number of threads in words."""
    return f"{n} thread{'' if n == 1 else 's'}"


def spelt_p(p: float) -> str:
    """Return a p value: three digits, and no 0."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
