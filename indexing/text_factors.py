"""Collaborative factors guessed from texts, for items that nobody has touched yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from twofold.indexing.collaborative import Factors
from twofold.indexing.errors import InputError

if TYPE_CHECKING:
    from twofold.indexing.artefact import Generation, GenerationWriter

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
NAME = "collaborative/text-map"  # in an artefact
ANCHORS = 512  # texts whose likeness the curved map reads
PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03)  # shares of the mean diagonal
# An item that n users took counts n / (n + HALF_KNOWN): the more, the better its factor is known.
HALF_KNOWN = 1.0
LEAST_ITEMS = 40
MOST_ITEMS = 50_000
HELD_SHARE, MOST_HELD, MOST_USERS = 0.1, 2_000, 2_000
FOUND = 0.1  # share of the held-out items among which users are to find theirs
ROWS = 1 << 13  # items that are worked on at a time


@dataclass(frozen=True)
class TextToFactors:
    """A map from text vectors to item factors, a ridge regression learned on items with users.

    ``(x - mean, k(x, anchors)) @ weights + offset`` with the Gaussian kernel ``k(x, a) =
    exp(-|x - a|^2 / width)``; without anchors it is linear.

    Parameters
    ----------
    mean
        Mean of the text vectors that it was learned from, ``float32 (d,)``.
    anchors
        Texts whose likeness is read, ``float32 (m, d)``; no rows for the linear map.
    width
        Of the kernel, above 0.
    weights
        ``float32 (d + m, f)``.
    offset
        ``float32 (f,)``.
    about
        What was tried and how good it was: JSON values.
    """

    mean: Floats
    anchors: Floats
    width: float
    weights: Floats
    offset: Floats
    about: Mapping[str, Any]

    def __post_init__(self) -> None:
        d, f = self.mean.shape[0], self.offset.shape[0]
        if self.anchors.shape[1:] != (d,) or self.weights.shape != (d + len(self.anchors), f):
            raise InputError(
                f"a map of {d} numbers of a text to {f} factors needs anchors (m, {d}) and weights "
                f"(m + {d}, {f}), not {self.anchors.shape} and {self.weights.shape}"
            )

    def predict(self, vectors: Floats) -> Floats:
        """Return the factors that items with such texts are likely to have, ``float32 (n, f)``.

        They are comparable with the factors of other items, in direction and in length. A vector of
        zeros, an item without a text, gets zeros. No row depends on others.

        Parameters
        ----------
        vectors
            Text vectors of length 1, or 0, ``float32 (n, d)``.

        Raises
        ------
        InputError
            If the vectors have another dimension.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.mean):
            raise InputError(
                f"vectors have shape {vectors.shape}; this map was learned from texts of dimension "
                f"{len(self.mean)}: give (n, {len(self.mean)})"
            )
        out = np.zeros((len(vectors), len(self.offset)), dtype=np.float32)
        features, turned = _Features(self.mean, self.anchors, self.width), self.weights.T.copy()
        told = np.flatnonzero(vectors.any(axis=1))
        for start in range(0, len(told), ROWS):
            some = told[start : start + ROWS]
            read = features.one_by_one(vectors[some])
            out[some] = np.vecdot(read[:, None], turned[None]) + self.offset
        return out

    @classmethod
    def fit(
        cls,
        vectors: Floats,
        factors: Factors,
        matrix: sp.csr_matrix,
        *,
        seed: int = 0,
        threads: int = 1,
    ) -> TextToFactors | None:
        """Return the map learned from a build's items; see :func:`fit_text_factors`."""
        return fit_text_factors(vectors, factors, matrix, seed=seed, threads=threads)

    def save(self, writer: GenerationWriter) -> None:
        """Write the map under ``collaborative/text-map``."""
        for name in ("mean", "anchors", "weights", "offset"):
            writer.put_array(f"{NAME}/{name}", getattr(self, name))
        writer.put_json(f"{NAME}/about", {"width": self.width, **self.about})

    @classmethod
    def open(cls, generation: Generation) -> TextToFactors | None:
        """Return the map of a generation, ``None`` where its build learned none."""
        if not generation.has(f"{NAME}/about"):
            return None
        about = dict(generation.json(f"{NAME}/about"))
        parts = ("mean", "anchors", "weights", "offset")
        mean, anchors, weights, offset = (generation.array(f"{NAME}/{name}") for name in parts)
        return cls(mean, anchors, about.pop("width"), weights, offset, about)


def fit_text_factors(
    vectors: Floats, factors: Factors, matrix: sp.csr_matrix, *, seed: int = 0, threads: int = 1
) -> TextToFactors | None:
    """Return the map from text vectors to factors, ``None`` where nothing can be learned.

    A tenth of the items with users and a text is held out of the regressions. Each penalty, with
    and without anchors, is tried by how many of these items their users find in the first tenth of
    all held-out items, ordered by guessed factors, each user folded in from the rest of the
    history. The best is learned again on all items. Its guesses are made longer or shorter by what
    fits the held-out factors best in the least squares, every item counting alike: a new item then
    competes as the mean of items with such texts would.

    Parameters
    ----------
    vectors
        Text vectors of all items, ``float32 (n_items, d)``, zero where there is no text.
    factors
        The items' factors.
    matrix
        What they were fitted on, ``float32 (n_users, n_items)``.
    seed
        Which items are held out, which users ask, which texts are anchors.
    threads
        Cores to use, 0 for all; 1 gives the same bits every time.
    """
    rng = np.random.default_rng(seed)
    counts = np.bincount(matrix.indices, minlength=matrix.shape[1])
    known = np.flatnonzero((counts > 0) & vectors.any(axis=1) & factors.items.any(axis=1))
    if len(known) < LEAST_ITEMS:
        return None
    known = rng.permutation(known)[:MOST_ITEMS]
    held, rest = np.split(known, [min(MOST_HELD, int(HELD_SHARE * len(known)))])
    judge = _Judge.of(factors, matrix, held, rng)
    if judge is None:
        return None
    anchors = vectors[rest[:ANCHORS]]
    sure = counts / (counts + HALF_KNOWN)
    with threadpool_limits(threads or None, "blas"):
        trials = list(_tried(vectors, factors.items, sure, judge, rest, anchors))
        best = max(trials, key=lambda trial: trial["recall"])
        if not (best["recall"] > 0 and best["length"] > 0):
            return None
        chosen = anchors[: best["anchors"]]
        regression = _Regression.of(vectors, factors.items, sure, known, chosen)
        weights, offset = regression.solved(best["penalty"])
    return TextToFactors(
        mean=regression.features.mean,
        anchors=chosen,
        width=regression.features.width,
        weights=(best["length"] * weights).astype(np.float32),
        offset=(best["length"] * offset).astype(np.float32),
        about={"chosen": best, "trials": trials, "n_items": len(known), "n_held": len(held)},
    )


def _tried(
    vectors: Floats,
    targets: Floats,
    sure: Doubles,
    judge: _Judge,
    rest: Int64s,
    anchors: Floats,
) -> Iterator[dict[str, Any]]:
    """Yield how good each map is on held-out items, the plainest first."""
    for some in (anchors[:0], anchors):
        regression = _Regression.of(vectors, targets, sure, rest, some)
        read, wanted = regression.features.of(vectors[judge.items]), targets[judge.items]
        for penalty in PENALTIES:
            weights, offset = regression.solved(penalty)
            guessed = read @ weights + offset
            squares = float(np.sum(guessed * guessed))
            length = float(np.sum(guessed * wanted)) / squares if squares > 0 else 0.0
            gap = float(np.sum(np.square(length * guessed - wanted)))
            yield {
                "anchors": len(some),
                "penalty": penalty,
                "length": length,
                "explained": 1 - gap / float(np.sum(np.square(wanted))),
                "recall": judge.recall(guessed),
            }


@dataclass(frozen=True)
class _Features:
    """What the regression reads of a text; parameters as of :class:`TextToFactors`."""

    mean: Floats
    anchors: Floats
    width: float

    def of(self, vectors: Floats) -> Doubles:
        """Return the features of texts, ``float64 (n, d + m)``."""
        return self._joined(vectors, vectors @ self.anchors.T)

    def one_by_one(self, vectors: Floats) -> Doubles:
        """Return the same, each added up in an order that does not depend on its company."""
        return self._joined(vectors, np.vecdot(vectors[:, None], self.anchors[None]))

    def _joined(self, vectors: Floats, products: Floats) -> Doubles:
        squares = np.vecdot(vectors, vectors)[:, None] + np.vecdot(self.anchors, self.anchors)
        likeness = np.exp((2 * products - squares).astype(np.float64) / self.width)
        return np.hstack([vectors - self.mean, likeness])


@dataclass(frozen=True)
class _Regression:
    """The sums that a weighted ridge regression is solved from.

    With features ``X`` and factors ``Y``, both centred, and weights ``w`` of sum 1 it minimises
    ``sum(w |Y - XB|^2) + penalty * mean(diag(X'wX)) * |B|^2``. `gram` is ``X'wX``, `crossed`
    ``X'wY``, `middle` and `target` are the weighted means.
    """

    features: _Features
    gram: Doubles
    crossed: Doubles
    middle: Doubles
    target: Doubles

    @classmethod
    def of(
        cls, vectors: Floats, targets: Floats, sure: Doubles, items: Int64s, anchors: Floats
    ) -> _Regression:
        """Return the sums over items; `sure` tells what each item of all counts."""
        mean: Floats = (vectors[items].sum(axis=0, dtype=np.float64) / len(items)).astype(
            np.float32
        )
        # The mean squared distance of a text from the mean one: neither all alike nor each alone.
        width = float(np.mean(np.square(vectors[items] - mean), dtype=np.float64)) * len(mean)
        features = _Features(mean, anchors, max(width, 1e-6))
        weights = sure[items] / sure[items].sum()
        size, n_factors = len(mean) + len(anchors), targets.shape[1]
        gram, crossed = np.zeros((size, size)), np.zeros((size, n_factors))
        middle, target = np.zeros(size), np.zeros(n_factors)
        for start in range(0, len(items), ROWS):
            part, share = items[start : start + ROWS], weights[start : start + ROWS]
            read, wanted = features.of(vectors[part]), targets[part].astype(np.float64)
            weighed = (read * share[:, None]).T
            gram += weighed @ read
            crossed += weighed @ wanted
            middle += share @ read
            target += share @ wanted
        gram -= np.outer(middle, middle)
        crossed -= np.outer(middle, target)
        return cls(features, gram, crossed, middle, target)

    def solved(self, penalty: float) -> tuple[Doubles, Doubles]:
        """Return weights and offset under a penalty."""
        # Where all texts are alike there is nothing to read from them, and the offset says it all.
        ridge = max(penalty * float(np.mean(np.diag(self.gram))), 1e-9)
        found = np.linalg.solve(self.gram + ridge * np.eye(len(self.gram)), self.crossed)
        weights: Doubles = found.astype(np.float64)
        return weights, self.target - self.middle @ weights


@dataclass(frozen=True)
class _Judge:
    """Users who took held-out items, known by the rest of what they took.

    Parameters
    ----------
    items
        The held-out items, ``int64 (h,)``.
    users
        User factors from histories without them, ``float32 (n, f)``.
    taken
        Which user took which of them, row and place, ``int64 (2, p)``.
    """

    items: Int64s
    users: Floats
    taken: Int64s

    @classmethod
    def of(
        cls, factors: Factors, matrix: sp.csr_matrix, held: Int64s, rng: np.random.Generator
    ) -> _Judge | None:
        """Return the judge; ``None`` where nobody who took a held-out item took another."""
        out = np.zeros(matrix.shape[1], dtype=bool)
        out[held] = True
        sums = np.concatenate([[0], np.cumsum(out[matrix.indices])])[matrix.indptr]
        asking = np.flatnonzero((np.diff(sums) > 0) & (np.diff(sums) < np.diff(matrix.indptr)))
        if not len(asking):
            return None
        some = matrix[np.sort(rng.permutation(asking)[:MOST_USERS])]
        known = some.copy()
        known.data[out[known.indices]] = 0
        known.eliminate_zeros()
        return cls(held, factors.fold_in(known), np.stack(some[:, held].nonzero()).astype(np.int64))

    def recall(self, guessed: Doubles) -> float:
        """Return the share of pairs whose item is among the user's best; a tie at the end is not.

        Parameters
        ----------
        guessed
            Factors of the held-out items, ``float64 (h, f)``.
        """
        scores = self.users @ guessed.T.astype(np.float32)
        depth = max(1, int(FOUND * len(self.items)))
        bars = -np.partition(-scores, depth, axis=1)[:, depth]
        rows, places = self.taken
        return float(np.mean(scores[rows, places] > bars[rows]))
