"""What a reranker adds to what a user's text retrieves, as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.report.published import BY_TEXT
from benchmarks.report.quality_rows import FUSED, INSIDE, OURS, QualityRun, interval
from benchmarks.report.recorded import Recorded, Row, made_on
from benchmarks.report.verdicts import spelt
from twofold.evaluation.report import Row as Line
from twofold.evaluation.report import markdown_table

METRICS = ("recall@10", "ndcg@10", "mrr@10")
KEPT = tuple(f"{name}, known items kept" for name in BY_TEXT)
SHOWN = (*KEPT, *BY_TEXT, "popularity", FUSED, "logistic regression", "LambdaRank", INSIDE, OURS)
PAIRED = (BY_TEXT[1], FUSED, "LambdaRank")


def profiles_pages(recorded: Recorded) -> Iterator[str]:
    """Yield a section a data set: lists by text and by both stages, gains, and labelled pairs."""
    rows = recorded.latest("profiles", lambda row: (row["dataset"], row["cell"]))
    for run in recorded.runs("profiles"):
        mine = [row for row in rows if row["dataset"] == run.about.dataset]
        yield f"## {run.about.dataset}: what a text retrieves, reranked\n"
        yield f"```sh\npython -m benchmarks profiles {run.about.dataset} --record\n```\n"
        share = next(row["share_there"] for row in mine if "share_there" in row)
        yield (
            "`text alone` is the hundred items nearest to what a user's profile says; `reranked` "
            "is both stages. What users took of items without a text counts as missed: of all that "
            f"is held out {share:.3f} can be found.\n"
        )
        found = [row for name in SHOWN if (row := run.of(name)) is not None]
        lines = [Line(row.system, row.group, row.n_users, row.metrics) for row in found]
        yield markdown_table(lines, METRICS)
        yield "\n".join([*_gains(mine), *_gaps(run), *_labelled(mine)]) + "\n"
        made = (made_on(one.commit, one.hardware, one.run) for one in run.abouts)
        yield f"{'; '.join(f'{one[:1].upper()}{one[1:]}' for one in dict.fromkeys(made))}.\n"


def _gains(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row["kind"] == "gain":
            told = f"{row['mean']:+.0%} [{row['low']:+.0%}, {row['high']:+.0%}]"
            yield f"- {row['metric']}, {row['system']} against {row['other']}: {told}"


def _gaps(run: QualityRun) -> Iterator[str]:
    for name in PAIRED:
        pair = run.pair(name, METRICS[0])
        if pair is not None:
            yield f"- {METRICS[0]}, {OURS} − {name}: {spelt(pair.gap, '+')}"


def _labelled(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row["kind"] == "pairs":
            auc, within = (interval(row["metrics"][name]) for name in ("auc", "gauc"))
            yield (
                f"- AUC of {row['n_pairs']:,} labelled pairs of {row['n_users']} users, "
                f"{row['system']}: {spelt(auc)}; within users {spelt(within)}"
            )
        if row["kind"] == "auc":
            yield f"- AUC, {row['system']} − {row['other']}: {spelt(interval(row), '+')}"
