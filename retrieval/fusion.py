"""One order out of many sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import logsumexp

from twofold.indexing.errors import InputError
from twofold.retrieval.features import VIEWS

Floats = npt.NDArray[np.float32]
Method = Literal["learned", "zscore", "reciprocal"]
RECIPROCAL_OFFSET = 60
PENALTIES = (0.1, 1.0, 10.0, 100.0)


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
            place = np.expm1((0.5 - features[..., 1::views]) * np.log1p(100.0))
            silent = features[..., 0::views] == 0
            each = np.where(silent, 0, 1 / (RECIPROCAL_OFFSET + 1 + place))
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

    def fitted(rows: npt.NDArray[np.int64], penalty: float) -> npt.NDArray[np.float64]:
        given = features[rows], labels[rows], mask[rows]
        start = np.zeros(features.shape[-1])
        found = minimize(
            _loss, start, (*given, penalty), "L-BFGS-B", jac=True, options={"maxiter": 100}
        )
        return np.asarray(found.x)

    def held_out(penalty: float) -> float:
        return _loss(fitted(fit, penalty), features[held], labels[held], mask[held], 0.0)[0]

    penalty = min(PENALTIES, key=held_out)
    return Fusion("learned", tuple(float(one) for one in fitted(hits, penalty)))


def _loss(
    weights: npt.NDArray[np.float64],
    features: Floats,
    labels: npt.NDArray[np.bool_],
    mask: npt.NDArray[np.bool_],
    penalty: float,
) -> tuple[float, npt.NDArray[np.float64]]:
    """Return the negative log-likelihood a hit and its gradient."""
    scores = np.where(mask, features @ weights.astype(np.float32), -np.inf).astype(np.float64)
    logs = scores - logsumexp(scores, axis=1, keepdims=True)
    hits = (labels & mask).astype(np.float64)
    n_hits = hits.sum()
    chance = np.exp(logs) * hits.sum(axis=1, keepdims=True)
    flat = features.reshape(-1, features.shape[-1])
    gradient = ((chance - hits).ravel().astype(np.float32) @ flat).astype(np.float64)
    loss = -float(logs[hits > 0].sum()) + penalty * float(weights @ weights)
    return loss / n_hits, (gradient + 2 * penalty * weights) / n_hits
