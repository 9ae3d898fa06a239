"""Training of a ranker, from its first step or from where it was cut off."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from twofold.indexing.progress import Progress, Silent
from twofold.ranking.adapters import Adapter
from twofold.ranking.averaging import put
from twofold.ranking.checkpoints import Checkpoints
from twofold.ranking.course import Course, Epoch, Lesson, stop_loss
from twofold.ranking.devices import CPU, device_of, lent
from twofold.ranking.labelled import Labelled
from twofold.ranking.lessons import FromLabels
from twofold.ranking.model import RankerModel
from twofold.ranking.observing import Nobody, Observer
from twofold.ranking.precision import in_bf16
from twofold.ranking.settings import RankerSettings
from twofold.ranking.training_settings import TrainingSettings

TOLD_EVERY = 10


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
    encoder_share
        How many of them stand in or for the encoder, as a share of its own weights.
    adapter
        What was put into the model; not merged yet.
    bf16
        Whether products were computed in bfloat16.
    """

    epochs: tuple[Epoch, ...]
    best: int
    n_trained: int
    encoder_share: float
    adapter: Adapter
    bf16: bool

    @property
    def kept(self) -> Epoch:
        """The epoch whose weights were kept, the better where two have its number."""
        return min((one for one in self.epochs if one.number == self.best), key=stop_loss)


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
    takes the very steps it would have taken; on a GPU, which adds up in no fixed order, nearly so.
    The model is in main memory before and after.

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

    Raises
    ------
    MissingDependencyError
        If the settings ask for a GPU and torch sees none.
    """
    with lent(model, device_of(settings.device, "ranker.training.device")) as device:
        course = Course.begun(model, lesson, settings, seed)
        found = None if checkpoints is None else checkpoints.load()
        observer = observer or Nobody()
        with (
            torch.random.fork_rng(devices=[] if device == CPU else [device]),
            (progress or Silent()).step("fine-tune", total=course.schedule.steps) as shown,
        ):
            if found is None:
                course.measured(observer, time.perf_counter(), [])
            else:
                course.restore(found)
                observer.resumed(course.step, course.epochs[-1].number)
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
        if checkpoints is not None and checkpoints.every:
            # Of several trainings one may be cut off after this one has ended.
            checkpoints.save(*course.state())
        put(course.kept, course.weights)
        model.eval()
        n_trained = sum(one.numel() for one in course.weights.values())
        share = course.adapter.share()
        narrow = in_bf16(settings.bf16, device)
        return Trained(course.epochs, course.best.number, n_trained, share, course.adapter, narrow)


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
    MissingDependencyError
        If the settings ask for a GPU and torch sees none.
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
