"""What rankers are taught: what users took, or what other rankers say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from twofold.indexing.errors import InputError
from twofold.ranking.augmenting import drawn_tables
from twofold.ranking.devices import moved
from twofold.ranking.items import ItemTables
from twofold.ranking.labelled import Batch, Labelled, batches
from twofold.ranking.lists import Lists, mean_ndcg
from twofold.ranking.losses import loss_of, mean_loss
from twofold.ranking.measuring import gap, measured, sample
from twofold.ranking.model import RankerModel
from twofold.ranking.noise import Noise
from twofold.ranking.scoring import served_logits
from twofold.ranking.settings import RankerSettings
from twofold.ranking.training_batch import Reading, batch_logits, read_batch

Floats = npt.NDArray[np.float32]
GAUGED = 256


@dataclass(frozen=True)
class FromLabels:
    """The lists' hits.

    Lists without a hit are passed over: they say nothing of the order of candidates, and what they
    say of the base rate the calibration learns from all lists.

    Parameters
    ----------
    model
        The classifier that is taught.
    train
        Training lists, a part a label window.
    stop
        Lists of other users, for early stopping by the loss: over a few hundred lists the order of
        ten items is too noisy to choose by.
    settings
        The ranker's settings.

    Raises
    ------
    InputError
        If no training list holds a hit.
    """

    model: RankerModel
    train: Sequence[Labelled]
    stop: Sequence[Labelled]
    settings: RankerSettings

    def __post_init__(self) -> None:
        if not any(len(part.lists.hits()) for part in self.train):
            n = sum(len(part.lists) for part in self.train)
            raise InputError(
                f"fine-tuning needs a training list that holds a hit; none of {n} does"
            )

    def batches(self, rng: np.random.Generator) -> Sequence[Batch]:
        """Return the batches of an epoch."""
        return batches(self.train, self.settings.training.batch_lists, rng)

    def read(self, batch: Batch, rng: np.random.Generator) -> Reading:
        """Return a batch as it is read, in the items' own words or in others."""
        part, share = batch.part, self.settings.training.augmentation.share
        lists = part.lists.take(batch.which)
        read = read_batch(self.model.shape, part.tables, lists, self.settings, rng)
        return Reading(drawn_tables(part.tables, part.wordings, share, rng), read, part.weight)

    def logits(self, reading: Reading, noise: Noise | None) -> Tensor:
        """Return the logits of a batch."""
        whole = self.settings.training.layers == "all"
        return batch_logits(self.model, reading, noise, whole=whole)

    def loss(self, reading: Reading, logits: Tensor) -> Tensor:
        """Return the loss of a batch."""
        drawn = reading.batch.drawn
        labels, weights = moved((drawn.labels, drawn.weights), logits.device)
        lost = loss_of(logits, labels, weights, self.settings.training)
        return lost * reading.weight

    def measure(self) -> dict[str, float]:
        """Return what is measured on lists for early stopping, and how the training's differ."""
        hits = [part.lists.take(part.lists.hits()) for part in self.stop]
        told = self._told(self.stop, hits)
        known = measured(self._gauged, self._told(self.train, self._gauged))
        found = measured(hits, told)
        return {
            **found,
            "loss": mean_loss(hits, told, self.settings.training),
            "ndcg10": self._ndcg(told),
            **gap(known, found),
        }

    def _ndcg(self, told: Sequence[Floats]) -> float:
        """Return NDCG@10 on all lists; those without a hit have 0 in any order."""
        scores = []
        for part, logits in zip(self.stop, told, strict=True):
            whole = np.where(part.lists.mask(), np.float32(0), np.float32(-np.inf))
            whole[part.lists.hits()] = logits
            scores.append(whole)
        return mean_ndcg([part.lists for part in self.stop], scores)

    @cached_property
    def _gauged(self) -> list[Lists]:
        """Some training lists, always the same, to compare with the others."""
        lists = [part.lists for part in self.train]
        return [one.take(which) for one, which in zip(lists, sample(lists, GAUGED, 0), strict=True)]

    def _told(self, parts: Sequence[Labelled], lists: Sequence[Lists]) -> list[Floats]:
        """Return the logits of some lists of each part."""
        whole, form = self.settings.training.layers == "all", self.settings.history
        return [
            served_logits(
                self.model,
                # What was computed before is of the lower layers as they were.
                replace(part.tables, states=None) if whole else part.tables,
                some.queries,
                some.candidates,
                form,
            )
            for part, some in zip(parts, lists, strict=True)
        ]


class Teacher(NamedTuple):
    """A model that is imitated, and what it reads of items."""

    model: RankerModel
    tables: ItemTables


@dataclass(frozen=True)
class FromTeachers:
    """What other rankers say on average of a list's candidates; its labels are not looked at.

    Early stopping goes by the mean squared distance of the logits, and NDCG@10 is that of the hits
    of the stopping lists.

    Parameters
    ----------
    model
        The classifier that is taught.
    train
        Lists to learn on, a part a stage one.
    teachers
        For each part those who are imitated.
    stop
        Other lists, for early stopping.
    stop_teachers
        Likewise.
    settings
        The settings of the model that is taught.
    """

    model: RankerModel
    train: Sequence[Labelled]
    teachers: Sequence[Sequence[Teacher]]
    stop: Sequence[Labelled]
    stop_teachers: Sequence[Sequence[Teacher]]
    settings: RankerSettings

    def batches(self, rng: np.random.Generator) -> Sequence[Batch]:
        """Return the batches of an epoch."""
        return batches(self.train, self.settings.training.batch_lists, rng)

    def read(self, batch: Batch, rng: np.random.Generator) -> Reading:
        """Return a batch as it is read."""
        part = batch.part
        lists = part.lists.take(batch.which)
        read = read_batch(self.model.shape, part.tables, lists, self.settings, rng)
        number = next(n for n, one in enumerate(self.train) if one is part)
        return Reading(part.tables, read, part=number)

    def logits(self, reading: Reading, noise: Noise | None) -> Tensor:
        """Return the logits of a batch."""
        return batch_logits(self.model, reading, noise)

    def loss(self, reading: Reading, logits: Tensor) -> Tensor:
        """Return the mean squared distance from what the teachers say."""
        with torch.no_grad():
            told = [
                moved(batch_logits(one.model, reading._replace(tables=one.tables)), logits.device)
                for one in self.teachers[reading.part]
            ]
        there = moved(torch.from_numpy(reading.batch.items >= 0), logits.device)
        return (logits - torch.stack(told).mean(dim=0)).square()[there].mean()

    def measure(self) -> dict[str, float]:
        """Return the distance, and NDCG@10 by the lists' hits."""
        errors, scores = [], []
        for part, wanted in zip(self.stop, self._wanted, strict=True):
            found = self._said(Teacher(self.model, part.tables), part)
            there = part.lists.mask()
            errors.append(np.square(found[there] - wanted[there]))
            scores.append(found)
        lists = [part.lists for part in self.stop]
        return {
            "loss": float(np.concatenate(errors).mean()),
            "ndcg10": mean_ndcg(lists, scores),
        }

    @cached_property
    def _wanted(self) -> list[Floats]:
        """What the teachers say on the stopping lists."""
        return [
            np.mean([self._said(one, part) for one in teachers], axis=0)
            for part, teachers in zip(self.stop, self.stop_teachers, strict=True)
        ]

    def _said(self, who: Teacher, part: Labelled) -> Floats:
        lists = part.lists
        return served_logits(
            who.model, who.tables, lists.queries, lists.candidates, self.settings.history
        )
