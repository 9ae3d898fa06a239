"""What lists are measured against besides the truth: popularity, vectors, histories, lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.evaluation.exposure import diversity, mean_popularity, novelty, popularity_lift
from twofold.evaluation.held_out import history_popularity
from twofold.evaluation.opponents import popularity_ranking
from twofold.indexing.errors import InputError
from twofold.indexing.interactions import Interactions
from twofold.retrieval.candidates import Candidates

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Surroundings:
    """What is known of the items and users of lists; metrics whose part is ``None`` are left out.

    Parameters
    ----------
    popularity
        Training interactions of each item, ``(n_items,)``: novelty, popularity, coverage and Gini.
    vectors
        One vector an item, zeros where there is none, ``float32 (n_items, d)``: diversity.
    history_popularity
        Mean popularity of the items of each user's history, NaN without one, ``float64 (n_users,)``
        as :func:`twofold.evaluation.held_out.history_popularity` returns it: popularity lift.
    primitive
        Lists of a primitive recommender for the same users, longer than the largest ``k``:
        serendipity.

    Raises
    ------
    InputError
        If there are not as many vectors as items, or users of two numbers.
    """

    popularity: npt.NDArray[np.number]
    vectors: npt.NDArray[np.float32] | None = None
    history_popularity: Floats | None = None
    primitive: Candidates | None = None

    def __post_init__(self) -> None:
        if self.vectors is not None and len(self.vectors) != self.n_items:
            raise InputError(
                f"Surroundings: a vector for each of {self.n_items} items was expected, got "
                f"{len(self.vectors)}"
            )
        if len(set(self._n_users())) > 1:
            raise InputError(
                "Surroundings: history_popularity and primitive must be of the same users, got "
                f"{' and '.join(map(str, self._n_users()))}"
            )

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.popularity)

    @classmethod
    def of_known(
        cls,
        known: Interactions,
        users: Int64s,
        excluded: sp.csr_matrix,
        vectors: npt.NDArray[np.float32] | None,
        depth: int,
    ) -> Surroundings:
        """Return what is known at test: items are as popular as they have known labels.

        Parameters
        ----------
        known
            What may be known at test.
        users
            Users in the order of the lists, ``int64 (n_users,)``.
        excluded
            Items that must not come back to them, ``(n_users, n_items)``; the primitive lists are
            the most popular of the others.
        vectors
            One vector an item, ``float32 (n_items, d)``, or ``None``.
        depth
            Length of the primitive lists.
        """
        popularity = np.bincount(known.items[known.labels], minlength=known.n_items)
        return cls(
            popularity=popularity,
            vectors=vectors,
            history_popularity=history_popularity(known, users, popularity),
            primitive=popularity_ranking(popularity, excluded, depth),
        )

    def check(self, n_users: int) -> None:
        """Refuse lists of another number of users.

        Raises
        ------
        InputError
            If what is known of users is not of `n_users`.
        """
        wrong = [one for one in self._n_users() if one != n_users]
        if wrong:
            raise InputError(f"Surroundings of {wrong[0]} users came with {n_users} users")

    def exposures(self, items: Int64s, ks: Sequence[int]) -> dict[str, Floats]:
        """Return every metric of :mod:`twofold.evaluation.exposure` that is one value a user.

        Parameters
        ----------
        items
            Lists of all users, best first, -1 for padding, ``int64 (n_users, m)``.
        ks
            Lengths of lists.
        """
        out = {}
        for k in ks:
            out[f"novelty@{k}"] = novelty(items, k, self.popularity)
            out[f"popularity@{k}"] = mean_popularity(items, k, self.popularity)
            if self.history_popularity is not None:
                out[f"popularity_lift@{k}"] = popularity_lift(
                    items, k, self.popularity, self.history_popularity
                )
            if self.vectors is not None:
                out[f"diversity@{k}"] = diversity(items, k, self.vectors)
        return out

    def _n_users(self) -> list[int]:
        """Return the number of users of each part that knows users."""
        counts = [] if self.history_popularity is None else [len(self.history_popularity)]
        return counts if self.primitive is None else [*counts, self.primitive.n_queries]
