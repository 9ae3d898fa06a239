"""The data sets of the suites: where their tables are, and how they are read and split."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from twofold.indexing.errors import InputError
from twofold.indexing.splits import Protocol
from twofold.movielens import fetch_movielens

MOVIELENS = "movielens-100k"
BEAUTY = "amazon-beauty-2014-5core"
IFDB = "ifdb"


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


def data_set(name: str) -> DataSet:
    """Return a data set; MovieLens is fetched, others lie in the folder ``TWOFOLD_DATA``.

    Raises
    ------
    InputError
        If its folder is missing.
    """
    if name == MOVIELENS:
        fetched = fetch_movielens()
        demo = ("window_labels=5", "ranker.training.max_epochs=2")
        return DataSet(name, fetched.interactions, fetched.items, "leave-last-n", 5, demo)
    folder = Path(os.environ.get("TWOFOLD_DATA", "data")) / name
    if not folder.is_dir():
        raise InputError(f"no folder {folder}; set TWOFOLD_DATA to the folder of the data sets")
    items = folder / "items.parquet"
    if name == IFDB:
        texts = 'data.text_template="{doc_text}"'
        settings = ("window_labels=1", texts, "data.drop_unknown_items=true")
        return DataSet(name, folder / "played.parquet", items, "leave-one-out", 1, settings)
    usual = ("window_labels=1", 'data.text_template="{title}"')
    return DataSet(name, folder / "interactions.parquet", items, "leave-one-out", 1, usual)
