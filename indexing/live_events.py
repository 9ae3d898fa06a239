"""Tables of events that came after a build, read by the rules of the build."""

from __future__ import annotations

import time
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from twofold.indexing.data_settings import DataSettings
from twofold.indexing.event_values import RATING
from twofold.indexing.interaction_table import read_interactions
from twofold.indexing.live_log import LiveEvent
from twofold.indexing.problems import Problems
from twofold.indexing.tables import Source, read_table


def read_live_events(
    events: Source | Sequence[Mapping[str, Any]], settings: DataSettings, known: Container[str]
) -> list[LiveEvent]:
    """Return the events of a table, in its order; without times they are of now.

    Parameters
    ----------
    events
        Path, list of paths, or pandas, polars or Arrow table, or rows as dictionaries, with the
        columns that the build's interactions may have.
    settings
        How the build's tables were read.
    known
        Ids of the items.

    Raises
    ------
    DataError
        If the table cannot be used, or a row names no known item; nothing of it counts then.
    """
    rows_given = _rows(events)
    if rows_given is not None and not len(rows_given):
        return []
    table = read_table(events if rows_given is None else pl.DataFrame(rows_given), "events")
    problems = Problems(strict=True)
    told = read_interactions(table, settings, problems, known=None, to_learn=False)
    frame = told.frame
    strange = [place for place, item in enumerate(frame["item"].to_list()) if item not in known]
    problems.refuse(
        table,
        "items are known",
        frame["row"][strange].to_numpy(),
        column=told.columns["item"],
        values=frame["item"][strange[:5]].to_list(),
        expected="an item of the build",
        remedy="leave the row out, or add the item first",
    )
    if not told.has_times:
        frame = frame.with_columns(pl.lit(int(time.time() * 1000)).alias("time"))
    names = np.array(told.kinds, dtype=object)[frame["kind"].to_numpy()]
    if "rating" in told.columns:
        # A level is the build's to tell, which knows more ratings than these.
        given = table.frame[told.columns["rating"]][frame["row"].to_numpy()]
        names = np.array([f"{RATING}{float(value):g}" for value in given.to_list()], dtype=object)
    columns = ("user", "item", "time", "weight", "sign", "seen", "label")
    rows = frame.select(columns).iter_rows()
    return [
        LiveEvent(user, item, when, str(name), weight, sign, seen, label)
        for name, (user, item, when, weight, sign, seen, label) in zip(names, rows, strict=True)
    ]


def _rows(events: Source | Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]] | None:
    """Return events that were given as dictionaries, ``None`` if they were not."""
    if isinstance(events, list | tuple) and all(isinstance(one, Mapping) for one in events):
        return [one for one in events if isinstance(one, Mapping)]
    return None
