"""g: the part of the ranker that reads stage one's features, fitted before the text model joins."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from twofold.ranking.lists import Lists, mean_ndcg, pooled
from twofold.ranking.model import FeatureHead, loss_of
from twofold.ranking.settings import RankerSettings

MAX_EPOCHS = 40
PATIENCE = 6
LINEAR_PENALTY = 1e-5
BATCH_LISTS = 128


@dataclass(frozen=True)
class FittedHead:
    """A fitted g.

    Parameters
    ----------
    head
        The module.
    form
        Its form.
    ndcg
        NDCG@10 on the early-stopping lists, of every form that was tried.
    """

    head: FeatureHead
    form: Literal["linear", "network"]
    ndcg: dict[str, float]


def fit_feature_head(
    train: Sequence[Lists], stop: Sequence[Lists], settings: RankerSettings, *, seed: int
) -> FittedHead:
    """Return g, in the form that `settings` names or that does better on `stop`.

    Parameters
    ----------
    train
        Lists to fit on, a part a window; those without a hit are passed over, as in fine-tuning.
    stop
        Lists of other users, all of them, for early stopping and for the choice of the form.
    settings
        The ranker's settings.
    seed
        Seeds weights, order and dropout.
    """
    forms: tuple[Literal["linear", "network"], ...] = ("linear", "network")
    if settings.feature_head != "auto":
        forms = (settings.feature_head,)
    fitted = {form: _fit(train, stop, form, settings, seed) for form in forms}
    best = max(forms, key=lambda form: fitted[form][1])
    return FittedHead(fitted[best][0], best, {form: fitted[form][1] for form in forms})


def _fit(
    train: Sequence[Lists], stop: Sequence[Lists], form: str, settings: RankerSettings, seed: int
) -> tuple[FeatureHead, float]:
    generator = torch.Generator().manual_seed(seed)
    hits = [part.take(part.hits()) for part in train]
    pool = pooled(hits)
    features, labels = torch.from_numpy(pool.features), torch.from_numpy(pool.labels).float()
    weights = torch.from_numpy(pool.mask).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = FeatureHead(features.shape[-1], form, settings.dropout)
        _fit_linear(head, features, labels, weights, settings)
        best, best_ndcg, since = copy.deepcopy(head), _stop_ndcg(head, stop), 0
        if head.network is None:
            return best, best_ndcg
        optimiser = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=1e-2)
        for _ in range(MAX_EPOCHS):
            head.train()
            order = torch.randperm(len(features), generator=generator)
            for start in range(0, len(order), BATCH_LISTS):
                batch = order[start : start + BATCH_LISTS]
                loss = loss_of(
                    head(features[batch]), labels[batch], weights[batch], settings.objective
                )
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
            ndcg = _stop_ndcg(head, stop)
            since = 0 if ndcg > best_ndcg else since + 1
            if ndcg > best_ndcg:
                best, best_ndcg = copy.deepcopy(head), ndcg
            if since >= PATIENCE:
                break
    return best, best_ndcg


def _fit_linear(
    head: FeatureHead, features: Tensor, labels: Tensor, weights: Tensor, settings: RankerSettings
) -> None:
    """Fit the linear part alone, to the end: the problem is convex."""
    rate = float((labels * weights).sum() / weights.sum().clamp(min=1))
    rate = min(max(rate, 1e-4), 1 - 1e-4)
    with torch.no_grad():
        # From a bias of 0 the first steps would only learn that hits are rare, against all order.
        head.linear.bias.fill_(math.log(rate / (1 - rate)))
    parameters = list(head.linear.parameters())
    optimiser = torch.optim.LBFGS(parameters, max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        logits = head.linear(features).squeeze(-1)
        loss = loss_of(logits, labels, weights, settings.objective)
        loss = loss + LINEAR_PENALTY * head.linear.weight.square().sum()
        torch.autograd.backward(loss)
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]


def _stop_ndcg(head: FeatureHead, stop: Sequence[Lists]) -> float:
    head.eval()
    scores = []
    for part in stop:
        with torch.inference_mode():
            logits = head(torch.from_numpy(part.features)).numpy()
        scores.append(np.where(part.mask(), logits, -np.inf).astype(np.float32))
    return mean_ndcg(stop, scores)
