"""What training lowers, and early stopping watches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from twofold.ranking.lists import Lists, pooled, stacked
from twofold.ranking.training_settings import TrainingSettings


def loss_of(logits: Tensor, labels: Tensor, weights: Tensor, settings: TrainingSettings) -> Tensor:
    """Return the mean loss of a batch of lists under the settings' objective.

    Hits count `positive_weight` times. ``"bce"`` averages binary cross-entropy over candidates.
    ``"focal"`` multiplies each candidate's by ``(1 - p)^gamma``, p being what its true label is
    given (Lin et al. 2017, equation 4). ``"pairwise"`` averages ``log(1 + exp(miss - hit))`` over
    the pairs of a list (RankNet, Burges et al. 2005, equation 3). ``"listwise"`` averages the
    softmax cross-entropy of each hit among itself and the misses of its list (InfoNCE, van den Oord
    et al. 2018, equation 4): its other hits are no rivals. To the first two it is added
    `order_weight` times.

    Parameters
    ----------
    logits, labels
        ``float32 (B, m)``.
    weights
        How many served candidates each miss stands for, since some were drawn from a list, and what
        each hit counts for; 0 at padding, ``float32 (B, m)``.
    settings
        The objective and what belongs to it.
    """
    if settings.objective == "pairwise":
        return _pairwise(logits, labels, weights)
    if settings.objective == "listwise":
        return _listwise(logits, labels, weights)
    each = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    if settings.objective == "focal":
        # exp(-each) is what the true label is given.
        each = each * (1 - torch.exp(-each)).clamp(min=1e-6) ** settings.focal_gamma
    counted = weights * (1 + (settings.positive_weight - 1) * labels)
    lost = (each * counted).sum() / weights.sum().clamp(min=1e-9)
    if settings.order_weight:
        lost = lost + settings.order_weight * _listwise(logits, labels, weights)
    return lost


def _pairwise(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    gaps = logits[:, None, :] - logits[:, :, None]
    pairs = (weights * labels)[:, :, None] * (weights * (1 - labels))[:, None, :]
    return (F.softplus(gaps) * pairs).sum() / pairs.sum().clamp(min=1e-9)


def _listwise(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    out = (labels > 0) | (weights <= 0)
    counted = (logits + weights.clamp(min=1e-9).log()).masked_fill(out, -1e9)
    missed = counted.logsumexp(dim=1, keepdim=True)
    hits = labels * weights
    return (F.softplus(missed - logits) * hits).sum() / hits.sum().clamp(min=1e-9)


def mean_loss(
    parts: Sequence[Lists], logits: Sequence[npt.NDArray[np.float32]], settings: TrainingSettings
) -> float:
    """Return the loss of whole lists, every miss standing for itself, a hit for its strength.

    Parameters
    ----------
    parts
        Lists with a hit, a part a window.
    logits
        Logits of each part's candidates, ``float32 (n, m)``.
    settings
        As in :func:`loss_of`.
    """
    pool = pooled(parts)
    told = torch.from_numpy(np.where(pool.valid, stacked(logits, 0.0), 0.0).astype(np.float32))
    weights = torch.from_numpy(stacked([part.counted() for part in parts], 0.0))
    return float(loss_of(told, torch.from_numpy(pool.labels).float(), weights, settings))
