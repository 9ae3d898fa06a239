"""What training lowers, and early stopping watches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from twofold.ranking.lists import Lists, pooled, stacked


def loss_of(
    logits: Tensor, labels: Tensor, weights: Tensor, objective: Literal["bce", "listwise"]
) -> Tensor:
    """Return the mean loss of a batch of lists.

    Parameters
    ----------
    logits, labels
        ``float32 (B, m)``.
    weights
        How many served candidates each one stands for, 0 at padding, ``float32 (B, m)``: where
        misses were drawn from a list, each stands for several.
    objective
        ``"bce"`` averages binary cross-entropy over candidates; ``"listwise"`` averages the softmax
        cross-entropy of the hits over lists (ListNet, Cao et al. 2007, top-one), weights inside the
        normalising sum.
    """
    if objective == "bce":
        each = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        return (each * weights).sum() / weights.sum().clamp(min=1e-9)
    there = weights > 0
    counted = (logits + weights.clamp(min=1e-9).log()).masked_fill(~there, -1e9)
    logs = logits - counted.logsumexp(dim=1, keepdim=True)
    hits = labels * there
    return -(logs * hits).sum() / hits.sum().clamp(min=1)


def mean_loss(
    parts: Sequence[Lists],
    logits: Sequence[npt.NDArray[np.float32]],
    objective: Literal["bce", "listwise"],
) -> float:
    """Return the loss of whole lists, every candidate standing for itself.

    Parameters
    ----------
    parts
        Lists with a hit, a part a window.
    logits
        Logits of each part's candidates, ``float32 (n, m)``.
    objective
        As in :func:`loss_of`.
    """
    pool = pooled(parts)
    told = torch.from_numpy(np.where(pool.valid, stacked(logits, 0.0), 0.0).astype(np.float32))
    labels, weights = (torch.from_numpy(one).float() for one in (pool.labels, pool.valid))
    return float(loss_of(told, labels, weights, objective))
