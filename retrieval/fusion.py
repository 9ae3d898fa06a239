"""One order out of many sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from twofold.indexing.errors import InputError
from twofold.retrieval.features import VIEWS

Floats = npt.NDArray[np.float32]
Method = Literal["learned", "zscore", "reciprocal"]
RECIPROCAL_OFFSET = 60
PENALTIES = (0.1, 1.0, 10.0, 100.0)
MAX_STEPS = 50


@dataclass(frozen=True)
class Fusion:
    """A score of merged candidates from their features.

    Parameters
    ----------
    method
        ``"zscore"`` adds up the sources' standardised scores with `weights` (one a source).
        ``"reciprocal"`` adds up ``1 / (60 + rank)`` (Cormack et al. 2009), ranks by source within
        the merged row. ``"learned"`` is linear in all features, `weights` one a feature.
    weights
        See above; all 1 by default for ``"zscore"``, unused by ``"reciprocal"``.
    """

    method: Method
    weights: tuple[float, ...]

    def score(self, features: Floats) -> Floats:
        """Return scores ``float32 (n, m)`` of features ``(n, m, n_features)``."""
        views = len(VIEWS)
        if self.method == "reciprocal":
            # Inverts the logarithmic rank that the features hold.
            log_rank = features[..., 1::views]
            place = np.expm1((0.5 - log_rank) * np.log1p(100.0))
            # No place has the logarithmic rank 0: it marks rows of equal scores.
            each = np.where(log_rank == 0, 0, 1 / (RECIPROCAL_OFFSET + 1 + place))
            return np.asarray(each.sum(axis=-1), dtype=np.float32)
        read = features[..., 0::views] if self.method == "zscore" else features
        if read.shape[-1] != len(self.weights):
            raise InputError(
                f"fusion was made for {len(self.weights)} weights, but {read.shape[-1]} came"
            )
        return np.asarray(read @ np.asarray(self.weights, dtype=np.float32), dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Return the fusion as JSON values."""
        return {"method": self.method, "weights": list(self.weights)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Fusion:
        """Return the fusion that :meth:`to_dict` wrote."""
        return cls(values["method"], tuple(values["weights"]))


def learn_weights(
    features: Floats, labels: npt.NDArray[np.bool_], mask: npt.NDArray[np.bool_], *, seed: int = 0
) -> Fusion:
    """Return the linear fusion under which the hits of labelled rows are likeliest.

    Conditional logit: the softmax over a row's candidates, with an L2 penalty chosen by the
    likelihood of a held-out fifth of the rows (McFadden 1974).

    Parameters
    ----------
    features
        Features of merged candidates, ``float32 (n, m, n_features)``.
    labels
        Hits, ``bool (n, m)``; rows without a hit say nothing and are passed over.
    mask
        True at candidates, ``bool (n, m)``.
    seed
        Seeds the held-out rows.

    Raises
    ------
    InputError
        If fewer than two rows hold a hit.
    """
    hits = np.flatnonzero((labels & mask).any(axis=1))
    if len(hits) < 2:
        raise InputError("fusion weights need at least two rows with a hit")
    shuffled = np.random.default_rng(seed).permutation(hits)
    held, fit = np.split(shuffled, [max(1, len(hits) // 5)])
    parts = [_Packed.of(features, labels, mask, np.sort(rows)) for rows in (fit, held, hits)]
    weights = np.zeros(features.shape[-1])
    best, best_loss = PENALTIES[0], np.inf
    # From the strongest penalty down, each fit starts where the one before ended.
    for penalty in sorted(PENALTIES, reverse=True):
        weights = _fitted(parts[0], penalty, weights)
        loss = _loss(weights, parts[1], 0.0)[0]
        if loss < best_loss:
            best, best_loss = penalty, loss
    final = _fitted(parts[2], best, weights)
    return Fusion("learned", tuple(float(one) for one in final))


class _Packed(NamedTuple):
    """Candidates of rows one after another, without padding.

    ``features (n, n_features)``, ``hits (n,)``, and where each row begins, ``starts (n_rows,)``.
    """

    features: Floats
    hits: npt.NDArray[np.float64]
    starts: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls,
        features: Floats,
        labels: npt.NDArray[np.bool_],
        mask: npt.NDArray[np.bool_],
        rows: npt.NDArray[np.int64],
    ) -> _Packed:
        there = mask[rows]
        counts = there.sum(axis=1)
        return cls(
            features[rows][there],
            labels[rows][there].astype(np.float64),
            (np.cumsum(counts) - counts).astype(np.int64),
            np.repeat(np.arange(len(rows)), counts),
        )


def _fitted(
    packed: _Packed, penalty: float, start: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
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


def _loss(
    weights: npt.NDArray[np.float64], packed: _Packed, penalty: float
) -> tuple[float, npt.NDArray[np.float64]]:
    """Return the negative log-likelihood a hit and its gradient."""
    features, hits, starts, row = packed
    chances = _chances(weights, packed)
    n_hits = hits.sum()
    expected = chances * np.add.reduceat(hits, starts)[row]
    gradient = ((expected - hits).astype(np.float32) @ features).astype(np.float64)
    loss = -float(np.log(np.maximum(chances[hits > 0], 1e-300)).sum())
    loss += penalty * float(weights @ weights)
    return loss / n_hits, (gradient + 2 * penalty * weights) / n_hits


def _curvature(
    weights: npt.NDArray[np.float64], packed: _Packed, penalty: float
) -> npt.NDArray[np.float64]:
    """Return the second derivative: each row's covariance of features, times its hits."""
    features, hits, starts, row = packed
    counts = np.add.reduceat(hits, starts)
    weighted = features * _chances(weights, packed).astype(np.float32)[:, None]
    means = np.add.reduceat(weighted, starts)
    spread = (weighted * counts.astype(np.float32)[row][:, None]).T @ features
    inner = (means * counts.astype(np.float32)[:, None]).T @ means
    curved = (spread - inner).astype(np.float64) + 2 * penalty * np.eye(len(weights))
    return np.asarray(curved / hits.sum())


def _chances(weights: npt.NDArray[np.float64], packed: _Packed) -> npt.NDArray[np.float64]:
    """Return the softmax of the scores within each row."""
    scores = (packed.features @ weights.astype(np.float32)).astype(np.float64)
    powers = np.exp(scores - np.maximum.reduceat(scores, packed.starts)[packed.row])
    return np.asarray(powers / np.add.reduceat(powers, packed.starts)[packed.row])
