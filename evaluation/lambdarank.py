"""LightGBM LambdaRank on stage one's features, tuned on validation lists."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from twofold.evaluation.opponents import FeatureLists, Trial
from twofold.indexing.errors import InputError, MissingDependencyError, SettingsError
from twofold.indexing.progress import Progress, Silent


@dataclass(frozen=True)
class LambdaRankSettings:
    """What is tried.

    The grid is every combination of `learning_rates`, `n_leaves` and `min_rows`; the number of
    trees is found by early stopping on the validation lists.

    Parameters
    ----------
    learning_rates
        Shrinkage of each tree.
    n_leaves
        Leaves of a tree.
    min_rows
        Candidates a leaf must hold.
    max_trees
        At most this many trees.
    patience
        Stop after this many trees without a better ndcg@k on the validation lists.
    feature_share
        Share of the features that a tree may use, above 0 and at most 1.
    k
        Settings are compared by ndcg@k on the validation lists.
    seed
        Seed of every draw.
    threads
        Threads, 0 for all.
    """

    learning_rates: tuple[float, ...] = (0.05,)
    n_leaves: tuple[int, ...] = (4, 8, 16, 31)
    min_rows: tuple[int, ...] = (20, 200)
    max_trees: int = 1000
    patience: int = 50
    feature_share: float = 0.8
    k: int = 10
    seed: int = 0
    threads: int = 0

    def __post_init__(self) -> None:
        if not self.learning_rates or not 0 < min(self.learning_rates) <= 1:
            raise SettingsError("lambdarank.learning_rates must be above 0, at least one")
        if not self.n_leaves or min(self.n_leaves) < 2:
            raise SettingsError("lambdarank.n_leaves must be at least 2, at least one")
        if not self.min_rows or min(self.min_rows) < 1:
            raise SettingsError("lambdarank.min_rows must be at least 1, at least one")
        if min(self.max_trees, self.patience, self.k) < 1 or self.threads < 0:
            raise SettingsError("lambdarank: max_trees, patience, k >= 1 and threads >= 0")
        if not 0 < self.feature_share <= 1:
            raise SettingsError("lambdarank.feature_share must be above 0 and at most 1")


@dataclass(frozen=True)
class LambdaRankOpponent:
    """Fitted trees; made by :func:`fit_lambdarank`.

    Parameters
    ----------
    booster
        The ``lightgbm.Booster``.
    chosen
        ``learning_rate``, ``n_leaves``, ``min_rows`` and ``n_trees``.
    settings
        What was tried, and how.
    trials
        Every setting and its quality.
    """

    booster: Any
    chosen: dict[str, str | int | float]
    settings: LambdaRankSettings
    trials: tuple[Trial, ...] = ()

    @property
    def name(self) -> str:
        """What the row of the table is called."""
        return "LambdaRank"

    def score(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the trees' score of each candidate, ``float32 (n, m)``."""
        if features.shape[0] == 0 or features.shape[1] == 0:
            return np.empty(features.shape[:2], dtype=np.float32)
        flat = features.reshape(-1, features.shape[2])
        scores = self.booster.predict(flat, num_threads=self.settings.threads)
        return np.asarray(scores, dtype=np.float32).reshape(features.shape[:2])

    def refit(self, lists: FeatureLists) -> Self:
        """Return the same setting, number of trees included, fitted on other lists."""
        return replace(self, booster=_grow(_dataset(lists), None, self.chosen, self.settings))


def fit_lambdarank(
    train: FeatureLists,
    validation: FeatureLists,
    settings: LambdaRankSettings | None = None,
    *,
    progress: Progress | None = None,
) -> LambdaRankOpponent:
    """Return the trees whose setting ranks the validation lists best.

    A query is a group; padding is left out, and so are lists without a hit, from which LambdaRank
    learns nothing. C. Burges, "From RankNet to LambdaRank to LambdaMART", 2010; G. Ke et al.,
    "LightGBM", NIPS 2017.

    Raises
    ------
    MissingDependencyError
        If LightGBM is not installed.
    InputError
        If no list has a hit, or the two have other features.
    """
    settings = LambdaRankSettings() if settings is None else settings
    progress = Silent() if progress is None else progress
    if train.n_features != validation.n_features:
        raise InputError(
            f"training lists have {train.n_features} features, "
            f"validation lists {validation.n_features}"
        )
    grid = list(product(settings.learning_rates, settings.n_leaves, settings.min_rows))
    grown: list[LambdaRankOpponent] = []
    trials: list[Trial] = []
    with progress.step("Tune LambdaRank", len(grid)) as task:
        data = _dataset(train)
        held = _dataset(validation, data)
        for learning_rate, n_leaves, min_rows in grid:
            setting: dict[str, str | int | float] = {
                "learning_rate": learning_rate,
                "n_leaves": n_leaves,
                "min_rows": min_rows,
                "n_trees": settings.max_trees,
            }
            booster = _grow(data, held, setting, settings)
            setting = setting | {"n_trees": int(booster.best_iteration or settings.max_trees)}
            one = LambdaRankOpponent(booster, setting, settings)
            quality = validation.ndcg(one.score(validation.features), settings.k)
            grown.append(one)
            trials.append(Trial(setting, quality))
            task.advance()
    best = int(np.argmax([trial.ndcg for trial in trials]))
    return replace(grown[best], trials=tuple(trials))


def _grow(
    data: Any, held: Any, setting: dict[str, str | int | float], settings: LambdaRankSettings
) -> Any:
    """Return the booster on a data set of LightGBM; stopped early by another where there is one."""
    lightgbm = _lightgbm()
    parameters = {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [settings.k],
        "learning_rate": setting["learning_rate"],
        "num_leaves": setting["n_leaves"],
        "min_data_in_leaf": setting["min_rows"],
        "feature_fraction": settings.feature_share,
        "lambdarank_truncation_level": settings.k + 20,
        "seed": settings.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": settings.threads,
        "verbosity": -1,
    }
    callbacks = []
    if held is not None:
        callbacks.append(lightgbm.early_stopping(settings.patience, verbose=False))
    return lightgbm.train(
        parameters,
        data,
        num_boost_round=int(setting["n_trees"]),
        valid_sets=[] if held is None else [held],
        callbacks=callbacks,
    )


def _dataset(lists: FeatureLists, reference: Any = None) -> Any:
    """Return lists as LightGBM reads them, in the bins of another data set where there is one."""
    lightgbm = _lightgbm()
    kept = lists.take(np.flatnonzero(lists.labels.any(axis=1)))
    if not len(kept):
        raise InputError("LambdaRank needs at least one list with a hit")
    return lightgbm.Dataset(
        kept.features[kept.valid],
        label=kept.labels[kept.valid].astype(np.int32),
        group=kept.valid.sum(axis=1),
        reference=reference,
        # Whether a feature can be split depends on the setting, and one data set is for all.
        params={"verbosity": -1, "feature_pre_filter": False},
        free_raw_data=True,
    )


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise MissingDependencyError(
            "the LambdaRank opponent needs LightGBM: pip install 'lightgbm>=4.5'"
        ) from error
    return lightgbm
