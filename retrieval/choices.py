"""Learning a fusion from what users chose: which candidate of a row was the hit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit
from threadpoolctl import threadpool_limits

from twofold.indexing.errors import InputError
from twofold.retrieval.fusion import Fusion, Unit

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]
PENALTIES = (0.1, 1.0, 10.0, 100.0)
MAX_STEPS = 50
# Candidates that stand for all others of a row: the weights stay right (McFadden 1978).
MISSES = 150
UNITS = 32
DECAYS = (0.03, 0.3, 3.0)
EPOCHS, BATCH_ROWS, RATE = 24, 64, 6e-3
FEWEST_ROWS = 100  # with a hit, below which a hidden layer is not tried


def learn_weights(
    features: Floats, labels: Bools, mask: Bools, *, seed: int = 0, threads: int = 1
) -> Fusion:
    """Return the fusion under which the hits of labelled rows are likeliest.

    Conditional logit (McFadden 1974), of a score that is linear, and of one with a hidden layer
    beside: each hit was chosen from itself and its row's misses; the other hits were chosen too,
    and are no rivals. How much is taken off the weights is chosen by the likelihood of a held-out
    fifth of the rows, and so is whether there is a hidden layer. In long rows some of the misses,
    drawn alike, stand for all.

    Parameters
    ----------
    features
        Features of merged candidates, ``float32 (n, m, n_features)``.
    labels
        Hits, ``bool (n, m)``; rows without a hit say nothing and are passed over.
    mask
        True at candidates, ``bool (n, m)``.
    seed
        Seeds the held-out rows, the misses and the hidden layer.
    threads
        Cores to use; the weights are the same with any number.

    Raises
    ------
    InputError
        If fewer than two rows hold a hit.
    """
    rng = np.random.default_rng(seed)
    hits = np.flatnonzero((labels & mask).any(axis=1))
    if len(hits) < 2:
        raise InputError("fusion weights need at least two rows with a hit")
    held, fit = np.split(rng.permutation(hits), [max(1, len(hits) // 5)])
    kept = _with_some_misses(labels[hits], mask[hits], rng)
    there = np.zeros_like(mask)
    there[hits] = kept
    parts = [_Packed.of(features, labels, there, np.sort(rows)) for rows in (fit, held, hits)]
    # All sums are small: one thread is as quick, and the bits do not depend on how many there are.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        linear, penalty = _linear(parts[0], parts[1])
        whole = pool.submit(_fitted, parts[2], penalty, linear)
        decay = _decay(parts[0], parts[1], linear, seed, pool) if len(hits) >= FEWEST_ROWS else None
        final = whole.result()
        if decay is None:
            return Fusion("learned", tuple(float(one) for one in final))
        return _trained(parts[2], final, decay, seed).fusion()


def _decay(
    fit: _Packed, held: _Packed, linear: Doubles, seed: int, pool: ThreadPoolExecutor
) -> float | None:
    """Return the weight decay that suits the held-out rows best; ``None`` for no hidden layer."""

    def tried(decay: float) -> float:
        scores = _trained(fit, linear, decay, seed).scores(held.features)
        return float(_losses(scores, held).mean())

    losses = dict(zip(DECAYS, pool.map(tried, DECAYS), strict=True))
    best = min(DECAYS, key=losses.__getitem__)
    without = float(_losses(held.features @ linear.astype(np.float32), held).mean())
    return best if losses[best] < without else None


def _with_some_misses(labels: Bools, mask: Bools, rng: np.random.Generator) -> Bools:
    """Return which candidates of rows are kept: all hits, and at most `MISSES` others a row."""
    drawn = np.where(mask & ~labels, rng.random(mask.shape), 2.0)
    if drawn.shape[1] > MISSES:
        cut = np.partition(drawn, MISSES - 1, axis=1)[:, MISSES - 1, None]
        return np.asarray((drawn <= np.minimum(cut, 1.0)) | (labels & mask))
    return mask


class _Packed(NamedTuple):
    """Candidates of rows one after another, without padding.

    ``features (n, n_features)``, ``hits (n,)``, where each row begins, ``starts (n_rows,)``, and
    the row of each.
    """

    features: Floats
    hits: Doubles
    starts: Int64s
    row: Int64s

    @classmethod
    def of(cls, features: Floats, labels: Bools, mask: Bools, rows: Int64s) -> _Packed:
        there = mask[rows]
        counts = there.sum(axis=1)
        return cls(
            features[rows][there],
            labels[rows][there].astype(np.float64),
            (np.cumsum(counts) - counts).astype(np.int64),
            np.repeat(np.arange(len(rows)), counts),
        )

    def take(self, rows: Int64s) -> _Packed:
        """Return the candidates of some rows, in their order."""
        counts = np.diff(np.append(self.starts, len(self.row)))[rows]
        starts = np.cumsum(counts) - counts
        row = np.repeat(np.arange(len(rows)), counts)
        which = np.arange(len(row)) + (self.starts[rows] - starts)[row]
        return _Packed(self.features[which], self.hits[which], starts, row)


def _linear(fit: _Packed, held: _Packed) -> tuple[Doubles, float]:
    """Return linear weights and the penalty that suits the held-out rows best."""
    weights = np.zeros(fit.features.shape[1])
    best, found, best_loss = PENALTIES[0], weights, np.inf
    # From the strongest penalty down, each fit starts where the one before ended.
    for penalty in sorted(PENALTIES, reverse=True):
        weights = _fitted(fit, penalty, weights)
        loss = _loss(weights, held, 0.0)[0]
        if loss < best_loss:
            best, found, best_loss = penalty, weights, loss
    return found, best


def _fitted(packed: _Packed, penalty: float, start: Doubles) -> Doubles:
    """Return the best weights: convex and of few dimensions, so a few Newton steps away."""
    found = minimize(
        _loss,
        start,
        (packed, penalty),
        "trust-exact",
        jac=True,
        hess=_curvature,
        options={"maxiter": MAX_STEPS, "gtol": 1e-5},
    )
    return np.asarray(found.x)


def _loss(weights: Doubles, packed: _Packed, penalty: float) -> tuple[float, Doubles]:
    """Return the negative log-likelihood a hit and its gradient."""
    scores = packed.features @ weights.astype(np.float32)
    gradient = (_slope(scores, packed) @ packed.features).astype(np.float64)
    share = penalty / packed.hits.sum()
    loss = float(_losses(scores, packed).mean()) + share * float(weights @ weights)
    return loss, gradient / packed.hits.sum() + 2 * share * weights


def _curvature(weights: Doubles, packed: _Packed, penalty: float) -> Doubles:
    """Return the second derivative: the covariance of what each hit was chosen from, added up."""
    features, hits = packed.features, packed.hits > 0
    chances = _chances(features @ weights.astype(np.float32), packed)
    spread = (features * _chosen(chances, packed).astype(np.float32)[:, None]).T @ features
    each = chances.astype(np.float32)[:, None]
    misses = np.add.reduceat(np.where(hits[:, None], 0, features * each), packed.starts)
    means = features[hits] * each[hits] + misses[packed.row[hits]] * (1 - each[hits])
    curved = (spread - means.T @ means).astype(np.float64) + 2 * penalty * np.eye(len(weights))
    return np.asarray(curved / packed.hits.sum())


def _losses(scores: Floats, packed: _Packed) -> Doubles:
    """Return the negative log-likelihood of each hit."""
    return np.asarray(-np.log(np.maximum(_chances(scores, packed)[packed.hits > 0], 1e-300)))


def _slope(scores: Floats, packed: _Packed) -> Floats:
    """Return how the negative log-likelihood of all hits changes with each score."""
    return (_chosen(_chances(scores, packed), packed) - packed.hits).astype(np.float32)


def _chances(scores: Floats, packed: _Packed) -> Doubles:
    """Return a hit's chance beside its row's misses, and a miss's among them, ``float64 (n,)``."""
    hits, starts, row = packed.hits > 0, packed.starts, packed.row
    wide = scores.astype(np.float64)
    misses = np.where(hits, -np.inf, wide)
    best = np.maximum.reduceat(misses, starts)
    best[np.isinf(best)] = 0.0  # a row of hits alone
    powers = np.exp(misses - best[row])
    sums = np.add.reduceat(powers, starts)
    with np.errstate(divide="ignore"):
        ahead = wide - (best + np.log(sums))[row]
    return np.asarray(np.where(hits, expit(ahead), powers / np.maximum(sums, 1.0)[row]))


def _chosen(chances: Doubles, packed: _Packed) -> Doubles:
    """Return how often each candidate is expected to be chosen, a miss in place of any hit."""
    lost = np.add.reduceat(packed.hits * (1 - chances), packed.starts)[packed.row]
    return np.where(packed.hits > 0, chances, chances * lost)


class _Layer:
    """A linear score with a hidden layer beside it, over features brought to one scale.

    Parameters
    ----------
    weights
        Linear weights of the features to begin with, ``float64 (n_features,)``.
    mean, spread
        Of each feature, ``float32 (n_features,)``.
    rng
        Draws the hidden layer.
    """

    def __init__(
        self, weights: Doubles, mean: Floats, spread: Floats, rng: np.random.Generator
    ) -> None:
        n = len(weights)
        self._mean, self._spread = mean, spread
        inward = rng.uniform(-1, 1, (n, UNITS)) / np.sqrt(n)
        bias = rng.uniform(-1, 1, UNITS) / np.sqrt(n)
        outward = 0.1 * rng.uniform(-1, 1, UNITS) / np.sqrt(UNITS)
        first = (weights * spread, inward, bias, outward)
        self.parts = [np.asarray(one, dtype=np.float32) for one in first]

    def scaled(self, features: Floats) -> Floats:
        """Return features of mean 0 and spread 1."""
        return np.asarray((features - self._mean) / self._spread, dtype=np.float32)

    def scores(self, features: Floats) -> Floats:
        """Return the scores of features as they came, ``float32 (n,)``."""
        scaled = self.scaled(features)
        return np.asarray(scaled @ self.parts[0] + self._hidden(scaled) @ self.parts[3])

    def _hidden(self, scaled: Floats) -> Floats:
        return np.asarray(np.maximum(scaled @ self.parts[1] + self.parts[2], 0))

    def gradients(self, packed: _Packed) -> list[Floats]:
        """Return the gradient of the loss a hit, in the order of `parts`."""
        weights, _, _, outward = self.parts
        scaled = packed.features
        hidden = self._hidden(scaled)
        slope = _slope(scaled @ weights + hidden @ outward, packed)
        slope = slope / np.float32(packed.hits.sum())
        inner = np.where(hidden > 0, slope[:, None] * outward, np.float32(0))
        return [scaled.T @ slope, scaled.T @ inner, inner.sum(axis=0), hidden.T @ slope]

    def fusion(self) -> Fusion:
        """Return the fusion that scores features as they come; a constant is left out."""
        weights, inward, bias, outward = (one.astype(np.float64) for one in self.parts)
        inward = inward / self._spread[:, None]
        bias = bias - self._mean @ inward
        units = tuple(
            Unit(tuple(inward[:, one].tolist()), float(bias[one]), float(outward[one]))
            for one in range(UNITS)
        )
        return Fusion("learned", tuple((weights / self._spread).tolist()), units)


def _trained(packed: _Packed, weights: Doubles, decay: float, seed: int) -> _Layer:
    """Return a score with a hidden layer, trained from linear weights on.

    Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019) on the hidden
    layer, the rate rising over a tenth of the steps and falling to 0.
    """
    rng = np.random.default_rng(seed)
    spread = np.where(packed.features.std(axis=0) > 1e-6, packed.features.std(axis=0), 1)
    layer = _Layer(weights, packed.features.mean(axis=0), spread.astype(np.float32), rng)
    packed = packed._replace(features=layer.scaled(packed.features))
    n_rows = len(packed.starts)
    n_steps = EPOCHS * -(-n_rows // BATCH_ROWS)
    first = [np.zeros_like(one) for one in layer.parts]
    second = [np.zeros_like(one) for one in layer.parts]
    step = 0
    for _ in range(EPOCHS):
        order = rng.permutation(n_rows)
        for start in range(0, n_rows, BATCH_ROWS):
            some = packed.take(np.sort(order[start : start + BATCH_ROWS]))
            step += 1
            rate = RATE * min(10 * step / n_steps, (1 - step / n_steps) / 0.9)
            for at, gradient in enumerate(layer.gradients(some)):
                first[at] += 0.1 * (gradient - first[at])
                second[at] += 0.001 * (gradient * gradient - second[at])
                moved = first[at] / (1 - 0.9**step)
                moved = moved / (np.sqrt(second[at] / (1 - 0.999**step)) + 1e-8)
                if at in (1, 3):
                    moved = moved + decay * layer.parts[at]
                layer.parts[at] -= np.float32(rate) * moved
    return layer
