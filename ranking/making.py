"""From labelled lists to a ranker: the whole of stage two's training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from twofold.indexing.errors import InputError
from twofold.indexing.progress import Progress
from twofold.ranking.alignment import align_factors, scale_factors
from twofold.ranking.augmenting import reworded_tables, worded_as
from twofold.ranking.calibration import Calibration, calibrate
from twofold.ranking.head_fit import HeadCourse, fit_heads
from twofold.ranking.items import ItemTables
from twofold.ranking.labelled import Labelled
from twofold.ranking.lists import Lists, Window, pooled, stacked
from twofold.ranking.members import Workplace, self_trained, train_members
from twofold.ranking.model import ModelShape, RankerModel
from twofold.ranking.ranker import Ranker
from twofold.ranking.relations import Relations
from twofold.ranking.scoring import served_logits
from twofold.ranking.settings import RankerSettings
from twofold.ranking.starting import Read, read_items, read_states, start
from twofold.ranking.training import Trained
from twofold.ranking.training_settings import TrainingSettings

FEWEST_HITS = 20
CALIBRATION_LISTS = 2000
# From a window to the one before it: what users do next changes with time.
FADES_BY = 0.7


@dataclass(frozen=True)
class Made:
    """A trained ranker and how it came about.

    Parameters
    ----------
    ranker
        Ready to serve over the item tables it was trained with.
    course
        Epochs of the fine-tuning.
    about
        Encoder, course of g, sizes of the user groups: JSON values for the manifest.
    """

    ranker: Ranker
    course: Trained
    about: dict[str, Any]


def make_ranker(
    windows: Sequence[Window],
    texts: Sequence[str],
    vectors: npt.NDArray[np.float32],
    n_kinds: int,
    settings: RankerSettings,
    *,
    unlabelled: Window | None = None,
    seed: int = 0,
    work: Workplace | None = None,
) -> Made:
    """Return a ranker trained on the labelled lists of one or several windows.

    The users are dealt into three groups: most to fit on, some for early stopping, some for
    calibration beside these; no user is in two, whatever the window.

    Parameters
    ----------
    windows
        Label windows, the latest first; its factors are the basis that the ranker reads, those of
        the others are turned into it.
    texts
        Item texts in order of item numbers.
    vectors
        The items' text vectors, ``float32 (n_items, d)``.
    n_kinds
        Kinds of events in the histories.
    settings
        The ranker's settings.
    unlabelled
        Lists of which nobody knows the hits, for pseudo-labels; those of users to stop and to
        calibrate on are left out.
    seed
        Deals the users, and seeds all training.
    work
        Where it is done.

    Raises
    ------
    InputError
        If too few lists hold a hit to train, stop and calibrate on.
    """
    work = work or Workplace()
    training, progress = settings.training, work.progress
    groups = deal([window.lists for window in windows], training, seed)
    read = read_items(texts, settings, progress)
    with progress.step("Smoothing relations"):
        tables = _tables(windows, read, vectors, seed)
    fit, stop, rest = (
        [Labelled(*pair) for pair in zip(part, tables, strict=True)] for part in groups
    )
    fit = _limited(_worded(fit, texts, read, settings, seed, progress), training.max_lists, seed)
    started = start(_shape(windows[0], read, tables[0], n_kinds, settings), read, settings, seed)
    heads: Sequence[HeadCourse] = ()
    if training.max_epochs or not started.knows_g:
        with progress.step("Fitting g"):
            heads = fit_heads(started.model.g, fit, stop, training, seed=seed)
    brought = train_members(started.model, fit, stop, settings, seed=seed, work=work)
    if training.pseudo_labels.rounds and unlabelled is not None:
        more = _unlabelled(unlabelled, windows[0], groups, read, vectors, seed)
        brought = self_trained(brought, fit, stop, more, settings, seed=seed, work=work)
    files = brought.adapter.files(read.encoder) if brought.adapter is not None else None
    model = brought.finished()
    tables, stop, rest = _restated(model, tables, stop, rest, settings, progress)
    with progress.step("Calibrating"):
        calibration = _calibrated(model, stop + rest, groups.recency(), settings, seed)
    about = {
        "encoder": read.encoder,
        "max_item_tokens": read.tokens.longest,
        "calibration": calibration.method,
        "bf16": brought.courses[0].bf16,
        "n_trained": brought.n_trained(),
        "encoder_share": brought.courses[0].encoder_share,
        **_course(groups, heads, brought.courses),
    }
    ranker = Ranker(model, tables[0], read.tokenizer, calibration, settings, adapter=files)
    return Made(ranker, brought.courses[-1], about)


class Groups(NamedTuple):
    """Lists of three groups of users, a part a window: to fit, to stop, to calibrate on."""

    fit: tuple[Lists, ...]
    stop: tuple[Lists, ...]
    rest: tuple[Lists, ...]

    def unseen(self) -> tuple[Lists, ...]:
        """Return the lists that no gradient saw: those to stop on, then those to calibrate on."""
        return self.stop + self.rest

    def recency(self) -> npt.NDArray[np.float64]:
        """Return what each of the unseen lists counts for: the older its window, the less.

        ``float64 (n,)``, in (0, 1].
        """
        counted = [
            np.full(len(part), FADES_BY**age)
            for group in (self.stop, self.rest)
            for age, part in enumerate(group)
        ]
        return np.concatenate(counted)


def deal(windows: Sequence[Lists], settings: TrainingSettings, seed: int) -> Groups:
    """Return the lists of every window dealt into three groups of users.

    Raises
    ------
    InputError
        If a group would hold no hit in the latest window, the first, or if fewer than 20 of its
        lists hold one.
    """
    latest = windows[0]
    order = np.random.default_rng(seed).permutation(len(latest))
    n_stop = round(len(latest) * settings.stop_share)
    n_rest = min(round(len(latest) * settings.calibration_share), CALIBRATION_LISTS)
    stop, rest, _ = (
        latest.queries.users[part] for part in np.split(order, [n_stop, n_stop + n_rest])
    )
    dealt = Groups(
        tuple(_of_users(lists, np.concatenate([stop, rest]), False) for lists in windows),
        tuple(_of_users(lists, stop, True) for lists in windows),
        tuple(_of_users(lists, rest, True) for lists in windows),
    )
    n_hits = int(latest.labels.any(axis=1).sum())
    if n_hits < FEWEST_HITS or not all(group[0].labels.any() for group in dealt):
        raise InputError(
            f"the ranker needs at least {FEWEST_HITS} users whose held-out items are among their "
            f"candidates, some in each group of users, but {n_hits} of {len(latest)} have one; "
            "give more interactions, or build without a ranker: --set ranker.train=false"
        )
    return dealt


def _course(
    groups: Groups, heads: Sequence[HeadCourse], courses: Sequence[Trained]
) -> dict[str, Any]:
    """Return how the training went, as JSON values; epochs are those of the last training."""
    last = courses[-1]
    return {
        "g": [{"stop_losses": list(one.losses), "best": one.best} for one in heads],
        "n_fit": [len(part) for part in groups.fit],
        "n_stop": [len(part) for part in groups.stop],
        "n_calibration": [len(part) for part in groups.rest],
        "n_trainings": len(courses),
        "best_epoch": last.best,
        "epochs": [
            {
                "number": one.number,
                "loss": one.loss,
                "stop_loss": one.stop_loss,
                "stop_ndcg": one.stop_ndcg,
                "swa": one.swa,
            }
            for one in last.epochs
        ],
    }


def _of_users(lists: Lists, users: npt.NDArray[np.int64], wanted: bool) -> Lists:
    return lists.take(np.flatnonzero(np.isin(lists.queries.users, users) == wanted))


def _tables(
    windows: Sequence[Window], read: Read, vectors: npt.NDArray[np.float32], seed: int
) -> list[ItemTables]:
    """Return the item tables of every window, factors in the basis of the latest."""
    basis = windows[0].factors
    factors = [scale_factors(basis)]
    factors += [align_factors(window.factors, basis) for window in windows[1:]]
    relations = [
        Relations.of(window.relations, window.taken, seed=seed, threads=torch.get_num_threads())
        for window in windows
    ]
    return [
        ItemTables(read.tokens, vectors, *each, read.states)
        for each in zip(factors, relations, strict=True)
    ]


def _shape(
    window: Window, read: Read, tables: ItemTables, n_kinds: int, settings: RankerSettings
) -> ModelShape:
    adapter = settings.training.adapter
    return ModelShape(
        backbone=read.backbone.shape,
        joint_layers=read.backbone.shape.layers - read.backbone.n_lower,
        n_features=window.lists.features.shape[-1],
        text_dim=tables.texts.shape[1],
        factor_dim=window.factors.shape[1],
        n_relations=tables.relations.width,
        n_kinds=n_kinds,
        max_history=settings.max_history,
        prefix=adapter.tokens if adapter.kind == "prefix" else 0,
    )


def _limited(parts: Sequence[Labelled], most: int | None, seed: int) -> list[Labelled]:
    """Return at most so many of the lists with a hit, and none without, or all lists."""
    if most is None:
        return list(parts)
    places = [(part, place) for part, one in enumerate(parts) for place in one.lists.hits()]
    chosen = np.random.default_rng(seed).permutation(len(places))[:most]
    kept = [[places[n][1] for n in np.sort(chosen) if places[n][0] == p] for p in range(len(parts))]
    return [
        part._replace(lists=part.lists.take(np.array(which, dtype=np.int64)))
        for part, which in zip(parts, kept, strict=True)
        if which
    ]


def _worded(
    parts: Sequence[Labelled],
    texts: Sequence[str],
    read: Read,
    settings: RankerSettings,
    seed: int,
    progress: Progress,
) -> list[Labelled]:
    """Return the parts with other wordings of their items, made once for all."""
    made = reworded_tables(
        parts[0].tables,
        texts,
        read.tokenizer,
        read.backbone,
        settings.training.augmentation,
        seed=seed,
        progress=progress,
    )
    return [part._replace(wordings=worded_as(part.tables, made)) for part in parts]


def _unlabelled(
    window: Window,
    basis: Window,
    groups: Groups,
    read: Read,
    vectors: npt.NDArray[np.float32],
    seed: int,
) -> Labelled:
    """Return lists without labels, those of users to stop and to calibrate on left out."""
    known = np.concatenate([group[0].queries.users for group in (groups.stop, groups.rest)])
    (_, tables) = _tables([basis, window], read, vectors, seed)
    return Labelled(_of_users(window.lists, known, False), tables)


def _restated(
    model: RankerModel,
    tables: list[ItemTables],
    stop: list[Labelled],
    rest: list[Labelled],
    settings: RankerSettings,
    progress: Progress,
) -> tuple[list[ItemTables], list[Labelled], list[Labelled]]:
    """Return tables with the states of the lower layers as they are after a training of those."""
    if settings.training.layers == "joint":
        return tables, stop, rest
    states = read_states(model.backbone, tables[0].tokens, settings, progress)
    tables = [replace(one, states=states) for one in tables]

    def over(parts: list[Labelled]) -> list[Labelled]:
        return [part._replace(tables=one) for part, one in zip(parts, tables, strict=True)]

    return tables, over(stop), over(rest)


def _calibrated(
    model: RankerModel,
    unseen: Sequence[Labelled],
    weights: npt.NDArray[np.float64],
    settings: RankerSettings,
    seed: int,
) -> Calibration:
    """Return the calibration by lists of users that no gradient saw, and what each counts for."""
    logits = [
        served_logits(
            model, part.tables, part.lists.queries, part.lists.candidates, settings.history
        )
        for part in unseen
    ]
    labels = pooled([part.lists for part in unseen]).labels
    method = settings.training.calibration
    return calibrate(stacked(logits, -np.inf), labels, weights, method=method, seed=seed)
