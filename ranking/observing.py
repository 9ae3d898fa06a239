"""Who is told how a training goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Observer(Protocol):
    """Is told of every few steps and of every epoch of a training."""

    def step(self, number: int, values: Mapping[str, float]) -> None:
        """Take in what the steps up to `number`, counted from 1, brought: loss, rates."""
        ...

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        """Take in what was measured after epoch `number`; 0 is the state before the first step."""
        ...

    def resumed(self, step: int, epoch: int) -> None:
        """Take in that a training which was cut off goes on after a step and an epoch.

        It stands in place of epoch 0; what was told after them will be told again.
        """
        ...


class Nobody:
    """Takes in nothing."""

    def step(self, number: int, values: Mapping[str, float]) -> None:
        """Take in nothing."""

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        """Take in nothing."""

    def resumed(self, step: int, epoch: int) -> None:
        """Take in nothing."""
