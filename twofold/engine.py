"""The engine: an artefact opened for serving."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from twofold.indexing.artefact import open_artefact
from twofold.indexing.errors import InputError, TwofoldError
from twofold.indexing.live_events import read_live_events
from twofold.indexing.progress import Progress, Silent
from twofold.indexing.tables import Source
from twofold.indexing.vectors import Device
from twofold.recommendation import Recommendation, Recommendations
from twofold.retrieval.queries import Queries
from twofold.rules import Rules
from twofold.serving import Asked, Stages, deadline_in, usual_places
from twofold.settings_file import from_values
from twofold.shifts import MOST_TOGETHER, Shift

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from twofold.compact import CompactReport
    from twofold.indexing.generation import Generation
    from twofold.settings import Settings


class EngineError(TwofoldError):
    """An engine that is closed, or used in another process than it was loaded in."""


class Engine:
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
    """

    def __init__(
        self,
        generation: Generation,
        settings: Settings,
        threads: int,
        runtime: str = "auto",
        device: Device = "auto",
    ) -> None:
        self._open = (threads, runtime, device)
        self._shift = Shift(generation, settings, threads, runtime, device)
        self._moving = threading.Lock()
        # More than the places, so that requests of one event loop meet.
        self._pool = ThreadPoolExecutor(threads + MOST_TOGETHER, thread_name_prefix="twofold")
        self._process, self._closed = os.getpid(), False

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        threads: int | None = None,
        runtime: str = "auto",
        device: Device = "auto",
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
            In which precision the ranker computes: ``"float32"``, ``"bfloat16"``, ``"int8"``, or
            ``"auto"`` for the fastest whose scores are sound, which is measured when an artefact is
            first loaded on a machine (about a second) and remembered in the cache folder.
        device
            Where texts' vectors are searched: ``"auto"`` takes a GPU where FAISS sees one,
            ``"cuda"`` insists on it, ``"cpu"`` never does. Any artefact will do.

        Raises
        ------
        ArtefactError
            If the artefact is missing, unfinished, damaged or of another format.
        InputError
            If `threads` is below 1, or there is no such runtime or device.
        MissingDependencyError
            If `device` is ``"cuda"`` and FAISS sees no GPU; `twofold doctor` says why.
        """
        from twofold.settings import Settings

        if threads is not None and threads < 1:
            raise InputError(f"threads must be at least 1, not {threads}")
        generation = open_artefact(path)
        settings = from_values(Settings, generation.manifest["settings"])
        return cls(generation, settings, threads or usual_places(), runtime, device)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the artefact; later calls raise. Closing twice is fine."""
        with self._moving:
            self._closed = True
            self._pool.shutdown(wait=True)
            self._shift.relieve()

    @property
    def settings(self) -> Settings:
        """What the generation at work was built with."""
        return self._shift.settings

    @property
    def user_ids(self) -> tuple[str, ...]:
        """All users of the build."""
        return self._shift.opened.dataset.users.ids

    @property
    def items(self) -> pl.DataFrame:
        """The items with their attributes, first column ``item_id``."""
        return self._shift.opened.dataset.table

    @property
    def stages(self) -> Stages:
        """Both stages by themselves, for who wants to measure or to combine them in another way."""
        return self._shift.opened.stages

    @property
    def histories(self) -> Queries:
        """The queries of all users of the build, in the order of `user_ids`."""
        return self._shift.opened.asking.everyone

    def text(self, item: str) -> str:
        """Return the text of an item.

        Raises
        ------
        UnknownIdError
            If the item is unknown.
        """
        dataset = self._shift.opened.dataset
        return dataset.texts[dataset.items.number(item)]

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
        deadline = deadline_in(budget_ms)
        with self._at_work() as now:
            return _answer(now, now.opened.asking.user(user), k, deadline, rules)

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

        def answer() -> Recommendations:
            with self._at_work() as now:
                return _answer(now, now.opened.asking.user(user), k, deadline, rules)

        return await asyncio.get_running_loop().run_in_executor(self._pool, answer)

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
        with self._at_work() as now:
            return _answer(now, now.opened.asking.events(events), k, deadline, rules)

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
        with self._at_work() as now:
            return _answer(now, now.opened.asking.text(text), k, deadline, rules)

    def similar_items(self, item: str, k: int = 10, **rules: Unpack[Rules]) -> list[Recommendation]:
        """Return the `k` items most like one, by users and text.

        Raises
        ------
        UnknownIdError
            If the item is unknown.
        InputError
            If `k` is below 1, or a rule cannot be read.
        """
        _at_least_one(k)
        with self._at_work() as now:
            known, stage_one = now.opened.dataset.items, now.opened.stage_one
            number = known.number(item)
            terms = now.opened.rules.read(**rules)
            with now.batcher.place():
                among = terms.admitted(len(known))
                items, scores = terms.shaped(k, lambda n: stage_one.similar(number, n, among))
            ids = known.decode(items)
        return [
            Recommendation(one, float(score), None, place)
            for place, (one, score) in enumerate(zip(ids, scores, strict=True), start=1)
        ]

    def retrieve(self, user: str, k: int = 100, **rules: Unpack[Rules]) -> list[Recommendation]:
        """Return stage one's best `k` candidates for a user; raises as :meth:`similar_items`."""
        _at_least_one(k)
        with self._at_work() as now:
            terms = now.opened.rules.read(**rules)
            asked = Asked(terms.limit(now.opened.asking.user(user)), k, shape=terms.shape)
            with now.batcher.place():
                (found,) = replace(now.opened.stages, ranker=None).find([asked])
            return now.opened.names.told(asked.query, found.listed)

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
        _at_least_one(k)
        with self._at_work() as now:
            terms = now.opened.rules.read(**rules)
            with now.batcher.place():
                ids, queries = now.opened.asking.users(users)
                limited, shape = terms.limit(queries), terms.shape
                lists = now.opened.stages.find_all(limited, k, shape, progress or Silent())
            return now.opened.names.frame(ids, lists)

    def add_events(self, events: Source | Sequence[Mapping[str, Any]]) -> int:
        """Take in what users did since the build, and return how many events that is.

        Once this returns they are on the disk and in force: the next request of these users, in
        this process or another that serves the artefact, reads them. What the models learned stays
        as it was until the next build.

        Parameters
        ----------
        events
            A table of any kind that a build takes, or rows as dictionaries, with the columns of the
            build's interactions; without times they are of now.

        Raises
        ------
        DataError
            If a row cannot be used, or names an item that the build lacks; then none is taken in.
        ArtefactError
            If they cannot be written.
        """
        with self._at_work() as now:
            read = read_live_events(events, now.settings.data, now.opened.dataset.items)
            now.opened.live.append(read)
        return len(read)

    @overload
    def compact(
        self, *, background: Literal[False] = False, progress: Progress | None = None
    ) -> CompactReport: ...

    @overload
    def compact(
        self, *, background: Literal[True], progress: Progress | None = None
    ) -> Future[CompactReport]: ...

    def compact(
        self, *, background: bool = False, progress: Progress | None = None
    ) -> CompactReport | Future[CompactReport]:
        """Make what came since the build part of the next generation, and move to it.

        Requests go on meanwhile. It computes in this process and takes cores and memory from them;
        where that matters, run ``twofold compact`` in a process of its own, and then
        :meth:`refresh`. Other engines move when their `refresh` is called.

        Parameters
        ----------
        background
            Whether to return at once, with a future of the report.
        progress
            Told of every step.

        Raises
        ------
        ArtefactBusyError
            If a build or another compaction is writing to the artefact.
        ArtefactError
            If the artefact cannot be read or written.
        """
        self._check()
        if not background:
            return self._compacted(progress)
        # Threads of the pool answer requests; this one ends with its work.
        pool = ThreadPoolExecutor(1, thread_name_prefix="twofold-compact")
        future = pool.submit(self._compacted, progress)
        pool.shutdown(wait=False)
        return future

    def refresh(self) -> bool:
        """Move to the current generation of the artefact, and say whether that is another one.

        Requests that are under way end on the generation they began with, whose files are let go
        of after the last of them; none fails, and none sees both. Until the new one is open, the
        old one answers.

        Raises
        ------
        ArtefactError
            If the current generation cannot be opened; the old one goes on.
        """
        from twofold.settings import Settings

        self._check()
        with self._moving:
            self._check()
            old = self._shift
            generation = open_artefact(old.generation.root)
            if old.shows(generation):
                return False
            settings = from_values(Settings, generation.manifest["settings"])
            self._shift = Shift(generation, settings, *self._open)
        old.relieve()
        return True

    def _compacted(self, progress: Progress | None) -> CompactReport:
        from twofold.compact import compact

        report = compact(self._shift.generation.root, alone=False, progress=progress)
        if not self._closed:
            self.refresh()
        return report

    def _check(self) -> None:
        if self._process != os.getpid():
            raise EngineError(
                f"this engine was loaded in process {self._process} and is used in {os.getpid()} "
                "after a fork; call Engine.load in each worker"
            )
        if self._closed:
            raise EngineError("this engine is closed; load it again with Engine.load")

    @contextmanager
    def _at_work(self) -> Iterator[Shift]:
        """Yield the generation at work, for all that a request does."""
        self._check()
        while not (now := self._shift).enter():
            self._check()  # relieved since it was looked up: another one is there, or none
        try:
            yield now
        finally:
            now.leave()


def _answer(now: Shift, queries: Queries, k: int, deadline: float, rules: Rules) -> Recommendations:
    """Return recommendations for one query by a moment, computed beside those that wait too."""
    _at_least_one(k)
    terms = now.opened.rules.read(**rules)
    limited = terms.limit(queries)
    kind = (k, queries.texts is not None)
    return now.batcher.ask(kind, Asked(limited, k, deadline, terms.shape))


def _at_least_one(k: int) -> None:
    if k < 1:
        raise InputError(f"k must be at least 1, not {k}")
