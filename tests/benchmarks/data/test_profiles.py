"""Texts of users: a table beside the interactions."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from benchmarks.data.datasets import DataSet
from benchmarks.data.profiles import read_profiles
from twofold.indexing.errors import InputError
from twofold.indexing.vocabulary import Vocabulary

USERS = Vocabulary(["b", "a", "c"], what="user")


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    return DataSet("d", tmp_path / "interactions.csv", tmp_path / "items.csv", "file", 1, ())


@pytest.mark.parametrize("column", ["user", "user_id"])
def test_each_user_has_a_text_or_none(data: DataSet, column: str) -> None:
    frame = pl.DataFrame({column: ["a", "b", "x"], "profile_text": ["likes tea", None, "lost"]})
    frame.write_csv(data.interactions.parent / "user_profiles.csv")
    assert read_profiles(data, USERS) == ("", "likes tea", "")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (None, "one table user_profiles.parquet"),
        ({"user": ["a"], "text": ["tea"]}, "expected columns user or user_id, and profile_text"),
        ({"who": ["a"], "profile_text": ["tea"]}, "came who, profile_text; rename"),
        ({"user": ["a", "a"], "profile_text": ["tea", "milk"]}, "1 users have a second text"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(
    data: DataSet, columns: dict[str, list[str]] | None, message: str
) -> None:
    if columns is not None:
        pl.DataFrame(columns).write_csv(data.interactions.parent / "user_profiles.csv")
    with pytest.raises(InputError, match=message):
        read_profiles(data, USERS)
