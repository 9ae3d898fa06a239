"""A smaller ranker that says what a larger one says."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from twofold.indexing.errors import InputError
from twofold.indexing.progress import Progress
from twofold.ranking.items import ItemTables, compute_states
from twofold.ranking.labelled import Labelled
from twofold.ranking.lessons import FromTeachers, Teacher
from twofold.ranking.lists import Lists
from twofold.ranking.model import RankerModel
from twofold.ranking.ranker import Ranker
from twofold.ranking.training import Trained, train_by
from twofold.ranking.training_settings import AdapterSettings
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import Queries

TOP = 10
STOP_SHARE = 0.1


@dataclass(frozen=True)
class Distilled:
    """A smaller ranker and how it came about.

    Parameters
    ----------
    ranker
        The smaller ranker, over the same items.
    course
        Its epochs; losses are mean squared distances of logits, NDCG@10 is that of the larger
        ranker's ten best.
    """

    ranker: Ranker
    course: Trained


def distil(
    ranker: Ranker,
    queries: Queries,
    candidates: Candidates,
    *,
    layers: int,
    joint_layers: int,
    seed: int = 0,
    progress: Progress | None = None,
) -> Distilled:
    """Return a ranker of fewer layers that was taught by a larger one.

    Layers are left out evenly (Sanh et al. 2019), and what is left learns the larger one's logits,
    text queries included; no labels are needed. g, which is small, is taken over as it is.

    Parameters
    ----------
    ranker
        The larger ranker.
    queries, candidates
        Lists as they are served, with features.
    layers, joint_layers
        Layers of the smaller one, and how many of them are joint.
    seed
        Deals the lists, and seeds all training.
    progress
        Told of every step.

    Raises
    ------
    InputError
        If there are not fewer layers but at least 2, more joint ones than layers, or fewer than two
        lists.
    """
    student = pruned(ranker.model, layers, joint_layers)
    # Nothing is put in the place of weights, and nothing is drawn from outside of the lists.
    training = replace(
        ranker.settings.training,
        adapter=AdapterSettings(),
        layers="joint",
        popular_negatives=0,
        batch_negatives=0,
    )
    settings = replace(ranker.settings, joint_layers=joint_layers, training=training)
    taught = _with_states(ranker.model, ranker.tables, progress)
    learning = _with_states(student, ranker.tables, progress)
    lists = _lists(ranker, queries, candidates)
    if len(lists) < 2:
        raise InputError(f"distilling needs at least two lists with candidates; got {len(lists)}")
    order = np.random.default_rng(seed).permutation(len(lists))
    n_stop = max(1, round(STOP_SHARE * len(order)))
    stop, fit = (lists.take(np.sort(part)) for part in np.split(order, [n_stop]))
    student.requires_grad_(True)
    student.g.requires_grad_(False)
    teacher = [[Teacher(ranker.model.eval(), taught)]]
    lesson = FromTeachers(
        student, [Labelled(fit, learning)], teacher, [Labelled(stop, learning)], teacher, settings
    )
    course = train_by(student, lesson, settings.training, seed=seed, progress=progress)
    student.requires_grad_(False)
    small = replace(ranker, model=student, settings=settings, digests=None, adapter=None)
    return Distilled(small.with_tables(learning), course)


def pruned(model: RankerModel, layers: int, joint_layers: int) -> RankerModel:
    """Return a model with some of the layers, evenly spread from the first to the last.

    Raises
    ------
    InputError
        If there are not fewer layers but at least 2, or more joint ones than layers.
    """
    backbone = model.shape.backbone
    if not 2 <= layers < backbone.layers:
        raise InputError(
            f"layers must be from 2 to {backbone.layers - 1}, fewer than there are, not {layers}"
        )
    if not 1 <= joint_layers <= layers:
        raise InputError(f"joint_layers must be between 1 and {layers}, not {joint_layers}")
    # The first reads what the embeddings give, and the last what is read off in the end.
    kept = [round(place) for place in np.linspace(0, backbone.layers - 1, layers).tolist()]
    shape = replace(model.shape, backbone=backbone.with_layers(kept), joint_layers=joint_layers)
    with torch.random.fork_rng(devices=[]):
        # Without dropout: what it is to learn is known exactly.
        out = RankerModel(shape, 0.0)
    state = {}
    for name, one in model.state_dict().items():
        head, _, rest = name.partition("backbone.layers.")
        if head or not rest:
            state[name] = one
            continue
        number, _, part = rest.partition(".")
        if int(number) in kept:
            state[f"backbone.layers.{kept.index(int(number))}.{part}"] = one
    out.load_state_dict(state)
    return out


def _with_states(model: RankerModel, tables: ItemTables, progress: Progress | None) -> ItemTables:
    """Return tables with what a model's lower layers make of the items."""
    states = None
    if model.backbone.n_lower:
        states = compute_states(model.backbone, tables.tokens, progress=progress)
    return replace(tables, states=states, on_demand=None)


def _lists(ranker: Ranker, queries: Queries, candidates: Candidates) -> Lists:
    """Return the lists with a history, the ranker's ten best marked as hits."""
    read = np.flatnonzero(ranker.reads(queries) & (candidates.lengths() > 0))
    queries, candidates = queries.take(read), candidates.take(read)
    logits = ranker.logits(queries, candidates)
    best = np.argsort(-logits, axis=1, kind="stable")[:, :TOP]
    labels = np.zeros(logits.shape, dtype=bool)
    np.put_along_axis(labels, best, True, axis=1)
    labels &= candidates.items >= 0
    return Lists(queries, candidates, labels, labels.sum(axis=1))
