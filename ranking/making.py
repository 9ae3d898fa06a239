"""From labelled lists to a ranker: the whole of stage two's training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import InputError
from twofold.indexing.models import resolve_model
from twofold.indexing.progress import Progress, Silent
from twofold.ranking.alignment import scale_factors
from twofold.ranking.backbone import Backbone, backbone_from_pretrained
from twofold.ranking.calibration import calibrate
from twofold.ranking.feature_head import fit_feature_head
from twofold.ranking.items import ItemTables, compute_states, tokenise_items
from twofold.ranking.lists import Lists
from twofold.ranking.model import ModelShape, RankerModel
from twofold.ranking.ranker import Ranker
from twofold.ranking.scoring import served_logits
from twofold.ranking.settings import RankerSettings
from twofold.ranking.training import Trained, fine_tune

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
        Encoder, form of g, sizes of the user groups: JSON values for the manifest.
    """

    ranker: Ranker
    course: Trained
    about: dict[str, Any]


def make_ranker(
    lists: Lists,
    texts: Sequence[str],
    vectors: npt.NDArray[np.float32],
    factors: npt.NDArray[np.float32],
    n_kinds: int,
    settings: RankerSettings,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Made:
    """Return a ranker trained on labelled candidate lists.

    The users are dealt into three groups: most to fit on, some for early stopping and for the form
    of g, some for calibration; no user is in two.

    Parameters
    ----------
    lists
        Stage one's lists before the labels, and the labels.
    texts
        Item texts in order of item numbers.
    vectors
        The items' text vectors, ``float32 (n_items, d)``.
    factors
        The items' collaborative factors from the fit that made the lists, ``float32 (n_items, f)``.
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
    from transformers import AutoTokenizer

    progress = progress or Silent()
    fit, stop, rest = deal(lists, settings, seed)
    source = resolve_model(settings.model, revision=settings.revision)
    joint = 0 if settings.joint_layers == "all" else settings.joint_layers
    backbone = backbone_from_pretrained(str(source.folder), joint, settings.dropout)
    tokenizer = AutoTokenizer.from_pretrained(str(source.folder))
    limit = backbone.shape.max_tokens
    tokens = tokenise_items(tokenizer, texts, settings.max_item_tokens, limit)
    states = (
        compute_states(backbone, tokens, progress=progress) if _stored(settings, backbone) else None
    )
    tables = ItemTables(tokens, vectors, scale_factors(factors), states)
    with progress.step("Fitting the feature head"):
        hits = np.flatnonzero(fit.labels.any(axis=1))
        head = fit_feature_head(fit.take(hits), stop, settings, seed=seed)
    shape = ModelShape(
        backbone=backbone.shape,
        joint_layers=backbone.shape.layers - backbone.n_lower,
        n_features=lists.features.shape[-1],
        text_dim=vectors.shape[1],
        factor_dim=factors.shape[1],
        n_kinds=n_kinds,
        max_history=settings.max_history,
        feature_head=head.form,
    )
    model = _new_model(shape, backbone, settings, seed)
    model.features.load_state_dict(head.head.state_dict())
    course = fine_tune(model, tables, fit, stop, settings, seed=seed, progress=progress)
    model.requires_grad_(False)
    with progress.step("Calibrating"):
        logits = served_logits(model, tables, rest.queries, rest.candidates, settings.history)
        calibration = calibrate(logits, rest.labels, method=settings.calibration, seed=seed)
    about = {
        "encoder": {"model": source.name, "revision": source.revision, "origin": source.origin},
        "feature_head": head.form,
        "feature_head_ndcg": head.ndcg,
        "max_item_tokens": int(tokens.lengths().max(initial=0)),
        "n_fit": len(fit),
        "n_stop": len(stop),
        "n_calibration": len(rest),
        "calibration": calibration.method,
        "best_epoch": course.best,
        "epochs": [
            {"number": one.number, "loss": one.loss, "stop_ndcg": one.stop_ndcg}
            for one in course.epochs
        ],
    }
    return Made(Ranker(model, tables, tokenizer, calibration, settings), course, about)


def deal(lists: Lists, settings: RankerSettings, seed: int) -> tuple[Lists, Lists, Lists]:
    """Return lists to fit on, to stop on, and to calibrate on, of different users.

    Raises
    ------
    InputError
        If a group would hold no hit, or fewer than 20 lists hold one.
    """
    order = np.random.default_rng(seed).permutation(len(lists))
    n_stop = round(len(lists) * settings.stop_share)
    n_rest = min(round(len(lists) * settings.calibration_share), CALIBRATION_LISTS)
    groups = np.split(order, [n_stop, n_stop + n_rest])
    stop, rest, fit = (lists.take(np.sort(group)) for group in groups)
    n_hits = int(lists.labels.any(axis=1).sum())
    if n_hits < FEWEST_HITS or not all(part.labels.any() for part in (stop, rest, fit)):
        raise InputError(
            f"the ranker needs at least {FEWEST_HITS} users whose held-out items are among their "
            f"candidates, some in each group of users, but {n_hits} of {len(lists)} have one; "
            "give more interactions, or build without a ranker: --set ranker.train=false"
        )
    return fit, stop, rest


def _stored(settings: RankerSettings, backbone: Backbone) -> bool:
    if settings.item_states == "auto":
        return backbone.n_lower > 0
    return settings.item_states == "half"


def _new_model(
    shape: ModelShape, backbone: Backbone, settings: RankerSettings, seed: int
) -> RankerModel:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RankerModel(shape, settings.dropout)
    model.backbone.load_state_dict(backbone.state_dict())
    return model
