"""Collaborative factors of users and items, by `implicit`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from twofold.indexing.errors import SettingsError
from twofold.indexing.progress import Progress, Silent
from twofold.indexing.vectors import VectorIndex

if TYPE_CHECKING:
    from twofold.indexing.artefact import Generation, GenerationWriter

Floats = npt.NDArray[np.float32]
ITEMS = "collaborative/items"  # name in an artefact
GRAM_ROWS = 1 << 16
CHUNK = 1 << 20  # numbers that fold-in works on at a time, so that they stay near the processor


@dataclass(frozen=True)
class CollaborativeSettings:
    """How the factor model is fitted.

    Parameters
    ----------
    model
        ``"als"``: alternating least squares on implicit feedback (Hu, Koren and Volinsky 2008).
        ``"bpr"``: Bayesian personalised ranking (Rendle et al. 2009).
    factors
        Dimensions of a factor vector.
    regularization
        Weight of the squared length of all factors.
    alpha
        How much more an interaction of weight 1 counts than a missing one (ALS alone).
    iterations
        Passes over the data.
    learning_rate
        Step size (BPR alone).
    """

    model: Literal["als", "bpr"] = "als"
    factors: int = 64
    regularization: float = 0.05
    alpha: float = 5.0
    iterations: int = 15
    learning_rate: float = 0.05

    def __post_init__(self) -> None:
        for name in ("factors", "iterations"):
            if getattr(self, name) < 1:
                raise SettingsError(f"collaborative.{name} must be at least 1")
        for name in ("regularization", "alpha", "learning_rate"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"collaborative.{name} must be above 0")


@dataclass(frozen=True)
class Factors:
    """Item factors, and what it takes to fold users in.

    Users are always folded in from their history, known ones too, so that an event counts from the
    moment it is in the history, and a user that the build never saw is served the same way.

    Parameters
    ----------
    items
        Item factors, ``float32 (n_items, f)``; zero for items without interactions.
    settings
        What they were fitted with.
    searched
        An index of them under inner product; ``None`` makes one when it is first asked for.
    gram
        ``Y'Y + regularization * I`` of more factors than are here, ``float64 (f, f)``; ``None``
        takes these.
    """

    items: Floats
    settings: CollaborativeSettings
    searched: VectorIndex | None = None
    gram: npt.NDArray[np.float64] | None = None

    @cached_property
    def index(self) -> VectorIndex:
        """The item factors, to search by inner product."""
        if self.searched is not None:
            return self.searched
        return VectorIndex.build(self.items, unit=False, device="cpu")

    @cached_property
    def _gram(self) -> npt.NDArray[np.float64]:
        """What every user's least squares have in common, ``Y'Y + regularization * I``."""
        if self.gram is not None:
            return self.gram
        n_factors = self.items.shape[1]
        out = self.settings.regularization * np.eye(n_factors)
        for start in range(0, len(self.items), GRAM_ROWS):
            wide = self.items[start : start + GRAM_ROWS].astype(np.float64)
            out += wide.T @ wide
        return out

    def fold_in(self, histories: sp.csr_matrix) -> Floats:
        """Return user factors from histories, ``float32 (n, f)``.

        ALS solves each user's least squares given the item factors (equation 4 of Hu, Koren and
        Volinsky 2008), which is what its own last half step does to users of the build. BPR, which
        has no such solution, takes the weighted mean of the items' factors and their bias. An empty
        history gives zeros, and no row depends on others.

        Parameters
        ----------
        histories
            Weights of the users' items, ``float32 (n, n_items)``.
        """
        n_users, n_factors = histories.shape[0], self.items.shape[1]
        lengths = np.diff(histories.indptr)
        out = np.zeros((n_users, n_factors), dtype=np.float32)
        # Histories are padded to powers of two: a user's result must not depend on whose company
        # it is in, and sums of another length may be added up in another order.
        widths = np.where(lengths > 0, 1 << np.ceil(np.log2(np.maximum(lengths, 1))).astype(int), 0)
        for width in np.unique(widths[widths > 0]):
            users = np.flatnonzero(widths == width)
            step = max(1, CHUNK // (n_factors * max(n_factors, int(width))))
            for start in range(0, len(users), step):
                some = users[start : start + step]
                place = histories.indptr[some][:, None] + np.arange(width)
                there = np.arange(width) < lengths[some][:, None]
                place = np.where(there, place, 0)
                weights = np.where(there, histories.data[place], 0).astype(np.float64)
                vectors = self.items[histories.indices[place]].astype(np.float64)
                out[some] = self._solve(vectors, weights, there)
        return out

    def _solve(
        self,
        vectors: npt.NDArray[np.float64],
        weights: npt.NDArray[np.float64],
        there: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.float64]:
        """Return user factors of histories padded to one width, ``(n, f)``."""
        if self.settings.model == "bpr":
            mean = (weights[:, None, :] @ vectors)[:, 0] / weights.sum(axis=1, keepdims=True)
            mean[:, -1] = 1  # meets the items' bias, which is their last factor
            return np.asarray(mean)
        confidence = self.settings.alpha * weights
        beyond = np.where(there, confidence - 1, 0)
        turned = vectors.transpose(0, 2, 1)
        left = self._gram + turned @ (beyond[:, :, None] * vectors)
        right = turned @ confidence[:, :, None]
        return np.asarray(np.linalg.solve(left, right)[:, :, 0])

    def with_items(self, items: Floats, changed: npt.NDArray[np.int64]) -> Factors:
        """Return factors of more items, or with a few others; nothing is worked out anew.

        Parameters
        ----------
        items
            ``float32 (n, f)``, at least as many as before.
        changed
            Numbers of the rows that are others than before or new, ``int64``, distinct.
        """
        searched = None if self.searched is None else self.searched.with_vectors(items, changed)
        out = replace(self, items=items, searched=searched)
        now = items[changed].astype(np.float64)
        before = self.items[changed[changed < len(self.items)]].astype(np.float64)
        object.__setattr__(out, "_gram", self._gram + now.T @ now - before.T @ before)
        return out

    def save(self, writer: GenerationWriter) -> None:
        """Write the factors as ``collaborative/items.index``, for they are searched."""
        self.index.save(writer, ITEMS)

    @classmethod
    def open(cls, generation: Generation, settings: CollaborativeSettings) -> Factors:
        """Return the factors of a generation."""
        index = VectorIndex.open(generation, ITEMS, unit=False, device="cpu")
        return cls(index.vectors, settings, index)


def fit_factors(
    matrix: sp.csr_matrix,
    settings: CollaborativeSettings | None = None,
    *,
    seed: int = 0,
    threads: int = 1,
    progress: Progress | None = None,
) -> Factors:
    """Return factors fitted on users' weights of items.

    Parameters
    ----------
    matrix
        What raises items for users, ``float32 (n_users, n_items)``.
    settings
        The model and its settings.
    seed
        Seeds the first factors; the same seed gives the same bits with one thread.
    threads
        Cores to use; 0 takes all.
    progress
        Told of every pass.
    """
    settings = CollaborativeSettings() if settings is None else settings
    make = _als if settings.model == "als" else _bpr
    model = make(settings, seed, threads)
    # implicit calls BLAS from its own threads; more BLAS threads inside those get in the way.
    with (
        (progress or Silent()).step(settings.model.upper(), total=settings.iterations) as task,
        threadpool_limits(1, "blas"),
    ):
        model.fit(matrix, show_progress=False, callback=lambda *_: task.advance())
    items = np.array(model.item_factors, dtype=np.float32)
    untouched = np.bincount(matrix.indices, minlength=matrix.shape[1]) == 0
    items[untouched] = 0
    return Factors(items, settings)


def _als(settings: CollaborativeSettings, seed: int, threads: int) -> Any:
    from implicit.cpu.als import AlternatingLeastSquares

    # Making a model warns unless all BLAS libraries, loaded by now, have one thread at that moment.
    with threadpool_limits(1, "blas"):
        return AlternatingLeastSquares(
            factors=settings.factors,
            regularization=settings.regularization,
            alpha=settings.alpha,
            iterations=settings.iterations,
            random_state=seed,
            num_threads=threads,
        )


def _bpr(settings: CollaborativeSettings, seed: int, threads: int) -> Any:
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    return BayesianPersonalizedRanking(
        factors=settings.factors,
        regularization=settings.regularization,
        learning_rate=settings.learning_rate,
        iterations=settings.iterations,
        random_state=seed,
        num_threads=threads,
    )
