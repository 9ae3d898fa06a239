"""The exact rules of every protocol."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.indexing.dataset import Dataset, load_dataset
from twofold.indexing.errors import InputError
from twofold.indexing.holding_out import hold_out_last, hold_out_time, refusals_in
from twofold.indexing.splits import (
    Mask,
    Split,
    choose_split,
    file_split,
    global_time,
    leave_last_n,
    leave_one_out,
)

T = 1_700_000_000
SCHEMA = ["user", "item", "event", "time"]


def _data(rows: list[tuple[str, str, str, int]], **extra: list[Any]) -> Dataset:
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row").with_columns(pl.col("time") + T)
    return load_dataset(frame.with_columns(**{k: pl.Series(v) for k, v in extra.items()}))


def _steps(data: Dataset, mask: Mask, user: str = "u") -> list[int]:
    rows = data.interactions
    return [int(step) for step in rows.steps[mask & (rows.users == data.users.number(user))]]


#          step:   0       1          2       3          4       5          6       7
EVENTS = ["view", "view", "dislike", "view", "dislike", "view", "impression", "view"]
ONE = _data([("u", f"i{t}", event, t) for t, event in enumerate(EVENTS)])


def test_leave_one_out_by_eye() -> None:
    split = leave_one_out(ONE)
    assert _steps(ONE, split.train) == [0, 1, 2, 3, 4]
    assert _steps(ONE, split.validation) == [5]
    assert _steps(ONE, split.context) == [6]
    assert _steps(ONE, split.test) == [7]
    assert _steps(ONE, split.known_at_test) == [0, 1, 2, 3, 4, 5, 6]
    assert split.name == "leave-one-out"


def test_what_comes_after_the_first_test_row_is_in_no_part() -> None:
    split = leave_last_n(ONE, 2, n_validation=1)
    assert _steps(ONE, split.train) == [0, 1, 2]
    assert _steps(ONE, split.validation) == [3]
    assert _steps(ONE, split.context) == [4]
    assert _steps(ONE, split.test) == [5, 7]  # 6, an impression after 5, is nowhere
    assert split.name == "leave-last-2"


def test_skip_shifts_the_protocol_back() -> None:
    split = leave_last_n(ONE, 1, skip=1)
    assert _steps(ONE, split.train) == [0, 1, 2]
    assert _steps(ONE, split.validation) == [3]
    assert _steps(ONE, split.test) == [5]
    assert _steps(ONE, split.known_at_test) == [0, 1, 2, 3, 4]


def test_users_with_too_few_labels_stay_in_train() -> None:
    rows = [("u", f"i{t}", "view", t) for t in range(3)]
    rows += [("v", f"i{t}", "view", t) for t in range(2)] + [("v", "i2", "dislike", 5)]
    data = _data(rows)
    split = leave_one_out(data)
    assert _steps(data, split.test) == [2]
    assert _steps(data, split.train, "v") == [0, 1, 2]
    assert _steps(data, split.test, "v") == []
    assert _steps(data, leave_last_n(data, 1, n_validation=0).test, "v") == [1]
    with pytest.raises(InputError, match="nothing to test"):
        leave_last_n(data, 2)


def test_hold_out_last_and_its_limits() -> None:
    rows = ONE.interactions
    fit, labels = hold_out_last(rows, 2)
    assert (rows.steps[fit].tolist(), rows.steps[labels].tolist()) == ([0, 1, 2, 3, 4], [5, 7])
    fit, labels = hold_out_last(rows, 2, skip=1)
    assert (rows.steps[fit].tolist(), rows.steps[labels].tolist()) == ([0, 1, 2], [3, 5])
    fit, labels = hold_out_last(rows, 5)
    assert (int(fit.sum()), int(labels.sum())) == (8, 0)
    fit, labels = hold_out_last(rows, 5, keep=0)
    assert (int(fit.sum()), int(labels.sum())) == (0, 5)
    fit, labels = hold_out_last(rows, 1, skip=9)
    assert not fit.any()
    assert not labels.any()
    for n, skip, keep in ((0, 0, 1), (1, -1, 1), (1, 0, -1)):
        with pytest.raises(InputError, match="needs n >= 1"):
            hold_out_last(rows, n, skip=skip, keep=keep)


def test_whole_steps_are_held_out_and_counted() -> None:
    # Baskets of 2, 1 and 3, a view that is no label before the last.
    baskets = [("a", 0), ("b", 0), ("c", 1), ("x", 2), ("a", 3), ("d", 3), ("e", 3)]
    rows = [("u", i, "impression" if i == "x" else "view", t) for i, t in baskets]
    log = _data([*rows, ("v", "a", "view", 0), ("v", "b", "view", 0)]).interactions

    def held(n: int, skip: int = 0, keep: int = 1) -> tuple[list[int], list[int]]:
        fit, labels = hold_out_last(log, n, skip=skip, keep=keep, whole=True)
        mine = log.users == 0
        return log.steps[fit & mine].tolist(), log.steps[labels & mine].tolist()

    assert held(1) == ([0, 0, 1, 2], [3, 3, 3])
    assert held(2) == ([0, 0], [1, 3, 3, 3])
    assert held(1, skip=1) == ([0, 0], [1])
    assert held(3) == ([0, 0, 1, 2, 3, 3, 3], [])
    assert held(3, keep=0) == ([], [0, 0, 1, 3, 3, 3])
    # Of one basket alone nothing can be held out.
    fit, labels = hold_out_last(log, 1, whole=True)
    assert (fit & (log.users == 1)).sum() == 2
    assert not (labels & (log.users == 1)).any()


def test_global_time_by_eye() -> None:
    rows = [("u" if t % 2 else "v", f"i{t}", "view", t) for t in range(10)]
    rows += [("u", "x", "dislike", 8), ("u", "y", "dislike", 9), ("u", "z", "dislike", 3)]
    data = _data(rows)
    split = global_time(data)
    times = (data.interactions.times // 1000 - T).tolist()
    assert sorted(np.compress(split.test, times)) == [9]
    assert sorted(np.compress(split.validation, times)) == [8]
    assert sorted(np.compress(split.context, times)) == [8]
    assert sorted(np.compress(split.train, times)) == [0, 1, 2, 3, 3, 4, 5, 6, 7]


def test_labels_of_one_moment_stay_together() -> None:
    data = _data([("u", f"i{i}", "view", min(i, 5)) for i in range(10)])
    fit, labels = hold_out_time(data.interactions, 0.1)
    assert (fit.sum(), labels.sum()) == (5, 5)
    early = _data([("u", f"i{i}", "view", max(0, i - 8)) for i in range(10)])
    fit, labels = hold_out_time(early.interactions, 0.9)
    assert (fit.sum(), labels.sum()) == (9, 1)


def test_global_time_refusals() -> None:
    with pytest.raises(InputError, match="needs times"):
        global_time(load_dataset(pl.DataFrame({"user": ["u"], "item": ["a"]})))
    with pytest.raises(InputError, match="one time"):
        global_time(_data([("u", "a", "view", 0), ("u", "b", "view", 0)]))
    with pytest.raises(InputError, match="leave something"):
        global_time(ONE, 0.5, 0.5)
    with pytest.raises(InputError, match="between 0 and 1"):
        hold_out_time(ONE.interactions, 0)


def test_file_split_takes_labels_only() -> None:
    parts = ["train"] * 3 + ["valid"] * 3 + ["test"] * 2
    data = _data([("u", f"i{t}", event, t) for t, event in enumerate(EVENTS)], split=parts)
    split = file_split(data)
    assert _steps(data, split.train) == [0, 1, 2]
    assert _steps(data, split.validation) == [3, 5]
    assert _steps(data, split.context) == [4]
    assert _steps(data, split.test) == [7]
    with pytest.raises(InputError, match="split column"):
        file_split(ONE)


def test_choice_of_protocol() -> None:
    steady = _data([(u, f"{u}{t}", "view", t) for t in range(20) for u in "uv"])
    chosen = choose_split(steady)
    assert (chosen.name, "100% of the users" in chosen.reason) == ("global-time", True)
    one_after_other = _data(
        [(f"{u:02}", f"i{t}", "view", u * 10 + t) for u in range(20) for t in range(4)]
    )
    chosen = choose_split(one_after_other)
    assert chosen.name == "leave-one-out"
    assert chosen.reason.startswith("only ")
    untimed = load_dataset(pl.DataFrame({"user": ["u"] * 4, "item": list("abcd")}))
    assert "seeded hash" in choose_split(untimed).reason
    same_time = _data([("u", f"i{t}", "view", 0) for t in range(4)])
    assert "all labels have one time" in choose_split(same_time).reason
    two_times = choose_split(_data([("u", f"i{t}", "view", t % 2) for t in range(9)]))
    assert two_times.name == "leave-one-out"
    assert "validation fraction" in two_times.reason
    with_file = _data([("u", f"i{t}", "view", t) for t in range(2)], split=["train", "test"])
    assert choose_split(with_file).name == "file"
    assert choose_split(steady, "leave-last-n", n=3).name == "leave-last-3"
    assert choose_split(steady, "leave-one-out").name == "leave-one-out"
    assert choose_split(steady, "global-time").name == "global-time"
    with pytest.raises(InputError, match="protocol must be one of"):
        choose_split(steady, "random")  # type: ignore[arg-type]


ROWS = st.lists(
    st.tuples(
        st.sampled_from("uvw"),
        st.sampled_from("abcdefgh"),
        st.sampled_from(["view", "purchase", "dislike", "impression"]),
        st.integers(0, 6),
    ),
    min_size=1,
    max_size=40,
)


def _check(data: Dataset, split: Split) -> None:
    rows = data.interactions
    parts = np.stack([split.train, split.validation, split.test, split.context])
    assert parts.sum(axis=0).max() <= 1
    assert rows.labels[split.test].all()
    assert rows.labels[split.validation].all()
    assert not rows.labels[split.context].any()


@settings(max_examples=80, deadline=None)
@given(ROWS, st.integers(1, 3), st.integers(0, 2), st.integers(0, 2))
def test_leave_last_n_against_a_slow_version(
    events: list[tuple[str, str, str, int]], n: int, n_validation: int, skip: int
) -> None:
    events = [*events, *(("u", f"x{t}", "view", t) for t in range(8))]
    data = _data(events)
    split = leave_last_n(data, n, n_validation, skip)
    _check(data, split)
    rows = data.interactions
    for user in range(rows.n_users):
        mine = np.flatnonzero(rows.users == user)
        labels = [row for row in mine if rows.labels[row]]
        skipped = labels[len(labels) - skip :] if skip else []
        usable = [row for row in mine if not skipped or row < skipped[0]]
        labels = labels[: max(0, len(labels) - skip)]
        if len(labels) < n + n_validation + 1:
            expected: tuple[list[Any], ...] = (usable, [], [])
        else:
            test = labels[-n:]
            validation = labels[len(labels) - n - n_validation : len(labels) - n]
            start = (validation + test)[0]
            expected = ([row for row in usable if row < start], validation, test)
        got = tuple(
            [row for row in mine if mask[row]]
            for mask in (split.train, split.validation, split.test)
        )
        assert got == expected


@settings(max_examples=60, deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_a_shuffled_file_gives_the_identical_split(
    events: list[tuple[str, str, str, int]], random: Any
) -> None:
    events = [*events, *(("u", f"x{t}", "view", t) for t in range(4))]
    shuffled = list(events)
    random.shuffle(shuffled)
    for make in (leave_one_out, global_time):
        one, other = make(_data(events)), make(_data(shuffled))
        for name in ("train", "validation", "test", "context"):
            assert np.array_equal(getattr(one, name), getattr(other, name))


@settings(max_examples=60, deadline=None)
@given(ROWS, st.floats(0.05, 0.6))
def test_nothing_learnt_from_is_later_than_what_is_tested(
    events: list[tuple[str, str, str, int]], fraction: float
) -> None:
    data = _data([*events, ("u", "x", "view", 0), ("u", "y", "view", 6), ("u", "z", "view", 3)])
    try:
        split = global_time(data, fraction, 0.2)
    except InputError as error:
        assert "validation fraction" in str(error)  # noqa: PT017
        split = global_time(data, fraction, 0)
    _check(data, split)
    times = data.interactions.times
    assert times[split.known_at_test].max() < times[split.test].min()
    if split.validation.any():
        assert times[split.train].max() < times[split.validation].min()


def test_refusals_lie_within_the_label_window() -> None:
    rows = ONE.interactions

    def met(n: int, skip: int) -> list[int]:
        return [*map(int, refusals_in(rows, hold_out_last(rows, n, skip=skip)).steps)]

    assert met(1, 0) == []
    assert met(2, 0) == [6]
    assert met(3, 0) == [4, 6]
    # The view of step 7 is hidden; what comes before it may be known.
    assert met(1, 1) == [6]
    assert met(1, 2) == [4]
    assert met(2, 2) == [2, 4]


def test_what_shares_the_first_labels_time_is_refused_whatever_its_place() -> None:
    shown = [("u", f"i{t}", "impression", 5) for t in range(6)]
    others = [("v", "i0", "view", 1), ("v", "i1", "skip", 2), ("v", "i2", "view", 3)]
    data = _data([("u", "x", "view", 1), ("u", "y", "view", 5), *shown, *others])
    found = refusals_in(data.interactions, hold_out_last(data.interactions, 1))
    assert sorted(data.items.decode(found.items)) == [f"i{t}" for t in range(6)]
    wish = replace(data.interactions, signs=np.ones(len(data.interactions), dtype=np.int8))
    # What raises an item is no refusal, label or not.
    assert not len(refusals_in(wish, hold_out_last(wish, 1)))
