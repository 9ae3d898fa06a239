"""The optimiser of a ranker's training, and how its rates rise and fall."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from twofold.ranking.training_settings import TrainingSettings


@dataclass(frozen=True)
class Schedule:
    """How a rate rises linearly to its peak and falls linearly to zero.

    Parameters
    ----------
    steps
        Steps altogether.
    warmup_ratio
        Share of them in which it rises.
    """

    steps: int
    warmup_ratio: float

    def rate(self, step: int) -> float:
        """Return the share of its peak that a rate has at a step, the first being 0."""
        warmup = max(1, round(self.steps * self.warmup_ratio))
        rising = (step + 1) / warmup
        return min(rising, max(0.0, (self.steps - step) / max(1, self.steps - warmup)))

    def set(self, optimiser: torch.optim.Optimizer, step: int) -> None:
        """Give every group of an optimiser its rate at a step."""
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * self.rate(step)


def optimiser_of(model: nn.Module, settings: TrainingSettings) -> torch.optim.AdamW:
    """Return AdamW over the trainable weights.

    Parameters
    ----------
    model
        Weights under ``backbone.`` have the encoder's rate, all others the head's.
    settings
        Peak rates, and weight decay (of matrices alone).
    """
    groups = []
    peaks = ((True, settings.learning_rate), (False, settings.head_learning_rate))
    for encoder, peak in peaks:
        for matrices in (True, False):
            weights = [
                one
                for name, one in trainable(model).items()
                if name.startswith("backbone.") == encoder and (one.dim() > 1) == matrices
            ]
            decay = settings.weight_decay if matrices else 0.0
            rates = {"lr": peak, "peak": peak, "weight_decay": decay}
            groups.append({"params": weights, **rates})
    # One pass over memory a weight, where the plain form makes a dozen.
    return torch.optim.AdamW(groups, fused=True)


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that are trained, by name."""
    return {name: one for name, one in model.named_parameters() if one.requires_grad}


def moments(model: nn.Module, optimiser: torch.optim.AdamW) -> dict[str, Tensor]:
    """Return what AdamW remembers of each weight, by ``name/moment``."""
    return {
        f"{name}/{moment}": value
        for name, one in trainable(model).items()
        for moment, value in optimiser.state[one].items()
    }


def remember(model: nn.Module, optimiser: torch.optim.AdamW, kept: dict[str, Tensor]) -> None:
    """Give AdamW back what :func:`moments` returned."""
    named = trainable(model)
    for key, value in kept.items():
        name, _, moment = key.rpartition("/")
        optimiser.state[named[name]][moment] = value.clone()
