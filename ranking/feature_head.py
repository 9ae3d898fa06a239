"""g: the part of the ranker that reads stage one's features, fitted before the text model joins."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from twofold.ranking.lists import Lists, mean_ndcg
from twofold.ranking.model import FeatureHead, loss_of
from twofold.ranking.settings import RankerSettings

MAX_EPOCHS = 40
PATIENCE = 4
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
    train: Lists, stop: Lists, settings: RankerSettings, *, seed: int
) -> FittedHead:
    """Return g, in the form that `settings` names or that does better on `stop`.

    Parameters
    ----------
    train
        Lists to fit on; each should hold a hit.
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
    train: Lists, stop: Lists, form: str, settings: RankerSettings, seed: int
) -> tuple[FeatureHead, float]:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = FeatureHead(train.features.shape[-1], form, settings.dropout)
        features, labels = torch.from_numpy(train.features), torch.from_numpy(train.labels).float()
        mask = torch.from_numpy(train.mask())
        stop_features = torch.from_numpy(stop.features)
        optimiser = torch.optim.AdamW(head.parameters(), lr=5e-3, weight_decay=1e-3)
        best, best_ndcg, since = copy.deepcopy(head), -1.0, 0
        for _ in range(MAX_EPOCHS):
            head.train()
            for batch in torch.randperm(len(train), generator=generator).split(BATCH_LISTS):
                loss = loss_of(
                    head(features[batch]), labels[batch], mask[batch], settings.objective
                )
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            head.eval()
            with torch.inference_mode():
                logits = head(stop_features).numpy()
            logits = np.where(stop.mask(), logits, -np.inf)
            ndcg = mean_ndcg(stop, logits)
            since = 0 if ndcg > best_ndcg else since + 1
            if ndcg > best_ndcg:
                best, best_ndcg = copy.deepcopy(head), ndcg
            if since >= PATIENCE:
                break
    return best, best_ndcg
