"""A small world of which a part comes after the build, and ways to bring it."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from tests.twofold.small_world import small_tables
from twofold.build import build
from twofold.indexing.artefact import open_artefact
from twofold.indexing.dataset import Dataset
from twofold.indexing.live_events import read_live_events
from twofold.indexing.live_items import ItemForm, read_live_items, written
from twofold.indexing.live_log import ItemChange, LiveLog
from twofold.settings import Settings

INTERACTIONS, ITEMS = small_tables()
N_FIRST_ITEMS, N_FIRST = 55, 650
FIRST_ITEMS = ITEMS[:N_FIRST_ITEMS]
FIRST = INTERACTIONS.filter(pl.col("item_id").is_in(FIRST_ITEMS["item_id"].to_list()))[:N_FIRST]
REST = INTERACTIONS.join(FIRST, on=INTERACTIONS.columns, how="anti", maintain_order="left")


def build_first(out: Path, settings: Settings) -> None:
    """Build an artefact of what was there first."""
    build(FIRST, FIRST_ITEMS, out, settings)


def bring_items(root: Path, items: pl.DataFrame) -> None:
    """Append items to an artefact's log, their vectors still to be made."""
    generation = open_artefact(root)
    table, data = Dataset.open(generation).table, _settings(root).data
    rows = read_live_items(
        items,
        ItemForm.of(table, data),
        lambda ids: table.filter(pl.col("item_id").is_in(ids)),
    )
    assert rows is not None
    log = LiveLog(root)
    told = zip(rows.ids, written(rows.frame), rows.texts, strict=True)
    log.append_items([ItemChange(one, "put", about, text) for one, about, text in told])
    log.close()


def remove_items(root: Path, items: list[str]) -> None:
    """Append to an artefact's log that items went."""
    log = LiveLog(root)
    log.append_items([ItemChange(one, "remove") for one in items])
    log.close()


def bring_events(root: Path, events: pl.DataFrame) -> None:
    """Append events to an artefact's log."""
    log = LiveLog(root)
    log.append(read_live_events(events, _settings(root).data, ITEMS["item_id"].to_list()))
    log.close()


def bring_rest(root: Path) -> None:
    """Append all that the whole world has beyond what was there first."""
    bring_items(root, ITEMS[N_FIRST_ITEMS:])
    bring_events(root, REST)


def _settings(root: Path) -> Settings:
    from twofold.settings_file import from_values

    return from_values(Settings, open_artefact(root).manifest["settings"])
