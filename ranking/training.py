"""The course of a training: steps, epochs, what is kept of them, and where it was cut off."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from twofold.indexing.progress import Progress, Silent
from twofold.ranking.adapters import Adapter, adapted
from twofold.ranking.averaging import WeightMean, copied, mean_of, put, standing_in
from twofold.ranking.checkpoints import Checkpoint, Checkpoints
from twofold.ranking.labelled import Batch, Labelled
from twofold.ranking.lessons import FromLabels
from twofold.ranking.model import RankerModel
from twofold.ranking.noise import Noise
from twofold.ranking.observing import Nobody, Observer
from twofold.ranking.optimising import Schedule, moments, optimiser_of, remember, trainable
from twofold.ranking.passes import leave_gradients
from twofold.ranking.settings import RankerSettings
from twofold.ranking.training_batch import Reading
from twofold.ranking.training_settings import TrainingSettings

TOLD_EVERY = 10


class Lesson(Protocol):
    """What a model is trained to do."""

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


@dataclass(frozen=True)
class Trained:
    """The course of a training; the model itself holds the best epoch's weights.

    Parameters
    ----------
    epochs
        All epochs in order, the untrained state first.
    best
        Number of the epoch whose weights were kept.
    n_trained
        How many weights were trained.
    adapter
        What was put into the model; not merged yet.
    """

    epochs: tuple[Epoch, ...]
    best: int
    n_trained: int
    adapter: Adapter

    @property
    def kept(self) -> Epoch:
        """The epoch whose weights were kept, the better where two have its number."""
        return min((one for one in self.epochs if one.number == self.best), key=_loss)


def train_by(
    model: RankerModel,
    lesson: Lesson,
    settings: TrainingSettings,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    observer: Observer | None = None,
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Train the weights of `model` that the settings name in place; the best epoch is kept.

    Every batch has random numbers of its own, so that a training which is taken up at a checkpoint
    takes the very steps it would have taken.

    Parameters
    ----------
    model
        The classifier.
    lesson
        What it is taught.
    settings
        How.
    seed
        Seeds the order of lists, all that is drawn of them, and all dropout.
    progress
        Told of every step.
    observer
        Told of the course.
    checkpoints
        Where the course is kept; ``None`` keeps nothing.
    """
    course = _Course.begun(model, lesson, settings, seed)
    found = None if checkpoints is None else checkpoints.load()
    observer = observer or Nobody()
    if found is None:
        course.measured(observer, time.perf_counter(), [])
    else:
        course.restore(found)
        observer.resumed(course.step, course.epochs[-1].number)
    with (
        torch.random.fork_rng(devices=[]),
        (progress or Silent()).step("fine-tune", total=course.schedule.steps) as shown,
    ):
        shown.advance(course.step)
        while not course.ended():
            begun, losses = time.perf_counter(), list(course.losses)
            for group in course.groups()[len(losses) :]:
                losses.append(course.learn(group))
                course.losses = tuple(losses)
                shown.advance()
                shown.note(f"loss {np.mean(losses[-50:]):.4f}")
                if course.step % TOLD_EVERY == 0:
                    observer.step(course.step, course.told(losses[-TOLD_EVERY:]))
                if checkpoints is not None and checkpoints.due(course.step):
                    checkpoints.save(*course.state())
            course.measured(observer, begun, losses)
    if checkpoints is not None:
        # Of several trainings one may be cut off after this one has ended.
        checkpoints.save(*course.state())
    put(course.kept, course.weights)
    course.adapter.prune()
    model.eval()
    n_trained = sum(one.numel() for one in course.weights.values())
    return Trained(course.epochs, course.best.number, n_trained, course.adapter)


def fine_tune(
    model: RankerModel,
    train: Sequence[Labelled],
    stop: Sequence[Labelled],
    settings: RankerSettings,
    *,
    seed: int,
    progress: Progress | None = None,
    observer: Observer | None = None,
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Fine-tune `model` in place on the hits of labelled lists.

    Parameters as of :class:`~twofold.ranking.lessons.FromLabels` and :func:`train_by`.

    Raises
    ------
    InputError
        If no training list holds a hit.
    """
    return train_by(
        model,
        FromLabels(model, train, stop, settings),
        settings.training,
        seed=seed,
        progress=progress,
        observer=observer,
        checkpoints=checkpoints,
    )


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
    rng = np.random.default_rng(seed)
    reading = lesson.read(batch, rng)
    drawn = int(rng.integers(2**31))
    torch.manual_seed(drawn)

    def logits(noise: Noise | None) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
            return lesson.logits(reading, noise).float()

    return leave_gradients(
        logits,
        lambda told: lesson.loss(reading, told),
        reading.batch.drawn.weights,
        settings,
        share=share,
        seed=drawn,
    )


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
class _Course:
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
    ) -> _Course:
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
        return min(self.epochs, key=_loss)

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
        with standing_in(weights, self.weights):
            self.adapter.prune()
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


def _loss(epoch: Epoch) -> float:
    return epoch.stop_loss
