from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from twofold.evaluation import intervals
from twofold.evaluation.classification import (
    auc,
    classify,
    gauc,
    loss_differences,
    pr_auc,
    user_aucs,
)
from twofold.evaluation.judgements import Judgements, brier_losses, log_losses
from twofold.indexing.errors import InputError


def judgements(seed: int, n: int = 3000, n_users: int = 60, grid: int = 0) -> Judgements:
    rng = np.random.default_rng(seed)
    truth = rng.beta(1, 4, n)
    labels = rng.random(n) < truth
    shown = np.clip(truth + 0.1 * rng.standard_normal(n), 0, 1)
    if grid:
        shown = np.round(shown * grid) / grid
    return Judgements(shown, labels, rng.integers(0, n_users, n))


@pytest.mark.parametrize("grid", [0, 8])
def test_agrees_with_sklearn(grid: int) -> None:
    judged = judgements(1, grid=grid)
    p, y = judged.probabilities, judged.labels
    out = classify(judged, seed=0, n=50, n_ranked=20, threshold=0.3)
    told = p >= 0.3
    expected = {
        "auc": sk.roc_auc_score(y, p),
        "pr_auc": sk.average_precision_score(y, p),
        "log_loss": sk.log_loss(y, np.clip(p, 1e-7, 1 - 1e-7)),
        "brier": sk.brier_score_loss(y, p),
        "accuracy": sk.accuracy_score(y, told),
        "balanced_accuracy": sk.balanced_accuracy_score(y, told),
        "majority_accuracy": max(y.mean(), 1 - y.mean()),
        "base_rate": y.mean(),
        "mean_probability": p.mean(),
    }
    for name, value in expected.items():
        assert out[name].mean == pytest.approx(value), name
        assert out[name].low <= value <= out[name].high, name
    assert out["ece"].mean > 0


def test_drawn_users_count_as_often_as_they_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interval's ends agree with scikit-learn given the draws as sample weights."""
    monkeypatch.setattr(intervals, "_CHUNK_VALUES", 7000)
    judged = judgements(2, grid=10)
    counts = np.concatenate(list(intervals.draw_users(judged.n_users, 4, 40)))
    for ours, theirs in ((auc, sk.roc_auc_score), (pr_auc, sk.average_precision_score)):
        slow = [
            theirs(judged.labels, judged.probabilities, sample_weight=row[judged.users])
            for row in counts
        ]
        interval = ours(judged, seed=4, n=40)
        assert [interval.low, interval.high] == pytest.approx(np.quantile(slow, [0.025, 0.975]))


@given(st.permutations(range(40)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_rows_does_not_matter(order: list[int]) -> None:
    judged = judgements(3, n=40, n_users=4, grid=5)
    which = np.array(order)
    shuffled = Judgements(judged.probabilities[which], judged.labels[which], judged.users[which])
    ours, theirs = (classify(one, 0, n=10, n_ranked=10) for one in (judged, shuffled))
    for name, value in ours.items():
        assert theirs[name].mean == pytest.approx(value.mean), name
        assert theirs[name].low == pytest.approx(value.low, nan_ok=True), name


def test_paired_losses_tell_better_from_worse() -> None:
    judged = judgements(5)
    base = np.full(len(judged.labels), judged.labels.mean())
    others = {"base rate": base, "itself": judged.probabilities}
    gaps = loss_differences(judged, others, seed=0)
    names = [f"{measure} - {name}" for name in others for measure in ("log_loss", "brier")]
    assert list(gaps) == names
    expected = brier_losses(judged).mean() - np.mean((base - judged.labels) ** 2)
    assert gaps["brier - base rate"].mean == pytest.approx(expected)
    assert gaps["brier - base rate"].high < 0
    assert gaps["log_loss - itself"].mean == 0


def test_one_label_alone_has_no_ranking() -> None:
    judged = Judgements(np.array([0.2, 0.4]), np.array([False, False]), np.array([0, 1]))
    out = classify(judged, seed=0, n=10, n_ranked=10)
    assert np.isnan(out["auc"].mean)
    assert np.isnan(out["pr_auc"].mean)
    assert np.isnan(out["gauc"].mean)
    assert out["gauc"].n_users == 0
    assert np.isnan(out["balanced_accuracy"].mean)
    assert out["majority_accuracy"].mean == 1


def test_a_sure_and_wrong_probability_has_a_finite_loss() -> None:
    judged = Judgements(np.array([1.0, 0.0]), np.array([False, False]), np.array([0, 0]))
    assert log_losses(judged) == pytest.approx([-np.log(1e-7), 0], abs=1e-6)


def test_of_lists_leaves_padding_and_empty_users_out() -> None:
    valid = np.array([[True, True], [False, False], [True, False]])
    lists: npt.NDArray[np.float32] = np.array([[0.1, 0.2], [9, 9], [0.3, 9]], dtype=np.float32)
    judged = Judgements.of_lists(lists, lists > 0.15, valid)
    assert judged.users.tolist() == [0, 0, 1]
    assert judged.labels.tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("p", "n_labels"), [([0.1, 1.2], 2), ([0.1, float("nan")], 2), ([0.1], 2), ([], 0)]
)
def test_refusals(p: list[float], n_labels: int) -> None:
    with pytest.raises(InputError, match="Judgements"):
        Judgements(np.array(p), np.zeros(n_labels, dtype=bool), np.zeros(len(p), dtype=np.int64))


@pytest.mark.parametrize("grid", [0, 4])
def test_group_auc_agrees_with_sklearn_user_by_user(grid: int) -> None:
    judged = judgements(6, n=400, n_users=70, grid=grid)
    slow, rows = np.full(judged.n_users, np.nan), np.zeros(judged.n_users)
    for user in range(judged.n_users):
        own = judged.users == user
        if len(set(judged.labels[own].tolist())) == 2:
            slow[user] = sk.roc_auc_score(judged.labels[own], judged.probabilities[own])
            rows[user] = own.sum()
    assert np.isnan(slow).any()
    assert user_aucs(judged) == pytest.approx(slow, nan_ok=True)
    found = gauc(judged, seed=4, n=40)
    assert found.mean == pytest.approx(np.average(np.nan_to_num(slow), weights=rows))
    assert found.n_users == np.count_nonzero(rows)
    drawn = np.concatenate(list(intervals.draw_users(judged.n_users, 4, 40)))
    means = [np.average(np.nan_to_num(slow), weights=rows * one) for one in drawn]
    assert [found.low, found.high] == pytest.approx(np.quantile(means, [0.025, 0.975]))
    assert classify(judged, 4, n=40, n_ranked=2)["gauc"] == found


def test_group_auc_sees_the_order_within_lists_alone() -> None:
    # The keen user's rows stand above the other's, and each list is upside down or tied.
    judged = Judgements(
        np.array([0.8, 0.9, 0.9, 0.1, 0.1]),
        np.array([True, False, True, False, True]),
        np.array([0, 0, 0, 1, 1]),
    )
    assert user_aucs(judged).tolist() == [0.25, 0.5]
    assert gauc(judged, 0, n=5).mean == pytest.approx((3 * 0.25 + 2 * 0.5) / 5)
    shifted = Judgements(judged.probabilities - 0.1 * judged.users, judged.labels, judged.users)
    assert gauc(shifted, 0, n=5) == gauc(judged, 0, n=5)
