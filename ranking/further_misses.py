"""Misses that stage one did not propose: popular items, and hits of other lists."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from twofold.indexing.errors import InputError
from twofold.ranking.labelled import Drawn
from twofold.ranking.lists import Lists

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Of a list's misses, those of this share are what further ones may stand for together.
MOST_WEIGHT = 0.5
# Items looked at for each that is wanted: most popular ones are candidates or known already.
TRIES = 8


def with_further_misses(
    drawn: Drawn, lists: Lists, *, popular: int, in_batch: int, rng: np.random.Generator
) -> Drawn:
    """Return a batch with misses behind its candidates that stage one did not propose.

    They are never hits, whether the list holds them or not, nor candidates, nor items of the
    history or others that the query excludes; a list may so get fewer than are asked for. Each
    stands for one miss, at most half of the list's misses all together, and the drawn ones for so
    many less: the loss expects the same base rate.

    Stage one never scored them, so each has the features of a drawn miss of its list. Were they
    zeros, or those of an item that no source proposes, g would learn that what nobody proposed is
    no hit: true by construction, and useless among candidates, which are all proposed. This way
    only text, factors and relations can tell them from hits.

    Parameters
    ----------
    drawn
        Candidates of the batch.
    lists
        The batch.
    popular
        Items drawn in proportion to `lists.popularity`.
    in_batch
        Hits of other lists.
    rng
        Draws; nothing is drawn where both are 0.

    Raises
    ------
    InputError
        If popular items are asked for and the lists do not say how popular items are.
    """
    if not popular and not in_batch:
        return drawn
    items = np.concatenate(
        [_popular(lists, popular, rng), _of_others(lists, in_batch, rng)], axis=1
    )
    weights, labels = drawn.weights.numpy(), drawn.labels.numpy()
    misses = (labels == 0) & (weights > 0)
    # Without a drawn miss there is no weight to take, and nobody whose features to have.
    items = np.where(misses.any(axis=1)[:, None], _once(items), -1)
    there = items >= 0
    total = (weights * misses).sum(axis=1, keepdims=True)
    each = np.minimum(1.0, MOST_WEIGHT * total / np.maximum(there.sum(axis=1, keepdims=True), 1))
    left = 1 - each * there.sum(axis=1, keepdims=True) / np.where(total > 0, total, 1)
    weights = np.concatenate([np.where(misses, weights * left, weights), each * there], axis=1)
    likes = _misses_at(misses, rng.random(items.shape))
    features = np.take_along_axis(drawn.features.numpy(), likes[:, :, None], axis=1)
    features = np.where(there[:, :, None], features, np.float32(0))
    return Drawn(
        np.concatenate([drawn.items, items], axis=1),
        torch.cat([drawn.features, torch.from_numpy(features)], dim=1),
        torch.cat([drawn.labels, torch.zeros(items.shape)], dim=1),
        torch.from_numpy(weights.astype(np.float32)),
    )


def _popular(lists: Lists, n: int, rng: np.random.Generator) -> Int64s:
    """Return up to `n` popular items a list, -1 where fewer were found, ``int64 (B, n)``."""
    if not n:
        return np.zeros((len(lists), 0), dtype=np.int64)
    if lists.popularity is None:
        raise InputError(
            "training.popular_negatives needs lists that say how popular items are; give "
            "label_lists the popularity, or set popular_negatives to 0"
        )
    bounds = np.cumsum(lists.popularity, dtype=np.float64)
    places = rng.random((len(lists), TRIES * (n + 1))) * bounds[-1]
    found = np.minimum(np.searchsorted(bounds, places, side="right"), len(bounds) - 1)
    barred = _barred(lists, found) | (lists.popularity[found] == 0)
    found = _once(np.where(barred, -1, found))
    order = np.argsort(found < 0, axis=1, kind="stable")[:, :n]
    return np.take_along_axis(found, order, axis=1)


def _of_others(lists: Lists, n: int, rng: np.random.Generator) -> Int64s:
    """Return up to `n` hits of other lists a list, -1 where there are fewer, ``int64 (B, n)``."""
    pool = np.unique(lists.candidates.items[lists.labels])
    found = np.tile(pool, (len(lists), 1))
    keys = np.where(_barred(lists, found), 2.0, rng.random(found.shape))
    order = np.argsort(keys, axis=1)[:, :n]
    found = np.where(keys > 1, -1, found)
    found = np.take_along_axis(found, order, axis=1)
    return np.pad(found, ((0, 0), (0, n - found.shape[1])), constant_values=-1)


def _barred(lists: Lists, items: Int64s) -> Bools:
    """Return which items must not be misses of their list, ``bool (B, m)``."""
    queries, n_items = lists.queries, np.int64(lists.queries.n_items)
    numbers = np.arange(len(lists), dtype=np.int64)[:, None]
    served = (numbers * n_items + lists.candidates.items)[lists.mask()]
    known = [served, queries.rows() * n_items + queries.items]
    if lists.held_out is not None:
        rows = np.repeat(numbers[:, 0], np.diff(lists.held_out.indptr))
        known.append(rows * n_items + lists.held_out.indices)
    own = np.isin(numbers * n_items + items, np.concatenate(known))
    barred = queries.admission.bars(np.broadcast_to(numbers, items.shape), items)
    return np.asarray(own | barred)


def _once(items: Int64s) -> Int64s:
    """Return rows in which what stood there before is -1, ``int64 (B, m)``."""
    order = np.argsort(items, axis=1, kind="stable")
    ascending = np.take_along_axis(items, order, axis=1)
    again = np.zeros(items.shape, dtype=bool)
    np.put_along_axis(again, order[:, 1:], ascending[:, 1:] == ascending[:, :-1], axis=1)
    return np.where(again, -1, items)


def _misses_at(misses: Bools, shares: npt.NDArray[np.float64]) -> Int64s:
    """Return a column with a miss for each share of the way through a row's misses, 0 for none."""
    order = np.argsort(~misses, axis=1, kind="stable")
    places = (shares * misses.sum(axis=1, keepdims=True)).astype(np.int64)
    return np.take_along_axis(order, places, axis=1)
