"""Times in all spellings come out as milliseconds UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold.indexing.times import to_milliseconds

NOON = 1_714_566_600_000  # 2024-05-01T12:30:00Z


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-05-01T12:30:00Z", NOON),
        ("2024-05-01 12:30:00", NOON),
        ("2024-05-01T12:30", NOON),
        ("2024-05-01T14:30:00+02:00", NOON),
        ("2024-05-01T14:30:00+0200", NOON),
        ("2024-05-01T07:00:00.250-05:30", NOON + 250),
        ("2024-05-01 12:30:00 UTC", NOON),
        (" 2024-05-01T12:30:00z ", NOON),
        ("2024-05-01", NOON - 45_000_000),
        ("1714566600", NOON),
        ("1714566600.5", NOON + 500),
        ("1714566600250", NOON + 250),
        (1_714_566_600, NOON),
        (1_714_566_600_000, NOON),
        (1_714_566_600_000_000, NOON),
        (1_714_566_600_000_000_000, NOON),
        (1_714_566_600.25, NOON + 250),
        (date(2024, 5, 1), NOON - 45_000_000),
        (datetime(2024, 5, 1, 12, 30), NOON),
        (datetime(2024, 5, 1, 12, 30, tzinfo=UTC), NOON),
    ],
)
def test_common_spellings(value: Any, expected: int) -> None:
    times, _ = to_milliseconds(pl.Series([value, value]))
    assert times.to_list() == [expected, expected]


@pytest.mark.parametrize(
    "value",
    ["yesterday", "01/05/2024", "2024-13-01", "2024-05-01T25:00:00", "", 20240501, 17, 0,
     float("nan"), float("inf"), -1_714_566_600, "2150-01-01", 9_999_999_999, date(2200, 1, 1)],
)  # fmt: skip
def test_what_is_no_time_is_null(value: Any) -> None:
    assert to_milliseconds(pl.Series([value]))[0].to_list() == [None]


def test_mixed_zones_and_missing_values() -> None:
    values = pl.Series(["2024-05-01T12:30:00", None, "2024-05-01T14:30:00+02:00", "nonsense"])
    times, how = to_milliseconds(values)
    assert times.to_list() == [NOON, None, NOON, None]
    assert "zones where given" in how


def test_units_that_disagree_are_refused_not_guessed() -> None:
    times, how = to_milliseconds(pl.Series([1_714_566_600, 1_714_566_600_000]))
    assert "milliseconds" in how
    assert times.to_list() == [None, NOON]


@given(
    st.datetimes(min_value=datetime(1975, 1, 1), max_value=datetime(2099, 1, 1)),
    st.integers(-14 * 60, 14 * 60),
)
def test_iso_text_agrees_with_python(moment: datetime, offset: int) -> None:
    zoned = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    since = zoned - datetime(1970, 1, 1, tzinfo=UTC)
    times, _ = to_milliseconds(pl.Series([zoned.isoformat()]))
    assert times.to_list() == [since // timedelta(milliseconds=1)]


def test_of_numbers_and_words_the_words_are_no_times() -> None:
    read, how = to_milliseconds(pl.Series(["880000000", "yesterday"]))
    assert read.to_list() == [880_000_000_000, None]
    assert "seconds" in how
    read, how = to_milliseconds(pl.Series(["2020-01-01", "yesterday"]))
    assert read.null_count() == 1
    assert read[0] is not None
