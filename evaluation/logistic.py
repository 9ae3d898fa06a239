"""Logistic regression on stage one's features, tuned on validation lists."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self, cast

import numpy as np
import numpy.typing as npt

from twofold.evaluation.opponents import FeatureLists, Trial
from twofold.indexing.errors import InputError, SettingsError
from twofold.indexing.progress import Progress, Silent

Floats = npt.NDArray[np.float64]
Interactions = Literal["none", "pairwise"]

_ROWS_A_TIME = 65_536


@dataclass(frozen=True)
class LogisticSettings:
    """What is tried, and how much of the data.

    Parameters
    ----------
    strengths
        Inverse strengths of the L2 penalty on standardised columns (scikit-learn's ``C``).
    interactions
        ``"none"`` takes the features as they are; ``"pairwise"`` adds all their products and
        squares.
    k
        Settings are compared by ndcg@k on the validation lists.
    max_values
        At most about this many numbers (rows times columns) in the table that is fitted. Beyond it
        hits are all kept, and misses drawn at one rate and weighted by its inverse.
    seed
        Which misses are drawn.
    threads
        Threads of the linear algebra, 0 for all.
    """

    strengths: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0, 10.0)
    interactions: tuple[Interactions, ...] = ("none", "pairwise")
    k: int = 10
    max_values: int = 60_000_000
    seed: int = 0
    threads: int = 0

    def __post_init__(self) -> None:
        if not self.strengths or min(self.strengths) <= 0:
            raise SettingsError("logistic.strengths must be numbers above 0, at least one")
        if not self.interactions or set(self.interactions) - {"none", "pairwise"}:
            raise SettingsError("logistic.interactions must be of 'none' and 'pairwise'")
        if self.k < 1 or self.max_values < 1 or self.threads < 0:
            raise SettingsError("logistic: k and max_values must be at least 1, threads at least 0")


@dataclass(frozen=True)
class LogisticOpponent:
    """A fitted logistic regression; made by :func:`fit_logistic`.

    Parameters
    ----------
    weights
        Weight of each column after standardising, ``float64 (n_columns,)``.
    intercept
        Log-odds of a candidate with mean columns.
    centre, scale
        Mean and standard deviation of each column over the training candidates.
    interactions, strength
        The setting.
    settings
        What was tried, and how.
    trials
        Every setting and its quality.
    """

    weights: Floats
    intercept: float
    centre: Floats
    scale: Floats
    interactions: Interactions
    strength: float
    settings: LogisticSettings
    trials: tuple[Trial, ...] = ()

    @property
    def name(self) -> str:
        """What the row of the table is called."""
        return "logistic regression"

    @property
    def chosen(self) -> dict[str, str | int | float]:
        """The setting that was best on the validation lists."""
        return {"strength": self.strength, "interactions": self.interactions}

    def score(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the log-odds of each candidate, ``float32 (n, m)``."""
        flat = features.reshape(-1, features.shape[2])
        slope = self.weights / self.scale
        offset = self.intercept - float(self.centre @ slope)
        parts = [
            _columns(flat[begin : begin + _ROWS_A_TIME], self.interactions) @ slope + offset
            for begin in range(0, len(flat), _ROWS_A_TIME)
        ]
        scores = np.concatenate(parts) if parts else np.empty(0)
        return scores.astype(np.float32).reshape(features.shape[:2])

    def refit(self, lists: FeatureLists) -> Self:
        """Return the same setting fitted on other lists."""
        fitted = _fit(lists, self.interactions, (self.strength,), self.settings)[0]
        return cast(Self, replace(fitted, trials=self.trials))


def fit_logistic(
    train: FeatureLists,
    validation: FeatureLists,
    settings: LogisticSettings | None = None,
    *,
    progress: Progress | None = None,
) -> LogisticOpponent:
    """Return the logistic regression whose setting ranks the validation lists best.

    All candidates of all training lists are rows of one binary regression, padding is left out.

    Raises
    ------
    InputError
        If the training candidates are all hits or all misses, or the two have other features.
    """
    settings = LogisticSettings() if settings is None else settings
    progress = Silent() if progress is None else progress
    if train.n_features != validation.n_features:
        raise InputError(
            f"training lists have {train.n_features} features, "
            f"validation lists {validation.n_features}"
        )
    fitted: list[LogisticOpponent] = []
    trials: list[Trial] = []
    total = len(settings.interactions) * len(settings.strengths)
    with progress.step("Tune logistic regression", total) as task:
        for interactions in settings.interactions:
            for one in _fit(train, interactions, settings.strengths, settings):
                quality = validation.ndcg(one.score(validation.features), settings.k)
                fitted.append(one)
                trials.append(Trial(one.chosen, quality))
                task.advance()
    best = int(np.argmax([trial.ndcg for trial in trials]))
    return replace(fitted[best], trials=tuple(trials))


def _fit(
    lists: FeatureLists,
    interactions: Interactions,
    strengths: tuple[float, ...],
    settings: LogisticSettings,
) -> list[LogisticOpponent]:
    """Return the regression at each strength, the strongest penalty first."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    flat, labels = lists.features[lists.valid], lists.labels[lists.valid]
    if bool(labels.all()) or not bool(labels.any()):
        raise InputError("logistic regression needs candidates that are hits and some that are not")
    keep, row_weights = _draw(labels, _n_columns(lists.n_features, interactions), settings)
    columns = _columns(flat[keep], interactions)
    centre = np.average(columns, axis=0, weights=row_weights)
    columns -= centre
    scale = np.sqrt(np.average(np.square(columns), axis=0, weights=row_weights))
    scale = np.where(scale > 1e-12, scale, 1.0)
    columns /= scale
    # Newton's method on the normal equations: many more rows than columns. Starting each strength
    # from the one before leaves it few steps; the tolerance makes the end independent of the start.
    model = LogisticRegression(solver="newton-cholesky", warm_start=True, tol=1e-8, max_iter=200)
    out = []
    with threadpool_limits(settings.threads or None):
        for strength in sorted(strengths):
            model.set_params(C=strength)
            model.fit(columns, labels[keep], sample_weight=row_weights)
            out.append(
                LogisticOpponent(
                    weights=model.coef_[0].astype(np.float64),
                    intercept=float(model.intercept_[0]),
                    centre=centre,
                    scale=scale,
                    interactions=interactions,
                    strength=strength,
                    settings=settings,
                )
            )
    return out


def _draw(
    labels: npt.NDArray[np.bool_], n_columns: int, settings: LogisticSettings
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return the rows to fit and their weights: all hits, and as many misses as there is room."""
    room = settings.max_values // n_columns - int(labels.sum())
    misses = len(labels) - int(labels.sum())
    rate = min(1.0, max(room, int(labels.sum())) / misses)
    drawn = np.random.default_rng(settings.seed).random(len(labels)) < rate
    keep = np.flatnonzero(labels | drawn)
    return keep, np.where(labels[keep], 1.0, 1.0 / rate)


def _n_columns(n_features: int, interactions: Interactions) -> int:
    products = n_features * (n_features + 1) // 2 if interactions == "pairwise" else 0
    return n_features + products


def _columns(flat: npt.NDArray[np.float32], interactions: Interactions) -> Floats:
    """Return the regression's columns of each row, ``float64 (n_rows, n_columns)``."""
    if interactions == "none":
        return flat.astype(np.float64)
    n_features = flat.shape[1]
    first, second = np.triu_indices(n_features)
    out = np.empty((len(flat), n_features + len(first)))
    out[:, :n_features] = flat
    np.multiply(flat[:, first], flat[:, second], out=out[:, n_features:])
    return out
