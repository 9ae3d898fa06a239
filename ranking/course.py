"""The course of a training: what it has learned so far, and all that its next steps depend on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from twofold.ranking.adapters import Adapter, adapted
from twofold.ranking.averaging import WeightMean, copied, mean_of, put, standing_in
from twofold.ranking.checkpoints import Checkpoint
from twofold.ranking.devices import moved
from twofold.ranking.labelled import Batch
from twofold.ranking.model import RankerModel
from twofold.ranking.noise import Noise
from twofold.ranking.observing import Observer
from twofold.ranking.optimising import Schedule, moments, optimiser_of, remember, trainable
from twofold.ranking.passes import leave_gradients
from twofold.ranking.precision import in_bf16
from twofold.ranking.training_batch import Reading
from twofold.ranking.training_settings import TrainingSettings


class Lesson(Protocol):
    """What a model is trained to do."""

    @property
    def model(self) -> RankerModel:
        """The model."""
        ...

    def batches(self, rng: np.random.Generator) -> Sequence[Batch]:
        """Return the batches of an epoch, each time in another order, as many as always."""
        ...

    def read(self, batch: Batch, rng: np.random.Generator) -> Reading:
        """Return a batch as it is read: what is drawn is drawn here."""
        ...

    def logits(self, reading: Reading, noise: Noise | None) -> Tensor:
        """Return the model's logits of a batch, ``float32 (B, m)``."""
        ...

    def loss(self, reading: Reading, logits: Tensor) -> Tensor:
        """Return the loss of logits."""
        ...

    def measure(self) -> dict[str, float]:
        """Return what is measured on lists for early stopping: ``loss``, ``ndcg10`` and more."""
        ...


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
    swa
        Whether what was measured is the plain mean of the ends of all epochs up to this one.
    """

    number: int
    loss: float | None
    stop_loss: float
    stop_ndcg: float
    seconds: float
    swa: bool = False


def batch_gradients(
    lesson: Lesson,
    batch: Batch,
    settings: TrainingSettings,
    *,
    seed: tuple[int, ...],
    share: float = 1.0,
) -> float:
    """Add a batch's gradient to the weights' and return its loss.

    Parameters
    ----------
    lesson
        What is taught.
    batch
        The batch.
    settings
        Precision, and which passes are made.
    seed
        Of all that is drawn for this batch, dropout included.
    share
        What the gradient is multiplied by.
    """
    rng, device = np.random.default_rng(seed), lesson.model.device
    reading = lesson.read(batch, rng)
    drawn = int(rng.integers(2**31))
    torch.manual_seed(drawn)

    def logits(noise: Noise | None) -> Tensor:
        with _in_precision(settings, device):
            return lesson.logits(reading, noise).float()

    return leave_gradients(
        logits,
        lambda told: lesson.loss(reading, told),
        moved(reading.batch.drawn.weights, device),
        settings,
        share=share,
        seed=drawn,
    )


def _in_precision(settings: TrainingSettings, device: torch.device) -> torch.autocast:
    """Return what products are computed within, of a step as of what is measured after it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=in_bf16(settings.bf16, device))


class _Told(NamedTuple):
    """An epoch before it is measured: number, mean training loss, when it began."""

    number: int
    loss: float | None
    begun: float


class _Place(NamedTuple):
    """A batch and its own seed."""

    batch: Batch
    seed: tuple[int, int, int]


@dataclass
class Course:
    """A training between two steps."""

    model: RankerModel
    lesson: Lesson
    settings: TrainingSettings
    seed: int
    adapter: Adapter
    optimiser: torch.optim.AdamW
    schedule: Schedule
    weights: dict[str, Tensor]
    mean: WeightMean
    kept: dict[str, Tensor]
    ends: tuple[dict[str, Tensor], ...] = ()
    step: int = 0
    epochs: tuple[Epoch, ...] = ()
    losses: tuple[float, ...] = ()

    @classmethod
    def begun(
        cls, model: RankerModel, lesson: Lesson, settings: TrainingSettings, seed: int
    ) -> Course:
        """Return a training before its first step."""
        n_batches = len(lesson.batches(np.random.default_rng(seed)))
        n_steps = settings.max_epochs * -(-n_batches // settings.gradient_accumulation_steps)
        adapter = adapted(model, settings, total_steps=n_steps, seed=seed)
        weights = trainable(model)
        return cls(
            model=model,
            lesson=lesson,
            settings=settings,
            seed=seed,
            adapter=adapter,
            optimiser=optimiser_of(model, settings),
            schedule=Schedule(n_steps, settings.warmup_ratio),
            weights=weights,
            mean=WeightMean(weights, settings.averaging),
            kept=copied(weights),
        )

    @property
    def best(self) -> Epoch:
        """The epoch with the lowest loss on the early-stopping lists, the earliest of equals."""
        return min(self.epochs, key=stop_loss)

    def ended(self) -> bool:
        """Say whether no epoch follows."""
        done = self.epochs[-1].number
        return done >= self.settings.max_epochs or done - self.best.number >= self.settings.patience

    def groups(self) -> list[list[_Place]]:
        """Return the batches of the epoch that is under way, those of a step together."""
        number = self.epochs[-1].number + 1
        order = self.lesson.batches(np.random.default_rng((self.seed, number)))
        places = [_Place(one, (self.seed, number, n)) for n, one in enumerate(order)]
        size = self.settings.gradient_accumulation_steps
        return [places[start : start + size] for start in range(0, len(places), size)]

    def learn(self, group: list[_Place]) -> float:
        """Take one step and return the mean loss of its batches."""
        self.model.train()
        self.optimiser.zero_grad()
        losses = [
            batch_gradients(
                self.lesson, one.batch, self.settings, seed=one.seed, share=1 / len(group)
            )
            for one in group
        ]
        penalty = self.adapter.penalty()
        if penalty is not None:
            torch.autograd.backward(penalty)
        torch.nn.utils.clip_grad_norm_(self.weights.values(), self.settings.max_grad_norm)
        self.schedule.set(self.optimiser, self.step)
        self.optimiser.step()
        self.step += 1
        self.adapter.stepped(self.step)
        self.mean.update()
        return float(np.mean(losses))

    def measured(self, observer: Observer, begun: float, losses: Sequence[float]) -> None:
        """End an epoch: measure the mean of the weights, and keep it where it is the best."""
        number = self.epochs[-1].number + 1 if self.epochs else 0
        told = _Told(number, float(np.mean(losses)) if losses else None, begun)
        self._tried(observer, told, self.mean.copy(), swa=False)
        if number and self.settings.swa_epochs:
            self.ends = (*self.ends, copied(self.weights))
            if number >= self.settings.swa_epochs:
                self._tried(observer, told, mean_of(self.ends), swa=True)
        self.losses = ()

    def _tried(
        self, observer: Observer, told: _Told, weights: dict[str, Tensor], *, swa: bool
    ) -> None:
        """Measure weights as those of an epoch."""
        precision = _in_precision(self.settings, self.model.device)
        with standing_in(weights, self.weights), precision:
            # A mean remembers ranks that were dropped meanwhile: what is kept is what is measured.
            self.adapter.prune()
            weights = copied(self.weights)
            found = self.lesson.measure()
        seconds = time.perf_counter() - told.begun
        one = Epoch(told.number, told.loss, found["loss"], found["ndcg10"], seconds, swa)
        better = not self.epochs or one.stop_loss < self.best.stop_loss
        self.epochs = (*self.epochs, one)
        if better:
            self.kept = weights
        values = {name: value for name, value in found.items() if name != "loss"}
        training = {} if one.loss is None else {"loss": one.loss}
        also = {"stop_loss": one.stop_loss, "swa": float(swa), "best": float(better)}
        observer.epoch(one.number, {**training, **also, **values, "epoch_seconds": seconds})

    def told(self, losses: Sequence[float]) -> dict[str, float]:
        """Return what an observer is told of the latest steps."""
        return {
            "loss": float(np.mean(losses)),
            "learning_rate": self.optimiser.param_groups[0]["lr"],
        }

    def state(self) -> tuple[dict[str, Mapping[str, Tensor]], dict[str, Any]]:
        """Return all that the steps to come depend on."""
        parts: dict[str, Mapping[str, Tensor]] = {
            "weights": self.weights,
            "moments": moments(self.model, self.optimiser),
            "mean": self.mean.copy(),
            "kept": self.kept,
            "adapter": self.adapter.state(),
            **{f"end-{number}": one for number, one in enumerate(self.ends)},
        }
        epochs = [asdict(one) for one in self.epochs]
        return parts, {"step": self.step, "losses": list(self.losses), "epochs": epochs}

    def restore(self, found: Checkpoint) -> None:
        """Go on from a checkpoint."""
        found = found.on(self.model.device)
        put(found.part("weights"), self.weights)
        remember(self.model, self.optimiser, found.part("moments"))
        self.step = int(found.about["step"])
        self.mean.restore(found.part("mean"), self.step)
        self.kept = found.part("kept")
        self.adapter.restore(found.part("adapter"))
        self.epochs = tuple(Epoch(**one) for one in found.about["epochs"])
        self.losses = tuple(found.about["losses"])
        n_ends = sum(not one.swa and one.number > 0 for one in self.epochs)
        kept = n_ends if self.settings.swa_epochs else 0
        self.ends = tuple(found.part(f"end-{number}") for number in range(kept))


def stop_loss(epoch: Epoch) -> float:
    """Return what epochs are compared by."""
    return epoch.stop_loss
