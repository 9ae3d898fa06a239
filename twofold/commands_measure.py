"""Commands that measure and show: evaluate and demo."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from twofold.options import (
    Config,
    Interactions,
    Items,
    Json,
    Preset,
    Repeat,
    Set,
    begin,
    settings_from,
)
from twofold.terminal import cell, say, say_json, table

if TYPE_CHECKING:
    from twofold.evaluate import Evaluation

app = typer.Typer()
ProtocolName = Literal["auto", "leave-one-out", "leave-last-n", "global-time", "file"]


@app.command()
def evaluate(
    interactions: Interactions,
    items: Items = None,
    protocol: Annotated[
        ProtocolName, typer.Option("--protocol", "-p", help="What to hold out.")
    ] = "auto",
    n: Annotated[int, typer.Option("-n", min=1, help="Labels a user for leave-last-n.")] = 5,
    skip: Annotated[
        int,
        typer.Option(
            "--skip", min=0, help="Leave out each user's last labels first: tune there, test once."
        ),
    ] = 0,
    preset: Preset = None,
    config: Config = None,
    overrides: Set = None,
    repeat: Repeat = False,
    as_json: Json = False,
) -> None:
    """Learn without the held-out part, and measure every source and both stages on it."""
    progress = begin(as_json=as_json)
    settings = settings_from(config, overrides, preset=preset, repeat=repeat)
    from twofold.evaluate import evaluate as measure

    found = measure(
        interactions,
        items,
        settings,
        protocol=protocol,
        n=n,
        skip=skip,
        name=interactions[0].stem,
        progress=progress,
    )
    show(found, as_json=as_json)


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the artefact.")
    ] = Path("movies.twofold"),
    quick: Annotated[
        bool, typer.Option("--quick", help="A smaller training, under two minutes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Do all of it on MovieLens-100k: fetch, evaluate, build, recommend."""
    progress = begin(as_json=as_json)
    from twofold.demo import run_demo

    run_demo(out, quick=quick, as_json=as_json, progress=progress)


def show(found: Evaluation, *, as_json: bool) -> None:
    """Write an evaluation: tables for people, one JSON line a row for machines."""
    from twofold.evaluation.report import json_line, markdown_table

    if as_json:
        for row in (*found.rows, *found.slices):
            say(json_line(row, found.circumstances))
        pairs = {**found.comparisons, **found.probabilities}
        adjusted = {name: {"p_holm": p} for name, p in found.p_values.items()}
        say_json({name: asdict(one) | adjusted.get(name, {}) for name, one in pairs.items()})
        return
    where = found.circumstances
    say(f"{where.dataset}: {where.split} ({where.split_reason}); {where.protocol}")
    measured = [row for row in found.rows if not row.latency_ms]
    say(
        markdown_table(measured, ["ndcg@10", "hit_rate@10", "recall@10", "mrr@10"], intervals=False)
    )
    # Rows of labels come last and have the number of labels besides.
    say(markdown_table(found.slices, list(found.slices[-1].metrics) if found.slices else []))
    pairs = {**found.comparisons, **found.probabilities}
    rows = [
        {
            "measure": name,
            "value": one.mean,
            "95 % interval": f"{cell(one.low)} .. {cell(one.high)}",
        }
        for name, one in pairs.items()
    ]
    say(table(rows))
    timed = [{"stage": row.name, **row.latency_ms} for row in found.rows if row.latency_ms]
    say(table([{**row, "unit": "ms"} for row in timed]))
