"""The data sets of the suites: where their tables are, and how they are read and split."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from twofold.indexing.errors import InputError
from twofold.indexing.splits import Protocol
from twofold.movielens import fetch_movielens

MOVIELENS = "movielens-100k"
BEAUTY = "amazon-beauty-2014-5core"
IFDB = "ifdb"
ONLINE_RETAIL = "online-retail-part"
COMPLETE_JOURNEY = "complete-journey"

TABLES = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz")
TITLES = 'data.text_template="{title}"'


@dataclass(frozen=True)
class DataSet:
    """Tables, and how to read and split them.

    Parameters
    ----------
    name
        Name for people and records.
    interactions, items
        Paths of the tables.
    protocol, n_labels
        How the test is held out.
    settings
        ``section.key=value`` beside the defaults.
    """

    name: str
    interactions: Path
    items: Path
    protocol: Protocol
    n_labels: int
    settings: tuple[str, ...]

    def under(self, protocol: Protocol | None, n_labels: int | None) -> DataSet:
        """Return the same tables held out otherwise, where another protocol is asked for."""
        return replace(
            self,
            protocol=self.protocol if protocol is None else protocol,
            n_labels=self.n_labels if n_labels is None else n_labels,
        )


def data_set(name: str) -> DataSet:
    """Return a data set; MovieLens is fetched, others lie in the folder ``TWOFOLD_DATA``.

    Raises
    ------
    InputError
        If there is no such data set, or its folder is missing.
    """
    if name not in DATA_SETS:
        raise InputError(
            f"no data set '{name}'; there are {', '.join(DATA_SETS)}; give tables of your own with "
            "--data DIR"
        )
    return DATA_SETS[name]()


def own_data_set(folder: Path, *, settings: tuple[str, ...] = ()) -> DataSet:
    """Return the tables of a folder: ``interactions`` and ``items``, split as suits the data.

    Parameters
    ----------
    folder
        Holds ``interactions.parquet`` (or csv, jsonl, gzipped or not) and ``items`` likewise.
    settings
        ``section.key=value`` beside the defaults.

    Raises
    ------
    InputError
        If a table is missing, or there are several of one name.
    """
    return DataSet(
        folder.resolve().name,
        table_in(folder, "interactions"),
        table_in(folder, "items"),
        "auto",
        1,
        settings,
    )


def table_in(folder: Path, name: str) -> Path:
    """Return the path of the one table of a name in a folder.

    Raises
    ------
    InputError
        If there is none, or several.
    """
    found = [
        folder / f"{name}{ending}" for ending in TABLES if (folder / f"{name}{ending}").exists()
    ]
    if len(found) != 1:
        told = ", ".join(one.name for one in found) or "none"
        raise InputError(
            f"one table {name}.parquet (or {', '.join(TABLES[1:])}) was expected in {folder}, "
            f"found {told}"
        )
    return found[0]


def _movielens() -> DataSet:
    fetched = fetch_movielens()
    demo = ("window_labels=5", "ranker.training.max_epochs=2")
    return DataSet(MOVIELENS, fetched.interactions, fetched.items, "leave-last-n", 5, demo)


def _beauty() -> DataSet:
    usual = ("window_labels=1", TITLES)
    folder = _folder(BEAUTY)
    tables = folder / "interactions.parquet", folder / "items.parquet"
    return DataSet(BEAUTY, *tables, "leave-one-out", 1, usual)


def _ifdb() -> DataSet:
    folder = _folder(IFDB)
    settings = (
        "window_labels=1",
        'data.text_template="{doc_text}"',
        "data.drop_unknown_items=true",
    )
    tables = folder / "interactions.parquet", folder / "items.parquet"
    return DataSet(IFDB, *tables, "file", 1, settings)


def _online_retail() -> DataSet:
    folder = _folder(ONLINE_RETAIL)
    tables = folder / "interactions.parquet", folder / "items.parquet"
    repeat = ("stage_one.repeat=true", TITLES)
    return DataSet(ONLINE_RETAIL, *tables, "global-time", 1, repeat)


def _complete_journey() -> DataSet:
    folder = _folder(COMPLETE_JOURNEY)
    tables = folder / "interactions.parquet", folder / "items.parquet"
    repeat = ("stage_one.repeat=true", TITLES, "data.drop_unknown_items=true")
    return DataSet(COMPLETE_JOURNEY, *tables, "global-time", 1, repeat)


DATA_SETS: Mapping[str, Callable[[], DataSet]] = {
    MOVIELENS: _movielens,
    BEAUTY: _beauty,
    IFDB: _ifdb,
    ONLINE_RETAIL: _online_retail,
    COMPLETE_JOURNEY: _complete_journey,
}


def _folder(name: str) -> Path:
    folder = Path(os.environ.get("TWOFOLD_DATA", "data")) / name
    if not folder.is_dir():
        raise InputError(f"no folder {folder}; set TWOFOLD_DATA to the folder of the data sets")
    return folder
