"""Fine-tuning of the split cross-encoder on labelled candidate lists."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from twofold.indexing.errors import InputError
from twofold.indexing.progress import Progress, Silent
from twofold.ranking.averaging import WeightMean
from twofold.ranking.labelled import Labelled, batches, n_batches
from twofold.ranking.lists import mean_ndcg
from twofold.ranking.losses import loss_of, mean_loss
from twofold.ranking.model import RankerModel
from twofold.ranking.scoring import served_logits
from twofold.ranking.settings import RankerSettings
from twofold.ranking.training_batch import batch_logits, read_batch


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training lists brought.

    Parameters
    ----------
    number
        From 1; 0 is the state before the first step.
    loss
        Mean training loss; ``None`` at 0.
    stop_loss
        Mean loss over the whole early-stopping lists that hold a hit.
    stop_ndcg
        NDCG@10 on all early-stopping lists.
    seconds
        Time of the pass and its evaluation.
    """

    number: int
    loss: float | None
    stop_loss: float
    stop_ndcg: float
    seconds: float


@dataclass(frozen=True)
class Trained:
    """The course of a training; the model itself holds the best epoch's weights.

    Parameters
    ----------
    epochs
        All epochs in order, the untrained state first.
    best
        Number of the epoch whose weights were kept.
    """

    epochs: tuple[Epoch, ...]
    best: int


def fine_tune(
    model: RankerModel,
    train: Sequence[Labelled],
    stop: Sequence[Labelled],
    settings: RankerSettings,
    *,
    seed: int,
    progress: Progress | None = None,
) -> Trained:
    """Fine-tune the joint layers, soft tokens and head of `model` in place.

    Lists without a hit are passed over: they say nothing of the order of candidates, and what they
    say of the base rate the calibration learns from all lists. What is measured after each epoch,
    and kept, is the running mean of the weights.

    Parameters
    ----------
    model
        The classifier, its g already fitted.
    train
        Training lists, a part a label window.
    stop
        Lists of other users, for early stopping by the loss: over a few hundred lists the order of
        ten items is too noisy to choose by.
    settings
        The ranker's settings.
    seed
        Seeds the order of lists, the drawn negatives and all dropout.
    progress
        Told of every step.

    Raises
    ------
    InputError
        If no training list holds a hit.
    """
    rng = np.random.default_rng(seed)
    if not any(len(part.lists.hits()) for part in train):
        n = sum(len(part.lists) for part in train)
        raise InputError(f"fine-tuning needs a training list that holds a hit; none of {n} does")

    def loss(part: Labelled, which: npt.NDArray[np.int64]) -> Tensor:
        lists = part.lists.take(which)
        batch = read_batch(model.shape, part.tables, lists, settings, rng)
        logits = batch_logits(model, part.tables, batch)
        return loss_of(logits, batch.drawn.labels, batch.drawn.weights, settings.training)

    task = Task(
        n_batches=n_batches(train, settings.training.batch_lists),
        batches=lambda: batches(train, settings.training.batch_lists, rng),
        loss=loss,
        measure=lambda: _stopping(model, stop, settings),
    )
    return train_by(model, task, settings, seed=seed, progress=progress)


class Task(NamedTuple):
    """What a model is trained to do.

    Parameters
    ----------
    n_batches
        Batches an epoch.
    batches
        Gives the batches of an epoch, each time in another order.
    loss
        Of one batch.
    measure
        Gives loss and NDCG@10 on lists for early stopping.
    """

    n_batches: int
    batches: Callable[[], Sequence[tuple[Any, ...]]]
    loss: Callable[..., Tensor]
    measure: Callable[[], tuple[float, float]]


def train_by(
    model: RankerModel,
    task: Task,
    settings: RankerSettings,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Trained:
    """Train joint layers, soft tokens and head of `model` in place; the best epoch is kept.

    Parameters as in :func:`fine_tune`.
    """
    steps = settings.training.max_epochs * task.n_batches
    optimiser, schedule = _optimiser(model, settings, steps)
    trainable = [one for one in model.parameters() if one.requires_grad]
    mean = WeightMean(trainable, settings.training.averaging)
    begun = time.perf_counter()
    epochs = [Epoch(0, None, *task.measure(), time.perf_counter() - begun)]
    kept, best = mean.copy(), epochs[0]
    with (
        torch.random.fork_rng(devices=[]),
        (progress or Silent()).step("fine-tune", total=steps) as shown,
    ):
        torch.manual_seed(seed)
        for number in range(1, settings.training.max_epochs + 1):
            begun, losses = time.perf_counter(), []
            model.train()
            for batch in task.batches():
                loss = task.loss(*batch)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(trainable, 1.0)
                optimiser.step()
                schedule.step()
                mean.update()
                losses.append(loss.item())
                shown.advance()
                shown.note(f"loss {np.mean(losses[-50:]):.4f}")
            with mean.standing_in():
                found = task.measure()
            seconds = time.perf_counter() - begun
            epochs.append(Epoch(number, float(np.mean(losses)), *found, seconds))
            if epochs[-1].stop_loss < best.stop_loss:
                kept, best = mean.copy(), epochs[-1]
            elif number - best.number >= settings.training.patience:
                break
    with torch.no_grad():
        for one, value in zip(trainable, kept, strict=True):
            one.copy_(value)
    model.eval()
    return Trained(tuple(epochs), best.number)


def _optimiser(
    model: RankerModel, settings: RankerSettings, steps: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """Return AdamW over the trainable weights and its warm-up and linear decay."""
    joint = model.backbone.joint_weights()
    for name, one in model.backbone.named_parameters():
        one.requires_grad_(name in joint)
    groups = []
    peaks = ((True, settings.training.learning_rate), (False, settings.training.head_learning_rate))
    for encoder, peak in peaks:
        for matrices in (True, False):
            weights = [
                one
                for name, one in model.named_parameters()
                if one.requires_grad
                and name.startswith("backbone.") == encoder
                and (one.dim() > 1) == matrices
            ]
            decay = settings.training.weight_decay if matrices else 0.0
            groups.append({"params": weights, "lr": peak, "weight_decay": decay})
    optimiser = torch.optim.AdamW(groups)
    warmup = max(1, round(steps * settings.training.warmup_ratio))

    def rate(step: int) -> float:
        rising = (step + 1) / warmup
        return min(rising, max(0.0, (steps - step) / max(1, steps - warmup)))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, rate)


def _stopping(
    model: RankerModel, stop: Sequence[Labelled], settings: RankerSettings
) -> tuple[float, float]:
    """Return loss and NDCG@10; lists without a hit have 0 in any order, so they are not scored."""
    scores, hits = [], [part.lists.take(part.lists.hits()) for part in stop]
    for part, lists in zip(stop, hits, strict=True):
        logits = np.where(part.lists.mask(), np.float32(0), np.float32(-np.inf))
        logits[part.lists.hits()] = served_logits(
            model, part.tables, lists.queries, lists.candidates, settings.history
        )
        scores.append(logits)
    told = [logits[part.lists.hits()] for part, logits in zip(stop, scores, strict=True)]
    loss = mean_loss(hits, told, settings.training)
    return loss, mean_ndcg([part.lists for part in stop], scores)
