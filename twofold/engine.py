"""The engine: an artefact opened for serving."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from twofold.batching import Batcher
from twofold.indexing.artefact import open_artefact
from twofold.indexing.errors import InputError
from twofold.indexing.progress import Progress, Silent
from twofold.indexing.tracing import UNTRACED, Tracer
from twofold.indexing.vectors import Device
from twofold.moving import EngineError
from twofold.opened import Opened, answers_of
from twofold.recommendation import Recommendation, Recommendations
from twofold.retrieval.queries import Queries
from twofold.rules import Rules
from twofold.serving import Asked, Stages, at_least_one, deadline_in, usual_places
from twofold.settings_file import from_values
from twofold.updating import Updating

__all__ = ["Engine", "EngineError"]

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from twofold.indexing.generation import Generation
    from twofold.settings import Settings

# Beyond some dozen, computing requests together gains nothing more, and the first would wait long.
MOST_TOGETHER = 16


class Engine(Updating):
    """Recommends from an artefact; may be shared by threads.

    Made by :meth:`load`. It keeps the generation that it opened, whatever is built later, until
    :meth:`refresh` is called. It changes no setting of the process, and works only in the process
    that loaded it: after a fork every call raises, because the threads of the numeric libraries do
    not survive one.

    Parameters
    ----------
    generation
        The opened generation.
    settings
        What it was built with.
    threads
        How many batches of requests are computed at once. Requests that find all at work wait, and
        are then computed together.
    runtime
        Name of a runtime of the ranker, or ``"auto"``.
    device
        Where vectors are searched.
    tracer
        As in :meth:`load`.
    """

    def __init__(
        self,
        generation: Generation,
        settings: Settings,
        threads: int,
        runtime: str = "auto",
        device: Device = "auto",
        tracer: Tracer = UNTRACED,
    ) -> None:
        super().__init__(generation, settings, runtime, device, tracer)
        self._batcher: Batcher[tuple[Opened, Asked], Recommendations] = Batcher(
            answers_of, places=threads, most=MOST_TOGETHER
        )
        # More than the places, so that requests of one event loop meet.
        self._pool = ThreadPoolExecutor(threads + MOST_TOGETHER, thread_name_prefix="twofold")

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        threads: int | None = None,
        runtime: str = "auto",
        device: Device = "auto",
        tracer: Tracer = UNTRACED,
    ) -> Engine:
        """Return the engine over the current generation of an artefact.

        Parameters
        ----------
        path
            Folder of the artefact.
        threads
            How many batches of requests are computed at once. Each may itself use the threads that
            torch is set to, so ``None`` takes the cores of this process divided by those.
        runtime
            How the ranker computes: ``"float32"``, ``"bfloat16"``, ``"int8"``, ``"cuda"`` (half
            precision on a GPU), or ``"auto"`` for the fastest whose scores are sound, measured
            when an artefact is first loaded on a machine (about a second) and remembered.
        device
            Where vectors are searched: ``"auto"`` takes a GPU where FAISS sees one, ``"cuda"``
            insists on it, ``"cpu"`` never does, nor reranks there unless `runtime` says so.
        tracer
            Told when the parts of each request begin and end, for who wants to know where time
            goes. Requests that are computed together are told of once, in the thread of one.

        Raises
        ------
        ArtefactError
            If the artefact is missing, unfinished, damaged or of another format.
        InputError
            If `threads` is below 1, or there is no such runtime or device.
        MissingDependencyError
            If `device` is ``"cuda"`` and FAISS sees no GPU, or `runtime` is and torch sees none;
            `twofold doctor` says why.
        """
        from twofold.settings import Settings

        if threads is not None and threads < 1:
            raise InputError(f"threads must be at least 1, not {threads}")
        generation = open_artefact(path)
        settings = from_values(Settings, generation.manifest["settings"])
        return cls(generation, settings, threads or usual_places(), runtime, device, tracer)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the artefact; later calls raise. Closing twice is fine."""
        with self._turning:
            self._closed = True
            self._pool.shutdown(wait=True)
            self._shift.relieve()

    @property
    def user_ids(self) -> tuple[str, ...]:
        """All users of the build."""
        return self._now().dataset.users.ids

    @property
    def items(self) -> pl.DataFrame:
        """The items there are now with their attributes, first column ``item_id``."""
        return self._now().catalogue.offered()

    @property
    def stages(self) -> Stages:
        """Both stages by themselves, for who wants to measure or to combine them in another way.

        They are as of this moment: of items that come later they know nothing.
        """
        return self._now().stages

    @property
    def histories(self) -> Queries:
        """The queries of all users of the build, in the order of `user_ids`."""
        return self._now().asking.everyone

    def text(self, item: str) -> str:
        """Return the text of an item, removed or not.

        Raises
        ------
        UnknownIdError
            If the item is unknown.
        """
        return self._now().catalogue.text(item)

    def recommend(
        self,
        user: str,
        k: int = 10,
        *,
        budget_ms: float | None = None,
        **rules: Unpack[Rules],
    ) -> Recommendations:
        """Return the best `k` items for a user, fewer where there are not so many.

        A user that the build never saw gets what trends.

        Parameters
        ----------
        user
            Id of the user.
        k
            Length of the list.
        budget_ms
            Milliseconds from this call until the answer should stand. As many of stage one's best
            candidates are reranked as there is time for; the others follow in stage one's order.
            The answer's `reranked` and `candidates` say how far it came. Stage one always answers,
            however late.
        **rules
            What the list must obey, such as ``where="year >= 1990"``; see :class:`twofold.Rules`.

        Raises
        ------
        InputError
            If `k` is below 1, `budget_ms` is not positive, or a rule cannot be read.
        """
        return self._recommended(user, k, deadline_in(budget_ms), rules)

    async def arecommend(
        self,
        user: str,
        k: int = 10,
        *,
        budget_ms: float | None = None,
        **rules: Unpack[Rules],
    ) -> Recommendations:
        """Return what :meth:`recommend` does, without blocking the event loop."""
        # A pool takes nothing after its end, and a forked one never answers: say so instead.
        self._check()
        deadline = deadline_in(budget_ms)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._pool, lambda: self._recommended(user, k, deadline, rules)
        )

    def recommend_for(
        self,
        events: Sequence[tuple[str, float]],
        k: int = 10,
        *,
        budget_ms: float | None = None,
        **rules: Unpack[Rules],
    ) -> Recommendations:
        """Return the best `k` items for somebody known by a few events alone.

        Parameters
        ----------
        events
            ``(item_id, rating or weight)``, oldest first, read by the rules of the build's data.
        k
            Length of the list.
        budget_ms, **rules
            As in :meth:`recommend`.

        Raises
        ------
        UnknownIdError
            If an item is unknown.
        InputError
            If a weight is not a finite number, and as in :meth:`recommend`.
        """
        deadline = deadline_in(budget_ms)
        now = self._now()
        return self._answer(now, now.asking.events(events), k, deadline, rules)

    def search(
        self,
        text: str,
        k: int = 10,
        *,
        budget_ms: float | None = None,
        **rules: Unpack[Rules],
    ) -> Recommendations:
        """Return the best `k` items for a free text.

        Parameters
        ----------
        text
            What to look for.
        k
            Length of the list.
        budget_ms, **rules
            As in :meth:`recommend`.

        Raises
        ------
        InputError
            If the text is empty, the artefact's vectors were brought and no model made them, and as
            in :meth:`recommend`.
        """
        deadline = deadline_in(budget_ms)
        now = self._now()
        return self._answer(now, now.asking.text(text), k, deadline, rules)

    def similar_items(self, item: str, k: int = 10, **rules: Unpack[Rules]) -> list[Recommendation]:
        """Return the `k` items most like one, by users and text.

        Raises
        ------
        UnknownIdError
            If the item is unknown.
        InputError
            If `k` is below 1, or a rule cannot be read.
        """
        at_least_one(k)
        now = self._now()
        number = now.catalogue.items.number(item)
        terms = now.rules.read(**rules)
        with self._turn():
            among = terms.admitted(len(now.catalogue))
            items, scores = terms.shaped(k, lambda n: now.stage_one.similar(number, n, among))
        ids = now.catalogue.items.decode(items)
        return [
            Recommendation(one, float(score), None, place)
            for place, (one, score) in enumerate(zip(ids, scores, strict=True), start=1)
        ]

    def retrieve(self, user: str, k: int = 100, **rules: Unpack[Rules]) -> list[Recommendation]:
        """Return stage one's best `k` candidates for a user; raises as :meth:`similar_items`."""
        at_least_one(k)
        now = self._now()
        terms = now.rules.read(**rules)
        asked = Asked(terms.limit(now.asking.user(user)), k, shape=terms.shape)
        with self._turn():
            (found,) = replace(now.stages, ranker=None).find([asked])
        return now.names.told(asked.query, found.listed)

    def recommend_batch(
        self,
        users: Sequence[str] | None = None,
        k: int = 10,
        *,
        progress: Progress | None = None,
        **rules: Unpack[Rules],
    ) -> pl.DataFrame:
        """Return recommendations of many users, ``user_id, item_id, score, probability, rank``.

        Parameters
        ----------
        users
            Users of the build, or who came since; ``None`` takes all.
        k
            Length of the lists.
        progress
            Told of every chunk.
        **rules
            What every list must obey; see :class:`twofold.Rules`.

        Raises
        ------
        UnknownIdError
            If nothing is known of a user.
        InputError
            If `k` is below 1, or a rule cannot be read.
        """
        return self._batch(users, k, progress, rules, True)

    def retrieve_batch(
        self,
        users: Sequence[str] | None = None,
        k: int = 100,
        *,
        progress: Progress | None = None,
        **rules: Unpack[Rules],
    ) -> pl.DataFrame:
        """Return stage one's candidates of many users, ``user_id, item_id, score, rank``.

        All cores are used. Parameters and errors are those of :meth:`recommend_batch`.
        """
        return self._batch(users, k, progress, rules, False).drop("probability")

    def _batch(
        self, users: Sequence[str] | None, k: int, told: Progress | None, rules: Rules, rerank: bool
    ) -> pl.DataFrame:
        at_least_one(k)
        now = self._now()
        terms = now.rules.read(**rules)
        stages = now.stages if rerank else replace(now.stages, ranker=None)
        with self._turn():
            ids, queries = now.asking.users(users)
            limited = terms.limit(queries)
            lists = stages.find_all(limited, k, terms.shape, told or Silent())
        return now.names.frame(ids, lists)

    def _recommended(self, user: str, k: int, deadline: float, rules: Rules) -> Recommendations:
        now = self._now()
        with now.stages.tracer.span("history"):
            queries = now.asking.user(user)
        return self._answer(now, queries, k, deadline, rules)

    def _answer(
        self, now: Opened, queries: Queries, k: int, deadline: float, rules: Rules
    ) -> Recommendations:
        """Return recommendations for one query by a moment, computed beside those that wait too."""
        at_least_one(k)
        tracer = now.stages.tracer
        with tracer.span("rules"):
            terms = now.rules.read(**rules)
            limited = terms.limit(queries)
        # Together are computed only requests that began with the same items.
        kind = (k, queries.texts is not None, now)
        with tracer.span("answer together"):
            return self._batcher.ask(kind, (now, Asked(limited, k, deadline, terms.shape)))

    @contextmanager
    def _turn(self) -> Iterator[None]:
        self._check()
        with self._batcher.place():
            yield
