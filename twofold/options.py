"""Arguments and options that several commands share, and what every command does first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from twofold.indexing.progress import Progress
    from twofold.settings import Settings

Artefact = Annotated[
    Path, typer.Argument(metavar="ARTEFACT", help="Folder that `twofold build` made.")
]
Interactions = Annotated[
    list[Path],
    typer.Option(
        "--interactions",
        "-i",
        metavar="FILE",
        help="Table of who did what with which item: csv, jsonl (.gz) or parquet. Repeat it for "
        "several files.",
    ),
]
Items = Annotated[
    list[Path] | None,
    typer.Option(
        "--items", "-t", metavar="FILE", help="Table of the items and their texts, likewise."
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="Settings in TOML; `twofold settings` writes one."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="One setting, as section.key=value; wins over the file.",
    ),
]
Repeat = Annotated[
    bool,
    typer.Option(
        "--repeat",
        help="Recommend again what a user has had, as for groceries: short for "
        "--set stage_one.repeat=true.",
    ),
]
K = Annotated[int, typer.Option("-k", min=1, max=10_000, help="How many items a list.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Cores to use; all where it is left out.")
]
RuntimeName = Annotated[
    str,
    typer.Option(
        "--runtime",
        metavar="NAME",
        help="Precision of the ranker: float32, bfloat16, int8, or auto for the fastest sound one "
        "on this machine.",
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        "--budget-ms",
        metavar="MS",
        help="Rerank as many candidates as this many milliseconds allow.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="JSON lines on stdout, and logs as JSON lines on stderr.")
]


def begin(*, as_json: bool) -> Progress:
    """Set up this process's logs and return who shows its progress."""
    import logging

    from twofold.console import make_console, make_progress, set_up_logging

    console = make_console()
    verbose = logging.getLogger("twofold").level == logging.DEBUG
    set_up_logging(console, as_json=as_json, verbose=verbose)
    return make_progress(console, as_json=as_json)


def settings_from(
    config: Path | None, overrides: list[str] | None, *, repeat: bool = False
) -> Settings:
    """Return the settings that a command was given."""
    from twofold.settings import load_settings

    short = ["stage_one.repeat=true"] if repeat else []
    return load_settings(config, [*short, *(overrides or ())])
