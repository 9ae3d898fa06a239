"""The command that tells an artefact what came since it was built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twofold.indexing.errors import InputError
from twofold.options import Artefact, Json, begin
from twofold.terminal import say, say_json

if TYPE_CHECKING:
    from twofold.catalogue import Catalogue
    from twofold.indexing.dataset import Dataset
    from twofold.indexing.generation import Generation
    from twofold.indexing.live_log import LiveLog
    from twofold.settings import Settings

app = typer.Typer()


@app.command()
def update(
    artefact: Artefact,
    events: Annotated[
        list[Path] | None,
        typer.Option(
            "--events", "-e", metavar="FILE", help="Table of what users did since, as for build."
        ),
    ] = None,
    items: Annotated[
        list[Path] | None,
        typer.Option(
            "--items", "-i", metavar="FILE", help="Table of items that are new or changed."
        ),
    ] = None,
    remove: Annotated[
        list[Path] | None,
        typer.Option("--remove", metavar="FILE", help="Table of ids of items that are no more."),
    ] = None,
    forget_built: Annotated[
        bool,
        typer.Option(
            "--forget-built", help="Forget what came since, where the current build holds it."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Tell an artefact what users did since it was built, and which items came, changed or went.

    Every process that serves it takes it in at the next request. Items come first, then those that
    go, then events, each table wholly or, where it cannot be used, not at all. What was learned
    stays as it is until the next build.
    """
    begin(as_json=as_json)
    from twofold.indexing.artefact import open_artefact
    from twofold.indexing.dataset import Dataset
    from twofold.settings import Settings
    from twofold.settings_file import from_values

    if not (events or items or remove or forget_built):
        raise InputError(
            "update needs --events FILE, --items FILE, --remove FILE or --forget-built"
        )
    generation = open_artefact(artefact)
    settings = from_values(Settings, generation.manifest["settings"])
    told = _take_in(generation, Dataset.open(generation), settings, events, items, remove)
    if forget_built:
        told |= _forget(generation, Dataset.open(generation))
    if as_json:
        say_json(told)
        return
    if items:
        say(f"{told['items']:,} items are in force")
    if remove:
        say(f"{told['removed']:,} items are removed")
    if events:
        say(f"{told['events']:,} events of {told['users']:,} users are in force")
    if forget_built:
        say(f"{told['forgotten']:,} events that the build holds are forgotten")
        if told["forgotten_items"]:
            say(f"{told['forgotten_items']:,} changes of items that it holds are forgotten")


def _take_in(
    generation: Generation,
    dataset: Dataset,
    settings: Settings,
    events: list[Path] | None,
    items: list[Path] | None,
    remove: list[Path] | None,
) -> dict[str, int]:
    """Write what tables say to the log, and return how many of what that was."""
    from twofold.indexing.live_events import read_live_events
    from twofold.indexing.live_items import ItemForm, read_item_ids
    from twofold.indexing.live_log import LiveLog
    from twofold.item_changes import changes_of, removals_of, write
    from twofold.query_encoder import QueryEncoder

    log = LiveLog(generation.root)
    catalogue, _ = _current(generation, dataset, log)
    changed, removed = 0, 0
    if items:
        form = ItemForm.of(dataset.table, settings.data)
        encoder = QueryEncoder(generation, settings.text)
        changes = changes_of(
            items,
            "put",
            form,
            catalogue,
            lambda _, texts: encoder.documents(texts),
            int(generation.manifest["dimension"]),
        )
        write(log, changes, "put", lambda: _current(generation, dataset, log))
        changed = len(changes)
    if remove:
        ids = read_item_ids(remove, settings.data)
        write(log, removals_of(ids), "remove", lambda: _current(generation, dataset, log))
        removed = len(ids)
    catalogue, _ = _current(generation, dataset, log)
    read = read_live_events(events, settings.data, catalogue.items) if events else []
    log.append(read)
    return {
        "events": len(read),
        "users": len({event.user for event in read}),
        "items": changed,
        "removed": removed,
    }


def _current(generation: Generation, dataset: Dataset, log: LiveLog) -> tuple[Catalogue, int]:
    """Return the items as they are now, and the number of the last change of one."""
    from twofold.catalogue import Catalogue
    from twofold.indexing.live_log import REMOVED, Position

    removed = generation.json(REMOVED) if generation.has(REMOVED) else ()
    start = Position.of(generation.manifest)
    changes, last = log.item_changes_after(start.items)
    return Catalogue.of(dataset, removed).after(changes)[0], last


def _forget(generation: Generation, dataset: Dataset) -> dict[str, int]:
    """Forget what the build holds itself, and return how much that was."""
    from twofold.indexing.live_log import LiveLog
    from twofold.live_users import held_by

    log = LiveLog(generation.root)
    return {
        "forgotten": log.forget(lambda event: held_by(dataset, event)),
        "forgotten_items": log.forget_items(lambda change: change.item in dataset.items),
    }
