"""A small world of which a part comes after the build, and ways to bring it."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from tests.twofold.small_world import small_tables
from twofold import Engine
from twofold.build import build
from twofold.indexing.artefact import open_artefact
from twofold.indexing.generation import Generation
from twofold.indexing.live_events import read_live_events
from twofold.indexing.live_log import LiveLog
from twofold.settings import Settings
from twofold.settings_file import from_values

INTERACTIONS, ITEMS = small_tables()
N_FIRST_ITEMS, N_FIRST = 55, 650
FIRST_ITEMS = ITEMS[:N_FIRST_ITEMS]
FIRST = INTERACTIONS.filter(pl.col("item_id").is_in(FIRST_ITEMS["item_id"].to_list()))[:N_FIRST]
REST = INTERACTIONS.join(FIRST, on=INTERACTIONS.columns, how="anti", maintain_order="left")
LATER = 1_900_000_000
# Whatever the ranker's weights are in, and what tells of one generation.
RANKER = (
    "ranker/model.safetensors",
    "ranker/calibration",
    "ranker/factors",
    "ranker/digests",
    "ranker/training.jsonl",
)
OWN = ("compacted.json", "drift.json", "learning.json", "measurements.json", "stages/", *RANKER)


def build_first(out: Path, settings: Settings) -> None:
    """Build an artefact of what was there first."""
    build(FIRST, FIRST_ITEMS, out, settings)


def bring_items(root: Path, items: pl.DataFrame) -> None:
    """Add items to an artefact, or change those that are there."""
    with Engine.load(root, runtime="float32") as engine:
        known = pl.col("item_id").is_in(engine.items["item_id"].to_list())
        engine.update_items(items.filter(known).to_dicts())
        engine.add_items(items.filter(~known).to_dicts())


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
    return from_values(Settings, open_artefact(root).manifest["settings"])


def hashes(generation: Generation) -> dict[str, str]:
    """Return the hashes of what a build of the same tables has to have too."""
    files = generation.manifest["files"].items()
    return {name: one["sha256"] for name, one in files if not name.startswith(OWN)}


def event_of(user: str, item: str, at: int = LATER) -> pl.DataFrame:
    """Return a table of one event, by default later than all."""
    return pl.DataFrame({"user_id": [user], "item_id": [item], "timestamp": [at]})
