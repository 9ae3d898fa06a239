"""A running mean of weights: less noise than the last step, at no cost in steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class WeightMean:
    """Exponentially decaying mean of parameters over the steps of an optimiser.

    The decay rises as ``(1 + t) / (10 + t)`` to its final value, so that a short training is not
    held back by its start.

    Parameters
    ----------
    weights
        The parameters; they are read at every update.
    decay
        Final decay in [0, 1); 0 follows the parameters themselves.
    """

    def __init__(self, weights: Sequence[Tensor], decay: float) -> None:
        self._weights = list(weights)
        self._means = [one.detach().clone() for one in self._weights]
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters as the last step left them."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for mean, one in zip(self._means, self._weights, strict=True):
            mean.lerp_(one.detach(), 1 - decay)

    def copy(self) -> list[Tensor]:
        """Return the means as they are now, in the order of the parameters."""
        return [one.clone() for one in self._means]

    @contextmanager
    def standing_in(self) -> Iterator[None]:
        """Put the means in the parameters' place for the length of a ``with`` block."""
        own = [one.detach().clone() for one in self._weights]
        self._put(self._means)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, values: Sequence[Tensor]) -> None:
        for one, value in zip(self._weights, values, strict=True):
            one.copy_(value)
