"""Everything stage one learned from the interactions, and the retriever made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.indexing.collaborative import Factors, fit_factors
from twofold.indexing.inner_products import products_at
from twofold.indexing.interactions import Interactions
from twofold.indexing.item_set import ItemSet
from twofold.indexing.neighbours import (
    cosine_neighbours,
    covisits,
    onward,
    transitions,
    trending,
)
from twofold.indexing.progress import Progress, Silent
from twofold.indexing.text_factors import TextToFactors
from twofold.indexing.tuning import IndexSettings, with_proposer
from twofold.indexing.vectors import VectorIndex
from twofold.retrieval.freshness import Arrivals, FreshItems
from twofold.retrieval.fusion import Fusion
from twofold.retrieval.habit_sources import Returns, habit_sources
from twofold.retrieval.queries import Queries, queries_of_users
from twofold.retrieval.relating import Table, add_between, table_of
from twofold.retrieval.retriever import Retriever
from twofold.retrieval.settings import StageOneSettings
from twofold.retrieval.sources import (
    Collaborative,
    Related,
    Source,
    TextProfile,
    TextQuery,
    Trending,
    View,
    profiles,
)

if TYPE_CHECKING:
    from twofold.indexing.artefact import Generation, GenerationWriter

Floats = npt.NDArray[np.float32]
# Numbers in all text vectors up to which looking at each takes a millisecond or two.
SCANNED = 1 << 24
SEARCHED = 1 << 12  # items from which on an index of factors may be worth trying
ASKED = 2000  # users that an index is tried with: half teach the effort, half test it
RELATIONS = ("neighbours", "followers", "covisits", "onward")


@dataclass(frozen=True)
class StageOne:
    """What was learned from interactions, with the items' vectors beside it.

    Parameters
    ----------
    factors
        Collaborative factors.
    neighbours, followers, covisits, onward
        Item-to-item cosines, directed transitions, visits in one session and transitions of two
        steps, ``float32 (n_items, n_items)``.
    popularity
        Time-decayed popularity, ``float32 (n_items,)``.
    index
        Text vectors of all items.
    settings
        How candidates are found.
    text_map
        Guesses an item's factor from its text; ``None`` where the build could not learn that.
    arrivals
        When the items came; ``None`` where the settings have no use for it.
    returns
        How items are taken again; ``None`` where they may not come back.
    """

    factors: Factors
    neighbours: sp.csr_matrix
    followers: sp.csr_matrix
    covisits: sp.csr_matrix
    onward: sp.csr_matrix
    popularity: Floats
    index: VectorIndex
    settings: StageOneSettings
    text_map: TextToFactors | None = None
    arrivals: Arrivals | None = None
    returns: Returns | None = None

    def retriever(
        self, fusion: Fusion, encode: Callable[[tuple[str, ...]], Floats] | None = None
    ) -> Retriever:
        """Return the retriever over these sources.

        Parameters
        ----------
        fusion
            The order of merged candidates.
        encode
            Turns free text queries into vectors; ``None`` where there is no encoder.
        """
        sources = self.sources()
        text = None if encode is None else TextQuery(self.index, encode)
        default = next(source for source in sources if source.name == "trending")
        return Retriever(sources, default, fusion, self.settings.per_source, text)

    def sources(self) -> tuple[Source, ...]:
        """Return the sources in their lasting order: features and source bits follow it."""
        fading = View(decay=self.settings.decay)
        out: list[Source] = [
            Collaborative(self.factors, View()),
            Related("neighbours", self.neighbours, fading),
            Related("neighbours_last", self.neighbours, View(last=1)),
            Related("neighbours_last_3", self.neighbours, View(last=3)),
            Related("transitions", self.followers, fading),
            Related("transitions_last", self.followers, View(last=1)),
            Related("transitions_onward", self.onward, fading),
            Related("covisits", self.covisits, fading),
            TextProfile("text", self.index, fading),
            TextProfile("text_last", self.index, View(last=1)),
            Trending(self.popularity),
        ]
        if self.returns is not None:
            out += habit_sources(
                self.returns,
                long=self.settings.habit_half_life_days,
                short=self.settings.lately_half_life_days,
            )
        fresh = self.settings.fresh_half_life_days
        if fresh is not None and self.arrivals is not None:
            out.append(FreshItems(self.index, self.arrivals, fresh, fading))
        return tuple(out)

    def relations(self) -> tuple[sp.csr_matrix, ...]:
        """Return the relations that are counted, in their lasting order, ``(n_items, n_items)``."""
        return self.neighbours, self.followers, self.covisits

    @cached_property
    def _tables(self) -> tuple[Table, ...]:
        return tuple(table_of(one) for one in self.relations())

    def similar(
        self, item: int, k: int, among: ItemSet | None = None
    ) -> tuple[npt.NDArray[np.int64], Floats]:
        """Return the `k` items most like one, by users and text alike, best first.

        The score is the mean of the neighbour cosine and the text cosine, each in [-1, 1].

        Parameters
        ----------
        item
            The item, never among its own likenesses.
        k
            How many, fewer where there are fewer.
        among
            Only items of this set; ``None`` for all.
        """
        start, end = self.neighbours.indptr[item : item + 2]
        near = self.neighbours.indices[start:end].astype(np.int64)
        vectors = self.index.vectors
        # Whoever is no neighbour comes in the order of texts; so many are enough whoever is.
        deep = min(k + len(near) + 1, len(vectors))
        told = self.index.search(vectors[item][None], deep, among=among)[1][0]
        kept = near if among is None else near[among.mask[near]]
        items = np.setdiff1d(np.concatenate([told[told >= 0], kept]), [item])
        cosines = np.zeros(len(items), dtype=np.float32)
        place = np.searchsorted(items, near)
        there = np.flatnonzero(np.append(items, -1)[place] == near)
        cosines[place[there]] = self.neighbours.data[start:end][there]
        scores = (products_at(vectors[item][None], vectors, items[None])[0] + cosines) / 2
        order = np.lexsort((items, -scores))[:k]
        return items[order], scores[order].astype(np.float32)

    def spoke_most(
        self, queries: Queries, items: npt.NDArray[np.int64], n: int
    ) -> npt.NDArray[np.int64]:
        """Return the history items that speak most for each of `items` in the first query.

        By the items' relations and their text cosine, each weighted by the history's decay.

        Parameters
        ----------
        queries
            The query.
        items
            Items that it was recommended, ``int64 (m,)``.
        n
            How many speakers an item.

        Returns
        -------
        numpy.ndarray
            Best first, ``int64 (m, at most n)``.
        """
        history = queries.items[queries.indptr[0] : queries.indptr[1]]
        vectors = self.index.vectors
        weight = np.power(self.settings.decay, np.arange(len(history))[::-1])
        alike = np.maximum(vectors[history] @ vectors[items].T, 0)
        for table in self._tables:
            add_between(table, history, items, len(vectors), alike)
        order = np.argsort(-(weight[:, None] * alike), axis=0, kind="stable")[:n]
        return np.asarray(history[order].T)

    def save(self, writer: GenerationWriter) -> None:
        """Write everything but the vector index, which is a stage of its own."""
        self.factors.save(writer)
        if self.text_map is not None:
            self.text_map.save(writer)
        for name, matrix in zip(RELATIONS, (*self.relations(), self.onward), strict=True):
            for part in ("data", "indices", "indptr"):
                writer.put_array(f"relations/{name}/{part}", getattr(matrix, part))
        writer.put_array("relations/popularity", self.popularity)
        if self.arrivals is not None:
            self.arrivals.save(writer)
        if self.returns is not None:
            self.returns.save(writer)

    @classmethod
    def open(
        cls, generation: Generation, index: VectorIndex, settings: StageOneSettings
    ) -> StageOne:
        """Return what a generation holds; its arrays are memory-mapped."""
        n = len(index)

        def matrix(name: str) -> sp.csr_matrix:
            parts = (
                generation.array(f"relations/{name}/{p}") for p in ("data", "indices", "indptr")
            )
            return sp.csr_matrix(tuple(parts), shape=(n, n), copy=False)

        return cls(
            Factors.open(generation, settings.collaborative),
            matrix("neighbours"),
            matrix("followers"),
            matrix("covisits"),
            matrix("onward"),
            np.asarray(generation.array("relations/popularity")),
            index,
            settings,
            TextToFactors.open(generation),
            None if settings.fresh_half_life_days is None else Arrivals.open(generation),
            Returns.open(generation) if settings.repeat else None,
        )


def fit_stage_one(
    log: Interactions,
    index: VectorIndex,
    settings: StageOneSettings,
    *,
    has_times: bool,
    dates: npt.NDArray[np.int64] | None = None,
    search: IndexSettings | None = None,
    seed: int = 0,
    threads: int = 1,
    progress: Progress | None = None,
) -> StageOne:
    """Return what `log` teaches.

    Parameters
    ----------
    log
        All that may be known.
    index
        Text vectors of all items.
    settings
        How candidates are found.
    has_times
        Whether the log's times are real.
    dates
        When the items came, as of :func:`twofold.retrieval.freshness.dates_of`.
    search
        How factors are searched in large catalogues; ``None`` for the defaults.
    seed, threads
        For the factor model and its index; 1 thread gives the same bits every time.
    progress
        Told of the steps.

    Raises
    ------
    SettingsError
        If fresh items are asked for, and nothing says when items came.
    """
    progress = progress or Silent()
    arrivals = None
    if settings.fresh_half_life_days is not None:
        arrivals = Arrivals.of(log, dates, has_times=has_times)
    matrix = log.matrix()
    factors = fit_factors(
        matrix, settings.collaborative, seed=seed, threads=threads, progress=progress
    )
    with progress.step("Reading factors from texts"):
        text_map = TextToFactors.fit(index.vectors, factors, matrix, seed=seed, threads=threads)
        if text_map is not None and settings.collaborative.predict_cold:
            # An item that was only disliked or looked at is not new: its zero says something.
            new = np.bincount(log.items, minlength=log.n_items) == 0
            cold = np.flatnonzero(new & index.vectors.any(axis=1))
            factors = factors.with_guesses(cold, text_map.predict(index.vectors[cold]))
    if log.n_items > SEARCHED:
        some = users_to_ask(log, settings.max_history, seed)
        index_of_factors = with_proposer(
            factors.index,
            factors.fold_in(View().matrix(some)),
            search or IndexSettings(),
            seed=seed,
            threads=threads,
            progress=progress,
        )
        factors = replace(factors, searched=index_of_factors)
    returns = Returns.of(log, has_times=has_times) if settings.repeat else None
    with progress.step("Relating items"):
        related = settings.neighbours
        neighbours = cosine_neighbours(matrix, related, threads=threads)
        followers = transitions(log, related, threads=threads)
        visits = covisits(log, related, has_times=has_times)
        further = onward(followers, related, threads=threads)
        relations = (neighbours, followers, visits, further)
        popularity = trending(log, related, has_times=has_times)
    return StageOne(factors, *relations, popularity, index, settings, text_map, arrivals, returns)


def users_to_ask(log: Interactions, max_history: int, seed: int) -> Queries:
    """Return the queries of some users, to try an index with."""
    known = np.unique(log.users)
    some = np.random.default_rng(seed).permutation(known)[:ASKED]
    return queries_of_users(log, np.sort(some), max_history=max_history)


def texts_to_ask(
    log: Interactions, vectors: Floats, settings: StageOneSettings, seed: int
) -> Floats:
    """Return what the index of texts will be asked for, half users' histories and half last items.

    Unit vectors, ``float32 (n, d)``; no rows where no item has a text.
    """
    fading, last = profiles(
        vectors,
        (View(decay=settings.decay), View(last=1)),
        users_to_ask(log, settings.max_history, seed),
    )
    asked = np.concatenate([fading[::2], last[1::2]])
    return asked[asked.any(axis=1)]
