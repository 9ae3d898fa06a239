from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from twofold.evaluation.lambdarank import LambdaRankSettings, fit_lambdarank
from twofold.evaluation.logistic import LogisticOpponent, LogisticSettings, fit_logistic
from twofold.evaluation.metrics import Truth, judge, ndcg
from twofold.evaluation.opponents import FeatureLists, Opponent, popularity_ranking, rerank
from twofold.indexing.errors import InputError, MissingDependencyError, SettingsError
from twofold.retrieval.candidates import Candidates, rank

LOGISTIC = LogisticSettings(strengths=(0.01, 1.0), k=5, threads=1)
TREES = LambdaRankSettings(
    n_leaves=(4, 8), min_rows=(10,), max_trees=60, patience=10, k=5, threads=1
)


def fit_both_kinds(train: FeatureLists, validation: FeatureLists) -> list[Opponent]:
    return [fit_logistic(train, validation, LOGISTIC), fit_lambdarank(train, validation, TREES)]


def lists(seed: int, n: int = 120, m: int = 20) -> FeatureLists:
    """Hits follow the first feature and the product of two others; the fourth says nothing."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, m, 4)).astype(np.float32)
    logit = 1.5 * features[..., 0] + 1.5 * features[..., 1] * features[..., 2] - 2
    labels = rng.random((n, m)) < 1 / (1 + np.exp(-logit))
    valid = np.arange(m) < rng.integers(m // 2, m + 1, size=n)[:, None]
    labels &= valid
    n_held_out = labels.sum(axis=1) + rng.integers(0, 2, n)
    return FeatureLists(np.where(valid[..., None], features, 0), labels, valid, n_held_out)


@pytest.fixture(scope="module")
def fitted() -> list[Opponent]:
    return fit_both_kinds(lists(0), lists(1))


def test_opponents_beat_the_best_single_feature(fitted: list[Opponent]) -> None:
    test = lists(2)
    single = test.ndcg(test.features[..., 0], 5)
    for opponent in fitted:
        assert test.ndcg(opponent.score(test.features), 5) > single + 0.03, opponent.name


def test_the_best_trial_is_chosen_and_all_are_recorded(fitted: list[Opponent]) -> None:
    for opponent, n_trials in zip(fitted, (4, 2), strict=True):
        assert len(opponent.trials) == n_trials
        best = max(opponent.trials, key=lambda trial: trial.ndcg)
        assert opponent.chosen == best.setting
        again = lists(1).ndcg(opponent.score(lists(1).features), 5)
        assert again == pytest.approx(best.ndcg)


def test_the_same_seed_gives_the_same_scores(fitted: list[Opponent]) -> None:
    features = lists(2).features
    for one, other in zip(fitted, fit_both_kinds(lists(0), lists(1)), strict=True):
        assert np.array_equal(one.score(features), other.score(features)), one.name


def test_padding_changes_nothing(fitted: list[Opponent]) -> None:
    def padded(plain: FeatureLists) -> FeatureLists:
        gap = ((0, 0), (0, 3))
        return FeatureLists(
            np.pad(plain.features, (*gap, (0, 0)), constant_values=9),
            np.pad(plain.labels, gap),
            np.pad(plain.valid, gap),
            plain.n_held_out,
        )

    features = lists(2).features
    for one, other in zip(fitted, fit_both_kinds(padded(lists(0)), padded(lists(1))), strict=True):
        assert np.allclose(one.score(features), other.score(features), atol=1e-5), one.name


def test_a_score_does_not_depend_on_the_rest_of_the_batch(fitted: list[Opponent]) -> None:
    features = lists(2).features
    for opponent in fitted:
        whole, part = opponent.score(features), opponent.score(features[3:5, :7])
        assert whole.dtype == np.float32
        assert np.allclose(whole[3:5, :7], part, atol=1e-6)
        assert opponent.score(features[:0]).shape == (0, 20)


def test_refit_keeps_the_setting_and_learns_from_other_lists(fitted: list[Opponent]) -> None:
    features = lists(2).features
    for opponent in fitted:
        same, later = opponent.refit(lists(0)), opponent.refit(lists(3))
        assert same.chosen == later.chosen == opponent.chosen
        assert same.trials == opponent.trials
        assert np.allclose(same.score(features), opponent.score(features), atol=1e-3)
        assert not np.allclose(later.score(features), opponent.score(features), atol=1e-3)


@pytest.mark.parametrize("interactions", ["none", "pairwise"])
def test_logistic_agrees_with_a_plain_regression(interactions: Any) -> None:
    data = lists(0)
    settings = LogisticSettings(strengths=(0.1,), interactions=(interactions,))
    ours = fit_logistic(data, data, settings).score(data.features)[data.valid]
    columns = data.features[data.valid].astype(np.float64)
    if interactions == "pairwise":
        products = [columns[:, i] * columns[:, j] for i in range(4) for j in range(i, 4)]
        columns = np.column_stack([columns, *products])
    columns = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    plain = LogisticRegression(C=0.1, tol=1e-8, max_iter=1000)
    plain.fit(columns, data.labels[data.valid])
    assert ours == pytest.approx(plain.decision_function(columns), abs=2e-3)


def test_logistic_draws_misses_without_bias() -> None:
    data = lists(0, n=2000)
    whole = fit_logistic(data, data, LogisticSettings(strengths=(1.0,), interactions=("none",)))
    few = LogisticSettings(strengths=(1.0,), interactions=("none",), max_values=65_000)
    drawn = fit_logistic(data, data, few)
    assert not np.array_equal(whole.weights, drawn.weights)
    assert drawn.intercept == pytest.approx(whole.intercept, abs=0.1)
    assert drawn.weights == pytest.approx(whole.weights, abs=0.1)


def test_ndcg_of_lists_agrees_with_the_metric_and_counts_what_no_list_holds() -> None:
    data = FeatureLists(
        np.zeros((2, 3, 1), dtype=np.float32),
        np.array([[False, True, False], [False, False, False]]),
        np.array([[True, True, True], [True, False, False]]),
        np.array([2, 0]),
    )
    scores = np.array([[1.0, 0.5, 0.0], [1.0, 9.0, 9.0]])
    expected = (1 / np.log2(3)) / (1 + 1 / np.log2(3))
    assert data.ndcg(scores, 3) == pytest.approx(expected)


def candidates() -> tuple[Candidates, Truth]:
    data = lists(4)
    items = np.where(data.valid, np.arange(20) + 100, -1).astype(np.int64)
    ranked = rank(items, data.features[..., 3], 20, features=data.features)
    rows, columns = np.nonzero(data.labels)
    return ranked, Truth.from_pairs(rows, columns + 100, len(data))


def test_reranking_candidates(fitted: list[Opponent]) -> None:
    ranked, truth = candidates()
    data = FeatureLists.of_candidates(ranked, truth)
    before = np.nanmean(ndcg(judge(ranked.items, truth, ranked.scores), 5))
    for opponent in fitted:
        again = rerank(opponent, ranked)
        assert np.array_equal(np.sort(again.items), np.sort(ranked.items))
        after = np.nanmean(ndcg(judge(again.items, truth, again.scores), 5))
        assert after > before + 0.1
        assert after == pytest.approx(data.ndcg(opponent.score(data.features), 5))


def test_popularity_ranking_leaves_excluded_items_out() -> None:
    rng = np.random.default_rng(0)
    popularity = rng.integers(0, 6, 30)
    excluded = sp.csr_matrix(rng.random((1500, 30)) < 0.3)
    ranked = popularity_ranking(popularity, excluded, 8)
    for row in (0, 1023, 1024, 1499):
        allowed = np.flatnonzero(~excluded[row].toarray().ravel())
        slow = sorted(allowed, key=lambda item: (-popularity[item], item))[:8]
        assert ranked.items[row].tolist() == slow
        assert ranked.scores[row].tolist() == popularity[slow].tolist()
    assert popularity_ranking(popularity, excluded[:1], 100).lengths()[0] < 30
    assert popularity_ranking(popularity, excluded[:0], 5).items.shape == (0, 5)


def test_lambdarank_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(MissingDependencyError, match="pip install 'lightgbm"):
        fit_lambdarank(lists(0), lists(1), TREES)


def without_hits() -> FeatureLists:
    data = lists(0)
    return FeatureLists(data.features, np.zeros_like(data.labels), data.valid, data.n_held_out)


def only_hits() -> FeatureLists:
    data = lists(0)
    return FeatureLists(data.features, data.valid, data.valid, data.valid.sum(axis=1))


def plain(**changes: npt.NDArray[Any]) -> FeatureLists:
    data = lists(0)
    fields = {name: getattr(data, name) for name in ("features", "labels", "valid", "n_held_out")}
    return FeatureLists(**(fields | changes))


def narrow() -> FeatureLists:
    return plain(features=lists(0).features[..., :2])


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: fit_logistic(without_hits(), lists(1), LOGISTIC), InputError, "hits"),
        (lambda: fit_logistic(only_hits(), lists(1), LOGISTIC), InputError, "not"),
        (lambda: fit_lambdarank(without_hits(), lists(1), TREES), InputError, "hit"),
        (lambda: fit_lambdarank(narrow(), lists(1)), InputError, "have 2 features"),
        (lambda: fit_logistic(narrow(), lists(1)), InputError, "have 2 features"),
        (lambda: plain(valid=np.zeros((120, 20), dtype=bool)), InputError, "padding"),
        (lambda: plain(features=np.full((120, 20, 4), np.nan)), InputError, "finite"),
        (lambda: plain(labels=np.zeros((120, 19), dtype=bool)), InputError, "agree"),
        (lambda: plain(valid=np.zeros((120, 19), dtype=bool)), InputError, "agree"),
        (lambda: plain(n_held_out=np.zeros(120, dtype=np.int64)), InputError, "n_held_out"),
        (lambda: LogisticSettings(strengths=()), SettingsError, "strengths"),
        (lambda: LogisticSettings(strengths=(0.0,)), SettingsError, "strengths"),
        (lambda: LogisticSettings(k=0), SettingsError, "at least 1"),
        (lambda: LambdaRankSettings(n_leaves=(1,)), SettingsError, "n_leaves"),
        (lambda: LambdaRankSettings(min_rows=()), SettingsError, "min_rows"),
        (lambda: LambdaRankSettings(learning_rates=(0.0,)), SettingsError, "learning_rates"),
        (lambda: LambdaRankSettings(feature_share=1.5), SettingsError, "feature_share"),
        (lambda: LambdaRankSettings(patience=0), SettingsError, "patience"),
    ],
)
def test_refusals(build: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build()


def test_candidates_without_features_are_refused() -> None:
    ranked, truth = candidates()
    bare = Candidates(ranked.items, ranked.scores)
    with pytest.raises(InputError, match="features"):
        FeatureLists.of_candidates(bare, truth)
    model = LogisticOpponent(np.zeros(1), 0.0, np.zeros(1), np.ones(1), "none", 1.0, LOGISTIC)
    with pytest.raises(InputError, match="features"):
        rerank(model, bare)
