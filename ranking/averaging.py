"""Means of weights over the course of a training: less noise than the last step, for nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


class WeightMean:
    """Exponentially decaying mean of parameters over the steps of an optimiser.

    The decay rises as ``(1 + t) / (10 + t)`` to its final value, so that a short training is not
    held back by its start.

    Parameters
    ----------
    weights
        The parameters by name; they are read at every update.
    decay
        Final decay in [0, 1); 0 follows the parameters themselves.
    """

    def __init__(self, weights: Weights, decay: float) -> None:
        self._weights = dict(weights)
        self._means = copied(weights)
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters as the last step left them."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for name, one in self._weights.items():
            self._means[name].lerp_(one.detach(), 1 - decay)

    def copy(self) -> dict[str, Tensor]:
        """Return the means as they are now."""
        return copied(self._means)

    def restore(self, means: Weights, steps: int) -> None:
        """Go on from the means as they were after so many updates."""
        self._means, self._steps = copied(means), steps


@torch.no_grad()
def copied(weights: Weights) -> dict[str, Tensor]:
    """Return weights as they are now."""
    return {name: one.detach().clone() for name, one in weights.items()}


@torch.no_grad()
def put(values: Weights, weights: Weights) -> None:
    """Give weights the values of the same names."""
    for name, one in weights.items():
        one.copy_(values[name])


@contextmanager
def standing_in(values: Weights, weights: Weights) -> Iterator[None]:
    """Put values in the weights' place for the length of a ``with`` block."""
    own = copied(weights)
    put(values, weights)
    try:
        yield
    finally:
        put(own, weights)


def mean_of(many: Sequence[Weights]) -> dict[str, Tensor]:
    """Return the plain mean of several models' weights (Wortsman et al. 2022)."""
    return {name: torch.stack([one[name] for one in many]).mean(dim=0) for name in many[0]}
