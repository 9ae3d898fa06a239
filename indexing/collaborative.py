"""Collaborative factors of users and items, by `implicit`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from twofold.indexing.least_squares import solved
from twofold.indexing.progress import Progress, Silent
from twofold.indexing.ranges import require
from twofold.indexing.vectors import VectorIndex

if TYPE_CHECKING:
    from twofold.indexing.artefact import Generation, GenerationWriter

Floats = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
ITEMS = "collaborative/items"  # names in an artefact
GUESSED = "collaborative/guessed"
GRAM_ROWS = 1 << 16


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
    predict_cold
        Whether items without interactions get a factor guessed from their text, so that this source
        may propose them; without it their factor is zero.
    """

    model: Literal["als", "bpr"] = "als"
    factors: int = 64
    regularization: float = 0.05
    alpha: float = 5.0
    iterations: int = 15
    learning_rate: float = 0.05
    predict_cold: bool = True

    def __post_init__(self) -> None:
        require(
            self,
            "collaborative",
            at_least_one=("factors", "iterations"),
            positive=("regularization", "alpha", "learning_rate"),
        )


@dataclass(frozen=True)
class Factors:
    """Item factors, and what it takes to fold users in.

    Users are always folded in from their history, known ones too, so that an event counts from the
    moment it is in the history, and a user that the build never saw is served the same way.

    Parameters
    ----------
    items
        Item factors, ``float32 (n_items, f)``; zero for items without interactions whose factor was
        not guessed.
    settings
        What they were fitted with.
    searched
        An index of them under inner product; ``None`` makes one when it is first asked for.
    guessed
        Items whose factors nobody's interactions speak for, ``int64``, distinct; ``None`` for none.
        That a user did not take them says nothing, so folding in leaves them out.
    gram
        ``Y'Y + regularization * I`` of more factors than are here, ``float64 (f, f)``; ``None``
        takes these.
    """

    items: Floats
    settings: CollaborativeSettings
    searched: VectorIndex | None = None
    guessed: npt.NDArray[np.int64] | None = None
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
        fitted = np.ones(len(self.items), dtype=bool)
        if self.guessed is not None:
            fitted[self.guessed] = False
        for start in range(0, len(self.items), GRAM_ROWS):
            rows = slice(start, start + GRAM_ROWS)
            wide = np.where(fitted[rows, None], self.items[rows], 0).astype(np.float64)
            out += wide.T @ wide
        return out

    def with_guesses(self, items: npt.NDArray[np.int64], vectors: Floats) -> Factors:
        """Return these factors with guesses for items that have none.

        Parameters
        ----------
        items
            Which items, ``int64 (m,)``, distinct.
        vectors
            Their factors, ``float32 (m, f)``.
        """
        filled = np.array(self.items)
        filled[items] = vectors
        return replace(self, items=filled, guessed=items, searched=None)

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
        return self.fold_in_events(
            histories.indptr.astype(np.int64),
            histories.indices.astype(np.int64),
            histories.data.astype(np.float32, copy=False),
        )

    def fold_in_events(self, starts: Int64s, items: Int64s, weights: Floats) -> Floats:
        """Return user factors as :meth:`fold_in` does, from histories side by side.

        Parameters
        ----------
        starts
            History ``q`` is ``items[starts[q]:starts[q + 1]]``, ``int64 (n + 1,)``.
        items
            Each once in a history, ``int64``.
        weights
            At least 0, ``float32``; what weighs nothing is none of the history.
        """
        if (weights == 0).any():
            counted = np.concatenate([[0], np.cumsum(weights != 0)])
            starts, items, weights = counted[starts], items[weights != 0], weights[weights != 0]
        if self.settings.model == "bpr":
            return self._means(starts, items, weights)
        confidence = (self.settings.alpha * weights).astype(np.float32)
        return solved(np.asarray(self.items), self._gram, starts, items, confidence)

    def _means(self, starts: Int64s, items: Int64s, weights: Floats) -> Floats:
        """Return the weighted means of histories' factors, ``float32 (n, f)``."""
        out = np.zeros((len(starts) - 1, self.items.shape[1]), dtype=np.float32)
        filled = np.flatnonzero(np.diff(starts))
        if len(filled):
            wide = weights.astype(np.float64)
            sums = np.add.reduceat(wide[:, None] * self.items[items], starts[filled])
            out[filled] = sums / np.add.reduceat(wide, starts[filled])[:, None]
            out[filled, -1] = 1  # meets the items' bias, which is their last factor
        return out

    def with_items(self, items: Floats, changed: npt.NDArray[np.int64]) -> Factors:
        """Return factors with guesses for more items, or for a few others.

        Parameters
        ----------
        items
            ``float32 (n, f)``, at least as many as before.
        changed
            Numbers of the rows that are others than before or new, ``int64``, distinct.
        """
        searched = None if self.searched is None else self.searched.with_vectors(items, changed)
        known = np.zeros(0, dtype=np.int64) if self.guessed is None else self.guessed
        fitted = np.setdiff1d(changed[changed < len(self.items)], known)
        out = replace(self, items=items, searched=searched, guessed=np.union1d(known, changed))
        # What stays need not be added up again.
        before = self.items[fitted].astype(np.float64)
        object.__setattr__(out, "_gram", self._gram - before.T @ before)
        return out

    def save(self, writer: GenerationWriter) -> None:
        """Write the factors as ``collaborative/items.index``, for they are searched."""
        self.index.save(writer, ITEMS)
        if self.guessed is not None:
            writer.put_array(GUESSED, self.guessed)

    @classmethod
    def open(cls, generation: Generation, settings: CollaborativeSettings) -> Factors:
        """Return the factors of a generation."""
        index = VectorIndex.open(generation, ITEMS, unit=False, device="cpu")
        guessed = generation.array(GUESSED) if generation.has(GUESSED) else None
        return cls(index.vectors, settings, index, guessed)


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
