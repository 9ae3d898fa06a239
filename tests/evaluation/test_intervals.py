from __future__ import annotations

import numpy as np
import pytest

from twofold.evaluation import intervals
from twofold.evaluation.intervals import (
    bootstrap_interval,
    bootstrap_mean,
    bootstrap_means,
    bootstrap_ratio,
    draw_users,
    paired_difference,
)
from twofold.indexing.errors import InputError

RNG = np.random.default_rng(7)
VALUES = RNG.random(200)


def test_the_interval_has_the_width_of_the_normal_one() -> None:
    interval = bootstrap_mean(VALUES, seed=1)
    half = 1.96 * VALUES.std() / np.sqrt(len(VALUES))
    assert interval.mean == pytest.approx(VALUES.mean())
    assert interval.n_users == 200
    assert interval.high - interval.mean == pytest.approx(half, rel=0.15)
    assert interval.mean - interval.low == pytest.approx(half, rel=0.15)


def test_agrees_with_a_slow_bootstrap_of_the_same_draws() -> None:
    rng = np.random.default_rng(5)
    means = [VALUES[rng.integers(0, 200, 200)].mean() for _ in range(300)]
    interval = bootstrap_mean(VALUES, seed=5, n=300)
    assert [interval.low, interval.high] == pytest.approx(np.quantile(means, [0.025, 0.975]))


def test_about_nineteen_of_twenty_intervals_hold_the_true_mean() -> None:
    samples = np.random.default_rng(0).normal(3, 1, size=(200, 300))
    held = 0
    for sample in samples:
        interval = bootstrap_mean(sample, seed=0, n=400)
        held += interval.low <= 3 <= interval.high
    assert 0.90 <= held / 200 <= 0.985


def test_seeds_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap_mean(VALUES, seed=3)
    assert whole == bootstrap_mean(VALUES, seed=3)
    assert whole != bootstrap_mean(VALUES, seed=4)
    monkeypatch.setattr(intervals, "_CHUNK_VALUES", 999)
    cut = bootstrap_mean(VALUES, seed=3)
    assert [cut.low, cut.high] == pytest.approx([whole.low, whole.high])
    assert all(len(counts) <= 4 for counts in draw_users(200, 0, 10))


def test_every_draw_holds_as_many_users() -> None:
    counts = np.concatenate(list(draw_users(50, 0, 30)))
    assert counts.shape == (30, 50)
    assert np.all(counts.sum(axis=1) == 50)


def test_columns_share_draws_and_leave_nan_out() -> None:
    other = VALUES.copy()
    other[::2] = np.nan
    first, second, third = bootstrap_means(np.stack([VALUES, other, 2 * VALUES], axis=1), seed=3)
    alone = bootstrap_mean(VALUES, seed=3)
    assert [first.low, first.high] == pytest.approx([alone.low, alone.high])
    assert second.n_users == 100
    assert second.mean == pytest.approx(VALUES[1::2].mean())
    assert third.low == pytest.approx(2 * first.low)


def test_a_paired_difference_is_surer_than_two_means() -> None:
    better = VALUES + 0.02 + 0.001 * RNG.standard_normal(200)
    difference = paired_difference(better, VALUES, seed=0)
    assert difference.excludes_zero
    assert difference.mean == pytest.approx(0.02, abs=0.001)
    worse = paired_difference(VALUES, better, seed=0)
    assert worse.high < 0
    assert worse.excludes_zero
    assert bootstrap_mean(better, 0).low < bootstrap_mean(VALUES, 0).high
    assert not paired_difference(VALUES, VALUES, seed=0).excludes_zero


def test_a_users_rows_come_together() -> None:
    # Ten users with 100 identical rows each: by rows the interval would be ten times too narrow.
    losses = np.arange(10.0)
    by_user = bootstrap_ratio(100 * losses, np.full(10, 100.0), seed=0)
    assert by_user.mean == pytest.approx(4.5)
    assert by_user.low == pytest.approx(bootstrap_mean(losses, seed=0).low)
    uneven = bootstrap_ratio(np.array([1.0, 30.0]), np.array([1.0, 10.0]), seed=0)
    assert uneven.mean == pytest.approx(31 / 11)


def test_any_statistic() -> None:
    def mean(counts: np.ndarray) -> np.ndarray:
        return np.asarray(counts @ VALUES / counts.sum(axis=1))

    interval = bootstrap_interval(mean, 200, seed=3)
    same = bootstrap_mean(VALUES, seed=3)
    assert interval.mean == pytest.approx(same.mean)
    assert [interval.low, interval.high] == pytest.approx([same.low, same.high])


def test_refusals() -> None:
    with pytest.raises(InputError, match="no user"):
        bootstrap_mean(np.array([np.nan]), seed=0)
    with pytest.raises(InputError, match="users and draws"):
        bootstrap_mean(VALUES, seed=0, n=0)
    with pytest.raises(InputError, match="same users"):
        paired_difference(VALUES, VALUES[1:], seed=0)
    with pytest.raises(InputError, match="one shape"):
        bootstrap_ratio(VALUES, VALUES[1:], seed=0)
