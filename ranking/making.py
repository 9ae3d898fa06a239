"""From labelled lists to a ranker: the whole of stage two's training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import InputError
from twofold.indexing.models import resolve_model
from twofold.indexing.progress import Progress, Silent
from twofold.ranking.alignment import align_factors, scale_factors
from twofold.ranking.backbone import Backbone
from twofold.ranking.calibration import Calibration, calibrate
from twofold.ranking.head_fit import HeadCourse, fit_heads
from twofold.ranking.items import ItemTables, ItemTokens, compute_states, tokenise_items
from twofold.ranking.labelled import Labelled
from twofold.ranking.lists import Lists, Window, pooled, stacked
from twofold.ranking.model import ModelShape, RankerModel
from twofold.ranking.pretrained import backbone_from_pretrained
from twofold.ranking.ranker import Ranker
from twofold.ranking.relations import Relations
from twofold.ranking.scoring import served_logits
from twofold.ranking.settings import RankerSettings
from twofold.ranking.stored import Form, Rows
from twofold.ranking.training import Trained, fine_tune
from twofold.ranking.training_settings import TrainingSettings

FEWEST_HITS = 20
CALIBRATION_LISTS = 2000


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
    seed: int = 0,
    progress: Progress | None = None,
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
    seed
        Deals the users, and seeds all training.
    progress
        Told of every step.

    Raises
    ------
    InputError
        If too few lists hold a hit to train, stop and calibrate on.
    """
    progress = progress or Silent()
    groups = deal([window.lists for window in windows], settings.training, seed)
    read = _read(texts, settings, progress)
    backbone = read.backbone
    with progress.step("Smoothing relations"):
        tables = _tables(windows, read.tokens, vectors, read.states, seed)
    shape = ModelShape(
        backbone=backbone.shape,
        joint_layers=backbone.shape.layers - backbone.n_lower,
        n_features=windows[0].lists.features.shape[-1],
        text_dim=vectors.shape[1],
        factor_dim=windows[0].factors.shape[1],
        n_relations=tables[0].relations.width,
        n_kinds=n_kinds,
        max_history=settings.max_history,
    )
    model = _new_model(shape, backbone, settings, seed)
    fit, stop, rest = (
        [Labelled(*pair) for pair in zip(part, tables, strict=True)] for part in groups
    )
    with progress.step("Fitting g"):
        heads = fit_heads(model.g, fit, stop, settings.training, seed=seed)
    course = fine_tune(model, fit, stop, settings, seed=seed, progress=progress)
    model.requires_grad_(False)
    with progress.step("Calibrating"):
        calibration = _calibrated(model, stop + rest, settings, seed)
    about = {
        "encoder": read.encoder,
        "max_item_tokens": int(read.tokens.lengths().max(initial=0)),
        "calibration": calibration.method,
        **_course(groups, heads, course),
    }
    return Made(Ranker(model, tables[0], read.tokenizer, calibration, settings), course, about)


class _Read(NamedTuple):
    """A pretrained model, and what it reads of the items.

    `encoder` says for the manifest which it is, `states` are ``None`` where no layer is lower.
    """

    encoder: dict[str, Any]
    backbone: Backbone
    tokenizer: Any
    tokens: ItemTokens
    states: Rows | None


def _read(texts: Sequence[str], settings: RankerSettings, progress: Progress) -> _Read:
    """Return the pretrained model that the settings name and what it reads of texts."""
    from transformers import AutoTokenizer

    source = resolve_model(settings.model, revision=settings.revision)
    joint = 0 if settings.joint_layers == "all" else settings.joint_layers
    backbone = backbone_from_pretrained(str(source.folder), joint, settings.training.dropout)
    tokenizer = AutoTokenizer.from_pretrained(str(source.folder))
    limit, causal = backbone.shape.max_tokens, backbone.shape.traits.causal
    tokens = tokenise_items(tokenizer, texts, settings.max_item_tokens, limit, causal=causal)
    states = None
    if backbone.n_lower:
        # Training reads them many times, whatever is stored in the end.
        form: Form = "int8" if settings.item_states == "int8" else "half"
        states = compute_states(backbone, tokens, form=form, progress=progress)
    about = {"model": source.name, "revision": source.revision, "origin": source.origin}
    return _Read(about, backbone, tokenizer, tokens, states)


class Groups(NamedTuple):
    """Lists of three groups of users, a part a window: to fit, to stop, to calibrate on."""

    fit: tuple[Lists, ...]
    stop: tuple[Lists, ...]
    rest: tuple[Lists, ...]


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


def _course(groups: Groups, heads: Sequence[HeadCourse], course: Trained) -> dict[str, Any]:
    """Return how the training went, as JSON values."""
    return {
        "g": [{"stop_losses": list(one.losses), "best": one.best} for one in heads],
        "n_fit": [len(part) for part in groups.fit],
        "n_stop": [len(part) for part in groups.stop],
        "n_calibration": [len(part) for part in groups.rest],
        "best_epoch": course.best,
        "epochs": [
            {
                "number": one.number,
                "loss": one.loss,
                "stop_loss": one.stop_loss,
                "stop_ndcg": one.stop_ndcg,
            }
            for one in course.epochs
        ],
    }


def _of_users(lists: Lists, users: npt.NDArray[np.int64], wanted: bool) -> Lists:
    return lists.take(np.flatnonzero(np.isin(lists.queries.users, users) == wanted))


def _tables(
    windows: Sequence[Window],
    tokens: ItemTokens,
    vectors: npt.NDArray[np.float32],
    states: Rows | None,
    seed: int,
) -> list[ItemTables]:
    """Return the item tables of every window, factors in the basis of the latest."""
    basis = windows[0].factors
    factors = [scale_factors(basis)]
    factors += [align_factors(window.factors, basis) for window in windows[1:]]
    relations = [Relations.of(window.relations, window.taken, seed=seed) for window in windows]
    return [
        ItemTables(tokens, vectors, *each, states) for each in zip(factors, relations, strict=True)
    ]


def _calibrated(
    model: RankerModel, unseen: Sequence[Labelled], settings: RankerSettings, seed: int
) -> Calibration:
    """Return the calibration by lists of users that no gradient saw."""
    logits = [
        served_logits(
            model, part.tables, part.lists.queries, part.lists.candidates, settings.history
        )
        for part in unseen
    ]
    labels = pooled([part.lists for part in unseen]).labels
    return calibrate(
        stacked(logits, -np.inf), labels, method=settings.training.calibration, seed=seed
    )


def _new_model(
    shape: ModelShape, backbone: Backbone, settings: RankerSettings, seed: int
) -> RankerModel:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RankerModel(shape, settings.training.dropout)
    model.backbone.load_state_dict(backbone.state_dict())
    return model
