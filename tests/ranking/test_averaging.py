from __future__ import annotations

import contextlib

import pytest
import torch

from twofold.ranking.averaging import WeightMean


def test_the_mean_follows_the_recursion() -> None:
    weight = torch.zeros(3, requires_grad=True)
    mean = WeightMean([weight], 0.5)
    expected = 0.0
    for step in range(1, 20):
        with torch.no_grad():
            weight.fill_(float(step))
        mean.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert mean.copy()[0].tolist() == pytest.approx([expected] * 3)


def test_without_decay_the_mean_is_the_weights() -> None:
    weight = torch.zeros(2)
    mean = WeightMean([weight], 0.0)
    weight.fill_(3.0)
    mean.update()
    assert mean.copy()[0].tolist() == [3.0, 3.0]


def test_the_means_stand_in_only_within_the_block_even_when_it_fails() -> None:
    weight = torch.zeros(2)
    mean = WeightMean([weight], 0.9)
    weight.fill_(1.0)
    with contextlib.suppress(RuntimeError), mean.standing_in():
        assert weight.tolist() == [0.0, 0.0]
        raise RuntimeError
    assert weight.tolist() == [1.0, 1.0]
