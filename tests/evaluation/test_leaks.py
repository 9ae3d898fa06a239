"""What is known must not know the test: every planted leak is found."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from twofold.evaluation.leaks import checked_known, known_of_split
from twofold.indexing.dataset import Dataset, load_dataset
from twofold.indexing.errors import LeakError
from twofold.indexing.splits import Mask, choose_split

T = 1_700_000_000


def _data(rows: list[tuple[str, str, int]]) -> Dataset:
    frame = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    return load_dataset(frame.with_columns(pl.col("time") + T))


DATA = _data(
    [
        *(("u", item, 10 * t) for t, item in enumerate("abcde")),
        *(("v", item, 10 * t + 5) for t, item in enumerate("badce")),
    ]
)
LOG = DATA.interactions


def _mask(*rows: int) -> Mask:
    return np.isin(np.arange(len(LOG)), rows)


def _check(known: Mask, tested: Mask, *, by_time: bool = False) -> None:
    checked_known(LOG, known, tested, has_times=True, by_time=by_time)


def test_a_split_tells_where_what_is_known_ends() -> None:
    split = choose_split(DATA, "leave-one-out")
    known, border = known_of_split(LOG, split, has_times=True)
    assert len(known) == border.n_known == 8
    assert (border.n_tested, border.n_again) == (2, 0)
    assert border.latest_known == 1000 * (T + 35)
    assert border.earliest_tested == 1000 * (T + 40)


def test_a_row_on_both_sides_is_refused() -> None:
    with pytest.raises(LeakError, match="1 interactions are both known and tested"):
        _check(_mask(0, 1, 4), _mask(4))


def test_what_comes_after_a_users_first_test_is_refused() -> None:
    with pytest.raises(LeakError, match="later than their user's first test"):
        _check(_mask(0, 1, 4), _mask(3))
    # Another user's later events are no leak, where the test does not begin at one moment.
    _check(_mask(0, 1, 9), _mask(3))


def test_events_of_the_first_tests_step_have_no_order() -> None:
    tied = _data([("u", "a", 0), ("u", "b", 1), ("u", "c", 1)])
    log = tied.interactions
    known, tested = log.items != 2, log.items == 2
    assert checked_known(log, known, tested, has_times=True, by_time=False)[0].users.size == 2


def test_by_time_nothing_known_is_as_late_as_the_test() -> None:
    # Row 3 is u at 30, row 7 v at 25, row 8 v at 35.
    _check(_mask(0, 1, 7), _mask(3), by_time=True)
    with pytest.raises(LeakError, match="not before the moment"):
        _check(_mask(0, 1, 8), _mask(3), by_time=True)


def test_what_was_had_before_is_counted_and_no_leak() -> None:
    again = _data([("u", "a", 0), ("u", "b", 1), ("u", "a", 2), ("u", "c", 3)])
    log = again.interactions
    known, tested = log.steps < 2, log.steps >= 2
    border = checked_known(log, known, tested, has_times=True, by_time=False)[1]
    assert (border.n_tested, border.n_again) == (2, 1)
