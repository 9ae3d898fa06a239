"""A log that was grown by copies: what is preserved, and that copies are no worlds apart."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from benchmarks.data.grown import MARK, earliest, grown_interactions, grown_items
from twofold.indexing.errors import InputError

COLUMNS = {"user": "user", "item": "item", "time": "at"}


@pytest.fixture
def log() -> pl.DataFrame:
    """Return a log of skewed popularity, uneven histories and repeats."""
    rng = np.random.default_rng(3)
    return pl.DataFrame(
        {
            "user": (40 * rng.random(900) ** 2).astype(int),
            "item": (60 * rng.random(900) ** 3).astype(int),
            "at": rng.permutation(900),
        }
    )


def counts(table: pl.DataFrame, *by: str) -> list[int]:
    """Return how many rows each value has, in rising order."""
    return sorted(table.group_by(*by).len()["len"].to_list())


def test_whole_copies_preserve_histories_popularity_and_repeats(log: pl.DataFrame) -> None:
    grown = grown_interactions(log, COLUMNS, 3 * len(log), seed=0)
    assert len(grown) == 3 * len(log)
    for by in (["user"], ["item"], ["user", "item"]):
        assert counts(grown, *by) == sorted(3 * counts(log, *by))
    assert sorted(grown["at"].to_list()) == sorted(3 * log["at"].to_list())


def test_the_first_copy_keeps_its_ids_and_pairs_lead_from_copy_to_copy(log: pl.DataFrame) -> None:
    grown = grown_interactions(log, COLUMNS, 3 * len(log), seed=0)
    assert set(log["user"].cast(pl.String)) <= set(grown["user"])
    copies = grown.with_columns(
        pl.col(name).str.split_exact(MARK, 1).struct.field("field_1").fill_null("0").alias(name)
        for name in ("user", "item")
    )
    crossing = float((copies["user"] != copies["item"]).mean())  # type: ignore[arg-type]
    assert 0.05 < crossing < 0.25
    again = grown_interactions(log, COLUMNS, 3 * len(log), seed=0)
    assert grown.equals(again)
    assert not grown.equals(grown_interactions(log, COLUMNS, 3 * len(log), seed=1))


def test_fewer_are_the_earliest_and_more_the_earliest_of_copies(log: pl.DataFrame) -> None:
    few = grown_interactions(log, COLUMNS, 100, seed=0)
    assert few["at"].to_list() == list(range(100))
    assert few["item"].to_list() == log.sort("at").head(100)["item"].cast(pl.String).to_list()
    more = grown_interactions(log, COLUMNS, 1000, seed=0)
    assert more["at"].to_list() == [time for time in range(500) for _ in range(2)]
    untimed = {"user": "user", "item": "item"}
    assert earliest(log, untimed, 5).equals(log.head(5))
    with pytest.raises(InputError, match="without interactions"):
        grown_interactions(log.head(0), COLUMNS, 5, seed=0)


def test_copies_of_items_have_texts_of_their_own() -> None:
    items = pl.DataFrame({"item": [1, 2, 3], "title": ["robot", "", "opera"], "year": [1, 2, 3]})
    taken = pl.Series(["1", f"1{MARK}2", f"2{MARK}1", "1", "4"])
    found = grown_items(items, "item", "title", taken)
    assert sorted(found["item"].to_list()) == ["1", f"1{MARK}2", f"2{MARK}1"]
    told = dict(zip(found["item"], found["title"], strict=True))
    assert told == {"1": "robot", f"1{MARK}2": f"robot{MARK}2", f"2{MARK}1": ""}
    assert set(found.columns) == set(items.columns)
