"""Arguments and options that several commands share, and what every command does first."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twofold.indexing.errors import InputError

if TYPE_CHECKING:
    from twofold.indexing.progress import Progress
    from twofold.rules import Rules
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
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="Settings that suit a domain, e-commerce, news, social or video; --config and --set "
        "win over them.",
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
        help="Precision of the ranker: float32, bfloat16, int8, cuda (a GPU), or auto for the "
        "fastest sound one on this machine.",
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
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="SQL",
        help="Only items that fulfil a condition, such as \"year >= 1990 AND genre = 'Comedy'\".",
    ),
]
Allow = Annotated[
    Path | None,
    typer.Option("--allow", metavar="FILE", help="Only items listed in a file, one id a line."),
]
Deny = Annotated[
    Path | None,
    typer.Option("--deny", metavar="FILE", help="No item listed in a file, one id a line."),
]
At = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="TIME",
        help="When items must be available, such as 2030-01-31T12:00Z; now, if it is left out.",
    ),
]
AtMost = Annotated[
    list[str] | None,
    typer.Option(
        "--at-most",
        metavar="COLUMN=N",
        help="At most N items of one value of a column in a list. Repeat it for several columns.",
    ),
]
Diversity = Annotated[
    float,
    typer.Option(
        "--diversity",
        metavar="X",
        help="0 to 1: how much an item loses for being like one before it in the list.",
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


def rules_from(
    where: str | None,
    allow: Path | None,
    deny: Path | None,
    at: str | None,
    at_most: list[str] | None,
    diversity: float,
) -> Rules:
    """Return the rules that a command was given."""
    from twofold.rules import Rules

    rules = Rules(diversity=diversity)
    if where is not None:
        rules["where"] = where
    if allow is not None:
        rules["allow"] = _listed_ids(allow)
    if deny is not None:
        rules["deny"] = _listed_ids(deny)
    if at is not None:
        rules["at"] = _time(at)
    if at_most:
        rules["at_most"] = dict(_cap(one) for one in at_most)
    return rules


def _listed_ids(file: Path) -> list[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"--at expected a time such as 2030-01-31T12:00Z, came '{text}'; write it so"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _cap(text: str) -> tuple[str, int]:
    column, _, number = text.rpartition("=")
    if not column or not number.isdecimal():
        raise InputError(f"--at-most expected COLUMN=N such as genre=2, came '{text}'; write it so")
    return column, int(number)


def settings_from(
    config: Path | None,
    overrides: list[str] | None,
    *,
    preset: str | None = None,
    repeat: bool = False,
) -> Settings:
    """Return the settings that a command was given."""
    from twofold.settings import load_settings

    short = ["stage_one.repeat=true"] if repeat else []
    return load_settings(config, [*short, *(overrides or ())], preset=preset)
