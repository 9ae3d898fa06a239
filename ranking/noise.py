"""Small changes of what enters the joint layers, and the search for those that raise the loss."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Part = Literal["candidates", "histories"]


class Noise:
    """What is added to token states; its gradient is that of the states.

    A part of the noise comes into being when the states that it belongs to are first seen. Lengths
    are root mean squares over the tokens of a part, in units of the mean length of their states.

    Parameters
    ----------
    radius
        The longest that noise may be.
    generator
        Draws where the noise starts; ``None`` starts it at zero.
    """

    def __init__(self, radius: float, generator: torch.Generator | None = None) -> None:
        self._radius, self._generator = radius, generator
        self._parts: dict[Part, Tensor] = {}
        self._units: dict[Part, Tensor] = {}

    def onto(self, part: Part, states: Tensor) -> Tensor:
        """Return states ``(..., d)`` with the noise of their part added."""
        if part not in self._parts:
            unit = states.detach().float().norm(dim=-1).mean()
            start = torch.zeros_like(states, dtype=torch.float32)
            if self._generator is not None:
                drawn = torch.rand(start.shape, generator=self._generator) * 2 - 1
                start = drawn.to(states.device)
                start = start * (self._radius * unit / _length(start))
            self._units[part] = unit
            self._parts[part] = start.requires_grad_()
        return states + self._parts[part].to(states.dtype)

    def tensors(self) -> list[Tensor]:
        """Return the parts, for the gradient to be asked for."""
        return list(self._parts.values())

    def gradients(self) -> list[Tensor]:
        """Return what a backward pass left at the parts."""
        return [torch.zeros_like(one) if one.grad is None else one.grad for one in self.tensors()]

    def climbed(self, gradients: list[Tensor], step: float) -> Noise:
        """Return the noise one step up the gradients, inside the ball of its radius.

        Parameters
        ----------
        gradients
            Of the loss by :meth:`tensors`.
        step
            Length of the step.
        """
        out = Noise(self._radius)
        for (part, noise), gradient in zip(self._parts.items(), gradients, strict=True):
            unit = self._units[part]
            moved = noise.detach() + gradient.float() * (step * unit / _length(gradient.float()))
            shrunk = (self._radius * unit / _length(moved)).clamp(max=1.0)
            out._units[part] = unit
            out._parts[part] = (moved * shrunk).requires_grad_()
        return out


def _length(states: Tensor) -> Tensor:
    """Return the root mean square length of states ``(..., d)``."""
    return states.square().sum(dim=-1).mean().sqrt().clamp(min=1e-12)
