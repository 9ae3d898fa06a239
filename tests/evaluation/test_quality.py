from __future__ import annotations

import numpy as np
import pytest

from twofold.evaluation import quality
from twofold.evaluation.intervals import bootstrap_mean, bootstrap_ratio, paired_difference
from twofold.evaluation.metrics import Truth, judge, ndcg, recall
from twofold.evaluation.quality import (
    Ranked,
    UserValues,
    ceiling_row,
    compare,
    compare_with_all,
    measure_users,
    quality_rows,
)
from twofold.evaluation.significance import holm, permutation_test
from twofold.evaluation.surroundings import Surroundings
from twofold.indexing.errors import InputError

N_USERS, N_ITEMS = 60, 30
RNG = np.random.default_rng(0)
POPULARITY = RNG.integers(0, 50, N_ITEMS)
SURROUNDINGS = Surroundings(POPULARITY)


def random_lists(noise: float, held_out: np.ndarray) -> Ranked:
    scores = held_out + noise * RNG.random((N_USERS, N_ITEMS))
    items = np.argsort(-scores, axis=1)
    return Ranked(items[:, :20], np.take_along_axis(scores, items, axis=1)[:, :20])


HELD_OUT = RNG.random((N_USERS, N_ITEMS)) < 0.1
HELD_OUT[:3] = False
ROWS, ITEMS = np.nonzero(HELD_OUT)
TRUTH = Truth.from_pairs(ROWS, ITEMS, N_USERS)
SYSTEMS = {"good": random_lists(1.3, HELD_OUT), "bad": random_lists(9.0, HELD_OUT)}
WARM = np.arange(N_USERS) % 3 > 0


@pytest.fixture(scope="module")
def users() -> UserValues:
    return measure_users(SYSTEMS, TRUTH, SURROUNDINGS, ks=(5, 10))


def test_values_are_those_of_the_metrics(users: UserValues) -> None:
    for name, lists in SYSTEMS.items():
        judged = judge(lists.items, TRUTH, lists.scores)
        assert np.array_equal(users.of(name, "ndcg@10"), ndcg(judged, 10), equal_nan=True)
        assert np.array_equal(users.of(name, "recall@5"), recall(judged, 5), equal_nan=True)
    assert len(users.metrics) == 2 * 7


def test_chunks_change_nothing(users: UserValues, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "_USERS_A_TIME", 7)
    again = measure_users(SYSTEMS, TRUTH, SURROUNDINGS, ks=(5, 10))
    assert np.array_equal(again.values, users.values, equal_nan=True)


def test_rows_average_users_that_hold_something_out(users: UserValues) -> None:
    good, bad = quality_rows(users, baseline="bad", seed=3, n=300)
    counted = TRUTH.n_held_out() > 0
    assert good.n_users == bad.n_users == counted.sum() < N_USERS
    values = {name: users.of(name, "ndcg@10")[counted] for name in SYSTEMS}
    alone = bootstrap_mean(values["good"], 3, 300)
    row = good.metrics["ndcg@10"]
    assert [row.mean, row.low, row.high] == pytest.approx([alone.mean, alone.low, alone.high])
    gap, expected = (
        good.differences["ndcg@10"],
        paired_difference(values["good"], values["bad"], 3, 300),
    )
    assert [gap.mean, gap.low, gap.high] == pytest.approx(
        [expected.mean, expected.low, expected.high]
    )
    assert gap.low > 0
    assert (good.baseline, bad.baseline, dict(bad.differences)) == ("bad", None, {})
    whole = compare(users, "good", "bad", "ndcg@10", seed=3, n=300)
    assert [whole.low, whole.high] == pytest.approx([gap.low, gap.high])
    some = compare(users, "good", "bad", "ndcg@10", mask=WARM, seed=3, n=300)
    assert some.n_users == (counted & WARM).sum()


def test_groups_are_rows_of_their_own(users: UserValues) -> None:
    nobody = np.zeros(N_USERS, dtype=bool)
    rows = quality_rows(users, groups={"warm": WARM, "new": ~WARM, "nobody": nobody}, n=20)
    assert [(row.group, row.name) for row in rows] == [
        *[("warm", "good"), ("warm", "bad"), ("new", "good"), ("new", "bad")]
    ]
    counted = TRUTH.n_held_out() > 0
    assert rows[0].n_users + rows[2].n_users == counted.sum()
    expected = users.of("good", "mrr@5")[counted & ~WARM].mean()
    assert rows[2].metrics["mrr@5"].mean == pytest.approx(expected)


def test_coverage_is_of_the_group_and_has_no_interval(users: UserValues) -> None:
    few = np.arange(N_USERS) < 8
    row = quality_rows(users, groups={"few": few}, n=20)[0]
    which = few & (TRUTH.n_held_out() > 0)
    shown = np.unique(SYSTEMS["good"].items[which, :5])
    assert row.metrics["coverage@5"].mean == len(shown) / N_ITEMS
    assert np.isnan(row.metrics["coverage@5"].low)
    assert 0 <= row.metrics["gini@5"].mean <= 1


def test_the_gap_of_a_group_is_the_ratio_of_its_means() -> None:
    history = RNG.uniform(1, 30, N_USERS)
    history[5:12] = np.nan
    lists = Ranked(SYSTEMS["good"].items.copy())
    lists.items[20:24] = -1
    around = Surroundings(POPULARITY, history_popularity=history)
    users = measure_users({"bad": SYSTEMS["bad"], "good": lists}, TRUTH, around, ks=(5, 10))
    lost, unasked = np.arange(N_USERS) == 6, np.arange(N_USERS) < 3
    rows = quality_rows(users, groups={"warm": WARM, "lost": lost, "unasked": unasked}, n=50)
    assert [(row.group, row.name) for row in rows[1:3]] == [("warm", "good"), ("lost", "bad")]
    counted = WARM & (TRUTH.n_held_out() > 0)
    shown = users.of("good", "popularity@5")
    both = counted & ~np.isnan(history) & ~np.isnan(shown)
    gap = rows[1].metrics["delta_gap@5"]
    assert gap.mean == pytest.approx(shown[both].mean() / history[both].mean() - 1)
    assert gap.n_users == both.sum() < counted.sum()
    above, below = (np.where(both, one, 0)[counted] for one in (shown - history, history))
    slow = bootstrap_ratio(above, below, 0, 50)
    assert [gap.low, gap.high] == pytest.approx([slow.low, slow.high])
    # Nobody of the second group has a history: there is nothing to compare a list with.
    assert "delta_gap@5" not in rows[2].metrics
    assert np.isnan(rows[2].metrics["popularity_lift@5"].mean)


def test_a_system_is_compared_with_all_others(users: UserValues) -> None:
    three = measure_users(
        {**SYSTEMS, "worse": random_lists(30.0, HELD_OUT)}, TRUTH, SURROUNDINGS, ks=(5,)
    )
    intervals, p = compare_with_all(three, "good", "ndcg@5", seed=2, n=300)
    assert list(intervals) == list(p) == ["good - bad: ndcg@5", "good - worse: ndcg@5"]
    assert intervals["good - bad: ndcg@5"] == compare(three, "good", "bad", "ndcg@5", seed=2, n=300)
    ours = three.of("good", "ndcg@5")
    slow = [permutation_test(ours - three.of(one, "ndcg@5"), 2) for one in ("bad", "worse")]
    assert list(p.values()) == holm(slow).tolist()
    assert max(p.values()) < 0.05


def test_the_ceiling_is_recall_of_all_candidates() -> None:
    items = SYSTEMS["bad"].items.copy()
    items[:, 15:] = -1
    row = ceiling_row(items, TRUTH, mask=WARM, group="warm", n=20)
    which = WARM & (TRUTH.n_held_out() > 0)
    found = [np.isin(ITEMS[user == ROWS], items[user]).mean() for user in np.flatnonzero(which)]
    assert row.metrics["recall@all"].mean == pytest.approx(np.mean(found))
    assert row.metrics["hit_rate@all"].mean == pytest.approx(np.mean(np.array(found) > 0))
    assert row.metrics["n_candidates"].mean == 15
    assert row.n_users == which.sum()


def test_values_can_be_kept(users: UserValues) -> None:
    frame = users.frame([f"u{user}" for user in range(N_USERS)])
    assert frame.shape == (2 * N_USERS, 3 + len(users.metrics))
    row = frame.row(N_USERS + 4, named=True)
    assert (row["system"], row["user_id"]) == ("bad", "u4")
    assert row["map@10"] == pytest.approx(users.of("bad", "map@10")[4], nan_ok=True)
    assert frame["n_held_out"].to_list() == [*TRUTH.n_held_out()] * 2


def test_a_system_without_lists_has_metrics_but_no_novelty() -> None:
    empty = Ranked(np.full((N_USERS, 10), -1, dtype=np.int64))
    row = quality_rows(measure_users({"empty": empty}, TRUTH, SURROUNDINGS), n=20)[0]
    assert row.metrics["recall@10"].mean == 0
    assert np.isnan(row.metrics["novelty@10"].mean)
    assert row.metrics["coverage@10"].mean == 0


def test_refusals(users: UserValues) -> None:
    with pytest.raises(InputError, match="at least one system"):
        measure_users({}, TRUTH, SURROUNDINGS)
    with pytest.raises(InputError, match="'good' has 2 lists"):
        measure_users({"good": Ranked(SYSTEMS["good"].items[:2])}, TRUTH, SURROUNDINGS)
    with pytest.raises(InputError, match="lengths k"):
        measure_users(SYSTEMS, TRUTH, SURROUNDINGS, ks=(0,))
    with pytest.raises(InputError, match="baseline 'x'"):
        quality_rows(users, baseline="x")
    with pytest.raises(InputError, match="no ndcg@7"):
        users.of("good", "ndcg@7")
    with pytest.raises(InputError, match="60 users"):
        users.frame(["u1"])
