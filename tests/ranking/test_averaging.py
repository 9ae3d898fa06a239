from __future__ import annotations

import contextlib

import pytest
import torch

from twofold.ranking.averaging import WeightMean, mean_of, standing_in


def test_the_mean_follows_the_recursion() -> None:
    weight = torch.zeros(3, requires_grad=True)
    mean = WeightMean({"w": weight}, 0.5)
    expected = 0.0
    for step in range(1, 20):
        with torch.no_grad():
            weight.fill_(float(step))
        mean.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert mean.copy()["w"].tolist() == pytest.approx([expected] * 3)


def test_without_decay_the_mean_is_the_weights() -> None:
    weight = torch.zeros(2)
    mean = WeightMean({"w": weight}, 0.0)
    weight.fill_(3.0)
    mean.update()
    assert mean.copy()["w"].tolist() == [3.0, 3.0]


def test_a_mean_goes_on_where_it_was_restored() -> None:
    weight = torch.zeros(1)
    whole, later = WeightMean({"w": weight}, 0.9), WeightMean({"w": weight}, 0.9)
    for step in range(1, 6):
        weight.fill_(float(step))
        whole.update()
        if step == 3:
            later.restore(whole.copy(), 3)
        if step > 3:
            later.update()
    assert later.copy()["w"].tolist() == whole.copy()["w"].tolist()


def test_values_stand_in_only_within_the_block_even_when_it_fails() -> None:
    weight = torch.ones(2)
    with (
        contextlib.suppress(RuntimeError),
        standing_in({"w": torch.zeros(2)}, {"w": weight}),
    ):
        assert weight.tolist() == [0.0, 0.0]
        raise RuntimeError
    assert weight.tolist() == [1.0, 1.0]


def test_a_soup_is_the_plain_mean() -> None:
    found = mean_of([{"w": torch.tensor([1.0, 5.0])}, {"w": torch.tensor([3.0, 9.0])}])
    assert found["w"].tolist() == [2.0, 7.0]
