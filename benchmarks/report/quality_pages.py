"""What the suite ``quality`` measured, as Markdown for the results page and the README."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.report.charts import Chart, panels
from benchmarks.report.quality_rows import (
    FUSED,
    INSIDE,
    OURS,
    QualityRow,
    QualityRun,
)
from benchmarks.report.quality_sections import quality_chart
from benchmarks.report.recorded import Recorded, made_on
from benchmarks.report.verdicts import all_verdicts, spelt, spelt_p
from twofold.evaluation.intervals import Interval
from twofold.evaluation.report import Row, markdown_table

METRICS = ("ndcg@10", "hit_rate@10", "recall@10", "mrr@10")
SOURCES = ("popularity", "collaborative", "neighbours", "covisits", "text")
STAGES = (FUSED, "logistic regression", "LambdaRank", INSIDE, OURS)
ASSETS = "docs/assets"
DRAWING = "quality.svg"


def quality_pages(recorded: Recorded) -> Iterator[str]:
    """Yield where twofold is not first, and a section a run."""
    yield "## Where twofold is first, and where not\n"
    yield f"{_first(recorded)}\n"
    for run in recorded.quality:
        yield f"## {_title(run)}\n"
        yield f"```sh\n{run.about.command} --record\n```\n"
        names = (*SOURCES, *(name for name in run.peers if name not in SOURCES), *STAGES)
        shown = [row for name in names if (row := run.of(name)) is not None]
        yield markdown_table([_row(run, row) for row in shown], METRICS)
        yield "\n".join(_sentences(run)) + "\n"
        yield f"{'; '.join(_made(run))}.\n"


def _first(recorded: Recorded) -> str:
    """Return how twofold stands to all others: where it is behind first."""
    return "\n".join(f"- **{word}**: {text}" for word, text in all_verdicts(recorded))


def readme_quality(recorded: Recorded) -> Iterator[str]:
    """Yield the README's lines, drawing and tables of quality, of runs without overrides."""
    plain = _plain(recorded)
    yield f"{_first(recorded)}\n"
    yield f"![{drawing(recorded).alt}]({ASSETS}/{DRAWING})\n"
    for run in plain:
        shown = [row for name in _readme_systems(run) if (row := run.of(name)) is not None]
        table = markdown_table([_row(run, row) for row in shown], ("ndcg@10", "hit_rate@10"))
        yield f"{run.about.dataset}, {run.about.split}, {shown[-1].n_users:,} users:\n\n{table}"


def drawing(recorded: Recorded) -> Chart:
    """Return the README's chart: NDCG@10 of its systems, a panel a run without overrides."""
    plain = _plain(recorded)
    alt = (
        "NDCG@10 with 95 % intervals of twofold and of what it is measured beside, on "
        f"{' and '.join(run.about.dataset for run in plain)}"
    )
    charts = [(_title(run), quality_chart(run, _readme_systems(run))) for run in plain]
    return panels(alt, charts)


def _plain(recorded: Recorded) -> list[QualityRun]:
    return [run for run in recorded.quality if run.plain and run.of(OURS) is not None]


def _readme_systems(run: QualityRun) -> tuple[str, ...]:
    return tuple(dict.fromkeys(["popularity", *run.peers, FUSED, "LambdaRank", OURS]))


def _title(run: QualityRun) -> str:
    title = f"{run.about.dataset}, {run.about.split}"
    for one in run.about.overrides:
        name, _, value = one.partition("=")
        if name == "skip_labels":
            title += f", stage two trained without each user's latest {value} labels"
        else:
            title += f", {one}"
    return title


def _row(run: QualityRun, row: QualityRow) -> Row:
    """Return a row as tables show it, its differences against twofold."""
    told = {one.metric: _turned(one.gap) for one in run.pairs if one.other == row.system}
    return Row(row.system, row.group, row.n_users, row.metrics, OURS, told)


def _turned(gap: Interval) -> Interval:
    return Interval(-gap.mean, -gap.high, -gap.low, gap.n_users)


def _sentences(run: QualityRun) -> Iterator[str]:
    """Yield what the reranker gains, how its probabilities do, and how long it takes."""
    for name in (*run.peers, FUSED, "logistic regression", "LambdaRank", INSIDE):
        pair = run.pair(name)
        if pair is not None:
            p = "" if pair.p_holm is None else f", p {spelt_p(pair.p_holm)} after Holm"
            yield f"- NDCG@10, reranked − {name}: {spelt(pair.gap, '+')}{p}"
    for row in run.kind("probabilities"):
        for name, gap in row.metrics.items():
            measure, _, other = name.partition(" - ")
            if other and measure in ("log_loss", "brier"):
                yield f"- {measure}, reranked − {other}: {spelt(gap, '+', 5)}"
        if {"ece", "base_rate"} <= set(row.metrics):
            ece, rate = row.metrics["ece"].mean, row.metrics["base_rate"].mean
            yield f"- ece {ece:.4f}, {ece / rate:.1%} of the base rate {rate:.4f}"
    for row in run.kind("ceiling"):
        for name, one in sorted(row.metrics.items()):
            yield f"- ceiling: {name} {one.mean:.4f}"
    for row in run.kind("latency"):
        told = " / ".join(f"{row.latency_ms[p]:.1f}" for p in ("p50", "p95", "p99"))
        yield f"- {row.system}, p50 / p95 / p99: {told} ms a query"


def _made(run: QualityRun) -> list[str]:
    made = (made_on(one.commit, one.hardware, one.run) for one in run.abouts)
    return [f"{one[:1].upper()}{one[1:]}" for one in dict.fromkeys(made)]
