"""Conditions in SQL and windows of time become sets of items, and bad ones say what is wrong."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold.indexing.errors import InputError
from twofold.retrieval import conditions
from twofold.retrieval.conditions import Conditions

TABLE = pl.DataFrame(
    {
        "item_id": ["a", "b", "c", "d"],
        "year": [1980, 1990, 2000, None],
        "genre": ["Comedy", "Drama", "Comedy", "Drama"],
        "tags": [["old", "fun"], ["old"], None, []],
    }
)


def _found(where: str) -> str:
    some = Conditions(TABLE).items(where, 0)
    assert some is not None
    return "".join(TABLE["item_id"][item] for item in some.items.tolist())


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("year >= 1990 AND genre = 'Comedy'", "c"),
        ("year >= 1990", "bc"),
        ("NOT year >= 1990", "a"),
        ("year IS NULL", "d"),
        ("genre LIKE 'Com%' OR item_id = 'd'", "acd"),
        ("year IN (1980, 2000)", "ac"),
        ("year BETWEEN 1985 AND 2005 AND NOT genre = 'Drama'", "c"),
        ("array_contains(tags, 'old')", "ab"),
        ("TRUE", "abcd"),
        ("year > 3000", ""),
        ("year > AVG(year)", "c"),
    ],
)
def test_what_fulfils_a_condition(where: str, found: str) -> None:
    assert _found(where) == found


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("yeer > 3", "names the column 'yeer', but the items have item_id, year, genre, tags"),
        ("year >=", "cannot be read: .*; write it in SQL"),
        ("", "cannot be read"),
        ("year", "gives Int64 values; expected one that is true or false"),
        ("year > 'x'", "cannot be read: cannot compare string with numeric"),
        ("year IN (SELECT 1)", "without SELECT"),
        ("SELECT 1", "cannot be read"),
        ("read_csv('/etc/passwd') = 1", "cannot be read"),
    ],
)
def test_a_condition_that_is_none_is_refused(where: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _found(where)


def test_no_condition_is_no_set() -> None:
    assert Conditions(TABLE).items(None, 0) is None


def test_a_condition_is_read_once_and_few_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    some = Conditions(TABLE)
    first = some.items("year > 1", 0)
    assert some.items("year > 1", 5) is first
    monkeypatch.setattr(conditions, "MOST_REMEMBERED", 8)
    few = Conditions(TABLE)
    first = few.items("year > 1", 0)
    for number in range(2, 10):
        few.items(f"year > {number}", 0)
    again = few.items("year > 1", 0)
    assert again is not first
    np.testing.assert_array_equal(again.mask, first.mask)  # type: ignore[union-attr]


TIMES = st.one_of(st.none(), st.integers(0, 12))


@given(st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=8), st.booleans(), st.booleans())
def test_items_are_available_from_until(
    windows: list[tuple[int | None, int | None]], starts: bool, ends: bool
) -> None:
    def times(which: int) -> pl.Series:
        given = [
            None if one[which] is None else datetime.fromtimestamp(one[which] or 0, UTC)
            for one in windows
        ]
        return pl.Series(given, dtype=pl.Datetime("ms", "UTC"))

    table = pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(len(windows))],
            "on": times(0),
            "off": times(1),
            "even": [n % 2 == 0 for n in range(len(windows))],
        }
    )
    some = Conditions(table, ("on" if starts else None, "off" if ends else None))
    for at in range(-1, 14):
        wanted = [
            (not starts or start is None or start <= at) and (not ends or end is None or at < end)
            for start, end in windows
        ]
        found = some.items(None, at * 1000)
        if not starts and not ends:
            assert found is None
            continue
        assert found is not None
        assert found.mask.tolist() == wanted
        assert some.items(None, at * 1000 + 1) is found
        both = some.items("even", at * 1000)
        assert both is not None
        assert both.mask.tolist() == [one and n % 2 == 0 for n, one in enumerate(wanted)]
