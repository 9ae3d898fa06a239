"""One batch's gradient: clean, with noise that was searched for, and from two passes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import rel_entr
from torch import Tensor

from twofold.ranking.noise import Noise
from twofold.ranking.passes import distance, leave_gradients
from twofold.ranking.training_settings import AdversarySettings, TrainingSettings

RADIUS = 0.1
ADVERSARIES = {
    kind: TrainingSettings(adversary=AdversarySettings(kind, radius=RADIUS, steps=3))
    for kind in ("fgm", "pgd", "freelb")
}


class Plane:
    """Logits ``states . weights`` of two tokens, and every noise that was put on them."""

    def __init__(self) -> None:
        self.weights = torch.tensor([1.0, 2.0], requires_grad=True)
        self.states = torch.tensor([[3.0, 4.0], [0.0, 5.0]])
        self.seen: list[Tensor] = []

    def logits(self, noise: Noise | None) -> Tensor:
        states = self.states if noise is None else noise.onto("candidates", self.states)
        self.seen.append((states - self.states).detach())
        return (states @ self.weights)[None]

    def gradient(self, settings: TrainingSettings, share: float = 1.0) -> Tensor:
        leave_gradients(self.logits, _loss, torch.ones(1, 2), settings, share=share, seed=3)
        assert self.weights.grad is not None
        return self.weights.grad


def _loss(logits: Tensor) -> Tensor:
    return logits.square().sum()


def _length(noise: Tensor) -> float:
    return math.sqrt(float(noise.square().sum(dim=1).mean()))


def test_without_an_adversary_there_is_one_pass() -> None:
    plane = Plane()
    found = plane.gradient(TrainingSettings(), share=0.5)
    # d/dw of sum (s w)^2 is 2 sum (s w) s.
    expected = (2 * (plane.states @ plane.weights)[:, None] * plane.states).sum(0)
    torch.testing.assert_close(found, 0.5 * expected.detach())
    assert len(plane.seen) == 1


def test_fgm_goes_its_radius_along_the_gradient_of_the_states() -> None:
    plane = Plane()
    found = plane.gradient(ADVERSARIES["fgm"])
    clean, moved = plane.seen
    assert clean.abs().max() == 0
    # Both tokens are five long; the gradient of a state is 2 (s w) w, along w for both.
    assert _length(moved) == pytest.approx(RADIUS * 5)
    logits = plane.states @ plane.weights.detach()
    along = 2 * logits[:, None] * plane.weights.detach()
    torch.testing.assert_close(moved, along * (RADIUS * 5 / _length(along)))
    gradients = [
        (2 * ((plane.states + noise) @ plane.weights.detach())[:, None] * (plane.states + noise))
        for noise in plane.seen
    ]
    torch.testing.assert_close(found, sum(one.sum(0) for one in gradients) / 2)


@pytest.mark.parametrize(("kind", "passes"), [("fgm", 2), ("pgd", 4), ("freelb", 3)])
def test_noise_raises_the_loss_and_stays_in_its_ball(kind: str, passes: int) -> None:
    plane = Plane()
    plane.gradient(ADVERSARIES[kind])
    assert len(plane.seen) == passes
    losses = [float(_loss((plane.states + noise) @ plane.weights.detach())) for noise in plane.seen]
    assert losses == sorted(losses)
    assert losses[-1] > losses[0]
    assert all(_length(noise) <= RADIUS * 5 * (1 + 1e-5) for noise in plane.seen)
    if kind != "freelb":  # that may have started on the far side
        assert _length(plane.seen[-1]) == pytest.approx(RADIUS * 5)


def test_freelb_starts_at_random_by_its_seed_and_averages_its_steps() -> None:
    one, other = Plane(), Plane()
    found = one.gradient(ADVERSARIES["freelb"])
    torch.testing.assert_close(found, other.gradient(ADVERSARIES["freelb"]), rtol=0, atol=0)
    assert one.seen[0].abs().max() > 0
    states = [one.states + noise for noise in one.seen]
    each = [(2 * (s @ one.weights.detach())[:, None] * s).sum(0) for s in states]
    torch.testing.assert_close(found, sum(each, torch.zeros(2)) / 3)


def _kl(p: list[float], q: list[float]) -> float:
    return float(sum(rel_entr(a, b) for a, b in zip(p, q, strict=True)))


@pytest.mark.parametrize("by_list", [False, True])
def test_distance_is_the_mean_of_both_divergences(by_list: bool) -> None:
    first, second = np.array([[0.3, -1.0, 2.0]]), np.array([[1.0, 0.5, 1.5]])
    weights = np.array([[1.0, 3.0, 0.0]])
    told = (torch.tensor(one, dtype=torch.float32) for one in (first, second, weights))
    found = float(distance(*told, by_list=by_list))
    if by_list:
        p, q = ((np.exp(x[0, :2]) / np.exp(x[0, :2]).sum()).tolist() for x in (first, second))
        expected = (_kl(p, q) + _kl(q, p)) / 2
    else:
        pairs = [
            [[1 / (1 + math.exp(-x)), 1 - 1 / (1 + math.exp(-x))] for x in both]
            for both in zip(first[0], second[0], strict=True)
        ]
        each = [(_kl(p, q) + _kl(q, p)) / 2 for p, q in pairs]
        expected = (each[0] + 3 * each[1]) / 4
    assert found == pytest.approx(expected, rel=1e-5)


def test_two_passes_are_drawn_together() -> None:
    weight = torch.tensor(1.0, requires_grad=True)
    shifts: Callable[[], float] = iter([0.0, 2.0]).__next__

    def logits(noise: Noise | None) -> Tensor:
        return torch.full((1, 1), shifts()) * weight

    lost = leave_gradients(
        logits, lambda told: told.sum(), torch.ones(1, 1), TrainingSettings(consistency=3.0)
    )
    apart = (1 / (1 + math.exp(-2)) - 0.5) * 2 / 2
    assert lost == pytest.approx(1.0 + 3 * apart)
    assert weight.grad is not None
    assert float(weight.grad) > 1.0  # 1 is what the mean of both losses would give
