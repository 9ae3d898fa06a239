"""From logits to probabilities."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, minimize
from scipy.special import expit, log_expit, logit
from sklearn.isotonic import IsotonicRegression

from twofold.indexing.errors import InputError

Floats = npt.NDArray[np.float32]
FOLDS = 5
LOG_SCALE = 30.0


@dataclass(frozen=True)
class Calibration:
    """A rising map from logits to probabilities.

    Between neighbouring points the probability is interpolated on the logit scale of
    ``scale * logit + shift`` (temperature) or linearly (isotonic); outside it stays at the ends.

    Parameters
    ----------
    method
        ``"temperature"`` or ``"isotonic"``.
    scale, shift
        Of the temperature method: probability = sigmoid(scale * logit + shift).
    points, values
        Of the isotonic method: logits, rising, and the probability at each.
    """

    method: Literal["temperature", "isotonic"]
    scale: float = 1.0
    shift: float = 0.0
    points: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise InputError(f"a calibration must rise with the logit; its scale is {self.scale}")

    def probabilities(self, logits: Floats) -> Floats:
        """Return probabilities in [0, 1], same shape; 0 where the logit is ``-inf``."""
        wide = np.asarray(logits, dtype=np.float64)
        if self.method == "temperature":
            out = expit(self.scale * wide + self.shift)
        else:
            out = np.interp(wide, self.points, self.values)
        return np.where(np.isneginf(wide), 0.0, out).astype(np.float32)

    def moved(self, by: float) -> Calibration:
        """Return the calibration with `by` added to every probability's log-odds."""
        if self.method == "temperature":
            return replace(self, shift=self.shift + by)
        heights = expit(logit(np.asarray(self.values)) + by)
        return replace(self, values=tuple(float(one) for one in heights))

    def to_dict(self) -> dict[str, Any]:
        """Return the calibration as JSON values."""
        return {
            "method": self.method,
            "scale": self.scale,
            "shift": self.shift,
            "points": list(self.points),
            "values": list(self.values),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Calibration:
        """Return the calibration that :meth:`to_dict` wrote."""
        points, heights = tuple(values["points"]), tuple(values["values"])
        return cls(values["method"], values["scale"], values["shift"], points, heights)


def calibrate(
    logits: Floats,
    labels: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float64] | None = None,
    *,
    method: Literal["auto", "temperature", "isotonic"] = "auto",
    seed: int = 0,
) -> Calibration:
    """Return the calibration of logits by what came true.

    Parameters
    ----------
    logits
        Logits of users that took no part in training, one row a user, ``-inf`` at padding,
        ``float32 (n, m)``.
    labels
        Hits, ``bool (n, m)``.
    weights
        What each list counts for, above 0, ``float64 (n,)``; ``None`` for all the same.
    method
        ``"temperature"``: scale and shift by maximum likelihood (Platt 1999; Guo et al. 2017 with a
        shift, since training draws fewer misses than are served). ``"isotonic"``: pool adjacent
        violators (Zadrozny and Elkan 2002). ``"auto"``: the lower log-loss in five folds of users.
    seed
        Seeds the folds.

    Raises
    ------
    InputError
        If there is no hit or no miss to learn from.
    """
    there = np.isfinite(logits)
    hits = labels & there
    if not hits.any() or not (there & ~labels).any():
        raise InputError("calibration needs at least one hit and one miss among the served lists")
    counted = np.ones(len(logits)) if weights is None else weights
    each = np.broadcast_to(counted[:, None], logits.shape)
    if method == "auto":
        method = _better(logits, labels, there, each, seed)
    return _fit(logits[there], labels[there], each[there], method)


def levelled(calibration: Calibration, logits: Floats, rate: float) -> Calibration:
    """Return the calibration moved so that the probabilities of `logits` average to `rate`.

    A refit on more data raises or lowers all logits a little; their level is put right on lists as
    they are served, which need no labels, under the one assumption that hits stay as frequent as
    they were.

    Parameters
    ----------
    calibration
        Its form.
    logits
        Logits of served lists, ``-inf`` at padding, ``float32 (n, m)``.
    rate
        Share of hits among served candidates; at 0 or 1 nothing is moved.
    """
    there = np.isfinite(logits)
    if not there.any() or not 0 < rate < 1:
        return calibration

    def gap(by: float) -> float:
        told = calibration.moved(by).probabilities(logits)[there]
        return float(told.mean(dtype=np.float64)) - rate

    # Log-odds of 40 are a probability of 1 in single precision, -40 one of 0.
    return calibration.moved(float(brentq(gap, -40.0, 40.0, xtol=1e-6)))


def _better(
    logits: Floats,
    labels: npt.NDArray[np.bool_],
    there: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float64],
    seed: int,
) -> Literal["temperature", "isotonic"]:
    folds = np.random.default_rng(seed).permutation(len(logits)) % FOLDS
    losses = {"temperature": 0.0, "isotonic": 0.0}
    for fold in range(FOLDS):
        fit = there & (folds != fold)[:, None]
        rest = there & (folds == fold)[:, None]
        if not labels[fit].any():
            return "temperature"
        for method in ("temperature", "isotonic"):
            fitted = _fit(logits[fit], labels[fit], weights[fit], method)
            p = np.clip(fitted.probabilities(logits[rest]).astype(np.float64), 1e-7, 1 - 1e-7)
            told = np.log(np.where(labels[rest], p, 1 - p))
            losses[method] -= float(told @ weights[rest])
    return "isotonic" if losses["isotonic"] < losses["temperature"] else "temperature"


def _fit(
    logits: Floats, labels: npt.NDArray[np.bool_], weights: npt.NDArray[np.float64], method: str
) -> Calibration:
    x, y, counted = logits.astype(np.float64), labels.astype(np.float64), weights / weights.sum()
    if method == "isotonic":
        fitted = IsotonicRegression(out_of_bounds="clip").fit(x, y, sample_weight=counted)
        # A probability of exactly 0 would be an infinite loss for the one hit that falls there.
        floor = 0.5 / len(y)
        heights = np.clip(fitted.y_thresholds_, floor, 1 - floor)
        points = tuple(float(one) for one in fitted.X_thresholds_)
        return Calibration("isotonic", points=points, values=tuple(float(one) for one in heights))

    def loss(parameters: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        z = np.exp(parameters[0]) * x + parameters[1]
        rest = counted * (expit(z) - y)
        gradient = np.array([np.exp(parameters[0]) * (rest @ x), rest.sum()])
        return -float(counted @ (y * log_expit(z) + (1 - y) * log_expit(-z))), gradient

    # A line search that tries a scale beyond all floats would read infinity times 0.
    bounds = [(-LOG_SCALE, LOG_SCALE), (None, None)]
    found = minimize(loss, np.array([0.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds)
    return Calibration("temperature", scale=float(np.exp(found.x[0])), shift=float(found.x[1]))
