"""The sections of the report on how good lists are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from benchmarks.report.charts import Chart, Dot, Point, Series, dots, scatter
from benchmarks.report.markup import Markup, Part, joined, table, tag
from benchmarks.report.parts import Section, figure, folded, made, nothing_yet, outdated
from benchmarks.report.published import PUBLISHED, Table
from benchmarks.report.quality_rows import FUSED, INSIDE, MAIN, OURS, Pair, QualityRow, QualityRun
from benchmarks.report.recorded import Recorded, Row, circumstances, command_of, made_on
from benchmarks.report.verdicts import spelt, spelt_p

TIMED = {OURS: "total", FUSED: "stage one latency"}
"""Which row of times is whose whole answer."""

AGAIN = "python -m benchmarks quality DATASET --record"
SHOWN = ("ndcg@10", "recall@10", "hit_rate@10", "mrr@10")


def quality_sections(recorded: Recorded) -> Iterator[Section]:
    """Yield all of them; one without rows says how they would be measured."""
    yield _quality(recorded)
    yield _beside_latency(recorded)
    yield _buckets(recorded)
    yield _published(recorded)


def title_of(run: QualityRun) -> str:
    """Return data set, split and overrides in words."""
    about = run.about
    over = f", with {', '.join(about.overrides)}" if about.overrides else ""
    return f"{about.dataset}, {about.split}{over}"


def quality_chart(
    run: QualityRun, names: Sequence[str] | None = None, stale: Collection[str] = ()
) -> Chart:
    """Return NDCG@10 of all systems, the best first, twofold marked.

    Parameters
    ----------
    run
        What was measured.
    names
        Which systems; all otherwise.
    stale
        Cells whose systems carry a dagger.
    """
    rows = [row for row in run.kind("quality") if MAIN in row.metrics]
    rows = [row for row in rows if names is None or row.system in names]
    rows.sort(key=lambda row: -row.metrics[MAIN].mean)
    shown = [_dot(marked(row, stale), row, "ours" if row.system == OURS else "") for row in rows]
    return dots(f"NDCG@10 of {len(shown)} systems on {title_of(run)}", shown, "NDCG@10", ours=True)


def marked(row: QualityRow, stale: Collection[str]) -> str:
    """Return a system's name, with a dagger where its cell is out of date."""
    return f"{row.system} †" if row.about.cell in stale else row.system


def _dot(label: str, row: QualityRow, look: str = "") -> Dot:
    one = row.metrics[MAIN]
    return Dot(label, one.mean, one.low, one.high, look)


def _quality(recorded: Recorded) -> Section:
    parts: list[Part] = [outdated(recorded.stale("quality"))]
    for run in recorded.quality:
        command = _command(run)
        old = {one.cell for one in recorded.stale("quality", run.about.dataset)}
        n = max((row.n_users for row in run.kind("quality")), default=0)
        parts.append(tag("h3", f"{title_of(run)}: {n:,} users"))
        parts.append(
            figure(
                quality_chart(run, stale=old),
                "The further right the better; bars are 95 % intervals over users, the dashed line "
                "is twofold's" + ("; † is out of date." if old else "."),
                command,
            )
        )
        pairs = [one for one in run.pairs if one.system == OURS and one.metric == MAIN]
        if pairs:
            see = (
                "Right of 0 twofold is better, left of it the other; grey where interval or test "
                "does not tell them apart. Differences are paired over users, p after Holm."
            )
            parts.append(figure(_forest(run, pairs), see, command))
        parts.append(folded("All numbers", _numbers(run, old), _trials(run)))
        parts.append(made(_made(run)))
    if not recorded.quality:
        parts.append(nothing_yet("quality", AGAIN))
    return Section("quality", "How good the lists are", joined(parts))


def _forest(run: QualityRun, pairs: Sequence[Pair]) -> Chart:
    looks = {"ahead": "good", "behind": "bad", "tied": ""}
    told = [
        Dot(
            f"ours − {one.other}",
            one.gap.mean,
            one.gap.low,
            one.gap.high,
            looks[one.word],
            "" if one.p_holm is None else f"p {spelt_p(one.p_holm)}",
        )
        for one in sorted(pairs, key=lambda one: one.gap.mean)
    ]
    alt = f"Paired differences of NDCG@10, twofold minus each other system, on {title_of(run)}"
    return dots(alt, told, "difference of NDCG@10", form=signed, zero=True)


def signed(value: float) -> str:
    """Return a difference as it is written."""
    return f"{value:+.4f}"


def _numbers(run: QualityRun, stale: Collection[str]) -> Markup:
    named = [name for name in SHOWN if any(name in row.metrics for row in run.kind("quality"))]
    lines = [
        [
            marked(row, stale),
            f"{row.n_users:,}",
            *(spelt(row.metrics[name]) if name in row.metrics else "–" for name in named),
        ]
        for row in run.kind("quality")
    ]
    return table(["system", "users", *named], lines)


def _trials(run: QualityRun) -> Markup:
    """Return what searches of peers' settings tried on validation."""
    if not run.trials:
        return Markup("")
    lines = [
        [
            one.system,
            ", ".join(f"{name} {value}" for name, value in one.settings.items()),
            "skipped" if one.ndcg is None else f"{one.ndcg:.4f}",
            f"{one.seconds:.0f}",
        ]
        for one in sorted(run.trials, key=lambda one: (one.system, -(one.ndcg or 0.0)))
    ]
    head = tag("p", "Settings of peers tried on validation, one number each and no interval:")
    return joined([head, table(["peer", "settings", "NDCG@10", "seconds"], lines)])


def _command(run: QualityRun) -> str:
    return command_of("quality", {"command": run.about.command})


def _made(run: QualityRun) -> list[str]:
    found = (made_on(one.commit, one.hardware, one.run) for one in run.abouts)
    return list(dict.fromkeys(found))


def _beside_latency(recorded: Recorded) -> Section:
    parts: list[Part] = []
    for run in recorded.quality:
        points = [(row, p99) for row in run.kind("quality") if (p99 := _p99(run, row)) is not None]
        if not run.plain or not points:
            continue
        series = [
            Series(
                name,
                tuple(
                    Point(
                        p99,
                        row.metrics[MAIN].mean,
                        row.system,
                        row.metrics[MAIN].low,
                        row.metrics[MAIN].high,
                        f"{row.system}: NDCG@10 {spelt(row.metrics[MAIN])}, p99 {p99:.1f} ms",
                    )
                    for row, p99 in points
                    if (row.system in TIMED) == mine
                ),
                ours=mine,
            )
            for name, mine in (("twofold", True), ("others", False))
        ]
        chart = scatter(
            f"NDCG@10 against the 99th percentile of milliseconds on {title_of(run)}",
            [one for one in series if one.points],
            "p99, milliseconds a query",
            "NDCG@10",
            log_x=True,
        )
        parts.append(tag("h3", title_of(run)))
        see = "Up is better, left is faster. Only systems whose times were taken are here."
        parts.append(figure(chart, see, _command(run)))
        lines = [[row.system, spelt(row.metrics[MAIN]), f"{p99:.1f}"] for row, p99 in points]
        parts.append(table(["system", "NDCG@10", "p99 ms"], lines))
        parts.append(made(_made(run)))
    if not parts:
        parts.append(nothing_yet("quality with latency", AGAIN))
    return Section("quality-latency", "Quality beside latency", joined(parts))


def _p99(run: QualityRun, row: QualityRow) -> float | None:
    """Return a system's 99th percentile: its own, or that of the row of times that is its."""
    timed = run.of(TIMED.get(row.system, row.system), kind="latency")
    return row.latency_ms.get("p99") or (None if timed is None else timed.latency_ms.get("p99"))


def _buckets(recorded: Recorded) -> Section:
    parts: list[Part] = []
    for run in recorded.quality:
        shown = [dot for group in run.groups for dot in _group(run, group)]
        if not run.plain or not shown:
            continue
        alt = f"NDCG@10 by group of users and slice of items on {title_of(run)}"
        parts.append(tag("h3", title_of(run)))
        see = (
            "Where both stages gain and where they do not: twofold in each group beside stage one "
            "and the best of the others there. Item slices count labels, not users."
        )
        parts.append(figure(dots(alt, shown, "NDCG@10"), see, _command(run)))
        parts.append(made(_made(run)))
    parts += _stage_one_slices(recorded)
    if not parts:
        parts.append(nothing_yet("slices", AGAIN))
    return Section("buckets", "Whom and what it serves well", joined(parts))


def _group(run: QualityRun, group: str) -> list[Dot]:
    """Return twofold, stage one and the best other of a group."""
    others = [row for name in run.opponents if (row := run.of(name, group)) is not None]
    others = [row for row in others if MAIN in row.metrics]
    best = [max(others, key=lambda row: row.metrics[MAIN].mean)] if others else []
    mine = [row for name in (OURS, FUSED) if (row := run.of(name, group)) is not None]
    return [
        _dot(f"{group} · {row.system}", row, "ours" if row.system == OURS else "")
        for row in (*mine, *best)
        if MAIN in row.metrics
    ]


def _stage_one_slices(recorded: Recorded) -> list[Part]:
    rows = recorded.latest("retrieval", lambda row: (row["dataset"], row["n_items"], row["cell"]))
    sets: dict[str, list[Row]] = {}
    for row in rows:
        if row["cell"] == "slices":
            sets.setdefault(row["dataset"], []).append(row)
    parts: list[Part] = []
    for dataset, mine in sets.items():
        shown = [
            Dot(
                f"{row['slice']} ({row['n_users']:,} users)",
                row["recall@100"]["mean"],
                row["recall@100"]["low"],
                row["recall@100"]["high"],
                "series s0",
            )
            for row in mine
        ]
        alt = f"Recall at 100 of stage one by slice of users and items on {dataset}"
        parts.append(tag("h3", f"{dataset}: what stage one finds, by slice"))
        see = "How much of what is held out stands among stage one's hundred; 95 % intervals."
        chart = dots(alt, shown, "recall@100")
        parts.append(figure(chart, see, command_of("retrieval", mine[0])))
        parts += [made(circumstances(mine)), outdated(recorded.stale("retrieval", dataset))]
    return parts


def _published(recorded: Recorded) -> Section:
    parts: list[Part] = []
    for (suite, dataset, split), published in PUBLISHED.items():
        mine = (run for run in recorded.runs(suite) if run.plain)
        run = next((r for r in mine if (r.about.dataset, r.about.split) == (dataset, split)), None)
        parts.append(tag("h3", f"{dataset}, {split}"))
        if run is None:
            again = f"python -m benchmarks {suite} {dataset} --record"
            parts.append(nothing_yet("our own systems on this data set", again))
        else:
            see = "Filled: run here, with 95 % intervals. Open: published, which came without."
            parts.append(figure(_published_chart(run, published), see, _command(run)))
            parts.append(made(_made(run)))
        parts.append(_published_table(run, published))
        parts += [tag("p", note) for note in published.notes]
    return Section("published", "Beside published numbers", joined(parts))


def _here(run: QualityRun, published: Table) -> list[QualityRow]:
    """Return the rows to stand beside published ones: not the parts of twofold."""
    names = (*published.beside, *run.opponents, FUSED, INSIDE, OURS)
    return [row for name in names if (row := run.of(name)) is not None]


def _published_chart(run: QualityRun, published: Table) -> Chart:
    theirs = [Dot(row.system, row.numbers["NDCG@10"], look="published") for row in published.rows]
    mine = [
        _dot(row.system, row, "ours" if row.system == OURS else "") for row in _here(run, published)
    ]
    shown = sorted([*theirs, *mine], key=lambda one: -one.mean)
    alt = f"Published NDCG@10 beside what was run here on {title_of(run)}"
    return dots(alt, shown, "NDCG@10")


def _published_table(run: QualityRun | None, published: Table) -> Markup:
    lines: list[list[Part]] = []
    for row in published.rows:
        told = [f"{row.numbers[n]:.4f}" if n in row.numbers else "–" for n in published.columns]
        lines.append([row.system, tag("span", "published", class_="badge"), *told, row.source])
    for one in _here(run, published) if run is not None else ():
        found = (one.metrics.get(metric) for metric in published.columns.values())
        told = [spelt(number) if number is not None else "–" for number in found]
        badge = tag("span", "run here", class_="badge here")
        lines.append([one.system, badge, *told, f"commit {str(one.about.commit)[:10]}"])
    return table(["system", "", *published.columns, "source"], lines)
