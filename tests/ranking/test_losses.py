"""Losses against numbers worked out by hand, and against loops over candidates and pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ranking.planted import planted_lists
from tests.ranking.worlds import make_features
from twofold.ranking.labelled import draw
from twofold.ranking.lists import Lists
from twofold.ranking.losses import loss_of, mean_loss
from twofold.ranking.training_settings import Objective, TrainingSettings

Floats = npt.NDArray[np.float32]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)  # lists are compared by the last two
# Logits at which softplus and sigmoid are plain numbers.
LOG3 = math.log(3.0)


def _settings(objective: Objective, **changes: Any) -> TrainingSettings:
    return TrainingSettings(**{"objective": objective, "order_weight": 0.0, **changes})


def _loss(batch: Sequence[Any], settings: TrainingSettings) -> float:
    """Return the loss of logits, labels and weights."""
    logits, labels, weights = (torch.tensor(one, dtype=torch.float32) for one in batch)
    return float(loss_of(logits, labels, weights, settings))


def _cross_entropy(x: float, y: float) -> float:
    return math.log1p(math.exp(-x if y else x))


def _bce(x: Floats, y: Floats, w: Floats, settings: TrainingSettings) -> float:
    total = 0.0
    for place in np.ndindex(x.shape):
        hit = y[place] == 1
        counts = float(w[place]) * (settings.positive_weight if hit else 1.0)
        each = _cross_entropy(float(x[place]), float(y[place]))
        gamma = settings.focal_gamma if settings.objective == "focal" else 0.0
        total += counts * each * (1 - math.exp(-each)) ** gamma
    return total / float(w.sum())


def _pairwise(x: Floats, y: Floats, w: Floats, settings: TrainingSettings) -> float:
    total = pairs = 0.0
    for row in range(len(x)):
        for hit in np.flatnonzero(y[row] == 1):
            for miss in np.flatnonzero(y[row] == 0):
                both = float(w[row, hit]) * float(w[row, miss])
                total += both * _cross_entropy(float(x[row, hit] - x[row, miss]), 1)
                pairs += both
    return total / pairs


def _listwise(x: Floats, y: Floats, w: Floats, settings: TrainingSettings) -> float:
    total = 0.0
    for row in range(len(x)):
        misses = np.flatnonzero((w[row] > 0) & (y[row] == 0))
        # As if each miss that stands for several were there so often.
        others = sum(math.exp(float(x[row, n])) * float(w[row, n]) for n in misses)
        for hit in np.flatnonzero(y[row] == 1):
            own = math.exp(float(x[row, hit]))
            total -= float(w[row, hit]) * math.log(own / (own + others))
    return total / float((y * w).sum())


SLOW: dict[Objective, Callable[[Floats, Floats, Floats, TrainingSettings], float]] = {
    "bce": _bce,
    "focal": _bce,
    "pairwise": _pairwise,
    "listwise": _listwise,
}


@st.composite
def batches(draw_: st.DrawFn) -> tuple[Floats, Floats, Floats]:
    """Return logits, labels and weights, a hit and a miss in every list, padding behind some."""
    n, m = draw_(st.integers(1, 4)), draw_(st.integers(2, 6))
    rng = np.random.default_rng(draw_(st.integers(0, 2**32)))
    labels = (rng.random((n, m)) < 0.4).astype(np.float32)
    labels[:, :2] = 1, 0
    lengths = rng.integers(2, m, n, endpoint=True)
    there = np.arange(m) < lengths[:, None]
    counts = np.where(labels > 0, rng.uniform(0.1, 1, (n, m)), rng.uniform(1, 9, (n, m)))
    logits = rng.normal(0, 3, (n, m)).astype(np.float32)
    return logits, labels * there, (counts * there).astype(np.float32)


@pytest.mark.parametrize("objective", OBJECTIVES)
@given(batch=batches(), positive=st.floats(0.5, 5), gamma=st.floats(0, 4))
def test_a_loss_is_that_of_a_loop_over_candidates(
    objective: Objective, batch: tuple[Floats, Floats, Floats], positive: float, gamma: float
) -> None:
    settings = _settings(objective, positive_weight=positive, focal_gamma=gamma)
    wanted = SLOW[objective](*batch, settings)
    # Single precision loses what logits of a few units have in common.
    assert _loss(batch, settings) == pytest.approx(wanted, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
@given(batch=batches(), more=st.integers(1, 4), at=st.floats(-30, 30))
def test_padding_changes_nothing(
    objective: Objective, batch: tuple[Floats, Floats, Floats], more: int, at: float
) -> None:
    settings = _settings(objective)
    logits, labels, weights = batch
    room = (0, 0), (0, more)
    wider = (np.pad(one, room) for one in (labels, weights))
    found = _loss((np.pad(logits, room, constant_values=at), *wider), settings)
    assert found == pytest.approx(_loss(batch, settings), rel=1e-5, abs=1e-5)
    # Nor has it a gradient.
    there = torch.from_numpy(weights > 0)
    x = torch.from_numpy(logits).requires_grad_()
    torch.autograd.backward(
        loss_of(x, torch.from_numpy(labels), torch.from_numpy(weights), settings)
    )
    assert x.grad is not None
    assert not x.grad[~there].any()
    assert x.grad[there].any()


def test_binary_cross_entropy_of_two_by_hand() -> None:
    # The hit is given 3/4, the miss 1/2.
    batch = [[LOG3, 0.0]], [[1, 0]]
    hit, miss = math.log(4 / 3), math.log(2)
    assert _loss((*batch, [[1, 1]]), _settings("bce")) == pytest.approx((hit + miss) / 2)
    # The miss stands for three, the hit is half as sure: both over all that is counted.
    assert _loss((*batch, [[0.5, 3]]), _settings("bce")) == pytest.approx(
        (hit / 2 + 3 * miss) / 3.5
    )
    balanced = _settings("bce", positive_weight=4.0)
    assert _loss((*batch, [[0.5, 3]]), balanced) == pytest.approx((2 * hit + 3 * miss) / 3.5)


def test_focal_loss_of_two_by_hand() -> None:
    batch = [[LOG3, 0.0]], [[1, 0]], [[1, 1]]
    hit, miss = math.log(4 / 3) * 0.25**2, math.log(2) * 0.5**2
    assert _loss(batch, _settings("focal")) == pytest.approx((hit + miss) / 2)


@given(batch=batches(), positive=st.floats(0.5, 5))
def test_focal_loss_without_focus_is_binary_cross_entropy(
    batch: tuple[Floats, Floats, Floats], positive: float
) -> None:
    focal = _settings("focal", focal_gamma=0.0, positive_weight=positive)
    plain = _settings("bce", positive_weight=positive)
    assert _loss(batch, focal) == pytest.approx(_loss(batch, plain), rel=1e-5, abs=1e-6)


def test_pairs_of_two_lists_by_hand() -> None:
    # The hit leads one miss by log 3 and ties with the other, which stands for two; in the second
    # list, whose hit is half as sure, it is behind by log 3. Pairs of two lists are none.
    logits = [[LOG3, 0.0, LOG3], [-LOG3, 0.0, 5.0]]
    labels, weights = [[1, 0, 0], [1, 0, 0]], [[1, 1, 2], [0.5, 1, 0]]
    wanted = (math.log(4 / 3) + 2 * math.log(2) + 0.5 * math.log(4)) / 3.5
    assert _loss((logits, labels, weights), _settings("pairwise")) == pytest.approx(wanted)


def test_the_softmax_of_a_list_by_hand() -> None:
    # Beside a miss of e^x = 1 that stands for four, a hit of 3 and one of 1: 3/7 and 1/5.
    logits, labels, weights = [[LOG3, 0.0, 0.0]], [[1, 1, 0]], [[1, 0.5, 4]]
    wanted = (math.log(7 / 3) + 0.5 * math.log(5)) / 1.5
    assert _loss((logits, labels, weights), _settings("listwise")) == pytest.approx(wanted)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_order_of_lists_is_added_to_what_each_candidate_is_told(objective: Objective) -> None:
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(3, 5)), np.tile([1.0, 0, 0, 1, 0], (3, 1)), np.ones((3, 5))
    alone, order = _loss(batch, _settings(objective)), _loss(batch, _settings("listwise"))
    wanted = alone + 2.5 * order if objective in ("bce", "focal") else alone
    assert _loss(batch, _settings(objective, order_weight=2.5)) == pytest.approx(wanted, rel=1e-5)


def test_a_list_without_a_pair_is_no_division_by_zero() -> None:
    for objective in OBJECTIVES[2:]:
        assert _loss(([[1.0, 2.0]], [[0, 0]], [[1, 1]]), _settings(objective)) == 0


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_losses_of_extreme_logits_are_finite_and_so_are_their_gradients(
    objective: Objective,
) -> None:
    logits = torch.tensor([[80.0, -80.0, 80.0, -80.0]], requires_grad=True)
    labels, weights = torch.tensor([[1.0, 1.0, 0.0, 0.0]]), torch.ones(1, 4)
    settings = _settings(objective, focal_gamma=0.5)
    lost = loss_of(logits, labels, weights, settings)
    torch.autograd.backward(lost)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert 10 < float(lost.detach()) < 200


def _lists(n: int, m: int, seed: int, *, strengths: bool = True) -> Lists:
    """Return lists of a hit or two, the last columns of odd ones padding."""
    rng = np.random.default_rng(seed)
    items = np.stack([rng.permutation(20)[:m] for _ in range(n)]).astype(np.int64)
    items[1::2, -2:] = -1
    labels = rng.random((n, m)) < 0.3
    labels[:, :2] = True, False
    labels &= items >= 0
    lists = planted_lists(items, labels, make_features((n, m)))
    if not strengths:
        return lists
    strong = np.where(labels, rng.uniform(0.1, 1, labels.shape), 0).astype(np.float32)
    return replace(lists, strengths=strong)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_loss_of_whole_lists_counts_hits_for_their_strength(objective: Objective) -> None:
    settings = _settings(objective, positive_weight=2.0)
    # Windows of different widths, one of them where every hit counts 1.
    parts = [_lists(3, 5, 0), _lists(2, 7, 1, strengths=False)]
    rng = np.random.default_rng(2)
    logits = [rng.normal(size=part.labels.shape).astype(np.float32) for part in parts]
    for part, told in zip(parts, logits, strict=True):
        told[~part.mask()] = -np.inf
    x, y, w = (np.zeros((5, 7), dtype=np.float32) for _ in range(3))
    for rows, part, told in zip((slice(0, 3), slice(3, 5)), parts, logits, strict=True):
        m = part.labels.shape[1]
        strong = np.ones(part.labels.shape) if part.strengths is None else part.strengths
        x[rows, :m] = np.where(part.mask(), told, 0)
        y[rows, :m] = part.labels
        w[rows, :m] = np.where(part.labels, strong, part.mask())
    found = mean_loss(parts, logits, settings)
    assert found == pytest.approx(SLOW[objective](x, y, w, settings), rel=1e-4)
    even = mean_loss([replace(part, strengths=None) for part in parts], logits, settings)
    assert found != pytest.approx(even, rel=1e-3)


@pytest.mark.parametrize("objective", ["bce", "focal", "pairwise"])
def test_drawn_misses_stand_for_the_rest(objective: Objective) -> None:
    """Over many draws the loss of a batch is that of the whole list."""
    lists, settings = _lists(1, 18, 4), _settings(objective)
    logits = np.random.default_rng(5).normal(size=lists.labels.shape).astype(np.float32)
    rng, told = np.random.default_rng(6), []
    where = {int(item): place for place, item in enumerate(lists.candidates.items[0])}
    for _ in range(400):
        drawn = draw(lists, int(lists.labels.sum()) + 3, rng)
        x = torch.from_numpy(logits[:, [where[int(one)] for one in drawn.items[0]]])
        told.append(float(loss_of(x, drawn.labels, drawn.weights, settings)))
    spread = np.std(told) / math.sqrt(len(told))
    assert spread > 0
    assert abs(np.mean(told) - mean_loss([lists], [logits], settings)) < 4 * spread
