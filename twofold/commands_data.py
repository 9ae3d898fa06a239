"""Commands that look at tables: data describe and data validate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twofold.options import Config, Json, Preset, Set, begin, settings_from
from twofold.terminal import say, say_json, say_rows

if TYPE_CHECKING:
    from twofold.settings import Settings

app = typer.Typer()
data = typer.Typer(
    help="Look at tables before building: describe, validate.", rich_markup_mode=None
)
app.add_typer(data, name="data")

Interactions = Annotated[
    Path,
    typer.Argument(
        metavar="INTERACTIONS", help="Table of who did what with which item: csv, jsonl or parquet."
    ),
]
Items = Annotated[
    Path | None, typer.Argument(metavar="ITEMS", help="Table of the items and their texts.")
]
DropUnknown = Annotated[
    bool,
    typer.Option(
        "--drop-unknown-items", help="Leave out interactions with items that ITEMS lacks; counted."
    ),
]


@data.command()
def describe(
    interactions: Interactions,
    items: Items = None,
    drop_unknown_items: DropUnknown = False,
    preset: Preset = None,
    config: Config = None,
    overrides: Set = None,
    as_json: Json = False,
) -> None:
    """Say how tables are understood, and the numbers that decide what to expect of them.

    Counts, density, range of times, ties in time, coverage by texts, lengths of histories.
    """
    progress = begin(as_json=as_json)
    settings = _settings(preset, config, overrides, drop=drop_unknown_items)
    from twofold.indexing.dataset import load_dataset
    from twofold.indexing.describe import describe as count

    dataset = load_dataset(
        interactions, items, settings.data, seed=settings.seed, progress=progress
    )
    description = count(dataset)
    if as_json:
        say_json({**description.to_dict(), "notes": dataset.notes})
        return
    rows = description.to_rows()
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        say(f"{name:<{width}}  {value}")
    say()
    for note in dataset.notes:
        say(f"- {note}")


@data.command()
def validate(
    interactions: Interactions,
    items: Items = None,
    drop_unknown_items: DropUnknown = False,
    preset: Preset = None,
    config: Config = None,
    overrides: Set = None,
    as_json: Json = False,
) -> None:
    """Report everything that is wrong with tables, not only the first mistake.

    Exit code 1 where they cannot be loaded.
    """
    progress = begin(as_json=as_json)
    settings = _settings(preset, config, overrides, drop=drop_unknown_items)
    from twofold.indexing.validate import validate as check

    report = check(interactions, items, settings.data, progress=progress)
    if as_json:
        say_json(report.to_dict())
    else:
        rows = [
            {"check": name, "outcome": outcome, "details": details}
            for name, outcome, details in report.to_rows()
        ]
        say_rows(rows, as_json=False)
        verdict = "they can be loaded" if report.ok else "they cannot be loaded"
        say(f"\n{report.n_interactions:,} interactions, {report.n_items:,} items: {verdict}")
    if not report.ok:
        raise typer.Exit(1)


def _settings(
    preset: str | None, config: Path | None, overrides: list[str] | None, *, drop: bool
) -> Settings:
    more = ["data.drop_unknown_items=true"] if drop else []
    return settings_from(config, [*(overrides or ()), *more], preset=preset)
