"""The command that trains the ranker of an artefact anew."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from twofold.options import Artefact, Config, Json, Set, begin
from twofold.terminal import say, say_json

app = typer.Typer()


@app.command("train-ranker")
def train_ranker(
    artefact: Artefact,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder to write to; ARTEFACT gets a generation if it is left out.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="Labels of your own to train on, a table of user_id, item_id and label, 0 or 1.",
        ),
    ] = None,
    drop_unknown: Annotated[
        bool,
        typer.Option("--drop-unknown", help="Leave out labels of unknown users or items."),
    ] = False,
    config: Config = None,
    overrides: Set = None,
    as_json: Json = False,
) -> None:
    """Train the ranker of an artefact anew; all else stays as it was built.

    Settings are those of the build, with --config and then --set on top: [ranker] and what labels
    are held out may change, nothing else. An interrupted training is taken up where it stood when
    the same command runs again.
    """
    progress = begin(as_json=as_json)
    from twofold.retraining import train_ranker as train
    from twofold.retraining import training_settings

    settings = training_settings(artefact, config, tuple(overrides or ()))
    report = train(
        artefact, settings, labels=labels, drop_unknown=drop_unknown, out=out, progress=progress
    )
    if as_json:
        say_json(asdict(report))
        return
    say(str(report))
