"""The engine: an artefact opened for serving."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.indexing.artefact import open_artefact
from twofold.indexing.dataset import Dataset
from twofold.indexing.errors import InputError, TwofoldError
from twofold.indexing.event_values import read_values
from twofold.indexing.progress import Progress
from twofold.indexing.vectors import VectorIndex
from twofold.query_encoder import QueryEncoder
from twofold.ranking.ranker import Ranker
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.fusion import Fusion
from twofold.retrieval.queries import Queries, queries_of_users
from twofold.retrieval.stage_one import StageOne
from twofold.settings_file import from_values

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from twofold.indexing.generation import Generation
    from twofold.settings import Settings

N_REASONS = 3


class EngineError(TwofoldError):
    """An engine that is closed, or used in another process than it was loaded in."""


@dataclass(frozen=True)
class Recommendation:
    """One recommended item.

    Parameters
    ----------
    item_id
        The item.
    score
        The logit of the ranker, or stage one's score where there is nothing to rerank by; higher is
        better.
    probability
        The chance that the user's next interactions hold this item, given that stage one proposed
        it; ``None`` where the ranker knows no history of the user, or there is no ranker.
    rank
        From 1.
    sources
        Names of the sources that proposed the item.
    reasons
        Ids of the user's own items that spoke for it most, the strongest first.
    """

    item_id: str
    score: float
    probability: float | None
    rank: int
    sources: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the recommendation as JSON values."""
        return asdict(self)


class Engine:
    """Recommends from an artefact; may be shared by threads.

    Made by :meth:`load`. It keeps the generation that it opened, whatever is built later. It
    changes no setting of the process, and works only in the process that loaded it: after a fork
    every call raises, because the threads of the numeric libraries do not survive one.

    Parameters
    ----------
    generation
        The opened generation.
    settings
        What it was built with.
    threads
        How many requests are computed at once; further ones wait their turn.
    """

    def __init__(self, generation: Generation, settings: Settings, threads: int) -> None:
        self._generation, self.settings = generation, settings
        self._dataset = Dataset.open(generation)
        index = VectorIndex.open(generation)
        self._stage_one = StageOne.open(generation, index, settings.stage_one)
        fusion = Fusion.from_dict(generation.json("fusion"))
        encode = QueryEncoder(generation, settings.text)
        self._retriever = self._stage_one.retriever(fusion, encode)
        self._ranker: Ranker | None = None
        if generation.has("ranker/model.json"):
            relations = self._stage_one.relations()
            self._ranker = Ranker.open(generation, index.vectors, relations, settings.ranker)
        self._users = queries_of_users(
            self._dataset.interactions,
            np.arange(len(self._dataset.users)),
            max_history=settings.stage_one.max_history,
            repeat=settings.stage_one.repeat,
        )
        self._turns = threading.BoundedSemaphore(threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="twofold")
        self._process, self._closed = os.getpid(), False

    @classmethod
    def load(cls, path: str | Path, *, threads: int | None = None) -> Engine:
        """Return the engine over the current generation of an artefact.

        Parameters
        ----------
        path
            Folder of the artefact.
        threads
            How many requests are computed at once; ``None`` takes the cores of this process. Each
            request may itself use the threads that torch is set to.

        Raises
        ------
        ArtefactError
            If the artefact is missing, unfinished, damaged or of another format.
        InputError
            If `threads` is below 1.
        """
        from twofold.settings import Settings

        if threads is not None and threads < 1:
            raise InputError(f"threads must be at least 1, not {threads}")
        generation = open_artefact(path)
        settings = from_values(Settings, generation.manifest["settings"])
        return cls(generation, settings, threads or len(os.sched_getaffinity(0)))

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the artefact; later calls raise. Closing twice is fine."""
        self._closed = True
        self._pool.shutdown(wait=True)

    @property
    def user_ids(self) -> tuple[str, ...]:
        """All users of the build."""
        return self._dataset.users.ids

    @property
    def items(self) -> pl.DataFrame:
        """The items with their attributes, first column ``item_id``."""
        return self._dataset.table

    def text(self, item: str) -> str:
        """Return the text of an item.

        Raises
        ------
        UnknownIdError
            If the item is unknown.
        """
        return self._dataset.texts[self._dataset.items.number(item)]

    def recommend(self, user: str, k: int = 10) -> list[Recommendation]:
        """Return the best `k` items for a user, fewer where there are not so many.

        A user that the build never saw gets what trends.

        Raises
        ------
        InputError
            If `k` is below 1.
        """
        return self._answer(self._of_user(user), k)

    async def arecommend(self, user: str, k: int = 10) -> list[Recommendation]:
        """Return what :meth:`recommend` does, without blocking the event loop."""
        # A pool takes nothing after its end, and a forked one never answers: say so instead.
        self._check()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self.recommend, user, k)

    def recommend_for(
        self, events: Sequence[tuple[str, float]], k: int = 10
    ) -> list[Recommendation]:
        """Return the best `k` items for somebody known by a few events alone.

        Parameters
        ----------
        events
            ``(item_id, rating or weight)``, oldest first, read by the rules of the build's data.
        k
            Length of the list.

        Raises
        ------
        UnknownIdError
            If an item is unknown.
        InputError
            If a weight is not a finite number, or `k` is below 1.
        """
        items = self._dataset.items.encode([item for item, _ in events])
        weights = np.array([weight for _, weight in events], dtype=np.float32)
        if not np.isfinite(weights).all():
            raise InputError("weights of events must be finite numbers")
        return self._answer(self._of_events(items, weights), k)

    def search(self, text: str, k: int = 10) -> list[Recommendation]:
        """Return the best `k` items for a free text.

        Raises
        ------
        InputError
            If the text is empty, or the artefact's vectors were brought and no model made them.
        """
        if not text.strip():
            raise InputError("search needs a text; this one is empty")
        nobody = self._of_events(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
        return self._answer(replace(nobody, texts=(text,)), k)

    def similar_items(self, item: str, k: int = 10) -> list[Recommendation]:
        """Return the `k` items most like one, by users and text.

        Raises
        ------
        UnknownIdError
            If the item is unknown.
        """
        _at_least_one(k)
        with self._turn():
            items, scores = self._stage_one.similar(self._dataset.items.number(item), k)
        ids = self._dataset.items.decode(items)
        return [
            Recommendation(one, float(score), None, place)
            for place, (one, score) in enumerate(zip(ids, scores, strict=True), start=1)
        ]

    def retrieve(self, user: str, k: int = 100) -> list[Recommendation]:
        """Return stage one's best `k` candidates for a user, before reranking."""
        _at_least_one(k)
        queries = self._of_user(user)
        with self._turn():
            candidates = self._retriever.retrieve(queries, k)
        return self._named(queries, candidates, None)

    def recommend_batch(
        self,
        users: Sequence[str] | None = None,
        k: int = 10,
        *,
        progress: Progress | None = None,
    ) -> pl.DataFrame:
        """Return recommendations of many users, ``user_id, item_id, score, probability, rank``.

        Parameters
        ----------
        users
            Users of the build; ``None`` takes all.
        k
            Length of the lists.
        progress
            Told of every chunk.

        Raises
        ------
        UnknownIdError
            If a user is unknown.
        """
        import polars as pl

        _at_least_one(k)
        known = self._dataset.users
        numbers = np.arange(len(known)) if users is None else known.encode(users)
        with self._turn():
            queries = self._users.take(numbers)
            candidates, probabilities = self._rank(queries, k, progress)
        rows, columns = np.nonzero(candidates.items >= 0)
        out = {
            "user_id": known.decode(numbers[rows]),
            "item_id": self._dataset.items.decode(candidates.items[rows, columns]),
            "score": candidates.scores[rows, columns],
            "probability": probabilities[rows, columns],
            "rank": columns + 1,
        }
        return pl.DataFrame(out).with_columns(pl.col("probability").fill_nan(None))

    def _answer(self, queries: Queries, k: int) -> list[Recommendation]:
        _at_least_one(k)
        with self._turn():
            candidates, probabilities = self._rank(queries, k, None)
            return self._named(queries, candidates, probabilities)

    def _rank(
        self, queries: Queries, k: int, progress: Progress | None
    ) -> tuple[Candidates, npt.NDArray[np.float32]]:
        width = max(k, self.settings.ranker.rerank)
        found = self._retriever.retrieve(queries, width, progress=progress)
        if self._ranker is None:
            top = found.top(k)
            return top, np.full(top.scores.shape, np.nan, dtype=np.float32)
        ranked = self._ranker.rerank(queries, found, k, progress=progress)
        return ranked, self._ranker.probabilities(queries, ranked.scores)

    def _named(
        self,
        queries: Queries,
        candidates: Candidates,
        probabilities: npt.NDArray[np.float32] | None,
    ) -> list[Recommendation]:
        names, items = self._retriever.source_names, self._dataset.items
        out = []
        for place in range(int(candidates.lengths()[0])):
            item = int(candidates.items[0, place])
            bits = 0 if candidates.sources is None else int(candidates.sources[0, place])
            chance = np.nan if probabilities is None else float(probabilities[0, place])
            reasons = self._stage_one.spoke_most(queries, item, N_REASONS)
            out.append(
                Recommendation(
                    item_id=items.ids[item],
                    score=float(candidates.scores[0, place]),
                    probability=None if np.isnan(chance) else chance,
                    rank=place + 1,
                    sources=tuple(name for bit, name in enumerate(names) if bits >> bit & 1),
                    reasons=tuple(items.decode(reasons)),
                )
            )
        return out

    def _of_user(self, user: str) -> Queries:
        if user in self._dataset.users:
            return self._users.take(np.array([self._dataset.users.number(user)]))
        return self._of_events(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))

    def _of_events(self, items: npt.NDArray[np.int64], values: npt.NDArray[np.float32]) -> Queries:
        """Return the query of events given at the call, read as the build's rows were."""
        rules = self.settings.data.events
        kinds, weights, signs = read_values(values, self._dataset.kinds, rules)
        # Each item once, at its latest event; a dislike takes it out and keeps it excluded.
        _, from_end = np.unique(items[::-1], return_index=True)
        latest = np.sort(len(items) - 1 - from_end)
        kept = latest[signs[latest] > 0][-self.settings.stage_one.max_history :]
        banned = latest[signs[latest] < 0] if self.settings.stage_one.repeat else latest
        n_items = len(self._dataset.items)
        row = np.zeros(len(banned), dtype=np.int64)
        excluded = sp.csr_matrix(
            (np.ones(len(banned), dtype=bool), (row, items[banned])), shape=(1, n_items)
        )
        return Queries(
            users=np.array([-1]),
            indptr=np.array([0, len(kept)]),
            items=items[kept],
            kinds=kinds[kept],
            weights=weights[kept],
            times=np.zeros(len(kept), dtype=np.int64),
            steps=np.arange(len(kept), dtype=np.int32),
            excluded=excluded,
        )

    def _check(self) -> None:
        if self._process != os.getpid():
            raise EngineError(
                f"this engine was loaded in process {self._process} and is used in {os.getpid()} "
                "after a fork; call Engine.load in each worker"
            )
        if self._closed:
            raise EngineError("this engine is closed; load it again with Engine.load")

    @contextmanager
    def _turn(self) -> Iterator[None]:
        self._check()
        with self._turns:
            yield


def _at_least_one(k: int) -> None:
    if k < 1:
        raise InputError(f"k must be at least 1, not {k}")
