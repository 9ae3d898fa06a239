"""The library implicit by itself: its factors and its neighbours."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from benchmarks.peers.best import sound, without
from benchmarks.peers.task import Task
from twofold.evaluation.quality import Ranked

# What implicit gives an item that it was told to leave out, and what it pads with.
_LEFT_OUT = -np.finfo(np.float32).max
_USERS_A_TIME = 1024


@dataclass(frozen=True)
class ImplicitAls:
    """``implicit.als.AlternatingLeastSquares``: weighted least squares (Hu et al., ICDM 2008)."""

    name: str = "implicit ALS"

    @property
    def grid(self) -> tuple[Mapping[str, Any], ...]:
        """Its defaults first; then weights of what was taken, penalties and sizes."""
        usual = {"factors": 100, "regularization": 0.01, "alpha": 1.0, "iterations": 15}
        return (
            usual,
            {**usual, "alpha": 10.0},
            {**usual, "alpha": 40.0},
            {**usual, "alpha": 1.0, "regularization": 1.0},
            {**usual, "alpha": 10.0, "regularization": 10.0},
            {**usual, "alpha": 1.0, "factors": 32},
            {**usual, "alpha": 10.0, "regularization": 10.0, "factors": 32},
            {**usual, "alpha": 10.0, "regularization": 10.0, "factors": 200},
        )

    def lists(self, task: Task, settings: Mapping[str, Any]) -> Ranked:
        """Return what the fitted model recommends."""
        from implicit.als import AlternatingLeastSquares

        return _by_factors(AlternatingLeastSquares, task, settings, self.name)


@dataclass(frozen=True)
class ImplicitBpr:
    """``implicit.bpr.BayesianPersonalizedRanking`` (Rendle et al., UAI 2009)."""

    name: str = "implicit BPR"

    @property
    def grid(self) -> tuple[Mapping[str, Any], ...]:
        """Its defaults first; then rates, sizes and lengths of training."""
        usual = {"factors": 100, "learning_rate": 0.01, "regularization": 0.01, "iterations": 100}
        return (
            usual,
            {**usual, "iterations": 300},
            {**usual, "learning_rate": 0.05},
            {**usual, "learning_rate": 0.05, "iterations": 300},
            {**usual, "learning_rate": 0.05, "regularization": 0.001},
            {**usual, "learning_rate": 0.05, "regularization": 0.05},
            {**usual, "learning_rate": 0.05, "factors": 32},
        )

    def lists(self, task: Task, settings: Mapping[str, Any]) -> Ranked:
        """Return what the fitted model recommends."""
        from implicit.bpr import BayesianPersonalizedRanking

        return _by_factors(BayesianPersonalizedRanking, task, settings, self.name)


@dataclass(frozen=True)
class ImplicitNeighbours:
    """implicit's item-item recommenders: cosine, TF-IDF or BM25 similarity (``kind``)."""

    name: str = "implicit item-item"

    @property
    def grid(self) -> tuple[Mapping[str, Any], ...]:
        """Its defaults first; then more neighbours, and what weighs them."""
        return (
            {"kind": "cosine", "K": 20},
            {"kind": "cosine", "K": 100},
            {"kind": "cosine", "K": 500},
            {"kind": "tfidf", "K": 20},
            {"kind": "tfidf", "K": 100},
            {"kind": "tfidf", "K": 500},
            {"kind": "bm25", "K": 100, "K1": 1.2, "B": 0.75},
            {"kind": "bm25", "K": 500, "K1": 1.2, "B": 0.75},
        )

    def lists(self, task: Task, settings: Mapping[str, Any]) -> Ranked:
        """Return what the fitted model recommends; a list ends where nothing is alike."""
        from implicit import nearest_neighbours as kinds
        from implicit.utils import ParameterWarning

        own = dict(settings)
        made = {
            "cosine": kinds.CosineRecommender,
            "tfidf": kinds.TFIDFRecommender,
            "bm25": kinds.BM25Recommender,
        }[own.pop("kind")](**own, num_threads=task.threads)
        matrix = task.log.matrix()
        with warnings.catch_warnings():
            # Of a conversion between its own steps.
            warnings.simplefilter("ignore", ParameterWarning)
            made.fit(matrix, show_progress=False)
        # Its own filter knows no more than what raised the scores, and excluded is more (dislikes)
        # or less (repeats): it is asked for so many more, and they are taken out.
        items, scores = _empty(task)
        hidden = np.diff(task.excluded.indptr)
        # Users with much to take out together: what is asked for is as long for all of a call.
        order = np.argsort(hidden, kind="stable")
        for begin in range(0, len(order), _USERS_A_TIME):
            some = order[begin : begin + _USERS_A_TIME]
            found, told = made.recommend(
                task.users[some],
                matrix[task.users[some]],
                N=min(task.k + int(hidden[some].max()), task.log.n_items),
                filter_already_liked_items=False,
            )
            # It pads with item -1, or with item 0 and the least score that there is.
            found = np.where(told > _LEFT_OUT, found, -1)
            ranked = without(task.excluded[some], task.k, found, told)
            items[some], scores[some] = ranked.items, ranked.scores
        return sound(Ranked(items, scores), task.excluded, task.k, self.name)


def _by_factors(kind: Any, task: Task, settings: Mapping[str, Any], name: str) -> Ranked:
    """Return what a fitted factor model recommends; implicit itself leaves out what is excluded."""
    # implicit computes in threads of its own, and asks for a BLAS that does not.
    with threadpool_limits(1, "blas"):
        made = kind(**settings, use_gpu=False, num_threads=task.threads, random_state=task.seed)
        made.fit(task.log.matrix(), show_progress=False)
    items, scores = _empty(task)
    asked = min(task.k, task.log.n_items)
    # Already liked is what the given rows hold; here, all that must not be shown.
    hidden = task.excluded.astype(np.float32)
    for begin in range(0, len(task.users), _USERS_A_TIME):
        some = slice(begin, begin + _USERS_A_TIME)
        found, told = made.recommend(
            task.users[some], hidden[some], N=asked, filter_already_liked_items=True
        )
        found = np.where(told > _LEFT_OUT, found, -1)
        ranked = without(task.excluded[some], task.k, found, told)
        items[some], scores[some] = ranked.items, ranked.scores
    return sound(Ranked(items, scores), task.excluded, task.k, name)


def _empty(task: Task) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return room for lists: items and scores, ``(n, k)``."""
    shape = (len(task.users), task.k)
    return np.full(shape, -1, dtype=np.int64), np.full(shape, -np.inf)
