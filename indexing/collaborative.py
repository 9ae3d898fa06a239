"""Collaborative factors of users and items, by `implicit`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from twofold.indexing.errors import SettingsError
from twofold.indexing.progress import Progress, Silent

if TYPE_CHECKING:
    from twofold.indexing.artefact import Generation, GenerationWriter

Floats = npt.NDArray[np.float32]


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
    """

    items: Floats
    settings: CollaborativeSettings
    _solver: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_solver", self._als() if self.settings.model == "als" else None)

    def _als(self) -> Any:
        model = _als_model(self.settings, seed=0, threads=1)
        # A copy: implicit takes no read-only array, such as a memory-mapped one.
        model.item_factors = np.array(self.items, dtype=np.float32, order="C")
        # Computed here, once, so that threads that share the factors only read it.
        _ = model.YtY
        return model

    def fold_in(self, histories: sp.csr_matrix) -> Floats:
        """Return user factors from histories, ``float32 (n, f)``.

        ALS solves each user's least squares given the item factors, as in its own last half step.
        BPR takes the weighted mean of the items' factors. An empty history gives zeros.

        Parameters
        ----------
        histories
            Weights of the users' items, ``float32 (n, n_items)``.
        """
        if histories.shape[0] == 0 or histories.nnz == 0:
            return np.zeros((histories.shape[0], self.items.shape[1]), dtype=np.float32)
        if self._solver is None:
            weights = np.asarray(histories.sum(axis=1))
            mean = (histories @ self.items) / np.maximum(weights, 1e-9)
            return np.asarray(mean, dtype=np.float32)
        users = np.arange(histories.shape[0])
        solved = self._solver.recalculate_user(users, histories.astype(np.float32))
        return np.asarray(solved, dtype=np.float32).reshape(len(users), -1)

    def save(self, writer: GenerationWriter) -> None:
        """Write the factors under ``collaborative/``."""
        writer.put_array("collaborative/items", self.items)

    @classmethod
    def open(cls, generation: Generation, settings: CollaborativeSettings) -> Factors:
        """Return the factors of a generation."""
        return cls(generation.array("collaborative/items"), settings)


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
    make = _als_model if settings.model == "als" else _bpr_model
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


def _als_model(settings: CollaborativeSettings, seed: int, threads: int) -> Any:
    from implicit.cpu.als import AlternatingLeastSquares

    # Making a model warns unless BLAS has one thread at that moment; the limit holds only for
    # libraries that are loaded already, hence after the import.
    with threadpool_limits(1, "blas"):
        return AlternatingLeastSquares(
            factors=settings.factors,
            regularization=settings.regularization,
            alpha=settings.alpha,
            iterations=settings.iterations,
            random_state=seed,
            num_threads=threads,
        )


def _bpr_model(settings: CollaborativeSettings, seed: int, threads: int) -> Any:
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    return BayesianPersonalizedRanking(
        factors=settings.factors,
        regularization=settings.regularization,
        learning_rate=settings.learning_rate,
        iterations=settings.iterations,
        random_state=seed,
        num_threads=threads,
    )
