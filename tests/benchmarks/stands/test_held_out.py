"""The tests that peers are given: nothing of the truth is in them."""

from __future__ import annotations

import numpy as np

from benchmarks.data.datasets import DataSet
from benchmarks.harness.cells import Plan
from benchmarks.stands.held_out import final_of, split_of, validation_of


def test_validation_knows_less_than_the_test(small_data: DataSet) -> None:
    plan = Plan(small_data)
    settings = plan.settings()
    test, validation = final_of(plan, settings), validation_of(plan, settings)
    split = split_of(plan)
    assert len(test.task.log) == split.known_at_test.sum()
    assert len(validation.task.log) == len(test.task.log) - split.validation.sum()
    assert test.border.n_tested == validation.border.n_tested == len(test.task.users)
    # Leave one out: what validation holds out is excluded at the test, and known there.
    rows = np.repeat(np.arange(len(validation.truth)), validation.truth.n_held_out())
    assert np.all(test.task.excluded[rows, validation.truth.items])
    assert not np.any(validation.task.excluded[rows, validation.truth.items])


def test_some_users_ask_what_they_would_among_all(small_data: DataSet) -> None:
    plan = Plan(small_data)
    settings = plan.settings()
    whole, some = final_of(plan, settings), final_of(plan, settings, most=7)
    place = np.searchsorted(whole.task.users, some.task.users)
    assert len(some.task.users) == 7
    np.testing.assert_array_equal(whole.task.users[place], some.task.users)
    np.testing.assert_array_equal(whole.truth.take(place).items, some.truth.items)
    assert whole.task.asked_at is not None
    np.testing.assert_array_equal(whole.task.asked_at[place], some.task.asked_at)
    assert (whole.task.excluded[place] != some.task.excluded).nnz == 0
