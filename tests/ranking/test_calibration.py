from __future__ import annotations

import json
from typing import Literal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import expit

from twofold.indexing.errors import InputError
from twofold.ranking.calibration import Calibration, calibrate, levelled

Method = Literal["temperature", "isotonic"]


def _world(scale: float, shift: float, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (n, 50)).astype(np.float32)
    return logits, rng.random(logits.shape) < expit(scale * logits + shift)


def test_temperature_recovers_scale_and_shift() -> None:
    found = calibrate(*_world(0.6, -1.5), method="temperature")
    assert found.scale == pytest.approx(0.6, abs=0.03)
    assert found.shift == pytest.approx(-1.5, abs=0.06)
    wanted = expit(0.6 * np.array([-1.0, 0.0, 3.0]) - 1.5)
    given_ = found.probabilities(np.array([-1.0, 0.0, 3.0], dtype=np.float32))
    np.testing.assert_allclose(given_, wanted, atol=0.02)


def test_isotonic_pools_neighbours_that_fall() -> None:
    logits = np.array([[0.0, 1.0, 2.0, 3.0]], dtype=np.float32)
    labels = np.array([[False, True, False, True]])
    found = calibrate(logits, labels, method="isotonic")
    # 1 and 0 in the middle are pooled to a half; the ends stay off 0 and 1 by 1 / (2 n).
    np.testing.assert_allclose(found.probabilities(logits), [[0.125, 0.5, 0.5, 0.875]])


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
@settings(deadline=None, max_examples=25)
@given(
    logits=st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=30), seed=st.integers(0, 99)
)
@example(logits=[1e-3, 0.0], seed=0)  # Told apart for certain: the steeper, the better.
def test_probabilities_rise_with_the_logit(method: Method, logits: list[float], seed: int) -> None:
    row = np.array([logits], dtype=np.float32)
    labels = np.random.default_rng(seed).random(row.shape) < 0.5
    labels[0, :2] = [True, False]
    with np.errstate(over="raise", invalid="raise"):
        found = calibrate(row, labels, method=method)
    p = found.probabilities(np.linspace(-40, 40, 200, dtype=np.float32))
    assert ((p >= 0) & (p <= 1)).all()
    assert (np.diff(p) >= 0).all()


@pytest.mark.parametrize("method", ["temperature", "isotonic", "auto"])
def test_padding_is_never_learned_from_and_has_probability_zero(method: str) -> None:
    logits, labels = _world(1.0, -2.0, 60)
    wide = np.pad(logits, ((0, 0), (0, 7)), constant_values=-np.inf)
    wide_labels = np.pad(labels, ((0, 0), (0, 7)))
    found = calibrate(wide, wide_labels, method=method)  # type: ignore[arg-type]
    assert found == calibrate(logits, labels, method=method)  # type: ignore[arg-type]
    p = found.probabilities(wide)
    assert (p[:, -7:] == 0).all()
    assert (p[:, :-7] > 0).all()
    assert p.dtype == np.float32


def test_auto_takes_the_form_that_predicts_better() -> None:
    assert calibrate(*_world(0.6, -1.5, 200)).method == "temperature"
    rng = np.random.default_rng(1)
    logits = rng.uniform(-3, 3, (200, 50)).astype(np.float32)
    steps = np.where(logits < -1, 0.02, np.where(logits < 1, 0.5, 0.55))
    assert calibrate(logits, rng.random(logits.shape) < steps).method == "isotonic"


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_a_calibration_survives_json(method: str) -> None:
    found = calibrate(*_world(0.7, 0.3, 30), method=method)  # type: ignore[arg-type]
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("method", ["temperature", "isotonic", "auto"])
def test_nothing_to_learn_from_is_refused(method: str, value: bool) -> None:
    logits = np.zeros((3, 4), dtype=np.float32)
    with pytest.raises(InputError, match="one hit and one miss"):
        calibrate(logits, np.full((3, 4), value), method=method)  # type: ignore[arg-type]


def test_hits_at_padding_count_for_nothing() -> None:
    logits = np.array([[0.0, -np.inf]], dtype=np.float32)
    with pytest.raises(InputError):
        calibrate(logits, np.array([[False, True]]))


def test_a_falling_calibration_is_refused() -> None:
    with pytest.raises(InputError, match="must rise"):
        Calibration("temperature", scale=-1.0)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_a_level_moves_all_log_odds_alike(method: str) -> None:
    few = calibrate(*_world(0.6, -1.5, 20), method=method)  # type: ignore[arg-type]
    logits, labels = _world(0.6, -3.0)
    logits[0, :7] = -np.inf
    found = levelled(few, logits, float(labels[np.isfinite(logits)].mean()))
    there = np.isfinite(logits)
    assert found.probabilities(logits)[there].mean() == pytest.approx(labels[there].mean(), 1e-4)
    before, after = (one.probabilities(np.array([-2.0, 2.0], np.float32)) for one in (few, found))
    odds = np.log(after / (1 - after)) - np.log(before / (1 - before))
    np.testing.assert_allclose(odds, odds.mean(), atol=1e-4)
    assert -2.0 < odds.mean() < -1.0


def test_a_rate_of_nothing_or_all_leaves_the_level() -> None:
    calibration = Calibration("temperature", 0.5, -1.0)
    for rate in (0.0, 1.0):
        assert levelled(calibration, np.zeros((2, 3), np.float32), rate) == calibration
    nothing = np.full((2, 3), -np.inf, np.float32)
    assert levelled(calibration, nothing, 0.5) == calibration


def test_a_level_is_found_for_the_rarest_hits() -> None:
    found = levelled(Calibration("temperature"), np.full((1, 4), 12.0, np.float32), 1e-7)
    assert found.probabilities(np.array([12.0], np.float32))[0] == pytest.approx(1e-7, rel=1e-3)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_a_list_that_counts_twice_is_as_good_as_two(method: Method) -> None:
    logits, labels = _world(0.6, -1.5, 60)
    twice = [np.concatenate([one, one[:20]]) for one in (logits, labels)]
    counted = np.where(np.arange(60) < 20, 2.0, 1.0)
    grid = np.linspace(-4, 4, 50, dtype=np.float32)
    once = calibrate(logits, labels, method=method).probabilities(grid)
    found = calibrate(logits, labels, counted, method=method).probabilities(grid)
    # What no list reached has half a hit in as many candidates as were seen, here fewer.
    wanted = calibrate(*twice, method=method).probabilities(grid)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
    assert np.abs(found - once).max() > 1e-3
