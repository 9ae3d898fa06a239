"""What the techniques of the training are worth, as pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.harness.records import ran_on, recorded

Row = Mapping[str, Any]
OTHERS = ("text zeroed", "fused stage one", "logistic regression", "LambdaRank")


def training_pages() -> Iterator[str]:
    """Return a section a data set: the latest row of each cell, validation beside the test."""
    sets: dict[str, dict[str, Row]] = {}
    for told in recorded("training"):
        known = told.get("init_from", told["settings"].get("init_from"))
        name = told["cell"] if known is None else f"{told['cell']}, from ranker {known[:8]}"
        sets.setdefault(told["dataset"], {})[name] = told
    for dataset, cells in sets.items():
        yield f"## {dataset}: what each technique of the training is worth\n"
        yield f"```sh\npython -m benchmarks training {dataset} --record\n```\n"
        yield (
            "One technique a row, all else as by default. Validation is of the users for early "
            "stopping, by which defaults are chosen; the test, of all users, is shown beside it. "
            "Intervals of differences are paired over users.\n"
        )
        yield from _validation(cells)
        yield from _test(cells)
        yield from _gains(cells)
        yield f"{ran_on(next(iter(cells.values())))}"


def _validation(cells: Mapping[str, Row]) -> Iterator[str]:
    yield "| technique | stop loss | stop NDCG@10 | best epoch | weights trained | s | peak MiB |"
    yield "|---|---|---|---|---|---|---|"
    for name, row in cells.items():
        spent = row["cell_seconds"] if "cell_seconds" in row else row["seconds"]
        most = row["cell_peak_mb"] if "cell_peak_mb" in row else row["peak_rss_mb"]
        yield (
            f"| {name} | {row['stop_loss']:.5f} | {row['stop_ndcg10']:.4f} | {row['best_epoch']} "
            f"of {row['n_epochs']} | {row['n_trained']:,} | {spent:.0f} | {most:,.0f} |"
        )
    yield ""


def _test(cells: Mapping[str, Row]) -> Iterator[str]:
    head = "technique | NDCG@10 | relative to default, % | AUC | PR-AUC | log-loss | ECE"
    yield f"| {head} |"
    yield "|---|---|---|---|---|---|---|"
    for name, row in cells.items():
        gap = row["relative_to_default"]
        spelt = "–"
        if name != "default":
            spelt = f"{gap['mean']:+.2%} [{gap['low']:+.2%}, {gap['high']:+.2%}]"
        ndcg = row["ndcg10"]
        yield (
            f"| {name} | {ndcg['mean']:.4f} [{ndcg['low']:.4f}, {ndcg['high']:.4f}] | {spelt} | "
            f"{row['auc']['mean']:.4f} | {row['pr_auc']['mean']:.4f} | "
            f"{row['log_loss']['mean']:.5f} | {row['ece']['mean']:.4f} |"
        )
    yield ""


def _gains(cells: Mapping[str, Row]) -> Iterator[str]:
    """Return what the default gains over what it competes with."""
    default = cells.get("default")
    if default is None:
        return
    for other in OTHERS:
        gap = default["differences"][other]
        yield (
            f"- NDCG@10, default − {other}: {gap['mean']:+.4f} "
            f"[{gap['low']:+.4f}, {gap['high']:+.4f}]"
        )
    yield ""
