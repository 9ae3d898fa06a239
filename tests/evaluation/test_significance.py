from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from twofold.evaluation import significance
from twofold.evaluation.significance import holm, permutation_test
from twofold.indexing.errors import InputError


def textbook(differences: np.ndarray) -> float:
    """The share of all sign flips whose mean is as far from 0, in whole numbers."""
    flips = [
        abs(sum(sign * int(one) for sign, one in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return float(np.mean([one >= abs(int(differences.sum())) for one in flips]))


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([5], 1.0),
        ([1, 2, 3], 2 / 8),
        ([1, 1, 1, 1, 1], 2 / 32),
        ([1, -1], 1.0),
        ([3, -1], 1.0),
        ([4, 3, -1], 4 / 8),
        ([0, 0], 1.0),
        ([1, 1, 1, 0, 0], 2 / 8),
    ],
)
def test_known_answers(differences: list[int], p: float) -> None:
    found = permutation_test(np.array(differences, dtype=np.float64), seed=0)
    assert found == pytest.approx(p)


def test_sums_equal_on_paper_are_equal() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        whole = rng.integers(-4, 5, 9)
        # Tenths have no exact floats, so the same sums come out unlike in their last digit.
        tenths = np.multiply(whole, 0.1, dtype=np.float64)
        assert permutation_test(tenths, seed=0) == pytest.approx(textbook(whole))


def test_agrees_with_scipy() -> None:
    rng = np.random.default_rng(2)
    few, many = rng.normal(0.4, 1, 10), rng.normal(0.25, 1, 40)
    for differences, n in ((few, np.inf), (many, 9999)):
        theirs = stats.permutation_test(
            (differences,),
            np.mean,
            permutation_type="samples",
            n_resamples=n,
            rng=np.random.default_rng(0),
        )
        ours = permutation_test(differences, seed=0, n=9999)
        error = 4 * np.sqrt(ours * (1 - ours) / 9999 * 2) if differences is many else 1e-12
        assert ours == pytest.approx(theirs.pvalue, abs=error)


def test_drawn_flips_agree_with_all_flips() -> None:
    differences = np.random.default_rng(3).normal(0.2, 1, 13)
    signs = 1 - 2 * ((np.arange(2**13)[:, None] >> np.arange(13)) & 1)
    everyone = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9)
    drawn = permutation_test(differences, seed=5, n=20_000)
    assert 0.05 < everyone < 0.95
    assert drawn == pytest.approx(everyone, abs=4 * np.sqrt(0.25 / 20_000))


def test_every_sign_is_turned_half_of_the_time_and_apart_from_others() -> None:
    turned = np.concatenate(list(significance._drawn_flips(130, 0, 4000)))
    assert set(np.unique(turned)) == {0, 1}
    alike = np.corrcoef(turned.T) - np.eye(130)
    assert np.abs(turned.mean(axis=0) - 0.5).max() < 5 * np.sqrt(0.25 / 4000)
    assert np.abs(alike).max() < 5.5 / np.sqrt(4000)


def test_p_is_never_zero_and_counts_the_measured_one() -> None:
    assert permutation_test(np.ones(200), seed=0, n=99) == 1 / 100


def test_p_is_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(6)
    told = [permutation_test(rng.normal(0, 1, 30), seed, n=199) for seed in range(500)]
    assert stats.kstest(told, "uniform").pvalue > 0.01
    assert np.mean(np.array(told) <= 0.05) == pytest.approx(0.05, abs=0.03)


@pytest.mark.parametrize("n_users", [7, 100])
def test_the_sign_of_all_differences_does_not_matter(n_users: int) -> None:
    differences = np.random.default_rng(7).normal(0.2, 1, n_users)
    ours, theirs = permutation_test(differences, 1), permutation_test(-differences, 1)
    assert ours == theirs < 1


def test_chunks_change_nothing_and_seeds_do(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(8).normal(0.1, 1, 130)
    whole = permutation_test(differences, 3, n=1000)
    assert permutation_test(differences, 4, n=1000) != whole
    monkeypatch.setattr(significance, "_VALUES_A_TIME", 130 * 7)
    assert permutation_test(differences, 3, n=1000) == whole


def test_users_without_a_value_are_left_out() -> None:
    differences = np.array([1, np.nan, 2, 3, np.nan])
    assert permutation_test(differences, 0) == permutation_test(np.array([1.0, 2, 3]), 0)


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == pytest.approx([1, 1])
    assert holm([0.02]) == pytest.approx([0.02])
    assert holm([0.01, 0.01, 0.01]) == pytest.approx([0.03] * 3)
    assert holm([]).shape == (0,)


def test_holm_rejects_what_the_step_down_rule_rejects() -> None:
    rng = np.random.default_rng(9)
    for level in (0.01, 0.05, 0.2):
        p = rng.random(12) ** 4
        rejected = set()
        for step, place in enumerate(np.argsort(p)):
            if p[place] > level / (12 - step):
                break
            rejected.add(int(place))
        assert set(np.flatnonzero(holm(p) <= level).tolist()) == rejected


@pytest.mark.parametrize(
    ("differences", "n"), [([], 10), ([np.nan], 10), ([np.inf], 10), ([[1.0]], 10), ([1.0], 0)]
)
def test_a_test_needs_numbers(differences: list[float], n: int) -> None:
    with pytest.raises(InputError, match="permutation_test"):
        permutation_test(np.array(differences, dtype=np.float64), 0, n)


@pytest.mark.parametrize("p", [[0.1, 1.2], [-0.1], [np.nan]])
def test_holm_needs_p_values(p: list[float]) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        holm(p)
