"""The gradient of one batch: one pass over it, or several with other dropout or noise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from twofold.ranking.noise import Noise
from twofold.ranking.training_settings import AdversarySettings, TrainingSettings

Loss = Callable[[Noise | None], Tensor]


def leave_gradients(
    logits: Callable[[Noise | None], Tensor],
    loss: Callable[[Tensor], Tensor],
    weights: Tensor,
    settings: TrainingSettings,
    *,
    share: float = 1.0,
    seed: int = 0,
) -> float:
    """Add a batch's gradient to the weights' and return the loss of its first pass.

    Parameters
    ----------
    logits
        Gives the logits ``(B, m)`` of a pass, with noise or without.
    loss
        Of logits.
    weights
        How much each candidate counts, 0 at padding, ``float32 (B, m)``.
    settings
        Which passes are made.
    share
        What the gradient is multiplied by: one over the batches of a step.
    seed
        Seeds where noise starts.
    """

    def passed(noise: Noise | None) -> Tensor:
        if settings.consistency == 0:
            return loss(logits(noise))
        first, second = logits(noise), logits(noise)
        apart = distance(first, second, weights, by_list=settings.objective in BY_LIST)
        return (loss(first) + loss(second)) / 2 + settings.consistency * apart

    if settings.adversary.kind == "none":
        lost = passed(None)
        torch.autograd.backward(lost * share)
        return float(lost.detach())
    return _PASSES[settings.adversary.kind](passed, settings.adversary, share, seed)


BY_LIST = ("pairwise", "listwise")


def distance(first: Tensor, second: Tensor, weights: Tensor, *, by_list: bool) -> Tensor:
    """Return how far two passes' predictions are apart (R-Drop, Liang et al. 2021, equation 2).

    The mean of both Kullback-Leibler divergences: of each candidate's probability, or where lists
    are compared as a whole of the softmax over each list.

    Parameters
    ----------
    first, second
        Logits, ``float32 (B, m)``.
    weights
        How much each candidate counts, 0 at padding, ``float32 (B, m)``.
    by_list
        Whether lists are compared as a whole.
    """
    gap = first - second
    if by_list:
        there = weights > 0
        one, other = (logits.masked_fill(~there, -1e9).softmax(dim=1) for logits in (first, second))
        # The normalising sums cancel: sum (p - q) (log p - log q) = sum (p - q) (x - y).
        return ((one - other) * gap.masked_fill(~there, 0.0)).sum(dim=1).mean() / 2
    each = (torch.sigmoid(first) - torch.sigmoid(second)) * gap
    return (each * weights).sum() / (2 * weights.sum().clamp(min=1e-9))


def _fgm(passed: Loss, settings: AdversarySettings, share: float, seed: int) -> float:
    """Take one step along the gradient; half of the gradient is clean (Miyato et al. 2017)."""
    noise = Noise(settings.radius)
    lost = passed(noise)
    torch.autograd.backward(lost * (share / 2))
    moved = noise.climbed(noise.gradients(), settings.radius)
    torch.autograd.backward(passed(moved) * (share / 2))
    return float(lost.detach())


def _pgd(passed: Loss, settings: AdversarySettings, share: float, seed: int) -> float:
    """Take several steps inside the ball; only the last is learned from (Madry et al. 2018)."""
    noise = Noise(settings.radius)
    lost = passed(noise)
    torch.autograd.backward(lost * (share / 2))
    gradients = noise.gradients()
    for number in range(settings.steps):
        noise = noise.climbed(gradients, _step(settings))
        if number < settings.steps - 1:
            gradients = list(torch.autograd.grad(passed(noise), noise.tensors()))
    torch.autograd.backward(passed(noise) * (share / 2))
    return float(lost.detach())


def _freelb(passed: Loss, settings: AdversarySettings, share: float, seed: int) -> float:
    """Take the mean over several steps from a random start (Zhu et al. 2020, algorithm 1)."""
    noise, first = Noise(settings.radius, torch.Generator().manual_seed(seed)), 0.0
    for number in range(settings.steps):
        lost = passed(noise)
        torch.autograd.backward(lost * (share / settings.steps))
        first = first or float(lost.detach())
        if number < settings.steps - 1:
            noise = noise.climbed(noise.gradients(), _step(settings))
    return first


def _step(settings: AdversarySettings) -> float:
    """Return the length of a step: so many that the ball can be crossed once and a half."""
    return 1.5 * settings.radius / settings.steps


_PASSES = {"fgm": _fgm, "pgd": _pgd, "freelb": _freelb}
