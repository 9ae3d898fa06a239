from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from twofold.evaluation.judgements import Judgements
from twofold.evaluation.reliability import ece, plot_reliability, reliability
from twofold.indexing.errors import MissingDependencyError


def judged(probabilities: np.ndarray, labels: np.ndarray) -> Judgements:
    return Judgements(probabilities, labels.astype(bool), np.arange(len(labels)) % 30)


def test_ece_agrees_with_the_textbook() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.permutation(np.linspace(0.01, 0.99, 300))
    labels = rng.random(300) < probabilities**2
    order = np.argsort(probabilities)
    slow = sum(
        len(rows) / 300 * abs(labels[rows].mean() - probabilities[rows].mean())
        for rows in np.array_split(order, 15)
    )
    interval = ece(judged(probabilities, labels), seed=0, n=200)
    assert interval.mean == pytest.approx(slow)
    assert interval.low < interval.high


def test_bins_have_equal_mass_and_tied_rows_share_one() -> None:
    table = reliability(judged(np.linspace(0, 1, 150), np.zeros(150)))
    assert table.n_rows.tolist() == [10] * 15
    assert np.all(table.low[1:] > table.high[:-1])
    tied = reliability(judged(np.repeat([0.1, 0.7], [100, 50]), np.repeat([0, 1], [100, 50])))
    assert tied.n_rows.tolist() == [100, 50]
    assert tied.mean == pytest.approx([0.1, 0.7])
    assert tied.hit_share.tolist() == [0, 1]


def test_ece_of_a_constant_is_its_distance_from_the_base_rate() -> None:
    labels = np.repeat([0, 1], [90, 10])
    assert ece(judged(np.full(100, 0.1), labels), 0, n=5).mean == pytest.approx(0, abs=1e-12)
    assert ece(judged(np.full(100, 0.3), labels), 0, n=5).mean == pytest.approx(0.2)


def test_calibrated_probabilities_have_a_small_ece() -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.random(50_000)
    labels = rng.random(50_000) < probabilities
    assert ece(judged(probabilities, labels), 0, n=5).mean < 0.01


def test_the_plot_is_written(tmp_path: Path) -> None:
    table = reliability(judged(np.linspace(0, 1, 150), np.arange(150) % 2))
    plot_reliability(table, tmp_path / "plot.png", title="held-out users")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_plot_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    table = reliability(judged(np.linspace(0, 1, 150), np.zeros(150)))
    with pytest.raises(MissingDependencyError, match="pip install 'matplotlib"):
        plot_reliability(table, tmp_path / "plot.png")
