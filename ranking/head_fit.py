"""g, fitted before the text model joins: first its linear part, then all of it."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from twofold.ranking.batches import evidence_batch
from twofold.ranking.head import (
    Evidence,
    EvidenceHead,
    EvidenceHeads,
    TextQueries,
    each_told,
)
from twofold.ranking.labelled import Drawn, Labelled, batches, draw
from twofold.ranking.lists import Lists, pooled, stacked
from twofold.ranking.losses import loss_of, mean_loss
from twofold.ranking.training_settings import TrainingSettings

MAX_EPOCHS = 12
PATIENCE = 4
RATE, DECAY = 5e-3, 1e-2
# Counts as much as so many lists against leaving stage one's order: else few are learned by heart.
LINEAR_PENALTY = 30.0
# Of the features' mean square, so that features that say the same share what they say.
RIDGE = 1e-3
TINY = 1e-12
# Lists whose features are in double precision at a time.
BLOCK = 1024
BATCH_LISTS = 64
# A few hundred weights need no more; strengths take 1.2 kB an event of a list's history.
MOST_LISTS = 8192
MOST_STOPPING = 2048


@dataclass(frozen=True)
class HeadCourse:
    """How a fit of g went.

    Parameters
    ----------
    losses
        Mean loss over the early-stopping lists with a hit: of the linear part, then after each
        epoch.
    best
        Which of them was kept.
    """

    losses: tuple[float, ...]
    best: int


def fit_heads(
    heads: EvidenceHeads,
    train: Sequence[Labelled],
    stop: Sequence[Labelled],
    settings: TrainingSettings,
    *,
    seed: int,
) -> tuple[HeadCourse, ...]:
    """Fit every member of g in place, each by itself.

    Parameters
    ----------
    heads
        g as it starts.
    train
        Lists to fit on, a part a window; those without a hit are passed over, as in fine-tuning,
        and of more than 8,192 some.
    stop
        Lists of other users, for early stopping by the loss; of more than 2,048 some.
    settings
        How the ranker is trained.
    seed
        Seeds order and dropout, for each member in another way.
    """
    members = heads.heads()
    prepared = _prepared(heads.max_history, train, np.random.default_rng(seed))
    stopping = _stopping(heads.max_history, stop, np.random.default_rng(seed))
    _fit_linear(members[0], train, settings)
    for other in members[1:]:
        # A convex problem has one solution.
        other.features.load_state_dict(members[0].features.state_dict())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        courses = _fit(members, prepared, stopping, settings, np.random.default_rng(seed))
    return tuple(HeadCourse(tuple(one.losses), one.best) for one in courses)


class _Course:
    """One head on its way: what it lost after each epoch, and its best weights."""

    def __init__(self, head: EvidenceHead, loss: float) -> None:
        self.head, self.losses = head, [loss]
        self._kept = copy.deepcopy(head.state_dict())

    @property
    def best(self) -> int:
        """The epoch with the lowest loss, the first of them; 0 is the linear part alone."""
        return int(np.argmin(self.losses))

    @property
    def ended(self) -> bool:
        """Whether nothing has come of the last epochs."""
        return len(self.losses) - 1 - self.best >= PATIENCE

    def add(self, loss: float) -> None:
        """Take note of an epoch."""
        self.losses.append(loss)
        if self.best == len(self.losses) - 1:
            self._kept = copy.deepcopy(self.head.state_dict())

    def end(self) -> None:
        """Put the best weights back."""
        self.head.load_state_dict(self._kept)
        self.head.eval()


def _fit(
    heads: Sequence[EvidenceHead],
    prepared: Sequence[tuple[Drawn, Evidence]],
    stopping: Sequence[_Stopping],
    settings: TrainingSettings,
    rng: np.random.Generator,
) -> list[_Course]:
    """Fit all of each head, its linear part already fitted, and keep its best epoch.

    The heads read the same batches at the same time; none learns of another.
    """
    losses = _stop_losses(heads, stopping, settings)
    courses = [_Course(*pair) for pair in zip(heads, losses, strict=True)]
    parameters = [one for head in heads for one in head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY, fused=True)
    steps = MAX_EPOCHS * len(prepared)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    for _ in range(MAX_EPOCHS):
        running = [one for one in courses if not one.ended]
        if not running:
            break
        fitted = [one.head for one in running]
        for head in fitted:
            head.train()
        for place in rng.permutation(len(prepared)):
            drawn, evidence = prepared[place]
            nobody = TextQueries.none(*drawn.items.shape)
            told = each_told(fitted, drawn.features, evidence.single(), nobody)
            lost = [loss_of(one, drawn.labels, drawn.weights, settings) for one in told]
            # What has ended has no gradient, and the optimiser passes it over.
            optimiser.zero_grad()
            torch.autograd.backward(lost)
            optimiser.step()
            schedule.step()
        for course, loss in zip(running, _stop_losses(fitted, stopping, settings), strict=True):
            course.add(loss)
    for course in courses:
        course.end()
    return courses


def _prepared(
    max_history: int, train: Sequence[Labelled], rng: np.random.Generator
) -> list[tuple[Drawn, Evidence]]:
    """Return batches of whole lists: made once, for what events say of them does not change."""
    out = []
    for part, which in batches(train, BATCH_LISTS, rng)[: MOST_LISTS // BATCH_LISTS]:
        lists = part.lists.take(which)
        drawn = draw(lists, 0, rng)
        evidence = evidence_batch(lists.queries, drawn.items, part.tables, max_history=max_history)
        out.append((drawn, evidence.half()))
    return out


def _fit_linear(head: EvidenceHead, train: Sequence[Labelled], settings: TrainingSettings) -> None:
    """Fit what is linear in the features alone, to the end: the problem is convex.

    What costs is to leave the line nearest to stage one's score, however steep that line: few lists
    move stage one's order a little, and without any it stays.
    """
    lists = [part.lists.take(part.lists.hits()) for part in train]
    pool = pooled(lists)
    line = torch.from_numpy(line_of_scores(lists))
    features, labels = torch.from_numpy(pool.features), torch.from_numpy(pool.labels).float()
    weights = torch.from_numpy(stacked([one.counted() for one in lists], 0.0))
    linear, penalty = head.features, LINEAR_PENALTY / len(labels)
    rate = float((labels * weights).sum() / weights.sum().clamp(min=1))
    rate = min(max(rate, 1e-4), 1 - 1e-4)
    with torch.no_grad():
        # From a bias of 0 the first steps would only learn that hits are rare, against all order.
        linear.bias.fill_(math.log(rate / (1 - rate)))
    steepness = torch.zeros((), requires_grad=True)
    parameters = [*linear.parameters(), steepness]
    optimiser = torch.optim.LBFGS(parameters, max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        logits = features @ (linear.weight[0] + steepness * line) + linear.bias
        loss = loss_of(logits, labels, weights, settings)
        loss = loss + penalty * linear.weight.square().sum()
        torch.autograd.backward(loss)
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        linear.weight += steepness * line


def line_of_scores(lists: Sequence[Lists]) -> npt.NDArray[np.float32]:
    """Return what is linear in the features and nearest to stage one's scores within their lists.

    Of length 1, ``float32 (n_features,)``; all 0 where the scores of each list are the same.
    """
    blocks = [(part, at) for part in lists for at in range(0, len(part), BLOCK)]
    products = np.sum([_products(part, slice(at, at + BLOCK)) for part, at in blocks], axis=0)
    of_features, with_scores = products[:-1, :-1], products[:-1, -1]
    ridge = RIDGE * np.trace(of_features) / len(of_features)
    line = np.linalg.solve(of_features + max(ridge, TINY) * np.eye(len(of_features)), with_scores)
    return (line / max(float(np.linalg.norm(line)), TINY)).astype(np.float32)


def _products(part: Lists, rows: slice) -> npt.NDArray[np.float64]:
    """Return products of features and score, each less its list's mean, summed over candidates."""
    there = part.mask()[rows]
    scores = part.candidates.scores[rows, :, None]
    told = np.concatenate([part.features[rows], scores], axis=2, dtype=np.float64)
    told = np.where(there[..., None], told, 0)
    told -= told.sum(axis=1, keepdims=True) / np.maximum(there.sum(axis=1), 1)[:, None, None]
    found = told[there]
    products: npt.NDArray[np.float64] = found.T @ found
    return products


class _Stopping(NamedTuple):
    """Lists with a hit to stop by, and what events say of them: asked after every epoch."""

    lists: Lists
    evidence: Evidence


def _stopping(
    max_history: int, stop: Sequence[Labelled], rng: np.random.Generator
) -> list[_Stopping]:
    out = []
    for part in stop:
        some = np.sort(rng.permutation(part.lists.hits())[: MOST_STOPPING // len(stop)])
        lists = part.lists.take(some)
        items = lists.candidates.items
        evidence = evidence_batch(lists.queries, items, part.tables, max_history=max_history)
        out.append(_Stopping(lists, evidence))
    return out


@torch.inference_mode()
def _stop_losses(
    heads: Sequence[EvidenceHead], stopping: Sequence[_Stopping], settings: TrainingSettings
) -> list[float]:
    """Return each head's mean loss over the lists to stop by."""
    for head in heads:
        head.eval()
    told: list[list[npt.NDArray[np.float32]]] = [[] for _ in heads]
    for lists, evidence in stopping:
        nobody = TextQueries.none(*lists.labels.shape)
        each = each_told(heads, torch.from_numpy(lists.features), evidence, nobody)
        for own, logits in zip(told, each.numpy(), strict=True):
            own.append(np.where(lists.mask(), logits, np.float32(-np.inf)))
    return [mean_loss([one.lists for one in stopping], one, settings) for one in told]
