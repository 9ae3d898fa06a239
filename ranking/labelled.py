"""Labelled lists as the batches that training reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from twofold.ranking.items import ItemTables
from twofold.ranking.lists import Lists


class Labelled(NamedTuple):
    """Labelled lists beside the item tables of the stage one that made them.

    Parameters
    ----------
    lists
        The lists.
    tables
        What is read of items.
    wordings
        The same tables with other wordings of the items' texts.
    weight
        What these lists count for in the loss.
    """

    lists: Lists
    tables: ItemTables
    wordings: tuple[ItemTables, ...] = ()
    weight: float = 1.0


class Batch(NamedTuple):
    """Some lists of a part, by their positions, ``int64``."""

    part: Labelled
    which: npt.NDArray[np.int64]


class Drawn(NamedTuple):
    """Candidates drawn from a batch of lists: all hits, and some misses that stand for the rest.

    Parameters
    ----------
    items
        -1 at padding, ``int64 (B, m)``.
    features
        Stage-one features, ``float32 (B, m, n_features)``.
    labels
        1 at hits, ``float32 (B, m)``.
    weights
        How many candidates of the list each stands for, a hit for its strength, 0 at padding,
        ``float32 (B, m)``.
    """

    items: npt.NDArray[np.int64]
    features: Tensor
    labels: Tensor
    weights: Tensor


def batches(parts: Sequence[Labelled], size: int, rng: np.random.Generator) -> list[Batch]:
    """Return an epoch's batches of lists with a hit, each of one part, in random order."""
    out = []
    for part in parts:
        order = rng.permutation(part.lists.hits())
        out += [Batch(part, order[start : start + size]) for start in range(0, len(order), size)]
    return [out[place] for place in rng.permutation(len(out))]


def draw(lists: Lists, negatives: int, rng: np.random.Generator) -> Drawn:
    """Return candidates of a batch to train on.

    Parameters
    ----------
    lists
        The batch.
    negatives
        Candidates a list besides the first hit; 0 takes all candidates.
    rng
        Draws the misses.
    """
    columns = draw_columns(lists, negatives, rng)
    items = np.take_along_axis(lists.candidates.items, columns, axis=1)
    features = np.take_along_axis(lists.features, columns[:, :, None], axis=1)
    labels = np.take_along_axis(lists.labels, columns, axis=1)
    weights = draw_weights(lists, columns)
    return Drawn(
        items,
        torch.from_numpy(features),
        torch.from_numpy(labels).float(),
        torch.from_numpy(weights),
    )


def draw_columns(lists: Lists, negatives: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return the columns of a batch to train on: all hits, some refused ones, random others.

    What was refused is told from hits the hardest, so it comes first; but it takes no more than
    half of the places, for the rest of a list is what most of what is served looks like.

    Parameters
    ----------
    lists
        The batch.
    negatives
        Columns besides the first; 0 takes all candidates.
    rng
        Draws the others.
    """
    keys = rng.random(lists.labels.shape)
    if lists.refused is not None:
        # Which of the refused come first is as random as the keys are.
        among = np.where(lists.refused, keys, 2.0)
        places = np.argsort(np.argsort(among, axis=1, kind="stable"), axis=1, kind="stable")
        keys[lists.refused & (places < -(-negatives // 2))] -= 1.0
    keys[lists.labels] = -2.0
    keys[~lists.mask()] = 2.0
    width = lists.labels.shape[1] if negatives == 0 else negatives + 1
    return np.argsort(keys, axis=1, kind="stable")[:, :width]


def draw_weights(lists: Lists, columns: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return how many candidates of its list each drawn one stands for, ``float32 (B, m)``.

    Hits are all drawn and stand for themselves, each for its strength; the drawn misses share the
    list's misses, those that were refused the refused and the others the others, so that the loss
    expects what it would be over whole lists, the base rate included.

    Parameters
    ----------
    lists
        The batch.
    columns
        What was drawn, as of :func:`draw_columns`.
    """
    labels = np.take_along_axis(lists.labels, columns, axis=1)
    missed = np.take_along_axis(lists.mask() & ~lists.labels, columns, axis=1)
    met = np.zeros_like(missed)
    if lists.refused is not None:
        met = np.take_along_axis(lists.refused, columns, axis=1)
    n_misses = (lists.mask() & ~lists.labels).sum(axis=1, keepdims=True)
    n_met = np.zeros_like(n_misses)
    if lists.refused is not None:
        n_met = lists.refused.sum(axis=1, keepdims=True)
    drawn_met = met.sum(axis=1, keepdims=True)
    drawn_others = (missed & ~met).sum(axis=1, keepdims=True)
    # Where only one kind was drawn, it stands for the other too.
    n_met = np.where(drawn_others == 0, n_misses, np.where(drawn_met == 0, 0, n_met))
    share = np.where(
        met, n_met / np.maximum(drawn_met, 1), (n_misses - n_met) / np.maximum(drawn_others, 1)
    )
    strengths = np.ones(labels.shape, dtype=np.float32)
    if lists.strengths is not None:
        strengths = np.take_along_axis(lists.strengths, columns, axis=1)
    return np.where(labels, strengths, np.where(missed, share, 0.0)).astype(np.float32)
